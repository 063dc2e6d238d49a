package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// DescribeAvailabilityZones lists the zones of the caller's region.
func (s *Service) DescribeAvailabilityZones(ctx context.Context, in *ec2.DescribeAvailabilityZonesInput, _ ...func(*ec2.Options)) (*ec2.DescribeAvailabilityZonesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(zoneFilters, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	region, _ := regions.Get(sc.Region)
	for _, name := range in.ZoneNames {
		if _, ok := region.Zone(name); !ok {
			return nil, errInvalid("Invalid availability zone: [%s]", name)
		}
	}
	for _, id := range in.ZoneIds {
		if _, ok := region.ZoneByID(id); !ok {
			return nil, errInvalid("Invalid availability zone-id: [%s]", id)
		}
	}
	out := []types.AvailabilityZone{}
	for _, z := range region.Zones {
		if len(in.ZoneNames)+len(in.ZoneIds) > 0 && !slices.Contains(in.ZoneNames, z.Name) && !slices.Contains(in.ZoneIds, z.ID) {
			continue
		}
		v := types.AvailabilityZone{
			ZoneName: aws.String(z.Name), ZoneId: aws.String(z.ID), RegionName: aws.String(region.Name), ZoneType: aws.String("availability-zone"),
			GroupName: aws.String(region.Name + "-zg-1"), NetworkBorderGroup: aws.String(region.Name), State: types.AvailabilityZoneStateAvailable,
			OptInStatus: types.AvailabilityZoneOptInStatusOptInNotRequired, Messages: []types.AvailabilityZoneMessage{},
		}
		if match(&v) {
			out = append(out, v)
		}
	}
	return &ec2.DescribeAvailabilityZonesOutput{AvailabilityZones: out}, nil
}

var zoneFilters = fields[types.AvailabilityZone]{
	"group-name":           func(v *types.AvailabilityZone) []string { return one(v.GroupName) },
	"group-long-name":      func(v *types.AvailabilityZone) []string { return one(v.GroupLongName) },
	"message":              func(*types.AvailabilityZone) []string { return nil },
	"opt-in-status":        func(v *types.AvailabilityZone) []string { return text(v.OptInStatus) },
	"parent-zone-id":       func(v *types.AvailabilityZone) []string { return one(v.ParentZoneId) },
	"parent-zone-name":     func(v *types.AvailabilityZone) []string { return one(v.ParentZoneName) },
	"region-name":          func(v *types.AvailabilityZone) []string { return one(v.RegionName) },
	"state":                func(v *types.AvailabilityZone) []string { return text(v.State) },
	"zone-id":              func(v *types.AvailabilityZone) []string { return one(v.ZoneId) },
	"zone-name":            func(v *types.AvailabilityZone) []string { return one(v.ZoneName) },
	"zone-type":            func(v *types.AvailabilityZone) []string { return one(v.ZoneType) },
	"network-border-group": func(v *types.AvailabilityZone) []string { return one(v.NetworkBorderGroup) },
}

// DescribeRegions lists the regions of the partition; every account has enabled
// them all.
func (s *Service) DescribeRegions(ctx context.Context, in *ec2.DescribeRegionsInput, _ ...func(*ec2.Options)) (*ec2.DescribeRegionsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(regionFilters, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	for _, name := range in.RegionNames {
		if r, ok := regions.Get(name); !ok || r.Partition().Name != sc.Partition() {
			return nil, errInvalid("Invalid region provided: [%s]", name)
		}
	}
	out := []types.Region{}
	for _, r := range regions.In(sc.Partition()) {
		if len(in.RegionNames) > 0 && !slices.Contains(in.RegionNames, r.Name) {
			continue
		}
		v := types.Region{RegionName: aws.String(r.Name), Endpoint: aws.String("ec2." + r.Name + "." + r.Partition().DNSSuffix), OptInStatus: aws.String("opt-in-not-required")}
		if r.OptIn {
			v.OptInStatus = aws.String("opted-in")
		}
		if match(&v) {
			out = append(out, v)
		}
	}
	return &ec2.DescribeRegionsOutput{Regions: out}, nil
}

var regionFilters = fields[types.Region]{
	"endpoint":      func(v *types.Region) []string { return one(v.Endpoint) },
	"opt-in-status": func(v *types.Region) []string { return one(v.OptInStatus) },
	"region-name":   func(v *types.Region) []string { return one(v.RegionName) },
}

// accountAttributes are the default quotas that DescribeAccountAttributes shows.
var accountAttributes = []struct{ name, value string }{
	{"vpc-max-security-groups-per-interface", "5"}, {"max-instances", "20"}, {"supported-platforms", "VPC"},
	{"default-vpc", ""}, {"max-elastic-ips", "5"}, {"vpc-max-elastic-ips", "5"},
}

// DescribeAccountAttributes lists quotas and the default VPC.
func (s *Service) DescribeAccountAttributes(ctx context.Context, in *ec2.DescribeAccountAttributesInput, _ ...func(*ec2.Options)) (*ec2.DescribeAccountAttributesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeAccountAttributesOutput{AccountAttributes: []types.AccountAttribute{}}
	for _, a := range accountAttributes {
		if len(in.AttributeNames) > 0 && !slices.Contains(in.AttributeNames, types.AccountAttributeName(a.name)) {
			continue
		}
		value := a.value
		if a.name == "default-vpc" {
			value = "none"
			if v := defaultVpc(s.store, sc); v != nil {
				value = *v.VpcId
			}
		}
		out.AccountAttributes = append(out.AccountAttributes, types.AccountAttribute{
			AttributeName: aws.String(a.name), AttributeValues: []types.AccountAttributeValue{{AttributeValue: &value}},
		})
	}
	return out, nil
}
