package autoscaling

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	groups         store.Table[group]               = "autoscaling-groups"         // id: name
	configurations store.Table[launchConfiguration] = "autoscaling-configurations" // id: name
	// activities are keyed by activityID: the group, then the kind and the
	// instance, so that one is never recorded twice.
	activities store.Table[activity] = "autoscaling-activities"
	hooks      store.Table[hook]     = "autoscaling-hooks" // id: group / name
)

// tagGroup is how EC2's instances name their group.
const tagGroup = "aws:autoscaling:groupName"

// group is an Auto Scaling group. Resource is what it was told, without what is
// computed when it is described: instances, tags, status. That of a managed node
// group lacks sizes, subnets and template too: those are the node group's.
type group struct {
	Scope    awsid.Scope
	ID       string
	Resource types.AutoScalingGroup
	Subnets  []string
	Tags     []types.TagDescription
	// Owner is set for the group of a managed node group.
	Owner *owner `json:",omitempty"`
	// Suspended maps processes to the reason.
	Suspended map[string]string `json:",omitempty"`
	// Protected and Unhealthy are instances that were declared so; Leaving are to
	// be terminated next, Detached belong to the group no more.
	Protected, Unhealthy, Leaving, Detached []string `json:",omitempty"`
	// Why tells why the desired capacity is what it is, for the next activities.
	Why string `json:",omitempty"`
	// Deleting ends with the last instance.
	Deleting bool `json:",omitempty"`

	// managed is the node group as it is now; set by resolve.
	managed *Managed
}

type owner struct{ Cluster, Nodegroup, ID string }

type launchConfiguration struct {
	Scope    awsid.Scope
	Resource types.LaunchConfiguration
}

type hook struct {
	Scope    awsid.Scope
	Resource types.LifecycleHook
}

// activity is a launch or a termination. Instance is empty for a launch that
// failed.
type activity struct {
	Scope    awsid.Scope
	GroupID  string
	Instance string
	Resource types.Activity
}

const (
	kindLaunch    = "launch"
	kindTerminate = "terminate"
	kindFailure   = "failure"
)

func activityID(group, kind, instance string) string { return group + "/" + kind + "/" + instance }

func (g *group) name() string { return aws.ToString(g.Resource.AutoScalingGroupName) }

func (g *group) arn() string {
	return g.Scope.ARN("autoscaling", "autoScalingGroup:"+g.ID+":autoScalingGroupName/"+g.name())
}

func (g *group) desired() int32 { return aws.ToInt32(g.Resource.DesiredCapacity) }

func (g *group) suspended(process string) bool {
	_, ok := g.Suspended[process]
	return ok
}

// resolve completes a private copy of a group with what is the node group's. nil
// means that the node group is gone, and with it the group.
func (s *Service) resolve(r store.Reader, g *group) *group {
	if g == nil || g.Owner == nil {
		return g
	}
	m := s.Nodegroups.Managed(r, g.Scope, g.Owner.Cluster, g.Owner.Nodegroup)
	if m == nil || m.ID != g.Owner.ID {
		return nil
	}
	g.managed = m
	res := &g.Resource
	res.MinSize, res.MaxSize, res.DesiredCapacity = &m.Min, &m.Max, &m.Desired
	g.Subnets, g.Deleting, g.Leaving, res.AvailabilityZones = m.Subnets, m.Deleting, m.Leaving, m.Zones
	// EKS makes groups with a mixed instances policy, even of one type.
	version := m.LaunchTemplateVersion
	policy := &types.MixedInstancesPolicy{
		InstancesDistribution: &types.InstancesDistribution{
			OnDemandAllocationStrategy: aws.String("prioritized"), OnDemandBaseCapacity: aws.Int32(0), OnDemandPercentageAboveBaseCapacity: aws.Int32(100),
			SpotAllocationStrategy: aws.String("capacity-optimized"),
		},
		LaunchTemplate: &types.LaunchTemplate{
			LaunchTemplateSpecification: &types.LaunchTemplateSpecification{LaunchTemplateId: &m.LaunchTemplateID, LaunchTemplateName: aws.String("eks-" + m.ID), Version: &version},
		},
	}
	if m.Spot {
		policy.InstancesDistribution.OnDemandPercentageAboveBaseCapacity = aws.Int32(0)
		res.CapacityRebalance = aws.Bool(true)
	}
	for _, t := range m.InstanceTypes {
		policy.LaunchTemplate.Overrides = append(policy.LaunchTemplate.Overrides, types.LaunchTemplateOverrides{InstanceType: aws.String(t)})
	}
	res.MixedInstancesPolicy = policy
	return g
}

// read returns a group for looking at. Groups of deleted node groups are nil.
func (s *Service) read(r store.Reader, sc awsid.Scope, name string) *group {
	g := groups.Get(r, sc, name)
	if g == nil {
		return nil
	}
	own := *g
	return s.resolve(r, &own)
}

// list returns a scope's groups in the order of their names.
func (s *Service) list(r store.Reader, sc awsid.Scope) []*group {
	var out []*group
	for _, g := range groups.List(r, sc) {
		own := *g
		if r := s.resolve(r, &own); r != nil {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *group) int { return compare(a.name(), b.name()) })
	return out
}

// put writes a group and, for a managed node group, that.
func (s *Service) put(tx *store.Tx, g *group) {
	if m := g.managed; m != nil {
		m.Min, m.Max, m.Desired, m.Leaving = *g.Resource.MinSize, *g.Resource.MaxSize, *g.Resource.DesiredCapacity, g.Leaving
		s.Nodegroups.Resize(tx, g.Scope, m)
		bare := *g
		bare.Resource.MinSize, bare.Resource.MaxSize, bare.Resource.DesiredCapacity, bare.Resource.MixedInstancesPolicy = nil, nil, nil, nil
		bare.Subnets, bare.Leaving, bare.Deleting, bare.Resource.AvailabilityZones = nil, nil, false, nil
		g = &bare
	}
	groups.Put(tx, g.Scope, g.name(), g)
}

// edit changes a group.
func (s *Service) edit(tx *store.Tx, sc awsid.Scope, name string, f func(g *group) error) error {
	g := s.resolve(tx, groups.Edit(tx, sc, name))
	if g == nil {
		return noGroup(name)
	}
	if err := f(g); err != nil {
		return err
	}
	s.put(tx, g)
	return nil
}

// activityLife is how long Auto Scaling shows activities.
const activityLife = 6 * 7 * 24 * time.Hour
