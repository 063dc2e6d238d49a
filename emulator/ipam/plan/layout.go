package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// Layout is what a plan is about: one cluster with one managed node group.
type Layout struct {
	// Subnets are those of the node group and of the control plane, each in a zone of
	// its own.
	Subnets []netip.Prefix
	// PodSubnets are those that the ENIConfigs name with custom networking, one for the
	// zone of each of Subnets in the same order.
	PodSubnets   []netip.Prefix
	InstanceType string
	Nodes        int
	// PodsPerNode counts the workload's pods with an address of their own.
	PodsPerNode int
	// DaemonSetPods is how many pods with an address each node has of DaemonSets.
	DaemonSetPods int
	// SystemPods are the cluster's own with an address: CoreDNS has two.
	SystemPods int
	// HostNetworkPods is how many pods without an address each node has, such as
	// aws-node's and kube-proxy's.
	HostNetworkPods int
	// MaxPods is each node's capacity, 0 for what EKS recommends.
	MaxPods int
	// ControlPlaneENIs is how many interfaces the control plane has in Subnets.
	ControlPlaneENIs int
	// Surge is how many nodes a rolling update adds before it takes any away.
	Surge    int
	Settings warmpool.Settings
}

// Bounds of a plan: beyond these it is a typing error.
const (
	mostNodes = 5000
	mostPods  = 1000 // per node
	mostENIs  = 4    // of the control plane

	mostSubnets = 16
)

// ParseSubnets reads a list of a flag's blocks.
func ParseSubnets(flag string, list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := parseSubnet(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func parseSubnet(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is not a CIDR block, such as 10.0.0.0/24", s)
	case !p.Addr().Is4():
		return p, fmt.Errorf("%s is not an IPv4 block, such as 10.0.0.0/24", s)
	case p != p.Masked():
		return p, fmt.Errorf("%s has host bits set: the block is %s", s, p.Masked())
	case p.Bits() < 16 || p.Bits() > 28:
		return p, fmt.Errorf("%s cannot be a subnet: AWS's are between /16 and /28", s)
	}
	return p, nil
}

// check says what is wrong with a layout, in one sentence, and finds its type.
func (l *Layout) check() (*instancetypes.Type, error) {
	if err := l.checkSubnets(); err != nil {
		return nil, err
	}
	for _, n := range []struct {
		flag            string
		value, from, to int
	}{
		{"nodes", l.Nodes, 1, mostNodes}, {"pods-per-node", l.PodsPerNode, 0, mostPods}, {"daemonset-pods", l.DaemonSetPods, 0, mostPods},
		{"system-pods", l.SystemPods, 0, mostPods}, {"host-network-pods", l.HostNetworkPods, 0, mostPods},
		{"max-pods", l.MaxPods, 0, mostPods}, {"control-plane-enis", l.ControlPlaneENIs, 0, mostENIs}, {"surge", l.Surge, 0, l.Nodes},
	} {
		if n.value < n.from || n.value > n.to {
			return nil, fmt.Errorf("--%s %d is not between %d and %d", n.flag, n.value, n.from, n.to)
		}
	}
	if l.Settings.Invalid != "" {
		return nil, fmt.Errorf("the VPC CNI does not start with these settings: %s", l.Settings.Invalid)
	}
	return lookup(l.InstanceType)
}

func (l *Layout) checkSubnets() error {
	if len(l.Subnets) == 0 {
		return fmt.Errorf("--subnets names none")
	}
	if n := len(l.Subnets); n > mostSubnets {
		return fmt.Errorf("--subnets names %d, more than the %d of a cluster", n, mostSubnets)
	}
	if n := len(l.PodSubnets); n > 0 && n != len(l.Subnets) {
		return fmt.Errorf("--custom-networking-subnets names %d and --subnets %d: each subnet of nodes needs one of pods in its zone", n, len(l.Subnets))
	}
	all := slices.Concat(l.Subnets, l.PodSubnets)
	for i, p := range all {
		for _, q := range all[:i] {
			if p.Overlaps(q) {
				return fmt.Errorf("the subnets %s and %s overlap", q, p)
			}
		}
	}
	return nil
}

func lookup(name string) (*instancetypes.Type, error) {
	if t, ok := instancetypes.Lookup(name); ok {
		return t, nil
	}
	if name == "" {
		return nil, fmt.Errorf("--instance-type names none, such as m5.large")
	}
	near := slices.MinFunc(instancetypes.All(), func(a, b *instancetypes.Type) int {
		return cmp.Compare(edits(name, a.Name), edits(name, b.Name))
	})
	if edits(name, near.Name) <= 2 {
		return nil, fmt.Errorf("there is no instance type %s: did you mean %s?", name, near.Name)
	}
	return nil, fmt.Errorf("there is no instance type %s: `aws ec2 describe-instance-types` lists them", name)
}

// edits is the Levenshtein distance of two names.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// total is how many addresses AWS lets use of a subnet.
func total(p netip.Prefix) int { return ipam.Size(p) - 5 }
