// Package store keeps the emulator's AWS resources: typed tables over a
// revisioned key-value store, with transactions, in-memory reads and change
// notifications.
//
// Keys are <prefix>/<table>/<account>/<region>/<id>; values are JSON. All reads
// come from a cache that one watch feeds in revision order, so a reader always
// sees some consistent revision, and never one older than its own last write:
// Update returns only when the cache has caught up with the commit. (Applying
// one's own writes to the cache ahead of the watch was rejected: it made
// transactions miss writes that were committed but not yet applied.)
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/btree"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Store is safe for concurrent use.
type Store struct {
	kv  KV
	log *slog.Logger

	now  atomic.Pointer[view]
	tree *btree.BTreeG[entry] // the follower's own; now holds a clone of it

	mu     sync.Mutex
	behind chan struct{} // closed and replaced when now moves on

	notify sync.Mutex // held while subscribers are called, so that one at a time is
	subs   map[string][]*func(Change)

	turn      chan struct{} // held by transactions on their second and later tries
	exclusive sync.RWMutex  // written by a transaction that lost too often

	err  atomic.Pointer[error]
	done chan struct{}
}

// Change tells that a record was written (or was there at Subscribe).
type Change struct {
	Scope   awsid.Scope
	ID      string
	Deleted bool
}

// Open loads all records of kv and follows it until ctx ends.
func Open(ctx context.Context, kv KV, log *slog.Logger) (*Store, error) {
	s := &Store{
		kv: kv, log: log, tree: newTree(), subs: map[string][]*func(Change){},
		behind: make(chan struct{}), done: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	items, rev, err := kv.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("store: load: %w", err)
	}
	for _, it := range items {
		s.tree.ReplaceOrInsert(entry{it.Key, &row{raw: it.Value, rev: it.Revision}})
	}
	s.publish(rev)
	events, err := kv.Watch(ctx, rev+1)
	if err != nil {
		return nil, fmt.Errorf("store: watch: %w", err)
	}
	go s.follow(events)
	return s, nil
}

// Revision returns the revision that reads see at least.
func (s *Store) Revision() int64 { return s.now.Load().rev }

// Err returns why the store stopped following its backend, nil while it does.
func (s *Store) Err() error {
	if p := s.err.Load(); p != nil {
		return *p
	}
	return nil
}

// ErrClosed is returned by writes after the store lost its backend.
var ErrClosed = errors.New("store: closed")

func (s *Store) follow(events <-chan Batch) {
	defer close(s.done)
	for b := range events {
		if b.Err != nil {
			s.err.Store(&b.Err)
			s.log.Error("store: lost its backend", "error", b.Err)
			return
		}
		if b.Reset {
			b.Items = s.difference(b.Items)
		}
		for _, it := range b.Items {
			if it.Value == nil {
				s.tree.Delete(entry{key: it.Key})
			} else {
				s.tree.ReplaceOrInsert(entry{it.Key, &row{raw: it.Value, rev: it.Revision}})
			}
		}
		s.publish(b.Revision)
		s.tell(b.Items)
	}
	err := ErrClosed
	s.err.CompareAndSwap(nil, &err)
}

// difference turns everything there is into what changed.
func (s *Store) difference(all []Item) []Item {
	var changed []Item
	held := make(map[string]bool, len(all))
	for _, it := range all {
		held[it.Key] = true
		if r := lookup(s.tree, it.Key); r == nil || r.rev != it.Revision {
			changed = append(changed, it)
		}
	}
	for _, k := range scanKeys(s.tree, "") {
		if !held[k] {
			changed = append(changed, Item{Key: k})
		}
	}
	return changed
}

func (s *Store) publish(rev int64) {
	if old := s.now.Load(); old != nil && old.rev > rev {
		rev = old.rev
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Store(&view{rev: rev, tree: s.tree.Clone()})
	close(s.behind)
	s.behind = make(chan struct{})
}

func (s *Store) tell(items []Item) {
	s.notify.Lock()
	defer s.notify.Unlock()
	for _, it := range items {
		table, rest, _ := strings.Cut(it.Key, "/")
		if len(s.subs[table]) == 0 {
			continue
		}
		sc, id := splitKey(rest)
		for _, f := range s.subs[table] {
			(*f)(Change{Scope: sc, ID: id, Deleted: it.Value == nil})
		}
	}
}

// Subscribe calls f for every record of table as it is now, and then for every
// change in revision order, never twice at a time. f must not block or write.
// After cancel, which f must not call, it is not called any more.
func (s *Store) Subscribe(table string, f func(Change)) (cancel func()) {
	// Changes that are in the view but not yet told come once more: subscribers
	// read the record's present state, so twice is once.
	s.notify.Lock()
	defer s.notify.Unlock()
	sub := &f
	s.subs[table] = append(s.subs[table], sub)
	for _, k := range scanKeys(s.now.Load().tree, table+"/") {
		sc, id := splitKey(k[len(table)+1:])
		f(Change{Scope: sc, ID: id})
	}
	return func() {
		s.notify.Lock()
		defer s.notify.Unlock()
		s.subs[table] = slices.DeleteFunc(s.subs[table], func(o *func(Change)) bool { return o == sub })
	}
}

// waitFor returns when reads see rev.
func (s *Store) waitFor(ctx context.Context, rev int64) error {
	for {
		s.mu.Lock()
		ok, ch := s.now.Load().rev >= rev, s.behind
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ch:
		case <-s.done:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const globalRegion = "global"

func scopePrefix(table string, s awsid.Scope) string {
	region := s.Region
	if region == "" {
		region = globalRegion
	}
	return table + "/" + s.Account + "/" + region + "/"
}

func recordKey(table string, s awsid.Scope, id string) string {
	region := s.Region
	if region == "" {
		region = globalRegion
	}
	return table + "/" + s.Account + "/" + region + "/" + url.PathEscape(id)
}

// splitKey is recordKey's inverse for what follows the table's name.
func splitKey(k string) (awsid.Scope, string) {
	p := strings.SplitN(k, "/", 3)
	if len(p) != 3 {
		return awsid.Scope{}, k
	}
	if p[1] == globalRegion {
		p[1] = ""
	}
	id, err := url.PathUnescape(p[2])
	if err != nil {
		id = p[2]
	}
	return awsid.Scope{Account: p[0], Region: p[1]}, id
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("store: encode %T: %w", v, err)
	}
	return b, nil
}
