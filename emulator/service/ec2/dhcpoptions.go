package ec2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// DhcpOptions is a DHCP options set.
type DhcpOptions struct{ types.DhcpOptions }

// DhcpOptionsSets is keyed by id. The set that a region begins with becomes a record
// when somebody tags it; else defaultDhcpOptions makes it.
const DhcpOptionsSets store.Table[DhcpOptions] = "ec2-dhcp-options"

var dhcpOptionsKind = &kind[DhcpOptions]{
	table: DhcpOptionsSets, typ: types.ResourceTypeDhcpOptions, prefix: "dopt", noun: "dhcpOption", param: "dhcpOptionsId",
	malformed: "InvalidDhcpOptionsId.Malformed", notFound: "InvalidDhcpOptionID.NotFound",
	tags: func(r *DhcpOptions) *[]types.Tag { return &r.Tags },
	id:   func(r *DhcpOptions) *string { return r.DhcpOptionsId },
}

// dhcpOptionsID is the id of the DHCP options set that a region begins with.
func dhcpOptionsID(sc awsid.Scope) string {
	sum := sha256.Sum256([]byte(sc.Account + "/" + sc.Region))
	return "dopt-" + hex.EncodeToString(sum[:])[:17]
}

func dhcpOption(key string, values ...string) types.DhcpConfiguration {
	c := types.DhcpConfiguration{Key: &key}
	for _, v := range values {
		c.Values = append(c.Values, types.AttributeValue{Value: &v})
	}
	return c
}

func defaultDhcpOptions(sc awsid.Scope) *DhcpOptions {
	return &DhcpOptions{types.DhcpOptions{DhcpOptionsId: aws.String(dhcpOptionsID(sc)), OwnerId: &sc.Account, DhcpConfigurations: []types.DhcpConfiguration{
		dhcpOption("domain-name", privateDomain(sc.Region)), dhcpOption("domain-name-servers", "AmazonProvidedDNS"),
	}}}
}

var dhcpKeys = []string{"domain-name", "domain-name-servers", "ntp-servers", "netbios-name-servers", "netbios-node-type", "ipv6-address-preferred-lease-time"}

func checkDhcpOption(c types.NewDhcpConfiguration) error {
	key := deref(c.Key)
	switch {
	case !slices.Contains(dhcpKeys, key):
		return errInvalid("Value (%s) for parameter name is invalid. Unknown DHCP option", key)
	case len(c.Values) == 0:
		return errMissing("value")
	}
	if key == "domain-name" || key == "netbios-node-type" || key == "ipv6-address-preferred-lease-time" {
		if key == "netbios-node-type" && !slices.Contains([]string{"1", "2", "4", "8"}, c.Values[0]) {
			return errInvalid("Value (%s) for parameter value is invalid. Invalid netbios node type", c.Values[0])
		}
		return nil
	}
	if len(c.Values) > 4 {
		return errInvalid("Value (%s) for parameter value is invalid. Too many servers: at most four", c.Values[4])
	}
	for _, v := range c.Values {
		if _, err := netip.ParseAddr(v); err != nil && !(key == "domain-name-servers" && v == "AmazonProvidedDNS") {
			return errInvalid("Value (%s) for parameter value is invalid. Invalid address", v)
		}
	}
	return nil
}

// CreateDhcpOptions creates a set, which no VPC uses yet.
func (s *Service) CreateDhcpOptions(ctx context.Context, in *ec2.CreateDhcpOptionsInput, _ ...func(*ec2.Options)) (*ec2.CreateDhcpOptionsOutput, error) {
	if len(in.DhcpConfigurations) == 0 {
		return nil, errMissing("dhcpConfigurationSet")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeDhcpOptions)
	if err != nil {
		return nil, err
	}
	var options []types.DhcpConfiguration
	for _, c := range in.DhcpConfigurations {
		if err := checkDhcpOption(c); err != nil {
			return nil, err
		}
		options = append(options, dhcpOption(*c.Key, c.Values...))
	}
	var d *DhcpOptions
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		d = &DhcpOptions{types.DhcpOptions{
			DhcpOptionsId: aws.String(awsid.NewID("dopt")), OwnerId: &sc.Account, DhcpConfigurations: options, Tags: tags,
		}}
		DhcpOptionsSets.Put(tx, sc, *d.DhcpOptionsId, d)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateDhcpOptionsOutput{DhcpOptions: &d.DhcpOptions}, nil
}

