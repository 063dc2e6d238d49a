package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func getProfile(ctx context.Context, r store.Reader, name *string) (*instanceProfile, error) {
	if err := named("instanceProfileName", name); err != nil {
		return nil, err
	}
	if p := profiles.Get(r, scopeOf(ctx), key(*name)); p != nil && p.Name == *name {
		return p, nil
	}
	return nil, noSuchEntity("Instance Profile " + *name + " cannot be found.")
}

func editProfile(ctx context.Context, tx *store.Tx, name *string) (*instanceProfile, func(), error) {
	if _, err := getProfile(ctx, tx, name); err != nil {
		return nil, nil, err
	}
	sc, id := scopeOf(ctx), key(*name)
	p := profiles.Edit(tx, sc, id)
	return p, func() { profiles.Put(tx, sc, id, p) }, nil
}

func (p *instanceProfile) describe(r store.Reader, sc awsid.Scope) types.InstanceProfile {
	out := types.InstanceProfile{
		InstanceProfileName: &p.Name, InstanceProfileId: &p.ID, Arn: &p.ARN, Path: &p.Path, CreateDate: &p.Created,
		Roles: []types.Role{}, Tags: orNil(toTypes(p.Tags)),
	}
	if p.Role != "" {
		if held := roles.Get(r, sc, key(p.Role)); held != nil {
			b := held.brief()
			b.Description, b.MaxSessionDuration = nil, nil
			out.Roles = append(out.Roles, b)
		}
	}
	return out
}

