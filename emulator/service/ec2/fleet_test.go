package ec2

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestCreateFleet(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	full, roomy := f.subnet(vpc, "10.0.0.0/28", "us-east-1a"), f.subnet(vpc, "10.0.1.0/24", "us-east-1b")
	f.run(full, "t3.small", 11)
	must(f.CreateLaunchTemplate(f.ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("karpenter"), LaunchTemplateData: &types.RequestLaunchTemplateData{
		ImageId: f.image(), NetworkInterfaces: []types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{{DeviceIndex: aws.Int32(0), DeleteOnTermination: aws.Bool(true)}},
	}}))(t)
	in := &ec2.CreateFleetInput{
		Type: types.FleetTypeInstant, ClientToken: aws.String("once"),
		TargetCapacitySpecification: &types.TargetCapacitySpecificationRequest{TotalTargetCapacity: aws.Int32(1), DefaultTargetCapacityType: types.DefaultTargetCapacityTypeOnDemand},
		LaunchTemplateConfigs: []types.FleetLaunchTemplateConfigRequest{{
			LaunchTemplateSpecification: &types.FleetLaunchTemplateSpecificationRequest{LaunchTemplateName: aws.String("karpenter"), Version: aws.String("$Latest")},
			Overrides: []types.FleetLaunchTemplateOverridesRequest{
				{InstanceType: "m5.4xlarge", SubnetId: &roomy}, {InstanceType: "m5.large", SubnetId: &full}, {InstanceType: "m5.xlarge", SubnetId: &roomy, AvailabilityZone: aws.String("us-east-1b")},
			},
		}},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}},
	}
	out := must(f.CreateFleet(f.ctx, in))(t)
	if len(out.Errors) != 1 || *out.Errors[0].ErrorCode != "InsufficientFreeAddressesInSubnet" || *out.Errors[0].LaunchTemplateAndOverrides.Overrides.SubnetId != full {
		t.Errorf("errors %+v", out.Errors)
	}
	if len(out.Instances) != 1 || out.Instances[0].InstanceType != "m5.xlarge" || len(out.Instances[0].InstanceIds) != 1 {
		t.Fatalf("the cheapest with room: %+v", out.Instances)
	}
	inst := Instances.Get(f.store, f.sc, out.Instances[0].InstanceIds[0])
	tags := map[string]string{}
	for _, tag := range inst.Tags {
		tags[*tag.Key] = *tag.Value
	}
	if tags["k"] != "v" || tags["aws:ec2:fleet-id"] != *out.FleetId || tags["aws:ec2launchtemplate:version"] != "1" {
		t.Errorf("tags %v", tags)
	}
	if again := must(f.CreateFleet(f.ctx, in))(t); *again.FleetId != *out.FleetId || len(Instances.List(f.store, f.sc)) != 12 {
		t.Errorf("again: %+v", again)
	}
	f.checkLedger()

	in.ClientToken, in.LaunchTemplateConfigs[0].LaunchTemplateSpecification.LaunchTemplateName = nil, aws.String("gone")
	out = must(f.CreateFleet(f.ctx, in))(t)
	if len(out.Instances) != 0 || len(out.Errors) != 3 || *out.Errors[0].ErrorCode != "InvalidLaunchTemplateName.NotFoundException" {
		t.Errorf("without its template: %+v", out)
	}
	dry := *in
	dry.DryRun = aws.Bool(true)
	_, err := f.CreateFleet(f.ctx, &dry)
	wantCode(t, err, "DryRunOperation")
}

func TestFleetMinimum(t *testing.T) {
	f := newFixture(t)
	sub := f.subnet(f.vpc("10.0.0.0/16"), "10.0.0.0/28", "us-east-1a")
	lt := must(f.CreateLaunchTemplate(f.ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("lt1"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: f.image()}}))(t).LaunchTemplate
	out := must(f.CreateFleet(f.ctx, &ec2.CreateFleetInput{
		Type: types.FleetTypeInstant, TargetCapacitySpecification: &types.TargetCapacitySpecificationRequest{TotalTargetCapacity: aws.Int32(20), DefaultTargetCapacityType: types.DefaultTargetCapacityTypeSpot},
		SpotOptions: &types.SpotOptionsRequest{MinTargetCapacity: aws.Int32(20)},
		LaunchTemplateConfigs: []types.FleetLaunchTemplateConfigRequest{{
			LaunchTemplateSpecification: &types.FleetLaunchTemplateSpecificationRequest{LaunchTemplateId: lt.LaunchTemplateId, Version: aws.String("1")},
			Overrides:                   []types.FleetLaunchTemplateOverridesRequest{{InstanceType: "m5.large", SubnetId: &sub}},
		}},
	}))(t)
	if len(out.Instances) != 0 || len(Instances.List(f.store, f.sc)) != 0 || f.free(sub) != 11 {
		t.Errorf("a fleet below its minimum launched: %+v, %d free", out, f.free(sub))
	}
}

func TestInstanceRequirements(t *testing.T) {
	f := newFixture(t)
	out := must(f.GetInstanceTypesFromInstanceRequirements(f.ctx, &ec2.GetInstanceTypesFromInstanceRequirementsInput{
		ArchitectureTypes: []types.ArchitectureType{types.ArchitectureTypeX8664}, VirtualizationTypes: []types.VirtualizationType{types.VirtualizationTypeHvm},
		InstanceRequirements: &types.InstanceRequirementsRequest{
			VCpuCount: &types.VCpuCountRangeRequest{Min: aws.Int32(2), Max: aws.Int32(2)}, MemoryMiB: &types.MemoryMiBRequest{Min: aws.Int32(8192), Max: aws.Int32(8192)},
			AllowedInstanceTypes: []string{"m5*", "t3.*", "c5.*"}, CpuManufacturers: []types.CpuManufacturer{types.CpuManufacturerIntel},
		},
	}))(t)
	var got []string
	for _, v := range out.InstanceTypes {
		got = append(got, *v.InstanceType)
	}
	if !contains(got, "m5.large") || contains(got, "m5a.large") || contains(got, "t3.large") || contains(got, "c5.large") {
		t.Errorf("types %v", got)
	}
}

func TestSpotPrices(t *testing.T) {
	f := newFixture(t)
	out := must(f.DescribeSpotPriceHistory(f.ctx, &ec2.DescribeSpotPriceHistoryInput{InstanceTypes: []types.InstanceType{"m5.large"}, ProductDescriptions: []string{"Linux/UNIX"}}))(t)
	if len(out.SpotPriceHistory) != 6 || *out.NextToken != "" {
		t.Errorf("%d prices, token %v", len(out.SpotPriceHistory), out.NextToken)
	}
}
