package etcd

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// A nearly full disk refuses writes, ours with a sentence and control planes' with
// etcd's own error, and takes them again when there is space.
func TestNearlyFullDisk(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 30)
	clk := clocktesting.NewFakeClock(time.Now())
	dir := t.TempDir()
	s, err := Start(t.Context(), Config{
		Dir: dir, Socket: filepath.Join(dir, "s"), Clock: clk, freeSpace: func(string) (int64, error) { return free.Load(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kv := s.KV("/t/")
	put := func() error {
		_, _, err := kv.Commit(t.Context(), nil, []store.Item{{Key: "a/b/c/d", Value: []byte("1")}})
		return err
	}
	foreign := func() error { _, err := s.Client().Put(t.Context(), "/other/k", "v"); return err }
	if err := errors.Join(put(), foreign()); err != nil {
		t.Fatal(err)
	}
	free.Store(diskFloor - 1)
	s.disk.look(t.Context())
	var full *FullError
	if err := put(); !errors.As(err, &full) || full.HTTPStatusCode() != 503 {
		t.Errorf("our write on a full disk: %v", err)
	}
	if err := foreign(); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("another's write on a full disk: %v", err)
	}
	if err := s.Free(t.Context()); !errors.As(err, &full) {
		t.Errorf("Free must not take writes again: %v", err)
	}
	free.Store(diskFloor + 1) // not enough more to be worth it
	s.disk.look(t.Context())
	if put() == nil {
		t.Error("writes are taken on the verge")
	}
	free.Store(1 << 30)
	s.disk.look(t.Context())
	if err := errors.Join(put(), foreign()); err != nil {
		t.Errorf("writes after space was freed: %v", err)
	}
}
