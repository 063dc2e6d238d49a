package sqs

import (
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
)

func TestFIFO(t *testing.T) {
	f := newFixture(t)
	url := f.queue("jobs.fifo", "FifoQueue", "true")
	a1 := f.send(url, "a1", inGroup("a", "1"))
	if dup := f.send(url, "a1 again", inGroup("a", "1")); *dup.MessageId != *a1.MessageId || *dup.SequenceNumber != *a1.SequenceNumber {
		t.Error("a duplicate has another id")
	}
	a2 := f.send(url, "a2", inGroup("a", "2"))
	if *a2.SequenceNumber <= *a1.SequenceNumber || len(*a2.SequenceNumber) != 20 {
		t.Errorf("sequence numbers %s, %s", *a1.SequenceNumber, *a2.SequenceNumber)
	}
	out, err := f.ReceiveMessage(f.ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"}})
	if err != nil || len(out.Messages) != 1 {
		t.Fatal(out, err)
	}
	want := map[string]string{
		"ApproximateFirstReceiveTimestamp": strconv.FormatInt(start.UnixMilli(), 10), "ApproximateReceiveCount": "1", "MessageDeduplicationId": "1", "MessageGroupId": "a",
		"SenderId": "111122223333", "SentTimestamp": strconv.FormatInt(start.UnixMilli(), 10), "SequenceNumber": *a1.SequenceNumber,
	}
	if d := cmp.Diff(want, out.Messages[0].Attributes); d != "" {
		t.Errorf("system attributes (-want +got):\n%s", d)
	}
	f.want(url) // a's first is in flight
	f.send(url, "b1", inGroup("b", "3"))
	f.want(url, "b1")
	if _, err := f.DeleteMessage(f.ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: out.Messages[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	f.want(url, "a2")
	f.clock.Step(time.Minute)
	handles := f.want(url, "a2", "b1")
	f.clock.Step(time.Minute)
	_, err = f.DeleteMessage(f.ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: handles[0]})
	if got, want := code(err), "InvalidParameterValue: Value "+*handles[0]+" for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."; got != want {
		t.Errorf("deleting late: %s", got)
	}
	f.clock.Step(dedupFor)
	if later := f.send(url, "a1", inGroup("a", "1")); *later.MessageId == *a1.MessageId {
		t.Error("deduplicated after more than five minutes")
	}
}

func TestDeadLetters(t *testing.T) {
	f := newFixture(t)
	dlq := f.queue("dead")
	url := f.queue("jobs", "VisibilityTimeout", "1", "RedrivePolicy", `{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:111122223333:dead","maxReceiveCount":"2"}`)
	sent := f.send(url, "poison")
	for range 2 {
		f.want(url, "poison")
		f.clock.Step(time.Second)
	}
	f.want(url)
	out, err := f.ReceiveMessage(f.ctx, &sqs.ReceiveMessageInput{QueueUrl: dlq, MessageSystemAttributeNames: []types.MessageSystemAttributeName{"DeadLetterQueueSourceArn"}})
	if err != nil || len(out.Messages) != 1 || *out.Messages[0].MessageId != *sent.MessageId {
		t.Fatalf("in the dead-letter queue: %+v %v", out, err)
	}
	if d := cmp.Diff(map[string]string{"DeadLetterQueueSourceArn": "arn:aws:sqs:eu-west-1:111122223333:jobs"}, out.Messages[0].Attributes); d != "" {
		t.Error(d)
	}
	from, err := f.ListDeadLetterSourceQueues(f.ctx, &sqs.ListDeadLetterSourceQueuesInput{QueueUrl: dlq})
	if err != nil || cmp.Diff([]string{*url}, from.QueueUrls) != "" {
		t.Errorf("source queues %v, %v", from, err)
	}
	f.clock.Step(time.Minute)
	arn := "arn:aws:sqs:eu-west-1:111122223333:dead"
	if _, err := f.StartMessageMoveTask(f.ctx, &sqs.StartMessageMoveTaskInput{SourceArn: &arn}); err != nil {
		t.Fatal(err)
	}
	f.want(url, "poison")
	list, err := f.ListMessageMoveTasks(f.ctx, &sqs.ListMessageMoveTasksInput{SourceArn: &arn})
	if err != nil || len(list.Results) != 1 || list.Results[0].ApproximateNumberOfMessagesMoved != 1 {
		t.Errorf("tasks %+v, %v", list, err)
	}
}
