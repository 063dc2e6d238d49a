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

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Store is safe for concurrent use.
type Store struct {
	kv  KV
	log *slog.Logger

	mu     sync.RWMutex
	rows   map[string]map[string]*row // table -> key within table -> row
	rev    int64                      // every event up to rev is in rows
	behind chan struct{}              // closed and replaced when rev grows
	subs   map[string][]func(Change)

	conflict sync.Mutex // held by transactions on their second and later tries
	err      atomic.Pointer[error]
	done     chan struct{}
}

// row is one cached record. decoded is filled on first read and never mutated.
type row struct {
	raw     []byte
	rev     int64
	decoded atomic.Pointer[any]
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
		kv: kv, log: log, rows: map[string]map[string]*row{}, subs: map[string][]func(Change){},
		behind: make(chan struct{}), done: make(chan struct{}),
	}
	items, rev, err := kv.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("store: load: %w", err)
	}
	for _, it := range items {
		s.apply(it)
	}
	s.rev = rev
	events, err := kv.Watch(ctx, rev+1)
	if err != nil {
		return nil, fmt.Errorf("store: watch: %w", err)
	}
	go s.follow(events)
	return s, nil
}

// Revision returns the revision that reads see at least.
func (s *Store) Revision() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rev
}

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
		type note struct {
			f []func(Change)
			c Change
		}
		var notes []note
		s.mu.Lock()
		for _, it := range b.Items {
			table, c := s.apply(it)
			if f := s.subs[table]; len(f) > 0 {
				notes = append(notes, note{f, c})
			}
		}
		if b.Revision > s.rev {
			s.rev = b.Revision
		}
		close(s.behind)
		s.behind = make(chan struct{})
		s.mu.Unlock()
		for _, n := range notes {
			for _, f := range n.f {
				f(n.c)
			}
		}
	}
	err := ErrClosed
	s.err.CompareAndSwap(nil, &err)
}

// apply puts one item into rows; the caller holds mu (or is Open).
func (s *Store) apply(it Item) (table string, c Change) {
	table, rest, _ := strings.Cut(it.Key, "/")
	t := s.rows[table]
	if t == nil {
		t = map[string]*row{}
		s.rows[table] = t
	}
	if it.Value == nil {
		delete(t, rest)
	} else {
		t[rest] = &row{raw: it.Value, rev: it.Revision}
	}
	sc, id := splitKey(rest)
	return table, Change{Scope: sc, ID: id, Deleted: it.Value == nil}
}

// Subscribe calls f for every record of table as it is now, and then for every
// change in revision order, from one goroutine. f must not block or write.
func (s *Store) Subscribe(table string, f func(Change)) {
	s.mu.Lock()
	keys := make([]string, 0, len(s.rows[table]))
	for k := range s.rows[table] {
		keys = append(keys, k)
	}
	s.subs[table] = append(s.subs[table], f)
	s.mu.Unlock()
	slices.Sort(keys)
	for _, k := range keys {
		sc, id := splitKey(k)
		f(Change{Scope: sc, ID: id})
	}
}

func (s *Store) waitFor(ctx context.Context, rev int64) error {
	for {
		s.mu.RLock()
		ok, ch := s.rev >= rev, s.behind
		s.mu.RUnlock()
		if ok {
			return nil
		}
		select {
		case <-ch:
		case <-s.done:
			return ErrClosed
		case <-ctx.Done():
			// The write is durable; only the caller's patience ended.
			return ctx.Err()
		}
	}
}

func (s *Store) get(table, key string) *row {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rows[table][key]
}

func (s *Store) list(table, prefix string) []*row {
	s.mu.RLock()
	t := s.rows[table]
	keys := make([]string, 0, len(t))
	for k := range t {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	out := make([]*row, len(keys))
	for i, k := range keys {
		out[i] = t[k]
	}
	s.mu.RUnlock()
	return out
}

func scopePrefix(s awsid.Scope) string {
	region := s.Region
	if region == "" {
		region = "global"
	}
	return s.Account + "/" + region + "/"
}

func recordKey(s awsid.Scope, id string) string { return scopePrefix(s) + url.PathEscape(id) }

func splitKey(k string) (awsid.Scope, string) {
	p := strings.SplitN(k, "/", 3)
	if len(p) != 3 {
		return awsid.Scope{}, k
	}
	if p[1] == "global" {
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
