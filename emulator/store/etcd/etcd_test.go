package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/store/storetest"
)

// socketDir is short: t.TempDir() can exceed what a socket path may have.
func socketDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func testConfig(t testing.TB) Config {
	dir := socketDir(t)
	return Config{Dir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "run", "s"), Log: slog.New(slog.DiscardHandler), Clock: clock.RealClock{}}
}

func start(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// prefixes hands each subtest of a suite an empty store on one server, with
// foreign writes going on beside it as the control planes' do.
func prefixes(t *testing.T) func(*testing.T) store.KV {
	s := start(t, testConfig(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			s.Client().Put(ctx, "/registry/leases", "x")
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	n := 0
	return func(*testing.T) store.KV {
		n++
		return s.KV(fmt.Sprintf("/test%d/", n))
	}
}

func TestKV(t *testing.T)    { storetest.KV(t, prefixes(t)) }
func TestStore(t *testing.T) { storetest.Store(t, prefixes(t)) }

func TestRemoteKV(t *testing.T) {
	s := start(t, testConfig(t))
	r, err := Connect(t.Context(), []string{s.Endpoint()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	storetest.KV(t, func(*testing.T) store.KV {
		n++
		return r.KV(fmt.Sprintf("/test%d/", n))
	})
}

func TestRestartKeepsData(t *testing.T) {
	for _, fsync := range []bool{false, true} {
		cfg := testConfig(t)
		cfg.Fsync = fsync
		s := start(t, cfg)
		if _, _, err := s.KV("/p/").Commit(t.Context(), nil, []store.Item{{Key: "a", Value: []byte("1")}}); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := os.Stat(cfg.Socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket outlives the server: %v", err)
		}
		s = start(t, cfg)
		items, _, err := s.KV("/p/").Load(t.Context())
		if err != nil || len(items) != 1 || string(items[0].Value) != "1" {
			t.Errorf("after a restart: %v, %v", items, err)
		}
		s.Close()
	}
}

func TestSecondServerFailsAtOnce(t *testing.T) {
	cfg := testConfig(t)
	start(t, cfg)
	other := cfg
	other.Socket = filepath.Join(filepath.Dir(cfg.Socket), "t")
	_, err := Start(t.Context(), other)
	var inUse *InUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
		t.Fatalf("a second server on the directory: %v", err)
	}
	if !strings.Contains(err.Error(), "stop that one") {
		t.Errorf("%q does not say what to do", err)
	}
}

func TestNothingIsOpenToOthers(t *testing.T) {
	cfg := testConfig(t)
	before := listeners(t)
	start(t, cfg)
	for addr := range listeners(t) {
		if !before[addr] {
			t.Errorf("etcd listens on TCP %s", addr)
		}
	}
	for _, dir := range []string{cfg.Dir, filepath.Dir(cfg.Socket)} {
		if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want 0700", dir, fi.Mode(), err)
		}
	}
}

// listeners are this process's listening TCP sockets, by the kernel's account.
func listeners(t *testing.T) map[string]bool {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	mine := map[string]bool{}
	for _, fd := range fds {
		if l, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			mine[strings.TrimSuffix(strings.TrimPrefix(l, "socket:["), "]")] = true
		}
	}
	out := map[string]bool{}
	for _, f := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		b, _ := os.ReadFile(f)
		for _, line := range strings.Split(string(b), "\n") {
			p := strings.Fields(line)
			if len(p) > 9 && p[3] == "0A" && mine[p[9]] {
				out[p[1]] = true
			}
		}
	}
	return out
}

func TestLongSocketPathIsRefused(t *testing.T) {
	cfg := testConfig(t)
	cfg.Socket = filepath.Join(filepath.Dir(cfg.Socket), strings.Repeat("x", 120))
	if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "shorter path") {
		t.Errorf("Start = %v", err)
	}
	cfg.Socket = filepath.Join(filepath.Dir(cfg.Socket), "s")
	start(t, cfg) // nothing half-made is in the way
}

func TestSharedDirectoryIsRefused(t *testing.T) {
	shared := filepath.Join(socketDir(t), "tmp")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t)
	cfg.Socket = filepath.Join(shared, "s")
	if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "must be private") {
		t.Errorf("Start = %v", err)
	}
	if fi, _ := os.Stat(shared); fi.Mode().Perm() != 0o777 {
		t.Errorf("its mode is now %v", fi.Mode())
	}
}

func TestCloseDoesNotWaitForClients(t *testing.T) {
	s := start(t, testConfig(t))
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := c.Watch(t.Context(), "x", clientv3.WithCreatedNotify())
	<-w
	began := time.Now()
	s.Close()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Close took %v with a client's watch open", took)
	}
}

