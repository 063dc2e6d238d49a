package child_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

// helperParent makes the test binary an emulator that creates the control plane
// described on its standard input, prints its process id and waits to be killed.
const helperParent = "__helper-parent"

type helperInput struct {
	Endpoint, RunDir string
	Spec             controlplane.Spec
}

func runHelperParent() error {
	var in helperInput
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		return err
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{in.Endpoint}})
	if err != nil {
		return err
	}
	b, err := embedded.New(embedded.Config{RunDir: in.RunDir, EtcdEndpoint: in.Endpoint, Etcd: c, Authenticator: newPeople()})
	if err != nil {
		return err
	}
	info, err := b.Create(context.Background(), in.Spec)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString(strconv.Itoa(info.PID) + "\n"); err != nil {
		return err
	}
	select {}
}

// TestChildEndsWithParent kills the emulator in the hardest way. Its etcd lives
// on, so that only the end of the control socket can tell the child.
func TestChildEndsWithParent(t *testing.T) {
	etcd, ctx := startEtcd(t), testContext(t)
	in := helperInput{Endpoint: etcd.endpoint, RunDir: t.TempDir(), Spec: conformance.NewSpec(t, "orphan", "1.34")}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, exe, helperParent)
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(text)), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	waitFor(ctx, t, "the child to end", func() bool { return !processRuns(pid) })

	// Another emulator takes up where that one was killed.
	b := newBackend(t, etcd, func(c *embedded.Config) { c.RunDir = in.RunDir })
	if _, err := b.Create(ctx, in.Spec); err != nil {
		t.Fatal(err)
	}
}

func TestCrashedChildIsRestarted(t *testing.T) {
	b, ctx := newBackend(t, startEtcd(t), nil), testContext(t)
	spec := conformance.NewSpec(t, "crash", "1.34")
	info, err := b.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(ctx, t, "the crash to be noticed", func() bool { i, err := b.Get(ctx, spec.ID); return err == nil && i.PID != info.PID })
	// The socket stays open meanwhile: a new connection waits and is answered.
	t0 := time.Now()
	if _, err := kubernetes.NewForConfigOrDie(info.Admin).CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("answered %v after the crash", time.Since(t0))
	waitFor(ctx, t, "a new process", func() bool { i, err := b.Get(ctx, spec.ID); return err == nil && i.PID != 0 })
	if err := b.Delete(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, spec.ID); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("Get after Delete: %v", err)
	}
}

// TestDeleteWhileRestarting leaves neither a process nor a key.
func TestDeleteWhileRestarting(t *testing.T) {
	etcd := startEtcd(t)
	b, ctx := newBackend(t, etcd, nil), testContext(t)
	spec := conformance.NewSpec(t, "crash", "1.34")
	info, err := b.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	r, err := etcd.client.Get(ctx, "/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || r.Count != 0 {
		t.Errorf("%d keys are left, error %v", r.Count, err)
	}
}

// TestFailureIsExplained looks at a child that cannot start.
func TestFailureIsExplained(t *testing.T) {
	b, ctx := newBackend(t, startEtcd(t), nil), testContext(t)
	spec := conformance.NewSpec(t, "bad", "1.34")
	spec.Issuer = "not a url with a \x7f"
	_, err := b.Create(ctx, spec)
	if err == nil || !strings.Contains(err.Error(), "service-account") {
		t.Errorf("Create with a bad issuer: %v", err)
	}
	if _, err := b.Get(ctx, spec.ID); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("Get afterwards: %v", err)
	}
}

func processRuns(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil {
		return false
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || !strings.Contains(string(b), ") Z ") // a zombie has ended
}
