// Package storetest is the conformance suite of store.KV.
package storetest

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// patience is far beyond what any step takes.
const patience = 20 * time.Second

// KV runs the suite; open returns an empty store each time.
func KV(t *testing.T, open func(t *testing.T) store.KV) {
	for name, test := range map[string]func(*testing.T, context.Context, store.KV){
		"load":            load,
		"guards":          guards,
		"nothing changed": nothingChanged,
		"watch":           watch,
		"watch from past": watchFromPast,
		"concurrent":      concurrent,
		"empty value":     emptyValue,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			test(t, ctx, open(t))
		})
	}
}

func put(key, value string) store.Item { return store.Item{Key: key, Value: []byte(value)} }
func del(key string) store.Item        { return store.Item{Key: key} }

func commit(t *testing.T, ctx context.Context, kv store.KV, guards []store.Guard, writes ...store.Item) (int64, bool) {
	t.Helper()
	rev, ok, err := kv.Commit(ctx, guards, writes)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return rev, ok
}

func must(t *testing.T, ctx context.Context, kv store.KV, writes ...store.Item) int64 {
	t.Helper()
	rev, ok := commit(t, ctx, kv, nil, writes...)
	if !ok || rev == 0 {
		t.Fatalf("Commit without guards: revision %d, ok %v", rev, ok)
	}
	return rev
}

func loaded(t *testing.T, ctx context.Context, kv store.KV) (map[string]string, int64) {
	t.Helper()
	items, rev, err := kv.Load(ctx)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	out := map[string]string{}
	for _, it := range items {
		if it.Revision <= 0 || it.Revision > rev {
			t.Errorf("item %s has revision %d at revision %d", it.Key, it.Revision, rev)
		}
		out[it.Key] = string(it.Value)
	}
	return out, rev
}

func load(t *testing.T, ctx context.Context, kv store.KV) {
	if got, _ := loaded(t, ctx, kv); len(got) != 0 {
		t.Fatalf("a new store holds %v", got)
	}
	want := map[string]string{}
	var writes []store.Item
	for i := range 2500 { // more than a page
		k := fmt.Sprintf("t/a/r/%04d", i)
		want[k] = "v"
		writes = append(writes, put(k, "v"))
	}
	rev := must(t, ctx, kv, writes...)
	got, at := loaded(t, ctx, kv)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Load (-want +got):\n%s", d)
	}
	if at < rev {
		t.Errorf("Load at revision %d after a commit at %d", at, rev)
	}
}

func guards(t *testing.T, ctx context.Context, kv store.KV) {
	a := must(t, ctx, kv, put("t/a", "1"))
	b := must(t, ctx, kv, put("t/b", "1"))
	if b <= a {
		t.Fatalf("revisions %d, %d do not grow", a, b)
	}
	for _, tc := range []struct {
		name string
		g    store.Guard
		want bool
	}{
		{"its revision", store.Guard{Key: "t/a", Revision: a}, true},
		{"an older revision", store.Guard{Key: "t/b", Revision: a}, false},
		{"a newer revision", store.Guard{Key: "t/a", Revision: b}, false},
		{"absent and is", store.Guard{Key: "t/c"}, true},
		{"absent and is not", store.Guard{Key: "t/a"}, false},
		{"there and is not", store.Guard{Key: "t/c", Revision: a}, false},
		{"prefix unchanged", store.Guard{Key: "t/", Prefix: true, Revision: b}, true},
		{"prefix changed", store.Guard{Key: "t/", Prefix: true, Revision: a}, false},
		{"prefix without keys", store.Guard{Key: "u/", Prefix: true}, true},
		{"prefix created", store.Guard{Key: "t/b", Prefix: true}, false},
	} {
		rev, ok := commit(t, ctx, kv, []store.Guard{tc.g}, put("other", "x"))
		if ok != tc.want {
			t.Errorf("%s: committed %v, want %v", tc.name, ok, tc.want)
		}
		if (rev != 0) != tc.want {
			t.Errorf("%s: revision %d, committed %v", tc.name, rev, ok)
		}
	}
	if _, ok := commit(t, ctx, kv, []store.Guard{{Key: "t/a", Revision: a}, {Key: "t/b"}}, put("both", "x")); ok {
		t.Error("committed although one of two guards fails")
	}
	if got, _ := loaded(t, ctx, kv); got["both"] != "" {
		t.Error("a failed transaction wrote")
	}
}

