package kind

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
)

func machine() controlplane.Machine {
	return controlplane.Machine{
		InstanceID: "i-0123456789abcdef0", NodeName: "ip-10-0-1-23.ec2.internal", ProviderID: "aws:///us-east-1a/i-0123456789abcdef0",
		PrivateIP: netip.MustParseAddr("10.0.1.23"), VPC: controlplane.VPC{ID: "vpc-1", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}},
		Labels: map[string]string{"team": "a", "eks.amazonaws.com/nodegroup": "ng"}, MaxPods: 29,
		Taints: []corev1.Taint{{Key: "dedicated", Value: "x", Effect: corev1.TaintEffectNoSchedule}},
	}
}

func TestValidMachine(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(m *controlplane.Machine)
		ok       bool
		hopeless bool
	}{
		"as it should be":  {func(*controlplane.Machine) {}, true, false},
		"an instance path": {func(m *controlplane.Machine) { m.InstanceID = "i-0123456789abcdef0/../x" }, false, false},
		"no provider id":   {func(m *controlplane.Machine) { m.ProviderID = "" }, false, false},
		"no VPC":           {func(m *controlplane.Machine) { m.VPC.ID = "" }, false, false},
		"IPv6":             {func(m *controlplane.Machine) { m.PrivateIP = netip.MustParseAddr("fd00::1") }, false, true},
	} {
		m := machine()
		c.change(&m)
		err := validMachine(m)
		if (err == nil) != c.ok || errors.Is(err, controlplane.ErrHopeless) != c.hopeless {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMachineArgs(t *testing.T) {
	model := &container{Image: "sha256:abc"}
	model.Config.Env = []string{"PATH=/bin", "KUBECONFIG=/etc/kubernetes/admin.conf", "container=docker", "NO_PROXY=10.0.0.0/8"}
	model.HostConfig.Binds = []string{"/lib/modules:/lib/modules:ro"}
	model.HostConfig.UsernsMode = "host"
	model.HostConfig.Devices = append(model.HostConfig.Devices, struct{ PathOnHost string }{"/dev/fuse"})
	id := strings.Repeat("AB", 16)
	got := machineArgs(id, machine(), model)
	want := []string{
		"create", "--tty", "--name", "ekslocal-" + strings.ToLower(id) + "-i-0123456789abcdef0", "--hostname", "ip-10-0-1-23.ec2.internal",
		"--label", "io.x-k8s.kind.cluster=ekslocal-" + strings.ToLower(id), "--label", "io.x-k8s.kind.role=worker", "--label", "ekslocal.dev/instance=i-0123456789abcdef0",
		"--privileged", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--tmpfs", "/tmp", "--tmpfs", "/run", "--volume", "/var", "--net", "kind", "--restart=on-failure:1", "--init=false", "--cgroupns=private",
		"--userns=host", "--volume", "/lib/modules:/lib/modules:ro", "--device", "/dev/fuse", "--env", "NO_PROXY=10.0.0.0/8", "sha256:abc",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := len(got[3]); n > 63 {
		t.Errorf("the container's name has %d characters, more than a name in DNS may", n)
	}
}

func TestJoinFiles(t *testing.T) {
	keys := conformance.NewPKI(t)
	for version, arguments := range map[string]any{
		"v1beta3": map[string]any{
			"cloud-provider": "external", "hostname-override": "ip-10-0-1-23.ec2.internal", "node-ip": "10.0.1.23",
			"node-labels": "eks.amazonaws.com/nodegroup=ng,team=a", "provider-id": "aws:///us-east-1a/i-0123456789abcdef0",
		},
		"v1beta4": []any{
			map[string]any{"name": "cloud-provider", "value": "external"}, map[string]any{"name": "hostname-override", "value": "ip-10-0-1-23.ec2.internal"},
			map[string]any{"name": "node-ip", "value": "10.0.1.23"}, map[string]any{"name": "node-labels", "value": "eks.amazonaws.com/nodegroup=ng,team=a"},
			map[string]any{"name": "provider-id", "value": "aws:///us-east-1a/i-0123456789abcdef0"},
		},
	} {
		f, err := joinFiles(version, bootstrapToken{"abcdef", "0123456789abcdef"}, "server", keys, machine(), map[string]any{"maxPods": 29})
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := yaml.Unmarshal(f[joinFile], &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"apiVersion": "kubeadm.k8s.io/" + version, "kind": "JoinConfiguration", "skipPhases": []any{"preflight"},
			"patches":   map[string]any{"directory": "/etc/ekslocal/patches"},
			"discovery": map[string]any{"file": map[string]any{"kubeConfigPath": "/etc/ekslocal/discovery.conf"}, "tlsBootstrapToken": "abcdef.0123456789abcdef"},
			"nodeRegistration": map[string]any{
				"name": "ip-10-0-1-23.ec2.internal", "criSocket": "unix:///run/containerd/containerd.sock", "kubeletExtraArgs": arguments,
				"taints": []any{map[string]any{"key": "dedicated", "value": "x", "effect": "NoSchedule"}},
			},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", version, d)
		}
		if d := cmp.Diff("maxPods: 29\n", string(f["/etc/ekslocal/patches/kubeletconfiguration0+merge.yaml"])); d != "" {
			t.Error(d)
		}
		if !strings.Contains(string(f[discoveryFile]), "server: https://server:6443") || strings.Contains(string(f[discoveryFile]), "abcdef") {
			t.Errorf("discovery: %s", f[discoveryFile])
		}
	}
}

func TestBootstrapToken(t *testing.T) {
	tok := newBootstrapToken()
	if tok == newBootstrapToken() {
		t.Error("a token is made twice")
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := tok.secret(now)
	if len(tok.id) != 6 || len(tok.key) != 16 || s.Name != "bootstrap-token-"+tok.id || s.StringData["expiration"] != "2026-01-02T03:14:05Z" {
		t.Errorf("token %s, secret %+v", tok, s)
	}
	if _, signs := s.StringData["usage-bootstrap-signing"]; signs {
		t.Error("the token could sign cluster information")
	}
}

func TestReserved(t *testing.T) {
	list := func(cpu, memory, disk string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourceEphemeralStorage: resource.MustParse(disk)}
	}
	for name, c := range map[string]struct {
		has, want corev1.ResourceList
		reserved  map[string]string
	}{
		"larger":          {list("4", "16Gi", "100Gi"), list("1930m", "7Gi", "18Gi"), map[string]string{"cpu": "2070m", "memory": "9Gi", "ephemeral-storage": "82Gi"}},
		"less processors": {list("2", "16Gi", "100Gi"), list("3920m", "15Gi", "18Gi"), map[string]string{"memory": "1Gi", "ephemeral-storage": "82Gi"}},
		"just so":         {list("2", "1Gi", "1Gi"), list("2", "1Gi", "1Gi"), map[string]string{}},
		"does not say":    {list("2", "1Gi", "1Gi"), corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}, map[string]string{"cpu": "1"}},
	} {
		if d := cmp.Diff(c.reserved, reserved(c.has, c.want)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestSubnetsFor(t *testing.T) {
	vpc := controlplane.VPC{ID: "vpc-1", CIDRs: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/16")}}
	got := subnetsFor(vpc)
	seen := map[netip.Prefix]bool{}
	for _, p := range got {
		if p.Bits() != 24 || !benchmarks.Overlaps(p) || p.Overlaps(vpc.CIDRs[0]) || seen[p] {
			t.Errorf("%s is no choice", p)
		}
		seen[p] = true
	}
	if len(got) != subnetChoices {
		t.Errorf("%d choices, want %d", len(got), subnetChoices)
	}
	if cmp.Equal(subnetsFor(controlplane.VPC{ID: "a"})[0].String(), subnetsFor(controlplane.VPC{ID: "b"})[0].String()) {
		t.Error("all VPCs begin with the same subnet")
	}
	all := controlplane.VPC{ID: "vpc-1", CIDRs: []netip.Prefix{benchmarks}}
	if got := subnetsFor(all); len(got) != 0 {
		t.Errorf("a VPC that has the whole range: %v", got)
	}
}

func TestVPCNetwork(t *testing.T) {
	if got := vpcNetwork("vpc-0123"); got <= kindNetwork || got == vpcNetwork("vpc-0124") || got != vpcNetwork("vpc-0123") {
		t.Errorf("network %q", got)
	}
}

func TestNetworkFiles(t *testing.T) {
	n := &network{Name: "kind-vpc-x"}
	n.IPAM.Config = append(n.IPAM.Config, struct{ Subnet string }{"198.18.7.0/24"})
	vpc := controlplane.VPC{ID: "vpc-1", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("100.64.0.0/16")}}
	for address, want := range map[string]string{
		"10.0.1.23": "SUBNET=198.18.7.0/24\nADDRESS=10.0.1.23\nCIDRS=\"10.0.0.0/16 100.64.0.0/16\"\n",
		"":          "SUBNET=198.18.7.0/24\nADDRESS=\nCIDRS=\"10.0.0.0/16 100.64.0.0/16\"\n",
	} {
		own, _ := netip.ParseAddr(address)
		f, err := networkFiles(n, vpc, own)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(f[networkFile])); d != "" {
			t.Error(d)
		}
	}
	if _, err := networkFiles(&network{Name: "empty"}, vpc, netip.Addr{}); err == nil {
		t.Error("a network without a subnet was taken")
	}
}

func TestKubeletWord(t *testing.T) {
	for in, want := range map[string]string{
		"": "",
		"I0102 03:04:05.678 1 server.go:1] \"Starting\"\nE0102 03:04:05.678 1 run.go:72] \"command failed\" err=\"unknown labels\"\n": `"command failed" err="unknown labels"`,
		"Error: unknown flag\n": "Error: unknown flag",
	} {
		if d := cmp.Diff(want, kubeletWord(in)); d != "" {
			t.Error(d)
		}
	}
}

func TestComplaint(t *testing.T) {
	for in, want := range map[string]string{
		"": "",
		"INFO: starting\nFailed to mount cgroup\n[!!!!!!] Exiting PID 1...\n":                    "; the node says: Failed to mount cgroup; [!!!!!!] Exiting PID 1...",
		"Failed to create control group inotify object: Too many open files\nExiting PID 1...\n": "; the machine is out of inotify instances: sysctl fs.inotify.max_user_instances=512",
	} {
		if d := cmp.Diff(want, complaint(in)); d != "" {
			t.Error(d)
		}
	}
}

func TestAbsentAndTaken(t *testing.T) {
	for said, want := range map[string][2]bool{
		"docker network: Error response from daemon: network x not found":                                            {true, false},
		"docker rm: Error: No such container: x":                                                                     {true, false},
		"docker network: Error response from daemon: No such container: x":                                           {true, false},
		"docker network: Error: No such network: x":                                                                  {true, false},
		"docker container: dial unix /var/run/docker.sock: connect: no such file or directory":                       {false, false},
		"docker start: Error response from daemon: exec: \"x\": executable file not found in $PATH":                  {false, false},
		"docker ps: unable to resolve docker endpoint: context \"x\": context not found":                             {false, false},
		"docker network: Error response from daemon: Pool overlaps with other one on this address space":             {false, true},
		"docker network: networks have overlapping IPv4":                                                             {false, true},
		"docker network: Error response from daemon: error creating network: network x has active endpoints":         {false, false},
		"docker network: cannot create network y: conflicts with network z: networks have overlapping IPv4 prefixes": {false, true},
	} {
		err := errors.New(said)
		if got := [2]bool{absent(err), taken(err)}; got != want {
			t.Errorf("%q: %v, want %v", said, got, want)
		}
	}
}

// TestGuests: who has a machine has it alone, and evict ends whoever works on one.
func TestGuests(t *testing.T) {
	p := &plane{guests: newGuests()}
	_, leave, err := p.enter(t.Context(), "i-1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.enter(ctx, "i-1"); !errors.Is(err, context.Canceled) {
		t.Errorf("a machine that another has: %v", err)
	}
	_, other, err := p.enter(t.Context(), "i-2")
	if err != nil {
		t.Errorf("another machine: %v", err)
	}
	other()
	done := make(chan struct{})
	go func() { p.evict(); close(done) }()
	<-p.guests.life.Done()
	select {
	case <-done:
		t.Error("evict did not wait")
	default:
	}
	leave()
	<-done
	if _, _, err := p.enter(t.Context(), "i-2"); !errors.Is(err, errLeaving) {
		t.Errorf("after evict: %v", err)
	}
}
