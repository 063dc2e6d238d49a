package sqs

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	sqsapi "github.com/ekslocal/ekslocal/api/sqs"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/wire"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

var start = time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)

type fixture struct {
	*Service
	t     *testing.T
	ctx   context.Context
	clock *clocktesting.FakeClock
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	st, err := store.Open(ctx, store.NewMemory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	clk := clocktesting.NewFakeClock(start)
	ctx = awsid.WithCaller(ctx, awsid.Caller{
		Scope: awsid.Scope{Account: "111122223333", Region: "eu-west-1"}, ARN: "arn:aws:iam::111122223333:root", UserID: "111122223333", Endpoint: "http://emulator:4566",
	})
	return &fixture{New(Config{Store: st, Clock: clk}), t, ctx, clk}
}

func (f *fixture) queue(name string, attributes ...string) *string {
	f.t.Helper()
	in := &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{}}
	for i := 0; i < len(attributes); i += 2 {
		in.Attributes[attributes[i]] = attributes[i+1]
	}
	out, err := f.CreateQueue(f.ctx, in)
	if err != nil {
		f.t.Fatal(err)
	}
	return out.QueueUrl
}

func (f *fixture) send(url *string, body string, change ...func(*sqs.SendMessageInput)) *sqs.SendMessageOutput {
	f.t.Helper()
	in := &sqs.SendMessageInput{QueueUrl: url, MessageBody: &body}
	for _, c := range change {
		c(in)
	}
	out, err := f.SendMessage(f.ctx, in)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func inGroup(g, dedup string) func(*sqs.SendMessageInput) {
	return func(in *sqs.SendMessageInput) { in.MessageGroupId, in.MessageDeduplicationId = &g, &dedup }
}

// receive returns bodies and handles of up to ten messages.
func (f *fixture) receive(url *string) (bodies []string, handles []*string) {
	f.t.Helper()
	out, err := f.ReceiveMessage(f.ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range out.Messages {
		bodies, handles = append(bodies, *m.Body), append(handles, m.ReceiptHandle)
	}
	return bodies, handles
}

func (f *fixture) want(url *string, bodies ...string) []*string {
	f.t.Helper()
	got, handles := f.receive(url)
	if d := cmp.Diff(bodies, got); d != "" {
		f.t.Errorf("received (-want +got):\n%s", d)
	}
	return handles
}

func (f *fixture) attributes(url *string) map[string]string {
	f.t.Helper()
	out, err := f.GetQueueAttributes(f.ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil {
		f.t.Fatal(err)
	}
	return out.Attributes
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return ""
}

func TestAttributes(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs")
	if *url != "http://emulator:4566/111122223333/jobs" {
		t.Errorf("the URL is %s", *url)
	}
	at := strconv.FormatInt(start.Unix(), 10)
	want := map[string]string{
		"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesDelayed": "0", "ApproximateNumberOfMessagesNotVisible": "0",
		"CreatedTimestamp": at, "LastModifiedTimestamp": at, "QueueArn": "arn:aws:sqs:eu-west-1:111122223333:jobs", "DelaySeconds": "0",
		"MaximumMessageSize": "1048576", "MessageRetentionPeriod": "345600", "ReceiveMessageWaitTimeSeconds": "0", "VisibilityTimeout": "30", "SqsManagedSseEnabled": "true",
	}
	if d := cmp.Diff(want, f.attributes(url)); d != "" {
		t.Errorf("a new queue (-want +got):\n%s", d)
	}
	set := func(k, v string) {
		t.Helper()
		if _, err := f.SetQueueAttributes(f.ctx, &sqs.SetQueueAttributesInput{QueueUrl: url, Attributes: map[string]string{k: v}}); err != nil {
			t.Error(err)
		}
	}
	set("KmsMasterKeyId", "alias/aws/sqs")
	set("Policy", `{ "Version": "2012-10-17" }`)
	got := f.attributes(url)
	if got["SqsManagedSseEnabled"] != "false" || got["KmsDataKeyReusePeriodSeconds"] != "300" || got["Policy"] != `{ "Version": "2012-10-17" }` {
		t.Errorf("after setting a key and a policy: %v", got)
	}
	set("Policy", "")
	if p, ok := f.attributes(url)["Policy"]; ok {
		t.Errorf("the policy is still %q", p)
	}
	// The same again is the same queue.
	if again := f.queue("jobs", "VisibilityTimeout", "30"); *again != *url {
		t.Errorf("made again it is %s", *again)
	}
}

func TestVisibility(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs", "VisibilityTimeout", "60", "DelaySeconds", "5")
	f.send(url, "one")
	f.want(url)
	f.clock.Step(5 * time.Second)
	first := f.want(url, "one")
	f.want(url)
	if n := f.attributes(url)["ApproximateNumberOfMessagesNotVisible"]; n != "1" {
		t.Errorf("%s messages in flight, want 1", n)
	}
	if _, err := f.ChangeMessageVisibility(f.ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: first[0], VisibilityTimeout: 100}); err != nil {
		t.Fatal(err)
	}
	f.clock.Step(99 * time.Second)
	f.want(url)
	f.clock.Step(time.Second)
	second := f.want(url, "one")
	for _, h := range [][]*string{second, first} { // deleting twice is no error
		if _, err := f.DeleteMessage(f.ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: h[0]}); err != nil {
			t.Error(err)
		}
	}
	f.clock.Step(time.Hour)
	f.want(url)
}

// TestZeros: an explicit 0 is not an absent member, though the SDK's struct cannot
// tell.
func TestZeros(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs", "DelaySeconds", "60", "ReceiveMessageWaitTimeSeconds", "20")
	ctx := wire.WithBody(f.ctx, []byte(`{"DelaySeconds":0,"WaitTimeSeconds":0,"VisibilityTimeout":0,"Entries":[{"DelaySeconds":0}]}`))
	if _, err := f.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("now")}); err != nil {
		t.Fatal(err)
	}
	batch := &sqs.SendMessageBatchInput{QueueUrl: url, Entries: []types.SendMessageBatchRequestEntry{{Id: aws.String("a"), MessageBody: aws.String("too")}}}
	if _, err := f.SendMessageBatch(ctx, batch); err != nil {
		t.Fatal(err)
	}
	for range 2 { // received without becoming invisible
		out, err := f.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10})
		if err != nil || len(out.Messages) != 2 {
			t.Fatalf("%d messages, %v", len(out.Messages), err)
		}
	}
	if _, err := f.PurgeQueue(f.ctx, &sqs.PurgeQueueInput{QueueUrl: url}); err != nil {
		t.Fatal(err)
	}
	out, err := f.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url})
	if err != nil || len(out.Messages) != 0 {
		t.Errorf("after a purge %d messages, %v", len(out.Messages), err)
	}
}