func TestWatchSurvivesCompaction(t *testing.T) {
	s := start(t, testConfig(t))
	kv := s.KV("/p/")
	put := func(key, value string) int64 {
		t.Helper()
		it := store.Item{Key: key}
		if value != "" {
			it.Value = []byte(value)
		}
		rev, ok, err := kv.Commit(t.Context(), nil, []store.Item{it})
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		return rev
	}
	first := put("a", "1")
	put("b", "1")
	put("a", "2")
	last := put("b", "")
	if _, err := s.Client().Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	ch, err := kv.Watch(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	b := <-ch
	if b.Err != nil || !b.Reset || b.Revision < last || len(b.Items) != 1 || string(b.Items[0].Value) != "2" {
		t.Fatalf("a watch from before the compaction begins with %+v", b)
	}
	next := put("c", "1")
	if b = <-ch; b.Revision != next || b.Reset {
		t.Errorf("and goes on with %+v", b)
	}
}

func TestStoreSeesLossOfServer(t *testing.T) {
	s := start(t, testConfig(t))
	st, err := store.Open(t.Context(), s.KV("/p/"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	tab := store.Table[int]("n")
	err = st.Update(t.Context(), func(tx *store.Tx) error { n := 1; tab.Put(tx, awsid.Scope{}, "x", &n); return nil })
	if err == nil {
		t.Error("a write after the server closed succeeded")
	}
}

func TestFullDatabaseIsFreed(t *testing.T) {
	cfg := testConfig(t)
	cfg.QuotaBytes = 4 << 20
	s := start(t, cfg)
	kv := s.KV("/p/")
	// History fills it: one key written over and over. etcd looks at the file's
	// size, which grows with its batches, ten a second.
	value := []byte(strings.Repeat("x", 64<<10))
	var err error
	for began := time.Now(); err == nil && time.Since(began) < 10*time.Second; {
		_, _, err = kv.Commit(t.Context(), nil, []store.Item{{Key: "a", Value: value}})
	}
	if err == nil {
		t.Fatal("the quota does not hold")
	}
	if !strings.Contains(err.Error(), "full") {
		t.Errorf("error %q does not say that the database is full", err)
	}
	// The refusal has asked for space; this waits for it, or does it.
	if err := s.Free(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := kv.Commit(t.Context(), nil, []store.Item{{Key: "a", Value: value}}); err != nil {
		t.Errorf("after space was freed: %v", err)
	}
	st, err := s.Status(t.Context())
	if err != nil || st.Full || st.Size > st.Quota || st.InUse > 2<<20 {
		t.Errorf("status %+v, %v", st, err)
	}
}

func TestMaintainKeepsTheLastRound(t *testing.T) {
	s := start(t, testConfig(t))
	kv := s.KV("/p/")
	put := func() int64 {
		rev, _, err := kv.Commit(t.Context(), nil, []store.Item{{Key: "a", Value: []byte("x")}})
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	r1 := put()
	r2 := put()
	if err := s.Maintain(t.Context()); err != nil { // remembers r2
		t.Fatal(err)
	}
	r3 := put()
	if err := s.Maintain(t.Context()); err != nil { // forgets what is older than r2
		t.Fatal(err)
	}
	for rev, there := range map[int64]bool{r1: false, r2: true, r3: true} {
		_, err := s.Client().Get(t.Context(), "/p/a", clientv3.WithRev(rev))
		if (err == nil) != there {
			t.Errorf("revision %d: %v, want it there: %v", rev, err, there)
		}
	}
}

func TestEndpointIsAUnixSocket(t *testing.T) {
	s := start(t, testConfig(t))
	c, err := net.Dial("unix", strings.TrimPrefix(s.Endpoint(), "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func BenchmarkStart(b *testing.B) {
	for _, fsync := range []bool{false, true} {
		b.Run(fmt.Sprintf("fsync=%v", fsync), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				cfg := testConfig(b)
				cfg.Fsync = fsync
				b.StartTimer()
				s := start(b, cfg)
				b.StopTimer()
				s.Close()
				b.StartTimer()
			}
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, fsync := range []bool{false, true} {
		b.Run(fmt.Sprintf("fsync=%v", fsync), func(b *testing.B) {
			cfg := testConfig(b)
			cfg.Fsync = fsync
			s := start(b, cfg)
			st, err := store.Open(b.Context(), s.KV("/p/"), slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			tab := store.Table[int]("n")
			for b.Loop() {
				err := st.Update(b.Context(), func(tx *store.Tx) error {
					n := 1
					if p := tab.Edit(tx, awsid.Scope{}, "x"); p != nil {
						n = *p + 1
					}
					tab.Put(tx, awsid.Scope{}, "x", &n)
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
