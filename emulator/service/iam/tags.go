package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxTags = 50

// mergeTags returns have with add applied. Keys are unique without regard to
// case; the first spelling stays.
func mergeTags(have []tag, add []types.Tag) ([]tag, error) {
	out := slices.Clone(have)
	seen := map[string]bool{}
	for _, t := range add {
		k, v := aws.ToString(t.Key), aws.ToString(t.Value)
		if strings.HasPrefix(strings.ToLower(k), "aws:") {
			return nil, &types.InvalidInputException{Message: aws.String("Tag keys starting with aws: are reserved for system use.")}
		}
		if seen[strings.ToLower(k)] {
			return nil, &types.InvalidInputException{Message: aws.String("Duplicate tag keys found. Please note that Tag keys are case insensitive.")}
		}
		seen[strings.ToLower(k)] = true
		i := slices.IndexFunc(out, func(t tag) bool { return strings.EqualFold(t.Key, k) })
		if i >= 0 {
			out[i].Value = v
		} else {
			out = append(out, tag{k, v})
		}
	}
	if len(out) > maxTags {
		return nil, limitExceeded("The number of tags has reached the maximum limit.")
	}
	return out, nil
}

func dropTags(have []tag, drop []string) []tag {
	return slices.DeleteFunc(slices.Clone(have), func(t tag) bool {
		return slices.ContainsFunc(drop, func(k string) bool { return strings.EqualFold(k, t.Key) })
	})
}

func checkTags(tags []types.Tag) *checks {
	c := &checks{}
	c.Null("tags", tags == nil)
	c.tags(tags)
	return c
}

func checkTagKeys(keys []string) *checks {
	c := &checks{}
	c.tagKeys(keys)
	return c
}

// retag changes the tags that f finds; f returns a pointer into a record of the
// transaction's own and how to write that record back.
func (s *Service) retag(ctx context.Context, c *checks, add []types.Tag, drop []string, f func(tx *store.Tx) (*[]tag, func(), error)) error {
	if err := c.err(); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		tags, put, err := f(tx)
		if err != nil {
			return err
		}
		merged, err := mergeTags(dropTags(*tags, drop), add)
		if err != nil {
			return err
		}
		*tags = merged
		put()
		return nil
	})
}

func tagPage(tags []tag, marker *string, maxItems *int32) ([]types.Tag, bool, *string, error) {
	var c checks
	checkPage(&c, marker, maxItems)
	if err := c.err(); err != nil {
		return nil, false, nil, err
	}
	return page(toTypes(tags), func(t types.Tag) string { return *t.Key }, marker, maxItems)
}

// TagRole implements the operation.
func (s *Service) TagRole(ctx context.Context, in *iam.TagRoleInput, _ ...func(*iam.Options)) (*iam.TagRoleOutput, error) {
	err := s.retag(ctx, checkTags(in.Tags), in.Tags, nil, func(tx *store.Tx) (*[]tag, func(), error) {
		r, put, err := editRole(ctx, tx, in.RoleName)
		if err != nil {
			return nil, nil, err
		}
		return &r.Tags, put, nil
	})
	return answer(&iam.TagRoleOutput{}, err)
}

// UntagRole implements the operation.
func (s *Service) UntagRole(ctx context.Context, in *iam.UntagRoleInput, _ ...func(*iam.Options)) (*iam.UntagRoleOutput, error) {
	err := s.retag(ctx, checkTagKeys(in.TagKeys), nil, in.TagKeys, func(tx *store.Tx) (*[]tag, func(), error) {
		r, put, err := editRole(ctx, tx, in.RoleName)
		if err != nil {
			return nil, nil, err
		}
		return &r.Tags, put, nil
	})
	return answer(&iam.UntagRoleOutput{}, err)
}

