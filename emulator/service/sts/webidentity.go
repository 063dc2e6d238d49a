package sts

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// AssumeRoleWithWebIdentity implements the operation. It is not signed: the
// token is the caller, the role's account the account.
func (s *Service) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	a := assumption{in.RoleArn, in.RoleSessionName, in.DurationSeconds, in.Policy, in.PolicyArns, maxPolicy}
	var c checks
	a.check(&c)
	c.Required("webIdentityToken", in.WebIdentityToken, 4, 20000)
	c.Length("providerId", in.ProviderId, 4, 2048)
	if err := c.err(); err != nil {
		return nil, err
	}
	arn, err := awsid.ParseARN(*in.RoleArn)
	if err != nil || arn.Service != "iam" || !strings.HasPrefix(arn.Resource, "role/") {
		return nil, validationError("Request ARN is invalid")
	}
	token, provider, err := s.identify(ctx, arn.Scope(), *in.WebIdentityToken)
	if err != nil {
		return nil, err
	}
	refusal := denied("Not authorized to perform sts:AssumeRoleWithWebIdentity")
	role, ok := s.role(ctx, *in.RoleArn)
	if !ok {
		return nil, refusal
	}
	v, err := s.newSession(role, a)
	if err != nil {
		return nil, err
	}
	v.Provider, v.SourceIdentity = provider.ARN, token.claims.SourceIdentity
	v.Tags, v.Transitive = token.claims.Tags.principal(), token.claims.Tags.transitive()
	if err := s.trusts(ctx, awsid.CallerFrom(ctx), role, v.ask(s.webQuestion(role, token, provider), *in.RoleSessionName, v.Tags, nil), v.actions("sts:AssumeRoleWithWebIdentity", v.Tags)...); err != nil {
		return nil, refusal
	}
	packed, err := packedSize(v)
	if err != nil {
		return nil, err
	}
	life, err := lifetime(role, in.DurationSeconds, false)
	if err != nil {
		return nil, err
	}
	creds, err := s.issue(ctx, v, life)
	if err != nil {
		return nil, err
	}
	return &sts.AssumeRoleWithWebIdentityOutput{
		Credentials: creds, AssumedRoleUser: v.user(), PackedPolicySize: packed, Provider: &provider.ARN,
		SubjectFromWebIdentityToken: aws.String(token.claims.Subject), Audience: aws.String(token.client()), SourceIdentity: optional(v.SourceIdentity),
	}, nil
}

// client is the token's audience, the authorized party where there is one.
func (t jwt) client() string {
	if t.claims.Party != "" {
		return t.claims.Party
	}
	if len(t.claims.Audience) > 0 {
		return t.claims.Audience[0]
	}
	return ""
}

func invalidToken(msg string) error { return &types.InvalidIdentityTokenException{Message: &msg} }

// identify verifies a token against the account's identity provider.
func (s *Service) identify(ctx context.Context, account awsid.Scope, raw string) (jwt, policy.OIDCProvider, error) {
	fail := func(err error) (jwt, policy.OIDCProvider, error) { return jwt{}, policy.OIDCProvider{}, err }
	t, err := parseJWT(raw)
	if err != nil || t.claims.Issuer == "" {
		return fail(invalidToken("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"))
	}
	if t.claims.Subject == "" {
		return fail(invalidToken("Missing a required claim: sub"))
	}
	if len(t.claims.Audience) == 0 {
		return fail(invalidToken("Missing a required claim: aud"))
	}
	provider, ok := s.iam.OIDCProvider(ctx, account, t.claims.Issuer)
	if !ok {
		return fail(invalidToken("No OpenIDConnect provider found in your account for " + t.claims.Issuer))
	}
	if s.keys == nil {
		return fail(invalidToken("Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"))
	}
	keys, err := s.keys.SigningKeys(ctx, t.claims.Issuer)
	if err != nil {
		return fail(&types.IDPCommunicationErrorException{Message: aws.String("Couldn't retrieve verification key from your identity provider: " + err.Error())})
	}
	if !t.verify(keys) {
		return fail(invalidToken("Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"))
	}
	if err := s.current(t); err != nil {
		return fail(err)
	}
	if !slices.ContainsFunc(t.claims.Audience, func(aud string) bool { return slices.Contains(provider.ClientIDs, aud) }) &&
		!slices.Contains(provider.ClientIDs, t.claims.Party) {
		return fail(invalidToken("Incorrect token audience"))
	}
	return t, provider, nil
}

// current checks the token's times.
func (s *Service) current(t jwt) error {
	now := s.clock.Now()
	exp, ok := numericDate(t.claims.Expires.String())
	if !ok {
		return invalidToken("Missing a required claim: exp")
	}
	if !now.Before(exp) {
		return &types.ExpiredTokenException{Message: aws.String(fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d", now.Unix(), exp.Unix()))}
	}
	if nbf, ok := numericDate(t.claims.NotYet.String()); ok && now.Add(5*time.Minute).Before(nbf) {
		return invalidToken("Token is not yet valid")
	}
	return nil
}

// numericDate reads a JWT's time: seconds since 1970, with or without fraction.
func numericDate(s string) (time.Time, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != f || f < 0 || f > 1e12 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0), true
}

// webQuestion is the request to the role's trust policy. Condition keys are the
// provider's URL, which may hold a port, and the claim after a last colon.
func (s *Service) webQuestion(role policy.Role, t jwt, p policy.OIDCProvider) policy.Request {
	prefix := strings.ToLower(p.Issuer) + ":"
	c := map[string][]string{
		"aws:federatedprovider": {p.ARN},
		"aws:resourceaccount":   {role.Account},
		prefix + "sub":          {t.claims.Subject},
		prefix + "aud":          {t.client()},
	}
	policy.Call{Time: s.clock.Now()}.AddTo(c)
	policy.AddResourceTags(c, role.Tags)
	if t.claims.Party != "" {
		c[prefix+"azp"] = []string{t.claims.Party}
		c[prefix+"oaud"] = t.claims.Audience
	} else if len(t.claims.Audience) > 1 {
		c[prefix+"aud"] = t.claims.Audience
	}
	return policy.Request{Principal: policy.Principal{Federated: p.ARN}, Resource: role.ARN, Context: c}
}
