package autoscaling

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

// launch starts n instances, spread over the group's subnets. A subnet without
// free addresses is passed over as long as another has some.
func (s *Service) launch(ctx context.Context, g *group, live []ec2types.Instance, n int) error {
	subnets := slices.Clone(g.Subnets)
	count := map[string]int{}
	spot := 0
	for _, i := range live {
		count[aws.ToString(i.SubnetId)]++
		if i.InstanceLifecycle == ec2types.InstanceLifecycleTypeSpot {
			spot++
		}
	}
	for ; n > 0; n-- {
		market := g.market(len(live)-spot, spot)
		for {
			subnet := slices.MinFunc(subnets, func(a, b string) int { return cmp.Compare(count[a], count[b]) })
			err := s.launchOne(ctx, g, subnet, market)
			if err == nil {
				count[subnet]++
				break
			}
			if recordErr := s.LaunchFailed(ctx, g.Scope, g.name(), subnet, err); recordErr != nil {
				return recordErr
			}
			var refused smithy.APIError
			if errors.As(err, &refused) && refused.ErrorCode() == "InsufficientFreeAddressesInSubnet" && len(subnets) > 1 {
				subnets = slices.DeleteFunc(subnets, func(v string) bool { return v == subnet })
				continue
			}
			return fmt.Errorf("launch an instance of %s: %w", g.name(), err)
		}
		if market == ec2types.MarketTypeSpot {
			spot++
		}
		live = append(live, ec2types.Instance{})
	}
	return nil
}

// market says of which kind the next instance is, by the mixed instances policy.
func (g *group) market(onDemand, spot int) ec2types.MarketType {
	p := g.Resource.MixedInstancesPolicy
	if p == nil || p.InstancesDistribution == nil {
		return ""
	}
	base, percent := int(aws.ToInt32(p.InstancesDistribution.OnDemandBaseCapacity)), int(aws.ToInt32(p.InstancesDistribution.OnDemandPercentageAboveBaseCapacity))
	above := max(0, onDemand+spot+1-base)
	// On-Demand gets the benefit of rounding.
	if want := base + (above*percent+99)/100; onDemand < want {
		return ""
	}
	return ec2types.MarketTypeSpot
}

func (s *Service) launchOne(ctx context.Context, g *group, subnet string, market ec2types.MarketType) error {
	in := &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: &subnet}
	tags := s.LaunchTags(g.Scope, g.name())
	spec := ec2types.TagSpecification{ResourceType: ec2types.ResourceTypeInstance}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		spec.Tags = append(spec.Tags, ec2types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	in.TagSpecifications = []ec2types.TagSpecification{spec}
	if market != "" {
		in.InstanceMarketOptions = &ec2types.InstanceMarketOptionsRequest{MarketType: market}
	}
	if t := g.template(); t != nil {
		in.LaunchTemplate = ec2Template(t)
		if p := g.Resource.MixedInstancesPolicy; p != nil && len(p.LaunchTemplate.Overrides) > 0 {
			o := p.LaunchTemplate.Overrides[0] // the one that the caller prefers
			in.InstanceType = ec2types.InstanceType(aws.ToString(o.InstanceType))
			if o.LaunchTemplateSpecification != nil {
				in.LaunchTemplate = ec2Template(o.LaunchTemplateSpecification)
			}
		}
	} else if err := s.fromConfiguration(g, in); err != nil {
		return err
	}
	_, err := s.EC2.RunInstances(as(ctx, g.Scope), in)
	return err
}

func ec2Template(t *types.LaunchTemplateSpecification) *ec2types.LaunchTemplateSpecification {
	return &ec2types.LaunchTemplateSpecification{LaunchTemplateId: t.LaunchTemplateId, Version: t.Version}
}

// fromConfiguration fills in what a launch configuration says.
func (s *Service) fromConfiguration(g *group, in *ec2.RunInstancesInput) error {
	name := aws.ToString(g.Resource.LaunchConfigurationName)
	rec := configurations.Get(s.store, g.Scope, name)
	if rec == nil {
		return noConfiguration(name)
	}
	lc := rec.Resource
	in.ImageId, in.InstanceType = lc.ImageId, ec2types.InstanceType(aws.ToString(lc.InstanceType))
	if k := aws.ToString(lc.KeyName); k != "" {
		in.KeyName = &k
	}
	if u := aws.ToString(lc.UserData); u != "" {
		in.UserData = &u
	}
	if p := aws.ToString(lc.IamInstanceProfile); p != "" {
		in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Name: &p}
		if len(p) > 4 && p[:4] == "arn:" {
			in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Arn: &p}
		}
	}
	if lc.AssociatePublicIpAddress != nil { // needs the interface spelled out
		in.NetworkInterfaces = []ec2types.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: aws.Int32(0), SubnetId: in.SubnetId, Groups: lc.SecurityGroups, AssociatePublicIpAddress: lc.AssociatePublicIpAddress,
		}}
		in.SubnetId = nil
	} else {
		in.SecurityGroupIds = lc.SecurityGroups
	}
	for _, b := range lc.BlockDeviceMappings {
		m := ec2types.BlockDeviceMapping{DeviceName: b.DeviceName, VirtualName: b.VirtualName}
		if e := b.Ebs; e != nil {
			m.Ebs = &ec2types.EbsBlockDevice{
				DeleteOnTermination: e.DeleteOnTermination, Encrypted: e.Encrypted, Iops: e.Iops, SnapshotId: e.SnapshotId, Throughput: e.Throughput,
				VolumeSize: e.VolumeSize, VolumeType: ec2types.VolumeType(aws.ToString(e.VolumeType)),
			}
		}
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, m)
	}
	in.EbsOptimized = lc.EbsOptimized
	return nil
}
