package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// asked is an emulator that remembers what it was asked.
type asked struct {
	mu     sync.Mutex
	paths  []string
	bodies []string
	refuse bool
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuse {
		http.Error(w, "the store is gone", http.StatusInternalServerError)
		return
	}
	a.paths, a.bodies = append(a.paths, r.URL.Path), append(a.bodies, string(body))
	fmt.Fprint(w, `{"answer":true}`)
}

func (a *asked) all() ([]string, []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.paths, a.bodies
}

// configure writes a configuration for an emulator that listens at a URL.
func configure(t *testing.T, dir, url string, listen ...string) (string, Config) {
	t.Helper()
	c := Config{Emulator: url + "/clusters/one/secret", Listen: listen, Key: filepath.Join(dir, "relay.pem"), Trust: filepath.Join(dir, "certs", "relay.pem"),
		AuditLog: filepath.Join(dir, "audit.log"), Reported: filepath.Join(dir, "reported")}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "relay.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, c
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestServe is the relay's life as the API server sees it: trusted by the file that it
// puts beside the authorities, ready when systemd is told so, and going on when the
// emulator has moved.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	one, two := &asked{}, &asked{}
	first, second := httptest.NewServer(one), httptest.NewServer(two)
	defer second.Close()
	address := freeAddress(t)
	file, c := configure(t, dir, first.URL, address)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "notify")})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, file, slog.New(slog.DiscardHandler)) }()
	if err := socket.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 64)
	n, err := socket.Read(said)
	if err != nil || string(said[:n]) != "READY=1" {
		t.Fatalf("systemd hears %q, %v", said[:n], err)
	}

	trusted, err := os.ReadFile(c.Trust)
	if err != nil || bytes.Contains(trusted, []byte("PRIVATE")) {
		t.Fatalf("the authorities have %s, %v", trusted, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	call := func() (int, string) {
		t.Helper()
		res, err := client.Post("https://"+address+"/mutate-v1-pod?timeout=10s", "application/json", strings.NewReader(`{"kind":"AdmissionReview"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	if code, text := call(); code != 200 || text != `{"answer":true}` {
		t.Errorf("%d %s", code, text)
	}
	first.Close()
	if code, text := call(); code != http.StatusBadGateway || !strings.Contains(text, "ekslocal does not answer") || strings.Contains(text, "secret") {
		t.Errorf("without an emulator: %d %s", code, text)
	}
	configure(t, dir, second.URL, address)
	if code, _ := call(); code != 200 {
		t.Errorf("at the emulator's new address: %d", code)
	}
	two.mu.Lock()
	two.refuse = true
	two.mu.Unlock()
	if code, text := call(); code != http.StatusBadGateway || !strings.Contains(text, "the store is gone") {
		t.Errorf("an emulator that fails: %d %s", code, text)
	}
	paths, bodies := two.all()
	if d := cmp.Diff([]string{"/clusters/one/secret/admit/mutate-v1-pod"}, paths); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{`{"kind":"AdmissionReview"}`}, bodies); d != "" {
		t.Error(d)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServeRefuses(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, listen := range map[string][]string{"taken": {freeAddress(t), taken.Addr().String()}, "nothing": nil, "no address": {"localhost"}} {
		file, _ := configure(t, dir, "http://127.0.0.1:1", listen...)
		if err := Serve(t.Context(), file, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: it served", name)
		}
	}
	if err := Serve(t.Context(), filepath.Join(dir, "none"), slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a configuration: %v", err)
	}
}

// TestCertificate is kept as long as it is good: the API server reads it once.
func TestCertificate(t *testing.T) {
	_, c := configure(t, t.TempDir(), "http://127.0.0.1:1", "127.0.0.1:21362", "127.0.0.1:23443")
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	trust := func(at time.Time, c Config) string {
		t.Helper()
		pair, err := certificate(c, at)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(c.Trust)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(raw)
		for _, l := range c.Listen {
			host, _, _ := net.SplitHostPort(l)
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at}); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
		return string(raw)
	}
	first := trust(now, c)
	if trust(now.Add(8*365*24*time.Hour), c) != first {
		t.Error("a good certificate was replaced")
	}
	if trust(now.Add(10*365*24*time.Hour), c) == first {
		t.Error("one that ends stays")
	}
	moved := c
	moved.Listen = []string{"127.0.0.2:1"}
	second := trust(now, moved)
	if err := os.Remove(c.Trust); err != nil {
		t.Fatal(err)
	}
	if trust(now, moved) != second {
		t.Error("the API server would have to learn another one")
	}
	if err := os.WriteFile(c.Key, []byte("half of a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if trust(now, moved) == second {
		t.Error("a key that is broken was used")
	}
}

// use is a line of an audit log.
func use(stage, at, agent, deprecated string) string {
	return fmt.Sprintf(`{"kind":"Event","stage":%q,"userAgent":%q,"stageTimestamp":%q,"objectRef":{"resource":"endpoints","apiVersion":"v1"},"annotations":{%s}}`,
		stage, agent, at, deprecated)
}

func TestUsesIn(t *testing.T) {
	const yes = `"k8s.io/deprecated":"true","k8s.io/removed-release":"1.99"`
	got := usesIn([]string{
		use("ResponseComplete", "2026-05-01T12:00:01.000001Z", "kubectl/v1", yes),
		use("ResponseComplete", "2026-05-01T12:00:00Z", "kubectl/v1", yes),
		use("ResponseStarted", "2026-05-01T12:00:02Z", "kubectl/v1", yes),
		use("ResponseComplete", "2026-05-01T12:00:02Z", "kubectl/v1", ``),
		use("ResponseComplete", "2026-05-01T12:00:02Z", "kubectl/v1", `"x":"\"k8s.io/deprecated\":\"true\""`),
		use("ResponseComplete", "2026-05-01T12:00:03Z", strings.Repeat("x", 255)+"é", yes),
		strings.Replace(use("ResponseComplete", "2026-05-01T12:00:02Z", "kube-apiserver/v1", yes), `{`, `{"user":{"username":"system:apiserver"},`, 1),
		`{"k8s.io/deprecated":"true"`, `{"stage":"ResponseComplete","annotations":{"k8s.io/deprecated":"true"}}`,
	})
	want := []DeprecatedUse{
		{Version: "v1", Resource: "endpoints", RemovedRelease: "1.99", UserAgent: "kubectl/v1", Count: 2, Last: time.Date(2026, 5, 1, 12, 0, 1, 1000, time.UTC)},
		{Version: "v1", Resource: "endpoints", RemovedRelease: "1.99", UserAgent: strings.Repeat("x", 255), Count: 1, Last: time.Date(2026, 5, 1, 12, 0, 3, 0, time.UTC)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestReport: every use is reported once, by whichever relay, and later if the emulator
// is away.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	emu := &asked{}
	server := httptest.NewServer(emu)
	defer server.Close()
	file, c := configure(t, dir, server.URL, "127.0.0.1:1")
	reporter := func() *reporter {
		return &reporter{audit: c.AuditLog, reported: c.Reported, ask: newEmulator(file), log: slog.New(slog.DiscardHandler)}
	}
	logged := func(agent string) {
		t.Helper()
		f, err := os.OpenFile(c.AuditLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := fmt.Fprintln(f, use("ResponseComplete", "2026-05-01T12:00:01Z", agent, `"k8s.io/deprecated":"true"`)); err != nil {
			t.Fatal(err)
		}
	}
	r := reporter()
	must := func() {
		t.Helper()
		if err := r.report(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	must() // before there is a log
	logged("a")
	must()
	must()
	r.close()
	r = reporter()
	must()
	emu.mu.Lock()
	emu.refuse = true
	emu.mu.Unlock()
	logged("b")
	if err := r.report(t.Context()); err == nil {
		t.Error("it did not notice that nobody took its report")
	}
	r.close()
	emu.mu.Lock()
	emu.refuse = false
	emu.mu.Unlock()
	must()
	r.close()
	var agents []string
	_, bodies := emu.all()
	for _, b := range bodies {
		var uses []DeprecatedUse
		if err := json.Unmarshal([]byte(b), &uses); err != nil {
			t.Fatal(err)
		}
		for _, u := range uses {
			agents = append(agents, fmt.Sprint(u.UserAgent, u.Count))
		}
	}
	if d := cmp.Diff([]string{"a1", "b1"}, agents); d != "" {
		t.Error(d)
	}
}

// TestServeLogs asks over pipes, as the emulator does.
func TestServeLogs(t *testing.T) {
	dir := t.TempDir()
	audit := filepath.Join(dir, "audit.log")
	questions, in := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan error)
	go func() { done <- ServeLogs(questions, out) }()
	enc, dec := json.NewEncoder(in), json.NewDecoder(answers)
	ask := func(q LogQuestion) LogAnswer {
		t.Helper()
		var a LogAnswer
		if err := errors.Join(enc.Encode(q), dec.Decode(&a)); err != nil {
			t.Fatal(err)
		}
		return a
	}
	write := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	q := LogQuestion{Plain: audit, Limit: 1 << 10}
	next := func(want ...string) {
		t.Helper()
		a := ask(q)
		if d := cmp.Diff(want, a.Lines); d != "" || a.Error != "" {
			t.Error(d, a.Error)
		}
		q.Position = a.Position
	}
	next()
	write("audit.log", "a\nb\nhal")
	next("a", "b")
	middle := q.Position
	write("audit.log", "f\n")
	next("half")
	next()
	if a := ask(LogQuestion{Plain: audit, Position: "end"}); len(a.Lines) > 0 || a.Position != q.Position {
		t.Errorf("the end is %+v, want %s", a, q.Position)
	}
	q.Position = middle
	next("half")
	write("0.log", "2026-05-01T12:00:00Z stderr F of a container\n")
	q = LogQuestion{Containers: filepath.Join(dir, "*.log"), Limit: 1 << 10}
	q.Containers = filepath.Join(dir, "0*.log")
	next("of a container")
	if a := ask(LogQuestion{Containers: "[", Limit: 1}); a.Error == "" {
		t.Errorf("a bad pattern: %+v", a)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzUsesIn(f *testing.F) {
	f.Add(use("ResponseComplete", "2026-05-01T12:00:01Z", "kubectl", `"k8s.io/deprecated":"true"`))
	f.Add(`{"k8s.io/deprecated":"true","annotations":[]}`)
	f.Fuzz(func(t *testing.T, line string) {
		for _, u := range usesIn([]string{line, line}) {
			if u.Count != 2 || len(u.UserAgent) > maxUserAgent {
				t.Errorf("%+v", u)
			}
		}
	})
}

// TestNoProxy: the emulator is asked itself, whatever the node has for the Internet.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	file := filepath.Join(t.TempDir(), "relay.json")
	if err := os.WriteFile(file, []byte(`{"Emulator": "http://emulator.invalid/clusters/c", "Listen": ["127.0.0.1:0"], "Key": "k", "Trust": "t"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := newEmulator(file).post(t.Context(), "/admit", nil)
	if err == nil || !strings.Contains(err.Error(), "does not answer at emulator.invalid") || strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("asked: %v", err)
	}
}
