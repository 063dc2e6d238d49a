package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// kv implements store.KV on the keys below prefix.
type kv struct {
	client *clientv3.Client
	prefix string
	full   func()          // called when etcd refuses writes for want of space
	check  func() error    // refuses writes before etcd is asked; nil allows all
	lost   <-chan struct{} // closed when etcd stopped; nil if it is not ours
}

// page bounds what one read of a big prefix holds twice.
const page = 2000

// Load implements store.KV.
func (k *kv) Load(ctx context.Context) ([]store.Item, int64, error) {
	var out []store.Item
	from, end, rev := k.prefix, clientv3.GetPrefixRangeEnd(k.prefix), int64(0)
	for {
		resp, err := k.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(rev))
		if err != nil {
			return nil, 0, fmt.Errorf("etcd: read %s: %w", k.prefix, err)
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		for _, e := range resp.Kvs {
			out = append(out, k.item(e))
		}
		if !resp.More {
			return out, rev, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func (k *kv) item(e *mvccpb.KeyValue) store.Item {
	value := e.Value
	if value == nil {
		value = []byte{} // nil is a deletion
	}
	return store.Item{Key: string(e.Key[len(k.prefix):]), Value: value, Revision: e.ModRevision}
}

// Watch implements store.KV.
func (k *kv) Watch(ctx context.Context, from int64) (<-chan store.Batch, error) {
	out := make(chan store.Batch, 16)
	go func() {
		defer close(out)
		next := from
		for ctx.Err() == nil {
			var err error
			next, err = k.follow(ctx, next, out)
			if errors.Is(err, rpctypes.ErrCompacted) {
				next, err = k.reload(ctx, out)
			}
			if err != nil && ctx.Err() == nil {
				send(ctx, out, store.Batch{Err: err})
				return
			}
		}
	}()
	return out, nil
}

// follow delivers changes until the watch ends, and returns the revision from
// which the next one goes on.
func (k *kv) follow(ctx context.Context, next int64, out chan<- store.Batch) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := k.client.Watch(ctx, k.prefix, clientv3.WithPrefix(), clientv3.WithRev(next))
	for {
		select {
		case <-k.lost:
			return next, errors.New("etcd: stopped")
		case resp, open := <-events:
			if !open {
				return next, errors.New("etcd: the watch ended")
			}
			if err := resp.Err(); err != nil {
				return next, fmt.Errorf("etcd: watch %s: %w", k.prefix, err)
			}
			// A response holds whole revisions, in order.
			for _, b := range k.batches(resp.Events) {
				if !send(ctx, out, b) {
					return next, ctx.Err()
				}
				next = b.Revision + 1
			}
		}
	}
}

func (k *kv) batches(events []*clientv3.Event) []store.Batch {
	var out []store.Batch
	for _, e := range events {
		if n := len(out); n == 0 || out[n-1].Revision != e.Kv.ModRevision {
			out = append(out, store.Batch{Revision: e.Kv.ModRevision})
		}
		it := k.item(e.Kv)
		if e.Type == mvccpb.DELETE {
			it.Value = nil
		}
		b := &out[len(out)-1]
		b.Items = append(b.Items, it)
	}
	return out
}

// reload delivers the present state in place of changes that were compacted.
func (k *kv) reload(ctx context.Context, out chan<- store.Batch) (int64, error) {
	items, rev, err := k.Load(ctx)
	if err != nil {
		return 0, err
	}
	if !send(ctx, out, store.Batch{Revision: rev, Items: items, Reset: true}) {
		return 0, ctx.Err()
	}
	return rev + 1, nil
}

func send(ctx context.Context, out chan<- store.Batch, b store.Batch) bool {
	select {
	case out <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// Commit implements store.KV.
func (k *kv) Commit(ctx context.Context, guards []store.Guard, writes []store.Item) (int64, bool, error) {
	cmps := make([]clientv3.Cmp, len(guards))
	for i, g := range guards {
		key := k.prefix + g.Key
		if g.Prefix {
			cmps[i] = clientv3.Compare(clientv3.ModRevision(key), "<", g.Revision+1).WithPrefix()
		} else {
			cmps[i] = clientv3.Compare(clientv3.ModRevision(key), "=", g.Revision)
		}
	}
	ops := make([]clientv3.Op, len(writes))
	for i, w := range writes {
		if w.Value == nil {
			ops[i] = clientv3.OpDelete(k.prefix + w.Key)
		} else {
			ops[i] = clientv3.OpPut(k.prefix+w.Key, string(w.Value))
		}
	}
	if k.check != nil {
		if err := k.check(); err != nil {
			return 0, false, err
		}
	}
	resp, err := k.client.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if err != nil {
		if errors.Is(err, rpctypes.ErrNoSpace) && k.full != nil {
			k.full()
			return 0, false, &FullError{Message: "The database is full; space is being freed, try again."}
		}
		return 0, false, err
	}
	if !resp.Succeeded {
		return 0, false, nil
	}
	for _, r := range resp.Responses {
		if d := r.GetResponseDeleteRange(); d == nil || d.Deleted > 0 {
			return resp.Header.Revision, true, nil
		}
	}
	return 0, true, nil // nothing was there to delete
}
