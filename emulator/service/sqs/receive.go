package sqs

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxVisibility = 43200

// receive is a ReceiveMessage request with the queue's defaults.
type receive struct {
	in         *sqs.ReceiveMessageInput
	scope      awsid.Scope
	name       string
	most       int
	visibility *time.Duration // nil: the queue's
	wait       *time.Duration // nil: the queue's
}

func (s *Service) newReceive(ctx context.Context, in *sqs.ReceiveMessageInput) (*receive, error) {
	sc, name, err := s.locate(ctx, in.QueueUrl, "ReceiveMessage")
	if err != nil {
		return nil, err
	}
	r := &receive{in: in, scope: sc, name: name, most: 1}
	if in.MaxNumberOfMessages != 0 || sent(ctx, "MaxNumberOfMessages") {
		if r.most = int(in.MaxNumberOfMessages); r.most < 1 || r.most > 10 {
			return nil, invalidValue(r.most, "MaxNumberOfMessages", "Must be between 1 and 10, if provided.")
		}
	}
	if in.WaitTimeSeconds != 0 || sent(ctx, "WaitTimeSeconds") {
		if in.WaitTimeSeconds < 0 || in.WaitTimeSeconds > 20 {
			return nil, invalidValue(in.WaitTimeSeconds, "WaitTimeSeconds", "Must be >= 0 and <= 20, if provided.")
		}
		d := time.Duration(in.WaitTimeSeconds) * time.Second
		r.wait = &d
	}
	if in.VisibilityTimeout != 0 || sent(ctx, "VisibilityTimeout") {
		if err := checkVisibility(in.VisibilityTimeout); err != nil {
			return nil, err
		}
		d := time.Duration(in.VisibilityTimeout) * time.Second
		r.visibility = &d
	}
	for _, n := range append(slices.Clone(in.MessageSystemAttributeNames), systemNames(in.AttributeNames)...) {
		if !slices.Contains(append(n.Values(), "All"), n) {
			return nil, attributeName("Unknown Attribute %s.", n)
		}
	}
	return r, nil
}

// systemNames are the names given in the older of the two members.
func systemNames(in []types.QueueAttributeName) []types.MessageSystemAttributeName {
	out := make([]types.MessageSystemAttributeName, len(in))
	for i, n := range in {
		out[i] = types.MessageSystemAttributeName(n)
	}
	return out
}

func checkVisibility(seconds int32) error {
	if seconds < 0 || seconds > maxVisibility {
		return invalidValue(seconds, "VisibilityTimeout", "Must be between 0 and 43200, if provided.")
	}
	return nil
}

// ReceiveMessage implements the operation. It waits for messages as long as the
// request, or else the queue, says.
func (s *Service) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	r, err := s.newReceive(ctx, in)
	if err != nil {
		return nil, err
	}
	began := s.clock.Now()
	for {
		q := queues.Get(s.store, r.scope, r.name)
		if q == nil {
			return nil, noQueue()
		}
		wait := q.seconds(types.QueueAttributeNameReceiveMessageWaitTimeSeconds)
		if r.wait != nil {
			wait = *r.wait
		}
		wake, done := s.polls.wait(q.ID)
		got, err := s.take(ctx, r)
		left := wait - s.clock.Since(began)
		if err != nil || len(got) > 0 || left <= 0 {
			done()
			return r.answer(got), err
		}
		s.await(ctx, q, left, wake)
		done()
		if ctx.Err() != nil { // the client went away, or the emulator ends
			return r.answer(nil), nil
		}
	}
}

// await returns when there may be a message: one comes, or one becomes visible.
func (s *Service) await(ctx context.Context, q *queue, most time.Duration, wake <-chan struct{}) {
	now := s.clock.Now()
	for _, m := range held(s.store, q, now) {
		if d := m.Visible.Sub(now); d > 0 {
			most = min(most, d)
		}
	}
	timer := s.clock.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C():
	}
}

// take receives what is visible now.
func (s *Service) take(ctx context.Context, r *receive) ([]*message, error) {
	// Looking first, outside of the transaction, keeps receivers that find
	// nothing from writing and standard queues' ones from conflicting with senders.
	q := queues.Get(s.store, r.scope, r.name)
	if q == nil {
		return nil, noQueue()
	}
	if len(s.receivable(s.store, q, r.most)) == 0 {
		return nil, nil
	}
	var got []*message
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		got = nil
		q := queues.Get(tx, r.scope, r.name)
		if q == nil {
			return noQueue()
		}
		var from store.Reader = s.store
		if q.fifo() {
			from = tx // order within groups needs one state of the whole queue
		}
		for _, m := range s.receivable(from, q, -1) {
			if len(got) == r.most {
				break
			}
			if m := s.receiveOne(tx, q, r, m.Key); m != nil {
				got = append(got, m)
			}
		}
		return nil
	})
	return got, err
}

