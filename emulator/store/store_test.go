package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/store/storetest"
)

func memory(*testing.T) store.KV { return store.NewMemory() }

func TestMemoryKV(t *testing.T)    { storetest.KV(t, memory) }
func TestMemoryStore(t *testing.T) { storetest.Store(t, memory) }

// broken delivers what a test sends it.
type broken struct {
	*store.Memory
	events chan store.Batch
}

func (b *broken) Watch(context.Context, int64) (<-chan store.Batch, error) { return b.events, nil }

type record struct{ Name, Text string }

var (
	records = store.Table[record]("records")
	here    = awsid.Scope{Account: "000000000000", Region: "us-east-1"}
)

func item(id, name string, rev int64) store.Item {
	return store.Item{Key: "records/000000000000/us-east-1/" + id, Value: []byte(`{"Name":"` + name + `"}`), Revision: rev}
}

func TestResetShowsWhatChanged(t *testing.T) {
	kv := &broken{store.NewMemory(), make(chan store.Batch)}
	_, _, err := kv.Commit(t.Context(), nil, []store.Item{item("gone", "x", 0), item("same", "x", 0), item("new", "x", 0)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), kv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan store.Change, 10)
	s.Subscribe("records", func(c store.Change) { got <- c })
	for range 3 {
		<-got
	}
	kv.events <- store.Batch{Revision: 9, Reset: true, Items: []store.Item{item("same", "x", 1), item("new", "y", 7), item("newer", "z", 9)}}
	for _, want := range []store.Change{{here, "new", false}, {here, "newer", false}, {here, "gone", true}} {
		if c := <-got; c != want {
			t.Errorf("told %+v, want %+v", c, want)
		}
	}
	if s.Revision() != 9 || records.Get(s, here, "gone") != nil || records.Get(s, here, "new").Name != "y" {
		t.Errorf("after a reset: revision %d, records %v", s.Revision(), records.List(s, here))
	}
}

func TestCancelledSubscriptionIsNotCalled(t *testing.T) {
	s, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended, going := make(chan store.Change, 10), make(chan store.Change, 10)
	cancel := s.Subscribe("records", func(c store.Change) { ended <- c })
	s.Subscribe("records", func(c store.Change) { going <- c })
	cancel()
	cancel() // a second time is harmless
	if err := s.Update(t.Context(), func(tx *store.Tx) error { records.Put(tx, here, "a", &record{}); return nil }); err != nil {
		t.Fatal(err)
	}
	<-going
	if len(ended) > 0 {
		t.Errorf("called after its end: %+v", <-ended)
	}
}

func TestLostBackendFailsWrites(t *testing.T) {
	kv := &broken{store.NewMemory(), make(chan store.Batch)}
	s, err := store.Open(t.Context(), kv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	put := func(tx *store.Tx) error { records.Put(tx, here, "a", &record{}); return nil }
	result := make(chan error)
	go func() { result <- s.Update(t.Context(), put) }() // waits for an event that never comes
	want := errors.New("disk gone")
	kv.events <- store.Batch{Err: want}
	if err := <-result; err == nil {
		t.Error("an update whose event was lost succeeded")
	}
	if err := s.Update(t.Context(), put); !errors.Is(err, want) {
		t.Errorf("a later update: %v, want %v", err, want)
	}
	if !errors.Is(s.Err(), want) {
		t.Errorf("Err() = %v", s.Err())
	}
}

func TestUpdateEndsWithItsContext(t *testing.T) {
	// A KV on which no guard ever holds: somebody else always wins.
	s, err := store.Open(t.Context(), losing{store.NewMemory()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = s.Update(ctx, func(tx *store.Tx) error { records.Put(tx, here, "a", &record{}); return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Update = %v", err)
	}
}

type losing struct{ *store.Memory }

func (losing) Commit(context.Context, []store.Guard, []store.Item) (int64, bool, error) {
	return 0, false, nil
}

func filled(b *testing.B, n int) *store.Store {
	s, err := store.Open(b.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("x", 4096)
	for _, sc := range []awsid.Scope{here, {Account: here.Account, Region: "eu-west-1"}} {
		err = s.Update(b.Context(), func(tx *store.Tx) error {
			for i := range n {
				records.Put(tx, sc, fmt.Sprintf("subnet-%03d/eni-%05d", i%100, i), &record{Name: fmt.Sprint(i), Text: text})
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkGet(b *testing.B) {
	s := filled(b, 5000)
	b.ReportAllocs()
	for b.Loop() {
		if records.Get(s, here, "subnet-042/eni-02042") == nil {
			b.Fatal("no record")
		}
	}
}

func BenchmarkListPrefix50of5000(b *testing.B) {
	s := filled(b, 5000)
	b.ReportAllocs()
	for b.Loop() {
		if n := len(records.ListPrefix(s, here, "subnet-042/")); n != 50 {
			b.Fatal(n)
		}
	}
}

func BenchmarkList5000(b *testing.B) {
	s := filled(b, 5000)
	b.ReportAllocs()
	for b.Loop() {
		if n := len(records.List(s, here)); n != 5000 {
			b.Fatal(n)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	s := filled(b, 5000)
	b.ReportAllocs()
	for b.Loop() {
		err := s.Update(b.Context(), func(tx *store.Tx) error {
			r := records.Edit(tx, here, "subnet-042/eni-02042")
			r.Name += "x"
			r.Name = r.Name[:min(len(r.Name), 8)]
			records.Put(tx, here, "subnet-042/eni-02042", r)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
