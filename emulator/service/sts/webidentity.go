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
	"github.com/ekslocal/ekslocal/emulator/jwt"
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
	v, err := s.newSession(role, a, "AssumeRoleWithWebIdentity", token.Subject)
	if err != nil {
		return nil, err
	}
	v.Provider, v.SourceIdentity = provider.ARN, token.SourceIdentity
	v.Tags, v.Transitive = token.Tags.principal(), token.Tags.transitive()
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
		SubjectFromWebIdentityToken: aws.String(token.Subject), Audience: aws.String(token.client()), SourceIdentity: optional(v.SourceIdentity),
	}, nil
}

func invalidToken(msg string) error { return &types.InvalidIdentityTokenException{Message: &msg} }

// identify verifies a token against the account's identity provider.
func (s *Service) identify(ctx context.Context, account awsid.Scope, raw string) (claims, policy.OIDCProvider, error) {
	fail := func(err error) (claims, policy.OIDCProvider, error) { return claims{}, policy.OIDCProvider{}, err }
	var c claims
	t, err := jwt.Parse(raw)
	if err == nil {
		err = t.Claims(&c)
	}
	if err != nil || c.Issuer == "" {
		return fail(invalidToken("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"))
	}
	if c.Subject == "" {
		return fail(invalidToken("Missing a required claim: sub"))
	}
	if len(c.Audience) == 0 {
		return fail(invalidToken("Missing a required claim: aud"))
	}
	provider, ok := s.iam.OIDCProvider(ctx, account, c.Issuer)
	if !ok {
		return fail(invalidToken("No OpenIDConnect provider found in your account for " + c.Issuer))
	}
	if s.keys == nil {
		return fail(invalidToken("Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"))
	}
	keys, err := s.keys.SigningKeys(ctx, c.Issuer)
	if err != nil {
		return fail(&types.IDPCommunicationErrorException{Message: aws.String("Couldn't retrieve verification key from your identity provider: " + err.Error())})
	}
	if !t.Verify(keys) {
		return fail(invalidToken("Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"))
	}
	if err := s.current(c); err != nil {
		return fail(err)
	}
	if !slices.ContainsFunc(c.Audience, func(aud string) bool { return slices.Contains(provider.ClientIDs, aud) }) &&
		!slices.Contains(provider.ClientIDs, c.Party) {
		return fail(invalidToken("Incorrect token audience"))
	}
	return c, provider, nil
}

// current checks the token's times.
func (s *Service) current(c claims) error {
	now := s.clock.Now()
	exp, ok := jwt.Time(c.Expires)
	if !ok {
		return invalidToken("Missing a required claim: exp")
	}
	if !now.Before(exp) {
		return &types.ExpiredTokenException{Message: aws.String(fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d", now.Unix(), exp.Unix()))}
	}
	if nbf, ok := jwt.Time(c.NotYet); ok && now.Add(5*time.Minute).Before(nbf) {
		return invalidToken("Token is not yet valid")
	}
	return nil
}

// webQuestion is the request to the role's trust policy. Condition keys are the
// provider's URL, which may hold a port, and the claim after a last colon.
func (s *Service) webQuestion(role policy.Role, token claims, p policy.OIDCProvider) policy.Request {
	prefix := strings.ToLower(p.Issuer) + ":"
	c := map[string][]string{
		"aws:federatedprovider": {p.ARN},
		"aws:resourceaccount":   {role.Account},
		prefix + "sub":          {token.Subject},
		prefix + "aud":          {token.client()},
	}
	policy.Call{Time: s.clock.Now()}.AddTo(c)
	policy.AddResourceTags(c, role.Tags)
	if token.Party != "" {
		c[prefix+"azp"] = []string{token.Party}
		c[prefix+"oaud"] = token.Audience
	} else if len(token.Audience) > 1 {
		c[prefix+"aud"] = token.Audience
	}
	return policy.Request{Principal: policy.Principal{Federated: p.ARN}, Resource: role.ARN, Context: c}
}
