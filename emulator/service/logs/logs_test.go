package logs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const account, region = "111122223333", "eu-west-1"

var start = time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)

type world struct {
	*Service
	t     *testing.T
	ctx   context.Context
	clock *clocktesting.FakeClock
}

// keyring allows the key that is called good.
type keyring struct{}

func (keyring) ServiceMayUse(_ context.Context, service, arn string, c map[string]string) bool {
	return service == "logs.eu-west-1.amazonaws.com" && strings.HasSuffix(arn, "/good") && strings.HasPrefix(c["aws:logs:arn"], "arn:aws:logs:eu-west-1:111122223333:log-group:")
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	clk := clocktesting.NewFakeClock(start)
	ctx := awsid.WithCaller(t.Context(), awsid.Caller{Scope: awsid.Scope{Account: account, Region: region}, ARN: "arn:aws:iam::" + account + ":root"})
	return &world{New(Config{Store: st, Clock: clk, Keys: keyring{}}), t, ctx, clk}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func wantError(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("error = %v, want %s: %s", err, code, message)
	}
	if api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), message) {
		t.Errorf("error =\n %s: %s, want\n %s: %s", api.ErrorCode(), api.ErrorMessage(), code, message)
	}
}

// stream makes a group and a stream.
func (w *world) stream(group, name string) {
	w.t.Helper()
	_, err := w.CreateLogGroup(w.ctx, &cwl.CreateLogGroupInput{LogGroupName: &group})
	var there *types.ResourceAlreadyExistsException
	if err != nil && !errors.As(err, &there) {
		w.t.Fatal(err)
	}
	must(w.CreateLogStream(w.ctx, &cwl.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &name}))
}

// put writes events; each is at so many milliseconds from the start.
func (w *world) put(group, name string, at int64, messages ...string) *cwl.PutLogEventsOutput {
	w.t.Helper()
	in := &cwl.PutLogEventsInput{LogGroupName: &group, LogStreamName: &name}
	for i, m := range messages {
		in.LogEvents = append(in.LogEvents, types.InputLogEvent{Message: &m, Timestamp: aws.Int64(start.UnixMilli() + at + int64(i))})
	}
	return must(w.PutLogEvents(w.ctx, in))
}

func texts(list []types.OutputLogEvent) string {
	var out []string
	for _, e := range list {
		out = append(out, *e.Message)
	}
	return strings.Join(out, " ")
}

