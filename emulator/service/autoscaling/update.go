package autoscaling

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// UpdateAutoScalingGroup implements the operation.
func (s *Service) UpdateAutoScalingGroup(ctx context.Context, in *autoscaling.UpdateAutoScalingGroupInput, _ ...func(*autoscaling.Options)) (*autoscaling.UpdateAutoScalingGroupOutput, error) {
	if err := required("autoScalingGroupName", in.AutoScalingGroupName); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	old := s.read(s.store, sc, *in.AutoScalingGroupName)
	if old == nil {
		return nil, validation("AutoScalingGroup name not found - null")
	}
	if old.Owner != nil && (in.LaunchTemplate != nil || in.MixedInstancesPolicy != nil || in.LaunchConfigurationName != nil || in.VPCZoneIdentifier != nil || in.AvailabilityZones != nil) {
		// AWS lets it happen and the node group degrades; nothing good comes of it.
		return nil, validation("ekslocal does not change the template or subnets of a managed node group's Auto Scaling group: use the EKS API (node group %s)", old.Owner.Nodegroup)
	}
	// What asks EC2 comes before the transaction.
	next := &group{Scope: sc, Subnets: old.Subnets}
	next.Resource.AvailabilityZones = old.Resource.AvailabilityZones
	if in.VPCZoneIdentifier != nil || in.AvailabilityZones != nil {
		next.Subnets = nil
		if err := s.setPlace(ctx, next, in.VPCZoneIdentifier, in.AvailabilityZones); err != nil {
			return nil, err
		}
	}
	next.Resource.LaunchTemplate, next.Resource.MixedInstancesPolicy = in.LaunchTemplate, in.MixedInstancesPolicy
	if err := s.resolveTemplates(ctx, next); err != nil {
		return nil, err
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		return s.edit(tx, sc, *in.AutoScalingGroupName, func(g *group) error {
			if lc := in.LaunchConfigurationName; lc != nil && configurations.Get(tx, sc, *lc) == nil {
				return noConfiguration(*lc)
			}
			g.apply(in, next)
			return g.check()
		})
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.UpdateAutoScalingGroupOutput{}, nil
}

// set overwrites what a request gives.
func set[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

func (g *group) apply(in *autoscaling.UpdateAutoScalingGroupInput, next *group) {
	r, before := &g.Resource, g.desired()
	if g.managed == nil {
		g.Subnets, r.AvailabilityZones = next.Subnets, next.Resource.AvailabilityZones
	}
	set(&r.MinSize, in.MinSize)
	set(&r.MaxSize, in.MaxSize)
	if in.DesiredCapacity != nil {
		r.DesiredCapacity = in.DesiredCapacity
	} else { // bounds alone move the desired capacity into them
		r.DesiredCapacity = aws.Int32(min(max(before, *r.MinSize), *r.MaxSize))
	}
	if g.desired() != before {
		g.Why = fmt.Sprintf("a user request update of AutoScalingGroup constraints to min: %d, max: %d, desired: %d changing the desired capacity from %d to %d.",
			*r.MinSize, *r.MaxSize, g.desired(), before, g.desired())
	}
	if in.LaunchConfigurationName != nil || in.LaunchTemplate != nil || in.MixedInstancesPolicy != nil {
		r.LaunchConfigurationName, r.LaunchTemplate, r.MixedInstancesPolicy = in.LaunchConfigurationName, next.Resource.LaunchTemplate, next.Resource.MixedInstancesPolicy
	}
	set(&r.DefaultCooldown, in.DefaultCooldown)
	set(&r.HealthCheckType, in.HealthCheckType)
	set(&r.HealthCheckGracePeriod, in.HealthCheckGracePeriod)
	set(&r.PlacementGroup, in.PlacementGroup)
	set(&r.NewInstancesProtectedFromScaleIn, in.NewInstancesProtectedFromScaleIn)
	set(&r.ServiceLinkedRoleARN, in.ServiceLinkedRoleARN)
	set(&r.CapacityRebalance, in.CapacityRebalance)
	set(&r.MaxInstanceLifetime, in.MaxInstanceLifetime)
	set(&r.Context, in.Context)
	set(&r.DesiredCapacityType, in.DesiredCapacityType)
	set(&r.DefaultInstanceWarmup, in.DefaultInstanceWarmup)
	set(&r.InstanceMaintenancePolicy, in.InstanceMaintenancePolicy)
	set(&r.AvailabilityZoneDistribution, in.AvailabilityZoneDistribution)
	set(&r.AvailabilityZoneImpairmentPolicy, in.AvailabilityZoneImpairmentPolicy)
	set(&r.CapacityReservationSpecification, in.CapacityReservationSpecification)
	set(&r.InstanceLifecyclePolicy, in.InstanceLifecyclePolicy)
	if aws.ToInt32(r.MaxInstanceLifetime) == 0 {
		r.MaxInstanceLifetime = nil // 0 takes the limit away, as -1 does the warm-up
	}
	if aws.ToInt32(r.DefaultInstanceWarmup) < 0 {
		r.DefaultInstanceWarmup = nil
	}
	if in.DeletionProtection != "" {
		r.DeletionProtection = in.DeletionProtection
	}
	if len(in.TerminationPolicies) > 0 {
		r.TerminationPolicies = in.TerminationPolicies
	}
}

// DeleteAutoScalingGroup implements the operation. With ForceDelete Run terminates
// the instances and then removes the group.
func (s *Service) DeleteAutoScalingGroup(ctx context.Context, in *autoscaling.DeleteAutoScalingGroupInput, _ ...func(*autoscaling.Options)) (*autoscaling.DeleteAutoScalingGroupOutput, error) {
	if err := required("autoScalingGroupName", in.AutoScalingGroupName); err != nil {
		return nil, err
	}
	sc, name := awsid.CallerFrom(ctx).Scope, *in.AutoScalingGroupName
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		g := s.resolve(tx, groups.Edit(tx, sc, name))
		if g == nil {
			return noGroup(name)
		}
		if g.Owner != nil {
			return validation("ekslocal does not delete the Auto Scaling group of a managed node group: delete node group %s with the EKS API", g.Owner.Nodegroup)
		}
		if p := g.Resource.DeletionProtection; p == types.DeletionProtectionPreventAllDeletion || p == types.DeletionProtectionPreventForceDeletion && aws.ToBool(in.ForceDelete) {
			return validation("AutoScalingGroup %s cannot be deleted because its deletion protection is %s", name, p)
		}
		members := g.members(s.Fleet.Grouped(s.store, sc)[name])
		switch {
		case aws.ToBool(in.ForceDelete):
			g.Deleting = true
			g.Resource.MinSize, g.Resource.DesiredCapacity = aws.Int32(0), aws.Int32(0)
			groups.Put(tx, sc, name, g)
			return nil
		case g.desired() > 0 || len(members) > 0 && anyInService(g, members):
			return inUse("You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.")
		case len(members) > 0:
			return &types.ScalingActivityInProgressFault{Message: aws.String("You cannot delete an AutoScalingGroup while there are scaling activities in progress for that group.")}
		}
		removeGroup(tx, sc, name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.DeleteAutoScalingGroupOutput{}, nil
}

// removeGroup removes a group with all that belongs to it. Activities stay: they
// can be asked for after the group.
func removeGroup(tx *store.Tx, sc awsid.Scope, name string) {
	groups.Delete(tx, sc, name)
	for _, h := range hooks.ListPrefix(tx, sc, name+"/") {
		hooks.Delete(tx, sc, name+"/"+*h.Resource.LifecycleHookName)
	}
}
