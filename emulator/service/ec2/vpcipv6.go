package ec2

import (
	"context"
	"crypto/rand"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// ipv6Block is where VPCs' /56 blocks come from: the range that RFC 3849 sets aside
// for documentation, for the reason that publicBlock gives.
var ipv6Block = netip.MustParsePrefix("2001:db8::/32")

// newIPv6Block chooses a /56 at random, which keeps transactions from conflicting;
// two VPCs of one region never share one.
func newIPv6Block(tx *store.Tx, sc awsid.Scope) netip.Prefix {
	for {
		a := ipv6Block.Addr().As16()
		if _, err := rand.Read(a[4:7]); err != nil {
			panic(err) // crypto/rand does not fail on supported systems
		}
		p := netip.PrefixFrom(netip.AddrFrom16(a), 56)
		used := slices.ContainsFunc(Vpcs.List(tx, sc), func(v *Vpc) bool {
			return slices.ContainsFunc(vpcCIDRs6(&v.Vpc), func(o netip.Prefix) bool { return o == p })
		})
		if !used {
			return p
		}
	}
}

// vpcCIDRs6 returns the IPv6 blocks of a VPC.
func vpcCIDRs6(v *types.Vpc) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range v.Ipv6CidrBlockAssociationSet {
		if p, err := netip.ParsePrefix(deref(a.Ipv6CidrBlock)); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// addVpcIPv6 gives a VPC a block and its route tables the route to it; the caller
// puts the VPC.
func addVpcIPv6(tx *store.Tx, sc awsid.Scope, v *Vpc, border *string) types.VpcIpv6CidrBlockAssociation {
	cidr := newIPv6Block(tx, sc).String()
	if border == nil {
		border = &sc.Region
	}
	a := types.VpcIpv6CidrBlockAssociation{
		AssociationId: aws.String(awsid.NewID("vpc-cidr-assoc")), Ipv6CidrBlock: &cidr, Ipv6Pool: aws.String("Amazon"),
		NetworkBorderGroup: border, IpSource: types.IpSourceAmazon, Ipv6AddressAttribute: types.Ipv6AddressAttributePublic,
		Ipv6CidrBlockState: &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeAssociated},
	}
	v.Ipv6CidrBlockAssociationSet = append(v.Ipv6CidrBlockAssociationSet, a)
	editRouteTablesOf(tx, sc, *v.VpcId, func(rt *RouteTable) { rt.Routes = append(rt.Routes, localRoute6(cidr)) })
	return a
}

// associating6 is how the creating request shows associations: on their way, and
// the block not known yet.
func associating6(in []types.VpcIpv6CidrBlockAssociation) []types.VpcIpv6CidrBlockAssociation {
	out := make([]types.VpcIpv6CidrBlockAssociation, 0, len(in))
	for _, a := range in {
		a.Ipv6CidrBlock, a.Ipv6CidrBlockState = aws.String(""), &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeAssociating}
		out = append(out, a)
	}
	return out
}

func (s *Service) associateVpcIPv6(ctx context.Context, in *ec2.AssociateVpcCidrBlockInput) (*ec2.AssociateVpcCidrBlockOutput, error) {
	var a types.VpcIpv6CidrBlockAssociation
	err := s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := vpcKind.edit(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		if most := s.quota("ipv6-cidrs-per-vpc"); len(v.Ipv6CidrBlockAssociationSet) >= most {
			return apiError("CidrLimitExceeded", "This network '%s' has met its maximum number of allowed CIDRs: %d", *v.VpcId, most)
		}
		a = addVpcIPv6(tx, sc, v, in.Ipv6CidrBlockNetworkBorderGroup)
		Vpcs.Put(tx, sc, *v.VpcId, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AssociateVpcCidrBlockOutput{VpcId: in.VpcId, Ipv6CidrBlockAssociation: &associating6([]types.VpcIpv6CidrBlockAssociation{a})[0]}, nil
}

func findVpcIPv6(tx *store.Tx, sc awsid.Scope, id string) (*Vpc, int) {
	for _, v := range Vpcs.List(tx, sc) {
		i := slices.IndexFunc(v.Ipv6CidrBlockAssociationSet, func(a types.VpcIpv6CidrBlockAssociation) bool { return deref(a.AssociationId) == id })
		if i >= 0 {
			return Vpcs.Edit(tx, sc, *v.VpcId), i
		}
	}
	return nil, 0
}

// dropVpcIPv6 takes an IPv6 block that no subnet uses from a VPC.
func dropVpcIPv6(tx *store.Tx, sc awsid.Scope, v *Vpc, i int, out *ec2.DisassociateVpcCidrBlockOutput) error {
	a := v.Ipv6CidrBlockAssociationSet[i]
	cidr := netip.MustParsePrefix(*a.Ipv6CidrBlock)
	for _, sub := range Subnets.List(tx, sc) {
		for _, p := range subnetCIDRs6(&sub.Subnet) {
			if deref(sub.VpcId) == *v.VpcId && ipam.Contains(cidr, p) {
				return apiError("InvalidCidrBlock.InUse", "Vpc cidr block with associationId %s cannot be disassociated. One or more resources are using this CIDR block", *a.AssociationId)
			}
		}
	}
	v.Ipv6CidrBlockAssociationSet = slices.Delete(v.Ipv6CidrBlockAssociationSet, i, i+1)
	Vpcs.Put(tx, sc, *v.VpcId, v)
	editRouteTablesOf(tx, sc, *v.VpcId, func(rt *RouteTable) {
		rt.Routes = slices.DeleteFunc(rt.Routes, func(r types.Route) bool {
			return deref(r.GatewayId) == "local" && deref(r.DestinationIpv6CidrBlock) == *a.Ipv6CidrBlock
		})
	})
	a.Ipv6CidrBlockState = &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeDisassociating}
	out.VpcId, out.Ipv6CidrBlockAssociation = v.VpcId, &a
	return nil
}
