package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
)

// Tags by which managed node groups know their instances, as EKS sets them.
const (
	tagCluster   = "eks:cluster-name"
	tagNodegroup = "eks:nodegroup-name"
)

// reconcileNodegroup does what the status asks for; ekssvc.NodegroupStates says where
// each leads.
func (l *Lifecycle) reconcileNodegroup(ctx context.Context, k key) (time.Duration, error) {
	ng := ekssvc.Nodegroups.Get(l.Store, k.Scope, k.ID)
	if ng == nil {
		return 0, nil
	}
	c := ekssvc.Clusters.Get(l.Store, k.Scope, *ng.Resource.ClusterName)
	if c == nil {
		return 0, nil
	}
	rt := l.runtimeOf(c.ID)
	if rt == nil {
		return 0, nil // the runtime's start enqueues the cluster's node groups
	}
	ctx, done := rt.during(ctx)
	defer done()
	switch ng.Resource.Status {
	case ekstypes.NodegroupStatusCreating, ekstypes.NodegroupStatusActive, ekstypes.NodegroupStatusDegraded, ekstypes.NodegroupStatusUpdating:
		return l.keepNodegroup(ctx, c, ng, rt)
	case ekstypes.NodegroupStatusDeleting:
		return l.deleteNodegroup(ctx, c, ng, rt)
	}
	return 0, nil
}

// nodegroupOf maps an instance to the node group that it belongs to.
func (l *Lifecycle) nodegroupOf(k key) []key {
	i := ec2svc.Instances.Get(l.Store, k.Scope, k.ID)
	if i == nil {
		return nil
	}
	group := tagOf(i, tagNodegroup)
	if group == "" {
		return nil
	}
	return []key{{k.Scope, ekssvc.ChildID(tagOf(i, tagCluster), group)}}
}

