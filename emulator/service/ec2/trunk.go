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

// TrunkAssociation is a branch interface's place on a trunk interface: how EKS gives
// pods security groups of their own. AWS has these operations in limited preview
// only; amazon-vpc-resource-controller-k8s (pkg/aws/ec2/api) shows how they are used.
type TrunkAssociation struct {
	types.TrunkInterfaceAssociation
}

// TrunkAssociations is keyed by id.
const TrunkAssociations store.Table[TrunkAssociation] = "ec2-trunk-association"

var trunkAssociationKind = &kind[TrunkAssociation]{
	table: TrunkAssociations, typ: "trunk-interface-association", prefix: "trunk-assoc", noun: "trunk interface association", param: "associationId",
	malformed: "InvalidTrunkInterfaceAssociationId.Malformed", notFound: "InvalidTrunkInterfaceAssociationID.NotFound",
	tags: func(r *TrunkAssociation) *[]types.Tag { return &r.Tags },
	id:   func(r *TrunkAssociation) *string { return r.AssociationId },
}

// maxVLAN is the highest VLAN that a frame's tag can say.
const maxVLAN = 4094

// AssociateTrunkInterface puts a branch interface onto a trunk under a VLAN. The
// branch is in use from then on, without an attachment of its own.
func (s *Service) AssociateTrunkInterface(ctx context.Context, in *ec2.AssociateTrunkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.AssociateTrunkInterfaceOutput, error) {
	switch {
	case deref(in.BranchInterfaceId) == "":
		return nil, errMissing("branchInterfaceId")
	case deref(in.TrunkInterfaceId) == "":
		return nil, errMissing("trunkInterfaceId")
	case (in.VlanId == nil) == (in.GreKey == nil):
		return nil, errCombination("Exactly one of the parameters vlanId and greKey is required")
	case in.VlanId != nil && (*in.VlanId < 1 || *in.VlanId > maxVLAN):
		return nil, errInvalidValue(*in.VlanId, "vlanId")
	}
	var rec *TrunkAssociation
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rp, err := s.replayOf(tx, sc, "AssociateTrunkInterface", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if rec = TrunkAssociations.Get(tx, sc, rp.ids[0]); rec != nil {
				return nil
			}
		}
		branch, err := networkInterfaceKind.edit(tx, sc, in.BranchInterfaceId)
		if err != nil {
			return err
		}
		if err := checkTrunk(tx, sc, branch, in); err != nil {
			return err
		}
		id := awsid.NewID("trunk-assoc")
		rec = &TrunkAssociation{types.TrunkInterfaceAssociation{
			AssociationId: &id, BranchInterfaceId: branch.NetworkInterfaceId, TrunkInterfaceId: in.TrunkInterfaceId,
			VlanId: in.VlanId, GreKey: in.GreKey, InterfaceProtocol: types.InterfaceProtocolTypeVlan,
		}}
		if in.GreKey != nil {
			rec.InterfaceProtocol = types.InterfaceProtocolTypeGre
		}
		branch.InterfaceType, branch.Status = types.NetworkInterfaceTypeBranch, types.NetworkInterfaceStatusInUse
		NetworkInterfaces.Put(tx, sc, *branch.NetworkInterfaceId, branch)
		TrunkAssociations.Put(tx, sc, id, rec)
		s.remember(tx, sc, rp, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AssociateTrunkInterfaceOutput{InterfaceAssociation: &rec.TrunkInterfaceAssociation, ClientToken: in.ClientToken}, nil
}

// checkTrunk wants a free branch in the trunk's zone, a VLAN that the trunk has not
// given, and room for one more.
func checkTrunk(tx *store.Tx, sc awsid.Scope, branch *NetworkInterface, in *ec2.AssociateTrunkInterfaceInput) error {
	trunk, err := networkInterfaceKind.get(tx, sc, in.TrunkInterfaceId)
	if err != nil {
		return err
	}
	switch {
	case trunk.InterfaceType != types.NetworkInterfaceTypeTrunk:
		return errInvalid("The network interface %s is not a trunk interface", *trunk.NetworkInterfaceId)
	case branch.InterfaceType != types.NetworkInterfaceTypeInterface && branch.InterfaceType != types.NetworkInterfaceTypeBranch:
		return errInvalid("A network interface of type %s cannot be a branch interface", branch.InterfaceType)
	case branch.Attachment != nil || branch.Status == types.NetworkInterfaceStatusInUse:
		return apiError("InvalidNetworkInterface.InUse", "Interface: [%s] in use.", *branch.NetworkInterfaceId)
	case deref(branch.AvailabilityZone) != deref(trunk.AvailabilityZone):
		return errCombination("The branch interface and the trunk interface are not in the same availability zone")
	}
	on := 0
	for _, a := range TrunkAssociations.List(tx, sc) {
		if deref(a.TrunkInterfaceId) != *trunk.NetworkInterfaceId {
			continue
		}
		on++
		if in.VlanId != nil && a.VlanId != nil && *a.VlanId == *in.VlanId {
			return errInvalid("The VLAN ID %d is already in use on the trunk interface %s", *in.VlanId, *trunk.NetworkInterfaceId)
		}
	}
	if trunk.Attachment == nil || trunk.Attachment.InstanceId == nil {
		return nil
	}
	inst := Instances.Get(tx, sc, *trunk.Attachment.InstanceId)
	if inst == nil {
		return nil
	}
	if t, ok := instancetypes.Lookup(string(inst.InstanceType)); ok && on >= t.BranchENIs {
		return apiError("AttachmentLimitExceeded", "Branch interface count %d exceeds the limit for %s", on+1, t.Name)
	}
	return nil
}

// checkTrunkAttach keeps a trunk off instances whose type carries none.
func checkTrunkAttach(t *instancetypes.Type, eni *NetworkInterface) error {
	if eni.InterfaceType == types.NetworkInterfaceTypeTrunk && t.BranchENIs == 0 {
		return errCombination("The instance type %s does not support trunk interfaces", t.Name)
	}
	return nil
}

// trunkOf returns the trunk that a branch interface is on, nil for any other.
func trunkOf(r store.Reader, sc awsid.Scope, eni *NetworkInterface) *NetworkInterface {
	if eni.InterfaceType != types.NetworkInterfaceTypeBranch || eni.Status != types.NetworkInterfaceStatusInUse {
		return nil
	}
	for _, a := range TrunkAssociations.List(r, sc) {
		if *a.BranchInterfaceId == *eni.NetworkInterfaceId {
			return NetworkInterfaces.Get(r, sc, *a.TrunkInterfaceId)
		}
	}
	return nil
}

// DisassociateTrunkInterface takes a branch interface off its trunk.
func (s *Service) DisassociateTrunkInterface(ctx context.Context, in *ec2.DisassociateTrunkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.DisassociateTrunkInterfaceOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rec, err := trunkAssociationKind.get(tx, sc, in.AssociationId)
		if err != nil {
			return err
		}
		dropTrunkAssociation(tx, sc, rec, "")
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DisassociateTrunkInterfaceOutput{ClientToken: in.ClientToken, Return: aws.Bool(true)}, nil
}

// dropTrunkAssociation deletes an association and frees its branch, unless that is
// the interface that goes.
func dropTrunkAssociation(tx *store.Tx, sc awsid.Scope, rec *TrunkAssociation, going string) {
	if branch := NetworkInterfaces.Edit(tx, sc, *rec.BranchInterfaceId); branch != nil && *rec.BranchInterfaceId != going {
		branch.Status = types.NetworkInterfaceStatusAvailable
		NetworkInterfaces.Put(tx, sc, *rec.BranchInterfaceId, branch)
	}
	TrunkAssociations.Delete(tx, sc, *rec.AssociationId)
}

// dropTrunkAssociations ends the associations of an interface that is deleted. A
// trunk's branches stay and are free: who made them deletes them.
func dropTrunkAssociations(tx *store.Tx, sc awsid.Scope, eni *NetworkInterface) {
	if eni.InterfaceType != types.NetworkInterfaceTypeTrunk && eni.InterfaceType != types.NetworkInterfaceTypeBranch {
		return
	}
	id := *eni.NetworkInterfaceId
	for _, a := range TrunkAssociations.List(tx, sc) {
		if *a.TrunkInterfaceId == id || *a.BranchInterfaceId == id {
			dropTrunkAssociation(tx, sc, a, id)
		}
	}
}

// DescribeTrunkInterfaceAssociations lists which branch is on which trunk.
func (s *Service) DescribeTrunkInterfaceAssociations(ctx context.Context, in *ec2.DescribeTrunkInterfaceAssociationsInput, _ ...func(*ec2.Options)) (*ec2.DescribeTrunkInterfaceAssociationsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := trunkAssociationLister.run(s.store, sc, query{in.AssociationIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeTrunkInterfaceAssociationsOutput{InterfaceAssociations: page, NextToken: next}, nil
}

var trunkAssociationLister = &lister[TrunkAssociation, types.TrunkInterfaceAssociation]{
	kind: trunkAssociationKind,
	view: func(_ store.Reader, _ awsid.Scope, r *TrunkAssociation) types.TrunkInterfaceAssociation {
		v := r.TrunkInterfaceAssociation
		v.Tags = slices.Clone(v.Tags)
		return v
	},
	id:   func(v *types.TrunkInterfaceAssociation) string { return deref(v.AssociationId) },
	tags: func(v *types.TrunkInterfaceAssociation) []types.Tag { return v.Tags },
	filters: fields[types.TrunkInterfaceAssociation]{
		"gre-key":            func(v *types.TrunkInterfaceAssociation) []string { return number(v.GreKey) },
		"interface-protocol": func(v *types.TrunkInterfaceAssociation) []string { return text(v.InterfaceProtocol) },
		// The resource controller's filter, which the API reference does not list.
		"trunk-interface-association.trunk-interface-id": func(v *types.TrunkInterfaceAssociation) []string { return one(v.TrunkInterfaceId) },
	},
}
