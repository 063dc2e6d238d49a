package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Tags by which managed node groups know their instances, as EKS sets them.
const (
	tagCluster   = "eks:cluster-name"
	tagNodegroup = "eks:nodegroup-name"
)

// A node group's states and what ends each:
//
//	CREATING  every desired node Ready -> ACTIVE; no node can start -> CREATE_FAILED
//	ACTIVE    a handler's update -> UPDATING, or deletion -> DELETING; nodes cannot start -> DEGRADED
//	UPDATING  nodes as desired -> ACTIVE
//	DEGRADED  nodes as desired again -> ACTIVE
//	DELETING  no instance left -> no record
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
	ng, err := l.ensureTemplate(ctx, c, ng)
	if err != nil || ng == nil {
		return 0, err
	}
	members := l.members(ng, rt)
	desired := int(aws.ToInt32(ng.Resource.ScalingConfig.DesiredSize))
	mu := maxUnavailable(ng, desired)
	p := makePlan(members, desired, mu, mu)

	launchErr := l.launch(ctx, c, ng, members, p.Launch)
	drained, err := l.retire(ctx, ng, rt, p.Drain, rolling(members))
	if errors.Is(err, errEviction) {
		return 0, l.rollFailed(ctx, ng, rt, p.Drain)
	}
	if err != nil {
		return 0, err
	}
	if launchErr != nil {
		return maxBackoff, l.launchFailed(ctx, ng, launchErr)
	}
	settled := p.Launch == 0 && len(p.Drain) == 0 && !slices.ContainsFunc(members, func(m member) bool { return !m.Ready })
	if settled {
		if settled, err = l.labelNodes(ctx, ng, rt); err != nil {
			return 0, err
		}
	}
	if !settled {
		if drained {
			return time.Second, nil
		}
		return 0, nil // the store's or the cluster's watch will tell
	}
	return l.nodegroupSettled(ctx, ng)
}

// nodegroupSettled ends CREATING, UPDATING and DEGRADED.
func (l *Lifecycle) nodegroupSettled(ctx context.Context, ng *ekssvc.Nodegroup) (time.Duration, error) {
	if ng.Resource.Status == ekstypes.NodegroupStatusActive {
		return 0, nil
	}
	if ng.UpdateID != "" {
		u := ekssvc.Updates.Get(l.Store, ng.Scope, ekssvc.ChildID(*ng.Resource.ClusterName, ng.UpdateID))
		if u != nil {
			if left := minVisible - l.Clock.Since(aws.ToTime(u.Resource.CreatedAt)); left > 0 {
				return left, nil
			}
		}
	}
	return 0, l.editNodegroup(ctx, ng, func(tx *store.Tx, now *ekssvc.Nodegroup) bool {
		if now.Resource.Status == ekstypes.NodegroupStatusDeleting || now.Generation != ng.Generation {
			return false
		}
		now.Applied()
		now.Resource.Status = ekstypes.NodegroupStatusActive
		now.Resource.Health = &ekstypes.NodegroupHealth{Issues: []ekstypes.Issue{}}
		now.Resource.Resources = &ekstypes.NodegroupResources{AutoScalingGroups: []ekstypes.AutoScalingGroup{{Name: aws.String(now.AutoScalingGroupName())}}}
		if now.UpdateID != "" {
			ekssvc.FinishUpdate(tx, now.Scope, *now.Resource.ClusterName, now.UpdateID)
			now.UpdateID = ""
		}
		return true
	})
}

// members are the group's live instances.
func (l *Lifecycle) members(ng *ekssvc.Nodegroup, rt *runtime) []member {
	var out []member
	for _, i := range ec2svc.Instances.List(l.Store, ng.Scope) {
		if !live(i) || tagOf(i, tagNodegroup) != *ng.Resource.NodegroupName || tagOf(i, tagCluster) != *ng.Resource.ClusterName {
			continue
		}
		ready, draining := rt.nodeState(aws.ToString(i.PrivateDnsName))
		out = append(out, member{
			ID: *i.InstanceId, Subnet: aws.ToString(i.SubnetId), Launched: aws.ToTime(i.LaunchTime), Ready: ready, Draining: draining,
			Outdated: ng.RollFailed != ng.Generation &&
				(i.LaunchTemplateID != ng.ManagedLaunchTemplateID || i.LaunchTemplateVersion != ng.ManagedLaunchTemplateVersion),
		})
	}
	return out
}

