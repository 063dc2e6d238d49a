package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/relay"
)

func TestClusterConfig(t *testing.T) {
	for _, c := range []struct {
		version  string
		cgroup   int
		argument string // as kubeadm's configuration of that version has it
		patient  bool   // kubeadm can be told to wait longer
	}{
		{"1.33", 2, `{"op":"add","path":"/apiServer/extraArgs/service-account-issuer","value":"https://issuer"}`, false},
		{"1.35", 1, `{"op":"add","path":"/apiServer/extraArgs/service-account-issuer","value":"https://issuer"}`, false},
		{"1.36", 1, `{"op":"add","path":"/apiServer/extraArgs/-","value":{"name":"service-account-issuer","value":"https://issuer"}}`, true},
	} {
		spec := controlplane.Spec{ID: strings.Repeat("AB", 16), Version: c.version, Issuer: "https://issuer", Port: 6500, ServiceCIDR: "10.100.0.0/16"}
		got, err := clusterConfig(spec, "image", Config{ListenHost: "127.0.0.1", CertHosts: []string{"eks.example"}}, c.cgroup)
		if err != nil {
			t.Fatal(err)
		}
		if want := namePrefix + strings.Repeat("ab", 16); got.Name != want {
			t.Errorf("name %q, want %q", got.Name, want)
		}
		patch := got.KubeadmConfigPatchesJSON6902[0].Patch
		if !strings.Contains(patch, c.argument) {
			t.Errorf("%s: no %s in %s", c.version, c.argument, patch)
		}
		if !strings.Contains(patch, `{"op":"add","path":"/apiServer/certSANs/-","value":"eks.example"}`) {
			t.Errorf("%s: the certificate is not good for eks.example: %s", c.version, patch)
		}
		if got := len(got.KubeadmConfigPatchesJSON6902) > 1; got != c.patient {
			t.Errorf("%s: time-outs are set: %v", c.version, got)
		}
		if got := len(got.KubeadmConfigPatches) > 0; got != (c.cgroup == 1) {
			t.Errorf("cgroup version %d: the kubelet takes version 1: %v", c.cgroup, got)
		}
	}
}

