package sqs

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	queues store.Table[queue] = "sqs-queues" // id: the queue's name
	// messages are keyed by messageID: a queue's are together, in their order.
	messages store.Table[message] = "sqs-messages"
	// dedups remember what FIFO queues took in the last five minutes.
	dedups store.Table[dedup] = "sqs-dedups"
	// sequences count the messages of FIFO queues, by queue id: records of their
	// own, for sending must not conflict with receiving.
	sequences store.Table[sequence] = "sqs-sequences"
	tasks     store.Table[moveTask] = "sqs-move-tasks" // id: queue id / task id
)

// queue is a queue. Its ID tells it from an earlier one of its name, whose
// messages are not its own.
type queue struct {
	Scope      awsid.Scope
	ID, Name   string
	Attributes map[string]string // as set, without defaults
	Tags       map[string]string
	Created    time.Time
	Modified   time.Time
	// Purged is when messages sent before were given up.
	Purged time.Time
}

// message is a message from its sending to its deletion.
type message struct {
	QueueID, Key string
	ID, Body     string
	MD5          string
	Attributes   map[string]types.MessageAttributeValue       `json:",omitempty"`
	System       map[string]types.MessageSystemAttributeValue `json:",omitempty"`
	Sender       string
	Sent         time.Time
	// Visible is when it can be received: after its delay, or after the
	// visibility timeout of its last receipt.
	Visible   time.Time
	Receives  int
	First     time.Time `json:",omitzero"`  // of the receives
	Receipt   string    `json:",omitempty"` // of the newest receive
	Group     string    `json:",omitempty"` // MessageGroupId
	Dedup     string    `json:",omitempty"` // MessageDeduplicationId
	Sequence  string    `json:",omitempty"` // of FIFO queues
	SourceARN string    `json:",omitempty"` // the queue that a dead-letter queue has it from
}

type dedup struct {
	QueueID, MessageID, Sequence string
	At                           time.Time
}

type sequence struct{ Last int64 }

// dedupFor is FIFO queues' deduplication interval.
const dedupFor = 5 * time.Minute

func (q *queue) fifo() bool { return strings.HasSuffix(q.Name, fifoSuffix) }

func (q *queue) arn() string { return q.Scope.ARN("sqs", q.Name) }

// attribute is an attribute's value, set or default.
func (q *queue) attribute(name types.QueueAttributeName) string {
	if v, ok := q.Attributes[string(name)]; ok {
		return v
	}
	return defaults[name]
}

func (q *queue) number(name types.QueueAttributeName) int {
	n, err := strconv.Atoi(q.attribute(name))
	if err != nil {
		return 0 // validated when it was set
	}
	return n
}

func (q *queue) seconds(name types.QueueAttributeName) time.Duration {
	return time.Duration(q.number(name)) * time.Second
}

// gone tells whether a message that is still stored has expired or was purged.
func (q *queue) gone(m *message, now time.Time) bool {
	return !m.Sent.After(q.Purged) || now.Sub(m.Sent) >= q.seconds(types.QueueAttributeNameMessageRetentionPeriod)
}

// messageID is a message's id in its table.
func messageID(queueID, key string) string { return queueID + "/" + key }

// held are the messages of a queue that are not gone, in their order.
func held(r store.Reader, q *queue, now time.Time) []*message {
	return slices.DeleteFunc(messages.ListPrefix(r, q.Scope, q.ID+"/"), func(m *message) bool { return q.gone(m, now) })
}

// batch is how many records one transaction removes.
const batch = 200

func (s *Service) removeMessages(ctx context.Context, keys []store.Key) error {
	return removeBatches(ctx, s.store, keys, messages.Delete)
}

func removeBatches(ctx context.Context, st *store.Store, keys []store.Key, remove func(*store.Tx, awsid.Scope, string)) error {
	for some := range slices.Chunk(keys, batch) {
		err := st.Update(ctx, func(tx *store.Tx) error {
			for _, k := range some {
				remove(tx, k.Scope, k.ID)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func clone(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}