// ListRoleTags implements the operation.
func (s *Service) ListRoleTags(ctx context.Context, in *iam.ListRoleTagsInput, _ ...func(*iam.Options)) (*iam.ListRoleTagsOutput, error) {
	r, err := getRole(ctx, s.store, in.RoleName)
	if err != nil {
		return nil, err
	}
	tags, more, next, err := tagPage(r.Tags, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListRoleTagsOutput{Tags: tags, IsTruncated: more, Marker: next}, nil
}

// TagPolicy implements the operation.
func (s *Service) TagPolicy(ctx context.Context, in *iam.TagPolicyInput, _ ...func(*iam.Options)) (*iam.TagPolicyOutput, error) {
	err := s.retag(ctx, checkTags(in.Tags), in.Tags, nil, func(tx *store.Tx) (*[]tag, func(), error) {
		p, put, err := editPolicy(ctx, tx, in.PolicyArn)
		if err != nil {
			return nil, nil, err
		}
		return &p.Tags, put, nil
	})
	return answer(&iam.TagPolicyOutput{}, err)
}

// UntagPolicy implements the operation.
func (s *Service) UntagPolicy(ctx context.Context, in *iam.UntagPolicyInput, _ ...func(*iam.Options)) (*iam.UntagPolicyOutput, error) {
	err := s.retag(ctx, checkTagKeys(in.TagKeys), nil, in.TagKeys, func(tx *store.Tx) (*[]tag, func(), error) {
		p, put, err := editPolicy(ctx, tx, in.PolicyArn)
		if err != nil {
			return nil, nil, err
		}
		return &p.Tags, put, nil
	})
	return answer(&iam.UntagPolicyOutput{}, err)
}

// ListPolicyTags implements the operation.
func (s *Service) ListPolicyTags(ctx context.Context, in *iam.ListPolicyTagsInput, _ ...func(*iam.Options)) (*iam.ListPolicyTagsOutput, error) {
	p, err := s.managed(ctx, s.store, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	tags, more, next, err := tagPage(p.Tags, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListPolicyTagsOutput{Tags: tags, IsTruncated: more, Marker: next}, nil
}

// TagInstanceProfile implements the operation.
func (s *Service) TagInstanceProfile(ctx context.Context, in *iam.TagInstanceProfileInput, _ ...func(*iam.Options)) (*iam.TagInstanceProfileOutput, error) {
	err := s.retag(ctx, checkTags(in.Tags), in.Tags, nil, func(tx *store.Tx) (*[]tag, func(), error) {
		p, put, err := editProfile(ctx, tx, in.InstanceProfileName)
		if err != nil {
			return nil, nil, err
		}
		return &p.Tags, put, nil
	})
	return answer(&iam.TagInstanceProfileOutput{}, err)
}

// UntagInstanceProfile implements the operation.
func (s *Service) UntagInstanceProfile(ctx context.Context, in *iam.UntagInstanceProfileInput, _ ...func(*iam.Options)) (*iam.UntagInstanceProfileOutput, error) {
	err := s.retag(ctx, checkTagKeys(in.TagKeys), nil, in.TagKeys, func(tx *store.Tx) (*[]tag, func(), error) {
		p, put, err := editProfile(ctx, tx, in.InstanceProfileName)
		if err != nil {
			return nil, nil, err
		}
		return &p.Tags, put, nil
	})
	return answer(&iam.UntagInstanceProfileOutput{}, err)
}

// ListInstanceProfileTags implements the operation.
func (s *Service) ListInstanceProfileTags(ctx context.Context, in *iam.ListInstanceProfileTagsInput, _ ...func(*iam.Options)) (*iam.ListInstanceProfileTagsOutput, error) {
	p, err := getProfile(ctx, s.store, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	tags, more, next, err := tagPage(p.Tags, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListInstanceProfileTagsOutput{Tags: tags, IsTruncated: more, Marker: next}, nil
}

// TagUser implements the operation.
func (s *Service) TagUser(ctx context.Context, in *iam.TagUserInput, _ ...func(*iam.Options)) (*iam.TagUserOutput, error) {
	err := s.retag(ctx, checkTags(in.Tags), in.Tags, nil, func(tx *store.Tx) (*[]tag, func(), error) {
		u, put, err := editUser(ctx, tx, in.UserName)
		if err != nil {
			return nil, nil, err
		}
		return &u.Tags, put, nil
	})
	return answer(&iam.TagUserOutput{}, err)
}

// UntagUser implements the operation.
func (s *Service) UntagUser(ctx context.Context, in *iam.UntagUserInput, _ ...func(*iam.Options)) (*iam.UntagUserOutput, error) {
	err := s.retag(ctx, checkTagKeys(in.TagKeys), nil, in.TagKeys, func(tx *store.Tx) (*[]tag, func(), error) {
		u, put, err := editUser(ctx, tx, in.UserName)
		if err != nil {
			return nil, nil, err
		}
		return &u.Tags, put, nil
	})
	return answer(&iam.UntagUserOutput{}, err)
}

// ListUserTags implements the operation.
func (s *Service) ListUserTags(ctx context.Context, in *iam.ListUserTagsInput, _ ...func(*iam.Options)) (*iam.ListUserTagsOutput, error) {
	u, err := getUser(ctx, s.store, in.UserName)
	if err != nil {
		return nil, err
	}
	tags, more, next, err := tagPage(u.Tags, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListUserTagsOutput{Tags: tags, IsTruncated: more, Marker: next}, nil
}

// TagOpenIDConnectProvider implements the operation.
func (s *Service) TagOpenIDConnectProvider(ctx context.Context, in *iam.TagOpenIDConnectProviderInput, _ ...func(*iam.Options)) (*iam.TagOpenIDConnectProviderOutput, error) {
	err := s.retag(ctx, checkTags(in.Tags), in.Tags, nil, func(tx *store.Tx) (*[]tag, func(), error) {
		p, put, err := editProvider(ctx, tx, in.OpenIDConnectProviderArn)
		if err != nil {
			return nil, nil, err
		}
		return &p.Tags, put, nil
	})
	return answer(&iam.TagOpenIDConnectProviderOutput{}, err)
}

// UntagOpenIDConnectProvider implements the operation.
func (s *Service) UntagOpenIDConnectProvider(ctx context.Context, in *iam.UntagOpenIDConnectProviderInput, _ ...func(*iam.Options)) (*iam.UntagOpenIDConnectProviderOutput, error) {
	err := s.retag(ctx, checkTagKeys(in.TagKeys), nil, in.TagKeys, func(tx *store.Tx) (*[]tag, func(), error) {
		p, put, err := editProvider(ctx, tx, in.OpenIDConnectProviderArn)
		if err != nil {
			return nil, nil, err
		}
		return &p.Tags, put, nil
	})
	return answer(&iam.UntagOpenIDConnectProviderOutput{}, err)
}

// ListOpenIDConnectProviderTags implements the operation.
func (s *Service) ListOpenIDConnectProviderTags(ctx context.Context, in *iam.ListOpenIDConnectProviderTagsInput, _ ...func(*iam.Options)) (*iam.ListOpenIDConnectProviderTagsOutput, error) {
	p, err := getProvider(ctx, s.store, in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	tags, more, next, err := tagPage(p.Tags, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListOpenIDConnectProviderTagsOutput{Tags: tags, IsTruncated: more, Marker: next}, nil
}
