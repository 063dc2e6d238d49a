package ec2

import (
	"context"
	"encoding/base64"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// DescribeInstanceAttribute answers one attribute of an instance.
func (s *Service) DescribeInstanceAttribute(ctx context.Context, in *ec2.DescribeInstanceAttributeInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceAttributeOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	inst, err := instanceKind.get(s.store, sc, in.InstanceId)
	if err != nil {
		return nil, err
	}
	flag := func(b bool) *types.AttributeBooleanValue { return &types.AttributeBooleanValue{Value: &b} }
	word := func(v string) *types.AttributeValue { return &types.AttributeValue{Value: &v} }
	out := &ec2.DescribeInstanceAttributeOutput{InstanceId: inst.InstanceId}
	switch in.Attribute {
	case types.InstanceAttributeNameInstanceType:
		out.InstanceType = word(string(inst.InstanceType))
	case types.InstanceAttributeNameUserData:
		out.UserData = &types.AttributeValue{}
		if inst.UserData != "" {
			out.UserData = word(inst.UserData)
		}
	case types.InstanceAttributeNameDisableApiTermination:
		out.DisableApiTermination = flag(inst.DisableApiTermination)
	case types.InstanceAttributeNameDisableApiStop:
		out.DisableApiStop = flag(inst.DisableApiStop)
	case types.InstanceAttributeNameInstanceInitiatedShutdownBehavior:
		out.InstanceInitiatedShutdownBehavior = word(string(inst.ShutdownBehavior))
	case types.InstanceAttributeNameRootDeviceName:
		out.RootDeviceName = word(deref(inst.RootDeviceName))
	case types.InstanceAttributeNameBlockDeviceMapping:
		out.BlockDeviceMappings = inst.BlockDeviceMappings
	case types.InstanceAttributeNameSourceDestCheck:
		out.SourceDestCheck = flag(aws.ToBool(inst.SourceDestCheck))
	case types.InstanceAttributeNameGroupSet:
		out.Groups = inst.SecurityGroups
	case types.InstanceAttributeNameEbsOptimized:
		out.EbsOptimized = flag(aws.ToBool(inst.EbsOptimized))
	case types.InstanceAttributeNameEnaSupport:
		out.EnaSupport = flag(aws.ToBool(inst.EnaSupport))
	case types.InstanceAttributeNameSriovNetSupport:
		out.SriovNetSupport = word("simple")
	case "":
		return nil, errMissing("attribute")
	default:
		return nil, errInvalidValue(in.Attribute, "attribute")
	}
	return out, nil
}

// ModifyInstanceAttribute changes one attribute of an instance.
func (s *Service) ModifyInstanceAttribute(ctx context.Context, in *ec2.ModifyInstanceAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifyInstanceAttributeOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		inst, err := instanceKind.edit(tx, sc, in.InstanceId)
		if err != nil {
			return err
		}
		if err := s.modifyInstance(tx, sc, inst, in); err != nil {
			return err
		}
		Instances.Put(tx, sc, *inst.InstanceId, inst)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifyInstanceAttributeOutput{}, nil
}

func (s *Service) modifyInstance(tx *store.Tx, sc awsid.Scope, inst *Instance, in *ec2.ModifyInstanceAttributeInput) error {
	mustBeStopped := func(attribute string) error {
		if inst.State.Name != types.InstanceStateNameStopped {
			return apiError("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state, which changing %s needs.", *inst.InstanceId, attribute)
		}
		return nil
	}
	switch {
	case in.DisableApiTermination != nil:
		inst.DisableApiTermination = aws.ToBool(in.DisableApiTermination.Value)
	case in.DisableApiStop != nil:
		inst.DisableApiStop = aws.ToBool(in.DisableApiStop.Value)
	case in.InstanceInitiatedShutdownBehavior != nil:
		b := types.ShutdownBehavior(deref(in.InstanceInitiatedShutdownBehavior.Value))
		if b != types.ShutdownBehaviorStop && b != types.ShutdownBehaviorTerminate {
			return errInvalidValue(b, "instanceInitiatedShutdownBehavior")
		}
		inst.ShutdownBehavior = b
	case in.InstanceType != nil:
		if err := mustBeStopped("instanceType"); err != nil {
			return err
		}
		t, ok := instancetypes.Lookup(deref(in.InstanceType.Value))
		if !ok {
			return apiError("InvalidInstanceAttributeValue", "Invalid value '%s' for InstanceType.", deref(in.InstanceType.Value))
		}
		if len(inst.Interfaces) > t.ENIs {
			return apiError("AttachmentLimitExceeded", "Interface count %d exceeds the limit for %s", len(inst.Interfaces), t.Name)
		}
		inst.InstanceType = types.InstanceType(t.Name)
	case in.UserData != nil:
		if err := mustBeStopped("userData"); err != nil {
			return err
		}
		data := base64.StdEncoding.EncodeToString(in.UserData.Value)
		if err := checkUserData(&data); err != nil {
			return err
		}
		inst.UserData = data
	case in.EbsOptimized != nil:
		if err := mustBeStopped("ebsOptimized"); err != nil {
			return err
		}
		inst.EbsOptimized = aws.Bool(aws.ToBool(in.EbsOptimized.Value))
	case in.SourceDestCheck != nil, len(in.Groups) > 0:
		return s.modifyPrimaryInterface(tx, sc, inst, in)
	default:
		return errMissing("attribute")
	}
	return nil
}

// modifyPrimaryInterface changes attributes that an instance has by its only
// interface.
func (s *Service) modifyPrimaryInterface(tx *store.Tx, sc awsid.Scope, inst *Instance, in *ec2.ModifyInstanceAttributeInput) error {
	if len(inst.Interfaces) != 1 {
		return apiError("InvalidInstanceID", "There are multiple interfaces attached to instance '%s'. Please specify an interface ID for the operation instead.", *inst.InstanceId)
	}
	eni := NetworkInterfaces.Edit(tx, sc, inst.Interfaces[0])
	if in.SourceDestCheck != nil {
		eni.SourceDestCheck = aws.Bool(aws.ToBool(in.SourceDestCheck.Value))
		inst.SourceDestCheck = eni.SourceDestCheck
	} else {
		groups, err := s.interfaceGroups(tx, sc, *eni.VpcId, in.Groups)
		if err != nil {
			return err
		}
		eni.Groups, inst.SecurityGroups = groups, groups
	}
	NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
	return nil
}

// ModifyInstanceMetadataOptions changes how the instance's metadata can be read.
func (s *Service) ModifyInstanceMetadataOptions(ctx context.Context, in *ec2.ModifyInstanceMetadataOptionsInput, _ ...func(*ec2.Options)) (*ec2.ModifyInstanceMetadataOptionsOutput, error) {
	var shown types.InstanceMetadataOptionsResponse
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		inst, err := instanceKind.edit(tx, sc, in.InstanceId)
		if err != nil {
			return err
		}
		o := inst.MetadataOptions
		if in.HttpEndpoint != "" {
			o.HttpEndpoint = in.HttpEndpoint
		}
		if in.HttpTokens != "" {
			o.HttpTokens = in.HttpTokens
		}
		if n := in.HttpPutResponseHopLimit; n != nil {
			if *n < 1 || *n > 64 {
				return errInvalidValue(*n, "HttpPutResponseHopLimit")
			}
			o.HttpPutResponseHopLimit = n
		}
		if in.HttpProtocolIpv6 != "" {
			o.HttpProtocolIpv6 = in.HttpProtocolIpv6
		}
		if in.InstanceMetadataTags != "" {
			o.InstanceMetadataTags = in.InstanceMetadataTags
		}
		shown = *o
		shown.State = types.InstanceMetadataOptionsStatePending
		Instances.Put(tx, sc, *inst.InstanceId, inst)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifyInstanceMetadataOptionsOutput{InstanceId: in.InstanceId, InstanceMetadataOptions: &shown}, nil
}
