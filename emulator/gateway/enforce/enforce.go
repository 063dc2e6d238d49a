// Package enforce holds AWS calls to the IAM policies of who makes them, and remembers
// what was decided.
package enforce

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/gateway/authorize"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
)

// Mode is what becomes of calls that IAM would refuse.
type Mode string

// The modes.
const (
	Enforce Mode = "enforce" // they are refused
	Audit   Mode = "audit"   // they are logged and let through
	Off     Mode = "off"     // nobody asks
)

// ParseMode reads a mode; empty is Enforce.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return Enforce, nil
	case Enforce, Audit, Off:
		return m, nil
	}
	return "", fmt.Errorf("--iam can be enforce, audit or off, not %q", s)
}

// Callers knows who callers are.
type Callers interface {
	// Standing is the caller with the policies of its own. It reports false if there is
	// no such user or role any more.
	Standing(ctx context.Context, caller awsid.Caller) (policy.Subject, policy.Policies, bool)
	// Refuse answers an error for what the caller's kind of credentials is not good for,
	// whatever policies say.
	Refuse(caller awsid.Caller, service, operation string) error
}

// Directory knows the resources of one service.
type Directory interface {
	// FullARN completes the name that a request has for a resource to the ARN that it
	// has in policies, or answers "".
	FullARN(sc awsid.Scope, resource string) string
	// PolicyResource is what a resource tells policies. It reports false for what is
	// not there.
	PolicyResource(arn awsid.ARN) (policy.Resource, bool)
}

// Config is what a Gate is made from. All must be set.
type Config struct {
	Mode    Mode
	Callers Callers
	// Directory finds the one of a service, by IAM's name of it. The resources of a
	// service without one, nil, tell nothing.
	Directory func(service string) Directory
	// Hosts are the names that the endpoint is reached by: S3's buckets may be before
	// one of them.
	Hosts []string
	Clock clock.PassiveClock
	Log   *slog.Logger
}

// Gate decides about AWS calls. It implements gateway.Authorizer.
type Gate struct {
	Config
	trace *trace
}

// New returns a gate.
func New(c Config) *Gate { return &Gate{Config: c, trace: newTrace(remembered)} }

// guarded are the services whose resources have policies that can deny something even
// to the root of their account.
var guarded = map[string]bool{"kms": true, "sqs": true}

// Authorize implements gateway.Authorizer.
func (g *Gate) Authorize(ctx context.Context, c gateway.Call) error {
	switch {
	case g.Mode == Off:
		return nil
	case c.Caller.ARN == "":
		return nil // unsigned: the operation finds out by its token
	}
	if err := g.Callers.Refuse(c.Caller, c.Service, c.Operation); err != nil && g.Mode == Enforce {
		return err
	}
	if c.Caller.IsRoot() && !guarded[c.Service] {
		return nil
	}
	who, standing, ok := g.Callers.Standing(ctx, c.Caller)
	if !ok {
		return g.gone(ctx, c)
	}
	if authorize.Itself(c.Service, c.Operation) {
		return nil // see Judge
	}
	q := question{gate: g, call: c, who: who, standing: standing, base: g.base(who, c.Caller)}
	return q.ask(ctx, g.checks(c))
}

// AuthorizeForeign implements gateway.ForeignAuthorizer for requests of S3.
func (g *Gate) AuthorizeForeign(ctx context.Context, caller awsid.Caller, service string, r *http.Request) error {
	if g.Mode == Off || service != "s3" {
		return nil
	}
	checks := authorize.S3Checks(r, caller.Partition(), g.Hosts)
	c := gateway.Call{Service: service, Caller: caller, Operation: strings.TrimPrefix(checks[0].Action, "s3:")}
	who, standing, ok := g.Callers.Standing(ctx, caller)
	if !ok {
		return g.gone(ctx, c)
	}
	q := question{gate: g, call: c, who: who, standing: standing, base: g.base(who, caller)}
	return q.ask(ctx, checks)
}

// ask goes through the checks of a call; its error is the first refusal.
func (q *question) ask(ctx context.Context, checks []authorize.Check) error {
	g, c := q.gate, q.call
	var refusal error
	for _, check := range checks {
		// A request that needs several permissions is asked about all of them: whoever
		// reads the trace wants to grant them at once.
		d := q.decide(check)
		passes := q.passes(&d)
		g.record(c, &q.policies, &d, passes)
		if !passes && refusal == nil {
			refusal = g.refuse(ctx, c, &d)
		}
	}
	return refusal
}

// gone is about a caller whose user or role was deleted: AWS knows its credentials no
// more.
func (g *Gate) gone(ctx context.Context, c gateway.Call) error {
	if g.Mode == Audit {
		g.Log.WarnContext(ctx, "IAM would refuse", "caller", c.Caller.ARN, "operation", c.Service+":"+c.Operation, "reason", "the user or role is gone")
		return nil
	}
	return &sigv4.Error{Code: sigv4.CodeUnknownKey, Message: "The security token included in the request is invalid."}
}

// base are the condition keys of every check of a call.
func (g *Gate) base(who policy.Subject, caller awsid.Caller) map[string][]string {
	keys := who.Keys()
	policy.Call{Time: g.Clock.Now(), SourceIP: caller.SourceIP, UserAgent: caller.UserAgent, Region: caller.Region}.AddTo(keys)
	keys["aws:viaawsservice"] = []string{"false"}
	return keys
}

// checks are the questions of a call.
func (g *Gate) checks(c gateway.Call) []authorize.Check {
	if c.Service == "ec2" && c.Operation == "RunInstances" {
		return g.launches(c)
	}
	checks := authorize.Checks(c.Service, c.Operation, c.Caller, c.Input, names(g.Directory))
	switch {
	case c.Service == "kms":
		g.findCiphertext(c, checks)
	case c.Service == "ec2" && c.Operation == "CreateFleet":
		checks = append(checks, g.launches(c)...)
	}
	return checks
}