// shuttingDown tells whether instances of the group still hold addresses.
func (l *Lifecycle) shuttingDown(ng *ekssvc.Nodegroup) bool {
	for _, i := range ec2svc.Instances.List(l.Store, ng.Scope) {
		if tagOf(i, tagNodegroup) == *ng.Resource.NodegroupName && tagOf(i, tagCluster) == *ng.Resource.ClusterName &&
			i.State != nil && i.State.Name != ec2types.InstanceStateNameTerminated {
			return true
		}
	}
	return false
}

func maxUnavailable(ng *ekssvc.Nodegroup, desired int) int {
	u := ng.Resource.UpdateConfig
	switch {
	case u == nil:
		return 1
	case u.MaxUnavailable != nil:
		return int(*u.MaxUnavailable)
	case u.MaxUnavailablePercentage != nil:
		return max(1, desired*int(*u.MaxUnavailablePercentage)/100)
	}
	return 1
}

// launch starts n instances, spread over the group's subnets. A subnet without
// free addresses is passed over as long as another has some.
func (l *Lifecycle) launch(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup, members []member, n int) error {
	ctx = as(ctx, ng.Scope)
	subnets := slices.Clone(ng.Resource.Subnets)
	for n > 0 {
		var failure error
		for subnet, count := range spread(n, subnets, members) {
			got, err := l.launchIn(ctx, c, ng, subnet, count)
			n -= got
			for range got {
				members = append(members, member{Subnet: subnet})
			}
			if err == nil {
				continue
			}
			failure = err
			subnets = slices.DeleteFunc(subnets, func(s string) bool { return s == subnet })
		}
		if failure != nil && (len(subnets) == 0 || !isCode(failure, "InsufficientFreeAddressesInSubnet")) {
			return failure
		}
	}
	return nil
}

func (l *Lifecycle) launchIn(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup, subnet string, count int) (int, error) {
	in := &ec2.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(int32(count)), SubnetId: &subnet,
		LaunchTemplate:    &ec2types.LaunchTemplateSpecification{LaunchTemplateId: &ng.ManagedLaunchTemplateID, Version: &ng.ManagedLaunchTemplateVersion},
		TagSpecifications: tagged(ec2types.ResourceTypeInstance, instanceTags(c, ng)),
	}
	if len(ng.Resource.InstanceTypes) > 0 {
		in.InstanceType = ec2types.InstanceType(ng.Resource.InstanceTypes[0])
	}
	if ng.Resource.CapacityType == ekstypes.CapacityTypesSpot {
		in.InstanceMarketOptions = &ec2types.InstanceMarketOptionsRequest{MarketType: ec2types.MarketTypeSpot}
	}
	out, err := l.EC2.RunInstances(ctx, in)
	if err != nil {
		return 0, err
	}
	if got := len(out.Instances); got < count {
		return got, fmt.Errorf("launched %d of %d instances in %s", got, count, subnet)
	}
	return count, nil
}

func instanceTags(c *ekssvc.Cluster, ng *ekssvc.Nodegroup) map[string]string {
	name := *c.Resource.Name
	return map[string]string{
		tagCluster: name, tagNodegroup: *ng.Resource.NodegroupName, "aws:eks:cluster-name": name,
		"kubernetes.io/cluster/" + name: "owned", "k8s.io/cluster-autoscaler/enabled": "true",
		"k8s.io/cluster-autoscaler/" + name: "owned", "aws:autoscaling:groupName": ng.AutoScalingGroupName(),
		"aws:ec2launchtemplate:id": ng.ManagedLaunchTemplateID, "aws:ec2launchtemplate:version": ng.ManagedLaunchTemplateVersion,
	}
}

