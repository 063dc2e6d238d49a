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

// AttachNetworkInterface attaches an interface to an instance of its zone.
func (s *Service) AttachNetworkInterface(ctx context.Context, in *ec2.AttachNetworkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.AttachNetworkInterfaceOutput, error) {
	if in.DeviceIndex == nil {
		return nil, errMissing("deviceIndex")
	}
	card := aws.ToInt32(in.NetworkCardIndex)
	var id *string
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		eni, err := networkInterfaceKind.edit(tx, sc, in.NetworkInterfaceId)
		if err != nil {
			return err
		}
		inst, err := instanceKind.edit(tx, sc, in.InstanceId)
		if err != nil {
			return err
		}
		if err := checkAttach(tx, sc, inst, eni, *in.DeviceIndex, card); err != nil {
			return err
		}
		id = s.attach(sc, inst, eni, *in.DeviceIndex, card, false)
		NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
		Instances.Put(tx, sc, *inst.InstanceId, inst)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AttachNetworkInterfaceOutput{AttachmentId: id, NetworkCardIndex: &card}, nil
}

func checkAttach(tx *store.Tx, sc awsid.Scope, inst *Instance, eni *NetworkInterface, device, card int32) error {
	if eni.Attachment != nil || eni.Status == types.NetworkInterfaceStatusInUse {
		return apiError("InvalidNetworkInterface.InUse", "Interface: [%s] in use.", *eni.NetworkInterfaceId)
	}
	switch inst.State.Name {
	case types.InstanceStateNamePending, types.InstanceStateNameRunning, types.InstanceStateNameStopped:
	default:
		return apiError("IncorrectState", "Instance '%s' is not 'running' or 'stopped'.", *inst.InstanceId)
	}
	if deref(inst.Placement.AvailabilityZone) != deref(eni.AvailabilityZone) {
		return errCombination("You may not attach a network interface to an instance if they are not in the same availability zone")
	}
	onCard := 0
	for _, id := range inst.Interfaces {
		other := NetworkInterfaces.Get(tx, sc, id)
		if other == nil || other.Attachment == nil || aws.ToInt32(other.Attachment.NetworkCardIndex) != card {
			continue
		}
		onCard++
		if aws.ToInt32(other.Attachment.DeviceIndex) == device {
			return errInvalid("Instance '%s' already has an interface attached at device index '%d'.", *inst.InstanceId, device)
		}
	}
	t, ok := instancetypes.Lookup(string(inst.InstanceType))
	if !ok {
		return nil
	}
	if card < 0 || int(card) >= t.NetworkCards {
		return errInvalid("Network card index %d exceeds the limit for %s", card, t.Name)
	}
	limit := t.DefaultCardENIs
	if card > 0 {
		limit = cardLimit(t)
	}
	if onCard >= limit {
		return apiError("AttachmentLimitExceeded", "Interface count %d exceeds the limit for %s", onCard+1, t.Name)
	}
	if err := checkTrunkAttach(t, eni); err != nil {
		return err
	}
	return checkAddressesFit(t, eni)
}

// attach connects the two records.
func (s *Service) attach(sc awsid.Scope, inst *Instance, eni *NetworkInterface, device, card int32, deleteOnTermination bool) *string {
	now := s.now()
	eni.Status = types.NetworkInterfaceStatusInUse
	eni.Attachment = &types.NetworkInterfaceAttachment{
		AttachmentId: aws.String("eni-attach-" + awsid.Hex(17)), AttachTime: &now, DeleteOnTermination: &deleteOnTermination,
		DeviceIndex: &device, NetworkCardIndex: &card, InstanceId: inst.InstanceId, InstanceOwnerId: aws.String(sc.Account),
		Status: types.AttachmentStatusAttached,
	}
	inst.Interfaces = append(inst.Interfaces, *eni.NetworkInterfaceId)
	return eni.Attachment.AttachmentId
}

// attachedInterface finds an interface by its attachment. The search is outside
// any transaction: an attachment never moves, so looking the interface up again
// inside is all that is needed.
func (s *Service) attachedInterface(sc awsid.Scope, attachment string) *string {
	for _, eni := range NetworkInterfaces.List(s.store, sc) {
		if eni.Attachment != nil && deref(eni.Attachment.AttachmentId) == attachment {
			return eni.NetworkInterfaceId
		}
	}
	return nil
}

