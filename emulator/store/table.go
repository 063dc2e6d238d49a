package store

import (
	"encoding/json"
	"fmt"
	"iter"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Reader is what records are read from: a *Store, a *Tx inside Update, or what
// View hands out.
type Reader interface {
	readRow(key string) *row
	readRows(prefix string) []*row
	readEntries(prefix string) []entry
}

func (s *Store) readRow(key string) *row           { return s.now.Load().readRow(key) }
func (s *Store) readRows(prefix string) []*row     { return s.now.Load().readRows(prefix) }
func (s *Store) readEntries(prefix string) []entry { return s.now.Load().readEntries(prefix) }
func (v *view) readRow(key string) *row            { return lookup(v.tree, key) }
func (v *view) readRows(prefix string) []*row      { return scan(v.tree, prefix) }
func (v *view) readEntries(prefix string) []entry  { return scanEntries(v.tree, prefix) }

// View calls f with a reader that sees one revision throughout; single reads from
// the Store each see the newest.
func (s *Store) View(f func(r Reader)) { f(s.now.Load()) }

// Table names a kind of record. T must survive encoding/json.
type Table[T any] string

// Name returns the table's name, as Subscribe takes it.
func (t Table[T]) Name() string { return string(t) }

// Get returns a record, nil if there is none. The record is shared: never
// modify it; Edit returns a copy of one's own.
func (t Table[T]) Get(r Reader, s awsid.Scope, id string) *T {
	return decode[T](r.readRow(recordKey(string(t), s, id)))
}

// List returns the scope's records ordered by id, shared like Get's.
func (t Table[T]) List(r Reader, s awsid.Scope) []*T {
	return decodeAll[T](r.readRows(scopePrefix(string(t), s)))
}

// ListPrefix returns the scope's records whose id starts with prefix.
func (t Table[T]) ListPrefix(r Reader, s awsid.Scope, prefix string) []*T {
	return decodeAll[T](r.readRows(recordKey(string(t), s, prefix)))
}

// ListAll returns the records of all accounts and regions.
func (t Table[T]) ListAll(r Reader) []*T { return decodeAll[T](r.readRows(string(t) + "/")) }

// Key is where a record is.
type Key struct {
	Scope awsid.Scope
	ID    string
}

// All returns the records of all accounts and regions with their keys.
func (t Table[T]) All(r Reader) iter.Seq2[Key, *T] {
	prefix := string(t) + "/"
	return func(yield func(Key, *T) bool) {
		for _, e := range r.readEntries(prefix) {
			sc, id := splitKey(e.key[len(prefix):])
			if !yield(Key{sc, id}, decode[T](e.row)) {
				return
			}
		}
	}
}

// Edit returns a private copy of a record, nil if there is none.
func (t Table[T]) Edit(tx *Tx, s awsid.Scope, id string) *T {
	r := tx.readRow(recordKey(string(t), s, id))
	if r == nil {
		return nil
	}
	return unmarshal[T](r.raw)
}

// follower is a *T whose changes are steps of a life (emulator/fsm). Follows
// returns an error unless the record may become what it is now, nil for deleted,
// from old, nil for not there.
type follower[T any] interface{ Follows(old *T) error }

// follows keeps a transaction from writing a step that no record of its kind
// takes.
func (t Table[T]) follows(tx *Tx, key, id string, v *T) bool {
	f, ok := any(v).(follower[T])
	if !ok {
		return true
	}
	// A look that guards nothing: whoever changes a record has read it.
	if err := f.Follows(decode[T](lookup(tx.tree, key))); err != nil {
		tx.fail(fmt.Errorf("store: %s %s: %w", t, id, err))
		return false
	}
	return true
}

// Put writes a record when the transaction commits.
func (t Table[T]) Put(tx *Tx, s awsid.Scope, id string, v *T) {
	if !t.follows(tx, recordKey(string(t), s, id), id, v) {
		return
	}
	raw, err := encode(v)
	if err != nil {
		tx.fail(err)
		return
	}
	tx.put(recordKey(string(t), s, id), raw)
}

// Delete removes a record when the transaction commits.
func (t Table[T]) Delete(tx *Tx, s awsid.Scope, id string) {
	if !t.follows(tx, recordKey(string(t), s, id), id, nil) {
		return
	}
	tx.delete(string(t), s, recordKey(string(t), s, id))
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
	v := unmarshal[T](r.raw)
	var a any = v
	r.decoded.Store(&a)
	return v
}

func unmarshal[T any](raw []byte) *T {
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		// Only this program writes the tables: undecodable means a corrupted
		// store or a version mix-up, and going on would lose data.
		panic(fmt.Sprintf("store: a record cannot be decoded as %T: %v", *v, err))
	}
	return v
}
