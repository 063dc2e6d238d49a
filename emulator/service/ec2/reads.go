package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// What accounts of the emulator never have is answered as AWS answers an account
// that has none: clients ask for it on their way to something else.

// DescribeCapacityReservations lists none.
func (s *Service) DescribeCapacityReservations(ctx context.Context, in *ec2.DescribeCapacityReservationsInput, _ ...func(*ec2.Options)) (*ec2.DescribeCapacityReservationsOutput, error) {
	if _, err := s.read(ctx, in.DryRun); err != nil {
		return nil, err
	}
	if _, err := compile(noFields[types.CapacityReservation](capacityReservationFilters), func(v *types.CapacityReservation) []types.Tag { return v.Tags }, in.Filters); err != nil {
		return nil, err
	}
	if len(in.CapacityReservationIds) > 0 {
		return nil, apiError("InvalidCapacityReservationId.NotFound", "The capacity reservation ID '%s' does not exist", in.CapacityReservationIds[0])
	}
	return &ec2.DescribeCapacityReservationsOutput{CapacityReservations: []types.CapacityReservation{}}, nil
}

var capacityReservationFilters = []string{
	"instance-type", "owner-id", "instance-platform", "availability-zone", "availability-zone-id", "tenancy", "outpost-arn", "state", "start-date", "end-date",
	"end-date-type", "instance-match-criteria", "placement-group-arn", "reservation-type",
}

// noFields makes filters that take values and select nothing.
func noFields[V any](names []string) fields[V] {
	out := fields[V]{}
	for _, n := range names {
		out[n] = func(*V) []string { return nil }
	}
	return out
}

// EC2-Classic is gone, and ClassicLink with it.
var errNoClassic = apiError("UnsupportedOperation", "The functionality you requested is not available in this region.")

// DescribeVpcClassicLink answers as every region does since EC2-Classic ended.
func (s *Service) DescribeVpcClassicLink(ctx context.Context, in *ec2.DescribeVpcClassicLinkInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcClassicLinkOutput, error) {
	if _, err := s.read(ctx, in.DryRun); err != nil {
		return nil, err
	}
	return nil, errNoClassic
}

// DescribeVpcClassicLinkDnsSupport answers like DescribeVpcClassicLink.
func (s *Service) DescribeVpcClassicLinkDnsSupport(ctx context.Context, _ *ec2.DescribeVpcClassicLinkDnsSupportInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcClassicLinkDnsSupportOutput, error) {
	if _, err := s.read(ctx, nil); err != nil {
		return nil, err
	}
	return nil, errNoClassic
}

// GetEbsEncryptionByDefault tells that volumes are not encrypted unless asked for.
func (s *Service) GetEbsEncryptionByDefault(ctx context.Context, in *ec2.GetEbsEncryptionByDefaultInput, _ ...func(*ec2.Options)) (*ec2.GetEbsEncryptionByDefaultOutput, error) {
	if _, err := s.read(ctx, in.DryRun); err != nil {
		return nil, err
	}
	return &ec2.GetEbsEncryptionByDefaultOutput{EbsEncryptionByDefault: aws.Bool(false)}, nil
}

