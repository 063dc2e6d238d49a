package autoscaling

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// DescribeAutoScalingGroups implements the operation.
func (s *Service) DescribeAutoScalingGroups(ctx context.Context, in *autoscaling.DescribeAutoScalingGroupsInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
	match, err := groupFilters(in.Filters)
	if err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	out := &autoscaling.DescribeAutoScalingGroupsOutput{AutoScalingGroups: []types.AutoScalingGroup{}}
	s.store.View(func(r store.Reader) {
		var all []*group
		for _, g := range s.list(r, sc) {
			if (len(in.AutoScalingGroupNames) == 0 || slices.Contains(in.AutoScalingGroupNames, g.name())) && match(g) {
				all = append(all, g)
			}
		}
		if all, out.NextToken, err = page(all, in.NextToken, in.MaxRecords, 50, 100); err != nil {
			return
		}
		members := s.Fleet.Grouped(r, sc)
		for _, g := range all {
			out.AutoScalingGroups = append(out.AutoScalingGroups, g.describe(members[g.name()]))
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// groupFilters compiles tag filters: all of them must hold, a value of each.
func groupFilters(filters []types.Filter) (func(*group) bool, error) {
	for _, f := range filters {
		name := aws.ToString(f.Name)
		if name != "tag-key" && name != "tag-value" && !strings.HasPrefix(name, "tag:") {
			return nil, validation("Filter type %s is not correct. Allowed Filter types are: tag-key, tag-value, tag:<key>", name)
		}
	}
	return func(g *group) bool {
		for _, f := range filters {
			name := aws.ToString(f.Name)
			ok := slices.ContainsFunc(g.Tags, func(t types.TagDescription) bool {
				switch key := aws.ToString(t.Key); name {
				case "tag-key":
					return slices.Contains(f.Values, key)
				case "tag-value":
					return slices.Contains(f.Values, aws.ToString(t.Value))
				default:
					return name == "tag:"+key && slices.Contains(f.Values, aws.ToString(t.Value))
				}
			})
			if !ok {
				return false
			}
		}
		return true
	}, nil
}

// describe completes the resource with what is computed.
func (g *group) describe(members []ec2types.Instance) types.AutoScalingGroup {
	out := g.Resource
	out.AutoScalingGroupARN = aws.String(g.arn())
	out.VPCZoneIdentifier = aws.String(strings.Join(g.Subnets, ","))
	out.Tags = nonNil(g.Tags)
	out.Instances, out.SuspendedProcesses = []types.Instance{}, []types.SuspendedProcess{}
	for _, i := range g.members(members) {
		out.Instances = append(out.Instances, g.instance(i))
	}
	for _, p := range sorted(g.Suspended) {
		out.SuspendedProcesses = append(out.SuspendedProcesses, types.SuspendedProcess{ProcessName: aws.String(p), SuspensionReason: aws.String(g.Suspended[p])})
	}
	out.LoadBalancerNames, out.TargetGroupARNs = nonNil(out.LoadBalancerNames), nonNil(out.TargetGroupARNs)
	out.EnabledMetrics, out.TrafficSources = nonNil(out.EnabledMetrics), nonNil(out.TrafficSources)
	if g.Deleting {
		out.Status = aws.String("Delete in progress")
	}
	return out
}

// members are the instances that the group has: not those that have ended.
func (g *group) members(all []ec2types.Instance) []ec2types.Instance {
	var out []ec2types.Instance
	for _, i := range all {
		if i.State != nil && i.State.Name != ec2types.InstanceStateNameTerminated && !slices.Contains(g.Detached, *i.InstanceId) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b ec2types.Instance) int { return compare(*a.InstanceId, *b.InstanceId) })
	return out
}

// lifecycleState is the state of an instance in its group.
func (g *group) lifecycleState(i ec2types.Instance) types.LifecycleState {
	if slices.Contains(g.Leaving, *i.InstanceId) {
		return types.LifecycleStateTerminating
	}
	switch i.State.Name {
	case ec2types.InstanceStateNamePending:
		return types.LifecycleStatePending
	case ec2types.InstanceStateNameRunning, ec2types.InstanceStateNameStopping, ec2types.InstanceStateNameStopped:
		return types.LifecycleStateInService
	}
	return types.LifecycleStateTerminating
}

func (g *group) healthy(i ec2types.Instance) bool {
	switch i.State.Name {
	case ec2types.InstanceStateNamePending, ec2types.InstanceStateNameRunning:
		return !slices.Contains(g.Unhealthy, *i.InstanceId)
	}
	return false
}

func (g *group) health(i ec2types.Instance) *string {
	if g.healthy(i) || i.State.Name == ec2types.InstanceStateNameShuttingDown && !slices.Contains(g.Unhealthy, *i.InstanceId) {
		return aws.String("Healthy")
	}
	return aws.String("Unhealthy")
}

func (g *group) instance(i ec2types.Instance) types.Instance {
	out := types.Instance{
		InstanceId: i.InstanceId, InstanceType: aws.String(string(i.InstanceType)), LifecycleState: g.lifecycleState(i), HealthStatus: g.health(i),
		ProtectedFromScaleIn: aws.Bool(slices.Contains(g.Protected, *i.InstanceId)), LaunchConfigurationName: g.Resource.LaunchConfigurationName,
	}
	if i.Placement != nil {
		out.AvailabilityZone, out.AvailabilityZoneId = i.Placement.AvailabilityZone, i.Placement.AvailabilityZoneId
	}
	if id := tagOf(i, "aws:ec2launchtemplate:id"); id != "" {
		out.LaunchConfigurationName = nil
		out.LaunchTemplate = &types.LaunchTemplateSpecification{LaunchTemplateId: &id, Version: aws.String(tagOf(i, "aws:ec2launchtemplate:version"))}
		if t := g.template(); t != nil {
			out.LaunchTemplate.LaunchTemplateName = t.LaunchTemplateName
		}
	}
	return out
}

// template is the launch template that the group launches from, if it has one.
func (g *group) template() *types.LaunchTemplateSpecification {
	if p := g.Resource.MixedInstancesPolicy; p != nil && p.LaunchTemplate != nil {
		return p.LaunchTemplate.LaunchTemplateSpecification
	}
	return g.Resource.LaunchTemplate
}

func tagOf(i ec2types.Instance, key string) string {
	for _, t := range i.Tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// DescribeAutoScalingInstances implements the operation.
func (s *Service) DescribeAutoScalingInstances(ctx context.Context, in *autoscaling.DescribeAutoScalingInstancesInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingInstancesOutput, error) {
	if len(in.InstanceIds) > 50 {
		return nil, validation("1 validation error detected: Value '%v' at 'instanceIds' failed to satisfy constraint: Member must have length less than or equal to 50", in.InstanceIds)
	}
	sc := awsid.CallerFrom(ctx).Scope
	all := []types.AutoScalingInstanceDetails{}
	s.store.View(func(r store.Reader) {
		members := s.Fleet.Grouped(r, sc)
		for _, g := range s.list(r, sc) {
			for _, i := range g.members(members[g.name()]) {
				if len(in.InstanceIds) > 0 && !slices.Contains(in.InstanceIds, *i.InstanceId) {
					continue
				}
				v := g.instance(i)
				all = append(all, types.AutoScalingInstanceDetails{
					AutoScalingGroupName: aws.String(g.name()), AvailabilityZone: v.AvailabilityZone, AvailabilityZoneId: v.AvailabilityZoneId,
					HealthStatus: aws.String(strings.ToUpper(*v.HealthStatus)), InstanceId: v.InstanceId, InstanceType: v.InstanceType,
					LaunchConfigurationName: v.LaunchConfigurationName, LaunchTemplate: v.LaunchTemplate, LifecycleState: aws.String(string(v.LifecycleState)),
					ProtectedFromScaleIn: v.ProtectedFromScaleIn,
				})
			}
		}
	})
	all, next, err := page(all, in.NextToken, in.MaxRecords, 50, 50)
	if err != nil {
		return nil, err
	}
	return &autoscaling.DescribeAutoScalingInstancesOutput{AutoScalingInstances: all, NextToken: next}, nil
}

// DescribeAccountLimits implements the operation with AWS's default quotas.
func (s *Service) DescribeAccountLimits(ctx context.Context, _ *autoscaling.DescribeAccountLimitsInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeAccountLimitsOutput, error) {
	sc := awsid.CallerFrom(ctx).Scope
	return &autoscaling.DescribeAccountLimitsOutput{
		MaxNumberOfAutoScalingGroups: aws.Int32(maxGroups), NumberOfAutoScalingGroups: aws.Int32(int32(len(s.list(s.store, sc)))),
		MaxNumberOfLaunchConfigurations: aws.Int32(maxConfigurations), NumberOfLaunchConfigurations: aws.Int32(int32(len(configurations.List(s.store, sc)))),
	}, nil
}

// DescribeTerminationPolicyTypes implements the operation.
func (s *Service) DescribeTerminationPolicyTypes(context.Context, *autoscaling.DescribeTerminationPolicyTypesInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeTerminationPolicyTypesOutput, error) {
	return &autoscaling.DescribeTerminationPolicyTypesOutput{TerminationPolicyTypes: slices.Clone(policies)}, nil
}

// DescribeScalingProcessTypes implements the operation.
func (s *Service) DescribeScalingProcessTypes(context.Context, *autoscaling.DescribeScalingProcessTypesInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeScalingProcessTypesOutput, error) {
	out := &autoscaling.DescribeScalingProcessTypesOutput{}
	for _, p := range processes {
		out.Processes = append(out.Processes, types.ProcessType{ProcessName: aws.String(p)})
	}
	return out, nil
}
