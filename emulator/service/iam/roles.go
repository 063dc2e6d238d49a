package iam

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const defaultSession = 3600

func scopeOf(ctx context.Context) awsid.Scope { return awsid.CallerFrom(ctx).Global() }

// newEntity makes what a role, user... begins as. kind is the ARN's.
func (s *Service) newEntity(ctx context.Context, kind, idPrefix, path, name string, tags []types.Tag) (entity, error) {
	merged, err := mergeTags(nil, tags)
	if err != nil {
		return entity{}, err
	}
	return entity{
		Name: name, Path: path, ID: uniqueID(idPrefix), ARN: scopeOf(ctx).ARN("iam", kind+path+name),
		Created: s.now(), Tags: merged,
	}, nil
}

// getRole finds a role by its exact name: names are unique without regard to
// case, but ARNs, and so look-ups, are not.
func getRole(ctx context.Context, r store.Reader, name *string) (*role, error) {
	if err := named("roleName", name); err != nil {
		return nil, err
	}
	if v := roles.Get(r, scopeOf(ctx), key(*name)); v != nil && v.Name == *name {
		return v, nil
	}
	return nil, notFound("role", *name)
}

func editRole(ctx context.Context, tx *store.Tx, name *string) (*role, func(), error) {
	if _, err := getRole(ctx, tx, name); err != nil {
		return nil, nil, err
	}
	sc, id := scopeOf(ctx), key(*name)
	v := roles.Edit(tx, sc, id)
	return v, func() { roles.Put(tx, sc, id, v) }, nil
}

// editOwnRole is editRole for changes that service-linked roles refuse.
func editOwnRole(ctx context.Context, tx *store.Tx, name *string) (*role, func(), error) {
	r, put, err := editRole(ctx, tx, name)
	if err != nil {
		return nil, nil, err
	}
	return r, put, r.modifiable()
}

func (r *role) modifiable() error {
	if r.ServiceLinked == "" {
		return nil
	}
	return &types.UnmodifiableEntityException{Message: aws.String("Cannot perform the operation on the protected role '" + r.Name + "' - this role is only modifiable by AWS")}
}

func (s *Service) updateRole(ctx context.Context, name *string, f func(tx *store.Tx, r *role) error) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		r, put, err := editOwnRole(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := f(tx, r); err != nil {
			return err
		}
		put()
		return nil
	})
}

// brief is the role as lists show it.
func (r *role) brief() types.Role {
	return types.Role{
		RoleName: &r.Name, RoleId: &r.ID, Arn: &r.ARN, Path: &r.Path, CreateDate: &r.Created,
		AssumeRolePolicyDocument: encodeDocument(r.Trust), Description: optional(r.Description), MaxSessionDuration: &r.MaxSession,
	}
}

func (r *role) full() *types.Role {
	out := r.brief()
	out.Tags = orNil(toTypes(r.Tags))
	out.PermissionsBoundary = boundary(r.Boundary)
	out.RoleLastUsed = &types.RoleLastUsed{}
	return &out
}

func boundary(arn string) *types.AttachedPermissionsBoundary {
	if arn == "" {
		return nil
	}
	return &types.AttachedPermissionsBoundary{PermissionsBoundaryArn: &arn, PermissionsBoundaryType: types.PermissionsBoundaryAttachmentTypePolicy}
}

