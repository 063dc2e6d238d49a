package kind

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
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
	for _, in := range []string{"metadata: {name: x}\n" + containers, "metadata: {name: x, annotations: {a: b, ekslocal.dev/generation: old}}\n" + strings.Replace(containers, "name: x,", "name: x, env: [{name: EKSLOCAL_GENERATION, value: old}],", 1)} {
		out, err := edited([]byte(in), "new", map[string]string{"service-account-issuer": "new"})
		if err != nil {
			t.Fatal(err)
		}
		var pod struct {
			Metadata struct {
				Name        string
				Annotations map[string]string
			}
			Spec struct {
				Containers []struct {
					Command []string
					Env     []struct{ Name, Value string }
				}
			}
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
		if d := cmp.Diff([]struct{ Name, Value string }{{"EKSLOCAL_GENERATION", "new"}}, pod.Spec.Containers[0].Env); d != "" {
			t.Error(d)
		}
	}
	if _, err := edited([]byte("kind: Pod\n"), "new", nil); err == nil {
		t.Error("a manifest without metadata was taken")
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
