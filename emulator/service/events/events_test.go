package events

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	eventsapi "github.com/ekslocal/ekslocal/api/events"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

var scope = awsid.Scope{Account: "111122223333", Region: "eu-west-1"}

// delivered is what queues got, by ARN.
type delivered map[string][]string

func (d delivered) Deliver(_ *store.Tx, arn, _, body, _ string) error {
	if strings.HasSuffix(arn, ":none") {
		return errors.New("no such queue")
	}
	d[arn] = append(d[arn], body)
	return nil
}

func queueARN(name string) string { return scope.ARN("sqs", name) }

type fixture struct {
	*Service
	t   *testing.T
	ctx context.Context
	got delivered
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := delivered{}
	ctx := awsid.WithCaller(t.Context(), awsid.Caller{Scope: scope, ARN: "arn:aws:iam::111122223333:root"})
	s := New(Config{Store: st, Clock: clocktesting.NewFakePassiveClock(time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)), Queues: got})
	return &fixture{s, t, ctx, got}
}

func (f *fixture) rule(name, pattern string, targets ...types.Target) {
	f.t.Helper()
	if _, err := f.PutRule(f.ctx, &eventbridge.PutRuleInput{Name: &name, EventPattern: &pattern}); err != nil {
		f.t.Fatal(err)
	}
	if len(targets) == 0 {
		return
	}
	if _, err := f.PutTargets(f.ctx, &eventbridge.PutTargetsInput{Rule: &name, Targets: targets}); err != nil {
		f.t.Fatal(err)
	}
}

func queue(name string) types.Target {
	return types.Target{Id: &name, Arn: aws.String(queueARN(name))}
}

func (f *fixture) put(source, detail string) {
	f.t.Helper()
	out, err := f.PutEvents(f.ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{Source: &source, DetailType: aws.String("T"), Detail: &detail}}})
	if err != nil || out.FailedEntryCount != 0 {
		f.t.Fatal(out, err)
	}
}

func TestDelivery(t *testing.T) {
	f := newFixture(t)
	path, fixed, transformed := queue("path"), queue("fixed"), queue("transformed")
	path.InputPath = aws.String("$.detail.a")
	fixed.Input = aws.String(`{"fixed":true}`)
	transformed.InputTransformer = &types.InputTransformer{
		InputPathsMap: map[string]string{"a": "$.detail.a", "n": "$.detail.n", "type": "$.detail-type", "gone": "$.detail.gone"},
		InputTemplate: aws.String(`{"text": "<type> of <n><gone>", "a": <a>, "rule": <aws.events.rule-name>, "type": <type>}`),
	}
	lost := queue("none")
	lost.DeadLetterConfig = &types.DeadLetterConfig{Arn: aws.String(queueARN("dead"))}
	f.rule("r", `{"source":["mine"]}`, queue("plain"), path, fixed, transformed, lost)
	f.put("other", `{}`)
	f.put("mine", `{"n":3,"a":{"x":"<&>"}}`)
	var event map[string]any
	if len(f.got[queueARN("plain")]) != 1 || json.Unmarshal([]byte(f.got[queueARN("plain")][0]), &event) != nil {
		t.Fatalf("delivered: %v", f.got)
	}
	id, _ := event["id"].(string)
	want := `{"version":"0","id":"` + id + `","detail-type":"T","source":"mine","account":"111122223333","time":"2026-05-01T10:00:00Z","region":"eu-west-1","resources":[],"detail":{"n":3,"a":{"x":"<&>"}}}`
	if d := cmp.Diff(delivered{
		queueARN("plain"): {want}, queueARN("path"): {`{"x":"<&>"}`}, queueARN("fixed"): {`{"fixed":true}`}, queueARN("dead"): {want},
		queueARN("transformed"): {`{"text":"T of 3","a":{"x":"<&>"},"rule":"r","type":"T"}`},
	}, f.got); d != "" {
		t.Errorf("delivered (-want +got):\n%s", d)
	}
	clear(f.got)
	if _, err := f.DisableRule(f.ctx, &eventbridge.DisableRuleInput{Name: aws.String("r")}); err != nil {
		t.Fatal(err)
	}
	f.put("mine", `{}`)
	if len(f.got) != 0 {
		t.Errorf("a disabled rule delivered %v", f.got)
	}
}

// TestTextTemplates: templates that are no JSON objects.
func TestTextTemplates(t *testing.T) {
	r := &rule{Scope: scope, Bus: defaultBus, Name: "r"}
	event := []byte(`{"detail":{"i":"i-1","o":{"k":"v"},"q":"say \"hi\""}}`)
	paths := map[string]string{"i": "$.detail.i", "o": "$.detail.o", "q": "$.detail.q"}
	for template, want := range map[string]string{
		`"instance <i> is <o>"`: `"instance i-1 is {\"k\":\"v\"}"`,
		`instance <i>`:          `instance i-1`,
		`"<q>"`:                 `"say \"hi\""`,
		`[<i>, <o>]`:            `["i-1",{"k":"v"}]`,
		`"a <b"`:                `"a <b"`,
		``:                      ``,
	} {
		if got := r.transform(&types.InputTransformer{InputTemplate: &template, InputPathsMap: paths}, event, time.Time{}); got != want {
			t.Errorf("%s: %s, want %s", template, got, want)
		}
	}
}

