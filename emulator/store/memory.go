package store

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Memory is a KV that forgets everything when the process ends, for unit tests
// of what is built on tables.
type Memory struct {
	mu    sync.Mutex
	rev   int64
	items map[string]Item
	log   []Batch
	grown chan struct{}
}

// NewMemory returns an empty store at revision 0.
func NewMemory() *Memory { return &Memory{items: map[string]Item{}, grown: make(chan struct{})} }

// Load implements KV.
func (m *Memory) Load(context.Context) ([]Item, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.items)), m.rev, nil
}

// Watch implements KV.
func (m *Memory) Watch(ctx context.Context, from int64) (<-chan Batch, error) {
	out := make(chan Batch)
	go func() {
		defer close(out)
		next := max(from, 1)
		for {
			m.mu.Lock()
			todo, grown := m.log[min(int(next-1), len(m.log)):], m.grown
			m.mu.Unlock()
			for _, b := range todo {
				select {
				case out <- b:
					next = b.Revision + 1
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-grown:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// Commit implements KV.
func (m *Memory) Commit(_ context.Context, guards []Guard, writes []Item) (int64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range guards {
		if !m.holds(g) {
			return m.rev, false, nil
		}
	}
	m.rev++
	b := Batch{Revision: m.rev}
	for _, w := range writes {
		w.Revision = m.rev
		if w.Value == nil {
			delete(m.items, w.Key)
		} else {
			m.items[w.Key] = w
		}
		b.Items = append(b.Items, w)
	}
	m.log = append(m.log, b)
	close(m.grown)
	m.grown = make(chan struct{})
	return m.rev, true, nil
}

func (m *Memory) holds(g Guard) bool {
	if !g.Prefix {
		return m.items[g.Key].Revision == g.Revision
	}
	for k, it := range m.items {
		if strings.HasPrefix(k, g.Key) && it.Revision > g.Revision {
			return false
		}
	}
	return true
}

func sortedRows(m map[string]*row) []*row {
	out := make([]*row, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}