func TestSignerFirst(t *testing.T) {
	one, two := conformance.NewPKI(t).CACert, conformance.NewPKI(t).CACert
	for name, c := range map[string]struct{ signer, trust, want []byte }{
		"alone":          {one, nil, one},
		"is the first":   {one, bytes.Join([][]byte{one, two}, nil), bytes.Join([][]byte{one, two}, nil)},
		"is the second":  {two, bytes.Join([][]byte{one, two}, nil), bytes.Join([][]byte{two, one}, nil)},
		"without an end": {one, bytes.TrimSpace(bytes.Join([][]byte{one, two}, nil)), bytes.Join([][]byte{one, two}, nil)},
	} {
		if d := cmp.Diff(string(c.want), string(signerFirst(controlplane.PKI{CACert: c.signer, Trust: c.trust}))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestFilesSum(t *testing.T) {
	spec := conformance.NewSpec(t, "files", "1.36")
	sum := func(a address, pki controlplane.PKI) string {
		t.Helper()
		spec.PKI = pki
		f, err := controlPlaneFiles(spec, a)
		if err != nil {
			t.Fatal(err)
		}
		return f.sum()
	}
	here, first := address{"http://192.0.2.1:1"}, spec.PKI
	if once := sum(here, first); sum(here, first) != once {
		t.Error("the same files have another sum")
	}
	if sum(here, first) == sum(address{"http://192.0.2.1:2"}, first) {
		t.Error("an API server would go on asking at the old address")
	}
	second := conformance.NewPKI(t)
	second.SAKey = first.SAKey
	if sum(here, first) == sum(here, second) {
		t.Error("an API server would keep the old authority")
	}
}

func TestAddressWithin(t *testing.T) {
	var own []net.Addr
	for _, a := range []string{"127.0.0.1/8", "192.0.2.7/24", "172.30.1.1/24", "fd00::1/64"} {
		ip, n, err := net.ParseCIDR(a)
		if err != nil {
			t.Fatal(err)
		}
		own = append(own, &net.IPNet{IP: ip, Mask: n.Mask})
	}
	for _, c := range []struct {
		subnets []string
		want    string
	}{
		{[]string{"172.30.1.0/24"}, "172.30.1.1"},
		{[]string{"fd00::/64", "172.30.1.0/24"}, "172.30.1.1"},
		{[]string{"172.30.2.0/24"}, ""},
		{[]string{"fd00::/64"}, ""},
		{nil, ""},
	} {
		if got, ok := addressWithin(c.subnets, own); got != c.want || ok != (c.want != "") {
			t.Errorf("%v: %q, want %q", c.subnets, got, c.want)
		}
	}
}

func TestLastLines(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "one": "one", "a\nb\nc\nd\n": "c; d",
		"docker: Error response from daemon: port is already allocated.\n\nRun 'docker run --help' for more information": "port is already allocated.",
		"docker: no such thing.\nSee 'docker run --help'.":                                                               "docker: no such thing.",
	} {
		if got := lastLines(in, 2); got != want {
			t.Errorf("of %q: %q, want %q", in, got, want)
		}
	}
}

func TestUnwrapped(t *testing.T) {
	in := "2026-01-02T03:04:05Z stderr F I0102 one line\n2026-01-02T03:04:05Z stdout P long\n2026-01-02T03:04:05Z stdout F er\nbroken\n"
	if d := cmp.Diff("I0102 one line\nlonger\n", string(unwrapped([]byte(in)))); d != "" {
		t.Error(d)
	}
}

func TestEdited(t *testing.T) {
	const containers = "spec: {containers: [{name: x, command: [kube-apiserver, --a=b, --service-account-issuer=old]}]}\n"
	for _, in := range []string{"metadata: {name: x}\n" + containers, "metadata: {name: x, annotations: {a: b, ekslocal.dev/generation: old}}\n" + containers} {
		out, err := edited([]byte(in), "new", map[string]string{"service-account-issuer": "new"})
		if err != nil {
			t.Fatal(err)
		}
		var pod struct {
			Metadata struct {
				Name        string
				Annotations map[string]string
			}
			Spec struct{ Containers []struct{ Command []string } }
		}
		if err := yaml.Unmarshal(out, &pod); err != nil {
			t.Fatal(err)
		}
		if pod.Metadata.Name != "x" || pod.Metadata.Annotations[generation] != "new" || strings.Contains(in, "a: b") != (pod.Metadata.Annotations["a"] == "b") {
			t.Errorf("%s became %s", in, out)
		}
		if d := cmp.Diff([]string{"kube-apiserver", "--a=b", "--service-account-issuer=new"}, pod.Spec.Containers[0].Command); d != "" {
			t.Error(d)
		}
	}
	if _, err := edited([]byte("kind: Pod\n"), "new", nil); err == nil {
		t.Error("a manifest without metadata was taken")
	}
}

// table is an Authenticator of a few answers.
type table struct {
	controlplane.Authenticator
	asked *controlplane.Attributes
}

func (a table) Authenticate(_ context.Context, id, token string) (controlplane.Identity, bool, error) {
	switch token {
	case "ours":
		return controlplane.Identity{Username: "arn:aws:iam::1:user/" + id, Groups: []string{"g"}, Extra: map[string][]string{"arn": {"a"}}}, true, nil
	case "denied":
		return controlplane.Identity{}, false, &controlplane.Denied{Reason: "ARN is not mapped"}
	case "broken":
		return controlplane.Identity{}, false, errors.New("the store is gone")
	}
	return controlplane.Identity{}, false, nil
}

func (a table) Authorize(_ context.Context, _ string, q controlplane.Attributes) (bool, string, error) {
	*a.asked = q
	return q.Verb == "get", "a policy", nil
}

func ask(t *testing.T, h http.Handler, path string, question, answer any) int {
	t.Helper()
	b, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(b))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), answer); err != nil {
			t.Fatal(err)
		}
	}
	return w.Code
}

