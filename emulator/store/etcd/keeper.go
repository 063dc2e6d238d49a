package etcd

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// keeper keeps the database small. Only it compacts: the control planes that
// share this etcd are told not to.
type keeper struct {
	s      *Server
	stop   context.CancelFunc
	done   chan struct{}
	urgent chan struct{}

	mu   sync.Mutex // one upkeep at a time
	last int64      // the revision at the last round, or the start; the next one compacts up to it
}

const (
	// compactEvery is what kube-apiserver uses: a client may fall this long
	// behind before its watch gets 410 Gone.
	compactEvery = 5 * time.Minute
	// fragmented is the free space from which rewriting the file is worth that
	// nobody can write meanwhile (about a second a gigabyte).
	fragmented = 128 << 20
)

func newKeeper(s *Server) *keeper {
	ctx, stop := context.WithCancel(context.Background())
	k := &keeper{s: s, stop: stop, done: make(chan struct{}), urgent: make(chan struct{}, 1), last: s.etcd.Server.KV().Rev()}
	go k.run(ctx)
	return k
}

func (k *keeper) close() {
	k.stop()
	<-k.done
}

// full asks for space without waiting for it.
func (k *keeper) full() {
	select {
	case k.urgent <- struct{}{}:
	default:
	}
}

func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	tick := k.s.cfg.Clock.NewTicker(compactEvery)
	defer tick.Stop()
	// What was before the start nobody can ask for: the control planes and their
	// watch caches begin with it. An emulator that never lives for compactEvery
	// would otherwise keep its whole history, and take longer to start each time.
	err := k.upkeep(ctx)
	for {
		if err != nil && ctx.Err() == nil {
			k.s.cfg.Log.Warn("etcd: upkeep failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C():
			err = k.upkeep(ctx)
		case <-k.urgent:
			err = k.s.Free(ctx)
		}
	}
}

func (k *keeper) upkeep(ctx context.Context) error {
	st, err := k.s.Status(ctx)
	if err != nil {
		return err
	}
	if st.Full {
		return k.s.Free(ctx)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	upTo := k.last
	k.last = st.Revision
	if err := k.compact(ctx, upTo); err != nil {
		return err
	}
	if st, err = k.s.Status(ctx); err != nil {
		return err
	}
	if free := st.Size - st.InUse; free > fragmented && free > st.InUse {
		return k.defragment()
	}
	return nil
}

func (k *keeper) compact(ctx context.Context, rev int64) error {
	if rev == 0 {
		return nil
	}
	_, err := k.s.client.Compact(ctx, rev, clientv3.WithCompactPhysical())
	if err != nil && !compacted(err) {
		return fmt.Errorf("compact to revision %d: %w", rev, err)
	}
	return nil
}

func (k *keeper) defragment() error {
	// Not through the in-process client: its Defragment panics for want of the
	// health service that only etcd's listeners have.
	if err := k.s.etcd.Server.Backend().Defrag(); err != nil {
		return fmt.Errorf("defragment: %w", err)
	}
	return nil
}
