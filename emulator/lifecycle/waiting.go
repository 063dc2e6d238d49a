package lifecycle

import (
	"net/netip"

	"github.com/ekslocal/ekslocal/emulator/dataplane"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
)

// Waiting lists the pods of a running cluster that wait for an address.
func (l *Lifecycle) Waiting(clusterID string) []dataplane.WaitingPod {
	rt := l.runtimeOf(clusterID)
	if rt == nil {
		return nil
	}
	// One of the two: a cluster's nodes are simulated or real.
	return append(rt.fleet.Waiting(), rt.agents.list(rt.fleet.Stays)...)
}

// PodAt is namespace/name of the running cluster's pod with an address of its own,
// empty for none.
func (l *Lifecycle) PodAt(clusterID string, ip netip.Addr) string {
	rt := l.runtimeOf(clusterID)
	if rt == nil {
		return ""
	}
	return rt.fleet.PodAt(ip)
}

// ClusterOf is the name of the cluster that an instance wants to be a node of,
// empty for others.
func ClusterOf(i *ec2svc.Instance) string { return clusterOf(i) }
