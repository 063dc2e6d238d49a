package conformance

import (
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// Harness is a backend under test.
type Harness struct {
	Backend controlplane.Backend
	// Reopen returns a backend on the same data after the first was closed.
	Reopen func() controlplane.Backend
	// Serves tells that control planes have an API server to talk to.
	Serves bool
}

// Factory makes a backend that runs nothing, which it closes after the test.
type Factory func(t *testing.T) Harness

// RunSuite checks the contract of controlplane.Backend.
func RunSuite(t *testing.T, f Factory) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Harness)
	}{
		{"Versions", testVersions},
		{"Absent", testAbsent},
		{"Refusals", testRefusals},
		{"Life", testLife},
		{"Apart", testApart},
		{"Upgrade", testUpgrade},
		{"Authorities", testAuthorities},
		{"Restart", testRestart},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, f(t)) })
	}
}

var minorForm = regexp.MustCompile(`^1\.(\d+)$`)

func minor(t *testing.T, v string) int {
	t.Helper()
	m := minorForm.FindStringSubmatch(v)
	if m == nil {
		t.Fatalf("version %q is not a minor version", v)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func testVersions(t *testing.T, h Harness) {
	v := h.Backend.Versions()
	if len(v) == 0 {
		t.Fatal("no versions")
	}
	if !slices.IsSortedFunc(v, func(a, b string) int { return minor(t, a) - minor(t, b) }) {
		t.Errorf("versions are not oldest first: %v", v)
	}
}

func testAbsent(t *testing.T, h Harness) {
	ctx := t.Context()
	spec := NewSpec(t, "absent", last(h))
	if _, err := h.Backend.Get(ctx, spec.ID); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
	if _, err := h.Backend.Upgrade(ctx, spec); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("Upgrade: %v, want ErrNotFound", err)
	}
	if _, err := h.Backend.Logs(ctx, spec.ID, controlplane.LogAPI); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("Logs: %v, want ErrNotFound", err)
	}
	if err := h.Backend.Delete(ctx, spec.ID); err != nil {
		t.Errorf("Delete: %v, want nil", err)
	}
}

