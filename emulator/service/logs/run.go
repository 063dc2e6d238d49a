package logs

import (
	"context"
	"time"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	// sweepEvery is how often expired events are deleted. Readers do not see them
	// from the moment on in which they expire.
	sweepEvery = time.Minute
	// sweepBatch is how many chunks go in one transaction.
	sweepBatch = 256
)

// Run deletes events whose retention is over, until ctx ends. Each transaction is
// whole: a crash between two loses nothing.
func (s *Service) Run(ctx context.Context) error {
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("logs: expired events", "error", err)
		}
		timer := s.clock.NewTimer(sweepEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C():
		}
	}
}

func (s *Service) sweep(ctx context.Context) error {
	for _, g := range groups.ListAll(s.store) {
		if g.Retention == 0 {
			continue
		}
		before := s.clock.Now().Add(-time.Duration(g.Retention) * day).UnixMilli()
		for _, st := range streams.ListPrefix(s.store, g.Scope, g.Name+":") {
			for more := true; more; {
				var err error
				if more, err = s.expire(ctx, g.Scope, st, before); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// expire deletes a stream's oldest chunks while all in them is from before. What is
// younger in a chunk that is partly expired waits for the rest of it.
func (s *Service) expire(ctx context.Context, sc awsid.Scope, seen *stream, before int64) (more bool, err error) {
	if c := chunks.Get(s.store, sc, chunkKey(seen.key(), seen.Oldest)); c == nil || c.Last >= before {
		return false, nil // without a transaction, which is most streams most of the time
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		more = false
		st := streams.Edit(tx, sc, seen.key())
		if st == nil || st.Created != seen.Created {
			return nil
		}
		for n := 0; st.Oldest < st.Next; n++ {
			c := chunks.Get(tx, sc, chunkKey(st.key(), st.Oldest))
			if c != nil && c.Last >= before {
				break
			}
			if more = n == sweepBatch; more {
				break
			}
			st.dropOldest(tx, sc)
		}
		if st.Oldest == st.Next {
			st.First, st.Last = 0, 0
		} else if c := chunks.Get(tx, sc, chunkKey(st.key(), st.Oldest)); c != nil {
			st.First = c.First
		}
		streams.Put(tx, sc, st.key(), st)
		return nil
	})
	return more, err
}
