package sqs

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxTags = 50

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return invalid("Too many tags added for queue.")
	}
	for k, v := range tags {
		switch {
		case utf8.RuneCountInString(k) < 1 || utf8.RuneCountInString(k) > 128:
			return invalid("Tag keys must be between 1 and 128 characters in length.")
		case utf8.RuneCountInString(v) > 256:
			return invalid("Tag values must be between 0 and 256 characters in length.")
		case strings.HasPrefix(k, "aws:"):
			return invalid("Tag keys cannot start with 'aws:'.")
		}
	}
	return nil
}

// TagQueue implements the operation.
func (s *Service) TagQueue(ctx context.Context, in *sqs.TagQueueInput, _ ...func(*sqs.Options)) (*sqs.TagQueueOutput, error) {
	if in.Tags == nil {
		return nil, missing("Tags")
	}
	_, err := s.edit(ctx, in.QueueUrl, "TagQueue", func(_ *store.Tx, q *queue) error {
		q.Tags = clone(q.Tags)
		maps.Copy(q.Tags, in.Tags)
		return checkTags(q.Tags)
	})
	if err != nil {
		return nil, err
	}
	return &sqs.TagQueueOutput{}, nil
}

// UntagQueue implements the operation.
func (s *Service) UntagQueue(ctx context.Context, in *sqs.UntagQueueInput, _ ...func(*sqs.Options)) (*sqs.UntagQueueOutput, error) {
	if in.TagKeys == nil {
		return nil, missing("TagKeys")
	}
	_, err := s.edit(ctx, in.QueueUrl, "UntagQueue", func(_ *store.Tx, q *queue) error {
		for _, k := range in.TagKeys {
			delete(q.Tags, k)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sqs.UntagQueueOutput{}, nil
}

// ListQueueTags implements the operation.
func (s *Service) ListQueueTags(ctx context.Context, in *sqs.ListQueueTagsInput, _ ...func(*sqs.Options)) (*sqs.ListQueueTagsOutput, error) {
	q, err := s.find(ctx, in.QueueUrl, "ListQueueTags")
	if err != nil {
		return nil, err
	}
	out := &sqs.ListQueueTagsOutput{}
	if len(q.Tags) > 0 {
		out.Tags = maps.Clone(q.Tags)
	}
	return out, nil
}

// statement is one of a queue policy's, as AddPermission writes them.
type statement struct {
	Sid, Effect string
	Principal   any
	Action      any
	Resource    string
}

type policy struct {
	Version, ID string
	Statement   []json.RawMessage
}

func (p policy) index(label string) int {
	return slices.IndexFunc(p.Statement, func(raw json.RawMessage) bool {
		var s struct{ Sid string }
		return json.Unmarshal(raw, &s) == nil && s.Sid == label
	})
}

func (q *queue) policy() policy {
	p := policy{Version: "2008-10-17", ID: q.arn() + "/SQSDefaultPolicy"}
	_ = json.Unmarshal([]byte(q.Attributes[string(types.QueueAttributeNamePolicy)]), &p) // valid JSON, or none
	return p
}

func (q *queue) setPolicy(p policy) error {
	if len(p.Statement) == 0 {
		delete(q.Attributes, string(types.QueueAttributeNamePolicy))
		return nil
	}
	b, err := json.Marshal(map[string]any{"Version": p.Version, "Id": p.ID, "Statement": p.Statement})
	if err != nil {
		return err
	}
	q.Attributes[string(types.QueueAttributeNamePolicy)] = string(b)
	return nil
}

// oneOrAll is how AWS writes lists of one.
func oneOrAll(all []string) any {
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// AddPermission implements the operation.
func (s *Service) AddPermission(ctx context.Context, in *sqs.AddPermissionInput, _ ...func(*sqs.Options)) (*sqs.AddPermissionOutput, error) {
	switch {
	case aws.ToString(in.Label) == "":
		return nil, missing("Label")
	case len(in.AWSAccountIds) == 0:
		return nil, missing("AWSAccountIds")
	case len(in.Actions) == 0:
		return nil, missing("Actions")
	case len(in.Actions) > 7:
		return nil, &types.OverLimit{Message: aws.String(strconv.Itoa(len(in.Actions)) + " Actions were found, maximum allowed is 7.")}
	}
	var actions, principals []string
	for _, a := range in.Actions {
		actions = append(actions, "SQS:"+a)
	}
	for _, a := range in.AWSAccountIds {
		principals = append(principals, awsid.GlobalScope(awsid.CallerFrom(ctx).Partition(), a).RootARN())
	}
	_, err := s.edit(ctx, in.QueueUrl, "AddPermission", func(_ *store.Tx, q *queue) error {
		p := q.policy()
		if p.index(*in.Label) >= 0 {
			return invalidValue(*in.Label, "Label", "Already exists.")
		}
		raw, err := json.Marshal(statement{*in.Label, "Allow", map[string]any{"AWS": oneOrAll(principals)}, oneOrAll(actions), q.arn()})
		if err != nil {
			return err
		}
		p.Statement = append(p.Statement, raw)
		return q.setPolicy(p)
	})
	if err != nil {
		return nil, err
	}
	return &sqs.AddPermissionOutput{}, nil
}

// RemovePermission implements the operation.
func (s *Service) RemovePermission(ctx context.Context, in *sqs.RemovePermissionInput, _ ...func(*sqs.Options)) (*sqs.RemovePermissionOutput, error) {
	if aws.ToString(in.Label) == "" {
		return nil, missing("Label")
	}
	_, err := s.edit(ctx, in.QueueUrl, "RemovePermission", func(_ *store.Tx, q *queue) error {
		p := q.policy()
		i := p.index(*in.Label)
		if i < 0 {
			return invalidValue(*in.Label, "Label", "can't find label.")
		}
		p.Statement = slices.Delete(p.Statement, i, i+1)
		return q.setPolicy(p)
	})
	if err != nil {
		return nil, err
	}
	return &sqs.RemovePermissionOutput{}, nil
}