// newQuestions are of two control planes.
func newQuestions(t *testing.T, cfg Config) *questions {
	t.Helper()
	cfg.RunDir, cfg.Log, cfg.Clock = t.TempDir(), slog.New(slog.DiscardHandler), clock.RealClock{}
	q := &questions{cfg: cfg, advertise: "192.0.2.1:4567", server: &http.Server{}, askers: map[string]*asker{}}
	for id, secret := range map[string]string{"one": "secret", "two": "other"} {
		if err := os.Mkdir(filepath.Join(cfg.RunDir, id), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := q.answer(id, secret); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := q.close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func TestQuestions(t *testing.T) {
	var asked controlplane.Attributes
	q := newQuestions(t, Config{Authenticator: table{asked: &asked}})
	h := q.handler()
	for _, c := range []struct {
		token, id, secret string
		code              int
		user              string
	}{
		{"ours", "one", "secret", 200, "arn:aws:iam::1:user/one"},
		{"ours", "two", "other", 200, "arn:aws:iam::1:user/two"},
		{"theirs", "one", "secret", 200, ""},
		{"denied", "one", "secret", 200, ""},
		{"broken", "one", "secret", 500, ""},
		{"ours", "one", "other", 403, ""},
		{"ours", "one", "", 403, ""},
		{"ours", "three", "", 403, ""},
	} {
		var got authenticationv1.TokenReview
		in := authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: c.token}}
		code := ask(t, h, "/clusters/"+c.id+"/"+c.secret+"/authenticate", in, &got)
		if code != c.code || got.Status.User.Username != c.user || got.Status.Authenticated != (c.user != "") {
			t.Errorf("%+v: %d, %+v", c, code, got.Status)
		}
	}

	for _, c := range []struct {
		spec authorizationv1.SubjectAccessReviewSpec
		want controlplane.Attributes
		ok   bool
	}{
		{authorizationv1.SubjectAccessReviewSpec{User: "u", Groups: []string{"g"}, Extra: map[string]authorizationv1.ExtraValue{"k": {"v"}},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Group: "apps", Resource: "deployments", Subresource: "scale", Namespace: "n", Name: "d"}},
			controlplane.Attributes{Username: "u", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}},
				Verb: "get", APIGroup: "apps", Resource: "deployments", Subresource: "scale", Namespace: "n", Name: "d"}, true},
		{authorizationv1.SubjectAccessReviewSpec{User: "u", NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "post", Path: "/version"}},
			controlplane.Attributes{Username: "u", Verb: "post", Path: "/version"}, false},
	} {
		var got authorizationv1.SubjectAccessReview
		if code := ask(t, h, "/clusters/one/secret/authorize", authorizationv1.SubjectAccessReview{Spec: c.spec}, &got); code != 200 {
			t.Fatalf("status %d", code)
		}
		if d := cmp.Diff(c.want, asked); d != "" {
			t.Error(d)
		}
		if got.Status.Allowed != c.ok || got.Status.Denied || !c.ok && got.Status.Reason != "" {
			t.Errorf("%+v: %+v", c.spec, got.Status)
		}
	}

	log, err := os.ReadFile(authenticatorLog(q.cfg, "one"))
	if err != nil || !strings.Contains(string(log), `level=warning msg="access denied" client="127.0.0.1:0" error="ARN is not mapped"`) {
		t.Errorf("the authenticator's log is %s, %v", log, err)
	}
	q.forget("one")
	if code := ask(t, h, "/clusters/one/secret/authenticate", authenticationv1.TokenReview{}, nil); code != http.StatusForbidden {
		t.Errorf("a control plane that was deleted is answered with %d", code)
	}
}

// plugin is an Admitter and a UsageRecorder.
type plugin struct {
	reviewed []string
	uses     []controlplane.DeprecatedUse
}

func (p *plugin) Admit(_ context.Context, id, path string, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	if path == "no/such" {
		return nil, errors.New("there is no webhook")
	}
	p.reviewed = append(p.reviewed, id+" "+path)
	return &admissionv1.AdmissionResponse{UID: r.UID, Allowed: true}, nil
}

func (p *plugin) RecordDeprecated(_ context.Context, id string, uses []controlplane.DeprecatedUse) error {
	if id != "one" {
		return errors.New("the store is gone")
	}
	p.uses = append(p.uses, uses...)
	return nil
}

