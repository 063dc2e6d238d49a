package ec2

import (
	"context"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// CreateVpc creates a VPC with its default security group, main route table and
// default network ACL.
func (s *Service) CreateVpc(ctx context.Context, in *ec2.CreateVpcInput, _ ...func(*ec2.Options)) (*ec2.CreateVpcOutput, error) {
	if in.CidrBlock == nil {
		return nil, apiError("MissingParameter", "Either 'cidrBlock' or 'ipv4IpamPoolId' should be provided.")
	}
	if in.Ipv6CidrBlock != nil || in.Ipv6Pool != nil || in.Ipv6IpamPoolId != nil {
		return nil, errOwnIPv6
	}
	cidr, err := parseCIDR(*in.CidrBlock, "cidrBlock")
	if err != nil {
		return nil, err
	}
	if cidr.Bits() < 16 || cidr.Bits() > 28 || linkLocal.Overlaps(cidr) {
		return nil, apiError("InvalidVpc.Range", "The CIDR '%s' is invalid.", cidr)
	}
	tenancy := in.InstanceTenancy
	switch tenancy {
	case "":
		tenancy = types.TenancyDefault
	case types.TenancyDefault, types.TenancyDedicated:
	default:
		return nil, errInvalidValue(tenancy, "instanceTenancy")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeVpc)
	if err != nil {
		return nil, err
	}
	var out types.Vpc
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		if err := checkQuota(s, tx, sc, Vpcs, "vpcs-per-region", "VpcLimitExceeded", "VPCs"); err != nil {
			return err
		}
		v := putVpc(tx, sc, cidr)
		v.InstanceTenancy, v.Tags = tenancy, tags
		if aws.ToBool(in.AmazonProvidedIpv6CidrBlock) {
			addVpcIPv6(tx, sc, v, in.Ipv6CidrBlockNetworkBorderGroup)
		}
		Vpcs.Put(tx, sc, *v.VpcId, v)
		out = v.Vpc
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.State = types.VpcStatePending // as AWS answers; the next describe says available
	out.Ipv6CidrBlockAssociationSet = associating6(out.Ipv6CidrBlockAssociationSet)
	return &ec2.CreateVpcOutput{Vpc: &out}, nil
}

// putVpc writes what a new VPC brings with it and returns the VPC itself for the
// caller to finish and put.
func putVpc(tx *store.Tx, sc awsid.Scope, cidr netip.Prefix) *Vpc {
	id := awsid.NewID("vpc")
	v := &Vpc{EnableDnsSupport: true}
	v.Vpc = types.Vpc{
		VpcId: &id, CidrBlock: aws.String(cidr.String()), State: types.VpcStateAvailable, OwnerId: &sc.Account,
		IsDefault: aws.Bool(false), InstanceTenancy: types.TenancyDefault, DhcpOptionsId: aws.String(dhcpOptionsID(sc)),
		CidrBlockAssociationSet: []types.VpcCidrBlockAssociation{{
			AssociationId: aws.String(awsid.NewID("vpc-cidr-assoc")), CidrBlock: aws.String(cidr.String()),
			CidrBlockState: &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeAssociated},
		}},
	}
	v.DefaultSecurityGroup = putDefaultSecurityGroup(tx, sc, id)
	v.MainRouteTable = putMainRouteTable(tx, sc, id, cidr)
	v.DefaultNetworkAcl = putDefaultNetworkAcl(tx, sc, id)
	return v
}

// parseCIDR reads an IPv4 block and, as EC2 does, drops the host bits.
func parseCIDR(s, param string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		return netip.Prefix{}, errInvalid("Value (%s) for parameter %s is invalid. This is not a valid CIDR block.", s, param)
	}
	return p.Masked(), nil
}

var errOwnIPv6 = apiError("UnsupportedOperation", "ekslocal has Amazon's IPv6 blocks only: no pools of one's own and no IPAM.")

