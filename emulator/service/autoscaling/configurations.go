package autoscaling

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func noConfiguration(name string) error {
	return validation("Launch configuration name not found - Launch configuration %s not found", name)
}

// CreateLaunchConfiguration implements the operation.
func (s *Service) CreateLaunchConfiguration(ctx context.Context, in *autoscaling.CreateLaunchConfigurationInput, _ ...func(*autoscaling.Options)) (*autoscaling.CreateLaunchConfigurationOutput, error) {
	if err := required("launchConfigurationName", in.LaunchConfigurationName); err != nil {
		return nil, err
	}
	if aws.ToString(in.ImageId) == "" || aws.ToString(in.InstanceType) == "" {
		return nil, validation("Valid requests must contain either the InstanceID parameter or both the ImageId and InstanceType parameters.")
	}
	sc, now := awsid.CallerFrom(ctx).Scope, s.now()
	name := *in.LaunchConfigurationName
	lc := &launchConfiguration{Scope: sc, Resource: types.LaunchConfiguration{
		LaunchConfigurationName: &name, CreatedTime: &now, ImageId: in.ImageId, InstanceType: in.InstanceType, AssociatePublicIpAddress: in.AssociatePublicIpAddress,
		LaunchConfigurationARN: aws.String(sc.ARN("autoscaling", "launchConfiguration:"+awsid.NewUUID()+":launchConfigurationName/"+name)),
		BlockDeviceMappings:    nonNil(in.BlockDeviceMappings), EbsOptimized: aws.Bool(aws.ToBool(in.EbsOptimized)), IamInstanceProfile: in.IamInstanceProfile,
		InstanceMonitoring: in.InstanceMonitoring, KernelId: aws.String(aws.ToString(in.KernelId)), RamdiskId: aws.String(aws.ToString(in.RamdiskId)),
		KeyName: aws.String(aws.ToString(in.KeyName)), MetadataOptions: in.MetadataOptions, PlacementTenancy: in.PlacementTenancy,
		SecurityGroups: nonNil(in.SecurityGroups), SpotPrice: in.SpotPrice, UserData: aws.String(aws.ToString(in.UserData)), ClassicLinkVPCSecurityGroups: []string{},
	}}
	if lc.Resource.InstanceMonitoring == nil {
		lc.Resource.InstanceMonitoring = &types.InstanceMonitoring{Enabled: aws.Bool(true)}
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if configurations.Get(tx, sc, name) != nil {
			return exists("Launch Configuration by this name already exists - A launch configuration already exists with the name %s", name)
		}
		if len(configurations.List(tx, sc)) >= maxConfigurations {
			return &types.LimitExceededFault{Message: aws.String("Launch configuration limit exceeded: you may only have 200 launch configurations.")}
		}
		configurations.Put(tx, sc, name, lc)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.CreateLaunchConfigurationOutput{}, nil
}

// DescribeLaunchConfigurations implements the operation.
func (s *Service) DescribeLaunchConfigurations(ctx context.Context, in *autoscaling.DescribeLaunchConfigurationsInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeLaunchConfigurationsOutput, error) {
	all := []types.LaunchConfiguration{}
	for _, lc := range configurations.List(s.store, awsid.CallerFrom(ctx).Scope) {
		if len(in.LaunchConfigurationNames) == 0 || slices.Contains(in.LaunchConfigurationNames, *lc.Resource.LaunchConfigurationName) {
			all = append(all, lc.Resource)
		}
	}
	all, next, err := page(all, in.NextToken, in.MaxRecords, 50, 100)
	if err != nil {
		return nil, err
	}
	return &autoscaling.DescribeLaunchConfigurationsOutput{LaunchConfigurations: all, NextToken: next}, nil
}

// DeleteLaunchConfiguration implements the operation.
func (s *Service) DeleteLaunchConfiguration(ctx context.Context, in *autoscaling.DeleteLaunchConfigurationInput, _ ...func(*autoscaling.Options)) (*autoscaling.DeleteLaunchConfigurationOutput, error) {
	if err := required("launchConfigurationName", in.LaunchConfigurationName); err != nil {
		return nil, err
	}
	sc, name := awsid.CallerFrom(ctx).Scope, *in.LaunchConfigurationName
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if configurations.Get(tx, sc, name) == nil {
			return noConfiguration(name)
		}
		for _, g := range groups.List(tx, sc) {
			if aws.ToString(g.Resource.LaunchConfigurationName) == name {
				return inUse("Cannot delete launch configuration %s because it is attached to AutoScalingGroup %s", name, g.name())
			}
		}
		configurations.Delete(tx, sc, name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.DeleteLaunchConfigurationOutput{}, nil
}
