package sts

import (
	"context"
	"maps"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

const everything = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`

// sessionOf is the session that the caller's temporary credentials are of, or nil.
func (s *Service) sessionOf(caller awsid.Caller) *session {
	if caller.AccessKeyID == "" {
		return nil
	}
	v := sessions.Get(s.store, sessionScope, caller.AccessKeyID)
	if v == nil || v.ARN != caller.ARN {
		return nil
	}
	return v
}

// Subject is who a caller is to policies: the principal with its tags and with what
// its session carries. It reports false if there is no such user or role any more.
func (s *Service) Subject(ctx context.Context, caller awsid.Caller) (policy.Subject, bool) {
	who, _, ok := s.stand(ctx, caller)
	return who, ok
}

// Standing is who a caller is, and the policies of its own that its requests are
// judged by: those of the user with its groups or of the role, the boundary, and the
// session's. It reports false if there is no such user or role any more.
func (s *Service) Standing(ctx context.Context, caller awsid.Caller) (policy.Subject, policy.Policies, bool) {
	who, e, ok := s.stand(ctx, caller)
	p := policy.Policies{Identity: e.Policies, Boundary: e.Boundary}
	if v := s.sessionOf(caller); v != nil && (v.Policy != "" || len(v.PolicyARNs) > 0 || v.UserARN != "") {
		p.Session = s.iam.ManagedPolicies(v.scope(), v.PolicyARNs...)
		if v.Policy != "" {
			d, err := s.parsed.Parse(v.Policy)
			if err != nil { // it was checked: allow nothing rather than everything
				s.log.Error("sts: a session's policy cannot be read", "session", v.ARN, "error", err)
			} else {
				p.Session = append(p.Session, policy.Policy{Name: "session policy", ARN: v.ARN, Document: d})
			}
		}
	}
	return who, p, ok
}

func (s *Service) stand(ctx context.Context, caller awsid.Caller) (who policy.Subject, e policy.Entity, ok bool) {
	who = policy.Subject{Principal: policy.Principal{ARN: caller.ARN, UserID: caller.UserID, Account: caller.Account}}
	a, err := awsid.ParseARN(caller.ARN)
	if err != nil {
		return who, e, false
	}
	switch kind, rest, _ := strings.Cut(a.Resource, "/"); kind {
	case "root":
		ok = true
	case "user":
		e, ok = s.iam.Entity(ctx, caller.Scope, caller.ARN)
	case "federated-user":
		v := s.sessionOf(caller)
		if v == nil {
			return who, e, false
		}
		if v.UserARN == caller.RootARN() {
			// Nobody allows the root anything: its session may do what its own policies say.
			d, err := s.parsed.Parse(everything)
			if err != nil {
				return who, e, false
			}
			e.Policies, ok = []policy.Policy{{Name: "root of the account", Document: d}}, true
			break
		}
		e, ok = s.iam.Entity(ctx, caller.Scope, v.UserARN)
	case "assumed-role":
		name, _, _ := strings.Cut(rest, "/")
		var role policy.Role
		if role, ok = s.iam.Role(ctx, caller.Scope, name); ok {
			who.RoleARN = role.ARN
			e, ok = s.iam.Entity(ctx, caller.Scope, role.ARN)
		}
		// A role that was made again under its name is not the one of the session.
		if id, _, _ := strings.Cut(caller.UserID, ":"); ok && strings.HasPrefix(id, "AROA") && id != role.ID {
			who.RoleARN = ""
			return who, policy.Entity{}, false
		}
	}
	who.Tags = map[string]string{}
	maps.Copy(who.Tags, e.Tags)
	if v := s.sessionOf(caller); v != nil {
		// Tag keys have no case: a session's tag replaces the role's of any.
		for k := range v.Tags {
			maps.DeleteFunc(who.Tags, func(own, _ string) bool { return strings.EqualFold(own, k) })
		}
		maps.Copy(who.Tags, v.Tags)
		who.SourceIdentity, who.Provider, who.Issued, who.MFA = v.SourceIdentity, v.Provider, v.Issued, v.MFA
	}
	return who, e, ok
}
