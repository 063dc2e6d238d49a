package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// DescribeSecurityGroupRules lists rules of all groups.
func (s *Service) DescribeSecurityGroupRules(ctx context.Context, in *ec2.DescribeSecurityGroupRulesInput, _ ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupRulesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(ruleFilters, func(r *types.SecurityGroupRule) []types.Tag { return r.Tags }, in.Filters)
	if err != nil {
		return nil, err
	}
	for _, id := range in.SecurityGroupRuleIds {
		if err := (ruleTags{}).check(id); err != nil {
			return nil, err
		}
	}
	out, found := []types.SecurityGroupRule{}, map[string]bool{}
	for _, g := range SecurityGroups.List(s.store, sc) {
		for _, r := range g.Rules {
			if len(in.SecurityGroupRuleIds) > 0 && !slices.Contains(in.SecurityGroupRuleIds, *r.SecurityGroupRuleId) {
				continue
			}
			found[*r.SecurityGroupRuleId] = true
			if match(&r) {
				out = append(out, r)
			}
		}
	}
	for _, id := range in.SecurityGroupRuleIds {
		if !found[id] {
			return nil, ruleTags{}.absent(id)
		}
	}
	id := func(r *types.SecurityGroupRule) string { return deref(r.SecurityGroupRuleId) }
	slices.SortFunc(out, func(a, b types.SecurityGroupRule) int { return strings.Compare(id(&a), id(&b)) })
	page, next, err := paginate(out, id, in.MaxResults, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeSecurityGroupRulesOutput{SecurityGroupRules: page, NextToken: next}, nil
}

var ruleFilters = fields[types.SecurityGroupRule]{
	"group-id":               func(r *types.SecurityGroupRule) []string { return one(r.GroupId) },
	"security-group-rule-id": func(r *types.SecurityGroupRule) []string { return one(r.SecurityGroupRuleId) },
}

// ruleTags makes the rules inside security groups taggable.
type ruleTags struct{}

func (ruleTags) owns(id string) bool              { return strings.HasPrefix(id, "sgr-") }
func (ruleTags) resourceType() types.ResourceType { return types.ResourceTypeSecurityGroupRule }

func (ruleTags) check(id string) error {
	if rest, ok := strings.CutPrefix(id, "sgr-"); !ok || !idDigits.MatchString(rest) {
		return apiError("InvalidSecurityGroupRuleId.Malformed", "Invalid id: %q (expecting %q)", id, "sgr-...")
	}
	return nil
}

func (ruleTags) absent(ids ...string) error {
	return apiError("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", ids[0])
}

func (ruleTags) retag(tx *store.Tx, sc awsid.Scope, id string, f func([]types.Tag) ([]types.Tag, error)) (bool, error) {
	is := func(r types.SecurityGroupRule) bool { return deref(r.SecurityGroupRuleId) == id }
	for _, g := range SecurityGroups.List(tx, sc) {
		i := slices.IndexFunc(g.Rules, is)
		if i < 0 {
			continue
		}
		mine := SecurityGroups.Edit(tx, sc, *g.GroupId)
		tags, err := f(mine.Rules[i].Tags)
		if err != nil {
			return true, err
		}
		mine.Rules[i].Tags = tags
		SecurityGroups.Put(tx, sc, *g.GroupId, mine)
		return true, nil
	}
	return false, nil
}

func (ruleTags) eachTagged(r store.Reader, sc awsid.Scope, f func(id string, tags []types.Tag)) {
	for _, g := range SecurityGroups.List(r, sc) {
		for _, rule := range g.Rules {
			if len(rule.Tags) > 0 {
				f(*rule.SecurityGroupRuleId, rule.Tags)
			}
		}
	}
}
