package sts

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// GetSessionToken implements the operation, for users and the account's root.
func (s *Service) GetSessionToken(ctx context.Context, in *sts.GetSessionTokenInput, _ ...func(*sts.Options)) (*sts.GetSessionTokenOutput, error) {
	var c checks
	c.Span("durationSeconds", in.DurationSeconds, 900, 129600)
	c.mfa(in.SerialNumber, in.TokenCode)
	if err := c.err(); err != nil {
		return nil, err
	}
	caller := awsid.CallerFrom(ctx)
	if temporary(caller) {
		return nil, withSession("GetSessionToken")
	}
	mfa, err := s.checkMFA(ctx, caller, in.SerialNumber, in.TokenCode)
	if err != nil {
		return nil, err
	}
	v := &session{Operation: "GetSessionToken", By: caller.ARN, Account: caller.Account, ARN: caller.ARN, UserID: caller.UserID, MFA: mfa}
	creds, err := s.issue(ctx, v, tokenLife(caller, in.DurationSeconds))
	if err != nil {
		return nil, err
	}
	return &sts.GetSessionTokenOutput{Credentials: creds}, nil
}

// GetFederationToken implements the operation, for users and the account's root. The
// session may do what both its user and its own policies allow, and without policies
// nothing.
func (s *Service) GetFederationToken(ctx context.Context, in *sts.GetFederationTokenInput, _ ...func(*sts.Options)) (*sts.GetFederationTokenOutput, error) {
	a := assumption{duration: in.DurationSeconds, policy: in.Policy, policyARNs: in.PolicyArns, longest: maxPolicy}
	var c checks
	c.Required("name", in.Name, 2, 32)
	c.Pattern("name", in.Name, wordPattern, `[\w+=,.@-]*`)
	c.Span("durationSeconds", in.DurationSeconds, 900, 129600)
	a.checkPolicies(&c)
	c.tags(in.Tags, nil)
	if err := c.err(); err != nil {
		return nil, err
	}
	caller := awsid.CallerFrom(ctx)
	if temporary(caller) {
		return nil, withSession("GetFederationToken")
	}
	doc, arns, err := a.sessionPolicies(caller.Partition())
	if err != nil {
		return nil, err
	}
	v := &session{
		Operation: "GetFederationToken", By: caller.ARN, Account: caller.Account, UserARN: caller.ARN, Policy: doc, PolicyARNs: arns,
		ARN: caller.Scope.Global().ARN("sts", "federated-user/"+*in.Name), UserID: caller.Account + ":" + *in.Name,
	}
	if err := v.tag(in.Tags, nil, nil); err != nil {
		return nil, err
	}
	packed, err := packedSize(v)
	if err != nil {
		return nil, err
	}
	creds, err := s.issue(ctx, v, tokenLife(caller, in.DurationSeconds))
	if err != nil {
		return nil, err
	}
	return &sts.GetFederationTokenOutput{
		Credentials: creds, FederatedUser: &types.FederatedUser{Arn: &v.ARN, FederatedUserId: &v.UserID}, PackedPolicySize: packed,
	}, nil
}

// tokenLife is how long credentials of a user or the root last: the root's an hour
// at most.
func tokenLife(caller awsid.Caller, asked *int32) time.Duration {
	life := 12 * time.Hour
	if asked != nil {
		life = time.Duration(*asked) * time.Second
	}
	if caller.IsRoot() {
		life = min(life, time.Hour)
	}
	return life
}

func temporary(caller awsid.Caller) bool { return strings.HasPrefix(caller.AccessKeyID, "ASIA") }

func withSession(operation string) error {
	return denied("Cannot call " + operation + " with session credentials")
}

// Refuse tells what credentials of GetSessionToken and GetFederationToken are not
// good for, whatever the user may do ("Compare AWS STS credentials"): IAM, unless they
// were got with MFA, and STS but for asking who one is and, by the former, assuming
// roles.
func (s *Service) Refuse(caller awsid.Caller, service, operation string) error {
	v := s.sessionOf(caller)
	if v == nil || v.RoleARN != "" {
		return nil
	}
	federated := v.UserARN != ""
	switch {
	case service == "iam" && (federated || !v.MFA):
		return &invalidCredentials{smithy.GenericAPIError{
			Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid", Fault: smithy.FaultClient,
		}}
	case service == "sts" && operation == "AssumeRole" && federated,
		service == "sts" && operation != "AssumeRole" && operation != "GetCallerIdentity" && operation != "AssumeRoleWithWebIdentity":
		return withSession(operation)
	}
	return nil
}

type invalidCredentials struct{ smithy.GenericAPIError }

// HTTPStatusCode tells the wire layer the status.
func (*invalidCredentials) HTTPStatusCode() int { return http.StatusForbidden }

// Session is a set of temporary credentials without its secrets.
type Session struct {
	AccessKeyID   string
	Account       string
	ARN           string
	Operation     string
	By            string
	Issued, Until time.Time
}

// Sessions are those that have not ended, the oldest first.
func (s *Service) Sessions() []Session {
	now := s.clock.Now()
	var out []Session
	for _, v := range sessions.ListAll(s.store) {
		if now.Before(v.Expires) {
			out = append(out, Session{AccessKeyID: v.ID, Account: v.Account, ARN: v.ARN, Operation: v.Operation, By: v.By, Issued: v.Issued, Until: v.Expires})
		}
	}
	slices.SortFunc(out, func(a, b Session) int {
		return cmp.Or(a.Issued.Compare(b.Issued), strings.Compare(a.AccessKeyID, b.AccessKeyID))
	})
	return out
}
