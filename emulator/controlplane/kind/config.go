package kind

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// filesDir is where our own files are in a control plane's node.
const filesDir = "/etc/ekslocal"

// podSubnet is only what kubeadm wants to hear: addresses come from the VPC.
const podSubnet = "10.244.0.0/16"

// skipped are the phases of kubeadm init that are not for us: kind has loaded the
// images that preflight would pull, the node does not stay in the cluster, and EKS's
// add-ons come from the emulator.
const skipped = "preflight,mark-control-plane,addon/coredns,addon/kube-proxy"

// clusterConfig is the kind cluster of one node that becomes the control plane.
func clusterConfig(spec controlplane.Spec, image string, cfg Config, cgroup int) (*v1alpha4.Cluster, error) {
	p := patches{version: kubeadmVersion(spec.Version)}
	for _, a := range [][2]string{
		{"authentication-token-webhook-config-file", filesDir + "/authentication.yaml"},
		{"authentication-token-webhook-version", "v1"},
		{"authentication-token-webhook-cache-ttl", "0s"}, // kube-apiserver has another cache before it
		{"authorization-config", filesDir + "/authorization.yaml"},
		{"service-account-issuer", spec.Issuer},
		{"service-account-jwks-uri", jwks(spec.Issuer)},
		{"api-audiences", "https://kubernetes.default.svc"},
		{"enable-aggregator-routing", "true"},
		{"service-account-max-token-expiration", "24h"}, // EKS's, as the next one
		{"runtime-config", controlplane.BetaAPIs(spec.Version)},
	} {
		if a[1] == "" {
			continue
		}
		p.argument("/apiServer/extraArgs", a[0], a[1])
	}
	for _, component := range []string{"apiServer", "controllerManager"} {
		p.add("ClusterConfiguration", "/"+component+"/extraVolumes", []any{map[string]any{
			"name": "ekslocal", "hostPath": filesDir, "mountPath": filesDir, "readOnly": true, "pathType": "Directory",
		}})
	}
	p.audited()
	for _, h := range cfg.CertHosts {
		p.add("ClusterConfiguration", "/apiServer/certSANs/-", h)
	}
	// Addresses come from the VPC, not from a range of each node.
	p.argument("/controllerManager/extraArgs", "allocate-node-cidrs", "false")
	// ca.crt may be a bundle while one authority takes over from another.
	p.argument("/controllerManager/extraArgs", "cluster-signing-cert-file", filesDir+"/signer.crt")
	p.argument("/controllerManager/extraArgs", "cluster-signing-key-file", filesDir+"/signer.key")
	p.add("ClusterConfiguration", "/etcd", map[string]any{"local": map[string]any{"extraArgs": p.arguments("unsafe-no-fsync", "true")}})
	if p.version != "v1beta3" { // which knows no timeouts; kubeadm's one minute is short for a busy machine
		p.add("InitConfiguration", "/timeouts", map[string]string{"kubernetesAPICall": "4m0s"})
	}
	documents, err := p.documents()
	if err != nil {
		return nil, err
	}
	c := &v1alpha4.Cluster{
		TypeMeta: v1alpha4.TypeMeta{Kind: "Cluster", APIVersion: "kind.x-k8s.io/v1alpha4"},
		Name:     clusterName(spec.ID),
		Nodes:    []v1alpha4.Node{{Role: v1alpha4.ControlPlaneRole, Image: image}},
		Networking: v1alpha4.Networking{
			IPFamily: v1alpha4.IPv4Family, APIServerAddress: cfg.ListenHost, APIServerPort: int32(spec.Port), //nolint:gosec // validate has checked it
			PodSubnet: podSubnet, ServiceSubnet: spec.ServiceCIDR, DisableDefaultCNI: true, KubeProxyMode: v1alpha4.IPTablesProxyMode,
		},
		KubeadmConfigPatchesJSON6902: documents,
	}
	if cgroup == 1 {
		c.KubeadmConfigPatches = append(c.KubeadmConfigPatches, "kind: KubeletConfiguration\nfailCgroupV1: false\n")
	}
	return c, nil
}

// kubeadmVersion is the version of kubeadm's configuration that kind writes for a
// Kubernetes version. In the older one arguments are maps.
func kubeadmVersion(minor string) string {
	if minor < "1.36" {
		return "v1beta3"
	}
	return "v1beta4"
}

// patches collects JSON patches of kubeadm's documents.
type patches struct {
	version string
	byKind  map[string][]any
}

func (p *patches) add(kind, path string, value any) {
	if p.byKind == nil {
		p.byKind = map[string][]any{}
	}
	p.byKind[kind] = append(p.byKind[kind], map[string]any{"op": "add", "path": path, "value": value})
}

func (p *patches) argument(path, name, value string) {
	if p.version == "v1beta3" {
		p.add("ClusterConfiguration", path+"/"+name, value)
		return
	}
	p.add("ClusterConfiguration", path+"/-", map[string]string{"name": name, "value": value})
}

// arguments is a whole set of one argument.
func (p *patches) arguments(name, value string) any {
	if p.version == "v1beta3" {
		return map[string]string{name: value}
	}
	return []map[string]string{{"name": name, "value": value}}
}

func (p *patches) documents() (out []v1alpha4.PatchJSON6902, err error) {
	for _, kind := range slices.Sorted(maps.Keys(p.byKind)) {
		b, err := json.Marshal(p.byKind[kind])
		if err != nil {
			return nil, fmt.Errorf("patch of %s: %w", kind, err)
		}
		out = append(out, v1alpha4.PatchJSON6902{Group: "kubeadm.k8s.io", Version: p.version, Kind: kind, Patch: string(b)})
	}
	return out, nil
}

// clusterName is lower case: kind takes no other names.
func clusterName(id string) string { return namePrefix + strings.ToLower(id) }

// nodeName is the name that kind gives to the first control-plane node.
func nodeName(id string) string { return clusterName(id) + "-control-plane" }
