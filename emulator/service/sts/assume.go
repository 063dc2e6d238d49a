package sts

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

const chainedLimit = time.Hour

// AssumeRole implements the operation. The role's trust policy and the caller's own
// policies decide together, for each may make the other unnecessary.
//
// Unlike AWS the root of an account may assume roles: it is what `test`/`test`
// is, and the trust policy is asked all the same.
func (s *Service) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput, _ ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	a := assumption{in.RoleArn, in.RoleSessionName, in.DurationSeconds, in.Policy, in.PolicyArns, noLimit}
	var c checks
	a.check(&c)
	c.Length("externalId", in.ExternalId, 2, 1224)
	c.Pattern("externalId", in.ExternalId, externalPattern, `[\w+=,.@:\/-]*`)
	c.Length("sourceIdentity", in.SourceIdentity, 2, 64)
	c.Pattern("sourceIdentity", in.SourceIdentity, wordPattern, `[\w+=,.@-]*`)
	c.mfa(in.SerialNumber, in.TokenCode)
	c.tags(in.Tags, in.TransitiveTagKeys)
	if err := c.err(); err != nil {
		return nil, err
	}
	if !arnPattern.MatchString(*in.RoleArn) {
		return nil, validationError(*in.RoleArn + " is invalid")
	}
	caller := awsid.CallerFrom(ctx)
	mfa, err := s.checkMFA(ctx, caller, in.SerialNumber, in.TokenCode)
	if err != nil {
		return nil, err
	}
	role, ok := s.role(ctx, *in.RoleArn)
	if !ok || !inPartition(*in.RoleArn, caller.Partition()) {
		return nil, notAuthorized(caller.ARN, "sts:AssumeRole", *in.RoleArn)
	}
	parent := s.sessionOf(caller)
	v, err := s.newSession(role, a, "AssumeRole", caller.ARN)
	if err != nil {
		return nil, err
	}
	if err := v.tag(in.Tags, in.TransitiveTagKeys, parent); err != nil {
		return nil, err
	}
	// Once set it stays for the whole chain, and every role of the chain has to trust
	// in it ("Monitor and control actions taken with assumed roles", source identity).
	v.SourceIdentity = aws.ToString(in.SourceIdentity)
	if parent != nil && parent.SourceIdentity != "" {
		if in.SourceIdentity != nil && v.SourceIdentity != parent.SourceIdentity {
			return nil, notAuthorized(caller.ARN, "sts:SetSourceIdentity", role.ARN)
		}
		v.SourceIdentity = parent.SourceIdentity
	}
	r := s.question(ctx, caller, role)
	if mfa {
		// It counts here and is not passed on: the role's credentials have no MFA
		// ("Configuring MFA-protected API access").
		r.Context["aws:multifactorauthpresent"], r.Context["aws:multifactorauthage"] = []string{"true"}, []string{"0"}
	}
	set(r.Context, "sts:externalid", aws.ToString(in.ExternalId))
	requested := map[string]string{}
	for _, t := range in.Tags {
		requested[*t.Key] = *t.Value
	}
	if err := s.trusts(ctx, caller, role, v.ask(r, *in.RoleSessionName, requested, parent), v.actions("sts:AssumeRole", requested)...); err != nil {
		return nil, err
	}
	life, err := lifetime(role, in.DurationSeconds, parent != nil && parent.RoleARN != "")
	if err != nil {
		return nil, err
	}
	packed, err := packedSize(v)
	if err != nil {
		return nil, err
	}
	creds, err := s.issue(ctx, v, life)
	if err != nil {
		return nil, err
	}
	return &sts.AssumeRoleOutput{
		Credentials: creds, AssumedRoleUser: v.user(), PackedPolicySize: packed, SourceIdentity: optional(v.SourceIdentity),
	}, nil
}

// role finds a role by the ARN of a request.
func (s *Service) role(ctx context.Context, arn string) (policy.Role, bool) {
	a, err := awsid.ParseARN(arn)
	if err != nil || a.Service != "iam" {
		return policy.Role{}, false
	}
	return s.iam.RoleByARN(ctx, a.Scope(), arn)
}

// inPartition tells whether credentials of the partition are good for what arn
// names: no trust reaches from one partition into another.
func inPartition(arn, partition string) bool {
	a, err := awsid.ParseARN(arn)
	return err == nil && a.Partition == partition
}