func nothingChanged(t *testing.T, ctx context.Context, kv store.KV) {
	rev := must(t, ctx, kv, put("t/a", "1"))
	for name, writes := range map[string][]store.Item{"no writes": nil, "deletes of nothing": {del("t/x"), del("t/y")}} {
		if rev, ok := commit(t, ctx, kv, nil, writes...); !ok || rev != 0 {
			t.Errorf("%s: revision %d, ok %v; want 0, true", name, rev, ok)
		}
	}
	ch := open(t, ctx, kv, rev+1)
	last := must(t, ctx, kv, del("t/a"), del("t/x"))
	b := next(t, ctx, ch)
	if d := cmp.Diff(store.Batch{Revision: last, Items: []store.Item{{Key: "t/a", Revision: last}}}, b); d != "" {
		t.Errorf("a deletion beside an empty one (-want +got):\n%s", d)
	}
}

func open(t *testing.T, ctx context.Context, kv store.KV, from int64) <-chan store.Batch {
	t.Helper()
	ch, err := kv.Watch(ctx, from)
	if err != nil {
		t.Fatalf("Watch: %v", err)
	}
	return ch
}

func next(t *testing.T, ctx context.Context, ch <-chan store.Batch) store.Batch {
	t.Helper()
	select {
	case b, ok := <-ch:
		if !ok {
			t.Fatal("the watch ended")
		}
		if b.Err != nil {
			t.Fatalf("the watch broke: %v", b.Err)
		}
		return b
	case <-ctx.Done():
		t.Fatal("nothing came from the watch")
	}
	panic("unreachable")
}

func watch(t *testing.T, ctx context.Context, kv store.KV) {
	_, rev, err := kv.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wctx, cancel := context.WithCancel(ctx)
	ch := open(t, wctx, kv, rev+1)
	r1 := must(t, ctx, kv, put("t/a", "1"), put("t/b", "1"))
	r2 := must(t, ctx, kv, put("t/a", "2"), del("t/b"))
	for _, want := range []store.Batch{
		{Revision: r1, Items: []store.Item{{Key: "t/a", Value: []byte("1"), Revision: r1}, {Key: "t/b", Value: []byte("1"), Revision: r1}}},
		{Revision: r2, Items: []store.Item{{Key: "t/a", Value: []byte("2"), Revision: r2}, {Key: "t/b", Revision: r2}}},
	} {
		got := next(t, ctx, ch)
		sort.Slice(got.Items, func(i, j int) bool { return got.Items[i].Key < got.Items[j].Key })
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("batch (-want +got):\n%s", d)
		}
	}
	cancel()
	for b := range ch {
		if b.Err != nil {
			t.Errorf("a watch whose context ended reports %v", b.Err)
		}
	}
}

func watchFromPast(t *testing.T, ctx context.Context, kv store.KV) {
	var revs []int64
	for i := range 50 {
		revs = append(revs, must(t, ctx, kv, put("t/a", fmt.Sprint(i))))
	}
	ch := open(t, ctx, kv, revs[10])
	for i := 10; i < 50; i++ {
		if b := next(t, ctx, ch); b.Revision != revs[i] || string(b.Items[0].Value) != fmt.Sprint(i) {
			t.Fatalf("got %+v, want revision %d", b, revs[i])
		}
	}
}

func concurrent(t *testing.T, ctx context.Context, kv store.KV) {
	_, rev, err := kv.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ch := open(t, ctx, kv, rev+1)
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, ok, err := kv.Commit(ctx, nil, []store.Item{put(fmt.Sprintf("t/%d/%d", w, i), "x")}); err != nil || !ok {
					t.Errorf("Commit: %v, %v", ok, err)
					return
				}
			}
		})
	}
	seen, last := map[string]bool{}, rev
	for len(seen) < writers*each {
		b := next(t, ctx, ch)
		if b.Revision <= last {
			t.Fatalf("revision %d after %d", b.Revision, last)
		}
		last = b.Revision
		for _, it := range b.Items {
			if seen[it.Key] {
				t.Errorf("%s came twice", it.Key)
			}
			seen[it.Key] = true
		}
	}
	wg.Wait()
}

func emptyValue(t *testing.T, ctx context.Context, kv store.KV) {
	rev := must(t, ctx, kv, put("t/a", ""))
	if got := next(t, ctx, open(t, ctx, kv, rev)); got.Items[0].Value == nil {
		t.Error("the watch turned an empty value into a deletion")
	}
	items, _, err := kv.Load(ctx)
	if err != nil || len(items) != 1 || items[0].Value == nil {
		t.Errorf("Load = %+v, %v; want one empty, not nil, value", items, err)
	}
}
