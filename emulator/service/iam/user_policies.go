package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// PutUserPolicy implements the operation.
func (s *Service) PutUserPolicy(ctx context.Context, in *iam.PutUserPolicyInput, _ ...func(*iam.Options)) (*iam.PutUserPolicyOutput, error) {
	if err := checkInline(userHolder, in.UserName, in.PolicyName, in.PolicyDocument); err != nil {
		return nil, err
	}
	err := s.updateUser(ctx, in.UserName, func(_ *store.Tx, u *user) error {
		return u.putInline(ctx, userHolder, *in.UserName, *in.PolicyName, *in.PolicyDocument)
	})
	return answer(&iam.PutUserPolicyOutput{}, err)
}

// GetUserPolicy implements the operation.
func (s *Service) GetUserPolicy(ctx context.Context, in *iam.GetUserPolicyInput, _ ...func(*iam.Options)) (*iam.GetUserPolicyOutput, error) {
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	u, err := getUser(ctx, s.store, in.UserName)
	if err != nil {
		return nil, err
	}
	doc, err := u.inline(userHolder, in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iam.GetUserPolicyOutput{UserName: &u.Name, PolicyName: in.PolicyName, PolicyDocument: encodeDocument(doc)}, nil
}

// DeleteUserPolicy implements the operation.
func (s *Service) DeleteUserPolicy(ctx context.Context, in *iam.DeleteUserPolicyInput, _ ...func(*iam.Options)) (*iam.DeleteUserPolicyOutput, error) {
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	err := s.updateUser(ctx, in.UserName, func(_ *store.Tx, u *user) error { return u.deleteInline(userHolder, in.PolicyName) })
	return answer(&iam.DeleteUserPolicyOutput{}, err)
}

// ListUserPolicies implements the operation.
func (s *Service) ListUserPolicies(ctx context.Context, in *iam.ListUserPoliciesInput, _ ...func(*iam.Options)) (*iam.ListUserPoliciesOutput, error) {
	u, err := getUser(ctx, s.store, in.UserName)
	if err != nil {
		return nil, err
	}
	names, more, next, err := u.inlinePage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListUserPoliciesOutput{PolicyNames: names, IsTruncated: more, Marker: next}, nil
}

// AttachUserPolicy implements the operation.
func (s *Service) AttachUserPolicy(ctx context.Context, in *iam.AttachUserPolicyInput, _ ...func(*iam.Options)) (*iam.AttachUserPolicyOutput, error) {
	if err := checkPolicyARN(in.PolicyArn); err != nil {
		return nil, err
	}
	err := s.updateUser(ctx, in.UserName, func(tx *store.Tx, u *user) error {
		return s.attach(ctx, tx, userHolder, &u.grants, *in.PolicyArn)
	})
	return answer(&iam.AttachUserPolicyOutput{}, err)
}

// DetachUserPolicy implements the operation.
func (s *Service) DetachUserPolicy(ctx context.Context, in *iam.DetachUserPolicyInput, _ ...func(*iam.Options)) (*iam.DetachUserPolicyOutput, error) {
	if err := checkPolicyARN(in.PolicyArn); err != nil {
		return nil, err
	}
	err := s.updateUser(ctx, in.UserName, func(_ *store.Tx, u *user) error { return u.detach(ctx, *in.PolicyArn) })
	return answer(&iam.DetachUserPolicyOutput{}, err)
}

// ListAttachedUserPolicies implements the operation.
func (s *Service) ListAttachedUserPolicies(ctx context.Context, in *iam.ListAttachedUserPoliciesInput, _ ...func(*iam.Options)) (*iam.ListAttachedUserPoliciesOutput, error) {
	u, err := getUser(ctx, s.store, in.UserName)
	if err != nil {
		return nil, err
	}
	list, more, next, err := s.attachedPage(ctx, &u.grants, in.PathPrefix, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListAttachedUserPoliciesOutput{AttachedPolicies: list, IsTruncated: more, Marker: next}, nil
}
