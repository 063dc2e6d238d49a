package events

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/service/events/pattern"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxRules = 300 // on one bus

// PutRule implements the operation. It overwrites a rule but for its targets and
// tags.
func (s *Service) PutRule(ctx context.Context, in *eventbridge.PutRuleInput, _ ...func(*eventbridge.Options)) (*eventbridge.PutRuleOutput, error) {
	if err := checkName("name", in.Name, 64, namePattern, `[\.\-_A-Za-z0-9]+`); err != nil {
		return nil, err
	}
	on := busName(in.EventBusName)
	if err := s.checkRule(in, on); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	var r *rule
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if s.findBus(tx, sc, on) == nil {
			return noBus(on)
		}
		if r = rules.Edit(tx, sc, ruleID(on, *in.Name)); r == nil {
			if len(rules.ListPrefix(tx, sc, on+"/")) >= maxRules {
				return limitExceeded()
			}
			tags, err := mergeTags(nil, in.Tags)
			if err != nil {
				return err
			}
			r = &rule{Scope: sc, Bus: on, Name: *in.Name, Tags: tags}
		}
		r.Pattern, r.Schedule, r.Description, r.RoleARN = aws.ToString(in.EventPattern), aws.ToString(in.ScheduleExpression), in.Description, in.RoleArn
		if r.State = in.State; r.State == "" {
			r.State = types.RuleStateEnabled
		}
		rules.Put(tx, sc, ruleID(on, r.Name), r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.PutRuleOutput{RuleArn: aws.String(r.arn())}, nil
}

func (s *Service) checkRule(in *eventbridge.PutRuleInput, on string) error {
	if in.State != "" && !slices.Contains(in.State.Values(), in.State) {
		return validation("1 validation error detected: Value '%s' at 'state' failed to satisfy constraint: Member must satisfy enum value set: [ENABLED, DISABLED, ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS]", in.State)
	}
	if d := aws.ToString(in.Description); len(d) > 512 {
		return validation("1 validation error detected: Value '%s' at 'description' failed to satisfy constraint: Member must have length less than or equal to 512", d)
	}
	if aws.ToString(in.EventPattern) == "" && aws.ToString(in.ScheduleExpression) == "" {
		return validation("Parameter(s) EventPattern or ScheduleExpression must be specified.")
	}
	if e := aws.ToString(in.ScheduleExpression); e != "" {
		if on != defaultBus {
			return validation("ScheduleExpression is supported only on the default event bus.")
		}
		if !validSchedule(e) {
			return validation("Parameter ScheduleExpression is not valid.")
		}
	}
	if p := aws.ToString(in.EventPattern); p != "" {
		if _, err := s.parse(p); err != nil {
			return err
		}
	}
	return nil
}

// findRule returns the rule that a request names.
func (s *Service) findRule(ctx context.Context, r store.Reader, onBus, name *string) (*rule, error) {
	if err := checkName("name", name, 64, namePattern, `[\.\-_A-Za-z0-9]+`); err != nil {
		return nil, err
	}
	sc, on := awsid.CallerFrom(ctx).Scope, busName(onBus)
	if s.findBus(r, sc, on) == nil {
		return nil, noBus(on)
	}
	x := rules.Get(r, sc, ruleID(on, *name))
	if x == nil {
		return nil, noRule(on, *name)
	}
	return x, nil
}

// editRule changes a rule's record.
func (s *Service) editRule(ctx context.Context, onBus, name *string, f func(tx *store.Tx, r *rule) error) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		r, err := s.findRule(ctx, tx, onBus, name)
		if err != nil {
			return err
		}
		own := rules.Edit(tx, r.Scope, ruleID(r.Bus, r.Name))
		if err := f(tx, own); err != nil {
			return err
		}
		rules.Put(tx, r.Scope, ruleID(r.Bus, r.Name), own)
		return nil
	})
}

// DescribeRule implements the operation.
func (s *Service) DescribeRule(ctx context.Context, in *eventbridge.DescribeRuleInput, _ ...func(*eventbridge.Options)) (*eventbridge.DescribeRuleOutput, error) {
	r, err := s.findRule(ctx, s.store, in.EventBusName, in.Name)
	if err != nil {
		return nil, err
	}
	return &eventbridge.DescribeRuleOutput{
		Arn: aws.String(r.arn()), CreatedBy: &r.Scope.Account, Description: r.Description, EventBusName: &r.Bus, EventPattern: optional(r.Pattern), Name: &r.Name,
		RoleArn: r.RoleARN, ScheduleExpression: optional(r.Schedule), State: r.State,
	}, nil
}

