package sts

import (
	"context"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/jwt"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// WebIdentity is what AssumeRoleWithWebIdentity saw of a request, for whoever wants to
// know why it was refused: AWS's answer is the same for most reasons. Fields are empty
// from where it stopped.
type WebIdentity struct {
	Issuer, Subject string
	Audience        []string
	Provider        *policy.OIDCProvider // nil: the account has none of the issuer
	Role            *policy.Role         // nil: there is no such role
	// NearMisses are the statements of the trust policy that a condition kept from
	// allowing the request.
	NearMisses []policy.NearMiss
}

// ExplainWebIdentity looks at a request again.
func (s *Service) ExplainWebIdentity(ctx context.Context, roleARN, raw string) (w WebIdentity) {
	var c claims
	t, err := jwt.Parse(raw)
	if err != nil || t.Claims(&c) != nil {
		return w
	}
	w.Issuer, w.Subject, w.Audience = c.Issuer, c.Subject, c.Audience
	a, err := awsid.ParseARN(roleARN)
	if err != nil {
		return w
	}
	p, ok := s.iam.OIDCProvider(ctx, a.Scope(), c.Issuer)
	if !ok {
		return w
	}
	w.Provider = &p
	role, ok := s.role(ctx, roleARN)
	if !ok {
		return w
	}
	w.Role = &role
	if doc, err := s.parsed.Parse(role.Trust); err == nil {
		r := s.webQuestion(role, c, p)
		r.Action = "sts:AssumeRoleWithWebIdentity"
		trust := policy.Policies{Resource: []policy.Policy{{Name: "trust policy", ARN: role.ARN, Document: doc}}, Trust: true, ByResource: true}
		w.NearMisses = trust.NearMisses(r)
	}
	return w
}
