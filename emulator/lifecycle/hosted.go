package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// hosted is what the daemon knows of a cluster whose nodes are real machines. They
// follow EC2's instances: the fleet has none of them.
type hosted struct {
	hoster controlplane.Hoster

	mu sync.Mutex
	// failed is why an instance's last try to join came to nothing.
	failed map[string]error
	swept  bool // machines and Nodes of before that nobody has any more are gone
}

// newHosted answers nil for a cluster with simulated nodes.
func (l *Lifecycle) newHosted(c *ekssvc.Cluster) (*hosted, error) {
	if c.Backend != ekssvc.BackendKind {
		return nil, nil
	}
	h, ok := l.Backend.(controlplane.Hoster)
	if !ok {
		return nil, fmt.Errorf("cluster %s wants real nodes, and the backend has none", *c.Resource.Name)
	}
	return &hosted{hoster: h, failed: map[string]error{}}, nil
}

// host makes an instance's machine run and its Node what EKS makes of one.
func (l *Lifecycle) host(ctx context.Context, i *ec2svc.Instance, n dataplane.Node, rt *runtime) error {
	// Two machines with one address would answer for each other.
	for _, o := range l.predecessors(i) {
		if err := rt.hosted.hoster.Leave(ctx, rt.id, o); err != nil {
			return err
		}
	}
	m, err := l.machineOf(i, n)
	if err != nil {
		return err
	}
	joining, stop := l.whileRuns(ctx, i)
	defer stop()
	err = rt.hosted.hoster.Join(joining, rt.id, m)
	if ctx.Err() == nil && joining.Err() != nil {
		return nil // it was stopped or terminated meanwhile: that is next
	}
	if rt.hosted.note(n.InstanceID, err) {
		for _, ng := range l.nodegroupOf(key{i.Scope, n.InstanceID}) {
			l.nodegroups.queue.Add(ng)
		}
	}
	if err != nil {
		return err
	}
	return l.initializeNode(ctx, rt, n)
}

// predecessors are instances that ended and had the address that i has now.
func (l *Lifecycle) predecessors(i *ec2svc.Instance) []string {
	var out []string
	for _, o := range ec2svc.Instances.List(l.Store, i.Scope) {
		if *o.InstanceId != *i.InstanceId && aws.ToString(o.PrivateDnsName) == aws.ToString(i.PrivateDnsName) &&
			aws.ToString(o.VpcId) == aws.ToString(i.VpcId) && o.State != nil && o.State.Name == ec2types.InstanceStateNameTerminated {
			out = append(out, *o.InstanceId)
		}
	}
	return out
}

// whileRuns ends when the instance is not running any more: who waits for its machine
// need not.
func (l *Lifecycle) whileRuns(ctx context.Context, i *ec2svc.Instance) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	look := func() {
		now := ec2svc.Instances.Get(l.Store, i.Scope, *i.InstanceId)
		if now == nil || now.State == nil || now.State.Name != ec2types.InstanceStateNameRunning {
			cancel()
		}
	}
	unsubscribe := l.Store.Subscribe(ec2svc.Instances.Name(), func(ch store.Change) {
		if ch.ID == *i.InstanceId && ch.Scope == i.Scope {
			look()
		}
	})
	look() // at what changed before
	return ctx, func() { unsubscribe(); cancel() }
}

// machineOf is the machine of an instance that boots the node.
func (l *Lifecycle) machineOf(i *ec2svc.Instance, n dataplane.Node) (controlplane.Machine, error) {
	m := controlplane.Machine{
		InstanceID: n.InstanceID, NodeName: n.Name, ProviderID: dataplane.ProviderID(n), PrivateIP: n.PrivateIP,
		VPC: controlplane.VPC{ID: aws.ToString(i.VpcId)}, Labels: n.Labels, Taints: n.Taints, MaxPods: n.MaxPods,
		Allocatable: dataplane.Allocatable(n),
	}
	vpc := ec2svc.Vpcs.Get(l.Store, i.Scope, m.VPC.ID)
	if vpc == nil {
		return m, fmt.Errorf("instance %s: its VPC %s is gone", n.InstanceID, m.VPC.ID)
	}
	for _, a := range vpc.CidrBlockAssociationSet {
		if a.CidrBlockState == nil || a.CidrBlockState.State != ec2types.VpcCidrBlockStateCodeAssociated {
			continue
		}
		p, err := netip.ParsePrefix(aws.ToString(a.CidrBlock))
		if err != nil {
			return m, fmt.Errorf("VPC %s: %w", m.VPC.ID, err)
		}
		m.VPC.CIDRs = append(m.VPC.CIDRs, p)
	}
	return m, nil
}

// instancesOfVPC maps a VPC to its instances: their machines route to its addresses.
func (l *Lifecycle) instancesOfVPC(k key) []key {
	var out []key
	for _, i := range ec2svc.Instances.List(l.Store, k.Scope) {
		if aws.ToString(i.VpcId) == k.ID && clusterOf(i) != "" {
			out = append(out, key{k.Scope, *i.InstanceId})
		}
	}
	return out
}

// unhost halts or removes the machine of an instance that does not run, and its Node, as
// the cloud controller manager does.
func (l *Lifecycle) unhost(ctx context.Context, i *ec2svc.Instance, rt *runtime) error {
	var err error
	switch i.State.Name {
	case ec2types.InstanceStateNameStopping, ec2types.InstanceStateNameStopped:
		err = rt.hosted.hoster.Halt(ctx, rt.id, *i.InstanceId)
	case ec2types.InstanceStateNameShuttingDown, ec2types.InstanceStateNameTerminated:
		err = rt.hosted.hoster.Leave(ctx, rt.id, *i.InstanceId)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	rt.hosted.note(*i.InstanceId, nil)
	if err := rt.deleteNode(ctx, aws.ToString(i.PrivateDnsName), *i.InstanceId); err != nil {
		return err
	}
	rt.agents.forget(*i.InstanceId)
	l.Addresses.Forget(*i.InstanceId)
	return nil
}

// note remembers how a try to join went. It tells whether that is news.
func (h *hosted) note(instanceID string, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.failed[instanceID]
	if err == nil {
		delete(h.failed, instanceID)
	} else {
		h.failed[instanceID] = err
	}
	return (was == nil) != (err == nil) || err != nil && was.Error() != err.Error()
}

// hopeless tells whether an instance cannot join however long one waits.
func (h *hosted) hopeless(instanceID string) bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Is(h.failed[instanceID], controlplane.ErrHopeless)
}

// because is why instances do not join, ": " in front, empty if nothing is known. Many
// have one reason: each is said once.
func (h *hosted) because(ids []string) string {
	if h == nil {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var reasons []string
	for _, id := range ids {
		if err := h.failed[id]; err != nil {
			_, reason, _ := strings.Cut(err.Error(), id+": ")
			if reason == "" {
				reason = err.Error()
			}
			reason = strings.TrimPrefix(reason, controlplane.ErrHopeless.Error()+": ")
			if !slices.Contains(reasons, reason) {
				reasons = append(reasons, reason)
			}
		}
	}
	if len(reasons) == 0 {
		return ""
	}
	return ": " + strings.Join(reasons, "; ")
}

// stats counts a cluster's nodes and pods.
func (rt *runtime) stats() dataplane.Stats {
	s := rt.fleet.Snapshot()
	if rt.hosted == nil {
		return s
	}
	s.Nodes, s.Ready = 0, 0
	for _, o := range rt.nodes.GetStore().List() {
		s.Nodes++
		if isReady(o.(*corev1.Node)) {
			s.Ready++
		}
	}
	return s
}
