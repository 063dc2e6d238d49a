package iam

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// exclude takes policies out of a simulation, as if they were not attached.
func exclude(p *policy.Policies, list []types.PolicyIdentifier) error {
	for _, id := range list {
		gone, err := excluded(id)
		if err != nil {
			return err
		}
		p.Identity = slices.DeleteFunc(p.Identity, gone)
		byType, _ := id.(*types.PolicyIdentifierMemberPolicyType)
		if byType != nil && byType.Value == types.PolicyIdentifierPolicyTypePermissionBoundary || slices.ContainsFunc(p.Boundary, gone) {
			p.Boundary = nil
		}
	}
	return nil
}

// excluded tells which policies an identifier means. Inputs of the request have
// neither an ARN nor an owner and are never meant.
func excluded(id types.PolicyIdentifier) (func(policy.Policy) bool, error) {
	managed := func(p policy.Policy, aws bool) bool {
		a, err := awsid.ParseARN(p.ARN)
		return err == nil && (a.Account == "aws") == aws
	}
	switch v := id.(type) {
	case *types.PolicyIdentifierMemberPolicyArn:
		if _, err := awsid.ParseARN(v.Value); err != nil {
			return nil, invalidInput("ARN " + v.Value + " is not valid.")
		}
		return func(p policy.Policy) bool { return p.ARN != "" && policy.Like(v.Value, p.ARN) }, nil
	case *types.PolicyIdentifierMemberInlinePolicyIdentifier:
		owner := strings.ToLower(string(v.Value.AttachmentType)) + "/" + aws.ToString(v.Value.AttachmentName)
		return func(p policy.Policy) bool {
			return p.Name == aws.ToString(v.Value.PolicyName) && policy.Like(owner, p.Owner)
		}, nil
	case *types.PolicyIdentifierMemberPolicyType:
		switch v.Value {
		case types.PolicyIdentifierPolicyTypeInline:
			return func(p policy.Policy) bool { return p.Owner != "" }, nil
		case types.PolicyIdentifierPolicyTypeAwsManaged:
			return func(p policy.Policy) bool { return managed(p, true) }, nil
		case types.PolicyIdentifierPolicyTypeUserManaged:
			return func(p policy.Policy) bool { return managed(p, false) }, nil
		}
	}
	return func(policy.Policy) bool { return false }, nil
}

// page simulates the actions of one page, each on every resource.
func (sim *simulation) page(marker *string, maxItems *int32) ([]types.EvaluationResult, bool, *string, error) {
	type item struct {
		at     int
		action string
	}
	all := make([]item, len(sim.actions))
	for i, a := range sim.actions {
		all[i] = item{i, a}
	}
	items, more, next, err := page(all, func(i item) string { return fmt.Sprintf("%06d", i.at) }, marker, maxItems)
	if err != nil {
		return nil, false, nil, err
	}
	out := make([]types.EvaluationResult, len(items))
	for i, it := range items {
		out[i] = sim.result(it.action)
	}
	return out, more, next, nil
}

// result is what the simulator says about one action. Its decision is the strictest
// of those on the resources.
func (sim *simulation) result(action string) types.EvaluationResult {
	out := types.EvaluationResult{EvalActionName: &action, EvalResourceName: aws.String("*"), MatchedStatements: []types.Statement{}, MissingContextValues: []string{}}
	if len(sim.resources) == 0 || len(sim.resources) == 1 && sim.resources[0] == "*" {
		one := sim.on(action, "*")
		out.EvalDecision, out.EvalDecisionDetails = one.EvalResourceDecision, one.EvalDecisionDetails
		out.MatchedStatements, out.MissingContextValues = one.MatchedStatements, one.MissingContextValues
		out.PermissionsBoundaryDecisionDetail = one.PermissionsBoundaryDecisionDetail
		return out
	}
	out.EvalDecisionDetails = map[string]types.PolicyEvaluationDecisionType{}
	for _, r := range sim.resources {
		one := sim.on(action, r)
		out.ResourceSpecificResults = append(out.ResourceSpecificResults, one)
		out.EvalDecision = stricter(out.EvalDecision, one.EvalResourceDecision)
		for layer, d := range one.EvalDecisionDetails {
			out.EvalDecisionDetails[layer] = stricter(out.EvalDecisionDetails[layer], d)
		}
		for _, k := range one.MissingContextValues {
			if !slices.Contains(out.MissingContextValues, k) {
				out.MissingContextValues = append(out.MissingContextValues, k)
			}
		}
		if b := one.PermissionsBoundaryDecisionDetail; b != nil {
			all := out.PermissionsBoundaryDecisionDetail == nil || out.PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary
			out.PermissionsBoundaryDecisionDetail = &types.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: all && b.AllowedByPermissionsBoundary}
		}
	}
	for _, one := range out.ResourceSpecificResults {
		if one.EvalResourceDecision != out.EvalDecision {
			continue // its statements did not contribute
		}
		for _, m := range one.MatchedStatements {
			if !slices.ContainsFunc(out.MatchedStatements, func(o types.Statement) bool {
				return *o.SourcePolicyId == *m.SourcePolicyId && *o.StartPosition == *m.StartPosition
			}) {
				out.MatchedStatements = append(out.MatchedStatements, m)
			}
		}
	}
	return out
}

