package lifecycle

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/ekslocal/ekslocal/emulator/dataplane"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/fixtures/images"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// clusterOf is the cluster that an instance belongs to by its tags, "" for none.
func clusterOf(i *ec2svc.Instance) string {
	if c := tagOf(i, tagCluster); c != "" {
		return c
	}
	for _, t := range i.Tags {
		if c, ok := strings.CutPrefix(aws.ToString(t.Key), "kubernetes.io/cluster/"); ok && aws.ToString(t.Value) == "owned" {
			return c
		}
	}
	return ""
}

// instancesOf maps a record that belongs to a cluster to the cluster's instances.
func (l *Lifecycle) instancesOf(k key) []key {
	cluster, _, _ := strings.Cut(k.ID, "/")
	var out []key
	for _, i := range ec2svc.Instances.List(l.Store, k.Scope) {
		if clusterOf(i) == cluster {
			out = append(out, key{k.Scope, *i.InstanceId})
		}
	}
	return out
}

// reconcileInstance joins an instance to its cluster when it runs, and takes its
// node away when it does not any more.
func (l *Lifecycle) reconcileInstance(ctx context.Context, k key) (time.Duration, error) {
	ctx = asNode(ctx, k.Scope) // the nodes' address pools call EC2
	i := ec2svc.Instances.Get(l.Store, k.Scope, k.ID)
	if i == nil {
		l.Addresses.Forget(k.ID)
		return 0, nil
	}
	name := clusterOf(i)
	if name == "" || i.State == nil {
		return 0, nil
	}
	if i.State.Name == ec2types.InstanceStateNameTerminated {
		// Without the cluster, which may be gone by now.
		l.Addresses.Forget(k.ID) // a pool that goes on would ask EC2 for interfaces in vain
		if err := l.removeBranches(ctx, k.Scope, k.ID); err != nil {
			return 0, err
		}
	}
	c := ekssvc.Clusters.Get(l.Store, k.Scope, name)
	if c == nil {
		return 0, nil
	}
	rt := l.runtimeOf(c.ID)
	if rt == nil {
		return 0, nil // its start enqueues the instance again
	}
	ctx, done := rt.during(ctx)
	defer done()
	if rt.hosted != nil && i.State.Name != ec2types.InstanceStateNameRunning {
		return 0, l.unhost(ctx, i, rt)
	}
	node := aws.ToString(i.PrivateDnsName)
	switch i.State.Name {
	case ec2types.InstanceStateNameRunning:
		return l.join(ctx, c, i, rt)
	case ec2types.InstanceStateNameShuttingDown, ec2types.InstanceStateNameTerminated, ec2types.InstanceStateNameStopping, ec2types.InstanceStateNameStopped:
		if !rt.owns(node, k.ID) || l.succeeded(i) {
			return 0, nil
		}
		// The cloud controller removes the nodes of instances that are gone.
		if err := rt.fleet.Remove(ctx, node, k.ID); err != nil {
			return 0, err
		}
		l.Addresses.Forget(k.ID)
	}
	return 0, nil
}

// succeeded tells whether a live instance of the cluster has the address, and with it
// the node name, that i had. The cluster cannot be asked: its answer may be older than the
// successor's node, after a restart there is none.
func (l *Lifecycle) succeeded(i *ec2svc.Instance) bool {
	return slices.ContainsFunc(ec2svc.Instances.List(l.Store, i.Scope), func(o *ec2svc.Instance) bool {
		return live(o) && aws.ToString(o.PrivateDnsName) == aws.ToString(i.PrivateDnsName) &&
			clusterOf(o) == clusterOf(i) && *o.InstanceId != *i.InstanceId
	})
}

// join registers the node unless its role is not mapped: then the kubelet gets
// 401s for ever on EKS, so look again now and then.
func (l *Lifecycle) join(ctx context.Context, c *ekssvc.Cluster, i *ec2svc.Instance, rt *runtime) (time.Duration, error) {
	group := tagOf(i, tagNodegroup)
	var ng *ekssvc.Nodegroup
	if group != "" {
		if ng = ekssvc.Nodegroups.Get(l.Store, c.Scope, ekssvc.ChildID(*c.Resource.Name, group)); ng == nil {
			return 0, nil
		}
		if !l.Nodes.MayJoin(ctx, c.ID, *ng.Resource.NodeRole) {
			return 5 * time.Second, nil
		}
	} else {
		return 0, nil // instances that no node group made join by their user data, which is not modelled
	}
	n, err := l.nodeOf(c, ng, i)
	if err != nil {
		return 0, err
	}
	if rt.hosted != nil {
		return 0, l.host(ctx, i, n, rt)
	}
	if err := rt.fleet.Join(ctx, n); err != nil {
		return 0, err
	}
	return 0, nil
}