func testRefusals(t *testing.T, h Harness) {
	for name, change := range map[string]func(*controlplane.Spec){
		"unknown version": func(s *controlplane.Spec) { s.Version = "1.12" },
		"id":              func(s *controlplane.Spec) { s.ID = "../../etc" },
	} {
		spec := NewSpec(t, "refused", last(h))
		change(&spec)
		if _, err := h.Backend.Create(t.Context(), spec); err == nil {
			t.Errorf("Create with a bad %s succeeded", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	spec := NewSpec(t, "cancelled", last(h))
	if _, err := h.Backend.Create(ctx, spec); err == nil {
		t.Error("Create with a context that has ended succeeded")
	}
	if _, err := h.Backend.Get(t.Context(), spec.ID); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("Get after a failed Create: %v, want ErrNotFound", err)
	}
}

func testLife(t *testing.T, h Harness) {
	ctx, spec := t.Context(), NewSpec(t, "life", last(h))
	made := mustCreate(t, h.Backend, spec)
	if !strings.HasPrefix(made.GitVersion, "v"+spec.Version+".") {
		t.Errorf("GitVersion is %q, want v%s.*", made.GitVersion, spec.Version)
	}
	if made.Admin == nil || !strings.HasSuffix(made.Admin.Host, ":"+strconv.Itoa(spec.Port)) {
		t.Fatalf("Admin does not point to port %d: %+v", spec.Port, made.Admin)
	}
	made.Admin.Host = "changed by the caller"
	again := mustCreate(t, h.Backend, spec)
	if again.PID != made.PID || !again.StartedAt.Equal(made.StartedAt) {
		t.Errorf("second Create made another: %+v, first %+v", again, made)
	}
	got, err := h.Backend.Get(ctx, spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.PID != made.PID || got.Admin.Host == made.Admin.Host {
		t.Errorf("Get: %+v", got)
	}
	r, err := h.Backend.Logs(ctx, spec.ID, controlplane.LogAPI)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil || h.Serves && len(text) == 0 {
		t.Errorf("API log of %d bytes, error %v", len(text), err)
	}
	if h.Serves {
		createNamespace(t, got, "marker")
	}
	for range 2 {
		if err := h.Backend.Delete(ctx, spec.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Backend.Get(ctx, spec.ID); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("Get after Delete: %v, want ErrNotFound", err)
	}
	fresh := mustCreate(t, h.Backend, spec)
	if h.Serves && hasNamespace(t, fresh, "marker") {
		t.Error("Delete left data behind")
	}
}

func testApart(t *testing.T, h Harness) {
	v := h.Backend.Versions()
	one, two := NewSpec(t, "one", v[0]), NewSpec(t, "two", v[len(v)-1])
	oneInfo, twoInfo := mustCreate(t, h.Backend, one), mustCreate(t, h.Backend, two)
	if h.Serves {
		createNamespace(t, oneInfo, "marker")
		if hasNamespace(t, twoInfo, "marker") {
			t.Error("control planes share data")
		}
	}
	if err := h.Backend.Delete(t.Context(), one.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Backend.Get(t.Context(), two.ID); err != nil {
		t.Errorf("Delete of another one: %v", err)
	}
	if h.Serves && !hasNamespace(t, twoInfo, "default") {
		t.Error("namespace default is missing")
	}
}

func testUpgrade(t *testing.T, h Harness) {
	v := h.Backend.Versions()
	if len(v) < 2 {
		t.Skip("one version only")
	}
	ctx, spec := t.Context(), NewSpec(t, "upgrade", v[len(v)-2])
	made := mustCreate(t, h.Backend, spec)
	if h.Serves {
		createNamespace(t, made, "marker")
	}
	older := spec
	spec.Version = v[len(v)-1]
	for range 2 {
		info, err := h.Backend.Upgrade(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(info.GitVersion, "v"+spec.Version+".") {
			t.Errorf("GitVersion after the upgrade is %q", info.GitVersion)
		}
		if h.Serves && !hasNamespace(t, made, "marker") {
			t.Error("the upgrade lost data, or the earlier client's access")
		}
	}
	if _, err := h.Backend.Upgrade(ctx, older); err == nil {
		t.Error("Upgrade to an older version succeeded")
	}
	older.Rollback = true
	info, err := h.Backend.Upgrade(ctx, older)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(info.GitVersion, "v"+older.Version+".") {
		t.Errorf("GitVersion after the rollback is %q", info.GitVersion)
	}
	if h.Serves && !hasNamespace(t, made, "marker") {
		t.Error("the rollback lost data, or the earlier client's access")
	}
}

func testRestart(t *testing.T, h Harness) {
	ctx, spec := t.Context(), NewSpec(t, "restart", last(h))
	made := mustCreate(t, h.Backend, spec)
	if h.Serves {
		createNamespace(t, made, "marker")
	}
	if err := h.Backend.Close(); err != nil {
		t.Fatal(err)
	}
	b := h.Reopen()
	if _, err := b.Get(ctx, spec.ID); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("Get before Create: %v, want ErrNotFound", err)
	}
	if again := mustCreate(t, b, spec); again.Data != made.Data {
		t.Errorf("the restart seems to have lost data: those of %q, and now of %q", made.Data, again.Data)
	}
	if h.Serves && !hasNamespace(t, made, "marker") {
		t.Error("the restart lost data, or the earlier client's access")
	}
}

func last(h Harness) string {
	v := h.Backend.Versions()
	return v[len(v)-1]
}

// mustCreate leaves the end of the control plane to the factory.
func mustCreate(t *testing.T, b controlplane.Backend, spec controlplane.Spec) controlplane.Info {
	t.Helper()
	info, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func createNamespace(t *testing.T, i controlplane.Info, name string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := client(t, i).CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func hasNamespace(t *testing.T, i controlplane.Info, name string) bool {
	t.Helper()
	_, err := client(t, i).CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

func client(t *testing.T, i controlplane.Info) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(i.Admin)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
