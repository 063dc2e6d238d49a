package eks

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// What a managed node group is when the request does not say.
const (
	defaultInstanceType = "t3.medium"
	defaultDiskGiB      = 20
	windowsDiskGiB      = 50
)

// CreateNodegroup implements eks:CreateNodegroup.
func (s *Service) CreateNodegroup(ctx context.Context, in *eks.CreateNodegroupInput, _ ...func(*eks.Options)) (*eks.CreateNodegroupOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName), nodegroup: aws.ToString(in.NodegroupName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	if _, err := readCluster(s.store, scope, a.cluster); err != nil {
		return nil, err
	}
	if err := checkNodegroupName(a); err != nil {
		return nil, err
	}
	if old, err := earlierNodegroup(s.store, scope, a, req); err != nil || old != nil {
		return createdNodegroup(old), err
	}
	c, err := readRunningCluster(s.store, scope, a)
	if err != nil {
		return nil, err
	}
	n, err := s.newNodegroup(ctx, a, c, in)
	if err != nil {
		return nil, err
	}
	n.Request = req
	if err := s.ensureLinked(ctx, scope, "eks-nodegroup.amazonaws.com"); err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if old, err := earlierNodegroup(tx, scope, a, req); err != nil || old != nil {
			n = old
			return err
		}
		if _, err := readRunningCluster(tx, scope, a); err != nil {
			return err
		}
		Nodegroups.Put(tx, scope, ChildID(a.cluster, a.nodegroup), n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return createdNodegroup(n), nil
}

func createdNodegroup(n *Nodegroup) *eks.CreateNodegroupOutput {
	if n == nil {
		return nil
	}
	r := n.Resource
	return &eks.CreateNodegroupOutput{Nodegroup: &r}
}

func earlierNodegroup(r store.Reader, scope awsid.Scope, a about, req Request) (*Nodegroup, error) {
	old := Nodegroups.Get(r, scope, ChildID(a.cluster, a.nodegroup))
	if old == nil || old.Request == req {
		return old, nil
	}
	return nil, a.inUse("NodeGroup already exists with name %s and cluster name %s", a.nodegroup, a.cluster)
}

// newNodegroup validates in and makes the record.
func (s *Service) newNodegroup(ctx context.Context, a about, c *Cluster, in *eks.CreateNodegroupInput) (*Nodegroup, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	id := awsid.NewUUID()
	now := s.now()
	n := &Nodegroup{Scope: c.Scope, ID: id, Generation: 1}
	n.Resource = ekstypes.Nodegroup{
		NodegroupName: in.NodegroupName, ClusterName: in.ClusterName, Status: ekstypes.NodegroupStatusCreating,
		NodegroupArn: aws.String(c.Scope.ARN("eks", strings.Join([]string{"nodegroup", a.cluster, a.nodegroup, id}, "/"))),
		CreatedAt:    now, ModifiedAt: now, Health: &ekstypes.NodegroupHealth{Issues: []ekstypes.Issue{}},
		CapacityType: ekstypes.CapacityTypesOnDemand, Labels: nonNil(in.Labels), Tags: nonNil(in.Tags), NodeRole: in.NodeRole,
		UpdateConfig: &ekstypes.NodegroupUpdateConfig{MaxUnavailable: aws.Int32(1)},
	}
	template, err := s.launchTemplate(ctx, a, in.LaunchTemplate)
	if err != nil {
		return nil, err
	}
	for _, set := range []func() error{
		func() error { return s.setNodeRole(ctx, a, n, aws.ToString(in.NodeRole)) },
		func() error { return s.setNodeSubnets(ctx, a, c, n, in.Subnets) },
		func() error { return setCapacityType(a, n, in.CapacityType) },
		func() error { return setScaling(a, n, in.ScalingConfig) },
		func() error { return checkLabels(a, in.Labels) },
		func() error { return setTaints(a, n, in.Taints) },
		func() error { return setUpdateConfig(a, n, in.UpdateConfig) },
		func() error { return setNodeRepair(a, n, in.NodeRepairConfig) },
		func() error { return setWarmPool(a, n, in.WarmPoolConfig) },
		func() error { return s.setMachines(ctx, a, n, in, template) },
		func() error { return s.checkRemoteAccess(ctx, a, c, in.RemoteAccess) },
		func() error { return s.setNodeVersion(a, c, n, in) },
	} {
		if err := set(); err != nil {
			return nil, err
		}
	}
	n.Applied()
	return n, nil
}

func (s *Service) setNodeRole(ctx context.Context, a about, n *Nodegroup, arn string) error {
	if arn == "" {
		return a.invalidParameter("nodeRole must be specified.")
	}
	p, err := s.checkRole(ctx, a, arn)
	if err != nil {
		return err
	}
	if p.ARN == "" {
		return a.invalidParameter("The role with name %s cannot be found. (Service: AmazonIdentityManagement; Status Code: 404; Error Code: NoSuchEntity; Request ID: %s; Proxy: null)",
			RoleName(arn), awsid.CallerFrom(ctx).RequestID)
	}
	if !trusts(p, nodeService) {
		return a.invalidParameter("Following required service principals [%s] were not found in the trust relationships of nodeRole %s", nodeService, arn)
	}
	n.NodeRoleID = p.ID
	return nil
}

func (s *Service) setNodeSubnets(ctx context.Context, a about, c *Cluster, n *Nodegroup, ids []string) error {
	if len(ids) == 0 {
		return a.invalidParameter("Subnets must be specified.")
	}
	subnets, err := s.subnets(ctx, a, ids)
	if err != nil {
		return err
	}
	vpc, free := aws.ToString(c.Resource.ResourcesVpcConfig.VpcId), int32(0)
	for _, sn := range subnets {
		free += aws.ToInt32(sn.AvailableIpAddressCount)
		if aws.ToString(sn.VpcId) != vpc {
			return a.invalidParameter("Subnet %s is not in the cluster's VPC %s", aws.ToString(sn.SubnetId), vpc)
		}
	}
	// Users quote this of subnets without any address; a group for which there are
	// too few fails later, as its Auto Scaling group does.
	if free == 0 {
		return a.invalidParameter("Not enough available IPs across subnets")
	}
	n.Resource.Subnets = append([]string{}, ids...)
	return nil
}

func setCapacityType(a about, n *Nodegroup, t ekstypes.CapacityTypes) error {
	switch t {
	case "", ekstypes.CapacityTypesOnDemand:
		return nil
	case ekstypes.CapacityTypesSpot:
		n.Resource.CapacityType = t
		return nil
	case ekstypes.CapacityTypesCapacityBlock:
		return a.invalidParameter("Capacity blocks are not emulated: use ON_DEMAND or SPOT.")
	}
	return a.invalidParameter("Unsupported capacityType %s", t)
}
