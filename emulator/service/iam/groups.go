package iam

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxGroupsPerUser = 10

func getGroup(ctx context.Context, r store.Reader, name *string) (*group, error) {
	if err := named("groupName", name); err != nil {
		return nil, err
	}
	if g := groups.Get(r, scopeOf(ctx), key(*name)); g != nil && g.Name == *name {
		return g, nil
	}
	return nil, notFound("group", *name)
}

func (s *Service) updateGroup(ctx context.Context, name *string, f func(tx *store.Tx, g *group) error) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := getGroup(ctx, tx, name); err != nil {
			return err
		}
		g := groups.Edit(tx, scopeOf(ctx), key(*name))
		if err := f(tx, g); err != nil {
			return err
		}
		groups.Put(tx, scopeOf(ctx), key(*name), g)
		return nil
	})
}

func (g *group) describe() types.Group {
	return types.Group{GroupName: &g.Name, GroupId: &g.ID, Arn: &g.ARN, Path: &g.Path, CreateDate: &g.Created}
}

// CreateGroup implements the operation.
func (s *Service) CreateGroup(ctx context.Context, in *iam.CreateGroupInput, _ ...func(*iam.Options)) (*iam.CreateGroupOutput, error) {
	var c checks
	c.name("groupName", in.GroupName)
	c.path(in.Path)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkNames("groupName", *in.GroupName); err != nil {
		return nil, err
	}
	path, err := pathOf(in.Path)
	if err != nil {
		return nil, err
	}
	e, err := s.newEntity(ctx, "group", "AGPA", path, *in.GroupName, nil)
	if err != nil {
		return nil, err
	}
	g, sc := &group{entity: e}, scopeOf(ctx)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if groups.Get(tx, sc, key(g.Name)) != nil {
			return exists("Group with name " + g.Name + " already exists.")
		}
		if err := checkQuota(s, len(groups.List(tx, sc)), "groups-per-account", "GroupsPerAccount"); err != nil {
			return err
		}
		groups.Put(tx, sc, key(g.Name), g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := g.describe()
	return &iam.CreateGroupOutput{Group: &out}, nil
}

// GetGroup implements the operation; its pages are of the group's users.
func (s *Service) GetGroup(ctx context.Context, in *iam.GetGroupInput, _ ...func(*iam.Options)) (*iam.GetGroupOutput, error) {
	var c checks
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	g, err := getGroup(ctx, s.store, in.GroupName)
	if err != nil {
		return nil, err
	}
	list, more, next, err := userPage(members(ctx, s.store, g.Name), in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := g.describe()
	return &iam.GetGroupOutput{Group: &out, Users: list, IsTruncated: more, Marker: next}, nil
}

func members(ctx context.Context, r store.Reader, group string) []*user {
	var out []*user
	for _, u := range users.List(r, scopeOf(ctx)) {
		if slices.Contains(u.Groups, group) {
			out = append(out, u)
		}
	}
	return out
}

// ListGroups implements the operation.
func (s *Service) ListGroups(ctx context.Context, in *iam.ListGroupsInput, _ ...func(*iam.Options)) (*iam.ListGroupsOutput, error) {
	var c checks
	c.Length("pathPrefix", in.PathPrefix, 1, 512)
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkPrefix(in.PathPrefix); err != nil {
		return nil, err
	}
	all := underPath(groups.List(s.store, scopeOf(ctx)), in.PathPrefix, func(g *group) *entity { return &g.entity })
	list, more, next, err := groupPage(all, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListGroupsOutput{Groups: list, IsTruncated: more, Marker: next}, nil
}

func groupPage(all []*group, marker *string, maxItems *int32) ([]types.Group, bool, *string, error) {
	all, more, next, err := page(all, func(g *group) string { return g.order() }, marker, maxItems)
	if err != nil {
		return nil, false, nil, err
	}
	out := make([]types.Group, len(all))
	for i, g := range all {
		out[i] = g.describe()
	}
	return out, more, next, nil
}

// UpdateGroup implements the operation: a new name, a new path, or both.
func (s *Service) UpdateGroup(ctx context.Context, in *iam.UpdateGroupInput, _ ...func(*iam.Options)) (*iam.UpdateGroupOutput, error) {
	var c checks
	c.Length("newGroupName", in.NewGroupName, 1, 128)
	c.Length("newPath", in.NewPath, 1, 512)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := getGroup(ctx, tx, in.GroupName); err != nil {
			return err
		}
		g := groups.Edit(tx, sc, key(*in.GroupName))
		old := g.Name
		if err := g.move(sc, "group", "newGroupName", in.NewGroupName, in.NewPath); err != nil {
			return err
		}
		if key(g.Name) != key(old) {
			if groups.Get(tx, sc, key(g.Name)) != nil {
				return exists("Group with name " + g.Name + " already exists.")
			}
			groups.Delete(tx, sc, key(old))
		}
		for _, m := range members(ctx, tx, old) {
			u := users.Edit(tx, sc, key(m.Name))
			u.Groups[slices.Index(u.Groups, old)] = g.Name
			users.Put(tx, sc, key(m.Name), u)
		}
		groups.Put(tx, sc, key(g.Name), g)
		return nil
	})
	return answer(&iam.UpdateGroupOutput{}, err)
}

// DeleteGroup implements the operation.
func (s *Service) DeleteGroup(ctx context.Context, in *iam.DeleteGroupInput, _ ...func(*iam.Options)) (*iam.DeleteGroupOutput, error) {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		g, err := getGroup(ctx, tx, in.GroupName)
		if err != nil {
			return err
		}
		if len(members(ctx, tx, g.Name)) > 0 {
			return conflict("Cannot delete entity, must remove users from group first.")
		}
		if err := g.grants.empty(); err != nil {
			return err
		}
		groups.Delete(tx, scopeOf(ctx), key(g.Name))
		return nil
	})
	return answer(&iam.DeleteGroupOutput{}, err)
}

