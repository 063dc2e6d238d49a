package sqs

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// onHandles runs f for messages by their receipt handles, in one transaction. f
// gets nil for a message that is gone. Its errors are per handle.
func (s *Service) onHandles(ctx context.Context, queueURL *string, action string, handles []*string, f func(tx *store.Tx, q *queue, m *message, receipt string, i int) error) ([]error, error) {
	sc, name, err := s.locate(ctx, queueURL, action)
	if err != nil {
		return nil, err
	}
	var errs []error
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		errs = make([]error, len(handles))
		q := queues.Get(tx, sc, name)
		if q == nil {
			return noQueue()
		}
		for i, h := range handles {
			if aws.ToString(h) == "" {
				errs[i] = missing("ReceiptHandle")
				continue
			}
			key, receipt, ok := parseHandle(q, *h)
			if !ok {
				errs[i] = &types.ReceiptHandleIsInvalid{Message: aws.String(`The input receipt handle "` + *h + `" is not a valid receipt handle.`)}
				continue
			}
			m := messages.Edit(tx, sc, messageID(q.ID, key))
			if m != nil && q.gone(m, s.clock.Now()) {
				m = nil
			}
			// What one handle is refused for must not keep the others from their
			// answer, so that the transaction commits in any case.
			if err := f(tx, q, m, receipt, i); err != nil {
				errs[i] = about(*h, err)
			}
		}
		return nil
	})
	return errs, err
}

// expired and unavailable are about a receipt handle, which about adds.
var (
	errExpired     = errors.New("The receipt handle has expired.")                                           //nolint:staticcheck,revive // SQS's words
	errUnavailable = errors.New("Message does not exist or is not available for visibility timeout change.") //nolint:staticcheck,revive // SQS's words
)

func about(handle string, err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return err
	}
	return invalidValue(handle, "ReceiptHandle", err.Error())
}

func one(errs []error, err error) error {
	if err != nil {
		return err
	}
	return errs[0]
}

// remove deletes a received message. A standard queue takes any handle that the
// message ever had; a FIFO queue only the newest, and only until it expires.
func (s *Service) remove(tx *store.Tx, q *queue, m *message, receipt string) error {
	if m == nil {
		return nil
	}
	if q.fifo() && (m.Receipt != receipt || !m.Visible.After(s.clock.Now())) {
		return errExpired
	}
	messages.Delete(tx, q.Scope, messageID(q.ID, m.Key))
	return nil
}

// DeleteMessage implements the operation.
func (s *Service) DeleteMessage(ctx context.Context, in *sqs.DeleteMessageInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error) {
	err := one(s.onHandles(ctx, in.QueueUrl, "DeleteMessage", []*string{in.ReceiptHandle}, func(tx *store.Tx, q *queue, m *message, receipt string, _ int) error {
		return s.remove(tx, q, m, receipt)
	}))
	if err != nil {
		return nil, err
	}
	return &sqs.DeleteMessageOutput{}, nil
}

// DeleteMessageBatch implements the operation.
func (s *Service) DeleteMessageBatch(ctx context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	var ids, handles []*string
	for _, e := range in.Entries {
		ids, handles = append(ids, e.Id), append(handles, e.ReceiptHandle)
	}
	if err := checkBatch("DeleteMessageBatchRequestEntry", ids); err != nil {
		return nil, err
	}
	errs, err := s.onHandles(ctx, in.QueueUrl, "DeleteMessage", handles, func(tx *store.Tx, q *queue, m *message, receipt string, _ int) error {
		return s.remove(tx, q, m, receipt)
	})
	if err != nil {
		return nil, err
	}
	out := &sqs.DeleteMessageBatchOutput{}
	for i, err := range errs {
		if err != nil {
			out.Failed = append(out.Failed, failedEntry(ids[i], err))
			continue
		}
		out.Successful = append(out.Successful, types.DeleteMessageBatchResultEntry{Id: ids[i]})
	}
	return out, nil
}

// hide changes when a message in flight becomes visible again.
func (s *Service) hide(tx *store.Tx, q *queue, m *message, receipt string, seconds int32) error {
	now := s.clock.Now().UTC()
	switch {
	case m == nil, q.fifo() && m.Receipt != receipt:
		return errUnavailable
	case !m.Visible.After(now):
		return &types.MessageNotInflight{Message: aws.String("The specified message isn't in flight.")}
	}
	m.Visible = now.Add(time.Duration(seconds) * time.Second)
	messages.Put(tx, q.Scope, messageID(q.ID, m.Key), m)
	return nil
}

// ChangeMessageVisibility implements the operation.
func (s *Service) ChangeMessageVisibility(ctx context.Context, in *sqs.ChangeMessageVisibilityInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error) {
	if err := checkVisibility(in.VisibilityTimeout); err != nil {
		return nil, err
	}
	err := one(s.onHandles(ctx, in.QueueUrl, "ChangeMessageVisibility", []*string{in.ReceiptHandle}, func(tx *store.Tx, q *queue, m *message, receipt string, _ int) error {
		return s.hide(tx, q, m, receipt, in.VisibilityTimeout)
	}))
	if err != nil {
		return nil, err
	}
	return &sqs.ChangeMessageVisibilityOutput{}, nil
}

// ChangeMessageVisibilityBatch implements the operation.
func (s *Service) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	var ids, handles []*string
	for _, e := range in.Entries {
		ids, handles = append(ids, e.Id), append(handles, e.ReceiptHandle)
	}
	if err := checkBatch("ChangeMessageVisibilityBatchRequestEntry", ids); err != nil {
		return nil, err
	}
	errs, err := s.onHandles(ctx, in.QueueUrl, "ChangeMessageVisibility", handles, func(tx *store.Tx, q *queue, m *message, receipt string, i int) error {
		if err := checkVisibility(in.Entries[i].VisibilityTimeout); err != nil {
			return err
		}
		return s.hide(tx, q, m, receipt, in.Entries[i].VisibilityTimeout)
	})
	if err != nil {
		return nil, err
	}
	out := &sqs.ChangeMessageVisibilityBatchOutput{}
	for i, err := range errs {
		if err != nil {
			out.Failed = append(out.Failed, failedEntry(ids[i], err))
			continue
		}
		out.Successful = append(out.Successful, types.ChangeMessageVisibilityBatchResultEntry{Id: ids[i]})
	}
	return out, nil
}

// ListDeadLetterSourceQueues implements the operation.
func (s *Service) ListDeadLetterSourceQueues(ctx context.Context, in *sqs.ListDeadLetterSourceQueuesInput, _ ...func(*sqs.Options)) (*sqs.ListDeadLetterSourceQueuesOutput, error) {
	q, err := s.find(ctx, in.QueueUrl, "ListDeadLetterSourceQueues")
	if err != nil {
		return nil, err
	}
	limit := 1000
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	var from []*queue
	for _, o := range queues.List(s.store, awsid.CallerFrom(ctx).Scope) {
		if p, ok := o.redrive(); ok && p.Target == q.arn() {
			from = append(from, o)
		}
	}
	from, next, err := page(from, func(q *queue) string { return q.Name }, in.NextToken, limit)
	if err != nil {
		return nil, err
	}
	out := &sqs.ListDeadLetterSourceQueuesOutput{QueueUrls: []string{}, NextToken: next}
	for _, o := range from {
		out.QueueUrls = append(out.QueueUrls, *o.url(ctx))
	}
	return out, nil
}
