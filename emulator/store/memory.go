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
	log   []Batch // log[i] has revision i+1
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
func (m *Memory) Commit(ctx context.Context, guards []Guard, writes []Item) (int64, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range guards {
		if !m.holds(g) {
			return 0, false, nil
		}
	}
	b := Batch{Revision: m.rev + 1}
	for _, w := range writes {
		w.Revision = b.Revision
		if w.Value != nil {
			m.items[w.Key] = w
		} else if _, exists := m.items[w.Key]; exists {
			delete(m.items, w.Key)
		} else {
			continue
		}
		b.Items = append(b.Items, w)
	}
	if len(b.Items) == 0 {
		return 0, true, nil
	}
	m.rev = b.Revision
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