// TestSums has the sums that AWS answered for these messages, as localstack's
// snapshots of AWS record them.
func TestSums(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs")
	text := func(v string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
	}
	out := f.send(url, "msg", func(in *sqs.SendMessageInput) {
		in.MessageAttributes = map[string]types.MessageAttributeValue{"Help.Me": text("Me"), "Hello": text("There"), "General": text("Kenobi")}
	})
	if *out.MD5OfMessageBody != "6e2baaf3b97dbeef01c0043275f9a0e7" || *out.MD5OfMessageAttributes != "4c360f3fdafd970e05fae2f149d997f5" {
		t.Errorf("sums %s, %s", *out.MD5OfMessageBody, *out.MD5OfMessageAttributes)
	}
	for _, tc := range []struct {
		names []string
		want  string
	}{
		{nil, ""}, {[]string{"All"}, "4c360f3fdafd970e05fae2f149d997f5"}, {[]string{".*"}, "4c360f3fdafd970e05fae2f149d997f5"}, {[]string{"Foo", "Help"}, ""},
		{[]string{"Hello", "General"}, "fca026605781cb4126a1e9044df24232"}, {[]string{"Foo", "Hello"}, "a311262e065454b75da111d535b8dacd"}, {[]string{"Hel.*"}, "83fee93c1bcd8b9a5a923ffacdc636c7"},
	} {
		f.clock.Step(time.Minute)
		got, err := f.ReceiveMessage(f.ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MessageAttributeNames: tc.names})
		if err != nil || len(got.Messages) != 1 {
			t.Fatal(len(got.Messages), err)
		}
		if sum := aws.ToString(got.Messages[0].MD5OfMessageAttributes); sum != tc.want {
			t.Errorf("%v: sum %s, want %s", tc.names, sum, tc.want)
		}
	}
}

