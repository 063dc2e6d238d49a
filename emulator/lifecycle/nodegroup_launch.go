package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"

	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// launch starts n instances, spread over the group's subnets. A subnet without
// free addresses is passed over as long as another has some: then only a failed
// activity of the Auto Scaling group tells of it.
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
			if failed := l.AutoScaling.LaunchFailed(ctx, ng.Scope, ng.AutoScalingGroupName(), subnet, err); failed != nil {
				return failed
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
		TagSpecifications: tagged(ec2types.ResourceTypeInstance, l.instanceTags(c, ng)),
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
	return len(out.Instances), nil
}

func (l *Lifecycle) instanceTags(c *ekssvc.Cluster, ng *ekssvc.Nodegroup) map[string]string {
	name := *c.Resource.Name
	tags := l.AutoScaling.LaunchTags(ng.Scope, ng.AutoScalingGroupName())
	maps.Copy(tags, map[string]string{ // by these the lifecycle knows its own
		tagCluster: name, tagNodegroup: *ng.Resource.NodegroupName, "aws:eks:cluster-name": name,
		"kubernetes.io/cluster/" + name: "owned", "k8s.io/cluster-autoscaler/enabled": "true",
		"k8s.io/cluster-autoscaler/" + name: "owned", "aws:autoscaling:groupName": ng.AutoScalingGroupName(),
		"aws:ec2launchtemplate:id": ng.ManagedLaunchTemplateID, "aws:ec2launchtemplate:version": ng.ManagedLaunchTemplateVersion,
	})
	return tags
}

// launchFailed shows in EKS's words why instances do not start. What EC2 does not
// refuse is the emulator's own trouble, to be tried again.
func (l *Lifecycle) launchFailed(ctx context.Context, ng *ekssvc.Nodegroup, cause error) error {
	var refused smithy.APIError
	if !errors.As(cause, &refused) {
		return fmt.Errorf("launch instances: %w", cause)
	}
	l.Log.Warn("instances do not start", "cluster", *ng.Resource.ClusterName, "nodegroup", *ng.Resource.NodegroupName, "error", cause)
	issue, code := launchIssue(ng, refused)
	return l.startFailed(ctx, ng, issue, code)
}

// templateFailed shows that nothing can be launched from the user's template.
func (l *Lifecycle) templateFailed(ctx context.Context, ng *ekssvc.Nodegroup, cause error) error {
	return l.startFailed(ctx, ng, ekstypes.Issue{
		Code: ekstypes.NodegroupIssueCodeEc2LaunchTemplateInvalidConfiguration, Message: aws.String(cause.Error()),
		ResourceIds: []string{aws.ToString(ng.Desired.LaunchTemplate.Id)},
	}, ekstypes.ErrorCodeUnknown)
}

// startFailed shows that nothing more is launched. What was tried for an earlier wish says
// nothing about the present one, which is looked at next.
func (l *Lifecycle) startFailed(ctx context.Context, ng *ekssvc.Nodegroup, issue ekstypes.Issue, code ekstypes.ErrorCode) error {
	return l.editNodegroup(ctx, ng, func(tx *store.Tx, now *ekssvc.Nodegroup) bool {
		if now.Generation != ng.Generation {
			return false
		}
		status := ekstypes.NodegroupStatusDegraded
		switch now.Resource.Status {
		case ekstypes.NodegroupStatusDeleting, ekstypes.NodegroupStatusDegraded, ekstypes.NodegroupStatusCreateFailed:
			return false
		case ekstypes.NodegroupStatusCreating:
			status = ekstypes.NodegroupStatusCreateFailed
		case ekstypes.NodegroupStatusUpdating: // the next update may be the remedy
			failUpdate(tx, now, ekstypes.ErrorDetail{ErrorCode: code, ErrorMessage: issue.Message, ResourceIds: issue.ResourceIds})
		}
		now.Resource.Status = status
		now.Resource.Health = &ekstypes.NodegroupHealth{Issues: []ekstypes.Issue{issue}}
		return true
	})
}

func launchIssue(ng *ekssvc.Nodegroup, refused smithy.APIError) (ekstypes.Issue, ekstypes.ErrorCode) {
	if isCode(refused, "InsufficientFreeAddressesInSubnet") {
		return ekstypes.Issue{
			Code: ekstypes.NodegroupIssueCodeInsufficientFreeAddresses, ResourceIds: ng.Resource.Subnets,
			Message: aws.String("Amazon AutoScaling was unable to launch instances because there are not enough free addresses in the subnet associated with your AutoScaling group(s)."),
		}, ekstypes.ErrorCodeInsufficientFreeAddresses
	}
	market := "On-Demand"
	if ng.Resource.CapacityType == ekstypes.CapacityTypesSpot {
		market = "Spot"
	}
	return ekstypes.Issue{
		Code: ekstypes.NodegroupIssueCodeAsgInstanceLaunchFailures, ResourceIds: []string{ng.AutoScalingGroupName()},
		Message: aws.String("Could not launch " + market + " Instances. " + refused.ErrorCode() + " - " + refused.ErrorMessage() + " Launching EC2 instance failed."),
	}, ekstypes.ErrorCodeUnknown
}

// replaceStopped terminates members that somebody stopped, or that shut themselves down:
// to the Auto Scaling group's health check they have failed. What stands in for them is
// launched already.
func (l *Lifecycle) replaceStopped(ctx context.Context, ng *ekssvc.Nodegroup) error {
	for _, process := range []string{"HealthCheck", "ReplaceUnhealthy", "Terminate"} {
		if l.AutoScaling.Suspended(ng.Scope, ng.AutoScalingGroupName(), process) {
			return nil
		}
	}
	return l.terminateStopped(ctx, ng)
}

func (l *Lifecycle) terminateStopped(ctx context.Context, ng *ekssvc.Nodegroup) error {
	for _, i := range ec2svc.Instances.List(l.Store, ng.Scope) {
		if i.State == nil || i.State.Name != ec2types.InstanceStateNameStopped || tagOf(i, tagNodegroup) != *ng.Resource.NodegroupName || tagOf(i, tagCluster) != *ng.Resource.ClusterName {
			continue
		}
		if _, err := l.EC2.TerminateInstances(as(ctx, ng.Scope), &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}}); err != nil {
			return fmt.Errorf("terminate %s: %w", *i.InstanceId, err)
		}
	}
	return nil
}