// on simulates one action on one resource.
func (sim *simulation) on(action, resource string) types.ResourceSpecificResult {
	p := sim.policies
	// The simulator does not look up the policies of resources: without one in the
	// request the account that owns the resource is taken to agree.
	if p.Resource != nil {
		p.Owner = sim.owner
		if a, err := awsid.ParseARN(resource); err == nil && a.Account != "" {
			p.Owner = a.Account
		}
	}
	r := policy.Request{Principal: sim.who.Principal, Action: action, Resource: resource, Context: sim.context}
	d := p.Decide(r)
	out := types.ResourceSpecificResult{
		EvalResourceName: &resource, EvalResourceDecision: decisions[d.Outcome],
		MatchedStatements: []types.Statement{}, MissingContextValues: nonNil(p.MissingKeys(r)),
	}
	for _, m := range p.Applying(r) {
		if m.Layer != policy.PermissionsBoundary && m.Statement().Allow == (d.Outcome == policy.Allowed) {
			out.MatchedStatements = append(out.MatchedStatements, matched(m))
		}
	}
	if p.Boundary != nil {
		out.PermissionsBoundaryDecisionDetail = &types.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: d.Layers[policy.PermissionsBoundary] == policy.Allowed}
	}
	if d.CrossAccount {
		out.EvalDecisionDetails = map[string]types.PolicyEvaluationDecisionType{
			"IAM Policy": decisions[d.Layers[policy.IdentityBased]], "Resource Policy": decisions[d.Layers[policy.ResourceBased]],
		}
		if p.Boundary != nil {
			out.EvalDecisionDetails["Permissions Boundary Policy"] = decisions[d.Layers[policy.PermissionsBoundary]]
		}
	}
	return out
}

var decisions = [...]types.PolicyEvaluationDecisionType{
	policy.NoMatch: types.PolicyEvaluationDecisionTypeImplicitDeny,
	policy.Allowed: types.PolicyEvaluationDecisionTypeAllowed,
	policy.Denied:  types.PolicyEvaluationDecisionTypeExplicitDeny,
}

// stricter is the decision of both; "" is none yet.
func stricter(a, b types.PolicyEvaluationDecisionType) types.PolicyEvaluationDecisionType {
	for _, d := range []types.PolicyEvaluationDecisionType{types.PolicyEvaluationDecisionTypeExplicitDeny, types.PolicyEvaluationDecisionTypeImplicitDeny} {
		if a == d || b == d {
			return d
		}
	}
	return b
}

// matched is a statement as results refer to it: managed policies by their name,
// inline ones by role_ops_NAME. The model's enumeration of policy types is not what
// IAM answers.
func matched(m policy.Match) types.Statement {
	id, kind := m.Policy.Name, types.PolicySourceType("IAM Policy")
	if m.Policy.Owner != "" {
		id = strings.ReplaceAll(m.Policy.Owner, "/", "_") + "_" + id
	}
	if m.Layer == policy.ResourceBased {
		kind = "Resource Policy"
	}
	span := m.Policy.Locate()[m.Index]
	at := func(p policy.Position) *types.Position {
		return &types.Position{Line: int32(p.Line), Column: int32(p.Column)}
	}
	return types.Statement{SourcePolicyId: &id, SourcePolicyType: kind, StartPosition: at(span.Start), EndPosition: at(span.End)}
}