// CreateInstanceProfile implements the operation.
func (s *Service) CreateInstanceProfile(ctx context.Context, in *iam.CreateInstanceProfileInput, _ ...func(*iam.Options)) (*iam.CreateInstanceProfileOutput, error) {
	var c checks
	c.name("instanceProfileName", in.InstanceProfileName)
	c.path(in.Path)
	c.tags(in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkNames("instanceProfileName", *in.InstanceProfileName); err != nil {
		return nil, err
	}
	path, err := pathOf(in.Path)
	if err != nil {
		return nil, err
	}
	e, err := s.newEntity(ctx, "instance-profile", "AIPA", path, *in.InstanceProfileName, in.Tags)
	if err != nil {
		return nil, err
	}
	p, sc := &instanceProfile{entity: e}, scopeOf(ctx)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if profiles.Get(tx, sc, key(p.Name)) != nil {
			return exists("Instance Profile " + p.Name + " already exists.")
		}
		if err := checkQuota(s, len(profiles.List(tx, sc)), "instance-profiles-per-account", "InstanceProfilesPerAccount"); err != nil {
			return err
		}
		profiles.Put(tx, sc, key(p.Name), p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := p.describe(s.store, sc)
	return &iam.CreateInstanceProfileOutput{InstanceProfile: &out}, nil
}

// GetInstanceProfile implements the operation.
func (s *Service) GetInstanceProfile(ctx context.Context, in *iam.GetInstanceProfileInput, _ ...func(*iam.Options)) (*iam.GetInstanceProfileOutput, error) {
	p, err := getProfile(ctx, s.store, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	out := p.describe(s.store, scopeOf(ctx))
	return &iam.GetInstanceProfileOutput{InstanceProfile: &out}, nil
}

// ListInstanceProfiles implements the operation.
func (s *Service) ListInstanceProfiles(ctx context.Context, in *iam.ListInstanceProfilesInput, _ ...func(*iam.Options)) (*iam.ListInstanceProfilesOutput, error) {
	var c checks
	c.Length("pathPrefix", in.PathPrefix, 1, 512)
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkPrefix(in.PathPrefix); err != nil {
		return nil, err
	}
	all := underPath(profiles.List(s.store, scopeOf(ctx)), in.PathPrefix, func(p *instanceProfile) *entity { return &p.entity })
	list, more, next, err := s.profilePage(ctx, all, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListInstanceProfilesOutput{InstanceProfiles: list, IsTruncated: more, Marker: next}, nil
}

// ListInstanceProfilesForRole implements the operation.
func (s *Service) ListInstanceProfilesForRole(ctx context.Context, in *iam.ListInstanceProfilesForRoleInput, _ ...func(*iam.Options)) (*iam.ListInstanceProfilesForRoleOutput, error) {
	var c checks
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	r, err := getRole(ctx, s.store, in.RoleName)
	if err != nil {
		return nil, err
	}
	var all []*instanceProfile
	for _, p := range profiles.List(s.store, scopeOf(ctx)) {
		if p.Role == r.Name {
			all = append(all, p)
		}
	}
	list, more, next, err := s.profilePage(ctx, all, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListInstanceProfilesForRoleOutput{InstanceProfiles: list, IsTruncated: more, Marker: next}, nil
}

func (s *Service) profilePage(ctx context.Context, all []*instanceProfile, marker *string, maxItems *int32) ([]types.InstanceProfile, bool, *string, error) {
	all, more, next, err := page(all, func(p *instanceProfile) string { return p.order() }, marker, maxItems)
	if err != nil {
		return nil, false, nil, err
	}
	out := make([]types.InstanceProfile, len(all))
	for i, p := range all {
		out[i] = p.describe(s.store, scopeOf(ctx))
		out[i].Tags = nil // lists leave tags out
	}
	return out, more, next, nil
}

// AddRoleToInstanceProfile implements the operation.
func (s *Service) AddRoleToInstanceProfile(ctx context.Context, in *iam.AddRoleToInstanceProfileInput, _ ...func(*iam.Options)) (*iam.AddRoleToInstanceProfileOutput, error) {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		p, put, err := editProfile(ctx, tx, in.InstanceProfileName)
		if err != nil {
			return err
		}
		r, err := getRole(ctx, tx, in.RoleName)
		if err != nil {
			return err
		}
		if err := r.modifiable(); err != nil {
			return err
		}
		if p.Role != "" {
			return overQuota("InstanceSessionsPerInstanceProfile", 1)
		}
		p.Role = r.Name
		put()
		return nil
	})
	return answer(&iam.AddRoleToInstanceProfileOutput{}, err)
}

// RemoveRoleFromInstanceProfile implements the operation.
func (s *Service) RemoveRoleFromInstanceProfile(ctx context.Context, in *iam.RemoveRoleFromInstanceProfileInput, _ ...func(*iam.Options)) (*iam.RemoveRoleFromInstanceProfileOutput, error) {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		p, put, err := editProfile(ctx, tx, in.InstanceProfileName)
		if err != nil {
			return err
		}
		if _, err := getRole(ctx, tx, in.RoleName); err != nil {
			return err
		}
		if p.Role != *in.RoleName {
			return notFound("role", *in.RoleName)
		}
		p.Role = ""
		put()
		return nil
	})
	return answer(&iam.RemoveRoleFromInstanceProfileOutput{}, err)
}

// DeleteInstanceProfile implements the operation.
func (s *Service) DeleteInstanceProfile(ctx context.Context, in *iam.DeleteInstanceProfileInput, _ ...func(*iam.Options)) (*iam.DeleteInstanceProfileOutput, error) {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		p, err := getProfile(ctx, tx, in.InstanceProfileName)
		if err != nil {
			return err
		}
		if p.Role != "" {
			return conflict("Cannot delete entity, must remove roles from instance profile first.")
		}
		profiles.Delete(tx, scopeOf(ctx), key(p.Name))
		return nil
	})
	return answer(&iam.DeleteInstanceProfileOutput{}, err)
}

// InstanceProfileRole returns the ARN of the profile and of its role (empty if
// it has none); nameOrARN is what EC2's IamInstanceProfileSpecification holds.
func (s *Service) InstanceProfileRole(_ context.Context, sc awsid.Scope, nameOrARN string) (profileARN, roleARN string, ok bool) {
	sc = sc.Global()
	p := profiles.Get(s.store, sc, key(lastSegment(nameOrARN)))
	if p == nil || nameOrARN != p.Name && nameOrARN != p.ARN {
		return "", "", false
	}
	if r := roles.Get(s.store, sc, key(p.Role)); r != nil {
		roleARN = r.ARN
	}
	return p.ARN, roleARN, true
}
