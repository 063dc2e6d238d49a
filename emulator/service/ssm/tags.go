package ssm

import (
	"context"
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

func mergeTags(have map[string]string, add []types.Tag) (map[string]string, error) {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	for _, t := range add {
		var c checks
		c.Required("tags.key", t.Key, 1, 128)
		c.Required("tags.value", t.Value, 0, 256)
		if err := c.err(); err != nil {
			return nil, err
		}
		if strings.HasPrefix(strings.ToLower(*t.Key), "aws:") {
			return nil, validation("aws: prefixed tag key names are not allowed for external use.")
		}
		out[*t.Key] = *t.Value
	}
	if len(out) > maxTags {
		return nil, &types.TooManyTagsError{Message: aws.String("The resource has more than 50 tags.")}
	}
	return out, nil
}

// retag changes the tags of a parameter, the only taggable resource there is.
func (s *Service) retag(ctx context.Context, kind types.ResourceTypeForTagging, id *string, f func(map[string]string) (map[string]string, error)) error {
	if err := checkResource(kind, id); err != nil {
		return err
	}
	sc := awsid.CallerFrom(ctx).Scope
	return s.store.Update(ctx, func(tx *store.Tx) error {
		p := parameters.Edit(tx, sc, *id)
		if p == nil {
			return invalidResource(*id)
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

func checkResource(kind types.ResourceTypeForTagging, id *string) error {
	var c checks
	c.Required("resourceId", id, 1, 2048)
	c.Null("resourceType", kind == "")
	if err := c.err(); err != nil {
		return err
	}
	if kind != types.ResourceTypeForTaggingParameter {
		return &types.InvalidResourceType{Message: aws.String(string(kind) + " is not a valid resource type. Valid resource types are: Parameter.")}
	}
	return nil
}

func invalidResource(id string) error {
	return &types.InvalidResourceId{Message: aws.String("The resource ID \"" + id + "\" is not valid. Verify the ID and try again.")}
}

// AddTagsToResource implements the operation.
func (s *Service) AddTagsToResource(ctx context.Context, in *ssm.AddTagsToResourceInput, _ ...func(*ssm.Options)) (*ssm.AddTagsToResourceOutput, error) {
	err := s.retag(ctx, in.ResourceType, in.ResourceId, func(have map[string]string) (map[string]string, error) { return mergeTags(have, in.Tags) })
	if err != nil {
		return nil, err
	}
	return &ssm.AddTagsToResourceOutput{}, nil
}

// RemoveTagsFromResource implements the operation.
func (s *Service) RemoveTagsFromResource(ctx context.Context, in *ssm.RemoveTagsFromResourceInput, _ ...func(*ssm.Options)) (*ssm.RemoveTagsFromResourceOutput, error) {
	err := s.retag(ctx, in.ResourceType, in.ResourceId, func(have map[string]string) (map[string]string, error) {
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
	if err := checkResource(in.ResourceType, in.ResourceId); err != nil {
		return nil, err
	}
	p := parameters.Get(s.store, awsid.CallerFrom(ctx).Scope, *in.ResourceId)
	if p == nil {
		return nil, invalidResource(*in.ResourceId)
	}
	out := &ssm.ListTagsForResourceOutput{TagList: []types.Tag{}}
	for _, k := range slices.Sorted(maps.Keys(p.Tags)) {
		out.TagList = append(out.TagList, types.Tag{Key: aws.String(k), Value: aws.String(p.Tags[k])})
	}
	return out, nil
}