// DeleteVpc deletes a VPC that holds nothing but what it was created with.
func (s *Service) DeleteVpc(ctx context.Context, in *ec2.DeleteVpcInput, _ ...func(*ec2.Options)) (*ec2.DeleteVpcOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := vpcKind.get(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		if vpcInUse(tx, sc, v) {
			return errDependency("vpc", *v.VpcId)
		}
		SecurityGroups.Delete(tx, sc, v.DefaultSecurityGroup)
		RouteTables.Delete(tx, sc, v.MainRouteTable)
		NetworkAcls.Delete(tx, sc, v.DefaultNetworkAcl)
		s.dropPeerings(tx, sc, *v.VpcId)
		Vpcs.Delete(tx, sc, *v.VpcId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteVpcOutput{}, nil
}

// vpcInUse looks at what sits directly in a VPC. Interfaces, NAT gateways and
// instances sit in subnets.
func vpcInUse(tx *store.Tx, sc awsid.Scope, v *Vpc) bool {
	id := *v.VpcId
	for _, r := range Subnets.List(tx, sc) {
		if deref(r.VpcId) == id {
			return true
		}
	}
	for _, r := range InternetGateways.List(tx, sc) {
		if attachedTo(&r.InternetGateway, id) {
			return true
		}
	}
	for _, r := range SecurityGroups.List(tx, sc) {
		if deref(r.VpcId) == id && *r.GroupId != v.DefaultSecurityGroup {
			return true
		}
	}
	for _, r := range RouteTables.List(tx, sc) {
		if deref(r.VpcId) == id && *r.RouteTableId != v.MainRouteTable {
			return true
		}
	}
	for _, r := range NetworkAcls.List(tx, sc) {
		if deref(r.VpcId) == id && *r.NetworkAclId != v.DefaultNetworkAcl {
			return true
		}
	}
	for _, r := range EgressOnlyInternetGateways.List(tx, sc) {
		if egressOnlyOf(r, id) {
			return true
		}
	}
	for _, r := range VpcEndpoints.List(tx, sc) {
		if deref(r.VpcId) == id {
			return true
		}
	}
	return false
}

// DescribeVpcs lists VPCs.
func (s *Service) DescribeVpcs(ctx context.Context, in *ec2.DescribeVpcsInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := vpcLister.run(s.store, sc, query{in.VpcIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeVpcsOutput{Vpcs: page, NextToken: next}, nil
}

var vpcLister = &lister[Vpc, types.Vpc]{
	kind: vpcKind,
	view: func(_ store.Reader, _ awsid.Scope, r *Vpc) types.Vpc {
		v := r.Vpc
		if v.BlockPublicAccessStates == nil {
			v.BlockPublicAccessStates = &types.BlockPublicAccessStates{InternetGatewayBlockMode: types.BlockPublicAccessModeOff}
		}
		return v
	},
	id:   func(v *types.Vpc) string { return deref(v.VpcId) },
	tags: func(v *types.Vpc) []types.Tag { return v.Tags },
	filters: fields[types.Vpc]{
		"vpc-id":          func(v *types.Vpc) []string { return one(v.VpcId) },
		"cidr":            func(v *types.Vpc) []string { return one(v.CidrBlock) },
		"cidrBlock":       func(v *types.Vpc) []string { return one(v.CidrBlock) },
		"cidr-block":      func(v *types.Vpc) []string { return one(v.CidrBlock) },
		"dhcp-options-id": func(v *types.Vpc) []string { return one(v.DhcpOptionsId) },
		"dhcpOptionsId":   func(v *types.Vpc) []string { return one(v.DhcpOptionsId) },
		"is-default":      func(v *types.Vpc) []string { return boolean(v.IsDefault) },
		"isDefault":       func(v *types.Vpc) []string { return boolean(v.IsDefault) },
		"owner-id":        func(v *types.Vpc) []string { return one(v.OwnerId) },
		"state":           func(v *types.Vpc) []string { return text(v.State) },
		"cidr-block-association.cidr-block": func(v *types.Vpc) []string {
			return each(v.CidrBlockAssociationSet, func(a *types.VpcCidrBlockAssociation) []string { return one(a.CidrBlock) })
		},
		"cidr-block-association.association-id": func(v *types.Vpc) []string {
			return each(v.CidrBlockAssociationSet, func(a *types.VpcCidrBlockAssociation) []string { return one(a.AssociationId) })
		},
		"cidr-block-association.state": func(v *types.Vpc) []string {
			return each(v.CidrBlockAssociationSet, func(a *types.VpcCidrBlockAssociation) []string { return text(a.CidrBlockState.State) })
		},
		"ipv6-cidr-block-association.ipv6-cidr-block": func(v *types.Vpc) []string {
			return each(v.Ipv6CidrBlockAssociationSet, func(a *types.VpcIpv6CidrBlockAssociation) []string { return one(a.Ipv6CidrBlock) })
		},
		"ipv6-cidr-block-association.ipv6-pool": func(v *types.Vpc) []string {
			return each(v.Ipv6CidrBlockAssociationSet, func(a *types.VpcIpv6CidrBlockAssociation) []string { return one(a.Ipv6Pool) })
		},
		"ipv6-cidr-block-association.state": func(v *types.Vpc) []string {
			return each(v.Ipv6CidrBlockAssociationSet, func(a *types.VpcIpv6CidrBlockAssociation) []string { return text(a.Ipv6CidrBlockState.State) })
		},
		"ipv6-cidr-block-association.association-id": func(v *types.Vpc) []string {
			return each(v.Ipv6CidrBlockAssociationSet, func(a *types.VpcIpv6CidrBlockAssociation) []string { return one(a.AssociationId) })
		},
	},
}
