package logs

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

const maxTags = 50

func (c *checks) tags(member string, tags map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		v := tags[k]
		c.text(member+".key", &k, tagKeyText, 1)
		c.text(member+"."+k+".member", &v, tagValueText, 0)
	}
}

// addTags answers have with more.
func addTags(ctx context.Context, have, more map[string]string) (map[string]string, error) {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range more {
		if strings.HasPrefix(strings.ToLower(k), "aws:") && awsid.CallerFrom(ctx).Service == "" {
			return nil, invalid("User defined tag keys can not start with aws:")
		}
		out[k] = v
	}
	return out, nil
}

// tag is what TagResource and TagLogGroup do.
func (s *Service) tag(ctx context.Context, name string, tags map[string]string, tooMany func() error) error {
	return s.changeGroup(ctx, name, func(g *group) (err error) {
		if g.Tags, err = addTags(ctx, g.Tags, tags); err == nil && len(g.Tags) > maxTags {
			err = tooMany()
		}
		return err
	})
}

func (s *Service) untag(ctx context.Context, name string, tagKeys []string) error {
	return s.changeGroup(ctx, name, func(g *group) error {
		for _, k := range tagKeys {
			delete(g.Tags, k)
		}
		return nil
	})
}

// taggedGroup is the group of an ARN. CloudWatch does not take the ARN with the :*
// that DescribeLogGroups shows: the pattern has no star.
func taggedGroup(ctx context.Context, c *checks, arn *string) (string, error) {
	c.text("resourceArn", arn, resourceARN, 1)
	if err := c.err(); err != nil {
		return "", err
	}
	if !strings.HasPrefix(*arn, "arn:") {
		return "", invalid("The specified resourceArn %s is not an ARN.", *arn)
	}
	return identifiedGroup(ctx, *arn)
}

// TagResource implements the operation.
func (s *Service) TagResource(ctx context.Context, in *cwl.TagResourceInput, _ ...func(*cwl.Options)) (*cwl.TagResourceOutput, error) {
	var c checks
	c.Null("tags", in.Tags == nil)
	c.tags("tags", in.Tags)
	name, err := taggedGroup(ctx, &c, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	err = s.tag(ctx, name, in.Tags, func() error {
		return &types.TooManyTagsException{Message: aws.String("A resource can have at most 50 tags."), ResourceName: in.ResourceArn}
	})
	if err != nil {
		return nil, err
	}
	return &cwl.TagResourceOutput{}, nil
}

// UntagResource implements the operation.
func (s *Service) UntagResource(ctx context.Context, in *cwl.UntagResourceInput, _ ...func(*cwl.Options)) (*cwl.UntagResourceOutput, error) {
	var c checks
	c.Null("tagKeys", in.TagKeys == nil)
	name, err := taggedGroup(ctx, &c, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	if err := s.untag(ctx, name, in.TagKeys); err != nil {
		return nil, err
	}
	return &cwl.UntagResourceOutput{}, nil
}

// ListTagsForResource implements the operation.
func (s *Service) ListTagsForResource(ctx context.Context, in *cwl.ListTagsForResourceInput, _ ...func(*cwl.Options)) (*cwl.ListTagsForResourceOutput, error) {
	var c checks
	name, err := taggedGroup(ctx, &c, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	g := groups.Get(s.store, awsid.CallerFrom(ctx).Scope, name)
	if g == nil {
		return nil, noGroup()
	}
	return &cwl.ListTagsForResourceOutput{Tags: maps.Clone(g.Tags)}, nil
}

// TagLogGroup implements the operation, which AWS deprecated.
func (s *Service) TagLogGroup(ctx context.Context, in *cwl.TagLogGroupInput, _ ...func(*cwl.Options)) (*cwl.TagLogGroupOutput, error) {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	c.Null("tags", in.Tags == nil)
	c.tags("tags", in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.tag(ctx, *in.LogGroupName, in.Tags, func() error { return invalid("A resource can have at most 50 tags.") })
	if err != nil {
		return nil, err
	}
	return &cwl.TagLogGroupOutput{}, nil
}

// UntagLogGroup implements the operation, which AWS deprecated.
func (s *Service) UntagLogGroup(ctx context.Context, in *cwl.UntagLogGroupInput, _ ...func(*cwl.Options)) (*cwl.UntagLogGroupOutput, error) {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	c.Null("tags", in.Tags == nil)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := s.untag(ctx, *in.LogGroupName, in.Tags); err != nil {
		return nil, err
	}
	return &cwl.UntagLogGroupOutput{}, nil
}

// ListTagsLogGroup implements the operation, which AWS deprecated.
func (s *Service) ListTagsLogGroup(ctx context.Context, in *cwl.ListTagsLogGroupInput, _ ...func(*cwl.Options)) (*cwl.ListTagsLogGroupOutput, error) {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	if err := c.err(); err != nil {
		return nil, err
	}
	g := groups.Get(s.store, awsid.CallerFrom(ctx).Scope, *in.LogGroupName)
	if g == nil {
		return nil, noGroup()
	}
	return &cwl.ListTagsLogGroupOutput{Tags: maps.Clone(g.Tags)}, nil
}
