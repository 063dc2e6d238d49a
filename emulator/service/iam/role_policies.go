package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// PutRolePolicy implements the operation.
func (s *Service) PutRolePolicy(ctx context.Context, in *iam.PutRolePolicyInput, _ ...func(*iam.Options)) (*iam.PutRolePolicyOutput, error) {
	if err := checkInline(roleHolder, in.RoleName, in.PolicyName, in.PolicyDocument); err != nil {
		return nil, err
	}
	err := s.updateRole(ctx, in.RoleName, func(_ *store.Tx, r *role) error {
		return r.putInline(ctx, roleHolder, *in.RoleName, *in.PolicyName, *in.PolicyDocument)
	})
	return answer(&iam.PutRolePolicyOutput{}, err)
}

// GetRolePolicy implements the operation.
func (s *Service) GetRolePolicy(ctx context.Context, in *iam.GetRolePolicyInput, _ ...func(*iam.Options)) (*iam.GetRolePolicyOutput, error) {
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	r, err := getRole(ctx, s.store, in.RoleName)
	if err != nil {
		return nil, err
	}
	doc, err := r.inline(roleHolder, in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iam.GetRolePolicyOutput{RoleName: &r.Name, PolicyName: in.PolicyName, PolicyDocument: encodeDocument(doc)}, nil
}

// DeleteRolePolicy implements the operation.
func (s *Service) DeleteRolePolicy(ctx context.Context, in *iam.DeleteRolePolicyInput, _ ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error) {
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	err := s.updateRole(ctx, in.RoleName, func(_ *store.Tx, r *role) error { return r.deleteInline(roleHolder, in.PolicyName) })
	return answer(&iam.DeleteRolePolicyOutput{}, err)
}

// ListRolePolicies implements the operation.
func (s *Service) ListRolePolicies(ctx context.Context, in *iam.ListRolePoliciesInput, _ ...func(*iam.Options)) (*iam.ListRolePoliciesOutput, error) {
	r, err := getRole(ctx, s.store, in.RoleName)
	if err != nil {
		return nil, err
	}
	names, more, next, err := r.inlinePage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListRolePoliciesOutput{PolicyNames: names, IsTruncated: more, Marker: next}, nil
}

// AttachRolePolicy implements the operation.
func (s *Service) AttachRolePolicy(ctx context.Context, in *iam.AttachRolePolicyInput, _ ...func(*iam.Options)) (*iam.AttachRolePolicyOutput, error) {
	if err := checkPolicyARN(in.PolicyArn); err != nil {
		return nil, err
	}
	err := s.updateRole(ctx, in.RoleName, func(tx *store.Tx, r *role) error {
		return s.attach(ctx, tx, roleHolder, &r.grants, *in.PolicyArn)
	})
	return answer(&iam.AttachRolePolicyOutput{}, err)
}

// DetachRolePolicy implements the operation.
func (s *Service) DetachRolePolicy(ctx context.Context, in *iam.DetachRolePolicyInput, _ ...func(*iam.Options)) (*iam.DetachRolePolicyOutput, error) {
	if err := checkPolicyARN(in.PolicyArn); err != nil {
		return nil, err
	}
	err := s.updateRole(ctx, in.RoleName, func(_ *store.Tx, r *role) error { return r.detach(ctx, *in.PolicyArn) })
	return answer(&iam.DetachRolePolicyOutput{}, err)
}

// ListAttachedRolePolicies implements the operation.
func (s *Service) ListAttachedRolePolicies(ctx context.Context, in *iam.ListAttachedRolePoliciesInput, _ ...func(*iam.Options)) (*iam.ListAttachedRolePoliciesOutput, error) {
	r, err := getRole(ctx, s.store, in.RoleName)
	if err != nil {
		return nil, err
	}
	list, more, next, err := s.attachedPage(ctx, &r.grants, in.PathPrefix, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListAttachedRolePoliciesOutput{AttachedPolicies: list, IsTruncated: more, Marker: next}, nil
}