// DeleteRule implements the operation. Deleting what is not there succeeds.
func (s *Service) DeleteRule(ctx context.Context, in *eventbridge.DeleteRuleInput, _ ...func(*eventbridge.Options)) (*eventbridge.DeleteRuleOutput, error) {
	if err := checkName("name", in.Name, 64, namePattern, `[\.\-_A-Za-z0-9]+`); err != nil {
		return nil, err
	}
	sc, on := awsid.CallerFrom(ctx).Scope, busName(in.EventBusName)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if s.findBus(tx, sc, on) == nil {
			return noBus(on)
		}
		r := rules.Get(tx, sc, ruleID(on, *in.Name))
		switch {
		case r == nil:
			return nil
		case len(r.Targets) > 0:
			return validation("Rule can't be deleted since it has targets.")
		}
		rules.Delete(tx, sc, ruleID(on, *in.Name))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.DeleteRuleOutput{}, nil
}

// rulesOf lists a bus's rules.
func (s *Service) rulesOf(ctx context.Context, onBus *string) ([]*rule, error) {
	sc, on := awsid.CallerFrom(ctx).Scope, busName(onBus)
	if s.findBus(s.store, sc, on) == nil {
		return nil, noBus(on)
	}
	return rules.ListPrefix(s.store, sc, on+"/"), nil
}

// ListRules implements the operation.
func (s *Service) ListRules(ctx context.Context, in *eventbridge.ListRulesInput, _ ...func(*eventbridge.Options)) (*eventbridge.ListRulesOutput, error) {
	all, err := s.rulesOf(ctx, in.EventBusName)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(r *rule) bool { return !strings.HasPrefix(r.Name, aws.ToString(in.NamePrefix)) })
	all, next, err := page(all, func(r *rule) string { return r.Name }, in.NextToken, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &eventbridge.ListRulesOutput{Rules: []types.Rule{}, NextToken: next}
	for _, r := range all {
		out.Rules = append(out.Rules, types.Rule{
			Arn: aws.String(r.arn()), Description: r.Description, EventBusName: &r.Bus, EventPattern: optional(r.Pattern), Name: &r.Name, RoleArn: r.RoleARN,
			ScheduleExpression: optional(r.Schedule), State: r.State,
		})
	}
	return out, nil
}

// ListRuleNamesByTarget implements the operation.
func (s *Service) ListRuleNamesByTarget(ctx context.Context, in *eventbridge.ListRuleNamesByTargetInput, _ ...func(*eventbridge.Options)) (*eventbridge.ListRuleNamesByTargetOutput, error) {
	if aws.ToString(in.TargetArn) == "" {
		return nil, validation("1 validation error detected: Value null at 'targetArn' failed to satisfy constraint: Member must not be null")
	}
	all, err := s.rulesOf(ctx, in.EventBusName)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, r := range all {
		if slices.ContainsFunc(r.Targets, func(t types.Target) bool { return aws.ToString(t.Arn) == *in.TargetArn }) {
			names = append(names, r.Name)
		}
	}
	names, next, err := page(names, func(n string) string { return n }, in.NextToken, in.Limit)
	if err != nil {
		return nil, err
	}
	return &eventbridge.ListRuleNamesByTargetOutput{RuleNames: names, NextToken: next}, nil
}

func (s *Service) setState(ctx context.Context, onBus, name *string, st types.RuleState) error {
	return s.editRule(ctx, onBus, name, func(_ *store.Tx, r *rule) error { r.State = st; return nil })
}

// EnableRule implements the operation.
func (s *Service) EnableRule(ctx context.Context, in *eventbridge.EnableRuleInput, _ ...func(*eventbridge.Options)) (*eventbridge.EnableRuleOutput, error) {
	if err := s.setState(ctx, in.EventBusName, in.Name, types.RuleStateEnabled); err != nil {
		return nil, err
	}
	return &eventbridge.EnableRuleOutput{}, nil
}

// DisableRule implements the operation.
func (s *Service) DisableRule(ctx context.Context, in *eventbridge.DisableRuleInput, _ ...func(*eventbridge.Options)) (*eventbridge.DisableRuleOutput, error) {
	if err := s.setState(ctx, in.EventBusName, in.Name, types.RuleStateDisabled); err != nil {
		return nil, err
	}
	return &eventbridge.DisableRuleOutput{}, nil
}

// TestEventPattern implements the operation.
func (s *Service) TestEventPattern(_ context.Context, in *eventbridge.TestEventPatternInput, _ ...func(*eventbridge.Options)) (*eventbridge.TestEventPatternOutput, error) {
	for _, m := range []struct {
		name string
		v    *string
	}{{"eventPattern", in.EventPattern}, {"event", in.Event}} {
		if m.v == nil {
			return nil, validation("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", m.name)
		}
	}
	p, err := s.parse(*in.EventPattern)
	if err != nil {
		return nil, err
	}
	if !pattern.IsObject(*in.Event, "id", "detail-type", "source", "account", "time", "region", "detail") {
		return nil, validation("Parameter Event is not valid.")
	}
	return &eventbridge.TestEventPatternOutput{Result: p.Match([]byte(*in.Event))}, nil
}
