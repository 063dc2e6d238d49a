package kind_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

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
	t.Parallel() // most of the time something starts or ends
	conformance.RunSuite(t, func(t *testing.T) conformance.Harness {
		t.Parallel()
		cfg := config(t)
		return conformance.Harness{Backend: open(t, cfg), Reopen: func() controlplane.Backend { return open(t, cfg) }, Serves: true}
	})
}

// TestBadDays: a create that fails leaves nothing but an error that says why.
func TestBadDays(t *testing.T) {
	t.Parallel()
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

// hooks is an Admitter that labels pods, and hears of deprecated APIs.
type hooks struct {
	mu    sync.Mutex
	asked []string
	uses  []controlplane.DeprecatedUse
}

func (h *hooks) Admit(_ context.Context, id, path string, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, id+" "+path+" "+r.Resource.Resource)
	json := admissionv1.PatchTypeJSONPatch
	return &admissionv1.AdmissionResponse{UID: r.UID, Allowed: true, PatchType: &json, Patch: []byte(`[{"op":"add","path":"/metadata/labels","value":{"seen":"yes"}}]`)}, nil
}

func (h *hooks) RecordDeprecated(_ context.Context, _ string, uses []controlplane.DeprecatedUse) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uses = append(h.uses, uses...)
	return nil
}

// endpointsBy counts a client's requests to the deprecated Endpoints.
func (h *hooks) endpointsBy(agent string) (n int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range h.uses {
		if u.UserAgent == agent && u.Resource == "endpoints" && u.Version == "v1" && u.Group == "" && time.Since(u.Last) < 10*time.Minute {
			n += u.Count
		}
	}
	return n
}

// within waits until f is content.
func within(t *testing.T, d time.Duration, what string, f func(ctx context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, d, true, func(ctx context.Context) (bool, error) {
		last = f(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Errorf("%s: not after %s: %v", what, d, last)
	}
}

// labelled tells whether pods get what the webhook gives them. Nothing is stored.
func labelled(c kubernetes.Interface) func(context.Context) error {
	return func(ctx context.Context) error {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}}}
		p, err := c.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && p.Labels["seen"] != "yes" {
			err = fmt.Errorf("it has the labels %v", p.Labels)
		}
		return err
	}
}

// TestRelay: webhooks at the addresses of EKS's own are answered by the emulator, the use
// of deprecated APIs is reported, and all logs can be followed, through a restart and the
// end of the container by whoever, which leave its data.
func TestRelay(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	h := &hooks{}
	cfg.Admitter, cfg.Usage = h, h
	b := open(t, cfg)
	spec := conformance.NewSpec(t, "relay", b.Versions()[0])
	info, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	node := "ekslocal-" + strings.ToLower(spec.ID) + "-control-plane"
	client := func(agent string) kubernetes.Interface {
		own := rest.CopyConfig(info.Admin)
		own.UserAgent, own.WarningHandler = agent, rest.NoWarnings{}
		c, err := kubernetes.NewForConfig(own)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := client("test")
	url, fail, none := "https://"+controlplane.PodIdentityHost+"/label", admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	hook := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "label"}, Webhooks: []admissionregistrationv1.MutatingWebhook{{
		Name: "label.test.example", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url}, FailurePolicy: &fail, SideEffects: &none,
		AdmissionReviewVersions: []string{"v1"}, Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}},
	}}}
	if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), hook, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "pods are labelled", labelled(c))
	if want := spec.ID + " label pods"; len(h.asked) == 0 || h.asked[0] != want {
		t.Errorf("the emulator was asked %q, want %q", h.asked, want)
	}

	tails := map[controlplane.LogStream]controlplane.Tail{}
	tail := func(s controlplane.LogStream, position string) {
		t.Helper()
		tl, err := b.Tail(t.Context(), spec.ID, s, position)
		if err != nil {
			t.Fatalf("log %s: %v", s, err)
		}
		if old := tails[s]; old != nil {
			old.Close()
		}
		tails[s] = tl
	}
	var lines = map[controlplane.LogStream][]string{}
	read := func(s controlplane.LogStream, part string) func(context.Context) error {
		return func(context.Context) error {
			got, err := tails[s].Lines(t.Context(), 1<<20)
			if err != nil {
				tail(s, tails[s].Position()) // as the courier does
				return err
			}
			lines[s] = append(lines[s], got...)
			for _, l := range lines[s] {
				if strings.Contains(l, part) {
					return nil
				}
			}
			return fmt.Errorf("%d lines without %s", len(lines[s]), part)
		}
	}
	defer func() {
		for _, tl := range tails {
			tl.Close()
		}
	}()
	nobodys := rest.AnonymousClientConfig(info.Admin)
	nobodys.BearerToken = "k8s-aws-v1.nobody"
	if nc, err := kubernetes.NewForConfig(nobodys); err != nil {
		t.Fatal(err)
	} else if _, err := nc.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("nobody's token: %v", err)
	}
	for s, part := range map[controlplane.LogStream]string{
		controlplane.LogAPI: "Serving securely on", controlplane.LogControllerManager: "Starting controller", controlplane.LogScheduler: "Starting Kubernetes Scheduler",
		controlplane.LogAudit: `"userAgent":"test"`, controlplane.LogAuthenticator: `msg="access denied"`,
	} {
		tail(s, "")
		within(t, 20*time.Second, string(s), read(s, part))
	}
	tail(controlplane.LogAudit, controlplane.TailEnd)
	lines[controlplane.LogAudit] = nil

	old := client("old-tool/v1")
	for range 3 {
		if _, err := old.CoreV1().Endpoints("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	counted := func(want int32) func(context.Context) error {
		return func(context.Context) error {
			if n := h.endpointsBy("old-tool/v1"); n != want {
				return fmt.Errorf("%d requests", n)
			}
			return nil
		}
	}
	within(t, 20*time.Second, "the use of Endpoints is reported", counted(3))

	for _, how := range []string{"restart", "kill"} {
		docker(t, how, node)
		within(t, 2*time.Minute, "the webhook answers after docker "+how, labelled(c))
		agent := "after-" + how
		if _, err := client(agent).CoreV1().Endpoints("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		within(t, 30*time.Second, "the audit log goes on after docker "+how, read(controlplane.LogAudit, `"userAgent":"`+agent+`"`))
		if n := h.endpointsBy(agent); n > 1 {
			t.Errorf("one request was reported as %d", n)
		}
	}
	within(t, 30*time.Second, "the API server's log has its restarts", func(ctx context.Context) error {
		if err := read(controlplane.LogAPI, "no such line")(ctx); strings.Count(strings.Join(lines[controlplane.LogAPI], "\n"), "Serving securely on") < 3 {
			return err
		}
		return nil
	})
	// What was reported before is not reported again.
	if h.endpointsBy("old-tool/v1") != 3 {
		t.Errorf("%d requests of old-tool", h.endpointsBy("old-tool/v1"))
	}
	if nodes, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil || len(nodes.Items) > 0 {
		t.Errorf("nodes show: %v, %v", nodes, err)
	}
	if pods, err := c.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{}); err != nil || len(pods.Items) > 0 {
		t.Errorf("pods of the control plane show: %v, %v", pods, err)
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