// GetSecurityGroupsForVpc lists the groups that a VPC's interfaces may use.
func (s *Service) GetSecurityGroupsForVpc(ctx context.Context, in *ec2.GetSecurityGroupsForVpcInput, _ ...func(*ec2.Options)) (*ec2.GetSecurityGroupsForVpcOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	v, err := vpcKind.get(s.store, sc, in.VpcId)
	if err != nil {
		return nil, err
	}
	match, err := compile(groupForVpcFilters, func(g *types.SecurityGroupForVpc) []types.Tag { return g.Tags }, in.Filters)
	if err != nil {
		return nil, err
	}
	out := []types.SecurityGroupForVpc{}
	for _, g := range SecurityGroups.List(s.store, sc) {
		x := types.SecurityGroupForVpc{GroupId: g.GroupId, GroupName: g.GroupName, Description: g.Description, OwnerId: g.OwnerId, PrimaryVpcId: g.VpcId, Tags: g.Tags}
		if deref(g.VpcId) == *v.VpcId && match(&x) {
			out = append(out, x)
		}
	}
	page, next, err := paginate(out, func(g *types.SecurityGroupForVpc) string { return deref(g.GroupId) }, in.MaxResults, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.GetSecurityGroupsForVpcOutput{SecurityGroupForVpcs: page, NextToken: next}, nil
}

var groupForVpcFilters = fields[types.SecurityGroupForVpc]{
	"group-id":       func(g *types.SecurityGroupForVpc) []string { return one(g.GroupId) },
	"group-name":     func(g *types.SecurityGroupForVpc) []string { return one(g.GroupName) },
	"description":    func(g *types.SecurityGroupForVpc) []string { return one(g.Description) },
	"owner-id":       func(g *types.SecurityGroupForVpc) []string { return one(g.OwnerId) },
	"primary-vpc-id": func(g *types.SecurityGroupForVpc) []string { return one(g.PrimaryVpcId) },
}

// DescribeSecurityGroupReferences lists the peered VPCs whose groups refer to the
// given ones.
func (s *Service) DescribeSecurityGroupReferences(ctx context.Context, in *ec2.DescribeSecurityGroupReferencesInput, _ ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupReferencesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	if len(in.GroupId) == 0 {
		return nil, errMissing("groupId")
	}
	out := []types.SecurityGroupReference{}
	for _, id := range in.GroupId {
		g, err := securityGroupKind.get(s.store, sc, &id)
		if err != nil {
			return nil, err
		}
		for _, o := range SecurityGroups.List(s.store, sc) {
			i := slices.IndexFunc(o.Rules, func(r types.SecurityGroupRule) bool {
				return r.ReferencedGroupInfo != nil && deref(r.ReferencedGroupInfo.GroupId) == id
			})
			if i >= 0 && deref(o.VpcId) != deref(g.VpcId) {
				out = append(out, types.SecurityGroupReference{GroupId: g.GroupId, ReferencingVpcId: o.VpcId, VpcPeeringConnectionId: o.Rules[i].ReferencedGroupInfo.VpcPeeringConnectionId})
			}
		}
	}
	return &ec2.DescribeSecurityGroupReferencesOutput{SecurityGroupReferenceSet: out}, nil
}

// ModifyVpcTenancy turns a dedicated VPC into one with default tenancy, which is the
// only change that there is.
func (s *Service) ModifyVpcTenancy(ctx context.Context, in *ec2.ModifyVpcTenancyInput, _ ...func(*ec2.Options)) (*ec2.ModifyVpcTenancyOutput, error) {
	switch in.InstanceTenancy {
	case types.VpcTenancyDefault:
	case "":
		return nil, errMissing("instanceTenancy")
	default:
		return nil, errInvalidValue(in.InstanceTenancy, "instanceTenancy")
	}
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := vpcKind.edit(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		v.InstanceTenancy = types.TenancyDefault
		Vpcs.Put(tx, sc, *v.VpcId, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifyVpcTenancyOutput{ReturnValue: aws.Bool(true)}, nil
}

// ResetNetworkInterfaceAttribute puts the source and destination check back on.
func (s *Service) ResetNetworkInterfaceAttribute(ctx context.Context, in *ec2.ResetNetworkInterfaceAttributeInput, _ ...func(*ec2.Options)) (*ec2.ResetNetworkInterfaceAttributeOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		eni, err := networkInterfaceKind.edit(tx, sc, in.NetworkInterfaceId)
		if err != nil {
			return err
		}
		if in.SourceDestCheck == nil {
			return errMissing("sourceDestCheck")
		}
		eni.SourceDestCheck = aws.Bool(true)
		NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ResetNetworkInterfaceAttributeOutput{}, nil
}