// nodeOf is the kubelet that a managed node group's instance boots.
func (l *Lifecycle) nodeOf(c *ekssvc.Cluster, ng *ekssvc.Nodegroup, i *ec2svc.Instance) (dataplane.Node, error) {
	typ, ok := instancetypes.Lookup(string(i.InstanceType))
	if !ok {
		return dataplane.Node{}, fmt.Errorf("instance %s is of unknown type %s", *i.InstanceId, i.InstanceType)
	}
	address := i.PrivateIpAddress
	if ekssvc.IsIPv6(c) { // the only address that the node reports: nodeadm's --node-ip
		address = i.Ipv6Address
	}
	ip, err := netip.ParseAddr(aws.ToString(address))
	if err != nil {
		return dataplane.Node{}, fmt.Errorf("instance %s: %w", *i.InstanceId, err)
	}
	im, ok := images.Lookup(c.Scope.Region, aws.ToString(i.ImageId))
	if !ok { // a custom image: assume one of the cluster's version
		im, _ = images.EKSImage(c.Scope.Region, c.RunningVersion, images.AL2023, typ.GOARCH())
	}
	n := dataplane.Node{
		Name: *i.PrivateDnsName, InstanceID: *i.InstanceId, InstanceType: typ.Name, Region: c.Scope.Region,
		Zone: aws.ToString(i.Placement.AvailabilityZone), ZoneID: aws.ToString(i.Placement.AvailabilityZoneId),
		PrivateIP: ip, AMI: aws.ToString(i.ImageId), KubeletVersion: im.KubeletVersion, Architecture: typ.GOARCH(),
		VCPUs: typ.VCPUs, MemoryMiB: typ.MemoryMiB, MaxPods: l.maxPodsOf(ng, i, typ), Labels: nodegroupLabels(ng, i), Taints: kubernetesTaints(ng.Resource.Taints),
		DiskGiB: l.diskOf(i),
	}
	return n, nil
}

// diskOf is the size of an instance's largest volume: Bottlerocket keeps pods on
// its second one.
func (l *Lifecycle) diskOf(i *ec2svc.Instance) int {
	size := 0
	for _, m := range i.BlockDeviceMappings {
		if m.Ebs == nil {
			continue
		}
		if v := ec2svc.Volumes.Get(l.Store, i.Scope, aws.ToString(m.Ebs.VolumeId)); v != nil {
			size = max(size, int(aws.ToInt32(v.Size)))
		}
	}
	return size
}

func nodegroupLabels(ng *ekssvc.Nodegroup, i *ec2svc.Instance) map[string]string {
	out := map[string]string{
		"eks.amazonaws.com/nodegroup":       *ng.Resource.NodegroupName,
		"eks.amazonaws.com/nodegroup-image": aws.ToString(i.ImageId),
		"eks.amazonaws.com/capacityType":    string(ng.Resource.CapacityType),
	}
	// Only nodes of the user's own launch template say so; which version of it the
	// instance was made from, the version of EKS's copy does not tell.
	if lt := ng.Desired.LaunchTemplate; lt != nil {
		out["eks.amazonaws.com/sourceLaunchTemplateId"] = aws.ToString(lt.Id)
		out["eks.amazonaws.com/sourceLaunchTemplateVersion"] = aws.ToString(lt.Version)
	}
	for k, v := range ng.Resource.Labels {
		out[k] = v
	}
	return out
}

var taintEffects = map[ekstypes.TaintEffect]corev1.TaintEffect{
	ekstypes.TaintEffectNoSchedule:       corev1.TaintEffectNoSchedule,
	ekstypes.TaintEffectNoExecute:        corev1.TaintEffectNoExecute,
	ekstypes.TaintEffectPreferNoSchedule: corev1.TaintEffectPreferNoSchedule,
}

func kubernetesTaints(in []ekstypes.Taint) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range in {
		out = append(out, corev1.Taint{Key: aws.ToString(t.Key), Value: aws.ToString(t.Value), Effect: taintEffects[t.Effect]})
	}
	return out
}

// RetryAddresses lets pods that wait for an address on an instance try again.
func (l *Lifecycle) RetryAddresses(instanceID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rt := range l.runtimes {
		if i := ec2svc.Instances.Get(l.Store, rt.scope, instanceID); i != nil && clusterOf(i) == rt.name {
			rt.fleet.RetryAddresses(aws.ToString(i.PrivateDnsName))
			rt.cni.poolChanged(instanceID)
		}
	}
}