// AddUserToGroup implements the operation, which is idempotent.
func (s *Service) AddUserToGroup(ctx context.Context, in *iam.AddUserToGroupInput, _ ...func(*iam.Options)) (*iam.AddUserToGroupOutput, error) {
	err := s.updateUser(ctx, in.UserName, func(tx *store.Tx, u *user) error {
		g, err := getGroup(ctx, tx, in.GroupName)
		if err != nil {
			return err
		}
		if slices.Contains(u.Groups, g.Name) {
			return nil
		}
		if len(u.Groups) >= maxGroupsPerUser {
			return overQuota("GroupsPerUser", maxGroupsPerUser)
		}
		u.Groups = append(u.Groups, g.Name)
		return nil
	})
	return answer(&iam.AddUserToGroupOutput{}, err)
}

// RemoveUserFromGroup implements the operation.
func (s *Service) RemoveUserFromGroup(ctx context.Context, in *iam.RemoveUserFromGroupInput, _ ...func(*iam.Options)) (*iam.RemoveUserFromGroupOutput, error) {
	err := s.updateUser(ctx, in.UserName, func(tx *store.Tx, u *user) error {
		g, err := getGroup(ctx, tx, in.GroupName)
		if err != nil {
			return err
		}
		u.Groups = slices.DeleteFunc(u.Groups, func(n string) bool { return n == g.Name })
		return nil
	})
	return answer(&iam.RemoveUserFromGroupOutput{}, err)
}

// ListGroupsForUser implements the operation.
func (s *Service) ListGroupsForUser(ctx context.Context, in *iam.ListGroupsForUserInput, _ ...func(*iam.Options)) (*iam.ListGroupsForUserOutput, error) {
	var c checks
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	u, err := getUser(ctx, s.store, in.UserName)
	if err != nil {
		return nil, err
	}
	var all []*group
	for _, n := range u.Groups {
		if g := groups.Get(s.store, scopeOf(ctx), key(n)); g != nil {
			all = append(all, g)
		}
	}
	list, more, next, err := groupPage(all, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListGroupsForUserOutput{Groups: list, IsTruncated: more, Marker: next}, nil
}