// TestLongPoll: a receiver that waits gets what is sent meanwhile, what becomes
// visible meanwhile, and nothing at its time.
func TestLongPoll(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs")
	type result struct {
		out *sqs.ReceiveMessageOutput
		err error
	}
	poll := func() <-chan result {
		c := make(chan result, 1)
		go func() {
			out, err := f.ReceiveMessage(f.ctx, &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20})
			c <- result{out, err}
		}()
		for !f.clock.HasWaiters() { // it waits by a timer of the clock
		}
		return c
	}
	c := poll()
	f.send(url, "sent")
	if r := <-c; r.err != nil || len(r.out.Messages) != 1 || *r.out.Messages[0].Body != "sent" {
		t.Errorf("%+v", r)
	}
	c = poll()
	f.clock.Step(10 * time.Second)
	select {
	case r := <-c:
		t.Errorf("answered early: %+v", r)
	default:
	}
	f.clock.Step(10 * time.Second)
	if r := <-c; r.err != nil || len(r.out.Messages) != 0 {
		t.Errorf("%+v", r)
	}
	c = poll() // the first message is invisible for another 10 seconds
	f.clock.Step(10 * time.Second)
	if r := <-c; r.err != nil || len(r.out.Messages) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestBatches(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs")
	out, err := f.SendMessageBatch(f.ctx, &sqs.SendMessageBatchInput{QueueUrl: url, Entries: []types.SendMessageBatchRequestEntry{
		{Id: aws.String("good"), MessageBody: aws.String("one")}, {Id: aws.String("bad"), MessageBody: aws.String("two"), DelaySeconds: 901},
	}})
	if err != nil || len(out.Successful) != 1 || len(out.Failed) != 1 || *out.Failed[0].Id != "bad" || !out.Failed[0].SenderFault {
		t.Fatalf("%+v %v", out, err)
	}
	handles := f.want(url, "one")
	entry := func(id string, h *string) types.DeleteMessageBatchRequestEntry {
		return types.DeleteMessageBatchRequestEntry{Id: &id, ReceiptHandle: h}
	}
	del, err := f.DeleteMessageBatch(f.ctx, &sqs.DeleteMessageBatchInput{QueueUrl: url, Entries: []types.DeleteMessageBatchRequestEntry{entry("a", handles[0]), entry("b", aws.String("x"))}})
	if err != nil || len(del.Successful) != 1 || len(del.Failed) != 1 || *del.Failed[0].Code != "ReceiptHandleIsInvalid" {
		t.Errorf("%+v %v", del, err)
	}
}

func TestDeliver(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs")
	deliver := func(arn string) error {
		return f.store.Update(f.ctx, func(tx *store.Tx) error { return f.Deliver(tx, arn, "events.amazonaws.com", "{}", "") })
	}
	if err := deliver("arn:aws:sqs:eu-west-1:111122223333:jobs"); err != nil {
		t.Fatal(err)
	}
	f.want(url, "{}")
	if err := deliver("arn:aws:sqs:eu-west-1:111122223333:none"); code(err) != "QueueDoesNotExist: The specified queue does not exist." {
		t.Error(err)
	}
}

