package eks

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
)

// autoNodePolicy is the one policy for the nodes of EKS Auto Mode.
const autoNodePolicy = "AmazonEKSAutoNodePolicy"

// namespaceScope allows names of namespaces and patterns such as dev-*.
var namespaceScope = regexp.MustCompile(`^[a-z0-9*]([a-z0-9*-]{0,61}[a-z0-9*])?$`)

func hasPolicyARN(arn string) func(ekstypes.AssociatedAccessPolicy) bool {
	return func(p ekstypes.AssociatedAccessPolicy) bool { return aws.ToString(p.PolicyArn) == arn }
}

// ListAccessPolicies implements eks:ListAccessPolicies.
func (s *Service) ListAccessPolicies(ctx context.Context, in *eks.ListAccessPoliciesInput, _ ...func(*eks.Options)) (*eks.ListAccessPoliciesOutput, error) {
	partition := awsid.CallerFrom(ctx).Partition()
	policies := make([]ekstypes.AccessPolicy, 0, len(s.policies))
	for _, p := range s.policies {
		policies = append(policies, ekstypes.AccessPolicy{Name: aws.String(p.Name), Arn: aws.String(p.ARN(partition))})
	}
	policies, next, err := page("ListAccessPolicies", policies, func(p ekstypes.AccessPolicy) string { return *p.Name }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListAccessPoliciesOutput{AccessPolicies: policies, NextToken: next}, nil
}

// AssociateAccessPolicy implements eks:AssociateAccessPolicy. Doing it again
// replaces the scope.
func (s *Service) AssociateAccessPolicy(ctx context.Context, in *eks.AssociateAccessPolicyInput, _ ...func(*eks.Options)) (*eks.AssociateAccessPolicyOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	arn := aws.ToString(in.PolicyArn)
	var out ekstypes.AssociatedAccessPolicy
	_, err := s.editEntry(ctx, in.ClusterName, in.PrincipalArn, func(e *AccessEntry) error {
		if err := s.checkPolicy(a, e.Scope.Partition(), arn, *e.Resource.Type); err != nil {
			return err
		}
		scope, err := accessScope(a, in.AccessScope)
		if err != nil {
			return err
		}
		now := s.now()
		out = ekstypes.AssociatedAccessPolicy{PolicyArn: &arn, AccessScope: scope, AssociatedAt: now, ModifiedAt: now}
		if i := slices.IndexFunc(e.Policies, hasPolicyARN(arn)); i >= 0 {
			out.AssociatedAt = e.Policies[i].AssociatedAt
			e.Policies[i] = out
			return nil
		}
		e.Policies = append(e.Policies, out)
		slices.SortFunc(e.Policies, func(x, y ekstypes.AssociatedAccessPolicy) int { return strings.Compare(*x.PolicyArn, *y.PolicyArn) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.AssociateAccessPolicyOutput{AssociatedAccessPolicy: &out, ClusterName: in.ClusterName, PrincipalArn: in.PrincipalArn}, nil
}

func (s *Service) checkPolicy(a about, partition, arn, entryType string) error {
	if !slices.ContainsFunc(s.policies, func(p accesspolicies.Policy) bool { return p.ARN(partition) == arn }) {
		return a.notFound("The specified policyArn could not be found. You can view your available access policies with 'list-access-policies'.")
	}
	switch entryType {
	case EntryStandard:
		return nil
	case EntryEC2:
		if arn == accesspolicies.ARN(partition, autoNodePolicy) {
			return nil
		}
	}
	return a.invalidParameter("This operation can only be performed on Access Entries with a type of %q.", EntryStandard)
}

func accessScope(a about, in *ekstypes.AccessScope) (*ekstypes.AccessScope, error) {
	if in == nil || in.Type == "" {
		return nil, a.invalidParameter("accessScope must be specified.")
	}
	out := &ekstypes.AccessScope{Type: in.Type, Namespaces: append([]string{}, in.Namespaces...)}
	switch in.Type {
	case ekstypes.AccessScopeTypeCluster:
		if len(in.Namespaces) > 0 {
			return nil, a.invalidParameter("Namespaces cannot be specified for an access scope of type cluster.")
		}
		return out, nil
	case ekstypes.AccessScopeTypeNamespace:
		if len(in.Namespaces) == 0 {
			return nil, a.invalidParameter("At least one namespace must be specified for an access scope of type namespace.")
		}
		for _, n := range in.Namespaces {
			if !namespaceScope.MatchString(n) {
				return nil, a.invalidParameter("The namespace %s in accessScope is invalid.", n)
			}
		}
		return out, nil
	}
	return nil, a.invalidParameter("The access scope type %s is invalid: it must be cluster or namespace.", in.Type)
}

// DisassociateAccessPolicy implements eks:DisassociateAccessPolicy.
func (s *Service) DisassociateAccessPolicy(ctx context.Context, in *eks.DisassociateAccessPolicyInput, _ ...func(*eks.Options)) (*eks.DisassociateAccessPolicyOutput, error) {
	_, err := s.editEntry(ctx, in.ClusterName, in.PrincipalArn, func(e *AccessEntry) error {
		before := len(e.Policies)
		e.Policies = slices.DeleteFunc(e.Policies, hasPolicyARN(aws.ToString(in.PolicyArn)))
		if len(e.Policies) == before {
			return about{cluster: *in.ClusterName}.notFound("The specified policyArn is not associated with the access entry.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.DisassociateAccessPolicyOutput{}, nil
}

// ListAssociatedAccessPolicies implements eks:ListAssociatedAccessPolicies.
func (s *Service) ListAssociatedAccessPolicies(ctx context.Context, in *eks.ListAssociatedAccessPoliciesInput, _ ...func(*eks.Options)) (*eks.ListAssociatedAccessPoliciesOutput, error) {
	e, err := readEntry(s.store, awsid.CallerFrom(ctx).Scope, in.ClusterName, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	key := func(p ekstypes.AssociatedAccessPolicy) string { return *p.PolicyArn }
	policies, next, err := page("ListAssociatedAccessPolicies", e.Policies, key, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListAssociatedAccessPoliciesOutput{
		AssociatedAccessPolicies: policies, NextToken: next, ClusterName: in.ClusterName, PrincipalArn: in.PrincipalArn,
	}, nil
}