// newSession makes a session of a role that nobody has been allowed yet.
func (s *Service) newSession(role policy.Role, a assumption, operation, by string) (*session, error) {
	home, err := awsid.ParseARN(role.ARN)
	if err != nil {
		return nil, fmt.Errorf("role %s: %w", role.Name, err)
	}
	doc, arns, err := a.sessionPolicies(home.Partition)
	if err != nil {
		return nil, err
	}
	return &session{
		Account: role.Account, RoleARN: role.ARN, Policy: doc, PolicyARNs: arns, Operation: operation, By: by,
		ARN:    home.Scope().ARN("sts", "assumed-role/"+role.Name+"/"+*a.sessionName),
		UserID: role.ID + ":" + *a.sessionName,
	}, nil
}

func (v *session) user() *types.AssumedRoleUser {
	return &types.AssumedRoleUser{Arn: &v.ARN, AssumedRoleId: &v.UserID}
}

// tag gives the session its own tags and the transitive ones of the session
// that asks, which it cannot replace.
func (v *session) tag(tags []types.Tag, transitive []string, parent *session) error {
	v.Tags = map[string]string{}
	if parent != nil {
		for _, k := range parent.Transitive {
			v.Tags[k] = parent.Tags[k]
			v.Transitive = append(v.Transitive, k)
		}
	}
	seen := map[string]bool{}
	for _, t := range tags {
		low := strings.ToLower(*t.Key)
		if seen[low] {
			return invalidParameter("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[low] = true
		if slices.ContainsFunc(v.Transitive, func(k string) bool { return strings.EqualFold(k, low) }) {
			return invalidParameter("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
		v.Tags[*t.Key] = *t.Value
	}
	for _, k := range transitive {
		if !seen[strings.ToLower(k)] {
			return invalidParameter("The specified transitive tag key must be included in the requested tags.")
		}
		v.Transitive = append(v.Transitive, k)
	}
	return nil
}

// actions are those that a role's trust policy has to allow for the session.
func (v *session) actions(assume string, requested map[string]string) []string {
	out := []string{assume}
	if len(requested) > 0 {
		out = append(out, "sts:TagSession")
	}
	if v.SourceIdentity != "" {
		out = append(out, "sts:SetSourceIdentity")
	}
	return out
}

// question is the request of a caller with credentials to a role's trust policy.
func (s *Service) question(ctx context.Context, caller awsid.Caller, role policy.Role) policy.Request {
	who, _ := s.Subject(ctx, caller)
	c := who.Keys()
	policy.Call{Time: s.clock.Now(), SourceIP: caller.SourceIP, UserAgent: caller.UserAgent, Region: caller.Region}.AddTo(c)
	c["aws:resourceaccount"] = []string{role.Account}
	policy.AddResourceTags(c, role.Tags)
	return policy.Request{Principal: who.Principal, Resource: role.ARN, Context: c}
}

// ask adds to r what the session is asked to be.
func (v *session) ask(r policy.Request, name string, requested map[string]string, parent *session) policy.Request {
	set(r.Context, "sts:rolesessionname", name)
	set(r.Context, "sts:sourceidentity", v.SourceIdentity)
	policy.AddRequestTags(r.Context, requested)
	if len(v.Transitive) > 0 {
		r.Context["sts:transitivetagkeys"] = v.Transitive
	}
	if parent != nil {
		// Inherited tags stand in for those of the role ("Passing session tags in AWS
		// STS", chaining roles).
		inherited := map[string]string{}
		for _, k := range parent.Transitive {
			inherited[k] = parent.Tags[k]
		}
		policy.AddResourceTags(r.Context, inherited)
	}
	return r
}

func set(c map[string][]string, key, v string) {
	if v != "" {
		c[key] = []string{v}
	}
}

func optional(v string) *string {
	if v == "" {
		return nil
	}
	return &v
}

// trusts asks about each action: the role's trust policy and, of a caller with
// policies of its own, these.
func (s *Service) trusts(ctx context.Context, caller awsid.Caller, role policy.Role, r policy.Request, actions ...string) error {
	doc, err := s.parsed.Parse(role.Trust)
	trust := policy.Policy{Name: "trust policy", ARN: role.ARN, Document: doc}
	for _, a := range actions {
		r.Action = a
		if err != nil || !s.gate.Judge(ctx, caller, trust, role.Account, r) {
			return notAuthorized(principalName(r.Principal), a, role.ARN)
		}
	}
	return nil
}

func principalName(p policy.Principal) string {
	if p.Service != "" {
		return p.Service
	}
	return p.ARN
}

// lifetime is how long the session lasts.
func lifetime(role policy.Role, asked *int32, chained bool) (time.Duration, error) {
	if asked == nil {
		return time.Hour, nil
	}
	life := time.Duration(*asked) * time.Second
	if chained && life > chainedLimit {
		return 0, validationError("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	if life > role.MaxSession {
		return 0, validationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return life, nil
}
