package logs

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	maxBatchBytes  = 1 << 20
	maxBatchEvents = 10000
	maxMessage     = 1<<20 - overhead
	maxAge         = 14 * day
	maxAhead       = 2 * time.Hour
)

func checkBatch(list []types.InputLogEvent) error {
	var c checks
	c.Null("logEvents", list == nil)
	if len(list) > maxBatchEvents {
		c.Add("'["+fmt.Sprint(len(list))+" events]'", "logEvents", fmt.Sprintf("Member must have length less than or equal to %d", maxBatchEvents))
	}
	if list != nil && len(list) == 0 {
		c.Add("'[]'", "logEvents", "Member must have length greater than or equal to 1")
	}
	for i, e := range list {
		if e.Message == nil || *e.Message == "" {
			c.text(fmt.Sprintf("logEvents.%d.member.message", i+1), e.Message, anyText, 1)
		}
		c.Null(fmt.Sprintf("logEvents.%d.member.timestamp", i+1), e.Timestamp == nil)
		if e.Timestamp != nil && *e.Timestamp < 0 {
			c.Add(fmt.Sprintf("'%d'", *e.Timestamp), fmt.Sprintf("logEvents.%d.member.timestamp", i+1), "Member must have value greater than or equal to 0")
		}
	}
	if err := c.err(); err != nil {
		return err
	}
	size := 0
	for i, e := range list {
		n := len(*e.Message) + overhead
		if n > maxMessage+overhead {
			return invalid("Log event too large: %d bytes exceeds limit of %d", n, maxMessage+overhead)
		}
		size += n
		if i > 0 && *e.Timestamp < *list[i-1].Timestamp {
			return invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
	}
	if size > maxBatchBytes {
		return invalid("Upload too large: %d bytes exceeds limit of %d", size, maxBatchBytes)
	}
	return nil
}

// PutLogEvents implements the operation. Sequence tokens are answered and not asked
// for, as AWS does since January 2023.
func (s *Service) PutLogEvents(ctx context.Context, in *cwl.PutLogEventsInput, _ ...func(*cwl.Options)) (*cwl.PutLogEventsOutput, error) {
	if err := checkNames(in.LogGroupName, in.LogStreamName); err != nil {
		return nil, err
	}
	if err := checkBatch(in.LogEvents); err != nil {
		return nil, err
	}
	sc, now := awsid.CallerFrom(ctx).Scope, s.clock.Now()
	out := &cwl.PutLogEventsOutput{}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := findStream(tx, sc, *in.LogGroupName, *in.LogStreamName); err != nil {
			return err
		}
		st := streams.Edit(tx, sc, streamKey(*in.LogGroupName, *in.LogStreamName))
		events, rejected := sift(in.LogEvents, now, groups.Get(tx, sc, *in.LogGroupName).Retention)
		if n := len(events); n > 0 && events[n-1].Time-events[0].Time > day.Milliseconds() {
			return invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
		}
		if err := st.append(tx, sc, events, now.UnixMilli()); err != nil {
			return err
		}
		out.NextSequenceToken, out.RejectedLogEventsInfo = st.token(), rejected
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// sift leaves out what is too old, expired or too far in the future, and tells so.
// The batch is in order, so what is left out is at its ends.
func sift(list []types.InputLogEvent, now time.Time, retention int32) ([]event, *types.RejectedLogEventsInfo) {
	var events []event
	var info types.RejectedLogEventsInfo
	rejected := false
	for i, e := range list {
		age := now.Sub(time.UnixMilli(*e.Timestamp))
		switch {
		case age > maxAge:
			info.TooOldLogEventEndIndex, rejected = aws.Int32(int32(i+1)), true
		case retention > 0 && age > time.Duration(retention)*day:
			info.ExpiredLogEventEndIndex, rejected = aws.Int32(int32(i+1)), true
		case -age > maxAhead:
			if info.TooNewLogEventStartIndex == nil {
				info.TooNewLogEventStartIndex, rejected = aws.Int32(int32(i)), true
			}
		default:
			events = append(events, event{Time: *e.Timestamp, Message: *e.Message})
		}
	}
	if !rejected {
		return events, nil
	}
	return events, &info
}