// receivable are up to n messages (all if n < 0) that can be received now, in
// order. A FIFO group is blocked while one of its messages is in flight.
func (s *Service) receivable(r store.Reader, q *queue, n int) []*message {
	now := s.clock.Now()
	all := held(r, q, now)
	blocked := map[string]bool{}
	if q.fifo() {
		for _, m := range all {
			if m.Visible.After(now) && m.Receipt != "" {
				blocked[m.Group] = true
			}
		}
	}
	var out []*message
	for _, m := range all {
		if len(out) == n {
			break
		}
		if m.Visible.After(now) {
			if q.fifo() {
				blocked[m.Group] = true // a delayed one holds up what is behind it
			}
			continue
		}
		if !q.fifo() || !blocked[m.Group] {
			out = append(out, m)
		}
	}
	return out
}

// receiveOne marks a message as received, or moves one that was received too
// often to the dead-letter queue and returns nil.
func (s *Service) receiveOne(tx *store.Tx, q *queue, r *receive, key string) *message {
	id := messageID(q.ID, key)
	m := messages.Edit(tx, q.Scope, id)
	now := s.clock.Now().UTC()
	if m == nil || m.Visible.After(now) {
		return nil // another receiver was faster
	}
	if p, ok := q.redrive(); ok && int64(m.Receives) >= p.max() && s.bury(tx, q, m, p) {
		return nil
	}
	visibility := q.seconds(types.QueueAttributeNameVisibilityTimeout)
	if r.visibility != nil {
		visibility = *r.visibility
	}
	m.Receives++
	if m.First.IsZero() {
		m.First = now
	}
	m.Receipt, m.Visible = awsid.Hex(16), now.Add(visibility)
	messages.Put(tx, q.Scope, id, m)
	return m
}

// bury moves a message to the dead-letter queue. One that is gone leaves the
// message where it is.
func (s *Service) bury(tx *store.Tx, q *queue, m *message, p redrive) bool {
	sc, name, _ := parseARN(p.Target)
	dlq := queues.Get(tx, sc, name)
	if dlq == nil {
		return false
	}
	messages.Delete(tx, q.Scope, messageID(q.ID, m.Key))
	moved := *m
	moved.Visible, moved.Receipt, moved.SourceARN = s.clock.Now().UTC(), "", q.arn()
	moved.Receives, moved.First = 0, time.Time{}
	if dlq.fifo() {
		moved.Sent = s.clock.Now().UTC() // standard queues keep the time of the first sending
	}
	s.put(tx, dlq, &moved)
	return true
}

// receipt handles name a message and the receive.

func (m *message) handle() string {
	return base64.StdEncoding.EncodeToString([]byte(m.QueueID + " " + m.Key + " " + m.Receipt))
}

func parseHandle(q *queue, handle string) (key, receipt string, ok bool) {
	b, err := base64.StdEncoding.DecodeString(handle)
	if err != nil {
		return "", "", false
	}
	p := strings.Split(string(b), " ")
	if len(p) != 3 || p[0] != q.ID {
		return "", "", false
	}
	return p[1], p[2], true
}

func (r *receive) answer(got []*message) *sqs.ReceiveMessageOutput {
	out := &sqs.ReceiveMessageOutput{}
	for _, m := range got {
		handle := m.handle()
		v := types.Message{MessageId: &m.ID, Body: &m.Body, MD5OfBody: &m.MD5, ReceiptHandle: &handle}
		v.MessageAttributes = pick(m.Attributes, r.in.MessageAttributeNames)
		v.MD5OfMessageAttributes = sumAttributes(v.MessageAttributes)
		v.Attributes = m.system(append(slices.Clone(r.in.MessageSystemAttributeNames), systemNames(r.in.AttributeNames)...))
		out.Messages = append(out.Messages, v)
	}
	return out
}

// pick returns the attributes that were asked for: by name, by "prefix.*", or all.
func pick(all map[string]types.MessageAttributeValue, names []string) map[string]types.MessageAttributeValue {
	out := maps.Clone(all)
	maps.DeleteFunc(out, func(k string, _ types.MessageAttributeValue) bool {
		return !slices.ContainsFunc(names, func(n string) bool {
			prefix, wild := strings.CutSuffix(n, ".*")
			return n == k || n == "All" || n == ".*" || wild && prefix != "" && strings.HasPrefix(k, prefix)
		})
	})
	if len(out) == 0 {
		return nil
	}
	return out
}

func (m *message) system(names []types.MessageSystemAttributeName) map[string]string {
	if len(names) == 0 {
		return nil
	}
	all := map[string]string{
		"SenderId":                         m.Sender,
		"SentTimestamp":                    strconv.FormatInt(m.Sent.UnixMilli(), 10),
		"ApproximateReceiveCount":          strconv.Itoa(m.Receives),
		"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.First.UnixMilli(), 10),
	}
	for k, v := range map[string]string{
		"MessageGroupId": m.Group, "MessageDeduplicationId": m.Dedup, "SequenceNumber": m.Sequence, "DeadLetterQueueSourceArn": m.SourceARN,
	} {
		if v != "" {
			all[k] = v
		}
	}
	if t, ok := m.System["AWSTraceHeader"]; ok && t.StringValue != nil {
		all["AWSTraceHeader"] = *t.StringValue
	}
	if slices.Contains(names, "All") {
		return all
	}
	out := map[string]string{}
	for _, n := range names {
		if v, ok := all[string(n)]; ok {
			out[string(n)] = v
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
