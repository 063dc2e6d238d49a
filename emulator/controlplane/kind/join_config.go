package kind

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// Files with which a machine joins, and the directory that kubeadm takes patches from.
const (
	joinFile      = filesDir + "/join.yaml"
	discoveryFile = filesDir + "/discovery.conf"
	patchesDir    = filesDir + "/patches"
)

// joinFiles tell kubeadm what node to make of a machine. The authorities are pinned:
// the token is shown to nobody else.
func joinFiles(version string, t bootstrapToken, server string, keys controlplane.PKI, m controlplane.Machine, kubelet map[string]any) (files, error) {
	discovery := map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "ekslocal",
		"clusters": []any{map[string]any{"name": "ekslocal", "cluster": map[string]any{
			"server": "https://" + server + ":6443", "certificate-authority-data": base64.StdEncoding.EncodeToString(keys.Bundle()),
		}}},
		"contexts": []any{map[string]any{"name": "ekslocal", "context": map[string]any{"cluster": "ekslocal", "user": "nobody"}}},
		"users":    []any{map[string]any{"name": "nobody", "user": map[string]any{}}},
	}
	f := files{}
	for name, doc := range map[string]any{
		joinFile:      joinConfig(version, t, m),
		discoveryFile: discovery,
		patchesDir + "/kubeletconfiguration0+merge.yaml": kubelet,
	} {
		b, err := yaml.Marshal(doc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		f[name] = b
	}
	return f, nil
}

// joinConfig is kubeadm's. Preflight would complain of the engine's kernel and look for
// images; everything it could find is known to be there.
func joinConfig(version string, t bootstrapToken, m controlplane.Machine) map[string]any {
	taints := m.Taints
	if taints == nil {
		taints = []corev1.Taint{} // else kubeadm has taints of its own
	}
	c := map[string]any{
		"apiVersion": "kubeadm.k8s.io/" + version, "kind": "JoinConfiguration",
		"skipPhases": []string{"preflight"},
		"patches":    map[string]any{"directory": patchesDir},
		"discovery":  map[string]any{"file": map[string]any{"kubeConfigPath": discoveryFile}, "tlsBootstrapToken": t.String()},
		"nodeRegistration": map[string]any{
			"name": m.NodeName, "criSocket": "unix:///run/containerd/containerd.sock", "taints": taints,
			"kubeletExtraArgs": kubeletArguments(version, [][2]string{
				{"cloud-provider", "external"}, {"hostname-override", m.NodeName}, {"node-ip", m.PrivateIP.String()},
				{"node-labels", labelsArgument(m.Labels)}, {"provider-id", m.ProviderID},
			}),
		},
	}
	return c
}

// kubeletArguments are a map in the older versions of kubeadm's configuration.
func kubeletArguments(version string, arguments [][2]string) any {
	if version == "v1beta3" {
		out := map[string]string{}
		for _, a := range arguments {
			out[a[0]] = a[1]
		}
		return out
	}
	out := make([]map[string]string, 0, len(arguments))
	for _, a := range arguments {
		out = append(out, map[string]string{"name": a[0], "value": a[1]})
	}
	return out
}

// labelsArgument is the kubelet's --node-labels.
func labelsArgument(labels map[string]string) string {
	out := make([]string, 0, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

// kubeletPatch is what the configuration of one kubelet has that others' have not.
func (p *plane) kubeletPatch(ctx context.Context, container string, m controlplane.Machine) (map[string]any, error) {
	patch := map[string]any{}
	if m.MaxPods > 0 {
		patch["maxPods"] = m.MaxPods
	}
	if p.b.cfg.HostResources || len(m.Allocatable) == 0 {
		return patch, nil
	}
	has, err := p.b.engine.capacity(ctx, container)
	if err != nil {
		return nil, err
	}
	if r := reserved(has, m.Allocatable); len(r) > 0 {
		patch["systemReserved"] = r
	}
	return patch, nil
}

// capacity is what a kubelet in the container will find.
func (e engine) capacity(ctx context.Context, container string) (corev1.ResourceList, error) {
	out, err := e.run(ctx, nil, "exec", container, "sh", "-c", "nproc --all; awk '/^MemTotal:/ {print $2}' /proc/meminfo; stat -f -c '%S %b' /var/lib")
	if err != nil {
		return nil, fmt.Errorf("resources of the node: %w", err)
	}
	var n [4]int64
	f := strings.Fields(out)
	for i := range n {
		if len(f) != len(n) {
			return nil, fmt.Errorf("resources of the node: %q is not what was asked for", out)
		}
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return nil, fmt.Errorf("resources of the node: %w", err)
		}
	}
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(n[0], resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(n[1]<<10, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(n[2]*n[3], resource.BinarySI),
	}, nil
}

// reserved is what a kubelet must keep back of a machine that has more than it should
// offer. Where it has less, it offers that.
func reserved(has, want corev1.ResourceList) map[string]string {
	out := map[string]string{}
	for name, h := range has {
		w, ok := want[name]
		if !ok || h.Cmp(w) <= 0 {
			continue
		}
		left := h.DeepCopy()
		left.Sub(w)
		out[string(name)] = left.String()
	}
	return out
}

// bootstrapToken lets one machine ask for its certificate.
type bootstrapToken struct{ id, key string }

// tokenLife is longer than a try to join.
const tokenLife = 10 * time.Minute

func newBootstrapToken() bootstrapToken {
	s := strings.ToLower(rand.Text())
	return bootstrapToken{id: s[:6], key: s[6:22]}
}

func (t bootstrapToken) String() string { return t.id + "." + t.key }

// secret is how the API server knows the token. It is good for becoming a node and for
// nothing else.
func (t bootstrapToken) secret(now time.Time) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + t.id},
		Type:       corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{
			"token-id": t.id, "token-secret": t.key, "expiration": now.Add(tokenLife).UTC().Format(time.RFC3339),
			"usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
			"description": "lets one machine of ekslocal join",
		},
	}
}
