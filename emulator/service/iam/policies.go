package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/managedpolicies"
)

const (
	maxPolicySize = 6144
	maxVersions   = 5
)

// awsManaged gives an AWS managed policy the form of a customer's. AWS's older
// versions are not kept: only the default one can be read.
func awsManaged(arn string) (*customerPolicy, bool) {
	m, ok := managedpolicies.ByARN(arn)
	if !ok {
		return nil, false
	}
	return &customerPolicy{
		entity:      entity{Name: m.Name, Path: m.Path, ID: m.ID(), ARN: arn, Created: m.Created},
		Description: m.Description, Updated: m.Updated, Default: m.Version,
		Versions: []policyVersion{{ID: m.Version, Document: string(m.Document), Created: m.Updated}},
	}, true
}

// findManaged finds a managed policy, AWS's or the account's own, by ARN.
func (s *Service) findManaged(ctx context.Context, r store.Reader, arn string) (*customerPolicy, bool) {
	return managedIn(r, scopeOf(ctx), arn)
}

func managedIn(r store.Reader, sc awsid.Scope, arn string) (*customerPolicy, bool) {
	if strings.HasPrefix(arn, sc.AWSPolicy("")) {
		return awsManaged(arn)
	}
	p := policies.Get(r, sc, key(arn[strings.LastIndex(arn, "/")+1:]))
	return p, p != nil && p.ARN == arn
}

// managed is findManaged with a request's checks and errors.
func (s *Service) managed(ctx context.Context, r store.Reader, arn *string) (*customerPolicy, error) {
	if err := checkPolicyARN(arn); err != nil {
		return nil, err
	}
	if err := checkARN(ctx, *arn); err != nil {
		return nil, err
	}
	if p, ok := s.findManaged(ctx, r, *arn); ok {
		return p, nil
	}
	return nil, noSuchEntity("Policy " + *arn + " was not found.")
}

func editPolicy(ctx context.Context, tx *store.Tx, arn *string) (*customerPolicy, func(), error) {
	if err := checkPolicyARN(arn); err != nil {
		return nil, nil, err
	}
	if err := checkARN(ctx, *arn); err != nil {
		return nil, nil, err
	}
	sc := scopeOf(ctx)
	if a, _ := awsid.ParseARN(*arn); !a.SameAccount(sc) {
		return nil, nil, accessDenied(ctx, *arn)
	}
	if _, ok := managedIn(tx, sc, *arn); !ok {
		return nil, nil, noSuchEntity("Policy " + *arn + " was not found.")
	}
	id := key((*arn)[strings.LastIndex(*arn, "/")+1:])
	p := policies.Edit(tx, sc, id)
	return p, func() { policies.Put(tx, sc, id, p) }, nil
}

func (s *Service) updatePolicy(ctx context.Context, arn *string, f func(p *customerPolicy) error) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		p, put, err := editPolicy(ctx, tx, arn)
		if err != nil {
			return err
		}
		if err := f(p); err != nil {
			return err
		}
		put()
		return nil
	})
}

// serviceLinked tells whether only AWS may attach the policy.
func (p *customerPolicy) serviceLinked() bool {
	a, _ := awsid.ParseARN(p.ARN)
	return a.Account == "aws" && strings.HasPrefix(a.Resource, "policy/aws-service-role/")
}

// usage counts what each managed policy is attached to and bounds.
type usage struct{ attached, bounds map[string]int32 }

func countUsage(r store.Reader, sc awsid.Scope) usage {
	u := usage{map[string]int32{}, map[string]int32{}}
	count := func(g *grants) {
		for _, a := range g.Attached {
			u.attached[a]++
		}
		if g.Boundary != "" {
			u.bounds[g.Boundary]++
		}
	}
	for _, v := range roles.List(r, sc) {
		count(&v.grants)
	}
	for _, v := range users.List(r, sc) {
		count(&v.grants)
	}
	for _, v := range groups.List(r, sc) {
		count(&v.grants)
	}
	return u
}

