package iam

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func getUser(ctx context.Context, r store.Reader, name *string) (*user, error) {
	if err := named("userName", name); err != nil {
		return nil, err
	}
	if u := users.Get(r, scopeOf(ctx), key(*name)); u != nil && u.Name == *name {
		return u, nil
	}
	return nil, notFound("user", *name)
}

func editUser(ctx context.Context, tx *store.Tx, name *string) (*user, func(), error) {
	if _, err := getUser(ctx, tx, name); err != nil {
		return nil, nil, err
	}
	sc, id := scopeOf(ctx), key(*name)
	u := users.Edit(tx, sc, id)
	return u, func() { users.Put(tx, sc, id, u) }, nil
}

func (s *Service) updateUser(ctx context.Context, name *string, f func(tx *store.Tx, u *user) error) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		u, put, err := editUser(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := f(tx, u); err != nil {
			return err
		}
		put()
		return nil
	})
}

func (u *user) brief() types.User {
	return types.User{UserName: &u.Name, UserId: &u.ID, Arn: &u.ARN, Path: &u.Path, CreateDate: &u.Created}
}

func (u *user) full() *types.User {
	out := u.brief()
	out.Tags, out.PermissionsBoundary = orNil(toTypes(u.Tags)), boundary(u.Boundary)
	return &out
}

// CreateUser implements the operation.
func (s *Service) CreateUser(ctx context.Context, in *iam.CreateUserInput, _ ...func(*iam.Options)) (*iam.CreateUserOutput, error) {
	var c checks
	c.newUser(in.UserName)
	c.path(in.Path)
	c.Length("permissionsBoundary", in.PermissionsBoundary, 20, 2048)
	c.tags(in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkNames("userName", *in.UserName); err != nil {
		return nil, err
	}
	path, err := pathOf(in.Path)
	if err != nil {
		return nil, err
	}
	e, err := s.newEntity(ctx, "user", "AIDA", path, *in.UserName, in.Tags)
	if err != nil {
		return nil, err
	}
	u, sc := &user{entity: e, grants: grants{Boundary: aws.ToString(in.PermissionsBoundary)}}, scopeOf(ctx)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if users.Get(tx, sc, key(u.Name)) != nil {
			return exists("User with name " + u.Name + " already exists.")
		}
		if err := s.checkBoundary(ctx, tx, u.Boundary); err != nil {
			return err
		}
		if err := checkQuota(s, len(users.List(tx, sc)), "users-per-account", "UsersPerAccount"); err != nil {
			return err
		}
		users.Put(tx, sc, key(u.Name), u)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateUserOutput{User: u.full()}, nil
}

// GetUser implements the operation. Without a name it is about the caller.
func (s *Service) GetUser(ctx context.Context, in *iam.GetUserInput, _ ...func(*iam.Options)) (*iam.GetUserOutput, error) {
	name := in.UserName
	if name == nil {
		caller := awsid.CallerFrom(ctx)
		if caller.IsRoot() {
			return &iam.GetUserOutput{User: &types.User{
				Arn: aws.String(caller.ARN), UserId: aws.String(caller.Account), Path: aws.String("/"),
				UserName: aws.String("root"), CreateDate: aws.Time(rootCreated),
			}}, nil
		}
		own, err := callerUser(ctx)
		if err != nil {
			return nil, err
		}
		name = &own
	}
	u, err := getUser(ctx, s.store, name)
	if err != nil {
		return nil, err
	}
	return &iam.GetUserOutput{User: u.full()}, nil
}

// callerUser is the name that an absent UserName stands for.
func callerUser(ctx context.Context) (string, error) {
	a, err := awsid.ParseARN(awsid.CallerFrom(ctx).ARN)
	if err != nil || !strings.HasPrefix(a.Resource, "user/") {
		return "", validationError("Must specify userName when calling with non-User credentials")
	}
	return lastSegment(a.Resource), nil
}

// ListUsers implements the operation.
func (s *Service) ListUsers(ctx context.Context, in *iam.ListUsersInput, _ ...func(*iam.Options)) (*iam.ListUsersOutput, error) {
	var c checks
	c.Length("pathPrefix", in.PathPrefix, 1, 512)
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkPrefix(in.PathPrefix); err != nil {
		return nil, err
	}
	all := underPath(users.List(s.store, scopeOf(ctx)), in.PathPrefix, func(u *user) *entity { return &u.entity })
	list, more, next, err := userPage(all, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListUsersOutput{Users: list, IsTruncated: more, Marker: next}, nil
}

func userPage(all []*user, marker *string, maxItems *int32) ([]types.User, bool, *string, error) {
	all, more, next, err := page(all, func(u *user) string { return u.order() }, marker, maxItems)
	if err != nil {
		return nil, false, nil, err
	}
	out := make([]types.User, len(all))
	for i, u := range all {
		out[i] = u.brief()
	}
	return out, more, next, nil
}

// UpdateUser implements the operation: a new name, a new path, or both.
func (s *Service) UpdateUser(ctx context.Context, in *iam.UpdateUserInput, _ ...func(*iam.Options)) (*iam.UpdateUserOutput, error) {
	var c checks
	c.Length("newUserName", in.NewUserName, 1, 64)
	c.Length("newPath", in.NewPath, 1, 512)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		u, _, err := editUser(ctx, tx, in.UserName)
		if err != nil {
			return err
		}
		old := key(u.Name)
		if err := u.move(sc, "user", "newUserName", in.NewUserName, in.NewPath); err != nil {
			return err
		}
		if id := key(u.Name); id != old {
			if users.Get(tx, sc, id) != nil {
				return exists("User with name " + u.Name + " already exists.")
			}
			users.Delete(tx, sc, old)
		}
		for _, id := range u.Keys {
			k := keys.Edit(tx, keyScope, id)
			k.User = u.Name
			keys.Put(tx, keyScope, id, k)
		}
		users.Put(tx, sc, key(u.Name), u)
		return nil
	})
	return answer(&iam.UpdateUserOutput{}, err)
}

