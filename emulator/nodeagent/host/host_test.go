//go:build linux

package host

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
)

func writeConfig(t *testing.T, path string, c protocol.Config) {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPass: questions reach the emulator wherever it is at the time, and what it answers
// comes back as it comes.
func TestPass(t *testing.T) {
	goOn, told := make(chan struct{}), make(chan protocol.SandboxList, 1)
	emulator := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/nodes/c/i/secret/add":
			protocol.Answer(w, protocol.PodNetwork{IP: netip.MustParseAddr("10.0.0.7")})
		case "/nodes/c/i/secret/del":
			protocol.Refuse(w, http.StatusServiceUnavailable, protocol.Failure{Message: "not now", Code: "Never"})
		case "/nodes/c/i/secret/daemon":
			var s protocol.DaemonStart
			if err := json.NewDecoder(r.Body).Decode(&s); err != nil || len(s.Sandboxes) != 1 || s.Sandboxes[0].ContainerID != "c1" || s.Run != "r" {
				t.Errorf("%+v, %v", s, err)
			}
			protocol.Answer(w, protocol.DaemonReport{Phase: protocol.PhaseServing})
			_ = http.NewResponseController(w).Flush()
			<-goOn
		case "/nodes/c/i/secret/sandboxes":
			var l protocol.SandboxList
			if err := json.NewDecoder(r.Body).Decode(&l); err != nil {
				t.Error(err)
			}
			told <- l
		default:
			t.Errorf("asked for %s", r.URL.Path)
		}
	}))
	defer emulator.Close()
	dir := t.TempDir()
	paused := make(chan struct{})
	a := &Agent{
		Pause: func(ctx context.Context) error {
			select {
			case paused <- struct{}{}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Config: filepath.Join(dir, "node.json"), Ledger: protocol.Ledger{Dir: filepath.Join(dir, "sandboxes")}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Masquerade: func(_ context.Context, n protocol.NodeNetwork) error {
			if n.ExternalSNAT {
				return errors.New("no iptables")
			}
			return nil
		},
	}
	srv := httptest.NewServer(a.Handler())
	defer srv.Close()
	c := protocol.NewClient(srv.URL)
	var n protocol.PodNetwork
	if err := c.Call(t.Context(), protocol.AddPod, protocol.Sandbox{}, &n); err == nil || !strings.Contains(err.Error(), "not a node of ekslocal") {
		t.Errorf("without a configuration: %v", err)
	}
	writeConfig(t, a.Config, protocol.Config{URL: "http://127.0.0.1:1/nodes/c/i/secret"})
	if err := c.Call(t.Context(), protocol.AddPod, protocol.Sandbox{}, &n); err == nil || !strings.Contains(err.Error(), "is it running?") {
		t.Errorf("without an emulator: %v", err)
	}
	writeConfig(t, a.Config, protocol.Config{URL: emulator.URL + "/nodes/c/i/secret"})
	if err := c.Call(t.Context(), protocol.AddPod, protocol.Sandbox{}, &n); err != nil || n.IP.String() != "10.0.0.7" {
		t.Errorf("%v, %v", n, err)
	}
	var no *protocol.Error
	if err := c.Call(t.Context(), protocol.DelPod, protocol.Sandbox{}, nil); !errors.As(err, &no) || no.Message != "not now" || no.Code != "Never" || no.Status != http.StatusServiceUnavailable {
		t.Errorf("%v", err)
	}
	if err := a.Ledger.Put(protocol.Sandbox{ContainerID: "c1"}); err != nil {
		t.Fatal(err)
	}
	err := c.Follow(t.Context(), protocol.DaemonStart{Run: "r"}, func(r protocol.DaemonReport) error {
		if r.Phase != protocol.PhaseServing {
			t.Errorf("%+v", r)
		}
		// While the call is open, the emulator hears which sandboxes there are.
		if err := a.Ledger.Put(protocol.Sandbox{ContainerID: "c2"}); err != nil {
			t.Error(err)
		}
		<-paused
		if l := <-told; len(l.Sandboxes) != 2 {
			t.Errorf("told %+v", l)
		}
		close(goOn) // the report has come while the call is open
		return nil
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end of a daemon's call: %v", err)
	}
	var left *protocol.Error
	if err := c.Call(t.Context(), protocol.Sandboxes, protocol.SandboxList{}, nil); !errors.As(err, &left) || left.Status != http.StatusNotFound {
		t.Errorf("anybody on the node says which sandboxes there are: %v", err)
	}
	if err := c.Call(t.Context(), protocol.Network, protocol.NodeNetwork{}, nil); err != nil {
		t.Error(err)
	}
	if err := c.Call(t.Context(), protocol.Network, protocol.NodeNetwork{ExternalSNAT: true}, nil); err == nil || err.Error() != "no iptables" {
		t.Errorf("%v", err)
	}
}

func TestSNATRules(t *testing.T) {
	inside := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("100.64.0.0/16")}
	const head = "*nat\n:AWS-SNAT-CHAIN-0 - [0:0]\n"
	const inVPC = `-A AWS-SNAT-CHAIN-0 -d 10.0.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 -d 100.64.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j MASQUERADE`
	for name, c := range map[string]struct {
		network protocol.NodeNetwork
		want    string
	}{
		"the default":  {protocol.NodeNetwork{Inside: inside}, head + inVPC + " --random-fully\nCOMMIT\n"},
		"prng":         {protocol.NodeNetwork{Inside: inside, Random: "prng"}, head + inVPC + " --random-fully\nCOMMIT\n"},
		"hashrandom":   {protocol.NodeNetwork{Inside: inside, Random: "hashrandom"}, head + inVPC + " --random\nCOMMIT\n"},
		"none":         {protocol.NodeNetwork{Inside: inside, Random: "none"}, head + inVPC + "\nCOMMIT\n"},
		"externalSNAT": {protocol.NodeNetwork{Inside: inside, ExternalSNAT: true}, head + "COMMIT\n"},
	} {
		if diff := cmp.Diff(c.want, snatRules(c.network)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestEngineSubnet(t *testing.T) {
	file := filepath.Join(t.TempDir(), "network.env")
	if _, ok := engineSubnet(file); ok {
		t.Error("of no file")
	}
	for text, want := range map[string]string{"SUBNET=198.18.3.0/24\nADDRESS=10.0.0.5\n": "198.18.3.0/24", "SUBNET=x\n": "", "": ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, ok := engineSubnet(file); ok != (want != "") || ok && p.String() != want {
			t.Errorf("%q: %v, %v", text, p, ok)
		}
	}
}

func TestRelay(t *testing.T) {
	there, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	go func() {
		c, err := there.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b, _ := io.ReadAll(c) // to the end of what the client says
		_, _ = c.Write(append([]byte("heard "), b...))
	}()
	here, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go relay(t.Context(), here, there.Addr().String())
	c, err := net.Dial("tcp", here.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "heard hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestNoProxy: questions go to the emulator itself, whatever the node has for the Internet.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	a := &Agent{Config: filepath.Join(t.TempDir(), "node.json"), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	writeConfig(t, a.Config, protocol.Config{URL: "http://emulator.invalid/nodes/c/i/secret"})
	srv := httptest.NewServer(a.Handler())
	defer srv.Close()
	err := protocol.NewClient(srv.URL).Call(t.Context(), protocol.AddPod, protocol.Sandbox{}, nil)
	if err == nil || !strings.Contains(err.Error(), "is it running?") || strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("asked: %v", err)
	}
}
