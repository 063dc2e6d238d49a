package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/btree"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Tx is one transaction. Its reads see one revision and its own writes, and are
// guarded; writes are buffered until the function given to Update returns nil.
type Tx struct {
	at     *view
	tree   *btree.BTreeG[entry] // at's, a fork of it after the first write
	forked bool
	guards map[Guard]struct{}
	writes map[string]Item
	order  []string
	err    error
}

// deletions is the table of markers, one a table and scope, that every deletion
// writes. A prefix guard sees no deletions; listing guards the marker too, so
// that "list, find none that forbids it, write" and "list, write, delete" cannot
// both commit on the same state.
const deletions = "~deletions"

// patience is how often a transaction may lose before it keeps all others of
// this process from committing.
const patience = 6

// Update runs f and commits its writes if nothing that f read has changed
// meanwhile; otherwise it runs f again on the newer state. f must have no side
// effects. It returns f's error as it is, and nil only when the writes are
// durable and visible to reads. If ctx ends during the commit, the outcome is
// unknown to the caller.
func (s *Store) Update(ctx context.Context, f func(tx *Tx) error) error {
	for try := 0; ; try++ {
		if err := s.Err(); err != nil {
			return err
		}
		switch try {
		case 1: // contended: queue up
			select {
			case s.turn <- struct{}{}:
				defer func() { <-s.turn }()
			case <-ctx.Done():
				return ctx.Err()
			}
		case patience:
			s.exclusive.Lock()
			defer s.exclusive.Unlock()
		}
		tx := s.begin()
		if err := f(tx); err != nil {
			return err
		}
		if tx.err != nil {
			return tx.err
		}
		if len(tx.writes) == 0 {
			return nil
		}
		rev, ok, err := s.commit(ctx, tx, try >= patience)
		if err != nil {
			return fmt.Errorf("store: commit: %w", err)
		}
		if ok {
			// The write is durable and the cache is microseconds behind: saying
			// otherwise because the caller went away would be a lie.
			return s.waitFor(context.WithoutCancel(ctx), rev)
		}
		// All guards held at tx.at, so what broke one is a later change, and the
		// watch brings it.
		if err := s.waitFor(ctx, tx.at.rev+1); err != nil {
			return err
		}
	}
}

func (s *Store) begin() *Tx {
	v := s.now.Load()
	return &Tx{at: v, tree: v.tree, guards: map[Guard]struct{}{}, writes: map[string]Item{}}
}

func (s *Store) commit(ctx context.Context, tx *Tx, exclusive bool) (int64, bool, error) {
	guards := make([]Guard, 0, len(tx.guards))
	for g := range tx.guards {
		guards = append(guards, g)
	}
	writes := make([]Item, 0, len(tx.order))
	for _, k := range tx.order {
		writes = append(writes, tx.writes[k])
	}
	if !exclusive {
		s.exclusive.RLock()
		defer s.exclusive.RUnlock()
	}
	return s.kv.Commit(ctx, guards, writes)
}

func (tx *Tx) readRow(key string) *row {
	r := lookup(tx.tree, key)
	if _, own := tx.writes[key]; own {
		return r
	}
	g := Guard{Key: key}
	if r != nil {
		g.Revision = r.rev
	}
	tx.guards[g] = struct{}{}
	return r
}

func (tx *Tx) readRows(prefix string) []*row {
	tx.guardPrefix(prefix)
	return scan(tx.tree, prefix)
}

func (tx *Tx) readEntries(prefix string) []entry {
	tx.guardPrefix(prefix)
	return scanEntries(tx.tree, prefix)
}

func (tx *Tx) guardPrefix(prefix string) {
	tx.guards[Guard{Key: prefix, Prefix: true, Revision: tx.at.rev}] = struct{}{}
	tx.guards[Guard{Key: marker(prefix), Prefix: true, Revision: tx.at.rev}] = struct{}{}
}

// marker returns the key of the deletion marker of a prefix that reaches into a
// scope, and the prefix of all of a table's markers for one that does not.
func marker(prefix string) string {
	p := strings.SplitAfterN(prefix, "/", 4)
	return deletions + "/" + strings.Join(p[:min(len(p), 3)], "")
}

func (tx *Tx) put(key string, raw []byte) {
	tx.write(Item{Key: key, Value: raw})
	tx.tree.ReplaceOrInsert(entry{key, &row{raw: raw}})
}

func (tx *Tx) delete(table string, sc awsid.Scope, key string) {
	tx.write(Item{Key: key})
	tx.tree.Delete(entry{key: key})
	tx.write(Item{Key: marker(scopePrefix(table, sc)), Value: []byte("{}")})
}

func (tx *Tx) write(w Item) {
	if !tx.forked {
		tx.tree, tx.forked = tx.at.fork(), true
	}
	if _, again := tx.writes[w.Key]; !again {
		tx.order = append(tx.order, w.Key)
	}
	tx.writes[w.Key] = w
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}
