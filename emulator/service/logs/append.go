package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	// MaxStreamBytes is what a stream's events may count for before the oldest go.
	MaxStreamBytes = 16 << 20
	// chunkBytes and chunkEvents are from when on a chunk takes no more events.
	chunkBytes, chunkEvents = 64 << 10, 1000
)

// append adds events to a stream, whose record it changes and writes: into its
// newest chunk while that is small, for clients that write line by line.
func (st *stream) append(tx *store.Tx, sc awsid.Scope, events []event, now int64) error {
	if len(events) == 0 {
		return nil
	}
	for i := range events {
		e := &events[i]
		e.Number, e.Ingested = st.Events, now
		st.Events++
		st.Stored += e.size()
		if st.First == 0 || e.Time < st.First {
			st.First = e.Time
		}
		st.Last = max(st.Last, e.Time)
	}
	st.Ingested = now
	if st.Next > st.Oldest {
		last := chunks.Get(tx, sc, chunkKey(st.key(), st.Next-1))
		if last != nil && last.Bytes < chunkBytes && last.Count < chunkEvents {
			before, err := last.events()
			if err != nil {
				return err
			}
			events = append(before, events...)
			st.Next--
		}
	}
	for len(events) > 0 {
		n, size := 0, int64(0)
		for n < len(events) && (n == 0 || n < chunkEvents && size+events[n].size() <= chunkBytes) {
			size += events[n].size()
			n++
		}
		c, err := newChunk(st.Next, events[:n])
		if err != nil {
			return err
		}
		chunks.Put(tx, sc, chunkKey(st.key(), c.Number), c)
		events = events[n:]
		st.Next++
	}
	for st.Stored > MaxStreamBytes && st.Next-st.Oldest > 1 {
		st.dropOldest(tx, sc)
	}
	streams.Put(tx, sc, st.key(), st)
	return nil
}

func (st *stream) dropOldest(tx *store.Tx, sc awsid.Scope) {
	key := chunkKey(st.key(), st.Oldest)
	if c := chunks.Get(tx, sc, key); c != nil {
		st.Stored -= c.Bytes
		chunks.Delete(tx, sc, key)
	}
	st.Oldest++
}

func newChunk(number int64, events []event) (*chunk, error) {
	c := &chunk{Number: number, Count: len(events), First: events[0].Time, Last: events[0].Time}
	for i := range events {
		c.First, c.Last = min(c.First, events[i].Time), max(c.Last, events[i].Time)
		c.Bytes += events[i].size()
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("logs: compress: %w", err)
	}
	if err := json.NewEncoder(z).Encode(events); err != nil {
		return nil, fmt.Errorf("logs: encode events: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("logs: compress: %w", err)
	}
	c.Data = b.Bytes()
	return c, nil
}

func (c *chunk) events() ([]event, error) {
	z, err := gzip.NewReader(bytes.NewReader(c.Data))
	if err != nil {
		return nil, fmt.Errorf("logs: chunk %d: %w", c.Number, err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("logs: chunk %d: %w", c.Number, err)
	}
	var out []event
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("logs: chunk %d: %w", c.Number, err)
	}
	return out, nil
}

// Deliver is how AWS services write their own logs: it adds lines that happened
// now to a stream of the caller's account, which it makes with its group where they
// are missing. also runs in the same transaction, so that a writer's place in its
// source moves exactly when the lines are in.
func (s *Service) Deliver(ctx context.Context, groupName, streamName string, lines []string, also func(tx *store.Tx)) error {
	sc, now := awsid.CallerFrom(ctx).Scope, s.millis()
	events := make([]event, 0, len(lines))
	for _, l := range lines {
		if len(l) > maxMessage {
			l = l[:maxMessage]
		}
		if l != "" {
			events = append(events, event{Time: now, Message: l})
		}
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if groups.Get(tx, sc, groupName) == nil {
			groups.Put(tx, sc, groupName, newGroup(sc, groupName, now))
		}
		st := streams.Edit(tx, sc, streamKey(groupName, streamName))
		if st == nil {
			st = &stream{Group: groupName, Name: streamName, Created: now}
			streams.Put(tx, sc, st.key(), st)
		}
		also(tx)
		return st.append(tx, sc, append([]event(nil), events...), now)
	})
}
