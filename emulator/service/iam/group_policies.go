package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// PutGroupPolicy implements the operation.
func (s *Service) PutGroupPolicy(ctx context.Context, in *iam.PutGroupPolicyInput, _ ...func(*iam.Options)) (*iam.PutGroupPolicyOutput, error) {
	if err := checkInline(groupHolder, in.GroupName, in.PolicyName, in.PolicyDocument); err != nil {
		return nil, err
	}
	err := s.updateGroup(ctx, in.GroupName, func(_ *store.Tx, g *group) error {
		return g.putInline(ctx, groupHolder, *in.GroupName, *in.PolicyName, *in.PolicyDocument)
	})
	return answer(&iam.PutGroupPolicyOutput{}, err)
}

// GetGroupPolicy implements the operation.
func (s *Service) GetGroupPolicy(ctx context.Context, in *iam.GetGroupPolicyInput, _ ...func(*iam.Options)) (*iam.GetGroupPolicyOutput, error) {
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	g, err := getGroup(ctx, s.store, in.GroupName)
	if err != nil {
		return nil, err
	}
	doc, err := g.inline(groupHolder, in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iam.GetGroupPolicyOutput{GroupName: &g.Name, PolicyName: in.PolicyName, PolicyDocument: encodeDocument(doc)}, nil
}

// DeleteGroupPolicy implements the operation.
func (s *Service) DeleteGroupPolicy(ctx context.Context, in *iam.DeleteGroupPolicyInput, _ ...func(*iam.Options)) (*iam.DeleteGroupPolicyOutput, error) {
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	err := s.updateGroup(ctx, in.GroupName, func(_ *store.Tx, g *group) error { return g.deleteInline(groupHolder, in.PolicyName) })
	return answer(&iam.DeleteGroupPolicyOutput{}, err)
}

// ListGroupPolicies implements the operation.
func (s *Service) ListGroupPolicies(ctx context.Context, in *iam.ListGroupPoliciesInput, _ ...func(*iam.Options)) (*iam.ListGroupPoliciesOutput, error) {
	g, err := getGroup(ctx, s.store, in.GroupName)
	if err != nil {
		return nil, err
	}
	names, more, next, err := g.inlinePage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListGroupPoliciesOutput{PolicyNames: names, IsTruncated: more, Marker: next}, nil
}

// AttachGroupPolicy implements the operation.
func (s *Service) AttachGroupPolicy(ctx context.Context, in *iam.AttachGroupPolicyInput, _ ...func(*iam.Options)) (*iam.AttachGroupPolicyOutput, error) {
	if err := checkPolicyARN(in.PolicyArn); err != nil {
		return nil, err
	}
	err := s.updateGroup(ctx, in.GroupName, func(tx *store.Tx, g *group) error {
		return s.attach(ctx, tx, groupHolder, &g.grants, *in.PolicyArn)
	})
	return answer(&iam.AttachGroupPolicyOutput{}, err)
}

// DetachGroupPolicy implements the operation.
func (s *Service) DetachGroupPolicy(ctx context.Context, in *iam.DetachGroupPolicyInput, _ ...func(*iam.Options)) (*iam.DetachGroupPolicyOutput, error) {
	if err := checkPolicyARN(in.PolicyArn); err != nil {
		return nil, err
	}
	err := s.updateGroup(ctx, in.GroupName, func(_ *store.Tx, g *group) error { return g.detach(ctx, *in.PolicyArn) })
	return answer(&iam.DetachGroupPolicyOutput{}, err)
}

// ListAttachedGroupPolicies implements the operation.
func (s *Service) ListAttachedGroupPolicies(ctx context.Context, in *iam.ListAttachedGroupPoliciesInput, _ ...func(*iam.Options)) (*iam.ListAttachedGroupPoliciesOutput, error) {
	g, err := getGroup(ctx, s.store, in.GroupName)
	if err != nil {
		return nil, err
	}
	list, more, next, err := s.attachedPage(ctx, &g.grants, in.PathPrefix, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListAttachedGroupPoliciesOutput{AttachedPolicies: list, IsTruncated: more, Marker: next}, nil
}