func TestGroupIsDescribedAsCloudWatchDoes(t *testing.T) {
	w := newWorld(t)
	name := "/aws/eks/dev/cluster"
	must(w.CreateLogGroup(w.ctx, &cwl.CreateLogGroupInput{LogGroupName: &name, Tags: map[string]string{"a": "b"}, KmsKeyId: aws.String("arn:aws:kms:eu-west-1:111122223333:key/good")}))
	must(w.PutRetentionPolicy(w.ctx, &cwl.PutRetentionPolicyInput{LogGroupName: &name, RetentionInDays: aws.Int32(90)}))
	arn := "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/eks/dev/cluster"
	want := []types.LogGroup{{
		LogGroupName: &name, Arn: aws.String(arn + ":*"), LogGroupArn: &arn, CreationTime: aws.Int64(start.UnixMilli()), LogGroupClass: "STANDARD",
		KmsKeyId: aws.String("arn:aws:kms:eu-west-1:111122223333:key/good"), MetricFilterCount: aws.Int32(0), StoredBytes: aws.Int64(0), RetentionInDays: aws.Int32(90),
		DeletionProtectionEnabled: aws.Bool(false),
	}}
	got := must(w.DescribeLogGroups(w.ctx, &cwl.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/aws/eks/")})).LogGroups
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(types.LogGroup{})); d != "" {
		t.Error(d)
	}
	if tags := must(w.ListTagsForResource(w.ctx, &cwl.ListTagsForResourceInput{ResourceArn: &arn})).Tags; !cmp.Equal(tags, map[string]string{"a": "b"}) {
		t.Errorf("tags: %v", tags)
	}
	must(w.TagResource(w.ctx, &cwl.TagResourceInput{ResourceArn: &arn, Tags: map[string]string{"c": "d"}}))
	must(w.UntagLogGroup(w.ctx, &cwl.UntagLogGroupInput{LogGroupName: &name, Tags: []string{"a"}}))
	if tags := must(w.ListTagsLogGroup(w.ctx, &cwl.ListTagsLogGroupInput{LogGroupName: &name})).Tags; !cmp.Equal(tags, map[string]string{"c": "d"}) {
		t.Errorf("tags: %v", tags)
	}
}

func TestEventsAreReadInOrder(t *testing.T) {
	w := newWorld(t)
	w.stream("g", "s")
	w.put("g", "s", 10, "c", "d")
	w.put("g", "s", 0, "a", "b") // later, of an earlier time
	in := &cwl.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s"), StartFromHead: aws.Bool(true), Limit: aws.Int32(3)}
	first := must(w.GetLogEvents(w.ctx, in))
	if got := texts(first.Events); got != "a b c" {
		t.Errorf("first page: %s", got)
	}
	in.NextToken = first.NextForwardToken
	second := must(w.GetLogEvents(w.ctx, in))
	if got := texts(second.Events); got != "d" {
		t.Errorf("second page: %s", got)
	}
	in.NextToken = second.NextForwardToken
	end := must(w.GetLogEvents(w.ctx, in))
	if len(end.Events) != 0 || *end.NextForwardToken != *in.NextToken {
		t.Errorf("at the end: %s, %s", texts(end.Events), *end.NextForwardToken)
	}
	in.NextToken = end.NextBackwardToken
	if got := texts(must(w.GetLogEvents(w.ctx, in)).Events); got != "b c d" {
		t.Errorf("back from the end: %s", got)
	}
	w.put("g", "s", 20, "e")
	in.NextToken = end.NextForwardToken
	if got := texts(must(w.GetLogEvents(w.ctx, in)).Events); got != "e" {
		t.Errorf("what came since: %s", got)
	}
	in.NextToken, in.StartFromHead = nil, nil
	last := must(w.GetLogEvents(w.ctx, in))
	if got := texts(last.Events); got != "c d e" {
		t.Errorf("the last page: %s", got)
	}
	in.NextToken = last.NextBackwardToken
	if got := texts(must(w.GetLogEvents(w.ctx, in)).Events); got != "a b" {
		t.Errorf("before it: %s", got)
	}
	// The range's end is not in it.
	in = &cwl.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s"), StartTime: aws.Int64(start.UnixMilli() + 1), EndTime: aws.Int64(start.UnixMilli() + 11)}
	if got := texts(must(w.GetLogEvents(w.ctx, in)).Events); got != "b c" {
		t.Errorf("a range: %s", got)
	}
}

func TestFilterPages(t *testing.T) {
	w := newWorld(t)
	w.stream("g", "one")
	w.stream("g", "two")
	w.put("g", "one", 0, "ERROR 1", "fine", "ERROR 3")
	w.put("g", "two", 1, "ERROR 2")
	in := &cwl.FilterLogEventsInput{LogGroupName: aws.String("g"), FilterPattern: aws.String("ERROR"), Limit: aws.Int32(2)}
	var got []string
	ids := map[string]bool{}
	for {
		out := must(w.FilterLogEvents(w.ctx, in))
		for _, e := range out.Events {
			got = append(got, *e.LogStreamName+":"+*e.Message)
			ids[*e.EventId] = true
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if d := cmp.Diff([]string{"one:ERROR 1", "two:ERROR 2", "one:ERROR 3"}, got); d != "" || len(ids) != 3 {
		t.Error(d, ids)
	}
	out := must(w.FilterLogEvents(w.ctx, &cwl.FilterLogEventsInput{
		LogGroupIdentifier: aws.String("arn:aws:logs:eu-west-1:111122223333:log-group:g"), LogStreamNamePrefix: aws.String("t"), EndTime: aws.Int64(start.UnixMilli() + 1),
	}))
	if len(out.Events) != 1 || *out.Events[0].Message != "ERROR 2" {
		t.Errorf("%+v", out.Events)
	}
}

func TestStreamsAreOrdered(t *testing.T) {
	w := newWorld(t)
	for i, name := range []string{"a/b", "a-b", "c"} {
		w.stream("g", name)
		if i > 0 {
			w.put("g", name, int64(10-i), "x")
		}
	}
	names := func(in *cwl.DescribeLogStreamsInput) string {
		in.LogGroupName, in.Limit = aws.String("g"), aws.Int32(2)
		var out []string
		for {
			l := must(w.DescribeLogStreams(w.ctx, in))
			for _, s := range l.LogStreams {
				out = append(out, *s.LogStreamName)
			}
			if in.NextToken = l.NextToken; in.NextToken == nil {
				return strings.Join(out, " ")
			}
		}
	}
	for want, in := range map[string]*cwl.DescribeLogStreamsInput{
		"a-b a/b c": {},
		"c a/b a-b": {Descending: aws.Bool(true)},
		"a/b c a-b": {OrderBy: types.OrderByLastEventTime},
		"a-b c a/b": {OrderBy: types.OrderByLastEventTime, Descending: aws.Bool(true)},
		"a-b a/b":   {LogStreamNamePrefix: aws.String("a")},
	} {
		if got := names(in); got != want {
			t.Errorf("%+v: %s, want %s", in, got, want)
		}
	}
	st := must(w.DescribeLogStreams(w.ctx, &cwl.DescribeLogStreamsInput{LogGroupName: aws.String("g"), LogStreamNamePrefix: aws.String("c")})).LogStreams[0]
	if *st.Arn != "arn:aws:logs:eu-west-1:111122223333:log-group:g:log-stream:c" || *st.LastEventTimestamp != start.UnixMilli()+8 || *st.FirstEventTimestamp != *st.LastEventTimestamp || *st.LastIngestionTime != start.UnixMilli() || *st.StoredBytes != 0 {
		t.Errorf("%+v", st)
	}
}

func TestRejectedEventsAreTold(t *testing.T) {
	w := newWorld(t)
	w.stream("g", "s")
	must(w.PutRetentionPolicy(w.ctx, &cwl.PutRetentionPolicyInput{LogGroupName: aws.String("g"), RetentionInDays: aws.Int32(7)}))
	in := &cwl.PutLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s")}
	for _, at := range []time.Duration{-15 * day, -8 * day, -time.Minute, time.Hour, 3 * time.Hour, 4 * time.Hour} {
		in.LogEvents = append(in.LogEvents, types.InputLogEvent{Message: aws.String("x"), Timestamp: aws.Int64(start.Add(at).UnixMilli())})
	}
	got := must(w.PutLogEvents(w.ctx, in)).RejectedLogEventsInfo
	want := &types.RejectedLogEventsInfo{TooOldLogEventEndIndex: aws.Int32(1), ExpiredLogEventEndIndex: aws.Int32(2), TooNewLogEventStartIndex: aws.Int32(4)}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(types.RejectedLogEventsInfo{})); d != "" {
		t.Error(d)
	}
	if n := len(must(w.GetLogEvents(w.ctx, &cwl.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s")})).Events); n != 2 {
		t.Errorf("%d events", n)
	}
}

func TestRetentionDeletes(t *testing.T) {
	w := newWorld(t)
	w.stream("g", "s")
	w.put("g", "s", 0, "old")
	must(w.PutRetentionPolicy(w.ctx, &cwl.PutRetentionPolicyInput{LogGroupName: aws.String("g"), RetentionInDays: aws.Int32(1)}))
	w.clock.Step(25 * time.Hour)
	read := func() int {
		return len(must(w.GetLogEvents(w.ctx, &cwl.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s")})).Events)
	}
	if n := read(); n != 0 {
		t.Errorf("%d expired events are read", n)
	}
	if len(chunks.ListAll(w.store)) != 1 {
		t.Fatal("the test needs a chunk")
	}
	if err := w.sweep(w.ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(chunks.ListAll(w.store)); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
	w.put("g", "s", (25 * time.Hour).Milliseconds(), "new")
	if n := read(); n != 1 {
		t.Errorf("%d events", n)
	}
	if g := must(w.DescribeLogGroups(w.ctx, &cwl.DescribeLogGroupsInput{})).LogGroups[0]; *g.StoredBytes != 3+overhead {
		t.Errorf("storedBytes = %d", *g.StoredBytes)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.stream("g", "s")
	big := strings.Repeat("x", 1<<20-overhead)
	for i := range 20 {
		w.put("g", "s", int64(i), big)
	}
	w.put("g", "s", 20, "last")
	if n := *must(w.DescribeLogGroups(w.ctx, &cwl.DescribeLogGroupsInput{})).LogGroups[0].StoredBytes; n > MaxStreamBytes {
		t.Errorf("%d bytes are kept", n)
	}
	out := must(w.GetLogEvents(w.ctx, &cwl.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s"), Limit: aws.Int32(1)}))
	if *out.Events[0].Message != "last" {
		t.Error("the newest event is gone")
	}
	must(w.DeleteLogGroup(w.ctx, &cwl.DeleteLogGroupInput{LogGroupName: aws.String("g")}))
	if n := len(chunks.ListAll(w.store)) + len(streams.ListAll(w.store)); n != 0 {
		t.Errorf("%d records are left of a deleted group", n)
	}
}

func TestSmallWritesShareChunks(t *testing.T) {
	w := newWorld(t)
	w.stream("g", "s")
	for i := range 1200 {
		w.put("g", "s", int64(i), fmt.Sprint("line ", i))
	}
	if n := len(chunks.ListAll(w.store)); n > 2 {
		t.Errorf("%d chunks", n)
	}
	out := must(w.GetLogEvents(w.ctx, &cwl.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s")}))
	for i, e := range out.Events {
		if *e.Message != fmt.Sprint("line ", i) {
			t.Fatalf("event %d is %s", i, *e.Message)
		}
	}
	if len(out.Events) != 1200 {
		t.Errorf("%d events", len(out.Events))
	}
}

func TestDeliverIsWhole(t *testing.T) {
	w := newWorld(t)
	marks := store.Table[int]("marks")
	sc := awsid.Scope{Account: account, Region: region}
	for i := range 3 {
		err := w.Deliver(w.ctx, "/aws/eks/dev/cluster", "kube-apiserver-1", []string{"a", "", "b"}, func(tx *store.Tx) { marks.Put(tx, sc, "m", &i) })
		if err != nil {
			t.Fatal(err)
		}
	}
	out := must(w.GetLogEvents(w.ctx, &cwl.GetLogEventsInput{LogGroupName: aws.String("/aws/eks/dev/cluster"), LogStreamName: aws.String("kube-apiserver-1")}))
	if got := texts(out.Events); got != "a b a b a b" || *marks.Get(w.store, sc, "m") != 2 {
		t.Errorf("%s, mark %d", got, *marks.Get(w.store, sc, "m"))
	}
}

func TestResourcePolicies(t *testing.T) {
	w := newWorld(t)
	doc := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"es.amazonaws.com"},"Action":"logs:PutLogEvents","Resource":"*"}]}`
	must(w.PutResourcePolicy(w.ctx, &cwl.PutResourcePolicyInput{PolicyName: aws.String("p"), PolicyDocument: &doc}))
	l := must(w.DescribeResourcePolicies(w.ctx, &cwl.DescribeResourcePoliciesInput{})).ResourcePolicies
	want := []types.ResourcePolicy{{PolicyName: aws.String("p"), PolicyDocument: &doc, LastUpdatedTime: aws.Int64(start.UnixMilli()), PolicyScope: "ACCOUNT"}}
	if d := cmp.Diff(want, l, cmpopts.IgnoreUnexported(types.ResourcePolicy{})); d != "" {
		t.Error(d)
	}
	must(w.DeleteResourcePolicy(w.ctx, &cwl.DeleteResourcePolicyInput{PolicyName: aws.String("p")}))
}

func inputEvent(m string) types.InputLogEvent {
	return types.InputLogEvent{Message: &m, Timestamp: aws.Int64(start.UnixMilli())}
}
