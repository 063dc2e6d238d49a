package ec2

import (
	"context"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func newSecurityGroup(sc awsid.Scope, vpc, name, description string) *SecurityGroup {
	id := awsid.NewID("sg")
	g := &SecurityGroup{SecurityGroup: types.SecurityGroup{
		GroupId: &id, GroupName: &name, Description: &description, VpcId: &vpc, OwnerId: &sc.Account,
		SecurityGroupArn: aws.String(sc.ARN("ec2", "security-group/"+id)),
	}}
	out := types.SecurityGroupRule{IpProtocol: aws.String("-1"), FromPort: aws.Int32(-1), ToPort: aws.Int32(-1), CidrIpv4: aws.String(anywhere.String())}
	g.Rules = []types.SecurityGroupRule{finishRule(sc, g, out, true)}
	return g
}

func putDefaultSecurityGroup(tx *store.Tx, sc awsid.Scope, vpc string) string {
	g := newSecurityGroup(sc, vpc, "default", "default VPC security group")
	in := types.SecurityGroupRule{
		IpProtocol: aws.String("-1"), FromPort: aws.Int32(-1), ToPort: aws.Int32(-1),
		ReferencedGroupInfo: &types.ReferencedSecurityGroup{GroupId: g.GroupId, UserId: &sc.Account},
	}
	g.Rules = append(g.Rules, finishRule(sc, g, in, false))
	SecurityGroups.Put(tx, sc, *g.GroupId, g)
	return *g.GroupId
}

var groupNameForm = regexp.MustCompile(`^[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}$`)

// CreateSecurityGroup creates a group that lets everything out and nothing in.
func (s *Service) CreateSecurityGroup(ctx context.Context, in *ec2.CreateSecurityGroupInput, _ ...func(*ec2.Options)) (*ec2.CreateSecurityGroupOutput, error) {
	switch name := deref(in.GroupName); {
	case name == "":
		return nil, errMissing("GroupName")
	case deref(in.Description) == "":
		return nil, errMissing("GroupDescription")
	case name == "default":
		return nil, errInvalid("Cannot use reserved security group name: default")
	case !groupNameForm.MatchString(name):
		return nil, errInvalid("Value (%s) for parameter GroupName is invalid. Character sets beyond ASCII are not supported.", name)
	case len(name) > 3 && name[:3] == "sg-":
		return nil, errInvalid("Value (%s) for parameter GroupName is invalid. Group names may not be in the format sg-*.", name)
	case !groupNameForm.MatchString(*in.Description):
		return nil, errInvalid("Invalid security group description. Valid descriptions are strings less than 256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeSecurityGroup)
	if err != nil {
		return nil, err
	}
	var g *SecurityGroup
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		vpc := in.VpcId
		if vpc == nil {
			v := defaultVpc(tx, sc)
			if v == nil {
				return apiError("VPCIdNotSpecified", "No default VPC for this user")
			}
			vpc = v.VpcId
		}
		if _, err := vpcKind.get(tx, sc, vpc); err != nil {
			return err
		}
		for _, other := range SecurityGroups.List(tx, sc) {
			if deref(other.VpcId) == *vpc && deref(other.GroupName) == *in.GroupName {
				return apiError("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", *in.GroupName, *vpc)
			}
		}
		if err := checkQuota(s, tx, sc, SecurityGroups, "security-groups-per-region", "SecurityGroupLimitExceeded", "security groups"); err != nil {
			return err
		}
		g = newSecurityGroup(sc, *vpc, *in.GroupName, *in.Description)
		g.Tags = tags
		SecurityGroups.Put(tx, sc, *g.GroupId, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateSecurityGroupOutput{GroupId: g.GroupId, Tags: g.Tags, SecurityGroupArn: g.SecurityGroupArn}, nil
}

// groupOf finds the group that a request names by id, or by name in the default
// VPC.
func groupOf(tx *store.Tx, sc awsid.Scope, id, name *string) (*SecurityGroup, error) {
	if id == nil && name != nil {
		v := defaultVpc(tx, sc)
		if v == nil {
			return nil, apiError("VPCIdNotSpecified", "No default VPC for this user")
		}
		for _, g := range SecurityGroups.List(tx, sc) {
			if deref(g.VpcId) == *v.VpcId && deref(g.GroupName) == *name {
				return SecurityGroups.Edit(tx, sc, *g.GroupId), nil
			}
		}
		return nil, apiError("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC '%s'", *name, *v.VpcId)
	}
	if id == nil {
		return nil, apiError("MissingParameter", "The request must contain the parameter groupName or groupId")
	}
	return securityGroupKind.edit(tx, sc, id)
}

// DeleteSecurityGroup deletes a group that no interface and no other group's rule
// refers to.
func (s *Service) DeleteSecurityGroup(ctx context.Context, in *ec2.DeleteSecurityGroupInput, _ ...func(*ec2.Options)) (*ec2.DeleteSecurityGroupOutput, error) {
	var id *string
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		g, err := groupOf(tx, sc, in.GroupId, in.GroupName)
		if err != nil {
			return err
		}
		if *g.GroupName == "default" {
			return apiError("CannotDelete", "the specified group: %q name: %q cannot be deleted by a user", *g.GroupId, *g.GroupName)
		}
		if groupInUse(tx, sc, *g.GroupId) {
			return apiError("DependencyViolation", "resource %s has a dependent object", *g.GroupId)
		}
		SecurityGroups.Delete(tx, sc, *g.GroupId)
		id = g.GroupId
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteSecurityGroupOutput{GroupId: id, Return: aws.Bool(true)}, nil
}

// groupInUse reads every interface in the transaction, so that one created
// meanwhile makes it start again. (Counting users in the group's record was
// rejected: it would make all launches with one group conflict.)
func groupInUse(tx *store.Tx, sc awsid.Scope, id string) bool {
	for _, eni := range NetworkInterfaces.List(tx, sc) {
		if slices.ContainsFunc(eni.Groups, func(g types.GroupIdentifier) bool { return deref(g.GroupId) == id }) {
			return true
		}
	}
	for _, other := range SecurityGroups.List(tx, sc) {
		if *other.GroupId == id {
			continue
		}
		if slices.ContainsFunc(other.Rules, func(r types.SecurityGroupRule) bool {
			return r.ReferencedGroupInfo != nil && deref(r.ReferencedGroupInfo.GroupId) == id
		}) {
			return true
		}
	}
	return false
}

// DescribeSecurityGroups lists groups.
func (s *Service) DescribeSecurityGroups(ctx context.Context, in *ec2.DescribeSecurityGroupsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	filters := in.Filters
	if len(in.GroupNames) > 0 {
		v := defaultVpc(s.store, sc)
		if v == nil {
			return nil, apiError("VPCIdNotSpecified", "No default VPC for this user")
		}
		filters = append(slices.Clone(filters),
			types.Filter{Name: aws.String("vpc-id"), Values: []string{*v.VpcId}},
			types.Filter{Name: aws.String("group-name"), Values: in.GroupNames})
	}
	page, next, err := securityGroupLister.run(s.store, sc, query{in.GroupIds, filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	for _, name := range in.GroupNames {
		if !slices.ContainsFunc(page, func(g types.SecurityGroup) bool { return deref(g.GroupName) == name }) && in.MaxResults == nil && in.NextToken == nil && in.Filters == nil {
			return nil, apiError("InvalidGroup.NotFound", "The security group '%s' does not exist", name)
		}
	}
	return &ec2.DescribeSecurityGroupsOutput{SecurityGroups: page, NextToken: next}, nil
}

func securityGroupView(_ store.Reader, _ awsid.Scope, rec *SecurityGroup) types.SecurityGroup {
	v := rec.SecurityGroup
	v.IpPermissions, v.IpPermissionsEgress = permissionsOf(rec.Rules, false), permissionsOf(rec.Rules, true)
	return v
}

var securityGroupLister = &lister[SecurityGroup, types.SecurityGroup]{
	kind: securityGroupKind,
	view: securityGroupView,
	id:   func(v *types.SecurityGroup) string { return deref(v.GroupId) },
	tags: func(v *types.SecurityGroup) []types.Tag { return v.Tags },
	filters: withPermissionFilters(fields[types.SecurityGroup]{
		"group-id":    func(v *types.SecurityGroup) []string { return one(v.GroupId) },
		"group-name":  func(v *types.SecurityGroup) []string { return one(v.GroupName) },
		"description": func(v *types.SecurityGroup) []string { return one(v.Description) },
		"vpc-id":      func(v *types.SecurityGroup) []string { return one(v.VpcId) },
		"owner-id":    func(v *types.SecurityGroup) []string { return one(v.OwnerId) },
	}),
}

func withPermissionFilters(f fields[types.SecurityGroup]) fields[types.SecurityGroup] {
	values := map[string]func(*types.IpPermission) []string{
		"protocol":  func(p *types.IpPermission) []string { return one(p.IpProtocol) },
		"from-port": func(p *types.IpPermission) []string { return number(p.FromPort) },
		"to-port":   func(p *types.IpPermission) []string { return number(p.ToPort) },
		"cidr": func(p *types.IpPermission) []string {
			return each(p.IpRanges, func(r *types.IpRange) []string { return one(r.CidrIp) })
		},
		"ipv6-cidr": func(p *types.IpPermission) []string {
			return each(p.Ipv6Ranges, func(r *types.Ipv6Range) []string { return one(r.CidrIpv6) })
		},
		"group-id": func(p *types.IpPermission) []string {
			return each(p.UserIdGroupPairs, func(r *types.UserIdGroupPair) []string { return one(r.GroupId) })
		},
		"group-name": func(p *types.IpPermission) []string {
			return each(p.UserIdGroupPairs, func(r *types.UserIdGroupPair) []string { return one(r.GroupName) })
		},
		"user-id": func(p *types.IpPermission) []string {
			return each(p.UserIdGroupPairs, func(r *types.UserIdGroupPair) []string { return one(r.UserId) })
		},
		"prefix-list-id": func(p *types.IpPermission) []string {
			return each(p.PrefixListIds, func(r *types.PrefixListId) []string { return one(r.PrefixListId) })
		},
	}
	for name, get := range values {
		f["ip-permission."+name] = func(v *types.SecurityGroup) []string { return each(v.IpPermissions, get) }
		f["egress.ip-permission."+name] = func(v *types.SecurityGroup) []string { return each(v.IpPermissionsEgress, get) }
	}
	return f
}
