package ec2

import (
	"context"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// spotPrice makes a price of a type in a zone out of its on-demand one: between 30
// and 50 percent, the same in every run. There are no published figures to copy.
func spotPrice(t *instancetypes.Type, zone string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.Name + "/" + zone)) // never fails
	part := 0.30 + float64(h.Sum32()%200)/1000
	return strconv.FormatFloat(t.USDPerHour*part, 'f', 6, 64)
}

// DescribeSpotPriceHistory lists one price, set this midnight, for each type and
// zone in which spot instances are offered.
func (s *Service) DescribeSpotPriceHistory(ctx context.Context, in *ec2.DescribeSpotPriceHistoryInput, _ ...func(*ec2.Options)) (*ec2.DescribeSpotPriceHistoryOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(spotPriceFilters, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	region, _ := regions.Get(sc.Region)
	if z := in.AvailabilityZone; z != nil {
		if _, ok := region.Zone(*z); !ok {
			return nil, errInvalid("Invalid availability zone: [%s]", *z)
		}
	}
	for _, name := range in.InstanceTypes {
		if _, ok := instancetypes.Lookup(string(name)); !ok {
			return nil, errInvalid("Invalid instance type: %s", name)
		}
	}
	out := []types.SpotPrice{}
	day := s.now().Truncate(24 * time.Hour)
	if in.EndTime == nil || !in.EndTime.Before(day) {
		for _, t := range instancetypes.All() {
			out = append(out, s.spotPrices(t, region, in, day, match)...)
		}
	}
	size := in.MaxResults
	if size == nil || *size > 1000 || *size == 0 {
		size = aws.Int32(1000)
	}
	id := func(v *types.SpotPrice) string {
		return string(v.InstanceType) + " " + deref(v.AvailabilityZone) + " " + string(v.ProductDescription)
	}
	page, next, err := paginate(sorted(out, id), id, size, in.NextToken, 1)
	if err != nil {
		return nil, err
	}
	if next == nil {
		next = aws.String("") // as EC2 says that there is no more
	}
	return &ec2.DescribeSpotPriceHistoryOutput{SpotPriceHistory: page, NextToken: next}, nil
}

func (s *Service) spotPrices(t *instancetypes.Type, region regions.Region, in *ec2.DescribeSpotPriceHistoryInput, day time.Time, match func(*types.SpotPrice) bool) []types.SpotPrice {
	if t.USDPerHour == 0 || !slices.Contains(t.UsageClasses, "spot") || len(in.InstanceTypes) > 0 && !slices.Contains(in.InstanceTypes, types.InstanceType(t.Name)) {
		return nil
	}
	var out []types.SpotPrice
	for _, z := range region.Zones {
		if in.AvailabilityZone != nil && *in.AvailabilityZone != z.Name || in.AvailabilityZoneId != nil && *in.AvailabilityZoneId != z.ID {
			continue
		}
		for _, product := range []types.RIProductDescription{types.RIProductDescriptionLinuxUnix} {
			if len(in.ProductDescriptions) > 0 && !slices.ContainsFunc(in.ProductDescriptions, func(p string) bool {
				return p == string(product) || p == string(product)+" (Amazon VPC)"
			}) {
				continue
			}
			v := types.SpotPrice{
				AvailabilityZone: aws.String(z.Name), AvailabilityZoneId: aws.String(z.ID), InstanceType: types.InstanceType(t.Name),
				ProductDescription: product, SpotPrice: aws.String(spotPrice(t, z.Name)), Timestamp: aws.Time(day),
			}
			if match(&v) {
				out = append(out, v)
			}
		}
	}
	return out
}

var spotPriceFilters = fields[types.SpotPrice]{
	"availability-zone":    func(v *types.SpotPrice) []string { return one(v.AvailabilityZone) },
	"availability-zone-id": func(v *types.SpotPrice) []string { return one(v.AvailabilityZoneId) },
	"instance-type":        func(v *types.SpotPrice) []string { return text(v.InstanceType) },
	"product-description": func(v *types.SpotPrice) []string {
		return []string{string(v.ProductDescription), string(v.ProductDescription) + " (Amazon VPC)"}
	},
	"spot-price": func(v *types.SpotPrice) []string { return one(v.SpotPrice) },
	"timestamp":  func(v *types.SpotPrice) []string { return instant(v.Timestamp) },
}
