package events

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

var busPattern = regexp.MustCompile(`^[/.\-_A-Za-z0-9]+$`)

const maxBuses = 100

// CreateEventBus implements the operation.
func (s *Service) CreateEventBus(ctx context.Context, in *eventbridge.CreateEventBusInput, _ ...func(*eventbridge.Options)) (*eventbridge.CreateEventBusOutput, error) {
	if err := checkName("name", in.Name, 256, busPattern, `[/\.\-_A-Za-z0-9]+`); err != nil {
		return nil, err
	}
	if in.EventSourceName != nil {
		return nil, notFound("Event source %s does not exist.", *in.EventSourceName) // there are no partners here
	}
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	sc, now := awsid.CallerFrom(ctx).Scope, s.now()
	b := &bus{Scope: sc, Name: *in.Name, Description: in.Description, Key: in.KmsKeyIdentifier, DeadLetter: in.DeadLetterConfig, Log: in.LogConfig, Tags: tags, Created: now, Modified: now}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if b.Name == defaultBus || buses.Get(tx, sc, b.Name) != nil {
			return &types.ResourceAlreadyExistsException{Message: aws.String("Event bus " + b.Name + " already exists.")}
		}
		if len(buses.List(tx, sc)) >= maxBuses {
			return limitExceeded()
		}
		buses.Put(tx, sc, b.Name, b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.CreateEventBusOutput{
		EventBusArn: aws.String(b.arn()), Description: b.Description, KmsKeyIdentifier: b.Key, DeadLetterConfig: b.DeadLetter, LogConfig: b.Log,
	}, nil
}

// editBus changes a bus's record.
func (s *Service) editBus(ctx context.Context, name string, f func(b *bus) error) (*bus, error) {
	sc := awsid.CallerFrom(ctx).Scope
	var b *bus
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if b = buses.Edit(tx, sc, name); b == nil {
			if name != defaultBus {
				return noBus(name)
			}
			b = &bus{Scope: sc, Name: defaultBus}
		}
		if err := f(b); err != nil {
			return err
		}
		buses.Put(tx, sc, name, b)
		return nil
	})
	return b, err
}

