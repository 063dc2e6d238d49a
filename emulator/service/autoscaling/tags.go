package autoscaling

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	resourceType = "auto-scaling-group"
	maxTags      = 50
)

// merge writes tags over those that a group has; sorted by key, as AWS shows them.
func (g *group) merge(tags []types.Tag) error {
	for _, t := range tags {
		key := aws.ToString(t.Key)
		if n := utf8.RuneCountInString(key); n < 1 || n > 128 {
			return validation("1 validation error detected: Value '%s' at 'tags.1.member.key' failed to satisfy constraint: Member must have length between 1 and 128", key)
		}
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return validation("Caller is not authorized to make tags with the prefix aws:")
		}
		d := types.TagDescription{
			Key: &key, Value: aws.String(aws.ToString(t.Value)), PropagateAtLaunch: aws.Bool(aws.ToBool(t.PropagateAtLaunch)),
			ResourceId: aws.String(g.name()), ResourceType: aws.String(resourceType),
		}
		g.Tags = append(slices.DeleteFunc(slices.Clone(g.Tags), func(o types.TagDescription) bool { return *o.Key == key }), d)
	}
	slices.SortFunc(g.Tags, func(a, b types.TagDescription) int { return compare(*a.Key, *b.Key) })
	if len(g.Tags) > maxTags {
		return &types.LimitExceededFault{Message: aws.String("The number of tags for this resource exceeds the limit of 50.")}
	}
	return nil
}

// byGroup sorts a request's tags by the group that they are for.
func byGroup(tags []types.Tag) (map[string][]types.Tag, error) {
	out := map[string][]types.Tag{}
	for _, t := range tags {
		if err := required("tags.1.member.key", t.Key); err != nil {
			return nil, err
		}
		if id := aws.ToString(t.ResourceId); id == "" || aws.ToString(t.ResourceType) != resourceType {
			return nil, validation("Invalid resource type or id: tags need resourceType %s and the group's name as resourceId.", resourceType)
		}
		out[*t.ResourceId] = append(out[*t.ResourceId], t)
	}
	return out, nil
}

func (s *Service) retag(ctx context.Context, tags []types.Tag, f func(g *group, tags []types.Tag) error) error {
	sets, err := byGroup(tags)
	if err != nil {
		return err
	}
	sc := awsid.CallerFrom(ctx).Scope
	return s.store.Update(ctx, func(tx *store.Tx) error {
		for _, name := range slices.Sorted(maps.Keys(sets)) {
			if err := s.edit(tx, sc, name, func(g *group) error { return f(g, sets[name]) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// CreateOrUpdateTags implements the operation. Tags that propagate go to instances
// launched later.
func (s *Service) CreateOrUpdateTags(ctx context.Context, in *autoscaling.CreateOrUpdateTagsInput, _ ...func(*autoscaling.Options)) (*autoscaling.CreateOrUpdateTagsOutput, error) {
	if in.Tags == nil {
		return nil, required("tags", nil)
	}
	if err := s.retag(ctx, in.Tags, func(g *group, tags []types.Tag) error { return g.merge(tags) }); err != nil {
		return nil, err
	}
	return &autoscaling.CreateOrUpdateTagsOutput{}, nil
}

// DeleteTags implements the operation.
func (s *Service) DeleteTags(ctx context.Context, in *autoscaling.DeleteTagsInput, _ ...func(*autoscaling.Options)) (*autoscaling.DeleteTagsOutput, error) {
	if in.Tags == nil {
		return nil, required("tags", nil)
	}
	err := s.retag(ctx, in.Tags, func(g *group, tags []types.Tag) error {
		g.Tags = slices.DeleteFunc(slices.Clone(g.Tags), func(t types.TagDescription) bool {
			return slices.ContainsFunc(tags, func(d types.Tag) bool { return *d.Key == *t.Key && (d.Value == nil || *d.Value == *t.Value) })
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.DeleteTagsOutput{}, nil
}

// tagFilters are DescribeTags' filters and what each looks at.
var tagFilters = map[string]func(t types.TagDescription) string{
	"auto-scaling-group": func(t types.TagDescription) string { return *t.ResourceId },
	"key":                func(t types.TagDescription) string { return *t.Key },
	"value":              func(t types.TagDescription) string { return *t.Value },
	"propagate-at-launch": func(t types.TagDescription) string {
		if *t.PropagateAtLaunch {
			return "true"
		}
		return "false"
	},
}

// DescribeTags implements the operation.
func (s *Service) DescribeTags(ctx context.Context, in *autoscaling.DescribeTagsInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeTagsOutput, error) {
	for _, f := range in.Filters {
		if tagFilters[aws.ToString(f.Name)] == nil {
			return nil, validation("Filter type %s is not correct. Allowed Filter types are: auto-scaling-group key value propagate-at-launch", aws.ToString(f.Name))
		}
	}
	all := []types.TagDescription{}
	for _, g := range s.list(s.store, awsid.CallerFrom(ctx).Scope) {
		for _, t := range g.Tags {
			if !slices.ContainsFunc(in.Filters, func(f types.Filter) bool { return !slices.Contains(f.Values, tagFilters[*f.Name](t)) }) {
				all = append(all, t)
			}
		}
	}
	all, next, err := page(all, in.NextToken, in.MaxRecords, 50, 100)
	if err != nil {
		return nil, err
	}
	return &autoscaling.DescribeTagsOutput{Tags: all, NextToken: next}, nil
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