// AssociateDhcpOptions makes a VPC use a set; "default" is none.
func (s *Service) AssociateDhcpOptions(ctx context.Context, in *ec2.AssociateDhcpOptionsInput, _ ...func(*ec2.Options)) (*ec2.AssociateDhcpOptionsOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		if id := deref(in.DhcpOptionsId); id != "default" && id != dhcpOptionsID(sc) {
			if _, err := dhcpOptionsKind.get(tx, sc, in.DhcpOptionsId); err != nil {
				return err
			}
		}
		v, err := vpcKind.edit(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		v.DhcpOptionsId = in.DhcpOptionsId
		Vpcs.Put(tx, sc, *v.VpcId, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AssociateDhcpOptionsOutput{}, nil
}

// DeleteDhcpOptions deletes a set that no VPC uses.
func (s *Service) DeleteDhcpOptions(ctx context.Context, in *ec2.DeleteDhcpOptionsInput, _ ...func(*ec2.Options)) (*ec2.DeleteDhcpOptionsOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		if deref(in.DhcpOptionsId) != dhcpOptionsID(sc) {
			if _, err := dhcpOptionsKind.get(tx, sc, in.DhcpOptionsId); err != nil {
				return err
			}
		}
		id := *in.DhcpOptionsId
		if slices.ContainsFunc(Vpcs.List(tx, sc), func(v *Vpc) bool { return deref(v.DhcpOptionsId) == id }) {
			return errDependency("dhcpOptions", id)
		}
		DhcpOptionsSets.Delete(tx, sc, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteDhcpOptionsOutput{}, nil
}

// DescribeDhcpOptions lists the region's set and those of the user.
func (s *Service) DescribeDhcpOptions(ctx context.Context, in *ec2.DescribeDhcpOptionsInput, _ ...func(*ec2.Options)) (*ec2.DescribeDhcpOptionsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(dhcpFilters, func(v *types.DhcpOptions) []types.Tag { return v.Tags }, in.Filters)
	if err != nil {
		return nil, err
	}
	all := DhcpOptionsSets.List(s.store, sc)
	if DhcpOptionsSets.Get(s.store, sc, dhcpOptionsID(sc)) == nil {
		all = append(all, defaultDhcpOptions(sc))
	}
	for _, id := range in.DhcpOptionsIds {
		if !slices.ContainsFunc(all, func(d *DhcpOptions) bool { return *d.DhcpOptionsId == id }) {
			if err := dhcpOptionsKind.check(id); err != nil {
				return nil, err
			}
			return nil, dhcpOptionsKind.absent(id)
		}
	}
	out := []types.DhcpOptions{}
	for _, d := range all {
		if (len(in.DhcpOptionsIds) == 0 || slices.Contains(in.DhcpOptionsIds, *d.DhcpOptionsId)) && match(&d.DhcpOptions) {
			out = append(out, d.DhcpOptions)
		}
	}
	id := func(v *types.DhcpOptions) string { return deref(v.DhcpOptionsId) }
	page, next, err := paginate(sorted(out, id), id, in.MaxResults, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeDhcpOptionsOutput{DhcpOptions: page, NextToken: next}, nil
}

// dhcpTags makes the region's own set taggable: it becomes a record.
type dhcpTags struct{ *kind[DhcpOptions] }

func (k dhcpTags) retag(tx *store.Tx, sc awsid.Scope, id string, f func([]types.Tag) ([]types.Tag, error)) (bool, error) {
	if id == dhcpOptionsID(sc) && DhcpOptionsSets.Get(tx, sc, id) == nil {
		DhcpOptionsSets.Put(tx, sc, id, defaultDhcpOptions(sc))
	}
	return k.kind.retag(tx, sc, id, f)
}

// dhcpValues are the values of one option.
func dhcpValues(v *types.DhcpOptions, keep func(key string) bool, f func(*types.DhcpConfiguration) []string) []string {
	var out []string
	for i := range v.DhcpConfigurations {
		if keep(deref(v.DhcpConfigurations[i].Key)) {
			out = append(out, f(&v.DhcpConfigurations[i])...)
		}
	}
	return out
}

var dhcpFilters = fields[types.DhcpOptions]{
	"dhcp-options-id": func(v *types.DhcpOptions) []string { return one(v.DhcpOptionsId) },
	"owner-id":        func(v *types.DhcpOptions) []string { return one(v.OwnerId) },
	"key": func(v *types.DhcpOptions) []string {
		return dhcpValues(v, func(string) bool { return true }, func(c *types.DhcpConfiguration) []string { return one(c.Key) })
	},
	"value": func(v *types.DhcpOptions) []string {
		return dhcpValues(v, func(string) bool { return true }, func(c *types.DhcpConfiguration) []string {
			return each(c.Values, func(a *types.AttributeValue) []string { return one(a.Value) })
		})
	},
}