// UpdateEventBus implements the operation.
func (s *Service) UpdateEventBus(ctx context.Context, in *eventbridge.UpdateEventBusInput, _ ...func(*eventbridge.Options)) (*eventbridge.UpdateEventBusOutput, error) {
	b, err := s.editBus(ctx, busName(in.Name), func(b *bus) error {
		b.Description, b.Key, b.DeadLetter, b.Log, b.Modified = in.Description, in.KmsKeyIdentifier, in.DeadLetterConfig, in.LogConfig, s.now()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.UpdateEventBusOutput{
		Arn: aws.String(b.arn()), Name: &b.Name, Description: b.Description, KmsKeyIdentifier: b.Key, DeadLetterConfig: b.DeadLetter, LogConfig: b.Log,
	}, nil
}

// DescribeEventBus implements the operation.
func (s *Service) DescribeEventBus(ctx context.Context, in *eventbridge.DescribeEventBusInput, _ ...func(*eventbridge.Options)) (*eventbridge.DescribeEventBusOutput, error) {
	name := busName(in.Name)
	b := s.findBus(s.store, awsid.CallerFrom(ctx).Scope, name)
	if b == nil {
		return nil, noBus(name)
	}
	out := &eventbridge.DescribeEventBusOutput{
		Arn: aws.String(b.arn()), Name: &b.Name, Description: b.Description, KmsKeyIdentifier: b.Key, DeadLetterConfig: b.DeadLetter, LogConfig: b.Log, Policy: optional(b.Policy),
	}
	if !b.Created.IsZero() {
		out.CreationTime, out.LastModifiedTime = &b.Created, &b.Modified
	}
	return out, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// ListEventBuses implements the operation.
func (s *Service) ListEventBuses(ctx context.Context, in *eventbridge.ListEventBusesInput, _ ...func(*eventbridge.Options)) (*eventbridge.ListEventBusesOutput, error) {
	sc := awsid.CallerFrom(ctx).Scope
	all := slices.DeleteFunc(buses.List(s.store, sc), func(b *bus) bool { return b.Name == defaultBus })
	all = append(all, s.findBus(s.store, sc, defaultBus))
	all = slices.DeleteFunc(all, func(b *bus) bool { return !strings.HasPrefix(b.Name, aws.ToString(in.NamePrefix)) })
	all, next, err := page(all, func(b *bus) string { return b.Name }, in.NextToken, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &eventbridge.ListEventBusesOutput{EventBuses: []types.EventBus{}, NextToken: next}
	for _, b := range all {
		v := types.EventBus{Arn: aws.String(b.arn()), Name: &b.Name, Description: b.Description, Policy: optional(b.Policy)}
		if !b.Created.IsZero() {
			v.CreationTime, v.LastModifiedTime = &b.Created, &b.Modified
		}
		out.EventBuses = append(out.EventBuses, v)
	}
	return out, nil
}

// DeleteEventBus implements the operation.
func (s *Service) DeleteEventBus(ctx context.Context, in *eventbridge.DeleteEventBusInput, _ ...func(*eventbridge.Options)) (*eventbridge.DeleteEventBusOutput, error) {
	if err := checkName("name", in.Name, 256, busPattern, `[/\.\-_A-Za-z0-9]+`); err != nil {
		return nil, err
	}
	if *in.Name == defaultBus {
		return nil, validation("Cannot delete event bus default.")
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if buses.Get(tx, sc, *in.Name) == nil {
			return noBus(*in.Name)
		}
		if len(rules.ListPrefix(tx, sc, *in.Name+"/")) > 0 {
			return validation("Cannot delete event bus %s because it has rules.", *in.Name)
		}
		buses.Delete(tx, sc, *in.Name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.DeleteEventBusOutput{}, nil
}

// busPolicy is a bus's policy, as PutPermission writes it.
type busPolicy struct {
	Version   string
	Statement []json.RawMessage
}

func (b *bus) policy() busPolicy {
	p := busPolicy{Version: "2012-10-17"}
	_ = json.Unmarshal([]byte(b.Policy), &p) // valid JSON, or none
	return p
}

func (p busPolicy) without(sid string) busPolicy {
	p.Statement = slices.DeleteFunc(p.Statement, func(raw json.RawMessage) bool {
		var st struct{ Sid string }
		return json.Unmarshal(raw, &st) == nil && st.Sid == sid
	})
	return p
}

func (b *bus) setPolicy(p busPolicy) error {
	if len(p.Statement) == 0 {
		b.Policy = ""
		return nil
	}
	text, err := json.Marshal(p)
	b.Policy = string(text)
	return err
}

var accountPattern = regexp.MustCompile(`^([0-9]{12}|\*)$`)

// PutPermission implements the operation.
func (s *Service) PutPermission(ctx context.Context, in *eventbridge.PutPermissionInput, _ ...func(*eventbridge.Options)) (*eventbridge.PutPermissionOutput, error) {
	switch {
	case in.Policy != nil && !json.Valid([]byte(*in.Policy)):
		return nil, validation("This policy contains invalid Json")
	case in.Policy != nil:
	case in.StatementId == nil:
		return nil, validation("Parameter StatementId must be specified.")
	case in.Principal == nil:
		return nil, validation("Parameter Principal must be specified.")
	case in.Action == nil:
		return nil, validation("Parameter Action must be specified.")
	case !accountPattern.MatchString(*in.Principal):
		return nil, validation(`1 validation error detected: Value '%s' at 'principal' failed to satisfy constraint: Member must satisfy regular expression pattern: (\d{12}|\*)`, *in.Principal)
	case *in.Action != "events:PutEvents":
		return nil, validation("Provided value in parameter 'action' is not supported.")
	}
	_, err := s.editBus(ctx, busName(in.EventBusName), func(b *bus) error {
		if in.Policy != nil {
			b.Policy = *in.Policy
			return nil
		}
		principal := any(map[string]string{"AWS": awsid.GlobalScope(b.Scope.Partition(), *in.Principal).RootARN()})
		if *in.Principal == "*" {
			principal = "*"
		}
		st := map[string]any{"Sid": *in.StatementId, "Effect": "Allow", "Principal": principal, "Action": *in.Action, "Resource": b.arn()}
		if c := in.Condition; c != nil {
			st["Condition"] = map[string]any{aws.ToString(c.Type): map[string]string{aws.ToString(c.Key): aws.ToString(c.Value)}}
		}
		raw, err := json.Marshal(st)
		if err != nil {
			return err
		}
		p := b.policy().without(*in.StatementId)
		p.Statement = append(p.Statement, raw)
		return b.setPolicy(p)
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.PutPermissionOutput{}, nil
}

// RemovePermission implements the operation.
func (s *Service) RemovePermission(ctx context.Context, in *eventbridge.RemovePermissionInput, _ ...func(*eventbridge.Options)) (*eventbridge.RemovePermissionOutput, error) {
	if in.StatementId == nil && !in.RemoveAllPermissions {
		return nil, validation("Parameter StatementId is required.")
	}
	_, err := s.editBus(ctx, busName(in.EventBusName), func(b *bus) error {
		if in.RemoveAllPermissions {
			b.Policy = ""
			return nil
		}
		p := b.policy()
		n := len(p.Statement)
		if p = p.without(*in.StatementId); len(p.Statement) == n {
			return notFound("Statement with the provided id does not exist.")
		}
		return b.setPolicy(p)
	})
	if err != nil {
		return nil, err
	}
	return &eventbridge.RemovePermissionOutput{}, nil
}
