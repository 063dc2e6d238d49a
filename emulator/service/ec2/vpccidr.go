package ec2

import (
	"context"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// AssociateVpcCidrBlock adds a secondary block to a VPC and its local route to
// every route table.
func (s *Service) AssociateVpcCidrBlock(ctx context.Context, in *ec2.AssociateVpcCidrBlockInput, _ ...func(*ec2.Options)) (*ec2.AssociateVpcCidrBlockOutput, error) {
	if in.Ipv6CidrBlock != nil || in.Ipv6Pool != nil || in.Ipv6IpamPoolId != nil {
		return nil, errOwnIPv6
	}
	if aws.ToBool(in.AmazonProvidedIpv6CidrBlock) {
		if in.CidrBlock != nil {
			return nil, errCombination("The parameters cidrBlock and amazonProvidedIpv6CidrBlock cannot be used together")
		}
		return s.associateVpcIPv6(ctx, in)
	}
	if in.CidrBlock == nil {
		return nil, errMissing("cidrBlock")
	}
	cidr, err := parseCIDR(*in.CidrBlock, "cidrBlock")
	if err != nil {
		return nil, err
	}
	var assoc types.VpcCidrBlockAssociation
	err = s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := vpcKind.edit(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		if err := s.checkSecondaryCIDR(v, cidr); err != nil {
			return err
		}
		if err := checkRoutesApart(tx, sc, v, cidr); err != nil {
			return err
		}
		assoc = types.VpcCidrBlockAssociation{
			AssociationId: aws.String(awsid.NewID("vpc-cidr-assoc")), CidrBlock: aws.String(cidr.String()),
			CidrBlockState: &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeAssociated},
		}
		v.CidrBlockAssociationSet = append(v.CidrBlockAssociationSet, assoc)
		Vpcs.Put(tx, sc, *v.VpcId, v)
		editRouteTablesOf(tx, sc, *v.VpcId, func(rt *RouteTable) { rt.Routes = append(rt.Routes, localRoute(cidr)) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	assoc.CidrBlockState = &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeAssociating}
	return &ec2.AssociateVpcCidrBlockOutput{VpcId: in.VpcId, CidrBlockAssociation: &assoc}, nil
}

// The address ranges that AWS does not let one mix in a VPC ("IPv4 CIDR block
// association restrictions" of the VPC user guide's page "VPC CIDR blocks").
var (
	private10  = netip.MustParsePrefix("10.0.0.0/8")
	private172 = netip.MustParsePrefix("172.16.0.0/12")
	private192 = netip.MustParsePrefix("192.168.0.0/16")
	private198 = netip.MustParsePrefix("198.19.0.0/16")
	// Within their own ranges these are AWS's own: 10.0.0.0/16 for a VPC that has
	// a block of 10.0.0.0/15, 172.31.0.0/16 for one of 172.16.0.0/12.
	first10   = netip.MustParsePrefix("10.0.0.0/15")
	kept10    = netip.MustParsePrefix("10.0.0.0/16")
	kept172   = netip.MustParsePrefix("172.31.0.0/16")
	linkLocal = netip.MustParsePrefix("169.254.0.0/16")
)

func (s *Service) checkSecondaryCIDR(v *Vpc, cidr netip.Prefix) error {
	if cidr.Bits() < 16 || cidr.Bits() > 28 {
		return apiError("InvalidVpc.Range", "The CIDR '%s' is invalid.", cidr)
	}
	if most := s.quota("ipv4-cidrs-per-vpc"); len(v.CidrBlockAssociationSet) >= most {
		return apiError("CidrLimitExceeded", "This network '%s' has met its maximum number of allowed CIDRs: %d", *v.VpcId, most)
	}
	for _, have := range vpcCIDRs(&v.Vpc) {
		if have.Overlaps(cidr) {
			return apiError("InvalidVpc.Conflict", "The CIDR '%s' conflicts with another CIDR of the VPC.", cidr)
		}
	}
	if restricted(vpcCIDRs(&v.Vpc), cidr) {
		return apiError("InvalidVpc.Range", "The CIDR '%s' is restricted. Use a CIDR from the same private address range as the current VPC CIDR, or use a publicly-routable CIDR. For additional restrictions, see https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Subnets.html#vpc-resize", cidr)
	}
	return nil
}

// checkRoutesApart refuses a block that is the same as or larger than the destination
// of a route: the local route would have to be the less specific one.
func checkRoutesApart(tx *store.Tx, sc awsid.Scope, v *Vpc, cidr netip.Prefix) error {
	for _, rt := range RouteTables.List(tx, sc) {
		if deref(rt.VpcId) != *v.VpcId {
			continue
		}
		for _, r := range rt.Routes {
			if to, err := netip.ParsePrefix(deref(r.DestinationCidrBlock)); err == nil && ipam.Contains(cidr, to) {
				return apiError("InvalidVpc.Conflict", "The CIDR '%s' conflicts with the route to %s of the route table %s.", cidr, to, *rt.RouteTableId)
			}
		}
	}
	return nil
}

// restricted tells whether a VPC with these blocks, the primary one first, may not
// have cidr too. 100.64.0.0/10 and what is publicly routable may join any VPC.
func restricted(have []netip.Prefix, cidr netip.Prefix) bool {
	primary := have[0]
	for _, block := range []netip.Prefix{private10, private172, private192, private198} {
		if block.Overlaps(cidr) && !block.Overlaps(primary) {
			return true
		}
	}
	return linkLocal.Overlaps(cidr) || kept172.Overlaps(cidr) && private172.Overlaps(primary) ||
		kept10.Overlaps(cidr) && slices.ContainsFunc(have, first10.Overlaps)
}

// vpcCIDRs returns the IPv4 blocks of a VPC, the primary one first.
func vpcCIDRs(v *types.Vpc) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range v.CidrBlockAssociationSet {
		if p, err := netip.ParsePrefix(deref(a.CidrBlock)); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// DisassociateVpcCidrBlock removes a secondary block that no subnet uses.
func (s *Service) DisassociateVpcCidrBlock(ctx context.Context, in *ec2.DisassociateVpcCidrBlockInput, _ ...func(*ec2.Options)) (*ec2.DisassociateVpcCidrBlockOutput, error) {
	if in.AssociationId == nil {
		return nil, errMissing("associationId")
	}
	out := &ec2.DisassociateVpcCidrBlockOutput{}
	err := s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		*out = ec2.DisassociateVpcCidrBlockOutput{}
		v, i := findCIDRAssociation(tx, sc, *in.AssociationId)
		if v == nil {
			if v, i := findVpcIPv6(tx, sc, *in.AssociationId); v != nil {
				return dropVpcIPv6(tx, sc, v, i, out)
			}
			return apiError("InvalidVpcCidrBlockAssociationID.NotFound", "The vpc CIDR block association ID '%s' does not exist", *in.AssociationId)
		}
		assoc := v.CidrBlockAssociationSet[i]
		if deref(assoc.CidrBlock) == deref(v.CidrBlock) {
			return apiError("OperationNotPermitted", "The vpc CIDR block with association ID %s may not be disassociated. It is the primary IPv4 CIDR block of the VPC", *in.AssociationId)
		}
		cidr := netip.MustParsePrefix(*assoc.CidrBlock)
		for _, sub := range Subnets.List(tx, sc) {
			if deref(sub.VpcId) == *v.VpcId && sub.CidrBlock != nil && ipam.Contains(cidr, netip.MustParsePrefix(*sub.CidrBlock)) {
				return apiError("InvalidCidrBlock.InUse", "The vpc %s currently has a subnet within CIDR block %s", *v.VpcId, cidr)
			}
		}
		v.CidrBlockAssociationSet = slices.Delete(v.CidrBlockAssociationSet, i, i+1)
		Vpcs.Put(tx, sc, *v.VpcId, v)
		editRouteTablesOf(tx, sc, *v.VpcId, func(rt *RouteTable) {
			rt.Routes = slices.DeleteFunc(rt.Routes, func(r types.Route) bool {
				return deref(r.GatewayId) == "local" && deref(r.DestinationCidrBlock) == *assoc.CidrBlock
			})
		})
		assoc.CidrBlockState = &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeDisassociating}
		out.VpcId, out.CidrBlockAssociation = v.VpcId, &assoc
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func findCIDRAssociation(tx *store.Tx, sc awsid.Scope, id string) (*Vpc, int) {
	for _, v := range Vpcs.List(tx, sc) {
		i := slices.IndexFunc(v.CidrBlockAssociationSet, func(a types.VpcCidrBlockAssociation) bool { return deref(a.AssociationId) == id })
		if i >= 0 {
			return Vpcs.Edit(tx, sc, *v.VpcId), i
		}
	}
	return nil, 0
}