// TestSweep: what is gone leaves the store.
func TestSweep(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs", "MessageRetentionPeriod", "60")
	f.send(url, "old")
	f.clock.Step(time.Minute)
	f.send(url, "new")
	if n := f.attributes(url)["ApproximateNumberOfMessages"]; n != "1" {
		t.Errorf("%s messages, want the new one", n)
	}
	if err := f.sweep(f.ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(messages.ListAll(f.store)); n != 1 {
		t.Errorf("%d messages stored, want 1", n)
	}
	if _, err := f.DeleteQueue(f.ctx, &sqs.DeleteQueueInput{QueueUrl: url}); err != nil {
		t.Fatal(err)
	}
	if n := len(messages.ListAll(f.store)); n != 0 {
		t.Errorf("%d messages stored after the queue's deletion", n)
	}
	f.queue("jobs")
	f.want(url)
}

func TestPermissionsAndTags(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs")
	if _, err := f.AddPermission(f.ctx, &sqs.AddPermissionInput{QueueUrl: url, Label: aws.String("l"), AWSAccountIds: []string{"444455556666"}, Actions: []string{"SendMessage"}}); err != nil {
		t.Fatal(err)
	}
	want := `{"Id":"arn:aws:sqs:eu-west-1:111122223333:jobs/SQSDefaultPolicy","Statement":[{"Sid":"l","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:root"},"Action":"SQS:SendMessage","Resource":"arn:aws:sqs:eu-west-1:111122223333:jobs"}],"Version":"2008-10-17"}`
	if got := f.attributes(url)["Policy"]; got != want {
		t.Errorf("the policy is %s", got)
	}
	if _, err := f.RemovePermission(f.ctx, &sqs.RemovePermissionInput{QueueUrl: url, Label: aws.String("l")}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.TagQueue(f.ctx, &sqs.TagQueueInput{QueueUrl: url, Tags: map[string]string{"a": "1", "b": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.UntagQueue(f.ctx, &sqs.UntagQueueInput{QueueUrl: url, TagKeys: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	tags, err := f.ListQueueTags(f.ctx, &sqs.ListQueueTagsInput{QueueUrl: url})
	if err != nil || cmp.Diff(map[string]string{"b": "2"}, tags.Tags) != "" {
		t.Errorf("tags %v, %v", tags, err)
	}
}

// TestOtherAccounts: another account's queue is there for what its policy says.
func TestOtherAccounts(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs")
	if _, err := f.AddPermission(f.ctx, &sqs.AddPermissionInput{QueueUrl: url, Label: aws.String("l"), AWSAccountIds: []string{"444455556666"}, Actions: []string{"SendMessage"}}); err != nil {
		t.Fatal(err)
	}
	as := func(account, arn string) context.Context {
		return awsid.WithCaller(f.ctx, awsid.Caller{Scope: awsid.Scope{Account: account, Region: "eu-west-1"}, ARN: arn, UserID: account})
	}
	friend, session, stranger := as("444455556666", "arn:aws:iam::444455556666:root"), as("444455556666", "arn:aws:sts::444455556666:assumed-role/r/s"), as("777788889999", "arn:aws:iam::777788889999:root")
	send := func(ctx context.Context) error {
		_, err := f.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("hello")})
		return err
	}
	for _, ctx := range []context.Context{friend, session} {
		if err := send(ctx); err != nil {
			t.Error(err)
		}
	}
	denials := map[string]error{"a stranger sends": send(stranger)}
	_, denials["a friend receives"] = f.ReceiveMessage(friend, &sqs.ReceiveMessageInput{QueueUrl: url})
	_, denials["a friend deletes"] = f.DeleteMessage(friend, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: aws.String("x")})
	_, denials["a friend changes the policy"] = f.SetQueueAttributes(friend, &sqs.SetQueueAttributesInput{QueueUrl: url, Attributes: map[string]string{"Policy": ""}})
	_, denials["a friend deletes the queue"] = f.DeleteQueue(friend, &sqs.DeleteQueueInput{QueueUrl: url})
	_, denials["a stranger asks for the URL"] = f.GetQueueUrl(stranger, &sqs.GetQueueUrlInput{QueueName: aws.String("jobs"), QueueOwnerAWSAccountId: aws.String("111122223333")})
	for what, err := range denials {
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != "AccessDenied" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestList(t *testing.T) {
	f := newFixture(t)
	for _, n := range []string{"b", "a1", "a2", "a3"} {
		f.queue(n)
	}
	first, err := f.ListQueues(f.ctx, &sqs.ListQueuesInput{QueueNamePrefix: aws.String("a"), MaxResults: aws.Int32(2)})
	if err != nil || len(first.QueueUrls) != 2 {
		t.Fatal(first, err)
	}
	rest, err := f.ListQueues(f.ctx, &sqs.ListQueuesInput{QueueNamePrefix: aws.String("a"), MaxResults: aws.Int32(2), NextToken: first.NextToken})
	if err != nil || cmp.Diff([]string{"http://emulator:4566/111122223333/a3"}, rest.QueueUrls) != "" || rest.NextToken != nil {
		t.Error(rest, err)
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	f.queue("there", "DelaySeconds", "5")
	f.queue("fifo.fifo", "FifoQueue", "true")
	f.queue("purged")
	if _, err := f.PurgeQueue(f.ctx, &sqs.PurgeQueueInput{QueueUrl: aws.String("purged")}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.AddPermission(f.ctx, &sqs.AddPermissionInput{QueueUrl: aws.String("there"), Label: aws.String("taken"), AWSAccountIds: []string{"444455556666"}, Actions: []string{"SendMessage"}}); err != nil {
		t.Fatal(err)
	}
	url := "http://emulator:4566/111122223333/"
	refusal.Run(f.ctx, t, sqsapi.Model(), f.Service, map[string]string{
		"url": url + "there", "fifo": url + "fifo.fifo", "purged": url + "purged", "none": url + "none", "long": strings.Repeat("a", 129), "long80": strings.Repeat("a", 81),
		"mib": strings.Repeat("m", maxMessage+1), "half": strings.Repeat("h", maxMessage/2+1),
	})
}

func FuzzHandle(f *testing.F) {
	q := &queue{ID: "id"}
	f.Add((&message{QueueID: "id", Key: "1", Receipt: "r"}).handle())
	f.Add("INVALID")
	f.Fuzz(func(t *testing.T, s string) {
		if key, receipt, ok := parseHandle(q, s); ok && (&message{QueueID: "id", Key: key, Receipt: receipt}).handle() == "" {
			t.Error("no handle")
		}
	})
}
