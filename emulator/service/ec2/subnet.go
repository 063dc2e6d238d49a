package ec2

import (
	"context"
	"net/netip"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// CreateSubnet creates a subnet in one availability zone of a VPC.
func (s *Service) CreateSubnet(ctx context.Context, in *ec2.CreateSubnetInput, _ ...func(*ec2.Options)) (*ec2.CreateSubnetOutput, error) {
	if in.VpcId == nil {
		return nil, errMissing("vpcId")
	}
	cidr, cidr6, err := subnetBlocks(in)
	if err != nil {
		return nil, err
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeSubnet)
	if err != nil {
		return nil, err
	}
	var out types.Subnet
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := vpcKind.get(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		zone, err := chooseZone(sc.Region, in.AvailabilityZone, in.AvailabilityZoneId)
		if err != nil {
			return err
		}
		if n := countIn(Subnets.List(tx, sc), func(r *Subnet) bool { return deref(r.VpcId) == *v.VpcId }); n >= s.quota("subnets-per-vpc") {
			return errLimit("SubnetLimitExceeded", "subnets")
		}
		if cidr.IsValid() {
			if err := checkSubnetCIDR(tx, sc, v, cidr); err != nil {
				return err
			}
		}
		if cidr6.IsValid() {
			if err := checkSubnetCIDR6(tx, sc, v, cidr6); err != nil {
				return err
			}
		}
		sub := putSubnet(tx, sc, v, zone, cidr, cidr6)
		sub.Tags = tags
		Subnets.Put(tx, sc, *sub.SubnetId, sub)
		out = subnetView(tx, sc, sub)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if out.Ipv6CidrBlockAssociationSet == nil {
		out.Ipv6CidrBlockAssociationSet = []types.SubnetIpv6CidrBlockAssociation{}
	}
	return &ec2.CreateSubnetOutput{Subnet: &out}, nil
}

func checkSubnetCIDR(tx *store.Tx, sc awsid.Scope, v *Vpc, cidr netip.Prefix) error {
	inside := false
	for _, block := range vpcCIDRs(&v.Vpc) {
		inside = inside || ipam.Contains(block, cidr)
	}
	if !inside || cidr.Bits() < 16 || cidr.Bits() > 28 {
		return apiError("InvalidSubnet.Range", "The CIDR '%s' is invalid.", cidr)
	}
	for _, other := range Subnets.List(tx, sc) {
		if deref(other.VpcId) == *v.VpcId && other.CidrBlock != nil && netip.MustParsePrefix(*other.CidrBlock).Overlaps(cidr) {
			return apiError("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr)
		}
	}
	return nil
}

// chooseZone resolves a zone given by name or id, the region's first without.
func chooseZone(region string, name, id *string) (regions.Zone, error) {
	r, _ := regions.Get(region)
	if deref(name) == "" { // as clients send it that leave it open
		name = nil
	}
	if deref(id) == "" {
		id = nil
	}
	if name != nil && id != nil {
		return regions.Zone{}, errCombination("The parameters availabilityZone and availabilityZoneId cannot be used together")
	}
	var names []string
	for _, z := range r.Zones {
		names = append(names, z.Name)
	}
	switch {
	case name != nil:
		if z, ok := r.Zone(*name); ok {
			return z, nil
		}
		return regions.Zone{}, errInvalid("Value (%s) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: %s.", *name, strings.Join(names, ", "))
	case id != nil:
		if z, ok := r.ZoneByID(*id); ok {
			return z, nil
		}
		return regions.Zone{}, errInvalid("Value (%s) for parameter availabilityZoneId is invalid.", *id)
	}
	return r.Zones[0], nil
}

// putSubnet writes a subnet's address pool and its place in the default network
// ACL, and returns the subnet for the caller to finish and put.
func putSubnet(tx *store.Tx, sc awsid.Scope, v *Vpc, zone regions.Zone, cidr, cidr6 netip.Prefix) *Subnet {
	id := awsid.NewID("subnet")
	sub := &Subnet{Subnet: types.Subnet{
		SubnetId: &id, SubnetArn: aws.String(sc.ARN("ec2", "subnet/"+id)), VpcId: v.VpcId, OwnerId: &sc.Account,
		AvailabilityZone: aws.String(zone.Name), AvailabilityZoneId: aws.String(zone.ID),
		State: types.SubnetStateAvailable, DefaultForAz: aws.Bool(false),
		MapPublicIpOnLaunch: aws.Bool(false), AssignIpv6AddressOnCreation: aws.Bool(false),
		MapCustomerOwnedIpOnLaunch: aws.Bool(false), EnableDns64: aws.Bool(false), Ipv6Native: aws.Bool(false),
		PrivateDnsNameOptionsOnLaunch: &types.PrivateDnsNameOptionsOnLaunch{
			HostnameType: types.HostnameTypeIpName, EnableResourceNameDnsARecord: aws.Bool(false), EnableResourceNameDnsAAAARecord: aws.Bool(false),
		},
	}}
	pool := &SubnetAddressPool{}
	if cidr.IsValid() {
		sub.CidrBlock, pool.IPv4 = aws.String(cidr.String()), ipam.NewSubnet(cidr)
	} else {
		sub.Ipv6Native, sub.AssignIpv6AddressOnCreation = aws.Bool(true), aws.Bool(true)
		sub.PrivateDnsNameOptionsOnLaunch.HostnameType = types.HostnameTypeResourceName
	}
	if cidr6.IsValid() {
		addSubnetIPv6(sub, pool, cidr6)
	}
	SubnetAddresses.Put(tx, sc, id, pool)
	associateAcl(tx, sc, v.DefaultNetworkAcl, id)
	return sub
}

// DeleteSubnet deletes a subnet in which no address is taken.
func (s *Service) DeleteSubnet(ctx context.Context, in *ec2.DeleteSubnetInput, _ ...func(*ec2.Options)) (*ec2.DeleteSubnetOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		sub, err := subnetKind.get(tx, sc, in.SubnetId)
		if err != nil {
			return err
		}
		id := *sub.SubnetId
		if pool := SubnetAddresses.Get(tx, sc, id); pool != nil && pool.taken() > 0 {
			return errDependency("subnet", id)
		}
		editRouteTablesOf(tx, sc, *sub.VpcId, func(rt *RouteTable) { rt.Associations = withoutSubnet(rt.Associations, id) })
		dissociateAcl(tx, sc, id)
		dropReservations(tx, sc, id)
		SubnetAddresses.Delete(tx, sc, id)
		Subnets.Delete(tx, sc, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteSubnetOutput{}, nil
}

// ModifySubnetAttribute sets one attribute of a subnet.
func (s *Service) ModifySubnetAttribute(ctx context.Context, in *ec2.ModifySubnetAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifySubnetAttributeOutput, error) {
	err := s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		sub, err := subnetKind.edit(tx, sc, in.SubnetId)
		if err != nil {
			return err
		}
		dns := sub.PrivateDnsNameOptionsOnLaunch
		set := 0
		switch {
		case in.EnableLniAtDeviceIndex != nil:
			sub.EnableLniAtDeviceIndex = in.EnableLniAtDeviceIndex
			set++
		case in.CustomerOwnedIpv4Pool != nil:
			return errInvalid("The subnet ID '%s' is not in an Outpost", *sub.SubnetId)
		}
		for _, a := range []struct {
			value *types.AttributeBooleanValue
			field **bool
		}{
			{in.MapPublicIpOnLaunch, &sub.MapPublicIpOnLaunch},
			{in.AssignIpv6AddressOnCreation, &sub.AssignIpv6AddressOnCreation},
			{in.MapCustomerOwnedIpOnLaunch, &sub.MapCustomerOwnedIpOnLaunch},
			{in.EnableDns64, &sub.EnableDns64},
			{in.EnableResourceNameDnsARecordOnLaunch, &dns.EnableResourceNameDnsARecord},
			{in.EnableResourceNameDnsAAAARecordOnLaunch, &dns.EnableResourceNameDnsAAAARecord},
		} {
			if a.value != nil {
				*a.field = aws.Bool(aws.ToBool(a.value.Value))
				set++
			}
		}
		if h := in.PrivateDnsHostnameTypeOnLaunch; h != "" {
			if h != types.HostnameTypeIpName && h != types.HostnameTypeResourceName {
				return errInvalidValue(h, "privateDnsHostnameTypeOnLaunch")
			}
			dns.HostnameType = h
			set++
		}
		if set == 0 {
			return errMissing("attribute")
		}
		if aws.ToBool(sub.AssignIpv6AddressOnCreation) && len(sub.Ipv6CidrBlockAssociationSet) == 0 {
			return errInvalid("Invalid value '%s' for subnetId. Ipv6 address is not supported on subnet '%s'.", *sub.SubnetId, *sub.SubnetId)
		}
		Subnets.Put(tx, sc, *sub.SubnetId, sub)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifySubnetAttributeOutput{}, nil
}

// DescribeSubnets lists subnets.
func (s *Service) DescribeSubnets(ctx context.Context, in *ec2.DescribeSubnetsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := subnetLister.run(s.store, sc, query{in.SubnetIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeSubnetsOutput{Subnets: page, NextToken: next}, nil
}

func subnetView(r store.Reader, sc awsid.Scope, rec *Subnet) types.Subnet {
	v := rec.Subnet
	v.AvailableIpAddressCount = aws.Int32(0)
	if v.BlockPublicAccessStates == nil {
		v.BlockPublicAccessStates = &types.BlockPublicAccessStates{InternetGatewayBlockMode: types.BlockPublicAccessModeOff}
	}
	if pool := SubnetAddresses.Get(r, sc, *v.SubnetId); pool != nil && pool.IPv4 != nil {
		v.AvailableIpAddressCount = aws.Int32(int32(pool.IPv4.Free()))
	}
	return v
}

var subnetLister = &lister[Subnet, types.Subnet]{
	kind: subnetKind,
	view: subnetView,
	id:   func(v *types.Subnet) string { return deref(v.SubnetId) },
	tags: func(v *types.Subnet) []types.Tag { return v.Tags },
	filters: fields[types.Subnet]{
		"availability-zone":          func(v *types.Subnet) []string { return one(v.AvailabilityZone) },
		"availabilityZone":           func(v *types.Subnet) []string { return one(v.AvailabilityZone) },
		"availability-zone-id":       func(v *types.Subnet) []string { return one(v.AvailabilityZoneId) },
		"availabilityZoneId":         func(v *types.Subnet) []string { return one(v.AvailabilityZoneId) },
		"available-ip-address-count": func(v *types.Subnet) []string { return number(v.AvailableIpAddressCount) },
		"cidr":                       func(v *types.Subnet) []string { return one(v.CidrBlock) },
		"cidr-block":                 func(v *types.Subnet) []string { return one(v.CidrBlock) },
		"cidrBlock":                  func(v *types.Subnet) []string { return one(v.CidrBlock) },
		"default-for-az":             func(v *types.Subnet) []string { return boolean(v.DefaultForAz) },
		"defaultForAz":               func(v *types.Subnet) []string { return boolean(v.DefaultForAz) },
		"enable-dns64":               func(v *types.Subnet) []string { return boolean(v.EnableDns64) },
		"ipv6-native":                func(v *types.Subnet) []string { return boolean(v.Ipv6Native) },
		"map-public-ip-on-launch":    func(v *types.Subnet) []string { return boolean(v.MapPublicIpOnLaunch) },
		"mapPublicIpOnLaunch":        func(v *types.Subnet) []string { return boolean(v.MapPublicIpOnLaunch) },
		"outpost-arn":                func(v *types.Subnet) []string { return one(v.OutpostArn) },
		"owner-id":                   func(v *types.Subnet) []string { return one(v.OwnerId) },
		"state":                      func(v *types.Subnet) []string { return text(v.State) },
		"subnet-arn":                 func(v *types.Subnet) []string { return one(v.SubnetArn) },
		"subnet-id":                  func(v *types.Subnet) []string { return one(v.SubnetId) },
		"vpc-id":                     func(v *types.Subnet) []string { return one(v.VpcId) },
		"private-dns-name-options-on-launch.hostname-type": func(v *types.Subnet) []string {
			return text(v.PrivateDnsNameOptionsOnLaunch.HostnameType)
		},
		"customer-owned-ipv4-pool":        func(v *types.Subnet) []string { return one(v.CustomerOwnedIpv4Pool) },
		"enable-lni-at-device-index":      func(v *types.Subnet) []string { return number(v.EnableLniAtDeviceIndex) },
		"map-customer-owned-ip-on-launch": func(v *types.Subnet) []string { return boolean(v.MapCustomerOwnedIpOnLaunch) },
		"private-dns-name-options-on-launch.enable-resource-name-dns-a-record": func(v *types.Subnet) []string {
			return boolean(v.PrivateDnsNameOptionsOnLaunch.EnableResourceNameDnsARecord)
		},
		"private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": func(v *types.Subnet) []string {
			return boolean(v.PrivateDnsNameOptionsOnLaunch.EnableResourceNameDnsAAAARecord)
		},
		"ipv6-cidr-block-association.association-id": func(v *types.Subnet) []string {
			return each(v.Ipv6CidrBlockAssociationSet, func(a *types.SubnetIpv6CidrBlockAssociation) []string { return one(a.AssociationId) })
		},
		"ipv6-cidr-block-association.state": func(v *types.Subnet) []string {
			return each(v.Ipv6CidrBlockAssociationSet, func(a *types.SubnetIpv6CidrBlockAssociation) []string { return text(a.Ipv6CidrBlockState.State) })
		},
		"ipv6-cidr-block-association.ipv6-cidr-block": func(v *types.Subnet) []string {
			return each(v.Ipv6CidrBlockAssociationSet, func(a *types.SubnetIpv6CidrBlockAssociation) []string { return one(a.Ipv6CidrBlock) })
		},
	},
}
