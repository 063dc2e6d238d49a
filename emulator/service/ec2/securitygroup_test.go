package ec2

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func (f *fixture) group(vpc, name string) string {
	f.t.Helper()
	return *must(f.CreateSecurityGroup(f.ctx, &ec2.CreateSecurityGroupInput{VpcId: &vpc, GroupName: &name, Description: aws.String("for tests")}))(f.t).GroupId
}

func tcp(from, to int32, cidrs ...string) types.IpPermission {
	p := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: &from, ToPort: &to}
	for _, c := range cidrs {
		p.IpRanges = append(p.IpRanges, types.IpRange{CidrIp: aws.String(c)})
	}
	return p
}

func TestSecurityGroupRules(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sg, other := f.group(vpc, "web"), f.group(vpc, "db")
	_, err := f.CreateSecurityGroup(f.ctx, &ec2.CreateSecurityGroupInput{VpcId: &vpc, GroupName: aws.String("web"), Description: aws.String("x")})
	wantError(t, err, "InvalidGroup.Duplicate", "The security group 'web' already exists for VPC '"+vpc+"'")

	self := types.IpPermission{IpProtocol: aws.String("-1"), UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &sg}}}
	fromOther := tcp(443, 443)
	fromOther.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: &other, Description: aws.String("db")}}
	out := must(f.AuthorizeSecurityGroupIngress(f.ctx, &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: &sg, IpPermissions: []types.IpPermission{self, tcp(443, 443, "10.0.0.0/8", "192.168.0.1/24"), fromOther},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSecurityGroupRule, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}},
	}))(t)
	if len(out.SecurityGroupRules) != 4 || *out.SecurityGroupRules[2].CidrIpv4 != "192.168.0.0/24" || *out.SecurityGroupRules[0].FromPort != -1 {
		t.Fatalf("rules %+v", out.SecurityGroupRules)
	}
	g := must(f.DescribeSecurityGroups(f.ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{sg}}))(t).SecurityGroups[0]
	account := aws.String("000000000000")
	want := []types.IpPermission{
		{IpProtocol: aws.String("-1"), UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &sg, UserId: account}}},
		{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(443), ToPort: aws.Int32(443),
			IpRanges:         []types.IpRange{{CidrIp: aws.String("10.0.0.0/8")}, {CidrIp: aws.String("192.168.0.0/24")}},
			UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &other, UserId: account, Description: aws.String("db")}}},
	}
	if d := cmp.Diff(want, g.IpPermissions, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(types.IpPermission{}, types.UserIdGroupPair{}, types.IpRange{})); d != "" {
		t.Error(d)
	}

	_, err = f.AuthorizeSecurityGroupIngress(f.ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &sg, IpPermissions: []types.IpPermission{tcp(443, 443, "10.0.0.0/8")}})
	wantError(t, err, "InvalidPermission.Duplicate", `the specified rule "peer: 10.0.0.0/8, TCP, from port: 443, to port: 443, ALLOW" already exists`)
	_, err = f.DeleteSecurityGroup(f.ctx, &ec2.DeleteSecurityGroupInput{GroupId: &other})
	wantError(t, err, "DependencyViolation", "resource "+other+" has a dependent object")

	rules := must(f.DescribeSecurityGroupRules(f.ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: append(filter("group-id", sg), filter("tag:a", "b")...)}))(t).SecurityGroupRules
	if len(rules) != 4 {
		t.Errorf("%d tagged rules", len(rules))
	}
	must(f.CreateTags(f.ctx, &ec2.CreateTagsInput{Resources: []string{*rules[0].SecurityGroupRuleId}, Tags: []types.Tag{{Key: aws.String("c"), Value: aws.String("d")}}}))(t)
	if n := len(must(f.DescribeSecurityGroupRules(f.ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: filter("tag-key", "c")}))(t).SecurityGroupRules); n != 1 {
		t.Errorf("%d rules with tag c", n)
	}

	must(f.ModifySecurityGroupRules(f.ctx, &ec2.ModifySecurityGroupRulesInput{GroupId: &sg, SecurityGroupRules: []types.SecurityGroupRuleUpdate{{
		SecurityGroupRuleId: out.SecurityGroupRules[3].SecurityGroupRuleId,
		SecurityGroupRule:   &types.SecurityGroupRuleRequest{IpProtocol: aws.String("6"), FromPort: aws.Int32(80), ToPort: aws.Int32(80), CidrIpv4: aws.String("0.0.0.0/0")},
	}}}))(t)
	must(f.DeleteSecurityGroup(f.ctx, &ec2.DeleteSecurityGroupInput{GroupId: &other}))(t)

	must(f.RevokeSecurityGroupIngress(f.ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &sg, IpPermissions: []types.IpPermission{tcp(80, 80, "0.0.0.0/0"), tcp(443, 443, "10.0.0.0/8")}}))(t)
	_, err = f.RevokeSecurityGroupIngress(f.ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &sg, IpPermissions: []types.IpPermission{tcp(80, 80, "0.0.0.0/0")}})
	wantError(t, err, "InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
	must(f.RevokeSecurityGroupIngress(f.ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &sg, SecurityGroupRuleIds: []string{*out.SecurityGroupRules[0].SecurityGroupRuleId}}))(t)
	everything := types.IpPermission{IpProtocol: aws.String("-1"), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}
	must(f.RevokeSecurityGroupEgress(f.ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &sg, IpPermissions: []types.IpPermission{everything}}))(t)
	g = must(f.DescribeSecurityGroups(f.ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{sg}}))(t).SecurityGroups[0]
	if len(g.IpPermissions) != 1 || len(g.IpPermissionsEgress) != 0 {
		t.Errorf("left: %+v", g)
	}
	must(f.DeleteSecurityGroup(f.ctx, &ec2.DeleteSecurityGroupInput{GroupId: &sg}))(t)
	_, err = f.DescribeSecurityGroups(f.ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{sg}})
	wantError(t, err, "InvalidGroup.NotFound", "The security group '"+sg+"' does not exist")
}

func TestSecurityGroupBadRules(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sg := f.group(vpc, "web")
	var many []string
	for i := range 61 {
		many = append(many, "10.0."+string(rune('0'+i%10))+"."+string(rune('0'+i/10))+"/32")
	}
	for name, c := range map[string]struct {
		perm types.IpPermission
		code string
	}{
		"no protocol": {types.IpPermission{}, "MissingParameter"},
		"no peer":     {tcp(1, 1), "MissingParameter"},
		"no ports":    {types.IpPermission{IpProtocol: aws.String("udp"), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}, "InvalidParameterValue"},
		"ports":       {tcp(5, 4, "0.0.0.0/0"), "InvalidParameterValue"},
		"cidr":        {tcp(1, 1, "10.0.0.0/33"), "InvalidParameterValue"},
		"protocol":    {types.IpPermission{IpProtocol: aws.String("tpc")}, "InvalidParameterValue"},
		"twice":       {tcp(1, 1, "10.0.0.0/8", "10.0.0.0/8"), "InvalidParameterValue"},
		"group":       {types.IpPermission{IpProtocol: aws.String("-1"), UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: aws.String("sg-0123")}}}, "InvalidGroup.NotFound"},
		"too many":    {tcp(1, 1, many...), "RulesPerSecurityGroupLimitExceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.AuthorizeSecurityGroupIngress(f.ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &sg, IpPermissions: []types.IpPermission{c.perm}})
			wantCode(t, err, c.code)
		})
	}
	_, err := f.CreateSecurityGroup(f.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("default"), Description: aws.String("x")})
	wantCode(t, err, "InvalidParameterValue")
}