// CreateRole implements the operation.
func (s *Service) CreateRole(ctx context.Context, in *iam.CreateRoleInput, _ ...func(*iam.Options)) (*iam.CreateRoleOutput, error) {
	var c checks
	c.name("roleName", in.RoleName)
	c.path(in.Path)
	c.document("assumeRolePolicyDocument", in.AssumeRolePolicyDocument)
	c.description(in.Description)
	c.Span("maxSessionDuration", in.MaxSessionDuration, 3600, 43200)
	c.Length("permissionsBoundary", in.PermissionsBoundary, 20, 2048)
	c.tags(in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkNames("roleName", *in.RoleName); err != nil {
		return nil, err
	}
	path, err := pathOf(in.Path)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(path, "/aws-service-role/") {
		return nil, validationError("Cannot create a role in the path " + path + ": it is reserved for service-linked roles.")
	}
	e, err := s.newEntity(ctx, "role", "AROA", path, *in.RoleName, in.Tags)
	if err != nil {
		return nil, err
	}
	r := &role{entity: e, Description: aws.ToString(in.Description), MaxSession: defaultSession}
	r.Boundary = aws.ToString(in.PermissionsBoundary)
	if in.MaxSessionDuration != nil {
		r.MaxSession = *in.MaxSessionDuration
	}
	sc := scopeOf(ctx)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if roles.Get(tx, sc, key(r.Name)) != nil {
			return exists("Role with name " + r.Name + " already exists.")
		}
		if r.Trust, err = s.trustPolicy(ctx, tx, "assumeRolePolicyDocument", *in.AssumeRolePolicyDocument); err != nil {
			return err
		}
		if err := s.checkBoundary(ctx, tx, r.Boundary); err != nil {
			return err
		}
		if err := checkQuota(s, len(roles.List(tx, sc)), "roles-per-account", "RolesPerAccount"); err != nil {
			return err
		}
		roles.Put(tx, sc, key(r.Name), r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := r.full()
	out.RoleLastUsed = nil
	return &iam.CreateRoleOutput{Role: out}, nil
}

// trustPolicy checks an AssumeRolePolicyDocument. Principals of the caller's own
// account must exist; those of other accounts may be real ones that this
// emulator has never heard of.
func (s *Service) trustPolicy(ctx context.Context, r store.Reader, member, doc string) (string, error) {
	if err := checkLatin(member, doc); err != nil {
		return "", err
	}
	doc = decodeDocument(doc)
	sc := scopeOf(ctx)
	d, err := policy.Validate(doc, policy.Trust, sc.Partition())
	if err != nil {
		return "", malformed(err)
	}
	if most := s.quota("role-trust-policy-length"); size(doc) > most {
		return "", overQuota("ACLSizePerRole", most)
	}
	for _, st := range d.Statements {
		for _, p := range []*policy.Principals{st.Principal, st.NotPrincipal} {
			if p == nil {
				continue
			}
			for _, v := range p.AWS {
				if !principalExists(r, sc, v) {
					return "", &types.MalformedPolicyDocumentException{Message: aws.String("Invalid principal in policy: \"AWS\":" + jsonString(v))}
				}
			}
		}
	}
	return doc, nil
}

func principalExists(r store.Reader, sc awsid.Scope, v string) bool {
	a, err := awsid.ParseARN(v)
	if err != nil || !a.SameAccount(sc) || a.Service != "iam" {
		return true
	}
	kind, name, _ := strings.Cut(a.Resource, "/")
	name = name[strings.LastIndex(name, "/")+1:]
	switch kind {
	case "role":
		found := roles.Get(r, sc, key(name))
		return found != nil && found.ARN == v
	case "user":
		found := users.Get(r, sc, key(name))
		return found != nil && found.ARN == v
	case "root":
		return true
	}
	return false
}

// GetRole implements the operation.
func (s *Service) GetRole(ctx context.Context, in *iam.GetRoleInput, _ ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	r, err := getRole(ctx, s.store, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.GetRoleOutput{Role: r.full()}, nil
}

// ListRoles implements the operation.
func (s *Service) ListRoles(ctx context.Context, in *iam.ListRolesInput, _ ...func(*iam.Options)) (*iam.ListRolesOutput, error) {
	var c checks
	c.Length("pathPrefix", in.PathPrefix, 1, 512)
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkPrefix(in.PathPrefix); err != nil {
		return nil, err
	}
	all := underPath(roles.List(s.store, scopeOf(ctx)), in.PathPrefix, func(r *role) *entity { return &r.entity })
	all, more, next, err := page(all, func(r *role) string { return r.order() }, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := make([]types.Role, len(all))
	for i, r := range all {
		out[i] = r.brief()
	}
	return &iam.ListRolesOutput{Roles: out, IsTruncated: more, Marker: next}, nil
}

// order is the order of IAM's lists: by path, then by name.
func (e *entity) order() string { return e.Path + "\x00" + e.Name }

func underPath[T any](all []*T, prefix *string, of func(*T) *entity) []*T {
	out := make([]*T, 0, len(all))
	for _, v := range all {
		if strings.HasPrefix(of(v).Path, aws.ToString(prefix)) {
			out = append(out, v)
		}
	}
	return out
}

// UpdateRole implements the operation.
func (s *Service) UpdateRole(ctx context.Context, in *iam.UpdateRoleInput, _ ...func(*iam.Options)) (*iam.UpdateRoleOutput, error) {
	var c checks
	c.description(in.Description)
	c.Span("maxSessionDuration", in.MaxSessionDuration, 3600, 43200)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.updateRole(ctx, in.RoleName, func(_ *store.Tx, r *role) error {
		// As in IAM both are set: what the request leaves out returns to its default.
		r.Description = aws.ToString(in.Description)
		r.MaxSession = defaultSession
		if in.MaxSessionDuration != nil {
			r.MaxSession = *in.MaxSessionDuration
		}
		return nil
	})
	return answer(&iam.UpdateRoleOutput{}, err)
}

// UpdateRoleDescription implements the operation.
func (s *Service) UpdateRoleDescription(ctx context.Context, in *iam.UpdateRoleDescriptionInput, _ ...func(*iam.Options)) (*iam.UpdateRoleDescriptionOutput, error) {
	var c checks
	c.Null("description", in.Description == nil)
	c.description(in.Description)
	if err := c.err(); err != nil {
		return nil, err
	}
	out := &iam.UpdateRoleDescriptionOutput{}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		r, put, err := editRole(ctx, tx, in.RoleName) // allowed on service-linked roles
		if err != nil {
			return err
		}
		r.Description = *in.Description
		put()
		out.Role = r.full()
		return nil
	})
	return answer(out, err)
}

// UpdateAssumeRolePolicy implements the operation.
func (s *Service) UpdateAssumeRolePolicy(ctx context.Context, in *iam.UpdateAssumeRolePolicyInput, _ ...func(*iam.Options)) (*iam.UpdateAssumeRolePolicyOutput, error) {
	var c checks
	c.document("policyDocument", in.PolicyDocument)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.updateRole(ctx, in.RoleName, func(tx *store.Tx, r *role) (err error) {
		r.Trust, err = s.trustPolicy(ctx, tx, "policyDocument", *in.PolicyDocument)
		return err
	})
	return answer(&iam.UpdateAssumeRolePolicyOutput{}, err)
}

// DeleteRole implements the operation.
func (s *Service) DeleteRole(ctx context.Context, in *iam.DeleteRoleInput, _ ...func(*iam.Options)) (*iam.DeleteRoleOutput, error) {
	sc := scopeOf(ctx)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		r, err := getRole(ctx, tx, in.RoleName)
		if err != nil {
			return err
		}
		if err := r.modifiable(); err != nil {
			return err
		}
		if err := r.grants.empty(); err != nil {
			return err
		}
		for _, p := range profiles.List(tx, sc) {
			if p.Role == r.Name {
				return conflict("Cannot delete entity, must remove roles from instance profile first.")
			}
		}
		roles.Delete(tx, sc, key(r.Name))
		return nil
	})
	return answer(&iam.DeleteRoleOutput{}, err)
}

