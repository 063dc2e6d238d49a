package events

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxTargets = 5 // of one rule

// PutTargets implements the operation. A target with the id of another replaces it.
func (s *Service) PutTargets(ctx context.Context, in *eventbridge.PutTargetsInput, _ ...func(*eventbridge.Options)) (*eventbridge.PutTargetsOutput, error) {
	if err := checkName("rule", in.Rule, 64, namePattern, `[\.\-_A-Za-z0-9]+`); err != nil {
		return nil, err
	}
	if len(in.Targets) == 0 {
		return nil, validation("1 validation error detected: Value '[]' at 'targets' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	for i, t := range in.Targets {
		if err := checkTarget(i, t); err != nil {
			return nil, err
		}
	}
	err := s.editRule(ctx, in.EventBusName, in.Rule, func(_ *store.Tx, r *rule) error {
		for _, t := range in.Targets {
			r.Targets = slices.DeleteFunc(r.Targets, func(o types.Target) bool { return *o.Id == *t.Id })
			r.Targets = append(r.Targets, t)
		}
		if len(r.Targets) > maxTargets {
			return limitExceeded()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.PutTargetsOutput{FailedEntries: []types.PutTargetsResultEntry{}}, nil
}

func checkTarget(i int, t types.Target) error {
	member := fmt.Sprintf("targets.%d.member.", i+1)
	if err := checkName(member+"id", t.Id, 64, namePattern, `[\.\-_A-Za-z0-9]+`); err != nil {
		return err
	}
	if t.Arn == nil {
		return validation("1 validation error detected: Value null at '%sarn' failed to satisfy constraint: Member must not be null", member)
	}
	a, err := awsid.ParseARN(*t.Arn)
	if err != nil {
		return validation("Parameter %s is not valid. Reason: Provided Arn is not in correct format.", *t.Arn)
	}
	if a.Service == "sqs" && strings.HasSuffix(a.Resource, ".fifo") && (t.SqsParameters == nil || aws.ToString(t.SqsParameters.MessageGroupId) == "") {
		return validation("Parameter(s) SqsParameters must be specified for target: %s.", *t.Id)
	}
	n := 0
	for _, given := range []bool{t.Input != nil, t.InputPath != nil, t.InputTransformer != nil} {
		if given {
			n++
		}
	}
	if n > 1 {
		return validation("Only one of Input, InputPath, or InputTransformer must be provided for target %s.", *t.Id)
	}
	return checkInput(t)
}

func checkInput(t types.Target) error {
	if t.Input != nil && !json.Valid([]byte(*t.Input)) {
		return validation("JSON syntax error in input for target %s.", *t.Id)
	}
	if t.InputPath != nil {
		if _, err := parsePath(*t.InputPath); err != nil {
			return validation("InputPath for target %s is invalid.", *t.Id)
		}
	}
	x := t.InputTransformer
	if x == nil {
		return nil
	}
	if x.InputTemplate == nil {
		return validation("1 validation error detected: Value null at 'targets.1.member.inputTransformer.inputTemplate' failed to satisfy constraint: Member must not be null")
	}
	for name, p := range x.InputPathsMap {
		if _, err := parsePath(p); err != nil || strings.HasPrefix(name, "aws.") {
			return validation("InputPathsMap for target %s contains invalid path %s.", *t.Id, name)
		}
	}
	for _, name := range placeholders(*x.InputTemplate) {
		if _, ok := x.InputPathsMap[name]; !ok && !slices.Contains(predefined, name) {
			return validation("InputTemplate for target %s contains invalid placeholder %s.", *t.Id, name)
		}
	}
	return nil
}

// RemoveTargets implements the operation.
func (s *Service) RemoveTargets(ctx context.Context, in *eventbridge.RemoveTargetsInput, _ ...func(*eventbridge.Options)) (*eventbridge.RemoveTargetsOutput, error) {
	if err := checkName("rule", in.Rule, 64, namePattern, `[\.\-_A-Za-z0-9]+`); err != nil {
		return nil, err
	}
	if len(in.Ids) == 0 {
		return nil, validation("1 validation error detected: Value '[]' at 'ids' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	out := &eventbridge.RemoveTargetsOutput{}
	err := s.editRule(ctx, in.EventBusName, in.Rule, func(_ *store.Tx, r *rule) error {
		out.FailedEntries = []types.RemoveTargetsResultEntry{}
		for _, id := range in.Ids {
			i := slices.IndexFunc(r.Targets, func(t types.Target) bool { return *t.Id == id })
			if i < 0 {
				out.FailedEntries = append(out.FailedEntries, types.RemoveTargetsResultEntry{
					TargetId: &id, ErrorCode: aws.String("ResourceNotFoundException"), ErrorMessage: aws.String("Rule " + r.Name + " does not have a target with the Id " + id + "."),
				})
				continue
			}
			r.Targets = slices.Delete(r.Targets, i, i+1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.FailedEntryCount = int32(len(out.FailedEntries))
	return out, nil
}

// ListTargetsByRule implements the operation.
func (s *Service) ListTargetsByRule(ctx context.Context, in *eventbridge.ListTargetsByRuleInput, _ ...func(*eventbridge.Options)) (*eventbridge.ListTargetsByRuleOutput, error) {
	r, err := s.findRule(ctx, s.store, in.EventBusName, in.Rule)
	if err != nil {
		return nil, err
	}
	all, next, err := page(slices.Clone(r.Targets), func(t types.Target) string { return *t.Id }, in.NextToken, in.Limit)
	if err != nil {
		return nil, err
	}
	if all == nil {
		all = []types.Target{}
	}
	return &eventbridge.ListTargetsByRuleOutput{Targets: all, NextToken: next}, nil
}
