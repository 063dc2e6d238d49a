package store

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/btree"
)

// view is the whole store at one revision. A published view never changes, so
// that readers need no lock and a transaction sees one state however long it
// takes.
type view struct {
	rev  int64
	tree *btree.BTreeG[entry]

	clone sync.Mutex // btree's Clone touches the tree that it copies
}

type entry struct {
	key string
	row *row
}

// row is one cached record. decoded is filled on first read and never mutated.
type row struct {
	raw     []byte
	rev     int64
	decoded atomic.Pointer[any]
}

// degree keeps a path copy small (three nodes at 30,000 records) at the price
// of a few more comparisons a read.
const degree = 24

func newTree() *btree.BTreeG[entry] {
	return btree.NewG(degree, func(a, b entry) bool { return a.key < b.key })
}

// fork returns a tree of one's own with the view's content; it is copied as it
// is written to.
func (v *view) fork() *btree.BTreeG[entry] {
	v.clone.Lock()
	defer v.clone.Unlock()
	return v.tree.Clone()
}

func lookup(t *btree.BTreeG[entry], key string) *row {
	e, _ := t.Get(entry{key: key})
	return e.row
}

// ascend calls f with the entries below prefix, in order.
func ascend(t *btree.BTreeG[entry], prefix string, f func(entry)) {
	t.AscendGreaterOrEqual(entry{key: prefix}, func(e entry) bool {
		if !strings.HasPrefix(e.key, prefix) {
			return false
		}
		f(e)
		return true
	})
}

func scan(t *btree.BTreeG[entry], prefix string) (out []*row) {
	ascend(t, prefix, func(e entry) { out = append(out, e.row) })
	return out
}

func scanEntries(t *btree.BTreeG[entry], prefix string) (out []entry) {
	ascend(t, prefix, func(e entry) { out = append(out, e) })
	return out
}

func scanKeys(t *btree.BTreeG[entry], prefix string) (out []string) {
	ascend(t, prefix, func(e entry) { out = append(out, e.key) })
	return out
}
