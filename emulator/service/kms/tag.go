package kms

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// maxTags is how many tags a key may have.
const maxTags = 50

func tagError(text string) error { return &types.TagException{Message: &text} }

func (c *checks) tags(list []types.Tag) {
	for i, t := range list {
		c.Required(fmt.Sprintf("tags.%d.member.tagKey", i+1), t.TagKey, 1, 128)
		c.Required(fmt.Sprintf("tags.%d.member.tagValue", i+1), t.TagValue, 0, 256)
	}
}

// newTags adds list to what a key has.
func newTags(ctx context.Context, have map[string]string, list []types.Tag) (map[string]string, error) {
	out, seen := maps.Clone(have), map[string]bool{}
	if out == nil {
		out = map[string]string{}
	}
	for _, t := range list {
		if reserved(ctx, *t.TagKey) {
			return nil, tagError("Tags beginning with aws: are reserved")
		}
		if seen[*t.TagKey] {
			return nil, tagError("Duplicate tag keys")
		}
		seen[*t.TagKey] = true
		out[*t.TagKey] = *t.TagValue
	}
	if len(out) > maxTags {
		return nil, tagError("Too many tags")
	}
	return out, nil
}

func reserved(ctx context.Context, tagKey string) bool {
	return strings.HasPrefix(strings.ToLower(tagKey), "aws:") && awsid.CallerFrom(ctx).Service == ""
}

// TagResource implements the operation.
func (s *Service) TagResource(ctx context.Context, in *kms.TagResourceInput, _ ...func(*kms.Options)) (*kms.TagResourceOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Null("tags", in.Tags == nil)
	c.tags(in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.change(ctx, "TagResource", *in.KeyId, func(_ *store.Tx, k *key) (err error) {
		k.Tags, err = newTags(ctx, k.Tags, in.Tags)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &kms.TagResourceOutput{}, nil
}

// UntagResource implements the operation.
func (s *Service) UntagResource(ctx context.Context, in *kms.UntagResourceInput, _ ...func(*kms.Options)) (*kms.UntagResourceOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Null("tagKeys", in.TagKeys == nil)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.change(ctx, "UntagResource", *in.KeyId, func(_ *store.Tx, k *key) error {
		for _, t := range in.TagKeys {
			if reserved(ctx, t) {
				return tagError("Tags beginning with aws: are reserved")
			}
			delete(k.Tags, t)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.UntagResourceOutput{}, nil
}

// ListResourceTags implements the operation.
func (s *Service) ListResourceTags(ctx context.Context, in *kms.ListResourceTagsInput, _ ...func(*kms.Options)) (*kms.ListResourceTagsOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Span("limit", in.Limit, 1, 50)
	c.Length("marker", in.Marker, 1, 1024)
	if err := c.err(); err != nil {
		return nil, err
	}
	k, err := s.find(ctx, s.store, "ListResourceTags", *in.KeyId)
	if err != nil {
		return nil, err
	}
	names, next, more, err := page(slices.Sorted(maps.Keys(k.Tags)), func(n string) string { return n }, in.Marker, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &kms.ListResourceTagsOutput{Tags: make([]types.Tag, len(names)), NextMarker: next, Truncated: more}
	for i, n := range names {
		out.Tags[i] = types.Tag{TagKey: &n, TagValue: aws.String(k.Tags[n])}
	}
	return out, nil
}
