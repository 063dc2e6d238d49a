package events

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxTags = 50

func mergeTags(have, add []types.Tag) ([]types.Tag, error) {
	out := slices.Clone(have)
	seen := map[string]bool{}
	for i, t := range add {
		k := aws.ToString(t.Key)
		if n := utf8.RuneCountInString(k); n < 1 || n > 128 {
			return nil, validation("1 validation error detected: Value '%s' at 'tags.%d.member.key' failed to satisfy constraint: Member must have length between 1 and 128", k, i+1)
		}
		if utf8.RuneCountInString(aws.ToString(t.Value)) > 256 {
			return nil, validation("1 validation error detected: Value '%s' at 'tags.%d.member.value' failed to satisfy constraint: Member must have length less than or equal to 256", *t.Value, i+1)
		}
		if strings.HasPrefix(k, "aws:") {
			return nil, validation("Parameter Tags is not valid. Reason: aws: prefixed tag key names are not allowed for external use.")
		}
		if seen[k] {
			return nil, validation("Invalid parameter: Duplicated keys are not allowed.")
		}
		seen[k] = true
		out = slices.DeleteFunc(out, func(o types.Tag) bool { return *o.Key == k })
		out = append(out, types.Tag{Key: &k, Value: aws.String(aws.ToString(t.Value))})
	}
	if len(out) > maxTags {
		return nil, limitExceeded()
	}
	return out, nil
}

// retag changes the tags of the bus or rule of an ARN.
func (s *Service) retag(ctx context.Context, arn *string, f func([]types.Tag) ([]types.Tag, error)) error {
	a, err := s.taggable(ctx, arn)
	if err != nil {
		return err
	}
	sc := a.Scope()
	return s.store.Update(ctx, func(tx *store.Tx) error {
		b, r, err := s.tagged(tx, a)
		if err != nil {
			return err
		}
		if b != nil {
			own := *b
			if own.Tags, err = f(b.Tags); err == nil {
				buses.Put(tx, sc, own.Name, &own)
			}
			return err
		}
		own := *r
		if own.Tags, err = f(r.Tags); err == nil {
			rules.Put(tx, sc, ruleID(own.Bus, own.Name), &own)
		}
		return err
	})
}

func (s *Service) taggable(ctx context.Context, arn *string) (awsid.ARN, error) {
	if aws.ToString(arn) == "" {
		return awsid.ARN{}, validation("1 validation error detected: Value null at 'resourceARN' failed to satisfy constraint: Member must not be null")
	}
	a, err := awsid.ParseARN(*arn)
	if err != nil || a.Service != "events" {
		return a, validation("Parameter ResourceARN is not valid. Reason: Provided Arn is not in correct format.")
	}
	if !a.In(awsid.CallerFrom(ctx).Scope) {
		return a, &types.ResourceNotFoundException{Message: aws.String("Resource " + *arn + " does not exist.")}
	}
	return a, nil
}

// tagged returns the bus or the rule of an ARN.
func (s *Service) tagged(r store.Reader, a awsid.ARN) (*bus, *rule, error) {
	sc := a.Scope()
	kind, name, _ := strings.Cut(a.Resource, "/")
	switch kind {
	case "event-bus":
		if b := s.findBus(r, sc, name); b != nil {
			return b, nil, nil
		}
		return nil, nil, noBus(name)
	case "rule":
		on := defaultBus
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			on, name = name[:i], name[i+1:]
		}
		if x := rules.Get(r, sc, ruleID(on, name)); x != nil {
			return nil, x, nil
		}
		return nil, nil, noRule(on, name)
	}
	return nil, nil, validation("Parameter ResourceARN is not valid. Reason: Provided Arn is not in correct format.")
}

// TagResource implements the operation.
func (s *Service) TagResource(ctx context.Context, in *eventbridge.TagResourceInput, _ ...func(*eventbridge.Options)) (*eventbridge.TagResourceOutput, error) {
	if err := s.retag(ctx, in.ResourceARN, func(have []types.Tag) ([]types.Tag, error) { return mergeTags(have, in.Tags) }); err != nil {
		return nil, err
	}
	return &eventbridge.TagResourceOutput{}, nil
}

// UntagResource implements the operation.
func (s *Service) UntagResource(ctx context.Context, in *eventbridge.UntagResourceInput, _ ...func(*eventbridge.Options)) (*eventbridge.UntagResourceOutput, error) {
	err := s.retag(ctx, in.ResourceARN, func(have []types.Tag) ([]types.Tag, error) {
		return slices.DeleteFunc(slices.Clone(have), func(t types.Tag) bool { return slices.Contains(in.TagKeys, *t.Key) }), nil
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.UntagResourceOutput{}, nil
}

// ListTagsForResource implements the operation.
func (s *Service) ListTagsForResource(ctx context.Context, in *eventbridge.ListTagsForResourceInput, _ ...func(*eventbridge.Options)) (*eventbridge.ListTagsForResourceOutput, error) {
	a, err := s.taggable(ctx, in.ResourceARN)
	if err != nil {
		return nil, err
	}
	b, r, err := s.tagged(s.store, a)
	if err != nil {
		return nil, err
	}
	out := &eventbridge.ListTagsForResourceOutput{Tags: []types.Tag{}}
	if b != nil {
		out.Tags = append(out.Tags, b.Tags...)
	} else {
		out.Tags = append(out.Tags, r.Tags...)
	}
	return out, nil
}