func TestRelayed(t *testing.T) {
	p := &plugin{}
	h := newQuestions(t, Config{Authenticator: table{}, Admitter: p, Usage: p}).handler()
	review := admissionv1.AdmissionReview{Request: &admissionv1.AdmissionRequest{UID: "u"}}
	for _, c := range []struct {
		path     string
		question any
		code     int
	}{
		{"/clusters/one/secret/admit/mutate-v1-pod", review, 200},
		{"/clusters/one/secret/admit/a/b", review, 200},
		{"/clusters/one/secret/admit/no/such", review, 500},
		{"/clusters/one/secret/admit/mutate-v1-pod", admissionv1.AdmissionReview{}, 400},
		{"/clusters/one/other/admit/mutate-v1-pod", review, 403},
		{"/clusters/one/other/deprecated", []relay.DeprecatedUse{{}}, 403},
		{"/clusters/two/other/deprecated", []relay.DeprecatedUse{{}}, 500},
		{"/clusters/one/secret/deprecated", []relay.DeprecatedUse{{Version: "v1", Resource: "endpoints", Count: 2}}, 200},
		{"/clusters/one/secret/deprecated", "nonsense", 400},
		{"/clusters/one/secret/no-such-question", review, 404},
	} {
		var answer any
		if code := ask(t, h, c.path, c.question, &answer); code != c.code {
			t.Errorf("%s: %d, want %d", c.path, code, c.code)
		}
	}
	if d := cmp.Diff([]string{"one mutate-v1-pod", "one a/b"}, p.reviewed); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]controlplane.DeprecatedUse{{Version: "v1", Resource: "endpoints", Count: 2}}, p.uses); d != "" {
		t.Error(d)
	}
}

// TestInNetwork: AWS's APIs are for containers, the emulator's own are not, and signed
// requests to paths like those of control planes are EKS's.
func TestInNetwork(t *testing.T) {
	aws := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := newQuestions(t, Config{Authenticator: table{}, AWS: aws}).handler()
	nothing := newQuestions(t, Config{Authenticator: table{}}).handler()
	for _, c := range []struct {
		method, path string
		signed       bool
		code         int
	}{
		{http.MethodPost, "/", true, http.StatusTeapot},
		{http.MethodPost, "/", false, http.StatusTeapot}, // AssumeRoleWithWebIdentity
		{http.MethodGet, "/clusters", true, http.StatusTeapot},
		{http.MethodPost, "/clusters/one/secret/authenticate", true, http.StatusTeapot},
		{http.MethodGet, "/clusters/dev/node-groups/workers", true, http.StatusTeapot},
		{http.MethodGet, "/oidc/ID/keys", false, http.StatusTeapot},
		{http.MethodGet, "/_ekslocal/status", false, http.StatusNotFound},
		{http.MethodPost, "/_ekslocal/reset", false, http.StatusNotFound},
		{http.MethodGet, "/metrics", false, http.StatusNotFound},
		{http.MethodPost, "/clusters/one/wrong/authenticate", false, http.StatusForbidden},
		{http.MethodGet, "/clusters/one/secret/authenticate", false, http.StatusNotFound},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		if c.signed {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260501/us-east-1/eks/aws4_request")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.code)
		}
		w = httptest.NewRecorder()
		if nothing.ServeHTTP(w, r); w.Code == http.StatusTeapot {
			t.Errorf("%s %s is answered without AWS", c.method, c.path)
		}
	}
}

func TestAlone(t *testing.T) {
	const kubeadms = "kind: KubeletConfiguration\nauthentication: {anonymous: {enabled: false}, webhook: {cacheTTL: 0s, enabled: true}, x509: {clientCAFile: /ca}}\n" +
		"authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 0s}}\nstaticPodPath: /manifests\n"
	const want = "authentication:\n  anonymous:\n    enabled: false\n  webhook:\n    enabled: false\n  x509:\n    clientCAFile: /ca\n" +
		"authorization:\n  mode: AlwaysAllow\nkind: KubeletConfiguration\nstaticPodPath: /manifests\n"
	got, err := alone([]byte(kubeadms))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "authentication: {anonymous: {enabled: true}}", ":"} { // everybody would be let in
		if _, err := alone([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestForeign: a backend does not ask the engine about control planes of others, which
// must not cost anything where there is no engine.
func TestForeign(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := t.TempDir()
	b, err := New(Config{RunDir: dir, Authenticator: table{}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	spec := conformance.NewSpec(t, "foreign", "1.36")
	if err := b.Delete(t.Context(), spec.ID); err != nil {
		t.Errorf("Delete of another's control plane: %v", err)
	}
	if _, err := b.Create(t.Context(), spec); !errors.Is(err, ErrNoEngine) {
		t.Errorf("Create without an engine: %v, want ErrNoEngine", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "address")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it listens: %v", err)
	}
	spec.ServiceCIDR = "fd00::/108"
	if _, err := b.Create(t.Context(), spec); err == nil || errors.Is(err, ErrNoEngine) {
		t.Errorf("Create of an IPv6 cluster: %v", err)
	}
}