// PutRolePermissionsBoundary implements the operation.
func (s *Service) PutRolePermissionsBoundary(ctx context.Context, in *iam.PutRolePermissionsBoundaryInput, _ ...func(*iam.Options)) (*iam.PutRolePermissionsBoundaryOutput, error) {
	var c checks
	c.arn("permissionsBoundary", in.PermissionsBoundary)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.updateRole(ctx, in.RoleName, func(tx *store.Tx, r *role) error {
		r.Boundary = *in.PermissionsBoundary
		return s.checkBoundary(ctx, tx, r.Boundary)
	})
	return answer(&iam.PutRolePermissionsBoundaryOutput{}, err)
}

// DeleteRolePermissionsBoundary implements the operation.
func (s *Service) DeleteRolePermissionsBoundary(ctx context.Context, in *iam.DeleteRolePermissionsBoundaryInput, _ ...func(*iam.Options)) (*iam.DeleteRolePermissionsBoundaryOutput, error) {
	err := s.updateRole(ctx, in.RoleName, func(_ *store.Tx, r *role) error {
		if r.Boundary == "" {
			return noSuchEntity("Permissions boundary for role " + r.Name + " cannot be found.")
		}
		r.Boundary = ""
		return nil
	})
	return answer(&iam.DeleteRolePermissionsBoundaryOutput{}, err)
}
