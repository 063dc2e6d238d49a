package emulator

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/service/autoscaling"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// fleet shows EC2's instances to Auto Scaling.
type fleet struct{ store *store.Store }

const tagAutoScalingGroup = "aws:autoscaling:groupName"

// Grouped implements autoscaling.Fleet.
func (f fleet) Grouped(r store.Reader, sc awsid.Scope) map[string][]ec2types.Instance {
	out := map[string][]ec2types.Instance{}
	for _, i := range ec2.Instances.List(r, sc) {
		if g := instanceTag(i, tagAutoScalingGroup); g != "" {
			out[g] = append(out[g], i.Instance)
		}
	}
	return out
}

// Watch implements autoscaling.Fleet.
func (f fleet) Watch(changed func(sc awsid.Scope, group string)) (cancel func()) {
	return f.store.Subscribe(ec2.Instances.Name(), func(c store.Change) {
		if i := ec2.Instances.Get(f.store, c.Scope, c.ID); i != nil {
			if g := instanceTag(i, tagAutoScalingGroup); g != "" {
				changed(c.Scope, g)
			}
		}
	})
}

func instanceTag(i *ec2.Instance, key string) string {
	for _, t := range i.Tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// nodegroups shows managed node groups to Auto Scaling.
type nodegroups struct{}

// Managed implements autoscaling.Nodegroups.
func (nodegroups) Managed(r store.Reader, sc awsid.Scope, cluster, nodegroup string) *autoscaling.Managed {
	n := eks.Nodegroups.Get(r, sc, eks.ChildID(cluster, nodegroup))
	if n == nil || n.Resource.ScalingConfig == nil {
		return nil
	}
	var zones []string
	for _, id := range n.Resource.Subnets {
		if s := ec2.Subnets.Get(r, sc, id); s != nil {
			zones = append(zones, aws.ToString(s.AvailabilityZone))
		}
	}
	slices.Sort(zones)
	c := n.Resource.ScalingConfig
	return &autoscaling.Managed{
		Cluster: cluster, Nodegroup: nodegroup, ID: n.ID, Min: aws.ToInt32(c.MinSize), Max: aws.ToInt32(c.MaxSize), Desired: aws.ToInt32(c.DesiredSize),
		Subnets: n.Resource.Subnets, Zones: slices.Compact(zones), LaunchTemplateID: n.ManagedLaunchTemplateID, LaunchTemplateVersion: n.ManagedLaunchTemplateVersion,
		InstanceTypes: n.Resource.InstanceTypes, Spot: n.Resource.CapacityType == ekstypes.CapacityTypesSpot,
		Deleting: n.Resource.Status == ekstypes.NodegroupStatusDeleting, Leaving: n.Leaving,
	}
}

// Resize implements autoscaling.Nodegroups. It is what EKS sees of a change made in
// Auto Scaling: DescribeNodegroup shows it at once, without an update.
func (nodegroups) Resize(tx *store.Tx, sc awsid.Scope, m *autoscaling.Managed) {
	id := eks.ChildID(m.Cluster, m.Nodegroup)
	n := eks.Nodegroups.Edit(tx, sc, id)
	if n == nil || n.ID != m.ID {
		return
	}
	c := n.Resource.ScalingConfig
	if aws.ToInt32(c.MinSize) == m.Min && aws.ToInt32(c.MaxSize) == m.Max && aws.ToInt32(c.DesiredSize) == m.Desired && slices.Equal(n.Leaving, m.Leaving) {
		return
	}
	n.Resource.ScalingConfig = &ekstypes.NodegroupScalingConfig{MinSize: &m.Min, MaxSize: &m.Max, DesiredSize: &m.Desired}
	n.Leaving = m.Leaving
	eks.Nodegroups.Put(tx, sc, id, n)
}
