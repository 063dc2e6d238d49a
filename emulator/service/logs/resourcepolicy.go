package logs

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// maxResourcePolicies is how many a region of an account can have.
const maxResourcePolicies = 10

// policyKey is a policy's key: the account's are by name, a resource's by ARN.
func policyKey(name, arn *string) string {
	if arn != nil {
		return *arn
	}
	return aws.ToString(name)
}

// PutResourcePolicy implements the operation.
func (s *Service) PutResourcePolicy(ctx context.Context, in *cwl.PutResourcePolicyInput, _ ...func(*cwl.Options)) (*cwl.PutResourcePolicyOutput, error) {
	var c checks
	c.text("policyDocument", in.PolicyDocument, policyText, 1)
	if in.ResourceArn == nil {
		c.text("policyName", in.PolicyName, anyText, 1)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if _, err := policy.Parse(*in.PolicyDocument); err != nil {
		return nil, invalid("Policy document is not valid: %s", err)
	}
	sc, key := awsid.CallerFrom(ctx).Scope, policyKey(in.PolicyName, in.ResourceArn)
	out := &cwl.PutResourcePolicyOutput{}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		old := policies.Get(tx, sc, key)
		if old == nil && in.ResourceArn == nil && len(accountPolicies(policies.List(tx, sc))) >= maxResourcePolicies {
			return limitExceeded()
		}
		if in.ExpectedRevisionId != nil && (old == nil || aws.ToString(old.Policy.RevisionId) != *in.ExpectedRevisionId) {
			return invalid("The specified revision ID does not match the latest one.")
		}
		p := &resourcePolicy{Policy: types.ResourcePolicy{
			PolicyName: in.PolicyName, PolicyDocument: in.PolicyDocument, LastUpdatedTime: aws.Int64(s.millis()), PolicyScope: types.PolicyScopeAccount,
		}}
		if in.ResourceArn != nil {
			p.Policy.PolicyScope, p.Policy.ResourceArn, p.Policy.RevisionId = types.PolicyScopeResource, in.ResourceArn, aws.String(awsid.Hex(32))
			out.RevisionId = p.Policy.RevisionId
		}
		policies.Put(tx, sc, key, p)
		out.ResourcePolicy = &p.Policy
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func accountPolicies(list []*resourcePolicy) []*resourcePolicy {
	var out []*resourcePolicy
	for _, p := range list {
		if p.Policy.PolicyScope == types.PolicyScopeAccount {
			out = append(out, p)
		}
	}
	return out
}

// DescribeResourcePolicies implements the operation: the account's, or those of a
// resource.
func (s *Service) DescribeResourcePolicies(ctx context.Context, in *cwl.DescribeResourcePoliciesInput, _ ...func(*cwl.Options)) (*cwl.DescribeResourcePoliciesOutput, error) {
	var c checks
	c.Span("limit", in.Limit, 1, 50)
	oneOf(&c, "policyScope", in.PolicyScope, in.PolicyScope.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	all := policies.List(s.store, awsid.CallerFrom(ctx).Scope)
	if in.PolicyScope != types.PolicyScopeResource && in.ResourceArn == nil {
		all = accountPolicies(all)
	} else {
		var of []*resourcePolicy
		for _, p := range all {
			if p.Policy.PolicyScope == types.PolicyScopeResource && (in.ResourceArn == nil || *p.Policy.ResourceArn == *in.ResourceArn) {
				of = append(of, p)
			}
		}
		all = of
	}
	all, next, err := page(all, func(p *resourcePolicy) string { return policyKey(p.Policy.PolicyName, p.Policy.ResourceArn) }, in.NextToken, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &cwl.DescribeResourcePoliciesOutput{ResourcePolicies: make([]types.ResourcePolicy, len(all)), NextToken: next}
	for i, p := range all {
		out.ResourcePolicies[i] = p.Policy
	}
	return out, nil
}

// DeleteResourcePolicy implements the operation.
func (s *Service) DeleteResourcePolicy(ctx context.Context, in *cwl.DeleteResourcePolicyInput, _ ...func(*cwl.Options)) (*cwl.DeleteResourcePolicyOutput, error) {
	key := policyKey(in.PolicyName, in.ResourceArn)
	if strings.TrimSpace(key) == "" {
		return nil, invalid("Either policyName or resourceArn must be specified.")
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if policies.Get(tx, sc, key) == nil {
			return notFound("Policy with name [%s] does not exist.", key)
		}
		policies.Delete(tx, sc, key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cwl.DeleteResourcePolicyOutput{}, nil
}
