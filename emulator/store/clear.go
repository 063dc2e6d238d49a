package store

import (
	"context"
	"fmt"
	"strings"
)

// Clear deletes all records in one transaction. Transactions that run meanwhile
// see all of them or none.
func (s *Store) Clear(ctx context.Context) error {
	s.exclusive.Lock()
	defer s.exclusive.Unlock()
	for {
		if err := s.Err(); err != nil {
			return err
		}
		at := s.now.Load()
		writes, guards := clearing(at), []Guard{{Key: "", Prefix: true, Revision: at.rev}}
		if len(writes) == 0 {
			return nil
		}
		rev, ok, err := s.kv.Commit(ctx, guards, writes)
		if err != nil {
			return fmt.Errorf("store: clear: %w", err)
		}
		if ok {
			return s.waitFor(context.WithoutCancel(ctx), rev)
		}
		// A commit from before the lock is still on its way to the view.
		if err := s.waitFor(ctx, at.rev+1); err != nil {
			return err
		}
	}
}

// clearing deletes every record and marks every scope that had one.
func clearing(v *view) []Item {
	var writes []Item
	marked := map[string]bool{}
	for _, k := range scanKeys(v.tree, "") {
		if strings.HasPrefix(k, deletions+"/") {
			continue
		}
		writes = append(writes, Item{Key: k})
		if m := marker(k); !marked[m] {
			marked[m] = true
			writes = append(writes, Item{Key: m, Value: []byte("{}")})
		}
	}
	return writes
}
