package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/relay"
)

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

func question(t *testing.T, h http.Handler, secret, path string, asked, answer any) int {
	t.Helper()
	b, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(b))
	r.SetBasicAuth(askerName, secret)
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
	q := &questions{cfg: cfg, advertise: "192.0.2.1:4567", server: &http.Server{}, end: func() {}, askers: map[string]*asker{}}
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
		code := question(t, h, c.secret, "/clusters/"+c.id+"/authenticate", in, &got)
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
		if code := question(t, h, "secret", "/clusters/one/authorize", authorizationv1.SubjectAccessReview{Spec: c.spec}, &got); code != 200 {
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
	if code := question(t, h, "secret", "/clusters/one/authenticate", authenticationv1.TokenReview{}, nil); code != http.StatusForbidden {
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
		secret, path string
		question     any
		code         int
	}{
		{"secret", "/clusters/one/admit/mutate-v1-pod", review, 200},
		{"secret", "/clusters/one/admit/a/b", review, 200},
		{"secret", "/clusters/one/admit/no/such", review, 500},
		{"secret", "/clusters/one/admit/mutate-v1-pod", admissionv1.AdmissionReview{}, 400},
		{"other", "/clusters/one/admit/mutate-v1-pod", review, 403},
		{"other", "/clusters/one/deprecated", []relay.DeprecatedUse{{}}, 403},
		{"other", "/clusters/two/deprecated", []relay.DeprecatedUse{{}}, 500},
		{"secret", "/clusters/one/deprecated", []relay.DeprecatedUse{{Version: "v1", Resource: "endpoints", Count: 2}}, 200},
		{"secret", "/clusters/one/deprecated", "nonsense", 400},
		{"secret", "/clusters/one/no-such-question", review, 404},
	} {
		var answer any
		if code := question(t, h, c.secret, c.path, c.question, &answer); code != c.code {
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
	const signature = "AWS4-HMAC-SHA256 Credential=test/20260501/us-east-1/eks/aws4_request"
	aws := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := newQuestions(t, Config{Authenticator: table{}, AWS: aws}).handler()
	nothing := newQuestions(t, Config{Authenticator: table{}}).handler()
	for _, c := range []struct {
		method, path          string
		authorization, secret string
		code                  int
	}{
		{http.MethodPost, "/", signature, "", http.StatusTeapot},
		{http.MethodPost, "/", "", "", http.StatusTeapot}, // AssumeRoleWithWebIdentity
		{http.MethodGet, "/clusters", signature, "", http.StatusTeapot},
		{http.MethodPost, "/clusters/one/authenticate", signature, "", http.StatusTeapot},
		{http.MethodGet, "/clusters/dev/node-groups/workers", signature, "", http.StatusTeapot},
		{http.MethodGet, "/oidc/ID/keys", "", "", http.StatusTeapot},
		{http.MethodGet, "/_ekslocal/status", "", "", http.StatusNotFound},
		{http.MethodPost, "/_ekslocal/reset", "", "", http.StatusNotFound},
		{http.MethodPost, "/_ekslocal/reset", signature, "", http.StatusNotFound},
		{http.MethodPost, "/_ekslocal/reset", "AWS4-", "", http.StatusNotFound}, // what the gateway does not take for one
		{http.MethodGet, "/%5fekslocal/status", "AWS4-", "", http.StatusNotFound},
		{http.MethodGet, "/metrics", "", "", http.StatusNotFound},
		{http.MethodGet, "/metrics", "AWS4-", "", http.StatusNotFound},
		{http.MethodPost, "/clusters/one/authenticate", "", "wrong", http.StatusForbidden},
		{http.MethodPost, "/clusters/one/authenticate", "", "", http.StatusForbidden},
		{http.MethodPost, "/clusters/one/secret/authenticate", "", "", http.StatusForbidden}, // of an earlier build's files
		{http.MethodGet, "/clusters/one/authenticate", "", "secret", http.StatusNotFound},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		if r.Header.Set("Authorization", c.authorization); c.secret != "" {
			r.SetBasicAuth(askerName, c.secret)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("%s %s %q: %d, want %d", c.method, c.path, c.authorization, w.Code, c.code)
		}
		w = httptest.NewRecorder()
		if nothing.ServeHTTP(w, r); w.Code == http.StatusTeapot {
			t.Errorf("%s %s is answered without AWS", c.method, c.path)
		}
	}
}

// TestSecretOfErrors: an API server's client proves with its kubeconfig who asks, and
// what it says of an emulator that is away has no secret in it.
func TestSecretOfErrors(t *testing.T) {
	q := newQuestions(t, Config{Authenticator: table{}})
	srv := httptest.NewServer(q.handler())
	defer srv.Close()
	q.advertise = srv.Listener.Addr().String()
	spec := controlplane.Spec{PKI: conformance.NewPKI(t)}
	f, err := controlPlaneFiles(spec, q.address("two", "other"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "authentication.yaml")
	if err := os.WriteFile(file, f[filesDir+"/authentication.yaml"], 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := webhook.LoadKubeconfig(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() (*authenticationv1.TokenReview, error) {
		in := &authenticationv1.TokenReview{TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"},
			Spec: authenticationv1.TokenReviewSpec{Token: "ours"}}
		var out authenticationv1.TokenReview
		err := client.Post().Body(in).Do(t.Context()).Into(&out)
		return &out, err
	}
	if out, err := ask(); err != nil || !out.Status.Authenticated {
		t.Errorf("%+v, %v", out, err)
	}
	q.forget("two")
	if _, err := ask(); err == nil || strings.Contains(err.Error(), "other") {
		t.Errorf("to a control plane that it does not know, the emulator says %v", err)
	}
	srv.Close()
	if _, err := ask(); err == nil || strings.Contains(err.Error(), "other") {
		t.Errorf("without the emulator: %v", err)
	}
}
