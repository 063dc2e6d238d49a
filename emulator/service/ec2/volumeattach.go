package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// maxMultiAttach is how many instances one volume may be attached to.
const maxMultiAttach = 16

// AttachVolume attaches a volume to an instance of its zone.
func (s *Service) AttachVolume(ctx context.Context, in *ec2.AttachVolumeInput, _ ...func(*ec2.Options)) (*ec2.AttachVolumeOutput, error) {
	if deref(in.Device) == "" {
		return nil, errMissing("device")
	}
	var a types.VolumeAttachment
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := volumeKind.edit(tx, sc, in.VolumeId)
		if err != nil {
			return err
		}
		inst, err := instanceKind.edit(tx, sc, in.InstanceId)
		if err != nil {
			return err
		}
		if err := checkAttachVolume(v, inst, *in.Device); err != nil {
			return err
		}
		now := s.now()
		a = types.VolumeAttachment{
			VolumeId: v.VolumeId, InstanceId: inst.InstanceId, Device: in.Device, AttachTime: &now,
			State: types.VolumeAttachmentStateAttached, DeleteOnTermination: aws.Bool(false),
		}
		v.Attachments, v.State = append(v.Attachments, a), types.VolumeStateInUse
		inst.BlockDeviceMappings = append(inst.BlockDeviceMappings, types.InstanceBlockDeviceMapping{
			DeviceName: in.Device,
			Ebs:        &types.EbsInstanceBlockDevice{VolumeId: v.VolumeId, AttachTime: &now, DeleteOnTermination: aws.Bool(false), Status: types.AttachmentStatusAttached},
		})
		Volumes.Put(tx, sc, *v.VolumeId, v)
		Instances.Put(tx, sc, *inst.InstanceId, inst)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AttachVolumeOutput{
		VolumeId: a.VolumeId, InstanceId: a.InstanceId, Device: a.Device, AttachTime: a.AttachTime, DeleteOnTermination: a.DeleteOnTermination,
		State: types.VolumeAttachmentStateAttaching,
	}, nil
}

func checkAttachVolume(v *Volume, inst *Instance, device string) error {
	switch inst.State.Name {
	case types.InstanceStateNamePending, types.InstanceStateNameRunning, types.InstanceStateNameStopped, types.InstanceStateNameStopping:
	default:
		return apiError("IncorrectState", "Instance '%s' is not 'running'.", *inst.InstanceId)
	}
	if deref(v.AvailabilityZone) != deref(inst.Placement.AvailabilityZone) {
		return apiError("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", *v.VolumeId, *inst.InstanceId)
	}
	for _, a := range v.Attachments {
		if !aws.ToBool(v.MultiAttachEnabled) || deref(a.InstanceId) == *inst.InstanceId {
			return apiError("VolumeInUse", "%s is already attached to an instance", *v.VolumeId)
		}
	}
	if len(v.Attachments) >= maxMultiAttach {
		return apiError("AttachmentLimitExceeded", "The volume '%s' has reached its limit of %d attachments", *v.VolumeId, maxMultiAttach)
	}
	for _, m := range inst.BlockDeviceMappings {
		if deref(m.DeviceName) == device {
			return errInvalid("Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
		}
	}
	if t, ok := instancetypes.Lookup(string(inst.InstanceType)); ok && t.EBSAttachments > 0 && len(inst.BlockDeviceMappings) >= t.EBSAttachments {
		return apiError("AttachmentLimitExceeded", "The number of volumes attached to instance '%s' exceeds the limit of %d for %s", *inst.InstanceId, t.EBSAttachments, t.Name)
	}
	return nil
}

// DetachVolume detaches a volume that is not its instance's root.
func (s *Service) DetachVolume(ctx context.Context, in *ec2.DetachVolumeInput, _ ...func(*ec2.Options)) (*ec2.DetachVolumeOutput, error) {
	var a types.VolumeAttachment
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := volumeKind.edit(tx, sc, in.VolumeId)
		if err != nil {
			return err
		}
		if in.InstanceId != nil {
			if _, err := instanceKind.get(tx, sc, in.InstanceId); err != nil {
				return err
			}
		}
		i := slices.IndexFunc(v.Attachments, func(a types.VolumeAttachment) bool {
			return (in.InstanceId == nil || deref(a.InstanceId) == *in.InstanceId) && (in.Device == nil || deref(a.Device) == *in.Device)
		})
		switch {
		case len(v.Attachments) == 0:
			return apiError("IncorrectState", "Volume '%s' is in the 'available' state.", *v.VolumeId)
		case i < 0:
			return apiError("InvalidAttachment.NotFound", "Volume '%s' is not attached to instance '%s' as device '%s'.", *v.VolumeId, deref(in.InstanceId), deref(in.Device))
		case len(v.Attachments) > 1 && in.InstanceId == nil:
			return errMissing("instanceId")
		}
		a = v.Attachments[i]
		if inst := Instances.Edit(tx, sc, *a.InstanceId); inst != nil {
			if deref(inst.RootDeviceName) == deref(a.Device) && inst.State.Name != types.InstanceStateNameStopped {
				return apiError("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", *v.VolumeId, *inst.InstanceId)
			}
			inst.BlockDeviceMappings = slices.DeleteFunc(inst.BlockDeviceMappings, func(m types.InstanceBlockDeviceMapping) bool { return deref(m.Ebs.VolumeId) == *v.VolumeId })
			Instances.Put(tx, sc, *inst.InstanceId, inst)
		}
		v.Attachments = slices.Delete(v.Attachments, i, i+1)
		if len(v.Attachments) == 0 {
			v.State = types.VolumeStateAvailable
		}
		Volumes.Put(tx, sc, *v.VolumeId, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DetachVolumeOutput{
		VolumeId: a.VolumeId, InstanceId: a.InstanceId, Device: a.Device, AttachTime: a.AttachTime, DeleteOnTermination: a.DeleteOnTermination,
		State: types.VolumeAttachmentStateDetaching,
	}, nil
}