// question is a call on its way through its checks.
type question struct {
	gate     *Gate
	call     gateway.Call
	who      policy.Subject
	standing policy.Policies
	policies policy.Policies // of the last check
	base     map[string][]string
}

// decide answers one check.
func (q *question) decide(check authorize.Check) policy.Decision {
	q.policies = q.standing
	keys := maps.Clone(q.base)
	service, _, _ := strings.Cut(check.Action, ":")
	if a, err := awsid.ParseARN(check.Resource); err == nil {
		if isAccount(a.Account) {
			keys["aws:resourceaccount"] = []string{a.Account}
			// Roles are passed by their own account's policies: services refuse others.
			if check.Action != "iam:PassRole" && a.Account != q.call.Caller.Account {
				q.policies.Owner = a.Account
			}
		}
		if a.Account == "" { // EC2's images and snapshots
			a.Account = q.call.Caller.Account
		}
		// AWS advises against conditions on the tags of a role that is passed: they are
		// not there reliably ("Grant a user permissions to pass a role").
		if check.Action != "iam:PassRole" {
			q.describe(keys, service, a)
		}
	}
	if service == "kms" && q.call.Service != "kms" {
		keys["kms:viaservice"] = []string{q.call.Service + "." + q.call.Caller.Region + "." + q.call.Caller.DNSSuffix()}
		keys["kms:grantisforawsresource"] = []string{"true"}
	}
	if service == "ec2" {
		keys["ec2:region"] = []string{q.call.Caller.Region}
	}
	maps.Copy(keys, check.Keys)
	return q.policies.Decide(policy.Request{Principal: q.who.Principal, Action: check.Action, Resource: check.Resource, Context: keys})
}

// tagPrefixes are the services that have a condition key of their own for the tags of
// a resource, besides aws:ResourceTag.
var tagPrefixes = map[string]string{
	"ec2": "ec2:resourcetag/", "iam": "iam:resourcetag/", "ssm": "ssm:resourcetag/", "autoscaling": "autoscaling:resourcetag/",
	"elasticloadbalancing": "elasticloadbalancing:resourcetag/",
}

// describe adds what the resource tells.
func (q *question) describe(keys map[string][]string, service string, a awsid.ARN) {
	d := q.gate.Directory(service)
	if d == nil {
		return
	}
	r, ok := d.PolicyResource(a)
	if !ok {
		return
	}
	maps.Copy(keys, r.Keys)
	policy.AddResourceTags(keys, r.Tags)
	if prefix := tagPrefixes[service]; prefix != "" {
		for k, v := range r.Tags {
			keys[prefix+strings.ToLower(k)] = []string{v}
		}
	}
	if service == "kms" {
		keys["kms:calleraccount"] = []string{q.call.Caller.Account}
	}
	q.policies.Resource, q.policies.ByResource = r.Policies, r.ByResource
}

// passes tells whether the call may go on. The account's root needs nobody's
// permission; a resource's policy may deny it something all the same.
func (q *question) passes(d *policy.Decision) bool {
	if q.call.Caller.IsRoot() && !d.CrossAccount {
		return d.Outcome != policy.Denied
	}
	return d.Allowed()
}

func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// names finds ARNs in the directories.
type names func(service string) Directory

// ARN implements authorize.Names.
func (n names) ARN(sc awsid.Scope, service, resource string) string {
	if d := n(service); d != nil {
		return d.FullARN(sc, resource)
	}
	return ""
}

// Judge decides about a request for a session of a role: of a caller with credentials,
// by its policies and the role's trust policy together. It is asked by STS, which alone
// knows whether a token is good and what the session would carry. Without enforcement
// the trust policy counts all the same: it is part of how roles work.
func (g *Gate) Judge(ctx context.Context, caller awsid.Caller, trust policy.Policy, owner string, r policy.Request) bool {
	alone := trust.Evaluate(r) == policy.Allowed
	if g.Mode == Off {
		return alone
	}
	p := policy.Policies{Trust: true, ByResource: true}
	if r.Principal.Service == "" && r.Principal.Federated == "" {
		_, standing, ok := g.Callers.Standing(ctx, caller)
		if !ok && g.Mode == Enforce {
			return false
		}
		p.Identity, p.Boundary, p.Session = standing.Identity, standing.Boundary, standing.Session
		p.Owner = owner
	}
	p.Resource = []policy.Policy{trust}
	d := p.Decide(r)
	c := gateway.Call{Service: "sts", Operation: strings.TrimPrefix(r.Action, "sts:"), Caller: caller}
	g.record(c, &p, &d, d.Allowed())
	if d.Allowed() || g.Mode == Enforce {
		return d.Allowed()
	}
	if alone {
		g.warn(ctx, c, &d)
	}
	return alone
}

func (g *Gate) record(c gateway.Call, p *policy.Policies, d *policy.Decision, allowed bool) {
	e := Entry{
		Time: g.Clock.Now(), RequestID: c.Caller.RequestID, Operation: authorize.Prefix(c.Service) + ":" + c.Operation, Decision: *d,
		Allowed: allowed, LetThrough: !allowed && g.Mode == Audit,
	}
	if !allowed && d.Outcome != policy.Denied {
		e.NearMisses = p.NearMisses(d.Request)
		e.NearMisses = slices.DeleteFunc(e.NearMisses, func(m policy.NearMiss) bool { return !slices.Contains(d.Missing, m.Layer) })
	}
	g.trace.add(e)
}
