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

// subnetBlocks reads the blocks of a CreateSubnet request.
func subnetBlocks(in *ec2.CreateSubnetInput) (cidr, cidr6 netip.Prefix, err error) {
	native := aws.ToBool(in.Ipv6Native)
	switch {
	case in.Ipv4IpamPoolId != nil || in.Ipv6IpamPoolId != nil:
		return cidr, cidr6, errOwnIPv6
	case native && in.CidrBlock != nil:
		return cidr, cidr6, errCombination("The parameters cidrBlock and ipv6Native cannot be used together")
	case native && in.Ipv6CidrBlock == nil:
		return cidr, cidr6, errMissing("ipv6CidrBlock")
	case !native && in.CidrBlock == nil:
		return cidr, cidr6, errMissing("cidrBlock")
	}
	if in.CidrBlock != nil {
		if cidr, err = parseCIDR(*in.CidrBlock, "cidrBlock"); err != nil {
			return cidr, cidr6, err
		}
	}
	if in.Ipv6CidrBlock != nil {
		cidr6, err = parseCIDR6(*in.Ipv6CidrBlock, "ipv6CidrBlock")
	}
	return cidr, cidr6, err
}

func parseCIDR6(s, param string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is6() {
		return netip.Prefix{}, errInvalid("Value (%s) for parameter %s is invalid. This is not a valid Ipv6 CIDR block.", s, param)
	}
	return p.Masked(), nil
}

