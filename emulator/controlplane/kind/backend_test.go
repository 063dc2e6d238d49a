package kind_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/kind"
)

// config needs an engine and a node image: make test-kind has both.
func config(t *testing.T) kind.Config {
	image := os.Getenv("EKSLOCAL_KIND_NODE_IMAGE")
	if image == "" {
		t.Skip("EKSLOCAL_KIND_NODE_IMAGE names no node image: see make test-kind")
	}
	return kind.Config{
		RunDir: t.TempDir(), NodeImage: image, Authenticator: nobody{},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func open(t *testing.T, cfg kind.Config) *kind.Backend {
	t.Helper()
	b, err := kind.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(t, b, cfg.RunDir) })
	return b
}

func TestConformance(t *testing.T) {
	conformance.RunSuite(t, func(t *testing.T) conformance.Harness {
		cfg := config(t)
		return conformance.Harness{Backend: open(t, cfg), Reopen: func() controlplane.Backend { return open(t, cfg) }, Serves: true}
	})
}

// TestBadDays: a create that fails leaves nothing but an error that says why.
func TestBadDays(t *testing.T) {
	cfg := config(t)
	b := open(t, cfg)
	version := b.Versions()[0]

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	spec := conformance.NewSpec(t, "port-taken", version)
	spec.Port = taken.Addr().(*net.TCPAddr).Port
	_, err = b.Create(t.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), "address already in use") || strings.Contains(err.Error(), "docker run") {
		t.Errorf("a port that is taken: %v", err)
	}
	if left := containers(t, spec); len(left) > 0 {
		t.Errorf("a port that is taken leaves %v", left)
	}

	spec = conformance.NewSpec(t, "given-up", version)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := b.Create(ctx, spec); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a create that is given up: %v", err)
	}
	if left := containers(t, spec); len(left) > 0 {
		t.Errorf("a create that is given up leaves %v", left)
	}

	// A kind cluster of a name like ours, but not in this backend's directory.
	spec = conformance.NewSpec(t, "foreign", version)
	docker(t, "create", "--name", "ekslocal-"+spec.ID+"-control-plane", "--label", "io.x-k8s.kind.cluster=ekslocal-"+spec.ID, cfg.NodeImage)
	defer docker(t, "rm", "-f", "-v", "ekslocal-"+spec.ID+"-control-plane")
	if err := b.Delete(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	if err := b.Retain(t.Context(), func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	if left := containers(t, spec); len(left) != 1 {
		t.Errorf("of somebody else's cluster there is %v", left)
	}
}

// TestRevive: a control plane whose container was killed comes back with its data.
func TestRevive(t *testing.T) {
	b := open(t, config(t))
	spec := conformance.NewSpec(t, "revive", b.Versions()[0])
	info, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetes.NewForConfig(info.Admin)
	if err != nil {
		t.Fatal(err)
	}
	marker := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "marker"}}
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), marker, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	docker(t, "kill", "ekslocal-"+spec.ID+"-control-plane")
	err = wait.PollUntilContextTimeout(t.Context(), time.Second, 2*time.Minute, false, func(ctx context.Context) (bool, error) {
		_, err := c.CoreV1().Namespaces().Get(ctx, "marker", metav1.GetOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Errorf("two minutes later: %v", err)
	}
}

func containers(t *testing.T, spec controlplane.Spec) []string {
	t.Helper()
	return strings.Fields(docker(t, "ps", "-a", "--filter", "label=io.x-k8s.kind.cluster=ekslocal-"+spec.ID, "--format", "{{.Names}}"))
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %v: %v: %s", args, err, out)
	}
	return string(out)
}

// removeAll deletes what a test has made, which keeps its data otherwise.
func removeAll(t *testing.T, b *kind.Backend, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := b.Delete(context.Background(), e.Name()); err != nil {
				t.Log(err)
			}
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// nobody knows no identity.
type nobody struct{}

func (nobody) Authenticate(context.Context, string, string) (controlplane.Identity, bool, error) {
	return controlplane.Identity{}, false, nil
}

func (nobody) Authorize(context.Context, string, controlplane.Attributes) (bool, string, error) {
	return false, "", nil
}
