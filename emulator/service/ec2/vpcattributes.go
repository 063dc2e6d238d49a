package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// DescribeVpcAttribute answers one attribute of a VPC.
func (s *Service) DescribeVpcAttribute(ctx context.Context, in *ec2.DescribeVpcAttributeInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcAttributeOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	v, err := vpcKind.get(s.store, sc, in.VpcId)
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeVpcAttributeOutput{VpcId: v.VpcId}
	switch in.Attribute {
	case types.VpcAttributeNameEnableDnsSupport:
		out.EnableDnsSupport = &types.AttributeBooleanValue{Value: aws.Bool(v.EnableDnsSupport)}
	case types.VpcAttributeNameEnableDnsHostnames:
		out.EnableDnsHostnames = &types.AttributeBooleanValue{Value: aws.Bool(v.EnableDnsHostnames)}
	case types.VpcAttributeNameEnableNetworkAddressUsageMetrics:
		out.EnableNetworkAddressUsageMetrics = &types.AttributeBooleanValue{Value: aws.Bool(v.AddressUsageMetrics)}
	case "":
		return nil, errMissing("attribute")
	default:
		return nil, errInvalidValue(in.Attribute, "attribute")
	}
	return out, nil
}

// ModifyVpcAttribute sets one attribute of a VPC.
func (s *Service) ModifyVpcAttribute(ctx context.Context, in *ec2.ModifyVpcAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifyVpcAttributeOutput, error) {
	err := s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := vpcKind.edit(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		set := 0
		for _, a := range []struct {
			value *types.AttributeBooleanValue
			field *bool
		}{
			{in.EnableDnsSupport, &v.EnableDnsSupport},
			{in.EnableDnsHostnames, &v.EnableDnsHostnames},
			{in.EnableNetworkAddressUsageMetrics, &v.AddressUsageMetrics},
		} {
			if a.value != nil {
				*a.field = aws.ToBool(a.value.Value)
				set++
			}
		}
		switch {
		case set == 0:
			return errMissing("attribute")
		case set > 1:
			return errCombination("Fields for multiple attribute types specified")
		}
		Vpcs.Put(tx, sc, *v.VpcId, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifyVpcAttributeOutput{}, nil
}
