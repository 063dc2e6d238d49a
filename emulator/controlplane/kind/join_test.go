package kind

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/binaries"
)

// nodesEngine has a machine that has joined, and runs if there is a file runs. Equipping
// it for the first time waits for a file go.
const nodesEngine = `
case "$*" in *tar*|cp*) cat >/dev/null;; esac
running=false; [ -e $S/runs ] && running=true
case "$*" in
"network inspect kind") echo "Error response from daemon: network kind not found" >&2; exit 1;;
"network inspect "*) echo "[{\"Id\":\"n\",\"Name\":\"$3\",\"IPAM\":{\"Config\":[{\"Subnet\":\"198.18.1.0/24\"}]}}]";;
"container inspect "*) echo "[{\"Name\":\"/$3\",\"State\":{\"Running\":$running}}]";;
start*) touch $S/runs;;
*uname*) echo x86_64;;
*" equip"*)
	echo "equip${*##* equip}" >>$S/equipped
	while [ ! -e $S/go ]; do sleep 0.01; done;;
*"ctr "*) echo runtime >>$S/equipped;;
esac
`

// newNodes is a cluster whose API server has no Nodes.
func newNodes(t *testing.T, dir string) (*Backend, *plane) {
	t.Helper()
	if _, err := binaries.Agent("amd64"); errors.Is(err, binaries.ErrMissing) {
		t.Skip(err)
	}
	fakeDocker(t, "S="+dir+nodesEngine)
	b, err := New(Config{RunDir: t.TempDir(), Authenticator: table{}})
	if err != nil {
		t.Fatal(err)
	}
	b.questions = newQuestions(t, b.cfg)
	p, err := b.plane(supervisedID)
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(api.Close)
	p.running, p.info.Admin = true, &rest.Config{Host: api.URL}
	if err := p.saveMachine(superviseeID, machineRecord{Joined: true, Authority: p.authority()}); err != nil {
		t.Fatal(err)
	}
	return b, p
}

// TestResume: the Node of a machine that runs already is nobody's to wait for, since
// somebody may have deleted it; a machine that is started registers.
func TestResume(t *testing.T) {
	for name, runs := range map[string]bool{"runs": true, "is started": false} {
		dir := t.TempDir()
		for file, made := range map[string]bool{"runs": runs, "go": true} {
			if made {
				if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		b, p := newNodes(t, dir)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		err := b.Join(ctx, supervisedID, machine())
		cancel()
		if runs && err != nil || !runs && (err == nil || !strings.Contains(err.Error(), "does not register")) {
			t.Errorf("a machine that %s: %v", name, err)
		}
		if got := len(p.runningGuests()) == 1; got != runs {
			t.Errorf("a machine that %s is one to run: %v", name, got)
		}
	}
}

// awaitEquipped waits until something was done on the node, and tells what was.
func awaitEquipped(t *testing.T, dir, what string) func() string {
	t.Helper()
	equipped := func() string {
		raw, _ := os.ReadFile(filepath.Join(dir, "equipped")) // none: nothing
		return string(raw)
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(equipped(), what); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the node is not equipped")
		}
	}
	return equipped
}

// TestAuthorityDuringJoin: a node that is joining while the cluster gets another authority
// trusts that in the end.
func TestAuthorityDuringJoin(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"runs", "go"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, p := newNodes(t, dir)
	if err := p.providing.take(t.Context()); err != nil { // it cannot be one of the nodes yet
		t.Fatal(err)
	}
	joined := make(chan error, 1)
	go func() { joined <- b.Join(t.Context(), supervisedID, machine()) }()
	awaitEquipped(t, dir, "runtime")
	p.mu.Lock()
	p.spec.PKI = conformance.NewPKI(t)
	p.mu.Unlock()
	if err := p.trustAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.providing.leave()
	if err := within(t, "Join", func() error { return <-joined }); err != nil {
		t.Fatal(err)
	}
	if r, _, err := p.loadMachine(superviseeID); err != nil || r.Authority != p.authority() {
		t.Errorf("the node trusts another authority: %+v, %v", r, err)
	}
}

// TestProvideDuringJoin: a node that is joining while the nodes get an image gets it, too.
func TestProvideDuringJoin(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "runs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := newNodes(t, dir)
	joined := make(chan error, 1)
	go func() { joined <- b.Join(t.Context(), supervisedID, machine()) }()
	equipped := awaitEquipped(t, dir, "equip")
	const image = "602401143452.dkr.ecr.us-east-1.amazonaws.com/eks/kube-proxy:v1.36.0"
	if err := b.Provide(t.Context(), supervisedID, []string{image}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := within(t, "Join", func() error { return <-joined }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(equipped(), image) {
		t.Errorf("the node has been equipped with %q", equipped())
	}
}