func (p *customerPolicy) brief(u usage) types.Policy {
	return types.Policy{
		PolicyName: &p.Name, PolicyId: &p.ID, Arn: &p.ARN, Path: &p.Path, DefaultVersionId: &p.Default,
		AttachmentCount: aws.Int32(u.attached[p.ARN]), PermissionsBoundaryUsageCount: aws.Int32(u.bounds[p.ARN]),
		IsAttachable: true, CreateDate: &p.Created, UpdateDate: &p.Updated,
	}
}

// CreatePolicy implements the operation.
func (s *Service) CreatePolicy(ctx context.Context, in *iam.CreatePolicyInput, _ ...func(*iam.Options)) (*iam.CreatePolicyOutput, error) {
	var c checks
	c.name("policyName", in.PolicyName)
	c.path(in.Path)
	c.document("policyDocument", in.PolicyDocument)
	c.Length("description", in.Description, 0, 1000)
	c.tags(in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkNames("policyName", *in.PolicyName); err != nil {
		return nil, err
	}
	path, err := pathOf(in.Path)
	if err != nil {
		return nil, err
	}
	doc, err := managedDocument(ctx, *in.PolicyDocument)
	if err != nil {
		return nil, err
	}
	e, err := s.newEntity(ctx, "policy", "ANPA", path, *in.PolicyName, in.Tags)
	if err != nil {
		return nil, err
	}
	p := &customerPolicy{
		entity: e, Description: aws.ToString(in.Description), Updated: e.Created, Default: "v1", Next: 2,
		Versions: []policyVersion{{"v1", doc, e.Created}},
	}
	sc := scopeOf(ctx)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if policies.Get(tx, sc, key(p.Name)) != nil {
			return exists("A policy called " + p.Name + " already exists. Duplicate names are not allowed.")
		}
		if err := checkQuota(s, len(policies.List(tx, sc)), "managed-policies-per-account", "PoliciesPerAccount"); err != nil {
			return err
		}
		policies.Put(tx, sc, key(p.Name), p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := p.brief(usage{})
	out.Tags = orNil(toTypes(p.Tags))
	return &iam.CreatePolicyOutput{Policy: &out}, nil
}

func managedDocument(ctx context.Context, doc string) (string, error) {
	doc, err := checkPolicy(ctx, doc, policy.Managed)
	if err != nil {
		return "", err
	}
	if size(doc) > maxPolicySize {
		return "", overQuota("PolicySize", maxPolicySize)
	}
	return doc, nil
}

// GetPolicy implements the operation.
func (s *Service) GetPolicy(ctx context.Context, in *iam.GetPolicyInput, _ ...func(*iam.Options)) (*iam.GetPolicyOutput, error) {
	p, err := s.managed(ctx, s.store, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	out := p.brief(countUsage(s.store, scopeOf(ctx)))
	out.Description, out.Tags = optional(p.Description), toTypes(p.Tags)
	return &iam.GetPolicyOutput{Policy: &out}, nil
}

// ListPolicies implements the operation.
func (s *Service) ListPolicies(ctx context.Context, in *iam.ListPoliciesInput, _ ...func(*iam.Options)) (*iam.ListPoliciesOutput, error) {
	var c checks
	c.OneOf("scope", string(in.Scope), "All", "AWS", "Local")
	c.OneOf("policyUsageFilter", string(in.PolicyUsageFilter), "PermissionsPolicy", "PermissionsBoundary")
	c.Length("pathPrefix", in.PathPrefix, 1, 512)
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkPrefix(in.PathPrefix); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	var all []*customerPolicy
	if in.Scope != types.PolicyScopeTypeAws {
		all = append(all, policies.List(s.store, sc)...)
	}
	if in.Scope != types.PolicyScopeTypeLocal {
		for _, m := range managedpolicies.All(sc.Partition()) {
			p, _ := awsManaged(m.ARN())
			all = append(all, p)
		}
	}
	u := countUsage(s.store, sc)
	all = slices.DeleteFunc(underPath(all, in.PathPrefix, func(p *customerPolicy) *entity { return &p.entity }), func(p *customerPolicy) bool {
		attached, bounds := u.attached[p.ARN], u.bounds[p.ARN]
		return in.OnlyAttached && attached+bounds == 0 ||
			in.PolicyUsageFilter == types.PolicyUsageTypePermissionsPolicy && attached == 0 ||
			in.PolicyUsageFilter == types.PolicyUsageTypePermissionsBoundary && bounds == 0
	})
	all, more, next, err := page(all, func(p *customerPolicy) string { return p.ARN }, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := make([]types.Policy, len(all))
	for i, p := range all {
		out[i] = p.brief(u)
	}
	return &iam.ListPoliciesOutput{Policies: out, IsTruncated: more, Marker: next}, nil
}

// DeletePolicy implements the operation.
func (s *Service) DeletePolicy(ctx context.Context, in *iam.DeletePolicyInput, _ ...func(*iam.Options)) (*iam.DeletePolicyOutput, error) {
	sc := scopeOf(ctx)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		p, _, err := editPolicy(ctx, tx, in.PolicyArn)
		if err != nil {
			return err
		}
		if u := countUsage(tx, sc); u.attached[p.ARN]+u.bounds[p.ARN] > 0 {
			return conflict("Cannot delete a policy attached to entities.")
		}
		if len(p.Versions) > 1 {
			return conflict("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		policies.Delete(tx, sc, key(p.Name))
		return nil
	})
	return answer(&iam.DeletePolicyOutput{}, err)
}

// ListEntitiesForPolicy implements the operation.
func (s *Service) ListEntitiesForPolicy(ctx context.Context, in *iam.ListEntitiesForPolicyInput, _ ...func(*iam.Options)) (*iam.ListEntitiesForPolicyOutput, error) {
	var c checks
	c.OneOf("entityFilter", string(in.EntityFilter), "User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy")
	c.OneOf("policyUsageFilter", string(in.PolicyUsageFilter), "PermissionsPolicy", "PermissionsBoundary")
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	p, err := s.managed(ctx, s.store, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	all, more, next, err := page(s.entitiesWith(ctx, p.ARN, in), func(v policyEntity) string { return v.kind + "/" + v.name }, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &iam.ListEntitiesForPolicyOutput{IsTruncated: more, Marker: next, PolicyGroups: []types.PolicyGroup{}, PolicyRoles: []types.PolicyRole{}, PolicyUsers: []types.PolicyUser{}}
	for _, v := range all {
		switch v.kind {
		case "Group":
			out.PolicyGroups = append(out.PolicyGroups, types.PolicyGroup{GroupId: aws.String(v.id), GroupName: aws.String(v.name)})
		case "Role":
			out.PolicyRoles = append(out.PolicyRoles, types.PolicyRole{RoleId: aws.String(v.id), RoleName: aws.String(v.name)})
		case "User":
			out.PolicyUsers = append(out.PolicyUsers, types.PolicyUser{UserId: aws.String(v.id), UserName: aws.String(v.name)})
		}
	}
	return out, nil
}

type policyEntity struct{ kind, name, id string }

func (s *Service) entitiesWith(ctx context.Context, arn string, in *iam.ListEntitiesForPolicyInput) []policyEntity {
	sc := scopeOf(ctx)
	var out []policyEntity
	add := func(kind string, e *entity, g *grants) {
		if in.EntityFilter != "" && string(in.EntityFilter) != kind || !strings.HasPrefix(e.Path, aws.ToString(in.PathPrefix)) {
			return
		}
		attached := in.PolicyUsageFilter != types.PolicyUsageTypePermissionsBoundary && slices.Contains(g.Attached, arn)
		bounds := in.PolicyUsageFilter != types.PolicyUsageTypePermissionsPolicy && g.Boundary == arn
		if attached || bounds {
			out = append(out, policyEntity{kind, e.Name, e.ID})
		}
	}
	for _, v := range groups.List(s.store, sc) {
		add("Group", &v.entity, &v.grants)
	}
	for _, v := range roles.List(s.store, sc) {
		add("Role", &v.entity, &v.grants)
	}
	for _, v := range users.List(s.store, sc) {
		add("User", &v.entity, &v.grants)
	}
	return out
}