func tagOf(i *ec2svc.Instance, name string) string {
	for _, t := range i.Tags {
		if aws.ToString(t.Key) == name {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

func live(i *ec2svc.Instance) bool {
	return i.State != nil && (i.State.Name == ec2types.InstanceStateNamePending || i.State.Name == ec2types.InstanceStateNameRunning)
}

// editNodegroup changes a node group's record unless it is gone or was made again
// under its name. f answers false to leave it alone.
func (l *Lifecycle) editNodegroup(ctx context.Context, ng *ekssvc.Nodegroup, f func(tx *store.Tx, ng *ekssvc.Nodegroup) bool) error {
	id := ekssvc.ChildID(*ng.Resource.ClusterName, *ng.Resource.NodegroupName)
	err := l.Store.Update(ctx, func(tx *store.Tx) error {
		now := ekssvc.Nodegroups.Edit(tx, ng.Scope, id)
		if now == nil || now.ID != ng.ID || !f(tx, now) {
			return nil
		}
		ekssvc.Nodegroups.Put(tx, ng.Scope, id, now)
		return nil
	})
	if err != nil {
		return fmt.Errorf("node group %s: %w", id, err)
	}
	return nil
}

func (l *Lifecycle) keepNodegroup(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup, rt *runtime) (time.Duration, error) {
	if err := l.letNodesIn(ctx, c, ng, rt); err != nil {
		return 0, err
	}
	now, err := l.ensureRemoteAccess(ctx, c, ng)
	if ng = now; err != nil || ng == nil {
		return 0, err
	}
	now, err = l.ensureTemplate(ctx, c, ng, rt)
	if errors.Is(err, errNotMIME) {
		return 0, l.templateFailed(ctx, ng, err)
	}
	if ng = now; err != nil || ng == nil {
		return 0, err
	}
	if err := l.AutoScaling.EnsureManaged(ctx, ng.Scope, ng.AutoScalingGroupName(), *ng.Resource.ClusterName, *ng.Resource.NodegroupName, ng.ID); err != nil {
		return 0, err
	}
	if err := l.replaceStopped(ctx, ng); err != nil {
		return 0, err
	}
	members := l.members(ng, rt)
	desired := int(aws.ToInt32(ng.Resource.ScalingConfig.DesiredSize))
	p := makePlan(members, desired, surge(ng, desired), maxUnavailable(ng, desired))

	l.heedSuspensions(ng, &p)
	if issue := l.ipv6Issue(c, ng); issue != nil && p.Launch > 0 {
		return maxBackoff, l.startFailed(ctx, ng, *issue, ekstypes.ErrorCodeUnknown)
	}
	launchErr := l.launch(ctx, c, ng, members, p.Launch)
	again, err := l.retire(ctx, ng, rt, p.Drain, rolling(members))
	if errors.Is(err, errEviction) {
		return 0, l.rollFailed(ctx, ng, rt, p.Drain)
	}
	if err != nil {
		return 0, err
	}
	if launchErr != nil {
		return maxBackoff, l.launchFailed(ctx, ng, launchErr)
	}
	labelled, err := l.labelNodes(ctx, ng, rt)
	if err != nil {
		return 0, err
	}
	awaited := l.awaited(ng, members)
	if labelled && p.Launch == 0 && len(p.Drain) == 0 && len(awaited) == 0 {
		return l.nodegroupSettled(ctx, ng)
	}
	late, err := l.checkJoins(ctx, ng, rt, awaited)
	return soonest(again, late), err // or sooner, when the store's or the cluster's watch tells
}

// heedSuspensions takes out of a plan what users keep the Auto Scaling group from
// doing.
func (l *Lifecycle) heedSuspensions(ng *ekssvc.Nodegroup, p *plan) {
	if l.AutoScaling.Suspended(ng.Scope, ng.AutoScalingGroupName(), "Launch") {
		p.Launch = 0
	}
	if l.AutoScaling.Suspended(ng.Scope, ng.AutoScalingGroupName(), "Terminate") {
		p.Drain = nil
	}
}

// soonest is the shorter of two waits, of which 0 means none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// nodegroupSettled ends CREATING, UPDATING and DEGRADED.
func (l *Lifecycle) nodegroupSettled(ctx context.Context, ng *ekssvc.Nodegroup) (time.Duration, error) {
	if ng.Resource.Status == ekstypes.NodegroupStatusActive {
		return 0, nil
	}
	if left := l.nodegroupLeft(ng); left > 0 {
		return left, nil
	}
	return 0, l.editNodegroup(ctx, ng, func(tx *store.Tx, now *ekssvc.Nodegroup) bool {
		if now.Resource.Status == ekstypes.NodegroupStatusDeleting || now.Generation != ng.Generation {
			return false
		}
		if now.RollFailed == 0 {
			now.Applied()
		}
		now.Resource.Status = ekstypes.NodegroupStatusActive
		now.Resource.Health = &ekstypes.NodegroupHealth{Issues: []ekstypes.Issue{}}
		now.Resource.Resources = &ekstypes.NodegroupResources{AutoScalingGroups: []ekstypes.AutoScalingGroup{{Name: aws.String(now.AutoScalingGroupName())}}}
		if now.RemoteSecurityGroupID != "" {
			now.Resource.Resources.RemoteAccessSecurityGroup = aws.String(now.RemoteSecurityGroupID)
		}
		if now.UpdateID != "" {
			ekssvc.FinishUpdate(tx, now.Scope, *now.Resource.ClusterName, now.UpdateID)
			now.UpdateID = ""
		}
		return true
	})
}

// nodegroupLeft is how long the group's creation or update is still to be seen.
func (l *Lifecycle) nodegroupLeft(ng *ekssvc.Nodegroup) time.Duration {
	if ng.Resource.Status == ekstypes.NodegroupStatusCreating {
		return l.left(timing.NodegroupCreating, ng.Resource.CreatedAt)
	}
	u := ekssvc.Updates.Get(l.Store, ng.Scope, ekssvc.ChildID(*ng.Resource.ClusterName, ng.UpdateID))
	switch {
	case ng.UpdateID == "" || u == nil:
		return 0
	case u.Resource.Type == ekstypes.UpdateTypeVersionUpdate:
		return l.left(timing.NodegroupUpdatingNodes, u.Resource.CreatedAt)
	}
	return l.left(timing.NodegroupUpdating, u.Resource.CreatedAt)
}

// members are the group's live instances.
func (l *Lifecycle) members(ng *ekssvc.Nodegroup, rt *runtime) []member {
	var out []member
	for _, i := range ec2svc.Instances.List(l.Store, ng.Scope) {
		if !live(i) || !isMember(i, ng) {
			continue
		}
		node := rt.node(aws.ToString(i.PrivateDnsName))
		if !rt.owns(aws.ToString(i.PrivateDnsName), *i.InstanceId) {
			node = nil // that of an instance which had the address before
		}
		current := i.LaunchTemplateID == ng.ManagedLaunchTemplateID && i.LaunchTemplateVersion == ng.ManagedLaunchTemplateVersion
		gaveUp := ng.RollFailed != 0
		out = append(out, member{
			ID: *i.InstanceId, Subnet: aws.ToString(i.SubnetId), Launched: aws.ToTime(i.LaunchTime),
			Ready: node != nil && takesPods(node), Draining: drains(node, ng.RollFailed) || slices.Contains(ng.Leaving, *i.InstanceId),
			Outdated: !current && !gaveUp, Surge: current && gaveUp,
		})
	}
	return out
}

// isMember tells whether an instance, which may have ended, is one of the group's.
func isMember(i *ec2svc.Instance, ng *ekssvc.Nodegroup) bool {
	return tagOf(i, tagNodegroup) == *ng.Resource.NodegroupName && tagOf(i, tagCluster) == *ng.Resource.ClusterName
}

// shuttingDown tells whether instances of the group still hold addresses.
func (l *Lifecycle) shuttingDown(ng *ekssvc.Nodegroup) bool {
	for _, i := range ec2svc.Instances.List(l.Store, ng.Scope) {
		if isMember(i, ng) && i.State != nil && i.State.Name != ec2types.InstanceStateNameTerminated {
			return true
		}
	}
	return false
}

// nodesAgain is how soon the end of a group's nodes is looked at again, unless the
// cluster's watch tells.
const nodesAgain = time.Second

// nodesGone tells whether nothing is left of the nodes of a group whose instances have
// ended: neither Nodes, which the cluster's deletion would pull from under those who
// remove them, nor branch interfaces of their pods, which would keep a user from
// deleting the subnets.
func (l *Lifecycle) nodesGone(ctx context.Context, ng *ekssvc.Nodegroup, rt *runtime) (bool, error) {
	for _, i := range ec2svc.Instances.List(l.Store, ng.Scope) {
		if !isMember(i, ng) {
			continue
		}
		n := rt.node(aws.ToString(i.PrivateDnsName))
		if n != nil && strings.HasSuffix(n.Spec.ProviderID, "/"+*i.InstanceId) && !l.succeeded(i) {
			return false, nil
		}
		if err := l.removeBranches(ctx, ng.Scope, *i.InstanceId); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (l *Lifecycle) deleteNodegroup(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup, rt *runtime) (time.Duration, error) {
	if err := l.terminateStopped(ctx, ng); err != nil {
		return 0, err
	}
	members := l.members(ng, rt)
	if len(members) > 0 {
		ids := make([]string, len(members))
		for i, m := range members {
			ids[i] = m.ID
		}
		// Each termination changes an instance, which wakes this up.
		return l.retire(ctx, ng, rt, ids, false)
	}
	if l.shuttingDown(ng) {
		return 0, nil // so does the last one's termination
	}
	if !rt.nodes.HasSynced() {
		return nodesAgain, nil
	}
	if gone, err := l.nodesGone(ctx, ng, rt); err != nil || !gone {
		return nodesAgain, err
	}
	if left := l.left(timing.NodegroupDeleting, ng.Resource.ModifiedAt); left > 0 {
		return left, nil
	}
	if err := l.AutoScaling.RemoveManaged(ctx, ng.Scope, ng.AutoScalingGroupName()); err != nil {
		return 0, err
	}
	if err := l.removeTemplate(ctx, ng); err != nil {
		return 0, err
	}
	if err := l.removeRemoteAccess(ctx, c, ng); err != nil {
		return 0, err
	}
	if err := l.keepNodesOut(ctx, c, ng, rt); err != nil {
		return 0, err
	}
	return 0, l.Store.Update(ctx, func(tx *store.Tx) error {
		id := ekssvc.ChildID(*ng.Resource.ClusterName, *ng.Resource.NodegroupName)
		if now := ekssvc.Nodegroups.Get(tx, ng.Scope, id); now == nil || now.ID != ng.ID {
			return nil
		}
		ekssvc.Nodegroups.Delete(tx, ng.Scope, id)
		return nil
	})
}
