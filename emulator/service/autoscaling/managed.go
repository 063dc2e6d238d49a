package autoscaling

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// EnsureManaged makes the group of a managed node group, as EKS does when it makes
// the node group. A group that is there is left alone.
func (s *Service) EnsureManaged(ctx context.Context, sc awsid.Scope, name, cluster, nodegroup, id string) error {
	if g := groups.Get(s.store, sc, name); g != nil && g.Owner != nil && g.Owner.ID == id {
		return nil
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		now := s.now()
		g := &group{Scope: sc, ID: awsid.NewUUID(), Owner: &owner{cluster, nodegroup, id}}
		g.Resource = types.AutoScalingGroup{
			AutoScalingGroupName: &name, CreatedTime: &now, DefaultCooldown: aws.Int32(300), HealthCheckType: aws.String("EC2"), HealthCheckGracePeriod: aws.Int32(15),
			NewInstancesProtectedFromScaleIn: aws.Bool(false), ServiceLinkedRoleARN: aws.String(serviceRole(sc)), CapacityRebalance: aws.Bool(false),
			TerminationPolicies: []string{"AllocationStrategy", "OldestLaunchTemplate", "OldestInstance"},
		}
		var tags []types.Tag
		for k, v := range map[string]string{
			"eks:cluster-name": cluster, "eks:nodegroup-name": nodegroup, "k8s.io/cluster-autoscaler/enabled": "true",
			"k8s.io/cluster-autoscaler/" + cluster: "owned", "kubernetes.io/cluster/" + cluster: "owned",
		} {
			tags = append(tags, types.Tag{Key: aws.String(k), Value: aws.String(v), PropagateAtLaunch: aws.Bool(true)})
		}
		if err := g.merge(tags); err != nil {
			return err
		}
		groups.Put(tx, sc, name, g)
		return nil
	})
}

// RemoveManaged removes the group of a managed node group that goes.
func (s *Service) RemoveManaged(ctx context.Context, sc awsid.Scope, name string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if groups.Get(tx, sc, name) != nil {
			removeGroup(tx, sc, name)
		}
		return nil
	})
}

// LaunchTags are the tags that a group's new instances get.
func (s *Service) LaunchTags(sc awsid.Scope, name string) map[string]string {
	out := map[string]string{tagGroup: name}
	if g := groups.Get(s.store, sc, name); g != nil {
		for _, t := range g.Tags {
			if *t.PropagateAtLaunch {
				out[*t.Key] = *t.Value
			}
		}
	}
	return out
}

// Suspended tells whether a process of a group is suspended.
func (s *Service) Suspended(sc awsid.Scope, name, process string) bool {
	g := groups.Get(s.store, sc, name)
	return g != nil && g.suspended(process)
}

func serviceRole(sc awsid.Scope) string {
	return sc.Global().ARN("iam", "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling")
}
