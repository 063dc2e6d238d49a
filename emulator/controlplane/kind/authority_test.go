package kind

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/pki"
)

// nodeScript is a docker whose one container is the folder $ROOT, with a kubeadm that
// issues by copying the authority and, like the real one, does not take what another has
// issued, and a kubelet that starts an API server when its manifest changes. The call
// number $FAIL ends in an error, having done what it should.
const nodeScript = `
calls=$(($(cat "$ROOT/calls") + 1)); echo $calls >"$ROOT/calls"
inside() { printf %s "$1" | sed "s#/etc/kubernetes#$ROOT&#g; s#/var/lib/kubelet#$ROOT&#g"; }
systemctl() { :; }
pki=$ROOT/etc/kubernetes/pki
issue() {
	if [ ! -e "$2" ]; then cp "$1" "$2"; fi
	cmp -s "$1" "$2" || { echo "$2 is of another authority" >&2; exit 1; }
}
shift # exec
if [ "$1" = -i ]; then shift; fi
shift # the container
case "$1 $5" in
"tar "*) tar -C "$ROOT" -xf - ;;
"cat "*) cat "$ROOT$2" ;;
"kubeadm apiserver") issue "$pki/ca.crt" "$pki/apiserver.crt"; issue "$pki/ca.crt" "$pki/apiserver.key" ;;
"kubeadm apiserver-kubelet-client") issue "$pki/ca.crt" "$pki/apiserver-kubelet-client.crt"; issue "$pki/ca.crt" "$pki/apiserver-kubelet-client.key" ;;
"kubeadm all") mkdir -p "$ROOT/etc/kubernetes/issued"; for c in admin scheduler; do issue "$pki/ca.crt" "$ROOT/etc/kubernetes/issued/$c.conf"; done ;;
"sh "*)
	if [ "$2" = -s ]; then # broken off, it has only removed the manifests
		shift 2
		for c; do rm -f "$ROOT/etc/kubernetes/manifests/$c.yaml"; done
		if [ $calls = "$FAIL" ]; then echo killed >&2; exit 1; fi
		for c; do mv "$ROOT/etc/kubernetes/$c.next" "$ROOT/etc/kubernetes/manifests/$c.yaml" || exit 1; done
		cp "$pki/apiserver.crt" "$ROOT/started" || : >"$ROOT/started"
		exit 0
	fi
	case $3 in
	*/proc/*) if grep -q "${5#*=}" "$ROOT/etc/kubernetes/manifests/kube-apiserver.yaml"; then echo yes; fi ;;
	*) eval "$(inside "$3")" || exit 1 ;;
	esac ;;
*) echo "no such command: $*" >&2; exit 1 ;;
esac
if [ $calls = "$FAIL" ]; then echo killed >&2; exit 1; fi
`

// serveAPI is an API server that is ready, with a certificate of the authority.
func serveAPI(t *testing.T, keys controlplane.PKI) (port int) {
	t.Helper()
	ca := pki.CA{Cert: keys.CACert, Key: keys.CAKey}
	cert, key, err := ca.Issue(pki.Request{CommonName: "api", Hosts: []string{"127.0.0.1"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"gitVersion":"v1.36.1"}`))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// TestApplyGoesOn breaks a change of authorities off after each of the engine's calls: the
// next try always comes to the end, and back to the beginning if that is what is wanted by
// then.
func TestApplyGoesOn(t *testing.T) {
	before := conformance.NewSpec(t, "authorities", "1.36")
	after := before
	after.PKI = conformance.NewPKI(t)
	after.PKI.SAKey, after.PKI.Trust = before.PKI.SAKey, bytes.Join([][]byte{before.PKI.CACert, after.PKI.CACert}, nil)
	before.Port, after.Port = serveAPI(t, before.PKI), serveAPI(t, after.PKI)
	fakeDocker(t, nodeScript)
	for call, done := 1, false; !done; call++ {
		for _, then := range []controlplane.Spec{after, before} {
			root := t.TempDir()
			t.Setenv("ROOT", root)
			p := testPlane(t, before)
			f := writeNode(t, root, before)
			if err := p.save(record{Made: true, Files: f.sum(), Issued: f.authority()}); err != nil {
				t.Fatal(err)
			}
			t.Setenv("FAIL", strconv.Itoa(call))
			_, err := applyOnce(t, p, after)
			done = err == nil
			t.Setenv("FAIL", "none")
			f, err = applyOnce(t, p, then)
			if err != nil {
				t.Fatalf("broken off by call %d, and then: %v", call, err)
			}
			if r, err := p.load(); err != nil || r.Files != f.sum() || r.Issued != f.authority() {
				t.Errorf("broken off by call %d: record %+v, %v", call, r, err)
			}
			for name, by := range issuedBy(t, root) {
				if by != string(f[pkiDir+"ca.crt"]) {
					t.Errorf("broken off by call %d (back: %v): %s is not of the authority", call, then.Port == before.Port, name)
				}
			}
		}
	}
}

// applyOnce does what upgrade and takeOver do with the files of the Spec.
func applyOnce(t *testing.T, p *plane, spec controlplane.Spec) (files, error) {
	t.Helper()
	f := filesFor(t, spec)
	r, err := p.load()
	if err != nil {
		t.Fatal(err)
	}
	if r.Files == f.sum() {
		return f, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return f, p.apply(ctx, spec, f, r)
}

func filesFor(t *testing.T, spec controlplane.Spec) files {
	t.Helper()
	f, err := controlPlaneFiles(spec, address{"http://192.0.2.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// writeNode makes the folder a node that runs with the files of the Spec.
func writeNode(t *testing.T, root string, spec controlplane.Spec) files {
	t.Helper()
	f := filesFor(t, spec)
	all := files{"/calls": []byte("0"), "/var/lib/kubelet/pki/kubelet-client-current.pem": nil}
	for _, name := range dependent() {
		all[name] = f[pkiDir+"ca.crt"]
	}
	for _, component := range []string{apiServer, "kube-controller-manager", "kube-scheduler"} {
		pod, err := yaml.Marshal(map[string]any{"metadata": map[string]any{"name": component}, "spec": map[string]any{"containers": []any{map[string]any{"name": "x", "command": []string{component}}}}})
		if err != nil {
			t.Fatal(err)
		}
		all["/etc/kubernetes/manifests/"+component+".yaml"] = pod
	}
	for _, part := range []files{f, all} {
		for name, content := range part {
			if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return f
}

// dependent are the node's files that an authority is seen in: its own, what was issued
// from it, and what the API server was started with.
func dependent() []string {
	return append([]string{"/etc/kubernetes/admin.conf", "/etc/kubernetes/scheduler.conf", pkiDir + "ca.crt", "/started"}, issued...)
}

// issuedBy is by which authority a node's certificates are, and the one with which the API
// server was started last.
func issuedBy(t *testing.T, root string) map[string]string {
	t.Helper()
	by := map[string]string{}
	for _, name := range dependent() {
		raw, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		}
		by[name] = string(raw)
	}
	return by
}
