package ssm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxTags = 50

// tags checks the tags of a request.
func (c *checks) tags(list []types.Tag) {
	for i, t := range list {
		member := fmt.Sprintf("tags.%d.member.", i+1)
		c.Required(member+"key", t.Key, 1, 128)
		c.Required(member+"value", t.Value, 0, 256)
	}
}

func mergeTags(have map[string]string, add []types.Tag) (map[string]string, error) {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	for _, t := range add {
		if strings.HasPrefix(strings.ToLower(*t.Key), "aws:") {
			return nil, validation("aws: prefixed tag key names are not allowed for external use.")
		}
		out[*t.Key] = *t.Value
	}
	if len(out) > maxTags {
		return nil, &types.TooManyTagsError{}
	}
	return out, nil
}

// retag changes the tags of a parameter, the only taggable resource there is.
func (s *Service) retag(ctx context.Context, c *checks, kind types.ResourceTypeForTagging, id *string, f func(map[string]string) (map[string]string, error)) error {
	if err := c.resource(kind, id); err != nil {
		return err
	}
	sc := awsid.CallerFrom(ctx).Scope
	return s.store.Update(ctx, func(tx *store.Tx) error {
		p := parameters.Edit(tx, sc, *id)
		if p == nil {
			return &types.InvalidResourceId{}
		}
		tags, err := f(p.Tags)
		if err != nil {
			return err
		}
		p.Tags = tags
		parameters.Put(tx, sc, p.Name, p)
		return nil
	})
}

// resource judges a request about the tags of a resource, with what was found in it
// so far.
func (c *checks) resource(kind types.ResourceTypeForTagging, id *string) error {
	c.Required("resourceId", id, 1, 2048)
	c.Null("resourceType", kind == "")
	if err := c.err(); err != nil {
		return err
	}
	if kind != types.ResourceTypeForTaggingParameter {
		return &types.InvalidResourceType{}
	}
	return nil
}

// AddTagsToResource implements the operation.
func (s *Service) AddTagsToResource(ctx context.Context, in *ssm.AddTagsToResourceInput, _ ...func(*ssm.Options)) (*ssm.AddTagsToResourceOutput, error) {
	var c checks
	c.Null("tags", in.Tags == nil)
	c.tags(in.Tags)
	err := s.retag(ctx, &c, in.ResourceType, in.ResourceId, func(have map[string]string) (map[string]string, error) { return mergeTags(have, in.Tags) })
	if err != nil {
		return nil, err
	}
	return &ssm.AddTagsToResourceOutput{}, nil
}

// RemoveTagsFromResource implements the operation.
func (s *Service) RemoveTagsFromResource(ctx context.Context, in *ssm.RemoveTagsFromResourceInput, _ ...func(*ssm.Options)) (*ssm.RemoveTagsFromResourceOutput, error) {
	var c checks
	c.Null("tagKeys", in.TagKeys == nil)
	c.members("tagKeys", in.TagKeys, 1, 128)
	err := s.retag(ctx, &c, in.ResourceType, in.ResourceId, func(have map[string]string) (map[string]string, error) {
		for _, k := range in.TagKeys {
			delete(have, k)
		}
		return have, nil
	})
	if err != nil {
		return nil, err
	}
	return &ssm.RemoveTagsFromResourceOutput{}, nil
}

// ListTagsForResource implements the operation.
func (s *Service) ListTagsForResource(ctx context.Context, in *ssm.ListTagsForResourceInput, _ ...func(*ssm.Options)) (*ssm.ListTagsForResourceOutput, error) {
	var c checks
	if err := c.resource(in.ResourceType, in.ResourceId); err != nil {
		return nil, err
	}
	p := parameters.Get(s.store, awsid.CallerFrom(ctx).Scope, *in.ResourceId)
	if p == nil {
		return nil, &types.InvalidResourceId{}
	}
	out := &ssm.ListTagsForResourceOutput{TagList: []types.Tag{}}
	for _, k := range slices.Sorted(maps.Keys(p.Tags)) {
		out.TagList = append(out.TagList, types.Tag{Key: aws.String(k), Value: aws.String(p.Tags[k])})
	}
	return out, nil
}