// launchFailed shows in EKS's words why instances do not start.
func (l *Lifecycle) launchFailed(ctx context.Context, ng *ekssvc.Nodegroup, cause error) error {
	l.Log.Warn("instances do not start", "cluster", *ng.Resource.ClusterName, "nodegroup", *ng.Resource.NodegroupName, "error", cause)
	issue := ekstypes.Issue{
		Code: ekstypes.NodegroupIssueCodeAsgInstanceLaunchFailures, ResourceIds: []string{ng.AutoScalingGroupName()},
		Message: aws.String("Could not launch On-Demand Instances. " + launchMessage(cause)),
	}
	if isCode(cause, "InsufficientFreeAddressesInSubnet") {
		issue.Code = ekstypes.NodegroupIssueCodeInsufficientFreeAddresses
		issue.ResourceIds = ng.Resource.Subnets
		issue.Message = aws.String("Amazon AutoScaling was unable to launch instances because there are not enough free addresses in the subnet associated with your AutoScaling group(s).")
	}
	return l.editNodegroup(ctx, ng, func(_ *store.Tx, now *ekssvc.Nodegroup) bool {
		status := ekstypes.NodegroupStatusDegraded
		if now.Resource.Status == ekstypes.NodegroupStatusCreating {
			status = ekstypes.NodegroupStatusCreateFailed
		}
		if now.Resource.Status == ekstypes.NodegroupStatusDeleting || now.Resource.Status == status {
			return false
		}
		now.Resource.Status = status
		now.Resource.Health = &ekstypes.NodegroupHealth{Issues: []ekstypes.Issue{issue}}
		return true
	})
}

func launchMessage(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 && isCode(err) {
		s = s[i+2:]
	}
	return s + " Launching EC2 instance failed."
}

// errEviction ends a roll: a node's pods did not go in time.
var errEviction = errors.New("pods could not be evicted")

// retire drains instances and terminates those that are empty or have had their
// time. It tells whether some still drain. A roll that is not forced ends with
// errEviction instead of terminating a node that is not empty.
func (l *Lifecycle) retire(ctx context.Context, ng *ekssvc.Nodegroup, rt *runtime, ids []string, rolling bool) (waiting bool, err error) {
	patience := scaleInPatience
	if rolling && !ng.Force {
		patience = drainTimeout
	}
	for _, id := range ids {
		i := ec2svc.Instances.Get(l.Store, ng.Scope, id)
		if i == nil {
			continue
		}
		left, since, err := l.drain(ctx, rt, aws.ToString(i.PrivateDnsName))
		if err != nil {
			return true, err
		}
		if left > 0 && l.Clock.Since(since) < patience {
			waiting = true
			continue
		}
		if left > 0 && rolling && !ng.Force {
			return false, errEviction
		}
		if _, err := l.EC2.TerminateInstances(as(ctx, ng.Scope), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
			return true, fmt.Errorf("terminate %s: %w", id, err)
		}
	}
	return waiting, nil
}

func rolling(members []member) bool {
	return slices.ContainsFunc(members, func(m member) bool { return m.Outdated })
}

// rollFailed ends a version update whose nodes could not be drained. The group
// stays as it is, partly rolled, until the next update.
func (l *Lifecycle) rollFailed(ctx context.Context, ng *ekssvc.Nodegroup, rt *runtime, ids []string) error {
	for _, id := range ids {
		if i := ec2svc.Instances.Get(l.Store, ng.Scope, id); i != nil {
			if err := rt.uncordon(ctx, aws.ToString(i.PrivateDnsName)); err != nil {
				return err
			}
		}
	}
	name := *ng.Resource.NodegroupName
	return l.editNodegroup(ctx, ng, func(tx *store.Tx, now *ekssvc.Nodegroup) bool {
		if now.Generation != ng.Generation || now.UpdateID == "" {
			return false
		}
		ekssvc.FinishUpdate(tx, now.Scope, *now.Resource.ClusterName, now.UpdateID, ekstypes.ErrorDetail{
			ErrorCode: ekstypes.ErrorCodePodEvictionFailure, ResourceIds: ids,
			ErrorMessage: aws.String("Reached max retries while trying to evict pods from nodes in node group " + name),
		})
		now.UpdateID, now.RollFailed = "", now.Generation
		now.Resource.Status = ekstypes.NodegroupStatusActive
		return true
	})
}

func (l *Lifecycle) deleteNodegroup(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup, rt *runtime) (time.Duration, error) {
	members := l.members(ng, rt)
	if len(members) > 0 {
		ids := make([]string, len(members))
		for i, m := range members {
			ids[i] = m.ID
		}
		waiting, err := l.retire(ctx, ng, rt, ids, false)
		if waiting {
			return time.Second, err
		}
		return 0, err // each termination changes an instance, which wakes this up
	}
	if l.shuttingDown(ng) {
		return 0, nil // so does the last one's termination
	}
	if err := l.removeTemplate(ctx, ng); err != nil {
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
