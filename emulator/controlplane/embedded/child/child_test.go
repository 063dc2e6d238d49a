package child_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded/child"
)

// TestMain makes the test binary the executable that the backend starts again as
// a control plane.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == embedded.ChildArg {
		os.Exit(child.Main(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == helperParent {
		fmt.Fprintln(os.Stderr, runHelperParent())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// etcdServer is one etcd on a unix socket for a test.
type etcdServer struct {
	endpoint string
	client   *clientv3.Client
}

func startEtcd(t testing.TB) etcdServer {
	t.Helper()
	// t.TempDir may be longer than a socket's path can be.
	dir, err := os.MkdirTemp("", "ekslocal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.UnsafeNoFsync = filepath.Join(dir, "data"), "fatal", true
	endpoint := url.URL{Scheme: "unix", Path: filepath.Join(dir, "etcd.sock")}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls = []url.URL{endpoint} // what it advertises must be host:port and goes unused
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint.String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return etcdServer{endpoint: endpoint.String(), client: c}
}

// people authenticates k8s-aws-v1.NAME as NAME, and lets those in the group
// viewers get and list everything.
type people struct {
	mu    sync.Mutex
	known map[string][]string
	asked int
}

func (p *people) Authenticate(_ context.Context, _, token string) (controlplane.Identity, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	name := strings.TrimPrefix(token, "k8s-aws-v1.")
	groups, ok := p.known[name]
	return controlplane.Identity{Username: name, UID: "uid-" + name, Groups: groups, Extra: map[string][]string{"arn": {"arn:aws:iam::000000000000:user/" + name}}}, ok, nil
}

func (p *people) Authorize(_ context.Context, _ string, a controlplane.Attributes) (bool, string, error) {
	read := a.Verb == "get" || a.Verb == "list"
	return read && slices.Contains(a.Groups, "viewers"), "viewers may look", nil
}

func newPeople() *people {
	return &people{known: map[string][]string{"admin": {"system:masters"}, "ann": {"viewers"}, "bob": nil}}
}

// newBackend returns a backend on etcd whose executable is this test.
func newBackend(t testing.TB, etcd etcdServer, change func(*embedded.Config)) *embedded.Backend {
	t.Helper()
	cfg := embedded.Config{
		RunDir: t.TempDir(), EtcdEndpoint: etcd.endpoint, Etcd: etcd.client, Authenticator: newPeople(),
		Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	b, err := embedded.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			dumpLogs(t, cfg.RunDir)
		}
	})
	return b
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func dumpLogs(t testing.TB, dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	for _, f := range files {
		if strings.Contains(f, "audit") {
			continue
		}
		b, _ := os.ReadFile(f)
		const tail = 2000
		b = b[max(0, len(b)-tail):]
		t.Logf("%s:\n%s", filepath.Base(f), b)
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestConformance(t *testing.T) {
	conformance.RunSuite(t, func(t *testing.T) conformance.Harness {
		etcd, dir := startEtcd(t), t.TempDir()
		open := func() controlplane.Backend {
			return newBackend(t, etcd, func(c *embedded.Config) { c.RunDir = dir })
		}
		return conformance.Harness{Backend: open(), Reopen: open, Serves: true}
	})
}
