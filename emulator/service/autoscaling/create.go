package autoscaling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// The quotas of an account that never asked for more.
const (
	maxGroups         = 500
	maxConfigurations = 200
)

var policies = []string{
	"AllocationStrategy", "ClosestToNextInstanceHour", "Default", "NewestInstance", "OldestInstance", "OldestLaunchConfiguration", "OldestLaunchTemplate",
}

// CreateAutoScalingGroup implements the operation. Run launches the instances.
func (s *Service) CreateAutoScalingGroup(ctx context.Context, in *autoscaling.CreateAutoScalingGroupInput, _ ...func(*autoscaling.Options)) (*autoscaling.CreateAutoScalingGroupOutput, error) {
	if err := checkCreate(in); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	g := s.newGroup(sc, in)
	if err := s.setPlace(ctx, g, in.VPCZoneIdentifier, in.AvailabilityZones); err != nil {
		return nil, err
	}
	if err := g.merge(in.Tags); err != nil {
		return nil, err
	}
	if err := s.resolveTemplates(ctx, g); err != nil {
		return nil, err
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	g.Why = fmt.Sprintf("a user request created an AutoScalingGroup changing the desired capacity from 0 to %d.", g.desired())
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if groups.Get(tx, sc, g.name()) != nil {
			return exists("AutoScalingGroup by this name already exists - A group with the name %s already exists", g.name())
		}
		if len(groups.List(tx, sc)) >= maxGroups {
			return &types.LimitExceededFault{Message: aws.String("AutoScalingGroup limit exceeded: you may only have 500 groups.")}
		}
		if lc := g.Resource.LaunchConfigurationName; lc != nil && configurations.Get(tx, sc, *lc) == nil {
			return noConfiguration(*lc)
		}
		for _, h := range in.LifecycleHookSpecificationList {
			if err := putHook(tx, sc, types.LifecycleHook{
				AutoScalingGroupName: in.AutoScalingGroupName, LifecycleHookName: h.LifecycleHookName, LifecycleTransition: h.LifecycleTransition, DefaultResult: h.DefaultResult,
				HeartbeatTimeout: h.HeartbeatTimeout, NotificationMetadata: h.NotificationMetadata, NotificationTargetARN: h.NotificationTargetARN, RoleARN: h.RoleARN,
			}); err != nil {
				return err
			}
		}
		groups.Put(tx, sc, g.name(), g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.CreateAutoScalingGroupOutput{}, nil
}

func checkCreate(in *autoscaling.CreateAutoScalingGroupInput) error {
	if err := required("autoScalingGroupName", in.AutoScalingGroupName); err != nil {
		return err
	}
	if len(*in.AutoScalingGroupName) > 255 {
		return validation("1 validation error detected: Value '%s' at 'autoScalingGroupName' failed to satisfy constraint: Member must have length less than or equal to 255", *in.AutoScalingGroupName)
	}
	for _, m := range []struct {
		name string
		v    *int32
	}{{"minSize", in.MinSize}, {"maxSize", in.MaxSize}} {
		if m.v == nil {
			return required(m.name, nil)
		}
	}
	sources := 0
	for _, given := range []bool{in.LaunchConfigurationName != nil, in.LaunchTemplate != nil, in.MixedInstancesPolicy != nil, in.InstanceId != nil} {
		if given {
			sources++
		}
	}
	if sources != 1 || in.InstanceId != nil {
		return validation("Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.")
	}
	return nil
}

// newGroup is the group that a request asks for, with AWS's defaults.
func (s *Service) newGroup(sc awsid.Scope, in *autoscaling.CreateAutoScalingGroupInput) *group {
	now := s.now()
	g := &group{Scope: sc, ID: awsid.NewUUID()}
	g.Resource = types.AutoScalingGroup{
		AutoScalingGroupName: in.AutoScalingGroupName, CreatedTime: &now, MinSize: in.MinSize, MaxSize: in.MaxSize, DesiredCapacity: in.DesiredCapacity,
		DefaultCooldown: in.DefaultCooldown, HealthCheckType: in.HealthCheckType, HealthCheckGracePeriod: in.HealthCheckGracePeriod,
		LaunchConfigurationName: in.LaunchConfigurationName, LaunchTemplate: in.LaunchTemplate, MixedInstancesPolicy: in.MixedInstancesPolicy,
		LoadBalancerNames: in.LoadBalancerNames, TargetGroupARNs: in.TargetGroupARNs, TrafficSources: in.TrafficSources, PlacementGroup: in.PlacementGroup,
		TerminationPolicies: in.TerminationPolicies, NewInstancesProtectedFromScaleIn: aws.Bool(aws.ToBool(in.NewInstancesProtectedFromScaleIn)),
		ServiceLinkedRoleARN: in.ServiceLinkedRoleARN, CapacityRebalance: in.CapacityRebalance, MaxInstanceLifetime: in.MaxInstanceLifetime, Context: in.Context,
		DesiredCapacityType: in.DesiredCapacityType, DefaultInstanceWarmup: in.DefaultInstanceWarmup, InstanceMaintenancePolicy: in.InstanceMaintenancePolicy,
		AvailabilityZoneDistribution: in.AvailabilityZoneDistribution, AvailabilityZoneImpairmentPolicy: in.AvailabilityZoneImpairmentPolicy,
		CapacityReservationSpecification: in.CapacityReservationSpecification, InstanceLifecyclePolicy: in.InstanceLifecyclePolicy, DeletionProtection: in.DeletionProtection,
	}
	r := &g.Resource
	if r.DesiredCapacity == nil {
		r.DesiredCapacity = r.MinSize
	}
	if r.DefaultCooldown == nil {
		r.DefaultCooldown = aws.Int32(300)
	}
	if r.HealthCheckType == nil {
		r.HealthCheckType = aws.String("EC2")
	}
	if r.HealthCheckGracePeriod == nil {
		r.HealthCheckGracePeriod = aws.Int32(0)
	}
	if len(r.TerminationPolicies) == 0 {
		r.TerminationPolicies = []string{"Default"}
	}
	if r.ServiceLinkedRoleARN == nil {
		r.ServiceLinkedRoleARN = aws.String(serviceRole(sc))
	}
	if r.AvailabilityZoneDistribution == nil {
		r.AvailabilityZoneDistribution = &types.AvailabilityZoneDistribution{CapacityDistributionStrategy: types.CapacityDistributionStrategyBalancedBestEffort}
	}
	if r.AvailabilityZoneImpairmentPolicy == nil {
		r.AvailabilityZoneImpairmentPolicy = &types.AvailabilityZoneImpairmentPolicy{ZonalShiftEnabled: aws.Bool(false), ImpairedZoneHealthCheckBehavior: types.ImpairedZoneHealthCheckBehaviorIgnoreUnhealthy}
	}
	if r.CapacityReservationSpecification == nil {
		r.CapacityReservationSpecification = &types.CapacityReservationSpecification{CapacityReservationPreference: types.CapacityReservationPreferenceDefault}
	}
	return g
}

// check validates what a group is after a request.
func (g *group) check() error {
	r := &g.Resource
	switch {
	case *r.MinSize < 0 || *r.MaxSize < 0:
		return validation("Min and max bounds must not be negative")
	case *r.MaxSize < *r.MinSize:
		return validation("Max bound, %d, must be greater than or equal to min bound, %d", *r.MaxSize, *r.MinSize)
	case g.desired() < *r.MinSize || g.desired() > *r.MaxSize:
		return validation("Desired capacity:%d must be between the specified min size:%d and max size:%d", g.desired(), *r.MinSize, *r.MaxSize)
	case *r.HealthCheckType != "EC2" && *r.HealthCheckType != "ELB" && !strings.Contains(*r.HealthCheckType, ","):
		return validation("Invalid HealthCheckType: %s", *r.HealthCheckType)
	}
	for _, p := range r.TerminationPolicies {
		if !slices.Contains(policies, p) && !strings.HasPrefix(p, "arn:") {
			return validation("Unsupported TerminationPolicy %s", p)
		}
	}
	return nil
}

// setPlace resolves where instances go: subnets, or the default ones of zones.
func (s *Service) setPlace(ctx context.Context, g *group, subnets *string, zones []string) error {
	in := &ec2.DescribeSubnetsInput{}
	var ids []string
	if v := strings.ReplaceAll(aws.ToString(subnets), " ", ""); v != "" {
		ids = strings.Split(v, ",")
		in.SubnetIds = ids
	} else if len(zones) > 0 {
		in.Filters = []ec2types.Filter{{Name: aws.String("default-for-az"), Values: []string{"true"}}, {Name: aws.String("availability-zone"), Values: zones}}
	} else {
		return validation("At least one Availability Zone or VPC Subnet is required.")
	}
	out, err := s.EC2.DescribeSubnets(as(ctx, g.Scope), in)
	if err != nil {
		return fromEC2(err)
	}
	var found []string
	vpc := ""
	for _, sub := range out.Subnets {
		found = append(found, *sub.AvailabilityZone)
		if vpc != "" && vpc != *sub.VpcId {
			return validation("The subnets must all be in the same VPC.")
		}
		vpc = *sub.VpcId
		if ids == nil {
			g.Subnets = append(g.Subnets, *sub.SubnetId)
		}
	}
	if ids != nil {
		g.Subnets = ids
	}
	slices.Sort(found)
	found = slices.Compact(found)
	for _, z := range zones {
		if !slices.Contains(found, z) {
			if ids == nil {
				return validation("Invalid availability zones: [%s]", z)
			}
			return validation("The availability zones of the specified subnets and the Auto Scaling group do not match")
		}
	}
	g.Resource.AvailabilityZones = found
	return nil
}

// fromEC2 words what EC2 refused while a request was validated.
func fromEC2(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	return validation("%s", api.ErrorMessage())
}

// resolveTemplates checks the launch templates that a group names and completes
// their ids and names.
func (s *Service) resolveTemplates(ctx context.Context, g *group) error {
	r := &g.Resource
	if r.LaunchTemplate != nil {
		t, err := s.resolveTemplate(ctx, g.Scope, r.LaunchTemplate)
		if err != nil {
			return err
		}
		r.LaunchTemplate = t
	}
	p := r.MixedInstancesPolicy
	if p == nil {
		return nil
	}
	if p.LaunchTemplate == nil || p.LaunchTemplate.LaunchTemplateSpecification == nil {
		return validation("Valid requests must contain a launch template in the mixed instances policy.")
	}
	t, err := s.resolveTemplate(ctx, g.Scope, p.LaunchTemplate.LaunchTemplateSpecification)
	if err != nil {
		return err
	}
	p.LaunchTemplate.LaunchTemplateSpecification = t
	for i, o := range p.LaunchTemplate.Overrides {
		if o.LaunchTemplateSpecification == nil {
			continue
		}
		if p.LaunchTemplate.Overrides[i].LaunchTemplateSpecification, err = s.resolveTemplate(ctx, g.Scope, o.LaunchTemplateSpecification); err != nil {
			return err
		}
	}
	p.InstancesDistribution = distribution(p.InstancesDistribution)
	return nil
}

// distribution fills in AWS's defaults.
func distribution(in *types.InstancesDistribution) *types.InstancesDistribution {
	out := types.InstancesDistribution{}
	if in != nil {
		out = *in
	}
	if out.OnDemandAllocationStrategy == nil {
		out.OnDemandAllocationStrategy = aws.String("prioritized")
	}
	if out.OnDemandBaseCapacity == nil {
		out.OnDemandBaseCapacity = aws.Int32(0)
	}
	if out.OnDemandPercentageAboveBaseCapacity == nil {
		out.OnDemandPercentageAboveBaseCapacity = aws.Int32(100)
	}
	if out.SpotAllocationStrategy == nil {
		out.SpotAllocationStrategy = aws.String("lowest-price")
	}
	if *out.SpotAllocationStrategy == "lowest-price" && out.SpotInstancePools == nil {
		out.SpotInstancePools = aws.Int32(2)
	}
	return &out
}

func (s *Service) resolveTemplate(ctx context.Context, sc awsid.Scope, spec *types.LaunchTemplateSpecification) (*types.LaunchTemplateSpecification, error) {
	if (spec.LaunchTemplateId == nil) == (spec.LaunchTemplateName == nil) {
		return nil, validation("Valid requests must contain either launchTemplateId or LaunchTemplateName")
	}
	out := *spec
	if aws.ToString(out.Version) == "" {
		out.Version = aws.String("$Default")
	}
	d, err := s.EC2.DescribeLaunchTemplateVersions(as(ctx, sc), &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: spec.LaunchTemplateId, LaunchTemplateName: spec.LaunchTemplateName, Versions: []string{*out.Version},
	})
	if err != nil {
		var api smithy.APIError
		if errors.As(err, &api) {
			return nil, validation("You must use a valid fully-formed launch template. %s", api.ErrorMessage())
		}
		return nil, err
	}
	v := d.LaunchTemplateVersions[0]
	if v.LaunchTemplateData == nil || v.LaunchTemplateData.ImageId == nil {
		return nil, validation("You must use a valid fully-formed launch template. The request must contain the parameter ImageId")
	}
	out.LaunchTemplateId, out.LaunchTemplateName = v.LaunchTemplateId, v.LaunchTemplateName
	return &out, nil
}
