package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

// TestMain makes the test binary a child that says what a control plane says and
// runs none, so that the parent's side is tested quickly and by the race detector.
// Package child tests it with the real one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == embedded.ChildArg {
		if err := pretend(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Names of clusters whose children misbehave.
const (
	refusesToBoot  = "refuses-to-boot"
	refusesToServe = "refuses-to-serve"
	ignoresTerm    = "ignores-term"
	ignoresDrain   = "ignores-drain"
)

func pretend() error {
	name := os.Args[3]
	c, err := embedded.NewConn(os.NewFile(embedded.ControlFD, "control"))
	if err != nil {
		return err
	}
	if name == ignoresTerm {
		signal.Ignore(syscall.SIGTERM)
	}
	var public net.Listener
	for {
		m, f, err := c.Receive()
		if err != nil {
			return nil
		}
		answer := embedded.Kind("")
		switch m.Kind {
		case embedded.Boot:
			if name == refusesToBoot {
				return errors.New("no boot today")
			}
			answer = embedded.Ready
		case embedded.Serve:
			if name == refusesToServe {
				return errors.New("no service today")
			}
			if public, err = net.FileListener(f); err != nil {
				return err
			}
			go func() {
				for {
					conn, err := public.Accept()
					if err != nil {
						return
					}
					fmt.Fprint(conn, os.Getpid())
					conn.Close()
				}
			}()
			answer = embedded.Serving
		case embedded.StopControllers:
			answer = embedded.ControllersStopped
		case embedded.Drain:
			if name != ignoresDrain {
				time.Sleep(50 * time.Millisecond) // as one that is busy
				public.Close()
				return c.Send(embedded.Message{Kind: embedded.Draining}, -1)
			}
			continue
		}
		if err := c.Send(embedded.Message{Kind: answer}, -1); err != nil {
			return nil
		}
	}
}

// keys is an etcd of which Get, Put and Delete work.
type keys struct {
	clientv3.KV
	mu  sync.Mutex
	all map[string]string
}

func etcd() (*clientv3.Client, *keys) {
	k := &keys{all: map[string]string{}}
	return &clientv3.Client{KV: k}, k
}

func (k *keys) Put(_ context.Context, key, value string, _ ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all[key] = value
	return &clientv3.PutResponse{}, nil
}

func (k *keys) matching(key string, opts []clientv3.OpOption) []string {
	end := string(clientv3.OpGet(key, opts...).RangeBytes())
	var found []string
	for have := range k.all {
		if have == key || end != "" && have >= key && have < end {
			found = append(found, have)
		}
	}
	return found
}

func (k *keys) Get(_ context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := &clientv3.GetResponse{}
	for _, have := range k.matching(key, opts) {
		r.Kvs = append(r.Kvs, &mvccpb.KeyValue{Key: []byte(have), Value: []byte(k.all[have])})
	}
	return r, nil
}

func (k *keys) Delete(_ context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, have := range k.matching(key, opts) {
		delete(k.all, have)
	}
	return &clientv3.DeleteResponse{}, nil
}

func (k *keys) left() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.matching("/", []clientv3.OpOption{clientv3.WithPrefix()})
}

type nobody struct{}

func (nobody) Authenticate(context.Context, string, string) (controlplane.Identity, bool, error) {
	return controlplane.Identity{}, false, nil
}

func (nobody) Authorize(context.Context, string, controlplane.Attributes) (bool, string, error) {
	return false, "", nil
}

