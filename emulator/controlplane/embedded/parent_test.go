package embedded

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

func TestWritePKI(t *testing.T) {
	now := time.Now()
	ca, caKey, err := newAuthority("kubernetes", now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pki := controlplane.PKI{CACert: ca.certPEM, CAKey: caKey, SAKey: []byte("key")}
	var keys string
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(keys, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(cidr string, hosts ...string) {
		if keys, err = writePKI(dir, ca, pki, cidr, hosts); err != nil {
			t.Fatal(err)
		}
	}
	write("10.100.0.0/16", "ekslocal.internal", "192.0.2.1")
	proxyCA, earlier := read("../"+FileProxyCACert), keys
	write("10.100.0.0/16")
	if !bytes.Equal(proxyCA, read("../"+FileProxyCACert)) {
		t.Error("the front proxy's CA changed")
	}
	if keys == earlier {
		t.Error("two children share their keys")
	}
	write("fd00::/108", "ekslocal.internal", "192.0.2.1")
	b, _ := pem.Decode(read(FileServing + ".crt"))
	serving, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for _, name := range []string{"localhost", "127.0.0.1", "fd00::1", "kubernetes.default.svc", "ekslocal.internal", "192.0.2.1"} {
		if _, err := serving.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, f := range []string{FileServing, FileKubeletClient, FileControllers, FileScheduler, FileProxyClient} {
		if _, err := tls.X509KeyPair(read(f+".crt"), read(f+".key")); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestValidate(t *testing.T) {
	good := controlplane.Spec{ID: strings.Repeat("0aF9", 8), Version: "1.34", ServiceCIDR: "10.100.0.0/16", Port: 6500}
	for name, tc := range map[string]struct {
		change func(*controlplane.Spec)
		want   string
	}{
		"good":    {func(*controlplane.Spec) {}, ""},
		"id":      {func(s *controlplane.Spec) { s.ID = "../x" }, "hexadecimal"},
		"version": {func(s *controlplane.Spec) { s.Version = "1.30" }, "1.33 to 1.36"},
		"network": {func(s *controlplane.Spec) { s.ServiceCIDR = "10.0.0.0" }, "service network"},
		"port":    {func(s *controlplane.Spec) { s.Port = 70000 }, "port"},
	} {
		spec := good
		tc.change(&spec)
		err := validate(spec)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestOlder(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{{"1.33", "1.34", true}, {"1.34", "1.34", false}, {"1.36", "1.35", false}} {
		if got := older(tc.a, tc.b); got != tc.want {
			t.Errorf("older(%s, %s) = %v", tc.a, tc.b, got)
		}
	}
}

func TestListenSaysThatThePortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = listen(ctx, clock.RealClock{}, "127.0.0.1", l.Addr().(*net.TCPAddr).Port)
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("listen: %v", err)
	}
}

type oneAnswer struct{ err error }

func (o oneAnswer) Authenticate(_ context.Context, id, token string) (controlplane.Identity, bool, error) {
	return controlplane.Identity{Username: id + "/" + token}, token == "k8s-aws-v1.good", o.err
}

func (o oneAnswer) Authorize(_ context.Context, _ string, a controlplane.Attributes) (bool, string, error) {
	return a.Verb == "get", "because", o.err
}

func TestAccessServer(t *testing.T) {
	for _, tc := range []struct {
		name, path, question, want string
		err                        error
		status                     int
	}{
		{"known", PathAuthenticate, `{"Token":"k8s-aws-v1.good"}`, `"OK":true`, nil, 200},
		{"unknown", PathAuthenticate, `{"Token":"k8s-aws-v1.bad"}`, `"OK":false`, nil, 200},
		{"denied", PathAuthenticate, `{"Token":"k8s-aws-v1.good"}`, `"OK":false`, &controlplane.Denied{Reason: "ARN is not mapped"}, 200},
		{"failure", PathAuthenticate, `{"Token":"k8s-aws-v1.good"}`, "boom", errors.New("boom"), 500},
		{"allowed", PathAuthorize, `{"Verb":"get"}`, `{"Allowed":true,"Reason":"because"}`, nil, 200},
		{"not allowed", PathAuthorize, `{"Verb":"delete"}`, `"Allowed":false`, nil, 200},
		{"malformed", PathAuthorize, `{`, "malformed", nil, 400},
		{"no such path", "/x", `{}`, "404", nil, 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var lines bytes.Buffer
			s := &accessServer{id: "cluster", auth: oneAnswer{tc.err}, log: slog.New(slog.DiscardHandler), lines: &lines, clock: clock.RealClock{}}
			ours, theirs := net.Pipe()
			done := make(chan struct{})
			go func() { s.serve(ours); close(done) }()
			client := http.Client{Transport: &http2.Transport{AllowHTTP: true, DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) { return theirs, nil }}}
			res, err := client.Post("http://x"+tc.path, "application/json", strings.NewReader(tc.question))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != tc.status || !strings.Contains(string(text), tc.want) {
				t.Errorf("%s %q, %v; want %d %q", res.Status, text, err, tc.status, tc.want)
			}
			theirs.Close()
			<-done
			if tc.path == PathAuthenticate && !strings.Contains(lines.String(), "level=") {
				t.Errorf("authenticator log: %q", lines.String())
			}
		})
	}
}

// TestAccessServerWaits: http2's server hangs up on clients that do not begin
// within 10 s, and begins itself at once; a cluster's first user may come a day
// later. So nothing may be said before the child speaks.
func TestAccessServerWaits(t *testing.T) {
	s := &accessServer{id: "cluster", auth: oneAnswer{}, log: slog.New(slog.DiscardHandler), lines: io.Discard, clock: clock.RealClock{}}
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { s.serve(ours); close(done) }()
	if err := theirs.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := theirs.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("before the first question: %d bytes, %v", n, err)
	}
	theirs.Close()
	<-done
}