// move gives the entity a new name or path, and so a new ARN.
func (e *entity) move(sc awsid.Scope, kind, member string, name, path *string) error {
	if name != nil {
		if err := checkNames(member, *name); err != nil {
			return err
		}
		e.Name = *name
	}
	if path != nil {
		p, err := pathOf(path)
		if err != nil {
			return err
		}
		e.Path = p
	}
	e.ARN = sc.ARN("iam", kind+e.Path+e.Name)
	return nil
}

// DeleteUser implements the operation.
func (s *Service) DeleteUser(ctx context.Context, in *iam.DeleteUserInput, _ ...func(*iam.Options)) (*iam.DeleteUserOutput, error) {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		u, err := getUser(ctx, tx, in.UserName)
		if err != nil {
			return err
		}
		if err := u.grants.empty(); err != nil {
			return err
		}
		if len(u.Keys) > 0 {
			return conflict("Cannot delete entity, must delete access keys first.")
		}
		if len(u.Groups) > 0 {
			return conflict("Cannot delete entity, must remove users from group first.")
		}
		if len(devicesOf(tx, scopeOf(ctx), u.ID)) > 0 {
			return conflict("Cannot delete entity, must delete MFA device first.")
		}
		users.Delete(tx, scopeOf(ctx), key(u.Name))
		return nil
	})
	return answer(&iam.DeleteUserOutput{}, err)
}

// PutUserPermissionsBoundary implements the operation.
func (s *Service) PutUserPermissionsBoundary(ctx context.Context, in *iam.PutUserPermissionsBoundaryInput, _ ...func(*iam.Options)) (*iam.PutUserPermissionsBoundaryOutput, error) {
	var c checks
	c.arn("permissionsBoundary", in.PermissionsBoundary)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.updateUser(ctx, in.UserName, func(tx *store.Tx, u *user) error {
		u.Boundary = *in.PermissionsBoundary
		return s.checkBoundary(ctx, tx, u.Boundary)
	})
	return answer(&iam.PutUserPermissionsBoundaryOutput{}, err)
}

// DeleteUserPermissionsBoundary implements the operation.
func (s *Service) DeleteUserPermissionsBoundary(ctx context.Context, in *iam.DeleteUserPermissionsBoundaryInput, _ ...func(*iam.Options)) (*iam.DeleteUserPermissionsBoundaryOutput, error) {
	err := s.updateUser(ctx, in.UserName, func(_ *store.Tx, u *user) error {
		if u.Boundary == "" {
			return noSuchEntity("Permissions boundary for user " + u.Name + " cannot be found.")
		}
		u.Boundary = ""
		return nil
	})
	return answer(&iam.DeleteUserPermissionsBoundaryOutput{}, err)
}