func open(t *testing.T, c *clientv3.Client, dir string, change func(*embedded.Config)) *embedded.Backend {
	t.Helper()
	cfg := embedded.Config{RunDir: dir, Etcd: c, EtcdEndpoint: "unix:///nowhere", Authenticator: nobody{}}
	if change != nil {
		change(&cfg)
	}
	b, err := embedded.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func withSpare(c *embedded.Config) {
	c.SpareVersion, c.SpareServiceCIDR = "1.34", "10.100.0.0/16"
	c.SpareIssuer = func(id string) string { return "https://oidc.localhost/id/" + id }
}

func TestConformance(t *testing.T) {
	conformance.RunSuite(t, func(t *testing.T) conformance.Harness {
		c, _ := etcd()
		dir := t.TempDir()
		return conformance.Harness{
			Backend: open(t, c, dir, nil),
			Reopen:  func() controlplane.Backend { return open(t, c, dir, nil) },
		}
	})
}

func TestFailedStartIsExplainedAndLeavesNothing(t *testing.T) {
	c, _ := etcd()
	b := open(t, c, t.TempDir(), nil)
	for _, name := range []string{refusesToBoot, refusesToServe} {
		spec := conformance.NewSpec(t, name, "1.34")
		if _, err := b.Create(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "today") {
			t.Errorf("%s: Create: %v", name, err)
		}
		if _, err := b.Get(t.Context(), spec.ID); !errors.Is(err, controlplane.ErrNotFound) {
			t.Errorf("%s: Get: %v", name, err)
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", spec.Port)); err != nil {
			t.Errorf("%s: the port is still taken: %v", name, err)
		} else {
			l.Close()
		}
	}
}

func TestFailedUpgradeLeavesTheOldOneRunning(t *testing.T) {
	c, _ := etcd()
	b := open(t, c, t.TempDir(), nil)
	spec := conformance.NewSpec(t, "fine", "1.34")
	made, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	spec.Name, spec.Version = refusesToBoot, "1.35"
	if _, err := b.Upgrade(t.Context(), spec); err == nil {
		t.Fatal("Upgrade succeeded")
	}
	got, err := b.Get(t.Context(), spec.ID)
	if err != nil || got.PID != made.PID || got.GitVersion != made.GitVersion {
		t.Errorf("after the failure: %+v, %v; before: %+v", got, err, made)
	}
}

// TestConnectionsAfterAnUpgrade: when it has ended nobody meets the old one any more.
func TestConnectionsAfterAnUpgrade(t *testing.T) {
	c, _ := etcd()
	b := open(t, c, t.TempDir(), nil)
	spec := conformance.NewSpec(t, "fine", "1.34")
	if _, err := b.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	spec.Version = "1.35"
	made, err := b.Upgrade(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", spec.Port))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := io.ReadAll(conn)
		conn.Close()
		if string(pid) != strconv.Itoa(made.PID) {
			t.Errorf("process %s answers, %v, want %d", pid, err, made.PID)
		}
	}
}

func TestDeleteEndsTheDrainingOneToo(t *testing.T) {
	c, _ := etcd()
	b := open(t, c, t.TempDir(), nil)
	spec := conformance.NewSpec(t, ignoresDrain, "1.34")
	old, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	spec.Version = "1.35"
	if _, err := b.Upgrade(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(old.PID, 0); err != nil {
		t.Fatalf("the old one does not drain: %v", err)
	}
	if err := b.Delete(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(old.PID, 0); err == nil {
		t.Error("the old process outlives the cluster")
	}
}

func TestCrashIsMended(t *testing.T) {
	c, _ := etcd()
	b := open(t, c, t.TempDir(), nil)
	spec := conformance.NewSpec(t, "crash", "1.34")
	made, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(made.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process", func() bool {
		i, err := b.Get(t.Context(), spec.ID)
		return err == nil && i.PID != 0 && i.PID != made.PID
	})
}

func TestStubbornChildIsKilled(t *testing.T) {
	c, _ := etcd()
	b := open(t, c, t.TempDir(), nil)
	spec := conformance.NewSpec(t, ignoresTerm, "1.34")
	made, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(made.PID, 0); err == nil {
		t.Error("the process lives on")
	}
}

// TestCallsAtOnce lets everything happen to one control plane at the same time.
func TestCallsAtOnce(t *testing.T) {
	c, k := etcd()
	b := open(t, c, t.TempDir(), nil)
	spec := conformance.NewSpec(t, "busy", "1.34")
	next := spec
	next.Version = "1.35"
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { _, _ = b.Create(t.Context(), spec) })
		wg.Go(func() { _, _ = b.Upgrade(t.Context(), next) })
		wg.Go(func() {
			if i, err := b.Get(t.Context(), spec.ID); err == nil && i.PID > 0 {
				_ = syscall.Kill(i.PID, syscall.SIGKILL)
			}
		})
		wg.Go(func() {
			if err := b.Delete(t.Context(), spec.ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := b.Create(t.Context(), spec); err != nil {
		t.Error(err)
	}
	if err := b.Delete(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	if left := k.left(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestReservations(t *testing.T) {
	c, k := etcd()
	b := open(t, c, t.TempDir(), withSpare)
	var r controlplane.Reservation
	eventually(t, "a spare", func() (ok bool) {
		if _, ok := b.Reserve(t.Context(), "1.35", "10.100.0.0/16"); ok {
			t.Error("a spare of another version was reserved")
		}
		r, ok = b.Reserve(t.Context(), "1.34", "10.100.0.0/16")
		return ok
	})
	spec := conformance.NewSpec(t, "warm", "1.34")
	spec.ID, spec.Issuer = r.ID, r.Issuer
	if _, err := b.Create(t.Context(), spec); err == nil {
		t.Error("Create with another PKI than the reserved one's succeeded")
	}
	spec.PKI = r.PKI
	made, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Create(t.Context(), spec); err != nil || again.PID != made.PID {
		t.Errorf("second Create: %+v, %v", again, err)
	}
	if left := k.left(); len(left) > 1 || len(left) == 1 && strings.HasSuffix(left[0], spec.ID) {
		t.Errorf("the cluster is marked as a spare: %v", left)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left := k.left(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestLostSparesAreRemoved(t *testing.T) {
	c, k := etcd()
	dir := t.TempDir()
	b := open(t, c, dir, withSpare)
	eventually(t, "a spare", func() bool { return len(k.left()) > 0 })
	mark := k.left()[0]
	k.mu.Lock()
	owner := k.all[mark]
	k.mu.Unlock()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	id := mark[strings.LastIndexByte(mark, '/')+1:]
	for key, value := range map[string]string{
		mark: owner, "/ekslocal-clusters/" + id + "/x": "", "/ekslocal-spares/" + strings.Repeat("0", 32): "somebody else's",
	} {
		if _, err := c.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	open(t, c, dir, nil)
	if left := k.left(); len(left) != 1 || !strings.HasSuffix(left[0], "0000") {
		t.Errorf("left: %v", left)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// TestKeysGoWithTheirChild: a directory of keys lives as long as its process, and one
// that a killed emulator left behind until the next start.
func TestKeysGoWithTheirChild(t *testing.T) {
	c, _ := etcd()
	dir := t.TempDir()
	spec := conformance.NewSpec(t, "keys", "1.34")
	lost := filepath.Join(dir, spec.ID, "keys-lost")
	if err := os.MkdirAll(lost, 0o700); err != nil {
		t.Fatal(err)
	}
	b := open(t, c, dir, nil)
	count := func() int {
		found, err := filepath.Glob(filepath.Join(dir, spec.ID, "keys-*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if n := count(); n != 0 {
		t.Errorf("%d directories of keys are left of an earlier emulator", n)
	}
	if _, err := b.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("one child has %d directories of keys", n)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d directories of keys outlived their child", n)
	}
}
