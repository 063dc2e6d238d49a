package sqs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// outgoing is a message to be sent, by SendMessage, as an entry of a batch, or by
// another service.
type outgoing struct {
	types.SendMessageBatchRequestEntry
	delayed bool // DelaySeconds was given, be it 0
	sender  string
}

// SendMessage implements the operation.
func (s *Service) SendMessage(ctx context.Context, in *sqs.SendMessageInput, _ ...func(*sqs.Options)) (*sqs.SendMessageOutput, error) {
	o := outgoing{
		SendMessageBatchRequestEntry: types.SendMessageBatchRequestEntry{
			MessageBody: in.MessageBody, DelaySeconds: in.DelaySeconds, MessageAttributes: in.MessageAttributes, MessageDeduplicationId: in.MessageDeduplicationId,
			MessageGroupId: in.MessageGroupId, MessageSystemAttributes: in.MessageSystemAttributes,
		},
		delayed: in.DelaySeconds != 0 || sent(ctx, "DelaySeconds"), sender: awsid.CallerFrom(ctx).UserID,
	}
	sc, name, err := s.locate(ctx, in.QueueUrl, "SendMessage")
	if err != nil {
		return nil, err
	}
	var m *message
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		q := queues.Get(tx, sc, name)
		if q == nil {
			return noQueue()
		}
		if err := o.check(q); err != nil {
			return err
		}
		m = s.enqueue(tx, q, o)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sqs.SendMessageOutput{
		MessageId: &m.ID, MD5OfMessageBody: &m.MD5, MD5OfMessageAttributes: sumAttributes(in.MessageAttributes),
		MD5OfMessageSystemAttributes: sumSystem(in.MessageSystemAttributes), SequenceNumber: optional(m.Sequence),
	}, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// check validates a message for a queue.
func (o *outgoing) check(q *queue) error {
	body := aws.ToString(o.MessageBody)
	if body == "" {
		return missing("MessageBody")
	}
	if !validText(body) {
		return &types.InvalidMessageContents{Message: aws.String(invalidText)}
	}
	if err := checkAttributes(o.MessageAttributes); err != nil {
		return err
	}
	for name := range o.MessageSystemAttributes {
		if name != "AWSTraceHeader" {
			return invalid("Message system attribute name '%s' is invalid.", name)
		}
	}
	if o.DelaySeconds < 0 || o.DelaySeconds > 900 {
		return invalidValue(o.DelaySeconds, "DelaySeconds", "DelaySeconds must be >= 0 and <= 900.")
	}
	if most := q.number(types.QueueAttributeNameMaximumMessageSize); o.size() > most {
		return invalid("One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", most)
	}
	if err := checkID("MessageGroupId", o.MessageGroupId); err != nil {
		return err
	}
	if err := checkID("MessageDeduplicationId", o.MessageDeduplicationId); err != nil {
		return err
	}
	return o.checkOrder(q)
}

// checkOrder is about what only one of the two kinds of queues takes.
func (o *outgoing) checkOrder(q *queue) error {
	if !q.fifo() {
		if o.MessageDeduplicationId != nil {
			return invalidValue(*o.MessageDeduplicationId, "MessageDeduplicationId", "The request include parameter that is not valid for this queue type.")
		}
		return nil
	}
	switch {
	case o.DelaySeconds != 0:
		return invalidValue(o.DelaySeconds, "DelaySeconds", "The request include parameter that is not valid for this queue type.")
	case o.MessageGroupId == nil:
		return missing("MessageGroupId")
	case o.MessageDeduplicationId == nil && q.attribute(types.QueueAttributeNameContentBasedDeduplication) != "true":
		return invalid("The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
	}
	return nil
}

func (o *outgoing) size() int {
	n := len(aws.ToString(o.MessageBody))
	for k, v := range o.MessageAttributes {
		n += len(k) + len(aws.ToString(v.DataType)) + len(aws.ToString(v.StringValue)) + len(v.BinaryValue)
	}
	return n
}

const invalidText = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"

// validText tells whether XML 1.0, which SQS once spoke only, has all characters.
func validText(s string) bool {
	for _, r := range s {
		switch {
		case r == 0x9, r == 0xA, r == 0xD, r >= 0x20 && r <= 0xD7FF, r >= 0xE000 && r <= 0xFFFD, r >= 0x10000:
		default:
			return false
		}
	}
	return true
}

var (
	// fifoID is what groups and deduplication ids may consist of.
	fifoID        = regexp.MustCompile("^[a-zA-Z0-9!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]{1,128}$")
	attributeForm = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)
	typeForm      = regexp.MustCompile(`^(String|Number|Binary)(\..*)?$`)
)

func checkID(parameter string, v *string) error {
	if v != nil && !fifoID.MatchString(*v) {
		return invalidValue(*v, parameter, parameter+" can only include alphanumeric and punctuation characters. 1 to 128 in length.")
	}
	return nil
}

func checkAttributes(attrs map[string]types.MessageAttributeValue) error {
	if len(attrs) > 10 {
		return invalid("Number of message attributes [%d] exceeds the allowed maximum [10].", len(attrs))
	}
	for name, v := range attrs {
		low := strings.ToLower(name)
		typ := aws.ToString(v.DataType)
		switch {
		case len(name) > 256:
			return invalid("Message (user) attribute names must be shorter than 256 Bytes")
		case !attributeForm.MatchString(name):
			return invalid("Message (user) attributes name can only contain upper and lower score characters, digits, periods, hyphens and underscores. ")
		case strings.HasPrefix(low, "aws.") || strings.HasPrefix(low, "amazon.") || strings.HasPrefix(name, ".") || strings.HasSuffix(name, "."):
			return invalid("You can't use message attribute names beginning with 'AWS.' or 'Amazon.'. These strings are reserved for internal use. Additionally, they cannot start or end with '.'.")
		case typ == "":
			return invalid("The message attribute '%s' must contain a non-empty message attribute type.", name)
		case !typeForm.MatchString(typ):
			return invalid("The message attribute '%s' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.", name)
		case strings.HasPrefix(typ, "Binary") && len(v.BinaryValue) == 0, !strings.HasPrefix(typ, "Binary") && aws.ToString(v.StringValue) == "":
			return invalid("Message (user) attribute '%s' must contain a non-empty value of type '%s'.", name, typ)
		}
		if !validText(aws.ToString(v.StringValue)) {
			return invalid(invalidText)
		}
	}
	return nil
}

// enqueue puts a checked message into a queue. A FIFO queue that has had it in
// the last five minutes answers what it answered then.
func (s *Service) enqueue(tx *store.Tx, q *queue, o outgoing) *message {
	now := s.clock.Now().UTC()
	m := &message{
		QueueID: q.ID, ID: awsid.NewUUID(), Body: aws.ToString(o.MessageBody), MD5: sum([]byte(aws.ToString(o.MessageBody))), Attributes: o.MessageAttributes,
		System: o.MessageSystemAttributes, Sender: o.sender, Sent: now, Visible: now, Group: aws.ToString(o.MessageGroupId),
	}
	delay := time.Duration(o.DelaySeconds) * time.Second
	if !o.delayed {
		delay = q.seconds(types.QueueAttributeNameDelaySeconds)
	}
	m.Visible = now.Add(delay)
	if !q.fifo() {
		s.put(tx, q, m)
		return m
	}
	m.Dedup = aws.ToString(o.MessageDeduplicationId)
	if m.Dedup == "" {
		h := sha256.Sum256([]byte(m.Body))
		m.Dedup = hex.EncodeToString(h[:])
	}
	id := q.ID + "/" + m.Dedup
	if q.attribute(types.QueueAttributeNameDeduplicationScope) == "messageGroup" {
		id = q.ID + "/" + m.Group + "/" + m.Dedup
	}
	if d := dedups.Get(tx, q.Scope, id); d != nil && now.Sub(d.At) < dedupFor && d.At.After(q.Purged) {
		m.ID, m.Sequence = d.MessageID, d.Sequence
		return m
	}
	s.put(tx, q, m)
	dedups.Put(tx, q.Scope, id, &dedup{QueueID: q.ID, MessageID: m.ID, Sequence: m.Sequence, At: now})
	return m
}

// put stores a message at the queue's end.
func (s *Service) put(tx *store.Tx, q *queue, m *message) {
	m.QueueID = q.ID
	if q.fifo() {
		seq := sequences.Edit(tx, q.Scope, q.ID)
		if seq == nil {
			seq = &sequence{}
		}
		seq.Last++
		sequences.Put(tx, q.Scope, q.ID, seq)
		// 20 digits that begin where SQS's own do.
		m.Sequence = fmt.Sprintf("1889%016d", seq.Last)
		m.Key = m.Sequence
	} else {
		m.Key = fmt.Sprintf("%020d-%s", s.clock.Now().UnixNano(), awsid.Hex(8))
	}
	messages.Put(tx, q.Scope, messageID(q.ID, m.Key), m)
}

// Deliver puts a message of another service into a queue, in that service's
// transaction. group is for FIFO queues. It reports a queue that is not there or does
// not take the message.
func (s *Service) Deliver(tx *store.Tx, queueARN, sender, body, group string) error {
	sc, name, ok := parseARN(queueARN)
	if !ok {
		return noQueue()
	}
	q := queues.Get(tx, sc, name)
	if q == nil {
		return noQueue()
	}
	o := outgoing{SendMessageBatchRequestEntry: types.SendMessageBatchRequestEntry{MessageBody: &body, MessageGroupId: optional(group)}, sender: sender}
	if err := o.check(q); err != nil {
		return err
	}
	s.enqueue(tx, q, o)
	return nil
}

// SendMessageBatch implements the operation.
func (s *Service) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	sc, name, err := s.locate(ctx, in.QueueUrl, "SendMessage")
	if err != nil {
		return nil, err
	}
	ids := make([]*string, len(in.Entries))
	total := 0
	given := sentEntries(ctx, "DelaySeconds")
	all := make([]outgoing, len(in.Entries))
	for i, e := range in.Entries {
		ids[i] = e.Id
		all[i] = outgoing{SendMessageBatchRequestEntry: e, delayed: e.DelaySeconds != 0 || i < len(given) && given[i], sender: awsid.CallerFrom(ctx).UserID}
		total += all[i].size()
	}
	if err := checkBatch("SendMessageBatchRequestEntry", ids); err != nil {
		return nil, err
	}
	if total > maxMessage {
		return nil, &types.BatchRequestTooLong{Message: aws.String(fmt.Sprintf("Batch requests cannot be longer than %d bytes. You have sent %d bytes.", maxMessage, total))}
	}
	out := &sqs.SendMessageBatchOutput{}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		out.Successful, out.Failed = nil, nil
		q := queues.Get(tx, sc, name)
		if q == nil {
			return noQueue()
		}
		for _, o := range all {
			if err := o.check(q); err != nil {
				// What is wrong with the request's form fails all of it.
				if q.fifo() && (o.MessageGroupId == nil || o.MessageDeduplicationId == nil) {
					return err
				}
				out.Failed = append(out.Failed, failedEntry(o.Id, err))
				continue
			}
			m := s.enqueue(tx, q, o)
			out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{
				Id: o.Id, MessageId: &m.ID, MD5OfMessageBody: &m.MD5, MD5OfMessageAttributes: sumAttributes(o.MessageAttributes),
				MD5OfMessageSystemAttributes: sumSystem(o.MessageSystemAttributes), SequenceNumber: optional(m.Sequence),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

var entryID = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,80}$`)

// checkBatch validates the ids of a batch's entries.
func checkBatch(entry string, ids []*string) error {
	switch n := len(ids); {
	case n == 0:
		return &types.EmptyBatchRequest{Message: aws.String("There should be at least one " + entry + " in the request.")}
	case n > 10:
		return &types.TooManyEntriesInBatchRequest{Message: aws.String(fmt.Sprintf("Maximum number of entries per request are 10. You have sent %d.", n))}
	}
	var seen []string
	for _, id := range ids {
		if !entryID.MatchString(aws.ToString(id)) {
			return &types.InvalidBatchEntryId{Message: aws.String("A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")}
		}
		if slices.Contains(seen, *id) {
			return &types.BatchEntryIdsNotDistinct{Message: aws.String("Id " + *id + " repeated.")}
		}
		seen = append(seen, *id)
	}
	return nil
}
