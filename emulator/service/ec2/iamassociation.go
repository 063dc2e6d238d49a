package ec2

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// An instance's profile is an association whose id follows from the instance's, so
// that there is nothing more to store.

func profileAssociation(inst *Instance, state types.IamInstanceProfileAssociationState) *types.IamInstanceProfileAssociation {
	id := "iip-assoc-" + strings.TrimPrefix(*inst.InstanceId, "i-")
	return &types.IamInstanceProfileAssociation{AssociationId: &id, InstanceId: inst.InstanceId, IamInstanceProfile: inst.IamInstanceProfile, State: state}
}

// changeProfile edits the instance of an association.
func (s *Service) changeProfile(ctx context.Context, association *string, f func(inst *Instance) error) error {
	return s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		if association == nil {
			return errMissing("AssociationId")
		}
		rest, _ := strings.CutPrefix(*association, "iip-assoc-")
		inst := Instances.Edit(tx, sc, "i-"+rest)
		if inst == nil || inst.IamInstanceProfile == nil {
			return apiError("InvalidAssociationID.NotFound", "An invalid association-id of '%s' was given", *association)
		}
		if err := f(inst); err != nil {
			return err
		}
		Instances.Put(tx, sc, *inst.InstanceId, inst)
		return nil
	})
}

// AssociateIamInstanceProfile gives an instance without a profile one.
func (s *Service) AssociateIamInstanceProfile(ctx context.Context, in *ec2.AssociateIamInstanceProfileInput, _ ...func(*ec2.Options)) (*ec2.AssociateIamInstanceProfileOutput, error) {
	profile, err := s.profileOf(ctx, in.IamInstanceProfile)
	if err != nil {
		return nil, err
	}
	if profile == nil {
		return nil, errMissing("IamInstanceProfile")
	}
	var out *types.IamInstanceProfileAssociation
	err = s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		inst, err := instanceKind.edit(tx, sc, in.InstanceId)
		if err != nil {
			return err
		}
		if inst.IamInstanceProfile != nil {
			return apiError("IncorrectState", "There is an existing association for instance %s", *inst.InstanceId)
		}
		inst.IamInstanceProfile = profile
		Instances.Put(tx, sc, *inst.InstanceId, inst)
		out = profileAssociation(inst, types.IamInstanceProfileAssociationStateAssociating)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AssociateIamInstanceProfileOutput{IamInstanceProfileAssociation: out}, nil
}

// ReplaceIamInstanceProfileAssociation changes an instance's profile.
func (s *Service) ReplaceIamInstanceProfileAssociation(ctx context.Context, in *ec2.ReplaceIamInstanceProfileAssociationInput, _ ...func(*ec2.Options)) (*ec2.ReplaceIamInstanceProfileAssociationOutput, error) {
	profile, err := s.profileOf(ctx, in.IamInstanceProfile)
	if err != nil {
		return nil, err
	}
	if profile == nil {
		return nil, errMissing("IamInstanceProfile")
	}
	var out *types.IamInstanceProfileAssociation
	err = s.changeProfile(ctx, in.AssociationId, func(inst *Instance) error {
		inst.IamInstanceProfile = profile
		out = profileAssociation(inst, types.IamInstanceProfileAssociationStateAssociating)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ReplaceIamInstanceProfileAssociationOutput{IamInstanceProfileAssociation: out}, nil
}

// DisassociateIamInstanceProfile takes an instance's profile away.
func (s *Service) DisassociateIamInstanceProfile(ctx context.Context, in *ec2.DisassociateIamInstanceProfileInput, _ ...func(*ec2.Options)) (*ec2.DisassociateIamInstanceProfileOutput, error) {
	var out *types.IamInstanceProfileAssociation
	err := s.changeProfile(ctx, in.AssociationId, func(inst *Instance) error {
		out = profileAssociation(inst, types.IamInstanceProfileAssociationStateDisassociating)
		inst.IamInstanceProfile = nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DisassociateIamInstanceProfileOutput{IamInstanceProfileAssociation: out}, nil
}

// DescribeIamInstanceProfileAssociations lists which instances have which profiles.
func (s *Service) DescribeIamInstanceProfileAssociations(ctx context.Context, in *ec2.DescribeIamInstanceProfileAssociationsInput, _ ...func(*ec2.Options)) (*ec2.DescribeIamInstanceProfileAssociationsOutput, error) {
	sc, err := s.read(ctx, nil)
	if err != nil {
		return nil, err
	}
	match, err := compile(profileFilters, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, id := range in.AssociationIds {
		wanted[id] = true
	}
	out := []types.IamInstanceProfileAssociation{}
	for _, inst := range Instances.List(s.store, sc) {
		if inst.IamInstanceProfile == nil || inst.State.Name == types.InstanceStateNameTerminated {
			continue
		}
		v := profileAssociation(inst, types.IamInstanceProfileAssociationStateAssociated)
		if (len(wanted) == 0 || wanted[*v.AssociationId]) && match(v) {
			out = append(out, *v)
		}
		delete(wanted, *v.AssociationId)
	}
	for _, id := range in.AssociationIds {
		if wanted[id] {
			return nil, apiError("InvalidAssociationID.NotFound", "An invalid association-id of '%s' was given", id)
		}
	}
	page, next, err := paginate(out, func(v *types.IamInstanceProfileAssociation) string { return deref(v.AssociationId) }, in.MaxResults, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeIamInstanceProfileAssociationsOutput{IamInstanceProfileAssociations: page, NextToken: next}, nil
}

var profileFilters = fields[types.IamInstanceProfileAssociation]{
	"instance-id": func(v *types.IamInstanceProfileAssociation) []string { return one(v.InstanceId) },
	"state":       func(v *types.IamInstanceProfileAssociation) []string { return text(v.State) },
}
