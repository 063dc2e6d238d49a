package iam

import (
	"context"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/managedpolicies"
)

// detail is one entity of GetAccountAuthorizationDetails, in the order of its pages.
type detail struct {
	order string
	add   func(*iam.GetAccountAuthorizationDetailsOutput)
}

// GetAccountAuthorizationDetails implements the operation. AWS's managed policies are
// there as far as they are attached.
func (s *Service) GetAccountAuthorizationDetails(ctx context.Context, in *iam.GetAccountAuthorizationDetailsInput, _ ...func(*iam.Options)) (*iam.GetAccountAuthorizationDetailsOutput, error) {
	var c checks
	for _, f := range in.Filter {
		c.OneOf("filter", string(f), "User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy")
	}
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	items, more, next, err := page(s.details(scopeOf(ctx), in.Filter), func(d detail) string { return d.order }, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &iam.GetAccountAuthorizationDetailsOutput{
		IsTruncated: more, Marker: next, UserDetailList: []types.UserDetail{}, GroupDetailList: []types.GroupDetail{},
		RoleDetailList: []types.RoleDetail{}, Policies: []types.ManagedPolicyDetail{},
	}
	for _, d := range items {
		d.add(out)
	}
	return out, nil
}

func (s *Service) details(sc awsid.Scope, filter []types.EntityType) []detail {
	var out []detail
	wants := func(t types.EntityType) bool { return len(filter) == 0 || slices.Contains(filter, t) }
	add := func(order string, f func(*iam.GetAccountAuthorizationDetailsOutput)) {
		out = append(out, detail{order, f})
	}
	if wants(types.EntityTypeUser) {
		for _, u := range users.List(s.store, sc) {
			add("1"+u.ARN, func(o *iam.GetAccountAuthorizationDetailsOutput) {
				o.UserDetailList = append(o.UserDetailList, u.detail(s.store, sc))
			})
		}
	}
	if wants(types.EntityTypeGroup) {
		for _, g := range groups.List(s.store, sc) {
			add("2"+g.ARN, func(o *iam.GetAccountAuthorizationDetailsOutput) {
				o.GroupDetailList = append(o.GroupDetailList, g.detail(s.store, sc))
			})
		}
	}
	if wants(types.EntityTypeRole) {
		for _, r := range roles.List(s.store, sc) {
			add("3"+r.ARN, func(o *iam.GetAccountAuthorizationDetailsOutput) {
				o.RoleDetailList = append(o.RoleDetailList, r.detail(s.store, sc))
			})
		}
	}
	u := countUsage(s.store, sc)
	managed := func(p *customerPolicy) {
		add("4"+p.ARN, func(o *iam.GetAccountAuthorizationDetailsOutput) { o.Policies = append(o.Policies, p.detail(u)) })
	}
	if wants(types.EntityTypeLocalManagedPolicy) {
		for _, p := range policies.List(s.store, sc) {
			managed(p)
		}
	}
	if wants(types.EntityTypeAWSManagedPolicy) {
		for _, m := range managedpolicies.All(sc.Partition()) {
			if p, ok := awsManaged(m.ARN()); ok && u.attached[p.ARN]+u.bounds[p.ARN] > 0 {
				managed(p)
			}
		}
	}
	return out
}

// details are the holder's policies as GetAccountAuthorizationDetails shows them.
func (g *grants) details(r store.Reader, sc awsid.Scope) ([]types.PolicyDetail, []types.AttachedPolicy) {
	inline, attached := []types.PolicyDetail{}, []types.AttachedPolicy{}
	for _, n := range slices.Sorted(maps.Keys(g.Inline)) {
		inline = append(inline, types.PolicyDetail{PolicyName: aws.String(n), PolicyDocument: encodeDocument(g.Inline[n])})
	}
	for _, arn := range g.Attached {
		if p, ok := managedIn(r, sc, arn); ok {
			attached = append(attached, types.AttachedPolicy{PolicyName: aws.String(p.Name), PolicyArn: aws.String(arn)})
		}
	}
	return inline, attached
}

func (u *user) detail(r store.Reader, sc awsid.Scope) types.UserDetail {
	inline, attached := u.details(r, sc)
	return types.UserDetail{
		UserName: &u.Name, UserId: &u.ID, Arn: &u.ARN, Path: &u.Path, CreateDate: &u.Created, GroupList: nonNil(u.Groups),
		UserPolicyList: inline, AttachedManagedPolicies: attached, PermissionsBoundary: boundary(u.Boundary), Tags: toTypes(u.Tags),
	}
}

func (g *group) detail(r store.Reader, sc awsid.Scope) types.GroupDetail {
	inline, attached := g.details(r, sc)
	return types.GroupDetail{
		GroupName: &g.Name, GroupId: &g.ID, Arn: &g.ARN, Path: &g.Path, CreateDate: &g.Created,
		GroupPolicyList: inline, AttachedManagedPolicies: attached,
	}
}

func (r *role) detail(st store.Reader, sc awsid.Scope) types.RoleDetail {
	inline, attached := r.details(st, sc)
	out := types.RoleDetail{
		RoleName: &r.Name, RoleId: &r.ID, Arn: &r.ARN, Path: &r.Path, CreateDate: &r.Created, AssumeRolePolicyDocument: encodeDocument(r.Trust),
		RolePolicyList: inline, AttachedManagedPolicies: attached, PermissionsBoundary: boundary(r.Boundary), Tags: toTypes(r.Tags),
		InstanceProfileList: []types.InstanceProfile{}, RoleLastUsed: &types.RoleLastUsed{},
	}
	for _, p := range profiles.List(st, sc) {
		if p.Role == r.Name {
			out.InstanceProfileList = append(out.InstanceProfileList, p.describe(st, sc))
		}
	}
	return out
}

func (p *customerPolicy) detail(u usage) types.ManagedPolicyDetail {
	b := p.brief(u)
	out := types.ManagedPolicyDetail{
		PolicyName: b.PolicyName, PolicyId: b.PolicyId, Arn: b.Arn, Path: b.Path, DefaultVersionId: b.DefaultVersionId,
		AttachmentCount: b.AttachmentCount, PermissionsBoundaryUsageCount: b.PermissionsBoundaryUsageCount,
		IsAttachable: true, CreateDate: b.CreateDate, UpdateDate: b.UpdateDate, Description: optional(p.Description),
	}
	for _, v := range p.Versions {
		d := p.describe(v)
		d.Document = encodeDocument(v.Document)
		out.PolicyVersionList = append(out.PolicyVersionList, d)
	}
	return out
}
