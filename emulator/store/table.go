package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Reader is what records are read from: a *Store, or a *Tx inside Update.
type Reader interface {
	readRow(table, key string) *row
	readRows(table, prefix string) []*row
}

func (s *Store) readRow(table, key string) *row       { return s.get(table, key) }
func (s *Store) readRows(table, prefix string) []*row { return s.list(table, prefix) }

// Table names a kind of record. T must survive encoding/json.
type Table[T any] string

// Name returns the table's name, as Subscribe takes it.
func (t Table[T]) Name() string { return string(t) }

// Get returns a record, nil if there is none. The record is shared: never
// modify it; Edit returns a copy of one's own.
func (t Table[T]) Get(r Reader, s awsid.Scope, id string) *T {
	return decode[T](r.readRow(string(t), recordKey(s, id)))
}

// List returns the scope's records ordered by id, shared like Get's.
func (t Table[T]) List(r Reader, s awsid.Scope) []*T {
	return decodeAll[T](r.readRows(string(t), scopePrefix(s)))
}

// ListPrefix returns the scope's records whose id starts with prefix.
func (t Table[T]) ListPrefix(r Reader, s awsid.Scope, prefix string) []*T {
	return decodeAll[T](r.readRows(string(t), recordKey(s, prefix)))
}

// ListAll returns the records of all accounts and regions.
func (t Table[T]) ListAll(r Reader) []*T { return decodeAll[T](r.readRows(string(t), "")) }

// Edit returns a private copy of a record, nil if there is none.
func (t Table[T]) Edit(tx *Tx, s awsid.Scope, id string) *T {
	r := tx.readRow(string(t), recordKey(s, id))
	if r == nil {
		return nil
	}
	v := new(T)
	if err := json.Unmarshal(r.raw, v); err != nil {
		panic(fmt.Sprintf("store: %s/%s holds what %T cannot decode: %v", t, id, *v, err))
	}
	return v
}

// Put writes a record when the transaction commits.
func (t Table[T]) Put(tx *Tx, s awsid.Scope, id string, v *T) {
	raw, err := encode(v)
	if err != nil {
		tx.fail(err)
		return
	}
	tx.write(string(t), recordKey(s, id), raw)
}

// Delete removes a record when the transaction commits.
func (t Table[T]) Delete(tx *Tx, s awsid.Scope, id string) {
	tx.write(string(t), recordKey(s, id), nil)
}

func decodeAll[T any](rows []*row) []*T {
	out := make([]*T, 0, len(rows))
	for _, r := range rows {
		out = append(out, decode[T](r))
	}
	return out
}

func decode[T any](r *row) *T {
	if r == nil {
		return nil
	}
	if p := r.decoded.Load(); p != nil {
		if v, ok := (*p).(*T); ok {
			return v
		}
	}
	v := new(T)
	if err := json.Unmarshal(r.raw, v); err != nil {
		// Only this program writes the tables: undecodable means a corrupted
		// store or a version mix-up, and going on would lose data.
		panic(fmt.Sprintf("store: a record cannot be decoded as %T: %v", *v, err))
	}
	var a any = v
	r.decoded.Store(&a)
	return v
}

// Tx is one transaction: reads are guarded, writes are buffered until the
// function given to Update returns nil.
type Tx struct {
	s      *Store
	start  int64
	guards map[string]Guard
	writes map[string]Item
	order  []string
	err    error
}

// Update runs f and commits its writes if nothing that f read has changed
// meanwhile; otherwise it runs f again on the newer state. f must have no side
// effects. It returns f's error as it is, and nil only when the writes are
// durable and visible to reads.
func (s *Store) Update(ctx context.Context, f func(tx *Tx) error) error {
	for try := 0; ; try++ {
		if err := s.Err(); err != nil {
			return err
		}
		if try == 1 { // contended: queue up, so that every transaction gets through
			s.conflict.Lock()
			defer s.conflict.Unlock()
		}
		tx := &Tx{s: s, start: s.Revision(), guards: map[string]Guard{}, writes: map[string]Item{}}
		if err := f(tx); err != nil {
			return err
		}
		if tx.err != nil {
			return tx.err
		}
		if len(tx.writes) == 0 {
			return nil
		}
		guards := make([]Guard, 0, len(tx.guards))
		for _, g := range tx.guards {
			guards = append(guards, g)
		}
		writes := make([]Item, 0, len(tx.order))
		for _, k := range tx.order {
			writes = append(writes, tx.writes[k])
		}
		rev, ok, err := s.kv.Commit(ctx, guards, writes)
		if err != nil {
			return fmt.Errorf("store: commit: %w", err)
		}
		if ok {
			return s.waitFor(ctx, rev)
		}
		if err := s.waitFor(ctx, rev); err != nil {
			return err
		}
	}
}

func (tx *Tx) readRow(table, key string) *row {
	full := table + "/" + key
	if w, ok := tx.writes[full]; ok {
		if w.Value == nil {
			return nil
		}
		return &row{raw: w.Value}
	}
	r := tx.s.get(table, key)
	g := Guard{Key: full}
	if r != nil {
		g.Revision = r.rev
	}
	if _, seen := tx.guards[full]; !seen {
		tx.guards[full] = g
	}
	return r
}

func (tx *Tx) readRows(table, prefix string) []*row {
	full := table + "/" + prefix
	if _, seen := tx.guards[full+"*"]; !seen {
		tx.guards[full+"*"] = Guard{Key: full, Prefix: true, Revision: tx.start}
	}
	rows := tx.s.list(table, prefix)
	touched := false
	for k := range tx.writes {
		touched = touched || strings.HasPrefix(k, full)
	}
	if !touched {
		return rows
	}
	return tx.overlay(table, prefix)
}

// overlay lists table as it will be after the transaction's own writes.
func (tx *Tx) overlay(table, prefix string) []*row {
	merged := map[string]*row{}
	tx.s.mu.RLock()
	for k, r := range tx.s.rows[table] {
		if strings.HasPrefix(k, prefix) {
			merged[k] = r
		}
	}
	tx.s.mu.RUnlock()
	for k, w := range tx.writes {
		rest, ok := strings.CutPrefix(k, table+"/")
		if !ok || !strings.HasPrefix(rest, prefix) {
			continue
		}
		if w.Value == nil {
			delete(merged, rest)
		} else {
			merged[rest] = &row{raw: w.Value}
		}
	}
	return sortedRows(merged)
}

func (tx *Tx) write(table, key string, raw []byte) {
	full := table + "/" + key
	if _, ok := tx.writes[full]; !ok {
		tx.order = append(tx.order, full)
	}
	tx.writes[full] = Item{Key: full, Value: raw}
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}