// DetachNetworkInterface detaches a secondary interface.
func (s *Service) DetachNetworkInterface(ctx context.Context, in *ec2.DetachNetworkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.DetachNetworkInterfaceOutput, error) {
	if in.AttachmentId == nil {
		return nil, errMissing("attachmentId")
	}
	absent := apiError("InvalidAttachmentID.NotFound", "The networkInterface attachment ID '%s' does not exist", *in.AttachmentId)
	id := s.attachedInterface(awsid.CallerFrom(ctx).Scope, *in.AttachmentId)
	if id == nil {
		return nil, absent
	}
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		eni := NetworkInterfaces.Edit(tx, sc, *id)
		if eni == nil || eni.Attachment == nil || *eni.Attachment.AttachmentId != *in.AttachmentId {
			return absent
		}
		if foreign(eni) {
			return apiError("OperationNotPermitted", "You are not allowed to manage 'ela-attach' attachments.")
		}
		if aws.ToInt32(eni.Attachment.DeviceIndex) == 0 && aws.ToInt32(eni.Attachment.NetworkCardIndex) == 0 {
			return apiError("OperationNotPermitted", "The network interface at device index 0 and networkCard index 0 cannot be detached.")
		}
		if inst := Instances.Edit(tx, sc, *eni.Attachment.InstanceId); inst != nil {
			inst.Interfaces = slices.DeleteFunc(inst.Interfaces, func(i string) bool { return i == *id })
			Instances.Put(tx, sc, *inst.InstanceId, inst)
		}
		detach(eni)
		NetworkInterfaces.Put(tx, sc, *id, eni)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DetachNetworkInterfaceOutput{}, nil
}

func detach(eni *NetworkInterface) {
	eni.Attachment, eni.Status = nil, types.NetworkInterfaceStatusAvailable
}

// ModifyNetworkInterfaceAttribute changes one attribute of an interface.
func (s *Service) ModifyNetworkInterfaceAttribute(ctx context.Context, in *ec2.ModifyNetworkInterfaceAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifyNetworkInterfaceAttributeOutput, error) {
	set := 0
	for _, present := range []bool{in.Description != nil, in.SourceDestCheck != nil, in.Attachment != nil, len(in.Groups) > 0} {
		if present {
			set++
		}
	}
	switch {
	case set == 0:
		return nil, errMissing("attribute")
	case set > 1:
		return nil, errCombination("Fields for multiple attribute types specified")
	}
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		eni, err := networkInterfaceKind.edit(tx, sc, in.NetworkInterfaceId)
		if err != nil {
			return err
		}
		if err := s.modifyInterface(tx, sc, eni, in); err != nil {
			return err
		}
		NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifyNetworkInterfaceAttributeOutput{}, nil
}

func (s *Service) modifyInterface(tx *store.Tx, sc awsid.Scope, eni *NetworkInterface, in *ec2.ModifyNetworkInterfaceAttributeInput) error {
	switch {
	case in.Description != nil:
		eni.Description = aws.String(deref(in.Description.Value))
	case in.SourceDestCheck != nil:
		eni.SourceDestCheck = aws.Bool(aws.ToBool(in.SourceDestCheck.Value))
	case in.Attachment != nil:
		if eni.Attachment == nil || deref(eni.Attachment.AttachmentId) != deref(in.Attachment.AttachmentId) {
			return apiError("InvalidAttachmentID.NotFound", "The networkInterface attachment ID '%s' does not exist", deref(in.Attachment.AttachmentId))
		}
		if d := in.Attachment.DeleteOnTermination; d != nil {
			eni.Attachment.DeleteOnTermination = d
		}
	default:
		groups, err := s.interfaceGroups(tx, sc, *eni.VpcId, in.Groups)
		if err != nil {
			return err
		}
		eni.Groups = groups
		// What DescribeInstances shows as the instance's groups are those of
		// its primary interface.
		if a := eni.Attachment; a != nil && a.InstanceId != nil && aws.ToInt32(a.DeviceIndex) == 0 {
			if inst := Instances.Edit(tx, sc, *a.InstanceId); inst != nil {
				inst.SecurityGroups = groups
				Instances.Put(tx, sc, *a.InstanceId, inst)
			}
		}
	}
	return nil
}
