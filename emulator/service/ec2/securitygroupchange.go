package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// ruleChange is what the Authorize and Revoke requests of both directions say.
type ruleChange struct {
	egress    bool
	group     *string
	groupName *string
	perms     []types.IpPermission
	tags      []types.TagSpecification
	ruleIDs   []string
}

// legacy turns the single-rule parameters of old clients into a permission.
func legacy(perms []types.IpPermission, proto *string, from, to *int32, cidr, sourceGroup, sourceOwner *string) []types.IpPermission {
	if proto == nil && cidr == nil && sourceGroup == nil {
		return perms
	}
	p := types.IpPermission{IpProtocol: proto, FromPort: from, ToPort: to}
	if cidr != nil {
		p.IpRanges = []types.IpRange{{CidrIp: cidr}}
	}
	if sourceGroup != nil {
		p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupName: sourceGroup, UserId: sourceOwner}}
	}
	return append(slices.Clone(perms), p)
}

// AuthorizeSecurityGroupIngress adds inbound rules.
func (s *Service) AuthorizeSecurityGroupIngress(ctx context.Context, in *ec2.AuthorizeSecurityGroupIngressInput, _ ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupIngressOutput, error) {
	perms := legacy(in.IpPermissions, in.IpProtocol, in.FromPort, in.ToPort, in.CidrIp, in.SourceSecurityGroupName, in.SourceSecurityGroupOwnerId)
	rules, err := s.authorize(ctx, in.DryRun, ruleChange{group: in.GroupId, groupName: in.GroupName, perms: perms, tags: in.TagSpecifications})
	if err != nil {
		return nil, err
	}
	return &ec2.AuthorizeSecurityGroupIngressOutput{Return: aws.Bool(true), SecurityGroupRules: rules}, nil
}

// AuthorizeSecurityGroupEgress adds outbound rules.
func (s *Service) AuthorizeSecurityGroupEgress(ctx context.Context, in *ec2.AuthorizeSecurityGroupEgressInput, _ ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupEgressOutput, error) {
	perms := legacy(in.IpPermissions, in.IpProtocol, in.FromPort, in.ToPort, in.CidrIp, in.SourceSecurityGroupName, in.SourceSecurityGroupOwnerId)
	rules, err := s.authorize(ctx, in.DryRun, ruleChange{egress: true, group: in.GroupId, perms: perms, tags: in.TagSpecifications})
	if err != nil {
		return nil, err
	}
	return &ec2.AuthorizeSecurityGroupEgressOutput{Return: aws.Bool(true), SecurityGroupRules: rules}, nil
}

func (s *Service) authorize(ctx context.Context, dryRun *bool, c ruleChange) ([]types.SecurityGroupRule, error) {
	if len(c.perms) == 0 {
		return nil, errMissing("ipPermissions")
	}
	tags, err := tagsFor(ctx, c.tags, types.ResourceTypeSecurityGroupRule)
	if err != nil {
		return nil, err
	}
	var added []types.SecurityGroupRule
	err = s.write(ctx, dryRun, func(tx *store.Tx, sc awsid.Scope) error {
		g, err := groupOf(tx, sc, c.group, c.groupName)
		if err != nil {
			return err
		}
		rules, err := c.resolve(tx, sc, g)
		if err != nil {
			return err
		}
		added = nil
		for _, r := range rules {
			r = finishRule(sc, g, r, c.egress)
			r.Tags = tags
			if slices.ContainsFunc(g.Rules, func(have types.SecurityGroupRule) bool { return sameRule(have, r) }) {
				return apiError("InvalidPermission.Duplicate", "the specified rule %q already exists", describeRule(r))
			}
			added = append(added, r)
		}
		g.Rules = append(g.Rules, added...)
		if countRules(tx, sc, g.Rules, c.egress) > s.quota("rules-per-security-group") {
			return errLimit("RulesPerSecurityGroupLimitExceeded", "rules per security group")
		}
		SecurityGroups.Put(tx, sc, *g.GroupId, g)
		return nil
	})
	return added, err
}

