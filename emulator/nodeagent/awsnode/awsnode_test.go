//go:build linux

package awsnode

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
)

// emulator answers a daemon with reports that the test sends.
type emulator struct {
	t       *testing.T
	srv     *httptest.Server
	reports chan protocol.DaemonReport

	mu      sync.Mutex
	starts  []protocol.DaemonStart
	network protocol.NodeNetwork
	full    bool // no rules can be set
}

func newEmulator(t *testing.T) *emulator {
	e := &emulator{t: t, reports: make(chan protocol.DaemonReport)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /daemon", func(w http.ResponseWriter, r *http.Request) {
		var s protocol.DaemonStart
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		e.starts = append(e.starts, s)
		e.mu.Unlock()
		for {
			select {
			case rep, ok := <-e.reports:
				if !ok {
					return
				}
				_ = json.NewEncoder(w).Encode(rep)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("POST /network", func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.full {
			protocol.Refuse(w, http.StatusInternalServerError, protocol.Failure{Message: "iptables-restore: exit status 4"})
			return
		}
		if err := json.NewDecoder(r.Body).Decode(&e.network); err != nil {
			t.Error(err)
		}
	})
	e.srv = httptest.NewServer(mux)
	t.Cleanup(e.srv.Close)
	return e
}

func (e *emulator) runs() (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.starts {
		out = append(out, s.Run)
	}
	return out
}

// output is what the container writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// container is a start of aws-node's, without the address for the probes, which is one
// for the whole machine.
func container(t *testing.T, e *emulator, env map[string]string) (d *daemon, out *output, done chan error, stop func()) {
	t.Helper()
	dir, out := t.TempDir(), &output{}
	for _, sub := range []string{"bin", "conf"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env["AWS_VPC_K8S_CNI_LOG_FILE"] = filepath.Join(dir, "log", "ipamd.log")
	cfg := Config{
		Asks: protocol.NewClient(e.srv.URL), Env: env, BinDir: filepath.Join(dir, "bin"), ConfDir: filepath.Join(dir, "conf"), Out: out, Now: time.Now,
		Pause: func(ctx context.Context) error { time.Sleep(time.Millisecond); return ctx.Err() },
	}
	d = &daemon{cfg: cfg, run: "run-1"}
	d.health.now = time.Now
	ctx, cancel := context.WithCancel(t.Context())
	done = make(chan error, 1)
	go func() { done <- d.follow(ctx) }()
	return d, out, done, func() { cancel(); <-done }
}

// TestServing: the node becomes ready when the daemon serves and not before, and stays so
// over a gap in which the emulator is away.
func TestServing(t *testing.T) {
	e := newEmulator(t)
	d, out, _, stop := container(t, e, map[string]string{"WARM_IP_TARGET": "3", "AWS_VPC_K8S_CNI_RANDOMIZESNAT": "none"})
	defer stop()
	conf := filepath.Join(d.cfg.ConfDir, conflistName)
	inside := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	e.reports <- protocol.DaemonReport{Phase: protocol.PhaseStarting, Log: "one\n", Network: &protocol.NodeNetwork{Inside: inside}}
	e.reports <- protocol.DaemonReport{Phase: protocol.PhaseStarting}
	if _, err := os.Stat(conf); err == nil || d.ok() {
		t.Errorf("ready before the daemon serves: %v, %v", err, d.ok())
	}
	e.reports <- protocol.DaemonReport{Phase: protocol.PhaseServing, Log: "two\n"}
	eventually(t, "the node is ready", func() bool {
		return d.ok() && strings.Contains(out.String(), "Successfully copied CNI plugin binary and config file.")
	})
	if log, err := os.ReadFile(d.cfg.Env["AWS_VPC_K8S_CNI_LOG_FILE"]); err != nil || string(log) != "one\ntwo\n" {
		t.Errorf("ipamd.log: %q, %v", log, err)
	}
	e.mu.Lock()
	if diff := cmp.Diff(protocol.NodeNetwork{Inside: inside, Random: "none"}, e.network, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if got := e.starts[0]; got.Env["WARM_IP_TARGET"] != "3" {
		t.Errorf("settings: %v", got.Env)
	}
	e.mu.Unlock()

	e.srv.CloseClientConnections()
	eventually(t, "the daemon comes again", func() bool { return len(e.runs()) > 1 })
	if !d.ok() {
		t.Error("a gap makes the node unready")
	}
	if runs := e.runs(); runs[0] != runs[1] {
		t.Errorf("another run: %v", runs)
	}
	d.health.now = func() time.Time { return time.Now().Add(patience + time.Minute) }
	e.srv.CloseClientConnections()
	eventually(t, "a gap without an end makes the node unready", func() bool { return !d.ok() })
}

// TestRulesThatCannotBeSet are tried again, and the node is not ready without them.
func TestRulesThatCannotBeSet(t *testing.T) {
	e := newEmulator(t)
	e.full = true
	d, out, _, stop := container(t, e, map[string]string{})
	defer stop()
	serving := protocol.DaemonReport{Phase: protocol.PhaseServing, Network: &protocol.NodeNetwork{ExternalSNAT: true}}
	e.reports <- serving
	eventually(t, "the daemon comes again", func() bool { return len(e.runs()) > 1 })
	if _, err := os.Stat(filepath.Join(d.cfg.ConfDir, conflistName)); err == nil || d.ok() || !strings.Contains(out.String(), "Failed to set up host network: iptables-restore") {
		t.Errorf("ready without rules: %v, %v, %s", err, d.ok(), out)
	}
	e.mu.Lock()
	e.full = false
	e.mu.Unlock()
	e.reports <- serving
	eventually(t, "the node is ready", d.ok)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.network.ExternalSNAT {
		t.Error("the rules are not set")
	}
}

func TestRefused(t *testing.T) {
	e := newEmulator(t)
	d, _, done, _ := container(t, e, map[string]string{})
	e.reports <- protocol.DaemonReport{Phase: protocol.PhaseRefused, Reason: "IP_COOLDOWN_PERIOD MUST be a valid positive integer. 30s is invalid"}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "30s is invalid") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(d.cfg.ConfDir, conflistName)); err == nil {
		t.Error("a refused daemon makes the node ready")
	}
}

func TestFailed(t *testing.T) {
	e := newEmulator(t)
	d, _, _, stop := container(t, e, map[string]string{})
	defer stop()
	e.reports <- protocol.DaemonReport{Phase: protocol.PhaseServing}
	eventually(t, "it serves", d.ok)
	e.reports <- protocol.DaemonReport{Phase: protocol.PhaseFailed}
	eventually(t, "the probes fail", func() bool { return !d.ok() })
}

func TestConflist(t *testing.T) {
	for name, c := range map[string]struct {
		env     map[string]string
		portmap bool
		want    map[string]any // of the first plugin
		plugins int
	}{
		"EKS's own":       {map[string]string{"AWS_VPC_ENI_MTU": "9001", "AWS_VPC_K8S_CNI_VETHPREFIX": "eni"}, true, map[string]any{"mtu": "9001", "vethPrefix": "eni"}, 3},
		"without portmap": {nil, false, map[string]any{"mtu": "9001", "vethPrefix": "eni"}, 2},
		"of the pods":     {map[string]string{"POD_MTU": "1400", "AWS_VPC_ENI_MTU": "1500", "AWS_VPC_K8S_CNI_VETHPREFIX": "abc"}, true, map[string]any{"mtu": "1400", "vethPrefix": "abc"}, 3},
	} {
		raw, err := conflist(c.env, c.portmap)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Name    string
			Plugins []map[string]any
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if got.Name != "aws-cni" || len(got.Plugins) != c.plugins || got.Plugins[0]["type"] != "aws-cni" {
			t.Errorf("%s: %s", name, raw)
		}
		for k, v := range c.want {
			if got.Plugins[0][k] != v {
				t.Errorf("%s: %s is %v, want %v", name, k, got.Plugins[0][k], v)
			}
		}
	}
}

func TestProbe(t *testing.T) {
	h := &health{now: time.Now}
	srv := httptest.NewServer(h)
	defer srv.Close()
	args := []string{"-addr=" + strings.TrimPrefix(srv.URL, "http://"), "-connect-timeout=50ms", "-rpc-timeout=5s"}
	var out bytes.Buffer
	if code := Probe(t.Context(), args, &out, time.Now); code == 0 || !strings.Contains(out.String(), "timeout: failed to connect service") {
		t.Errorf("%d: %s", code, &out)
	}
	h.set(true)
	out.Reset()
	if code := Probe(t.Context(), args, &out, time.Now); code != 0 || !strings.Contains(out.String(), "status: SERVING") {
		t.Errorf("%d: %s", code, &out)
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "aws-cni")
	if err := os.WriteFile(to, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := install(program, to); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to)
	st, _ := os.Stat(to)
	if err != nil || string(got) != "new" || st.Mode().Perm() != 0o755 {
		t.Errorf("%q, %v, %v", got, st.Mode(), err)
	}
	if err := install(filepath.Join(dir, "none"), to); err == nil {
		t.Error("no error without a program")
	}
}
