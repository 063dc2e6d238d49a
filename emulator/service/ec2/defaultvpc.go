package ec2

import (
	"context"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

var (
	defaultVpcCIDR = netip.MustParsePrefix("172.31.0.0/16")
	anywhere       = netip.MustParsePrefix("0.0.0.0/0")
)

// defaultSubnetBits makes room for 16 zones, as AWS's default subnets do.
const defaultSubnetBits = 20

// putDefaultVpc writes the VPC that every account has in every region: one
// public subnet in each zone and the way to the internet.
func (s *Service) putDefaultVpc(tx *store.Tx, sc awsid.Scope, region regions.Region) error {
	v := putVpc(tx, sc, defaultVpcCIDR)
	v.IsDefault, v.EnableDnsHostnames = aws.Bool(true), true
	Vpcs.Put(tx, sc, *v.VpcId, v)
	space := &ipam.Pool{CIDR: defaultVpcCIDR}
	for _, zone := range region.Zones {
		cidr, err := space.TakePrefix(defaultSubnetBits)
		if err != nil {
			return err
		}
		sub := putSubnet(tx, sc, v, zone, cidr, netip.Prefix{})
		sub.DefaultForAz, sub.MapPublicIpOnLaunch = aws.Bool(true), aws.Bool(true)
		Subnets.Put(tx, sc, *sub.SubnetId, sub)
	}
	igw := awsid.NewID("igw")
	InternetGateways.Put(tx, sc, igw, &InternetGateway{types.InternetGateway{
		InternetGatewayId: &igw, OwnerId: &sc.Account,
		Attachments: []types.InternetGatewayAttachment{{VpcId: v.VpcId, State: attachmentAvailable}},
	}})
	rt := RouteTables.Edit(tx, sc, v.MainRouteTable)
	rt.Routes = append(rt.Routes, types.Route{
		DestinationCidrBlock: aws.String(anywhere.String()), GatewayId: &igw,
		Origin: types.RouteOriginCreateRoute, State: types.RouteStateActive,
	})
	RouteTables.Put(tx, sc, v.MainRouteTable, rt)
	return nil
}

// CreateDefaultVpc makes a default VPC again after the user deleted it.
func (s *Service) CreateDefaultVpc(ctx context.Context, in *ec2.CreateDefaultVpcInput, _ ...func(*ec2.Options)) (*ec2.CreateDefaultVpcOutput, error) {
	var out types.Vpc
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		if v := defaultVpc(tx, sc); v != nil {
			return apiError("DefaultVpcAlreadyExists", "A Default VPC already exists for this account in this region.")
		}
		region, _ := regions.Get(sc.Region)
		if err := s.putDefaultVpc(tx, sc, region); err != nil {
			return err
		}
		out = defaultVpc(tx, sc).Vpc
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateDefaultVpcOutput{Vpc: &out}, nil
}

func defaultVpc(r store.Reader, sc awsid.Scope) *Vpc {
	for _, v := range Vpcs.List(r, sc) {
		if aws.ToBool(v.IsDefault) {
			return v
		}
	}
	return nil
}

// defaultSubnet returns the default VPC's subnet in a zone, in the first zone if
// none is named, nil without a default VPC.
func defaultSubnet(r store.Reader, sc awsid.Scope, zone string) *Subnet {
	var best *Subnet
	for _, sub := range Subnets.List(r, sc) {
		if !aws.ToBool(sub.DefaultForAz) || zone != "" && deref(sub.AvailabilityZone) != zone {
			continue
		}
		if best == nil || deref(sub.AvailabilityZone) < deref(best.AvailabilityZone) {
			best = sub
		}
	}
	return best
}

// CreateDefaultSubnet makes the default VPC's subnet of a zone again.
func (s *Service) CreateDefaultSubnet(ctx context.Context, in *ec2.CreateDefaultSubnetInput, _ ...func(*ec2.Options)) (*ec2.CreateDefaultSubnetOutput, error) {
	switch {
	case in.AvailabilityZone == nil && in.AvailabilityZoneId == nil:
		return nil, errMissing("availabilityZone")
	case aws.ToBool(in.Ipv6Native):
		return nil, apiError("UnsupportedOperation", "The default VPC has no IPv6 block.")
	}
	var out types.Subnet
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		zone, err := chooseZone(sc.Region, in.AvailabilityZone, in.AvailabilityZoneId)
		if err != nil {
			return err
		}
		v := defaultVpc(tx, sc)
		if v == nil {
			return apiError("DefaultVpcDoesNotExist", "No default VPC exists for this account in this region.")
		}
		if have := defaultSubnet(tx, sc, zone.Name); have != nil {
			return apiError("DefaultSubnetAlreadyExistsInAvailabilityZone", "'%s' is already the default subnet in %s.", *have.SubnetId, zone.Name)
		}
		space := &ipam.Pool{CIDR: netip.MustParsePrefix(*v.CidrBlock)}
		for _, sub := range Subnets.List(tx, sc) {
			if deref(sub.VpcId) == *v.VpcId && sub.CidrBlock != nil {
				space.Fill(netip.MustParsePrefix(*sub.CidrBlock))
			}
		}
		cidr, err := space.TakePrefix(defaultSubnetBits)
		if err != nil {
			return apiError("InsufficientFreeAddressesInVpc", "The default VPC has no free /%d block.", defaultSubnetBits)
		}
		sub := putSubnet(tx, sc, v, zone, cidr, netip.Prefix{})
		sub.DefaultForAz, sub.MapPublicIpOnLaunch = aws.Bool(true), aws.Bool(true)
		Subnets.Put(tx, sc, *sub.SubnetId, sub)
		out = subnetView(tx, sc, sub)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateDefaultSubnetOutput{Subnet: &out}, nil
}
