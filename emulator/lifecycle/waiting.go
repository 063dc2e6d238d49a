package lifecycle

import (
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
)

// Waiting lists the pods of a running cluster that wait for an address.
func (l *Lifecycle) Waiting(clusterID string) []dataplane.WaitingPod {
	rt := l.runtimeOf(clusterID)
	if rt == nil {
		return nil
	}
	return rt.fleet.Waiting()
}

// ClusterOf is the name of the cluster that an instance wants to be a node of,
// empty for others.
func ClusterOf(i *ec2svc.Instance) string { return clusterOf(i) }
