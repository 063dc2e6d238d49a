package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ekslocal/ekslocal/emulator/policy"
)

// GetContextKeysForCustomPolicy implements the operation.
func (s *Service) GetContextKeysForCustomPolicy(ctx context.Context, in *iam.GetContextKeysForCustomPolicyInput, _ ...func(*iam.Options)) (*iam.GetContextKeysForCustomPolicyOutput, error) {
	var c checks
	c.Null("policyInputList", in.PolicyInputList == nil)
	c.documents("policyInputList", in.PolicyInputList)
	if err := c.err(); err != nil {
		return nil, err
	}
	keys, err := s.contextKeys(in.PolicyInputList, nil)
	if err != nil {
		return nil, err
	}
	return &iam.GetContextKeysForCustomPolicyOutput{ContextKeyNames: keys}, nil
}

// GetContextKeysForPrincipalPolicy implements the operation.
func (s *Service) GetContextKeysForPrincipalPolicy(ctx context.Context, in *iam.GetContextKeysForPrincipalPolicyInput, _ ...func(*iam.Options)) (*iam.GetContextKeysForPrincipalPolicyOutput, error) {
	var c checks
	c.arn("policySourceArn", in.PolicySourceArn)
	c.documents("policyInputList", in.PolicyInputList)
	if err := c.err(); err != nil {
		return nil, err
	}
	source, err := s.policySource(ctx, *in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	keys, err := s.contextKeys(in.PolicyInputList, append(source.Policies, source.Boundary...))
	if err != nil {
		return nil, err
	}
	return &iam.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: keys}, nil
}

// contextKeys are those of documents, which may be of any kind, and of policies.
func (s *Service) contextKeys(docs []string, policies []policy.Policy) ([]string, error) {
	for _, doc := range docs {
		d, err := s.parsed.Parse(doc)
		if err != nil {
			return nil, invalidInput(err.Error())
		}
		policies = append(policies, policy.Policy{Document: d})
	}
	out := []string{}
	for _, p := range policies {
		for _, k := range p.ContextKeys() {
			if !slices.ContainsFunc(out, func(o string) bool { return strings.EqualFold(o, k) }) {
				out = append(out, k)
			}
		}
	}
	return out, nil
}