// resolve makes rules of the permissions and looks up the groups they name.
func (c ruleChange) resolve(tx *store.Tx, sc awsid.Scope, g *SecurityGroup) ([]types.SecurityGroupRule, error) {
	perms := slices.Clone(c.perms)
	for i := range perms {
		for _, l := range perms[i].PrefixListIds {
			if _, err := prefixListOf(tx, sc, l.PrefixListId); err != nil {
				return nil, err
			}
		}
		perms[i].UserIdGroupPairs = slices.Clone(perms[i].UserIdGroupPairs)
		for j := range perms[i].UserIdGroupPairs {
			pair := &perms[i].UserIdGroupPairs[j]
			foreign := pair.UserId != nil && *pair.UserId != "" && *pair.UserId != sc.Account
			if foreign || pair.GroupId != nil && *pair.GroupId == *g.GroupId {
				continue
			}
			ref, err := groupOf(tx, sc, pair.GroupId, pair.GroupName)
			if err != nil {
				return nil, err
			}
			if deref(ref.VpcId) != deref(g.VpcId) {
				p := activePeering(tx, sc, *ref.VpcId, *g.VpcId)
				if p == nil {
					return nil, apiError("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
				}
				pair.VpcId, pair.VpcPeeringConnectionId, pair.PeeringStatus = ref.VpcId, p.VpcPeeringConnectionId, aws.String("active")
			}
			pair.GroupId = ref.GroupId
		}
	}
	rules, err := rulesOf(sc, perms)
	for i := range rules {
		rules[i].IsEgress = &c.egress
	}
	return rules, err
}

// countRules counts as the quota does: each family by itself, a prefix list with all
// the entries that it may have, references to groups for both families.
func countRules(r store.Reader, sc awsid.Scope, rules []types.SecurityGroupRule, egress bool) int {
	v4, v6 := 0, 0
	for _, x := range rules {
		switch {
		case aws.ToBool(x.IsEgress) != egress:
		case x.CidrIpv4 != nil:
			v4++
		case x.CidrIpv6 != nil:
			v6++
		case x.PrefixListId != nil:
			if p, err := prefixListOf(r, sc, x.PrefixListId); err == nil && deref(p.AddressFamily) == "IPv6" {
				v6 += p.size()
			} else if err == nil {
				v4 += p.size()
			}
		default:
			v4++
			v6++
		}
	}
	return max(v4, v6)
}

// RevokeSecurityGroupIngress removes inbound rules.
func (s *Service) RevokeSecurityGroupIngress(ctx context.Context, in *ec2.RevokeSecurityGroupIngressInput, _ ...func(*ec2.Options)) (*ec2.RevokeSecurityGroupIngressOutput, error) {
	perms := legacy(in.IpPermissions, in.IpProtocol, in.FromPort, in.ToPort, in.CidrIp, in.SourceSecurityGroupName, in.SourceSecurityGroupOwnerId)
	revoked, unknown, err := s.revoke(ctx, in.DryRun, ruleChange{group: in.GroupId, groupName: in.GroupName, perms: perms, ruleIDs: in.SecurityGroupRuleIds})
	if err != nil {
		return nil, err
	}
	return &ec2.RevokeSecurityGroupIngressOutput{Return: aws.Bool(true), RevokedSecurityGroupRules: revoked, UnknownIpPermissions: unknown}, nil
}

// RevokeSecurityGroupEgress removes outbound rules.
func (s *Service) RevokeSecurityGroupEgress(ctx context.Context, in *ec2.RevokeSecurityGroupEgressInput, _ ...func(*ec2.Options)) (*ec2.RevokeSecurityGroupEgressOutput, error) {
	perms := legacy(in.IpPermissions, in.IpProtocol, in.FromPort, in.ToPort, in.CidrIp, in.SourceSecurityGroupName, in.SourceSecurityGroupOwnerId)
	revoked, unknown, err := s.revoke(ctx, in.DryRun, ruleChange{egress: true, group: in.GroupId, perms: perms, ruleIDs: in.SecurityGroupRuleIds})
	if err != nil {
		return nil, err
	}
	return &ec2.RevokeSecurityGroupEgressOutput{Return: aws.Bool(true), RevokedSecurityGroupRules: revoked, UnknownIpPermissions: unknown}, nil
}

// revoke removes rules. A rule that is not there is an error and nothing is
// revoked, but in the default VPC it is only reported.
func (s *Service) revoke(ctx context.Context, dryRun *bool, c ruleChange) (revoked []types.RevokedSecurityGroupRule, unknown []types.IpPermission, err error) {
	if len(c.perms) == 0 && len(c.ruleIDs) == 0 {
		return nil, nil, errMissing("ipPermissions")
	}
	err = s.write(ctx, dryRun, func(tx *store.Tx, sc awsid.Scope) error {
		revoked, unknown = nil, nil
		g, err := groupOf(tx, sc, c.group, c.groupName)
		if err != nil {
			return err
		}
		drop := func(i int) {
			revoked = append(revoked, revokedRule(g.Rules[i]))
			g.Rules = slices.Delete(g.Rules, i, i+1)
		}
		for _, id := range c.ruleIDs {
			i := slices.IndexFunc(g.Rules, func(r types.SecurityGroupRule) bool {
				return deref(r.SecurityGroupRuleId) == id && aws.ToBool(r.IsEgress) == c.egress
			})
			if i < 0 {
				return ruleTags{}.absent(id)
			}
			drop(i)
		}
		lenient := func() bool { v := Vpcs.Get(tx, sc, deref(g.VpcId)); return v != nil && aws.ToBool(v.IsDefault) }
		rules, err := rulesOf(sc, c.perms)
		if err != nil {
			return err
		}
		for _, r := range rules {
			r.IsEgress = &c.egress
			i := slices.IndexFunc(g.Rules, func(have types.SecurityGroupRule) bool { return sameRule(have, r) })
			switch {
			case i >= 0:
				drop(i)
			case lenient():
				unknown = append(unknown, permissionsOf([]types.SecurityGroupRule{r}, c.egress)...)
			default:
				return apiError("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
			}
		}
		SecurityGroups.Put(tx, sc, *g.GroupId, g)
		return nil
	})
	return revoked, unknown, err
}

func revokedRule(r types.SecurityGroupRule) types.RevokedSecurityGroupRule {
	out := types.RevokedSecurityGroupRule{
		SecurityGroupRuleId: r.SecurityGroupRuleId, GroupId: r.GroupId, IsEgress: r.IsEgress, IpProtocol: r.IpProtocol,
		FromPort: r.FromPort, ToPort: r.ToPort, CidrIpv4: r.CidrIpv4, CidrIpv6: r.CidrIpv6, PrefixListId: r.PrefixListId, Description: r.Description,
	}
	if r.ReferencedGroupInfo != nil {
		out.ReferencedGroupId = r.ReferencedGroupInfo.GroupId
	}
	return out
}

// ModifySecurityGroupRules replaces rules, which keep their ids.
func (s *Service) ModifySecurityGroupRules(ctx context.Context, in *ec2.ModifySecurityGroupRulesInput, _ ...func(*ec2.Options)) (*ec2.ModifySecurityGroupRulesOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		g, err := securityGroupKind.edit(tx, sc, in.GroupId)
		if err != nil {
			return err
		}
		for _, u := range in.SecurityGroupRules {
			i := slices.IndexFunc(g.Rules, func(r types.SecurityGroupRule) bool {
				return deref(r.SecurityGroupRuleId) == deref(u.SecurityGroupRuleId)
			})
			if i < 0 {
				return ruleTags{}.absent(deref(u.SecurityGroupRuleId))
			}
			if u.SecurityGroupRule == nil {
				return errMissing("securityGroupRule")
			}
			c := ruleChange{egress: aws.ToBool(g.Rules[i].IsEgress), perms: []types.IpPermission{permissionOf(*u.SecurityGroupRule)}}
			rules, err := c.resolve(tx, sc, g)
			if err != nil {
				return err
			}
			next := rules[0]
			for j, have := range g.Rules {
				if j != i && sameRule(have, next) {
					return apiError("InvalidPermission.Duplicate", "the specified rule %q already exists", describeRule(next))
				}
			}
			old := g.Rules[i]
			next.SecurityGroupRuleId, next.SecurityGroupRuleArn, next.GroupId, next.GroupOwnerId, next.Tags = old.SecurityGroupRuleId, old.SecurityGroupRuleArn, old.GroupId, old.GroupOwnerId, old.Tags
			g.Rules[i] = next
		}
		SecurityGroups.Put(tx, sc, *g.GroupId, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifySecurityGroupRulesOutput{Return: aws.Bool(true)}, nil
}

func permissionOf(r types.SecurityGroupRuleRequest) types.IpPermission {
	p := types.IpPermission{IpProtocol: r.IpProtocol, FromPort: r.FromPort, ToPort: r.ToPort}
	switch {
	case r.CidrIpv4 != nil:
		p.IpRanges = []types.IpRange{{CidrIp: r.CidrIpv4, Description: r.Description}}
	case r.CidrIpv6 != nil:
		p.Ipv6Ranges = []types.Ipv6Range{{CidrIpv6: r.CidrIpv6, Description: r.Description}}
	case r.PrefixListId != nil:
		p.PrefixListIds = []types.PrefixListId{{PrefixListId: r.PrefixListId, Description: r.Description}}
	case r.ReferencedGroupId != nil:
		p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: r.ReferencedGroupId, Description: r.Description}}
	}
	return p
}

// UpdateSecurityGroupRuleDescriptionsIngress changes descriptions of inbound rules.
func (s *Service) UpdateSecurityGroupRuleDescriptionsIngress(ctx context.Context, in *ec2.UpdateSecurityGroupRuleDescriptionsIngressInput, _ ...func(*ec2.Options)) (*ec2.UpdateSecurityGroupRuleDescriptionsIngressOutput, error) {
	c := ruleChange{group: in.GroupId, groupName: in.GroupName, perms: in.IpPermissions}
	if err := s.redescribe(ctx, in.DryRun, c, in.SecurityGroupRuleDescriptions); err != nil {
		return nil, err
	}
	return &ec2.UpdateSecurityGroupRuleDescriptionsIngressOutput{Return: aws.Bool(true)}, nil
}

// UpdateSecurityGroupRuleDescriptionsEgress changes descriptions of outbound rules.
func (s *Service) UpdateSecurityGroupRuleDescriptionsEgress(ctx context.Context, in *ec2.UpdateSecurityGroupRuleDescriptionsEgressInput, _ ...func(*ec2.Options)) (*ec2.UpdateSecurityGroupRuleDescriptionsEgressOutput, error) {
	c := ruleChange{egress: true, group: in.GroupId, groupName: in.GroupName, perms: in.IpPermissions}
	if err := s.redescribe(ctx, in.DryRun, c, in.SecurityGroupRuleDescriptions); err != nil {
		return nil, err
	}
	return &ec2.UpdateSecurityGroupRuleDescriptionsEgressOutput{Return: aws.Bool(true)}, nil
}

func (s *Service) redescribe(ctx context.Context, dryRun *bool, c ruleChange, byID []types.SecurityGroupRuleDescription) error {
	return s.write(ctx, dryRun, func(tx *store.Tx, sc awsid.Scope) error {
		g, err := groupOf(tx, sc, c.group, c.groupName)
		if err != nil {
			return err
		}
		for _, d := range byID {
			i := slices.IndexFunc(g.Rules, func(r types.SecurityGroupRule) bool {
				return deref(r.SecurityGroupRuleId) == deref(d.SecurityGroupRuleId)
			})
			if i < 0 {
				return ruleTags{}.absent(deref(d.SecurityGroupRuleId))
			}
			g.Rules[i].Description = d.Description
		}
		rules, err := c.resolve(tx, sc, g)
		if err != nil {
			return err
		}
		for _, r := range rules {
			i := slices.IndexFunc(g.Rules, func(have types.SecurityGroupRule) bool { return sameRule(have, r) })
			if i < 0 {
				return apiError("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
			}
			g.Rules[i].Description = r.Description
		}
		SecurityGroups.Put(tx, sc, *g.GroupId, g)
		return nil
	})
}
