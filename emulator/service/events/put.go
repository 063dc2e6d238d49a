package events

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	maxEntries = 10
	maxSize    = 1 << 20 // of all entries of a request
)

// envelope is an event as targets and patterns see it, in EventBridge's order.
type envelope struct {
	Version    string          `json:"version"`
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"`
	Source     string          `json:"source"`
	Account    string          `json:"account"`
	Time       string          `json:"time"`
	Region     string          `json:"region"`
	Resources  []string        `json:"resources"`
	Detail     json.RawMessage `json:"detail"`
}

// PutEvents implements the operation: rules are matched and targets have the event
// when it answers.
func (s *Service) PutEvents(ctx context.Context, in *eventbridge.PutEventsInput, _ ...func(*eventbridge.Options)) (*eventbridge.PutEventsOutput, error) {
	switch n := len(in.Entries); {
	case n == 0:
		return nil, validation("1 validation error detected: Value '[]' at 'entries' failed to satisfy constraint: Member must have length greater than or equal to 1")
	case n > maxEntries:
		return nil, validation("1 validation error detected: Value '%s' at 'entries' failed to satisfy constraint: Member must have length less than or equal to 10", showEntries(in.Entries))
	}
	size := 0
	for _, e := range in.Entries {
		size += len(aws.ToString(e.Source)) + len(aws.ToString(e.DetailType)) + len(aws.ToString(e.Detail)) + len(strings.Join(e.Resources, ""))
		if e.Time != nil {
			size += 14
		}
	}
	if size > maxSize {
		return nil, validation("Total size of the entries in the request is over the limit.")
	}
	sc := awsid.CallerFrom(ctx).Scope
	out := &eventbridge.PutEventsOutput{}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		out.Entries, out.FailedEntryCount = nil, 0
		for _, e := range in.Entries {
			if code, msg := checkEntry(e); code != "" {
				out.Entries = append(out.Entries, types.PutEventsResultEntry{ErrorCode: &code, ErrorMessage: &msg})
				out.FailedEntryCount++
				continue
			}
			ev := s.envelope(sc, *e.Source, *e.DetailType, e.Resources, json.RawMessage(*e.Detail))
			if e.Time != nil {
				ev.Time = e.Time.UTC().Format(timeForm)
			}
			if err := s.route(tx, sc, busName(e.EventBusName), ev); err != nil {
				return err
			}
			out.Entries = append(out.Entries, types.PutEventsResultEntry{EventId: aws.String(ev.ID)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

const timeForm = "2006-01-02T15:04:05Z"

func (s *Service) envelope(sc awsid.Scope, source, detailType string, resources []string, detail json.RawMessage) envelope {
	if resources == nil {
		resources = []string{}
	}
	return envelope{
		Version: "0", ID: awsid.NewUUID(), DetailType: detailType, Source: source, Account: sc.Account, Time: s.now().Format(timeForm), Region: sc.Region,
		Resources: resources, Detail: detail,
	}
}

// checkEntry says what is wrong with an entry, which fails alone.
func checkEntry(e types.PutEventsRequestEntry) (code, msg string) {
	for _, m := range []struct {
		name string
		v    *string
	}{{"Source", e.Source}, {"DetailType", e.DetailType}, {"Detail", e.Detail}} {
		if aws.ToString(m.v) == "" {
			return "InvalidArgument", fmt.Sprintf("Parameter %[1]s is not valid. Reason: %[1]s is a required argument.", m.name)
		}
	}
	var object map[string]json.RawMessage
	switch {
	case json.Unmarshal([]byte(*e.Detail), &object) != nil || object == nil:
		return "MalformedDetail", "Detail is malformed."
	case strings.HasPrefix(*e.Source, "aws."):
		return "NotAuthorizedForSourceException", "Not authorized for the source."
	}
	return "", ""
}

// showEntries is how AWS's validation layer shows the entries that it refuses.
func showEntries(entries []types.PutEventsRequestEntry) string {
	null := func(s *string) string {
		if s == nil {
			return "null"
		}
		return *s
	}
	out := make([]string, len(entries))
	for i, e := range entries {
		at, resources := "null", "null"
		if e.Time != nil {
			at = e.Time.UTC().Format(time.UnixDate)
		}
		if e.Resources != nil {
			resources = "[" + strings.Join(e.Resources, ", ") + "]"
		}
		out[i] = fmt.Sprintf("PutEventsRequestEntry(time=%s, source=%s, resources=%s, detailType=%s, detail=%s, eventBusName=%s, traceHeader=%s, kmsKeyIdentifier=null, internalMetadata=null)",
			at, null(e.Source), resources, null(e.DetailType), null(e.Detail), null(e.EventBusName), null(e.TraceHeader))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// Emit puts an event of an AWS service on the default bus, in the transaction in
// which it happens.
func (s *Service) Emit(tx *store.Tx, sc awsid.Scope, source, detailType string, resources []string, detail any) error {
	raw, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("event %s: %w", detailType, err)
	}
	return s.route(tx, sc, defaultBus, s.envelope(sc, source, detailType, resources, raw))
}

// Wanted tells whether any rule of the scope's default bus could be asked about an
// event: without one, whoever emits may save the effort.
func (s *Service) Wanted(sc awsid.Scope) bool {
	return len(rules.ListPrefix(s.store, sc, defaultBus+"/")) > 0
}

// route delivers an event to the targets of the rules that it matches. An event for
// a bus that does not exist is lost, as on AWS.
func (s *Service) route(tx *store.Tx, sc awsid.Scope, on string, ev envelope) error {
	event, err := marshal(ev)
	if err != nil {
		return fmt.Errorf("event %s: %w", ev.DetailType, err)
	}
	for _, r := range rules.ListPrefix(tx, sc, on+"/") {
		if r.Pattern == "" || r.State == types.RuleStateDisabled || len(r.Targets) == 0 {
			continue
		}
		p, err := s.parse(r.Pattern)
		if err != nil || !p.Match(event) {
			continue // it was valid when it was written
		}
		for _, t := range r.Targets {
			s.deliver(tx, r, t, event)
		}
	}
	return nil
}

// marshal writes JSON as EventBridge does: compact, and < > & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// deliver gives a target its event. What cannot be delivered goes to the target's
// dead-letter queue, if it has one. Only queues are targets that exist here.
func (s *Service) deliver(tx *store.Tx, r *rule, t types.Target, event []byte) {
	const sender = "events.amazonaws.com"
	group := ""
	if t.SqsParameters != nil {
		group = aws.ToString(t.SqsParameters.MessageGroupId)
	}
	a, err := awsid.ParseARN(*t.Arn)
	switch {
	case err == nil && a.Service == "sqs" && s.queues != nil:
		err = s.queues.Deliver(tx, *t.Arn, sender, r.message(t, event, s.now()), group)
	case err == nil:
		err = fmt.Errorf("targets of service %q are not emulated", a.Service)
	}
	if err == nil {
		return
	}
	s.log.Warn("events: a target did not get its event", "rule", r.Name, "target", *t.Id, "arn", *t.Arn, "error", err)
	if d := t.DeadLetterConfig; d != nil && d.Arn != nil && s.queues != nil {
		if err := s.queues.Deliver(tx, *d.Arn, sender, string(event), ""); err != nil {
			s.log.Warn("events: nor did its dead-letter queue", "rule", r.Name, "target", *t.Id, "arn", *d.Arn, "error", err)
		}
	}
}