// subnetCIDRs6 returns the IPv6 blocks of a subnet.
func subnetCIDRs6(sub *types.Subnet) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range sub.Ipv6CidrBlockAssociationSet {
		if p, err := netip.ParsePrefix(deref(a.Ipv6CidrBlock)); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// checkSubnetCIDR6 wants a block of /44 to /64, in steps of four bits, of one of
// the VPC's blocks that no other subnet has (EC2 API Reference, CreateSubnet).
func checkSubnetCIDR6(tx *store.Tx, sc awsid.Scope, v *Vpc, cidr netip.Prefix) error {
	inside := slices.ContainsFunc(vpcCIDRs6(&v.Vpc), func(b netip.Prefix) bool { return ipam.Contains(b, cidr) })
	if !inside || cidr.Bits() < 44 || cidr.Bits() > 64 || cidr.Bits()%4 != 0 {
		return apiError("InvalidSubnet.Range", "The CIDR '%s' is invalid.", cidr)
	}
	for _, other := range Subnets.List(tx, sc) {
		for _, p := range subnetCIDRs6(&other.Subnet) {
			if deref(other.VpcId) == *v.VpcId && p.Overlaps(cidr) {
				return apiError("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr)
			}
		}
	}
	return nil
}

func addSubnetIPv6(sub *Subnet, pool *SubnetAddressPool, cidr netip.Prefix) types.SubnetIpv6CidrBlockAssociation {
	a := types.SubnetIpv6CidrBlockAssociation{
		AssociationId: aws.String(awsid.NewID("subnet-cidr-assoc")), Ipv6CidrBlock: aws.String(cidr.String()),
		Ipv6CidrBlockState: &types.SubnetCidrBlockState{State: types.SubnetCidrBlockStateCodeAssociated},
		IpSource:           types.IpSourceAmazon, Ipv6AddressAttribute: types.Ipv6AddressAttributePublic,
	}
	sub.Ipv6CidrBlockAssociationSet = append(sub.Ipv6CidrBlockAssociationSet, a)
	pool.IPv6 = ipam.NewSubnet(cidr)
	return a
}

// AssociateSubnetCidrBlock gives a subnet its IPv6 block; it has at most one.
func (s *Service) AssociateSubnetCidrBlock(ctx context.Context, in *ec2.AssociateSubnetCidrBlockInput, _ ...func(*ec2.Options)) (*ec2.AssociateSubnetCidrBlockOutput, error) {
	if in.Ipv6IpamPoolId != nil {
		return nil, errOwnIPv6
	}
	if in.Ipv6CidrBlock == nil {
		return nil, errMissing("ipv6CidrBlock")
	}
	cidr, err := parseCIDR6(*in.Ipv6CidrBlock, "ipv6CidrBlock")
	if err != nil {
		return nil, err
	}
	var a types.SubnetIpv6CidrBlockAssociation
	err = s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		sub, err := subnetKind.edit(tx, sc, in.SubnetId)
		if err != nil {
			return err
		}
		if len(sub.Ipv6CidrBlockAssociationSet) > 0 {
			return apiError("SubnetIpv6CidrLimitExceeded", "The subnet '%s' has met its maximum number of allowed IPv6 CIDRs: 1", *sub.SubnetId)
		}
		if err := checkSubnetCIDR6(tx, sc, Vpcs.Get(tx, sc, *sub.VpcId), cidr); err != nil {
			return err
		}
		pool := SubnetAddresses.Edit(tx, sc, *sub.SubnetId)
		a = addSubnetIPv6(sub, pool, cidr)
		SubnetAddresses.Put(tx, sc, *sub.SubnetId, pool)
		Subnets.Put(tx, sc, *sub.SubnetId, sub)
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.Ipv6CidrBlockState = &types.SubnetCidrBlockState{State: types.SubnetCidrBlockStateCodeAssociating}
	return &ec2.AssociateSubnetCidrBlockOutput{SubnetId: in.SubnetId, Ipv6CidrBlockAssociation: &a}, nil
}

// DisassociateSubnetCidrBlock takes an IPv6 block of which no address is used.
func (s *Service) DisassociateSubnetCidrBlock(ctx context.Context, in *ec2.DisassociateSubnetCidrBlockInput, _ ...func(*ec2.Options)) (*ec2.DisassociateSubnetCidrBlockOutput, error) {
	if in.AssociationId == nil {
		return nil, errMissing("associationId")
	}
	out := &ec2.DisassociateSubnetCidrBlockOutput{}
	err := s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		for _, rec := range Subnets.List(tx, sc) {
			i := slices.IndexFunc(rec.Ipv6CidrBlockAssociationSet, func(a types.SubnetIpv6CidrBlockAssociation) bool {
				return deref(a.AssociationId) == *in.AssociationId
			})
			if i < 0 {
				continue
			}
			sub, pool := Subnets.Edit(tx, sc, *rec.SubnetId), SubnetAddresses.Edit(tx, sc, *rec.SubnetId)
			if aws.ToBool(sub.AssignIpv6AddressOnCreation) {
				return apiError("InvalidCidrBlock.InUse", "The subnet IPv6 CIDR block with association ID %s may not be disassociated, because its subnet has assign-ipv6-address-on-creation set to true.", *in.AssociationId)
			}
			if aws.ToBool(sub.Ipv6Native) || pool.IPv6.Taken() > 0 {
				return apiError("InvalidCidrBlock.InUse", "Subnet cidr block with associationId %s cannot be disassociated. One or more resources are using this CIDR block", *in.AssociationId)
			}
			a := sub.Ipv6CidrBlockAssociationSet[i]
			sub.Ipv6CidrBlockAssociationSet = slices.Delete(sub.Ipv6CidrBlockAssociationSet, i, i+1)
			pool.IPv6 = nil
			SubnetAddresses.Put(tx, sc, *sub.SubnetId, pool)
			Subnets.Put(tx, sc, *sub.SubnetId, sub)
			a.Ipv6CidrBlockState = &types.SubnetCidrBlockState{State: types.SubnetCidrBlockStateCodeDisassociating}
			out.SubnetId, out.Ipv6CidrBlockAssociation = sub.SubnetId, &a
			return nil
		}
		return apiError("InvalidSubnetCidrBlockAssociationID.NotFound", "The subnet CIDR block association ID '%s' does not exist", *in.AssociationId)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