func TestEmit(t *testing.T) {
	f := newFixture(t)
	if f.Wanted(scope) {
		t.Error("wanted without a rule")
	}
	f.rule("state", `{"source":["aws.ec2"],"detail":{"state":["running"]}}`, queue("q"))
	err := f.store.Update(f.ctx, func(tx *store.Tx) error {
		return f.Emit(tx, scope, "aws.ec2", "EC2 Instance State-change Notification", []string{"arn"}, map[string]string{"state": "running"})
	})
	if err != nil || len(f.got[queueARN("q")]) != 1 || !f.Wanted(scope) {
		t.Errorf("%v %v", f.got, err)
	}
}

func TestEntries(t *testing.T) {
	f := newFixture(t)
	out, err := f.PutEvents(f.ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{
		{}, {Source: aws.String("s")}, {Source: aws.String("s"), DetailType: aws.String("t"), Detail: aws.String("[]")},
		{Source: aws.String("aws.ec2"), DetailType: aws.String("t"), Detail: aws.String("{}")}, {Source: aws.String("s"), DetailType: aws.String("t"), Detail: aws.String("{}"), EventBusName: aws.String("none")},
	}})
	if err != nil || out.FailedEntryCount != 4 {
		t.Fatal(out, err)
	}
	var codes []string
	for _, e := range out.Entries {
		codes = append(codes, aws.ToString(e.ErrorCode))
	}
	if d := cmp.Diff([]string{"InvalidArgument", "InvalidArgument", "MalformedDetail", "NotAuthorizedForSourceException", ""}, codes); d != "" {
		t.Error(d)
	}
}

func TestSchedules(t *testing.T) {
	for e, want := range map[string]bool{
		"rate(1 minute)": true, "rate(5 minutes)": true, "rate(1 hours)": false, "rate(0 days)": false, "rate(5)": false, "every day": false,
		"cron(0 12 * * ? *)": true, "cron(0 10 ? * MON-FRI *)": true, "cron(0/15 * * * ? *)": true, "cron(0 9 ? * 2#1 *)": true, "cron(0 0 L * ? *)": true,
		"cron(0 1 * * * *)": false, "cron(0 dummy ? * MON-FRI *)": false, "cron(7 20 * * NOT *)": false, "cron(71 8 1 * ? *)": false, "cron(INVALID)": false,
	} {
		if got := validSchedule(e); got != want {
			t.Errorf("%s is valid: %v", e, got)
		}
	}
}

func TestRulesAndBuses(t *testing.T) {
	f := newFixture(t)
	bus, err := f.CreateEventBus(f.ctx, &eventbridge.CreateEventBusInput{Name: aws.String("b"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	if err != nil || *bus.EventBusArn != "arn:aws:events:eu-west-1:111122223333:event-bus/b" {
		t.Fatal(bus, err)
	}
	r, err := f.PutRule(f.ctx, &eventbridge.PutRuleInput{Name: aws.String("r"), EventBusName: bus.EventBusArn, EventPattern: aws.String(`{"source":["x"]}`)})
	if err != nil || *r.RuleArn != "arn:aws:events:eu-west-1:111122223333:rule/b/r" {
		t.Fatal(r, err)
	}
	if _, err := f.TagResource(f.ctx, &eventbridge.TagResourceInput{ResourceARN: r.RuleArn, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}}); err != nil {
		t.Fatal(err)
	}
	for arn, want := range map[string]string{*r.RuleArn: "a", *bus.EventBusArn: "k"} {
		out, err := f.ListTagsForResource(f.ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: &arn})
		if err != nil || len(out.Tags) != 1 || *out.Tags[0].Key != want {
			t.Errorf("tags of %s: %+v %v", arn, out, err)
		}
	}
	list, err := f.ListEventBuses(f.ctx, &eventbridge.ListEventBusesInput{Limit: aws.Int32(1)})
	if err != nil || *list.EventBuses[0].Name != "b" || list.NextToken == nil {
		t.Fatal(list, err)
	}
	if list, err = f.ListEventBuses(f.ctx, &eventbridge.ListEventBusesInput{Limit: aws.Int32(1), NextToken: list.NextToken}); err != nil || *list.EventBuses[0].Name != "default" || list.NextToken != nil {
		t.Error(list, err)
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	f.rule("r", `{"source":["x"]}`, queue("a"), queue("b"), queue("c"), queue("d"), queue("e"))
	if _, err := f.CreateEventBus(f.ctx, &eventbridge.CreateEventBusInput{Name: aws.String("bus")}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutRule(f.ctx, &eventbridge.PutRuleInput{Name: aws.String("onbus"), EventBusName: aws.String("bus"), EventPattern: aws.String(`{"source":["x"]}`)}); err != nil {
		t.Fatal(err)
	}
	refusal.Run(f.ctx, t, eventsapi.Model(), f.Service, map[string]string{"long": strings.Repeat("a", 65), "mib": strings.Repeat("m", maxSize)})
}

func FuzzInput(f *testing.F) {
	f.Add("$.detail.a[0]['x-y']", `{"a":"<v>"} <v>`, `{"detail":{"a":[{"x-y":"1"}]}}`)
	f.Add("$", `"`, `[]`)
	f.Fuzz(func(_ *testing.T, path, template, event string) {
		r := &rule{Scope: scope, Bus: defaultBus, Name: "r"}
		if _, err := parsePath(path); err == nil {
			r.transform(&types.InputTransformer{InputTemplate: &template, InputPathsMap: map[string]string{"v": path}}, []byte(event), time.Time{})
		}
	})
}
