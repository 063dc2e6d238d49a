package ec2

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// busyRegion fills a region with 10,000 resources: 2,000 instances with an interface
// and a volume each, 3,000 interfaces in all, 3,000 rules, and groups, tables and
// subnets for them.
func busyRegion(b *testing.B) *fixture {
	b.Helper()
	f := newFixture(b)
	f.quotas = map[string]int{"subnets-per-vpc": 1000, "network-interfaces-per-region": 10000, "internet-gateways-per-region": 100}
	vpc := f.vpc("10.0.0.0/16")
	var subnets []string
	for i := range 8 {
		subnets = append(subnets, f.subnet(vpc, fmt.Sprintf("10.0.%d.0/21", i*8), "us-east-1a"))
	}
	for i := range 50 {
		g := must(f.CreateSecurityGroup(f.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String(fmt.Sprint("g", i)), Description: aws.String("d"), VpcId: &vpc}))(b)
		p := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(443), ToPort: aws.Int32(443)}
		for j := range 60 {
			p.IpRanges = append(p.IpRanges, types.IpRange{CidrIp: aws.String(fmt.Sprintf("10.%d.%d.0/24", i, j))})
		}
		must(f.AuthorizeSecurityGroupIngress(f.ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: g.GroupId, IpPermissions: []types.IpPermission{p}}))(b)
	}
	tag := func(typ types.ResourceType, i int) []types.TagSpecification {
		return []types.TagSpecification{{ResourceType: typ, Tags: []types.Tag{
			{Key: aws.String("Name"), Value: aws.String(fmt.Sprint("n", i))}, {Key: aws.String("kubernetes.io/cluster/c"), Value: aws.String("owned")},
		}}}
	}
	for i := range 20 {
		must(f.RunInstances(f.ctx, &ec2.RunInstancesInput{
			MinCount: aws.Int32(100), MaxCount: aws.Int32(100), SubnetId: &subnets[i%8], ImageId: f.image(), InstanceType: "m5.large",
			TagSpecifications: tag(types.ResourceTypeInstance, i),
		}))(b)
	}
	f.settle()
	// 1,000 free interfaces in batches of one transaction: the setup is not what is
	// measured.
	for i := range 10 {
		err := f.store.Update(f.ctx, func(tx *store.Tx) error {
			l := newLedger(tx, f.sc)
			sub := Subnets.Get(tx, f.sc, subnets[i%8])
			for range 100 {
				eni, err := l.newInterface(sub, wish{primary: true, count: 5})
				if err != nil {
					return err
				}
				eni.TagSet = tag("", i)[0].Tags
				NetworkInterfaces.Put(tx, f.sc, *eni.NetworkInterfaceId, eni)
			}
			l.flush()
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return f
}

// BenchmarkRegion reports what a region of 10,000 resources holds of memory, records
// as they lie in the store and as they were read.
func BenchmarkRegion(b *testing.B) {
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	for b.Loop() {
		before := heap()
		f := busyRegion(b)
		_, err := f.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{})
		b.ReportMetric(heap()-before, "MiB")
		if err != nil {
			b.Fatal(err)
		}
		runtime.KeepAlive(f)
	}
}

// BenchmarkDescribe reports the 99th percentile of each filtered call beside its mean.
func BenchmarkDescribe(b *testing.B) {
	f := busyRegion(b)
	inst := Instances.List(f.store, f.sc)[777]
	eni := NetworkInterfaces.List(f.store, f.sc)[1234]
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"InterfacesOfInstance", func() error {
			_, err := f.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filter("attachment.instance-id", *inst.InstanceId)})
			return err
		}},
		{"InterfacesByAddress", func() error {
			_, err := f.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filter("addresses.private-ip-address", *eni.PrivateIpAddress)})
			return err
		}},
		{"InterfacesByTag", func() error {
			_, err := f.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filter("tag:Name", "n7*")})
			return err
		}},
		{"InstancesByTagAndState", func() error {
			_, err := f.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{Filters: append(filter("tag:Name", "n7"), filter("instance-state-name", "running", "pending")...)})
			return err
		}},
		{"InstancesAll", func() error {
			_, err := f.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(1000)})
			return err
		}},
		{"InstancesByPath", func() error {
			_, err := f.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{Filters: filter("network-interface.addresses.primary", "none")})
			return err
		}},
		{"RulesOfGroup", func() error {
			_, err := f.DescribeSecurityGroupRules(f.ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: filter("group-id", "sg-0")})
			return err
		}},
		{"GroupsByName", func() error {
			_, err := f.DescribeSecurityGroups(f.ctx, &ec2.DescribeSecurityGroupsInput{Filters: filter("group-name", "g7")})
			return err
		}},
		{"VolumesOfInstance", func() error {
			_, err := f.DescribeVolumes(f.ctx, &ec2.DescribeVolumesInput{Filters: filter("attachment.instance-id", *inst.InstanceId)})
			return err
		}},
		{"TagsOfResource", func() error {
			_, err := f.DescribeTags(f.ctx, &ec2.DescribeTagsInput{Filters: filter("resource-id", *inst.InstanceId)})
			return err
		}},
		{"SubnetsByTag", func() error {
			_, err := f.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{Filters: filter("tag-key", "kubernetes.io/*")})
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				if err := c.call(); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
