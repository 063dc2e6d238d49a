package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

type counter struct{ N int }
type lease struct{ Owner string }

var (
	scope    = awsid.Scope{Account: "000000000000", Region: "us-east-1"}
	counters = store.Table[counter]("counters")
	leases   = store.Table[lease]("leases")
	parents  = store.Table[lease]("parents")
	children = store.Table[lease]("children")
)

// Store runs properties of concurrent transactions on a KV.
func Store(t *testing.T, open func(t *testing.T) store.KV) {
	for name, test := range map[string]func(*testing.T, context.Context, *store.Store){
		"no lost updates":       noLostUpdates,
		"no two owners":         noTwoOwners,
		"no phantoms":           noPhantoms,
		"no dangling reference": noDangling,
		"snapshot":              snapshot,
		"subscribe":             subscribe,
		"own writes":            ownWrites,
		"delete of nothing":     deleteOfNothing,
		"clear":                 cleared,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			s, err := store.Open(ctx, open(t), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			test(t, ctx, s)
		})
	}
}

// noLostUpdates: increments by many add up, over a record that all fight for and
// one of each's own.
func noLostUpdates(t *testing.T, ctx context.Context, s *store.Store) {
	const workers, each = 8, 40
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range each {
				err := s.Update(ctx, func(tx *store.Tx) error {
					for _, id := range []string{"all", fmt.Sprint(w)} {
						c := counters.Edit(tx, scope, id)
						if c == nil {
							c = &counter{}
						}
						c.N++
						counters.Put(tx, scope, id, c)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
			if got := counters.Get(s, scope, fmt.Sprint(w)); got == nil || got.N != each {
				t.Errorf("worker %d reads %+v after its own writes, want %d", w, got, each)
			}
		})
	}
	wg.Wait()
	if got := counters.Get(s, scope, "all"); got.N != workers*each {
		t.Errorf("counter is %d, want %d", got.N, workers*each)
	}
}

var errTaken = errors.New("taken")

// noTwoOwners: a record created if absent has one creator.
func noTwoOwners(t *testing.T, ctx context.Context, s *store.Store) {
	var mu sync.Mutex
	won := map[string]string{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			me := fmt.Sprint(w)
			for i := range 20 {
				id := fmt.Sprint(i)
				err := s.Update(ctx, func(tx *store.Tx) error {
					if leases.Get(tx, scope, id) != nil {
						return errTaken
					}
					leases.Put(tx, scope, id, &lease{Owner: me})
					return nil
				})
				switch {
				case err == nil:
					mu.Lock()
					if other := won[id]; other != "" {
						t.Errorf("%s and %s both own %s", me, other, id)
					}
					won[id] = me
					mu.Unlock()
				case !errors.Is(err, errTaken):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for id, owner := range won {
		if got := leases.Get(s, scope, id); got.Owner != owner {
			t.Errorf("%s belongs to %s, %s was told it did", id, got.Owner, owner)
		}
	}
}

// noPhantoms: "as long as there are fewer than limit, add one", as addresses in
// a subnet are handed out, never goes over the limit.
func noPhantoms(t *testing.T, ctx context.Context, s *store.Store) {
	const limit = 25
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := range 10 {
				err := s.Update(ctx, func(tx *store.Tx) error {
					if len(leases.ListPrefix(tx, scope, "subnet/")) >= limit {
						return errTaken
					}
					leases.Put(tx, scope, fmt.Sprintf("subnet/%d-%d", w, i), &lease{})
					return nil
				})
				if err != nil && !errors.Is(err, errTaken) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(leases.ListPrefix(s, scope, "subnet/")); got != limit {
		t.Errorf("%d records, the limit is %d", got, limit)
	}
}

// noDangling: one side lists parents and adds a child to the first, the other
// deletes a parent that it finds without children. The list alone (a prefix guard)
// would not notice the deletion.
func noDangling(t *testing.T, ctx context.Context, s *store.Store) {
	for round := range 30 {
		p := fmt.Sprint(round)
		set := func(tx *store.Tx) error { parents.Put(tx, scope, p, &lease{}); return nil }
		if err := s.Update(ctx, set); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			err := s.Update(ctx, func(tx *store.Tx) error {
				if len(parents.ListAll(tx)) > 0 {
					children.Put(tx, scope, p, &lease{})
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			err := s.Update(ctx, func(tx *store.Tx) error {
				if children.Get(tx, scope, p) == nil {
					parents.Delete(tx, scope, p)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if parents.Get(s, scope, p) == nil && children.Get(s, scope, p) != nil {
			t.Fatalf("round %d: a child without its parent", round)
		}
		err := s.Update(ctx, func(tx *store.Tx) error { parents.Delete(tx, scope, p); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// snapshot: a transaction never sees two revisions, not even when it is going to
// fail; handlers rely on "if this record is there, so is that one".
func snapshot(t *testing.T, ctx context.Context, s *store.Store) {
	both := func(n int) error {
		return s.Update(ctx, func(tx *store.Tx) error {
			counters.Put(tx, scope, "x", &counter{n})
			counters.Put(tx, scope, "y", &counter{n})
			return nil
		})
	}
	if err := both(0); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range 200 {
			if err := both(n); err != nil {
				t.Error(err)
			}
		}
	})
	for range 500 {
		err := s.Update(ctx, func(tx *store.Tx) error {
			if x, y := counters.Get(tx, scope, "x").N, counters.Get(tx, scope, "y").N; x != y {
				t.Errorf("x is %d and y is %d", x, y)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if l := counters.List(s, scope); l[0].N != l[1].N {
			t.Errorf("a list shows %d and %d", l[0].N, l[1].N)
		}
		s.View(func(r store.Reader) {
			x := counters.Get(r, scope, "x").N
			for k, c := range counters.All(r) {
				if c.N != x || k.Scope != scope || k.ID != "x" && k.ID != "y" {
					t.Errorf("a view shows %d, and %+v with %d", x, k, c.N)
				}
			}
		})
	}
	wg.Wait()
}

func subscribe(t *testing.T, ctx context.Context, s *store.Store) {
	set := func(id string) {
		t.Helper()
		err := s.Update(ctx, func(tx *store.Tx) error { leases.Put(tx, scope, id, &lease{}); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	set("a/with slash")
	got := make(chan store.Change, 10)
	s.Subscribe(leases.Name(), func(c store.Change) { got <- c })
	set("b")
	if err := s.Update(ctx, func(tx *store.Tx) error { leases.Delete(tx, scope, "b"); return nil }); err != nil {
		t.Fatal(err)
	}
	seen := map[store.Change]bool{}
	for _, want := range []store.Change{
		{Scope: scope, ID: "a/with slash"}, {Scope: scope, ID: "b"}, {Scope: scope, ID: "b", Deleted: true},
	} {
		for !seen[want] { // a change in flight at Subscribe may come twice
			select {
			case c := <-got:
				seen[c] = true
			case <-ctx.Done():
				t.Fatalf("no %+v", want)
			}
		}
	}
}

func ownWrites(t *testing.T, ctx context.Context, s *store.Store) {
	err := s.Update(ctx, func(tx *store.Tx) error {
		leases.Put(tx, scope, "a", &lease{"1"})
		leases.Put(tx, scope, "b", &lease{"2"})
		leases.Delete(tx, scope, "a")
		leases.Put(tx, awsid.Scope{Account: scope.Account}, "global", &lease{"3"})
		if l := leases.List(tx, scope); len(l) != 1 || l[0].Owner != "2" {
			t.Errorf("List shows %v", l)
		}
		if len(leases.ListAll(tx)) != 2 || leases.Get(tx, scope, "a") != nil || leases.Edit(tx, scope, "b").Owner != "2" {
			t.Error("a transaction does not see its own writes")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if l := leases.List(s, scope); len(l) != 1 {
		t.Errorf("List after commit: %v", l)
	}
	failed := s.Update(ctx, func(tx *store.Tx) error {
		leases.Put(tx, scope, "c", &lease{})
		return errTaken
	})
	if !errors.Is(failed, errTaken) || leases.Get(s, scope, "c") != nil {
		t.Errorf("a transaction that returned an error (%v) wrote", failed)
	}
}

func deleteOfNothing(t *testing.T, ctx context.Context, s *store.Store) {
	for range 3 {
		err := s.Update(ctx, func(tx *store.Tx) error { leases.Delete(tx, scope, "nothing"); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// cleared: beside writers, Clear leaves all or nothing of each transaction.
func cleared(t *testing.T, ctx context.Context, s *store.Store) {
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 20 {
				err := s.Update(ctx, func(tx *store.Tx) error {
					parents.Put(tx, scope, fmt.Sprint(w, i), &lease{})
					children.Put(tx, scope, fmt.Sprint(w, i), &lease{})
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		if err := s.Clear(ctx); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if p, c := len(parents.ListAll(s)), len(children.ListAll(s)); p != c {
		t.Errorf("%d parents and %d children", p, c)
	}
	for range 2 {
		if err := s.Clear(ctx); err != nil {
			t.Fatal(err)
		}
		if p, c := len(parents.ListAll(s)), len(children.ListAll(s)); p != 0 || c != 0 {
			t.Errorf("after Clear %d parents and %d children", p, c)
		}
	}
}
