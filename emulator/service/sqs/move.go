package sqs

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// moveTask is a finished redrive of a dead-letter queue. Moving is quick here, so
// that tasks end before StartMessageMoveTask answers and none can be cancelled.
type moveTask struct {
	ID, Source, Destination string
	Moved                   int64
	Rate                    *int32
	Started                 time.Time
}

func (t *moveTask) handle() string {
	b, err := json.Marshal(map[string]string{"taskId": t.ID, "sourceArn": t.Source})
	if err != nil {
		return "" // strings always have a JSON form
	}
	return base64.StdEncoding.EncodeToString(b)
}

func byARN(ctx context.Context, r store.Reader, arn *string, parameter string) (*queue, error) {
	if aws.ToString(arn) == "" {
		return nil, missing(parameter)
	}
	sc, name, ok := parseARN(*arn)
	if !ok {
		return nil, invalid("You must use this format to specify the %s: arn:<partition>:<service>:<region>:<account-id>:<resource-id>", parameter)
	}
	q := queues.Get(r, sc, name)
	if q == nil || sc != awsid.CallerFrom(ctx).Scope {
		return nil, noResource(parameter)
	}
	return q, nil
}

// StartMessageMoveTask implements the operation.
func (s *Service) StartMessageMoveTask(ctx context.Context, in *sqs.StartMessageMoveTaskInput, _ ...func(*sqs.Options)) (*sqs.StartMessageMoveTaskOutput, error) {
	source, err := byARN(ctx, s.store, in.SourceArn, "SourceArn")
	if err != nil {
		return nil, err
	}
	isDLQ := slices.ContainsFunc(queues.ListAll(s.store), func(q *queue) bool { p, ok := q.redrive(); return ok && p.Target == source.arn() })
	if !isDLQ {
		return nil, invalid("Source queue must be configured as a Dead Letter Queue.")
	}
	if in.DestinationArn != nil {
		if _, err := byARN(ctx, s.store, in.DestinationArn, "DestinationArn"); err != nil {
			return nil, err
		}
	}
	t := &moveTask{ID: awsid.NewUUID(), Source: source.arn(), Destination: aws.ToString(in.DestinationArn), Rate: in.MaxNumberOfMessagesPerSecond, Started: s.clock.Now().UTC()}
	for some := range slices.Chunk(s.receivable(s.store, source, -1), batch) {
		var moved int64
		err := s.store.Update(ctx, func(tx *store.Tx) error {
			moved = 0
			for _, m := range some {
				if s.move(tx, source, m.Key, t.Destination) {
					moved++
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		t.Moved += moved
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		tasks.Put(tx, source.Scope, source.ID+"/"+t.ID, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sqs.StartMessageMoveTaskOutput{TaskHandle: aws.String(t.handle())}, nil
}

// move puts one message of a dead-letter queue where it came from, or where to
// says.
func (s *Service) move(tx *store.Tx, source *queue, key, to string) bool {
	m := messages.Edit(tx, source.Scope, messageID(source.ID, key))
	now := s.clock.Now().UTC()
	if m == nil || m.Visible.After(now) {
		return false
	}
	if to == "" {
		to = m.SourceARN
	}
	sc, name, _ := parseARN(to)
	dest := queues.Get(tx, sc, name)
	if dest == nil {
		return false
	}
	messages.Delete(tx, source.Scope, messageID(source.ID, key))
	m.Sent, m.Visible, m.First, m.Receives, m.Receipt, m.SourceARN = now, now, time.Time{}, 0, "", ""
	s.put(tx, dest, m)
	return true
}

// ListMessageMoveTasks implements the operation.
func (s *Service) ListMessageMoveTasks(ctx context.Context, in *sqs.ListMessageMoveTasksInput, _ ...func(*sqs.Options)) (*sqs.ListMessageMoveTasksOutput, error) {
	source, err := byARN(ctx, s.store, in.SourceArn, "SourceArn")
	if err != nil {
		return nil, err
	}
	limit := int(cmp.Or(aws.ToInt32(in.MaxResults), 1))
	if limit < 1 || limit > 10 {
		return nil, invalidValue(limit, "MaxResults", "Must be between 1 and 10, if provided.")
	}
	all := tasks.ListPrefix(s.store, source.Scope, source.ID+"/")
	slices.SortFunc(all, func(a, b *moveTask) int { return b.Started.Compare(a.Started) })
	out := &sqs.ListMessageMoveTasksOutput{Results: []types.ListMessageMoveTasksResultEntry{}}
	for _, t := range all[:min(limit, len(all))] {
		out.Results = append(out.Results, types.ListMessageMoveTasksResultEntry{
			Status: aws.String("COMPLETED"), SourceArn: &t.Source, DestinationArn: optional(t.Destination), ApproximateNumberOfMessagesMoved: t.Moved,
			ApproximateNumberOfMessagesToMove: &t.Moved, MaxNumberOfMessagesPerSecond: t.Rate, StartedTimestamp: t.Started.UnixMilli(),
		})
	}
	return out, nil
}

// CancelMessageMoveTask implements the operation.
func (s *Service) CancelMessageMoveTask(ctx context.Context, in *sqs.CancelMessageMoveTaskInput, _ ...func(*sqs.Options)) (*sqs.CancelMessageMoveTaskOutput, error) {
	if aws.ToString(in.TaskHandle) == "" {
		return nil, missing("TaskHandle")
	}
	var h struct{ TaskID, SourceARN string }
	b, err := base64.StdEncoding.DecodeString(*in.TaskHandle)
	if err != nil || json.Unmarshal(b, &h) != nil || h.TaskID == "" {
		return nil, invalid("Value for parameter TaskHandle is invalid.")
	}
	source, err := byARN(ctx, s.store, &h.SourceARN, "SourceArn")
	if err != nil {
		return nil, err
	}
	if tasks.Get(s.store, source.Scope, source.ID+"/"+h.TaskID) == nil {
		return nil, &types.ResourceNotFoundException{Message: aws.String("Task does not exist.")}
	}
	return nil, invalid("Only active tasks can be cancelled.")
}
