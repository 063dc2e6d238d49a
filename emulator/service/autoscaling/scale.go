package autoscaling

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func anyInService(g *group, members []ec2types.Instance) bool {
	return slices.ContainsFunc(members, func(i ec2types.Instance) bool { return g.lifecycleState(i) != types.LifecycleStateTerminating })
}

// SetDesiredCapacity implements the operation. There are no cool-downs to honor:
// nothing scales by itself here.
func (s *Service) SetDesiredCapacity(ctx context.Context, in *autoscaling.SetDesiredCapacityInput, _ ...func(*autoscaling.Options)) (*autoscaling.SetDesiredCapacityOutput, error) {
	if err := required("autoScalingGroupName", in.AutoScalingGroupName); err != nil {
		return nil, err
	}
	if in.DesiredCapacity == nil {
		return nil, required("desiredCapacity", nil)
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		return s.edit(tx, sc, *in.AutoScalingGroupName, func(g *group) error {
			switch r, n := g.Resource, *in.DesiredCapacity; {
			case n > *r.MaxSize:
				return validation("New SetDesiredCapacity value %d is above max value %d for the AutoScalingGroup.", n, *r.MaxSize)
			case n < *r.MinSize:
				return validation("New SetDesiredCapacity value %d is below min value %d for the AutoScalingGroup.", n, *r.MinSize)
			}
			g.Why = fmt.Sprintf("a user request explicitly set group desired capacity changing the desired capacity from %d to %d.", g.desired(), *in.DesiredCapacity)
			g.Resource.DesiredCapacity = in.DesiredCapacity
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.SetDesiredCapacityOutput{}, nil
}

// groupOf finds the group of an instance. EC2 is looked at outside of transactions,
// here as everywhere: reading its table in one would make them conflict with
// every launch in the account.
func (s *Service) groupOf(r store.Reader, sc awsid.Scope, instance string) (string, error) {
	for name, members := range s.Fleet.Grouped(s.store, sc) {
		g := s.read(r, sc, name)
		if g == nil {
			continue
		}
		if slices.ContainsFunc(g.members(members), func(i ec2types.Instance) bool { return *i.InstanceId == instance }) {
			return name, nil
		}
	}
	return "", validation("Instance Id not found - No managed instance found for instance ID: %s", instance)
}

// TerminateInstanceInAutoScalingGroup implements the operation: the group's
// reconciler terminates the instance, and replaces it unless the desired capacity
// goes down with it. Both are one change, so that no other instance goes instead.
func (s *Service) TerminateInstanceInAutoScalingGroup(ctx context.Context, in *autoscaling.TerminateInstanceInAutoScalingGroupInput, _ ...func(*autoscaling.Options)) (*autoscaling.TerminateInstanceInAutoScalingGroupOutput, error) {
	if err := required("instanceId", in.InstanceId); err != nil {
		return nil, err
	}
	if in.ShouldDecrementDesiredCapacity == nil {
		return nil, required("shouldDecrementDesiredCapacity", nil)
	}
	sc := awsid.CallerFrom(ctx).Scope
	var a *activity
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		name, err := s.groupOf(tx, sc, *in.InstanceId)
		if err != nil {
			return err
		}
		return s.edit(tx, sc, name, func(g *group) error {
			members := g.members(s.Fleet.Grouped(s.store, sc)[name])
			before := g.desired()
			if *in.ShouldDecrementDesiredCapacity && !slices.Contains(g.Leaving, *in.InstanceId) {
				if before <= *g.Resource.MinSize {
					return validation("Currently, desiredSize equals minSize (%d). Terminating instance without replacement will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.", before)
				}
				g.Resource.DesiredCapacity = aws.Int32(before - 1)
			}
			g.leave(members, *in.InstanceId)
			what := ""
			if n := g.desired(); n != before {
				what = fmt.Sprintf(", shrinking the capacity from %d to %d", before, n)
			}
			a = s.newActivity(g, kindTerminate, *in.InstanceId, zoneOf(members, *in.InstanceId),
				fmt.Sprintf("At %s instance %s was taken out of service in response to a user request%s.", stamp(s.now()), *in.InstanceId, what))
			if old := activities.Get(tx, sc, activityID(name, kindTerminate, *in.InstanceId)); old != nil {
				a = old
			}
			activities.Put(tx, sc, activityID(name, kindTerminate, *in.InstanceId), a)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.TerminateInstanceInAutoScalingGroupOutput{Activity: &a.Resource}, nil
}

// leave marks an instance for termination, and forgets those that have gone.
func (g *group) leave(members []ec2types.Instance, ids ...string) {
	g.Leaving = slices.DeleteFunc(slices.Clone(g.Leaving), func(id string) bool {
		return slices.Contains(ids, id) || !slices.ContainsFunc(members, func(i ec2types.Instance) bool { return *i.InstanceId == id })
	})
	g.Leaving = append(g.Leaving, ids...)
}

// DetachInstances implements the operation for groups that EKS did not make: what
// becomes of a node that its node group does not know any more is not modelled.
func (s *Service) DetachInstances(ctx context.Context, in *autoscaling.DetachInstancesInput, _ ...func(*autoscaling.Options)) (*autoscaling.DetachInstancesOutput, error) {
	if err := required("autoScalingGroupName", in.AutoScalingGroupName); err != nil {
		return nil, err
	}
	if in.ShouldDecrementDesiredCapacity == nil {
		return nil, required("shouldDecrementDesiredCapacity", nil)
	}
	sc, name := awsid.CallerFrom(ctx).Scope, *in.AutoScalingGroupName
	var made []types.Activity
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		made = nil
		return s.edit(tx, sc, name, func(g *group) error {
			if g.Owner != nil {
				return validation("ekslocal does not detach instances from the Auto Scaling group of a managed node group (%s)", g.Owner.Nodegroup)
			}
			members := g.members(s.Fleet.Grouped(s.store, sc)[name])
			for _, id := range in.InstanceIds {
				if !slices.ContainsFunc(members, func(i ec2types.Instance) bool { return *i.InstanceId == id }) {
					return validation("The instance %s is not part of Auto Scaling group %s.", id, name)
				}
				before := g.desired()
				what := ""
				if *in.ShouldDecrementDesiredCapacity {
					if before <= *g.Resource.MinSize {
						return validation("AutoScalingGroup %s has min-size=%d, max-size=%d, and desired-size=%d. To place into standby %d more instances, please update the AutoScalingGroup sizes appropriately.", name, *g.Resource.MinSize, *g.Resource.MaxSize, before, len(in.InstanceIds))
					}
					g.Resource.DesiredCapacity = aws.Int32(before - 1)
					what = fmt.Sprintf(", shrinking the capacity from %d to %d", before, before-1)
				}
				g.Detached = append(g.Detached, id)
				a := s.newActivity(g, "detach", id, zoneOf(members, id), fmt.Sprintf("At %s instance %s was detached in response to a user request%s.", stamp(s.now()), id, what))
				a.Resource.Description = aws.String("Detaching EC2 instance: " + id)
				activities.Put(tx, sc, activityID(name, "detach", id), a)
				made = append(made, a.Resource)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	// A crash here leaves the tag; the record says that they are detached.
	if len(in.InstanceIds) > 0 {
		_, err := s.EC2.DeleteTags(as(ctx, sc), &ec2.DeleteTagsInput{Resources: in.InstanceIds, Tags: []ec2types.Tag{{Key: aws.String(tagGroup)}}})
		if err != nil {
			s.log.Warn("autoscaling: detached instances keep their tag", "group", name, "error", err)
		}
	}
	return &autoscaling.DetachInstancesOutput{Activities: made}, nil
}

// onInstances runs f with a group and checks that it has the instances.
func (s *Service) onInstances(ctx context.Context, name *string, ids []string, f func(g *group)) error {
	if err := required("autoScalingGroupName", name); err != nil {
		return err
	}
	if len(ids) == 0 {
		return required("instanceIds", nil)
	}
	sc := awsid.CallerFrom(ctx).Scope
	return s.store.Update(ctx, func(tx *store.Tx) error {
		return s.edit(tx, sc, *name, func(g *group) error {
			members := g.members(s.Fleet.Grouped(s.store, sc)[*name])
			for _, id := range ids {
				if !slices.ContainsFunc(members, func(i ec2types.Instance) bool { return *i.InstanceId == id }) {
					return validation("The instance %s is not part of Auto Scaling group %s.", id, *name)
				}
			}
			f(g)
			return nil
		})
	})
}

// SetInstanceProtection implements the operation.
func (s *Service) SetInstanceProtection(ctx context.Context, in *autoscaling.SetInstanceProtectionInput, _ ...func(*autoscaling.Options)) (*autoscaling.SetInstanceProtectionOutput, error) {
	if in.ProtectedFromScaleIn == nil {
		return nil, required("protectedFromScaleIn", nil)
	}
	err := s.onInstances(ctx, in.AutoScalingGroupName, in.InstanceIds, func(g *group) {
		g.Protected = slices.DeleteFunc(slices.Clone(g.Protected), func(id string) bool { return slices.Contains(in.InstanceIds, id) })
		if *in.ProtectedFromScaleIn {
			g.Protected = append(g.Protected, in.InstanceIds...)
		}
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.SetInstanceProtectionOutput{}, nil
}

// SetInstanceHealth implements the operation: unhealthy instances are replaced.
func (s *Service) SetInstanceHealth(ctx context.Context, in *autoscaling.SetInstanceHealthInput, _ ...func(*autoscaling.Options)) (*autoscaling.SetInstanceHealthOutput, error) {
	if err := required("instanceId", in.InstanceId); err != nil {
		return nil, err
	}
	if h := aws.ToString(in.HealthStatus); h != "Healthy" && h != "Unhealthy" {
		return nil, validation("Invalid health status: %s. Valid values are Healthy and Unhealthy.", h)
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		name, err := s.groupOf(tx, sc, *in.InstanceId)
		if err != nil {
			return err
		}
		return s.edit(tx, sc, name, func(g *group) error {
			g.Unhealthy = slices.DeleteFunc(slices.Clone(g.Unhealthy), func(id string) bool { return id == *in.InstanceId })
			if *in.HealthStatus == "Unhealthy" {
				g.Unhealthy = append(g.Unhealthy, *in.InstanceId)
				if g.Owner != nil { // the node group's reconciler drains and replaces it
					g.leave(g.members(s.Fleet.Grouped(s.store, sc)[name]), *in.InstanceId)
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.SetInstanceHealthOutput{}, nil
}

// processes are what can be suspended.
var processes = []string{
	"AZRebalance", "AddToLoadBalancer", "AlarmNotification", "HealthCheck", "InstanceRefresh", "Launch", "ReplaceUnhealthy", "ScheduledActions", "Terminate",
}

func (s *Service) switchProcesses(ctx context.Context, name *string, which []string, f func(g *group, process string)) error {
	if err := required("autoScalingGroupName", name); err != nil {
		return err
	}
	if len(which) == 0 {
		which = processes
	}
	for _, p := range which {
		if !slices.Contains(processes, p) {
			return validation("%s is not a valid process type.", p)
		}
	}
	sc := awsid.CallerFrom(ctx).Scope
	return s.store.Update(ctx, func(tx *store.Tx) error {
		return s.edit(tx, sc, *name, func(g *group) error {
			for _, p := range which {
				f(g, p)
			}
			return nil
		})
	})
}

// SuspendProcesses implements the operation.
func (s *Service) SuspendProcesses(ctx context.Context, in *autoscaling.SuspendProcessesInput, _ ...func(*autoscaling.Options)) (*autoscaling.SuspendProcessesOutput, error) {
	at := stamp(s.now())
	err := s.switchProcesses(ctx, in.AutoScalingGroupName, in.ScalingProcesses, func(g *group, p string) {
		if g.Suspended == nil {
			g.Suspended = map[string]string{}
		}
		if _, already := g.Suspended[p]; !already {
			g.Suspended[p] = "User suspended at " + at
		}
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.SuspendProcessesOutput{}, nil
}

// ResumeProcesses implements the operation.
func (s *Service) ResumeProcesses(ctx context.Context, in *autoscaling.ResumeProcessesInput, _ ...func(*autoscaling.Options)) (*autoscaling.ResumeProcessesOutput, error) {
	if err := s.switchProcesses(ctx, in.AutoScalingGroupName, in.ScalingProcesses, func(g *group, p string) { delete(g.Suspended, p) }); err != nil {
		return nil, err
	}
	return &autoscaling.ResumeProcessesOutput{}, nil
}
