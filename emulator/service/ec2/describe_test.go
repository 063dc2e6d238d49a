package ec2

import (
	"path"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"abc", "abc", true}, {"abc", "abcd", false}, {"", "", true}, {"*", "", true}, {"*", "anything", true},
		{"a*c", "abbbc", true}, {"a*c", "abbb", false}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{"*karpenter*", "my-karpenter-node", true}, {"a*b*c", "aXbYbZc", true}, {`\*`, "*", true}, {`\*`, "x", false},
		{`a\?c`, "a?c", true}, {`\\`, `\`, true}, {"amazon-eks-node-al2023-*-1.34-v*", "amazon-eks-node-al2023-x86_64-standard-1.34-v20260415", true},
		{"ABC", "abc", false},
	} {
		if got := compilePattern(c.pattern).match(c.text); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.text, got)
		}
	}
}

// FuzzPattern compares with path.Match where the two languages are the same.
func FuzzPattern(f *testing.F) {
	f.Add("a*b?c", "aXXbYc")
	f.Add(`\*a`, "*a")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		got := compilePattern(pattern).match(text)
		if strings.ContainsAny(pattern, "[]/\\") || strings.ContainsAny(text, "/") || strings.ToValidUTF8(pattern+text, "") != pattern+text {
			return
		}
		if want, err := path.Match(pattern, text); err == nil && want != got {
			t.Errorf("%q matches %q: %v, path.Match %v", pattern, text, got, want)
		}
	})
}

func FuzzPaginate(f *testing.F) {
	f.Add("YWZ0ZXI6Yg", int32(5))
	f.Add("nonsense", int32(-1))
	f.Fuzz(func(t *testing.T, token string, size int32) {
		items := []string{"a", "b", "c"}
		got, _, err := paginate(items, func(s *string) string { return *s }, &size, &token, 1)
		if err == nil && len(got) > 3 {
			t.Errorf("%v", got)
		}
	})
}

func TestPagesAndFilters(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	for i := range 12 {
		cidr := "10.0." + string(rune('a'+i)) + ".0/24"
		cidr = strings.NewReplacer("a", "0", "b", "1", "c", "2", "d", "3", "e", "4", "f", "5", "g", "6", "h", "7", "i", "8", "j", "9", "k", "10", "l", "11").Replace(cidr)
		must(f.CreateSubnet(f.ctx, &ec2.CreateSubnetInput{VpcId: &vpc, CidrBlock: &cidr, TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeSubnet, Tags: []types.Tag{{Key: aws.String("kubernetes.io/role/elb"), Value: aws.String("1")}, {Key: aws.String("Name"), Value: aws.String("s" + cidr)}},
		}}}))(t)
	}
	in := &ec2.DescribeSubnetsInput{MaxResults: aws.Int32(5), Filters: filter("tag:kubernetes.io/role/elb", "1")}
	seen, pages := map[string]bool{}, 0
	for {
		out := must(f.DescribeSubnets(f.ctx, in))(t)
		pages++
		for _, s := range out.Subnets {
			seen[*s.SubnetId] = true
		}
		if out.NextToken == nil {
			break
		}
		in.NextToken = out.NextToken
	}
	if len(seen) != 12 || pages != 3 {
		t.Errorf("%d subnets on %d pages", len(seen), pages)
	}
	count := func(filters ...types.Filter) int {
		return len(must(f.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{Filters: filters}))(t).Subnets)
	}
	for _, c := range []struct {
		filters []types.Filter
		want    int
	}{
		{append(filter("vpc-id", vpc), filter("cidr-block", "10.0.1*")...), 3},
		{filter("tag:Name", "s10.0.?.0/24"), 10},
		{filter("tag-key", "Na*"), 12},
		{filter("cidr-block", "10.0.1.0/24", "10.0.2.0/24", "nothing"), 2},
		{filter("availability-zone-id", "use1-az6"), 13},
		{filter("tag:Name"), 0},
	} {
		if got := count(c.filters...); got != c.want {
			t.Errorf("%+v: %d, want %d", c.filters, got, c.want)
		}
	}
	_, err := f.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{Filters: filter("colour", "red")})
	wantError(t, err, "InvalidParameterValue", "The filter 'colour' is invalid")
	_, err = f.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{MaxResults: aws.Int32(3)})
	wantCode(t, err, "InvalidParameterValue")
	_, err = f.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{NextToken: aws.String("xxx")})
	wantCode(t, err, "InvalidNextToken")
}

func TestTags(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	key := func(k string) types.Tag { return types.Tag{Key: aws.String(k), Value: aws.String("v")} }
	must(f.CreateTags(f.ctx, &ec2.CreateTagsInput{Resources: []string{vpc}, Tags: []types.Tag{key("a"), key("b")}}))(t)
	must(f.CreateTags(f.as("eks"), &ec2.CreateTagsInput{Resources: []string{vpc}, Tags: []types.Tag{key("aws:eks:cluster-name")}}))(t)
	_, err := f.CreateTags(f.ctx, &ec2.CreateTagsInput{Resources: []string{vpc}, Tags: []types.Tag{key("aws:x")}})
	wantCode(t, err, "InvalidParameterValue")
	_, err = f.CreateTags(f.ctx, &ec2.CreateTagsInput{Resources: []string{vpc, "subnet-01234567"}, Tags: []types.Tag{key("c")}})
	wantCode(t, err, "InvalidSubnetID.NotFound")
	_, err = f.CreateTags(f.ctx, &ec2.CreateTagsInput{Resources: []string{"thing-1"}, Tags: []types.Tag{key("c")}})
	wantCode(t, err, "InvalidID")
	many := make([]types.Tag, 0, 60)
	for i := range 60 {
		many = append(many, key(strings.Repeat("x", i+1)))
	}
	_, err = f.CreateTags(f.ctx, &ec2.CreateTagsInput{Resources: []string{vpc}, Tags: many})
	wantCode(t, err, "TagLimitExceeded")
	got := must(f.DescribeTags(f.ctx, &ec2.DescribeTagsInput{Filters: append(filter("resource-id", vpc), filter("resource-type", "vpc")...)}))(t).Tags
	if len(got) != 3 || *got[0].Key != "a" || *got[1].Key != "aws:eks:cluster-name" {
		t.Errorf("%+v", got)
	}
	must(f.DeleteTags(f.ctx, &ec2.DeleteTagsInput{Resources: []string{vpc}, Tags: []types.Tag{{Key: aws.String("a")}, {Key: aws.String("b"), Value: aws.String("other")}}}))(t)
	must(f.DeleteTags(f.ctx, &ec2.DeleteTagsInput{Resources: []string{vpc}}))(t)
	got = must(f.DescribeTags(f.ctx, &ec2.DescribeTagsInput{}))(t).Tags
	if len(got) != 1 || *got[0].Key != "aws:eks:cluster-name" {
		t.Errorf("%+v", got)
	}
}

func TestCatalogues(t *testing.T) {
	f := newFixture(t)
	types1 := must(f.DescribeInstanceTypes(f.ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m5.large"}}))(t).InstanceTypes
	if m := types1[0]; *m.NetworkInfo.MaximumNetworkInterfaces != 3 || *m.NetworkInfo.Ipv4AddressesPerInterface != 10 || *m.VCpuInfo.DefaultVCpus != 2 || *m.MemoryInfo.SizeInMiB != 8192 || m.Hypervisor != "nitro" {
		t.Errorf("%+v", m)
	}
	n := 0
	in := &ec2.DescribeInstanceTypesInput{MaxResults: aws.Int32(100), Filters: append(filter("processor-info.supported-architecture", "arm64"), filter("bare-metal", "false")...)}
	for {
		out := must(f.DescribeInstanceTypes(f.ctx, in))(t)
		n += len(out.InstanceTypes)
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if n < 300 || n > 396 {
		t.Errorf("%d arm64 types", n)
	}
	_, err := f.DescribeInstanceTypes(f.ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m5.huge"}})
	wantError(t, err, "InvalidInstanceType", "The following supplied instance types do not exist: [m5.huge]")
	_, err = f.DescribeAvailabilityZones(f.ctx, &ec2.DescribeAvailabilityZonesInput{DryRun: aws.Bool(true)})
	wantCode(t, err, "DryRunOperation")
	zones := must(f.DescribeAvailabilityZones(f.ctx, &ec2.DescribeAvailabilityZonesInput{}))(t).AvailabilityZones
	if len(zones) != 6 || *zones[0].ZoneId != "use1-az6" {
		t.Errorf("%+v", zones)
	}
	o := must(f.DescribeInstanceTypeOfferings(f.ctx, &ec2.DescribeInstanceTypeOfferingsInput{LocationType: types.LocationTypeAvailabilityZone, Filters: filter("instance-type", "m5.large")}))(t)
	if len(o.InstanceTypeOfferings) != 6 {
		t.Errorf("%+v", o)
	}
	im := must(f.DescribeImages(f.ctx, &ec2.DescribeImagesInput{Owners: []string{"amazon"}, Filters: filter("name", "amazon-eks-node-al2023-x86_64-standard-1.34-v*")}))(t).Images
	if len(im) != 1 || *im[0].ImageId != *f.image() {
		t.Errorf("%+v", im)
	}
	if r := must(f.DescribeRegions(f.ctx, &ec2.DescribeRegionsInput{RegionNames: []string{"eu-west-1"}}))(t).Regions; len(r) != 1 || *r[0].Endpoint != "ec2.eu-west-1.amazonaws.com" {
		t.Errorf("%+v", r)
	}
	if a := must(f.DescribeAccountAttributes(f.ctx, &ec2.DescribeAccountAttributesInput{AttributeNames: []types.AccountAttributeName{"default-vpc"}}))(t).AccountAttributes; !strings.HasPrefix(*a[0].AttributeValues[0].AttributeValue, "vpc-") {
		t.Errorf("%+v", a)
	}
	k := must(f.CreateKeyPair(f.ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("k"), KeyType: types.KeyTypeEd25519}))(t)
	if !strings.Contains(*k.KeyMaterial, "OPENSSH PRIVATE KEY") {
		t.Errorf("%s", *k.KeyMaterial)
	}
	pub := *must(f.DescribeKeyPairs(f.ctx, &ec2.DescribeKeyPairsInput{KeyNames: []string{"k"}, IncludePublicKey: aws.Bool(true)}))(t).KeyPairs[0].PublicKey
	i := must(f.ImportKeyPair(f.ctx, &ec2.ImportKeyPairInput{KeyName: aws.String("i"), PublicKeyMaterial: []byte(pub)}))(t)
	if *i.KeyFingerprint != *k.KeyFingerprint {
		t.Errorf("fingerprints %s and %s", *i.KeyFingerprint, *k.KeyFingerprint)
	}
	must(f.DeleteKeyPair(f.ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String("k")}))(t)
}
