package sts

import (
	"context"
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	account = "111122223333"
	other   = "444455556666"
	issuer  = "https://127.0.0.1:4566/id/ABC"
	root    = "arn:aws:iam::" + account + ":root"
)

var start = time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)

// directory is an IAM of fixed contents, keyed by ARN.
type directory map[string]policy.Role

func (d directory) RoleByARN(_ context.Context, sc awsid.Scope, arn string) (policy.Role, bool) {
	r, ok := d[arn]
	return r, ok && r.Account == sc.Account
}

func (d directory) Role(_ context.Context, sc awsid.Scope, name string) (policy.Role, bool) {
	for _, r := range d {
		if r.Account == sc.Account && r.Name == name {
			return r, true
		}
	}
	return policy.Role{}, false
}

func (d directory) OIDCProvider(_ context.Context, sc awsid.Scope, iss string) (policy.OIDCProvider, bool) {
	if sc.Account != account || iss != issuer {
		return policy.OIDCProvider{}, false
	}
	bare := strings.TrimPrefix(issuer, "https://")
	return policy.OIDCProvider{ARN: "arn:aws:iam::" + account + ":oidc-provider/" + bare, Issuer: bare, ClientIDs: []string{"sts.amazonaws.com"}}, true
}

// Entity knows the roles, and every user: alice is of team a.
func (d directory) Entity(_ context.Context, _ awsid.Scope, arn string) (policy.Entity, bool) {
	if r, ok := d[arn]; ok {
		return policy.Entity{ARN: arn, ID: r.ID, Tags: r.Tags, Policies: []policy.Policy{{Name: "own"}}}, true
	}
	if strings.HasSuffix(arn, ":user/alice") {
		return policy.Entity{ARN: arn, ID: "AIDAALICE", Tags: map[string]string{"Team": "a"}}, true
	}
	return policy.Entity{}, false
}

func (d directory) ManagedPolicies(_ awsid.Scope, arns ...string) []policy.Policy {
	out := []policy.Policy{}
	for _, a := range arns {
		if strings.HasSuffix(a, "/there") {
			out = append(out, policy.Policy{Name: "there", ARN: a})
		}
	}
	return out
}

// TakeMFACode knows one device, which is whoever's asks, and one code.
func (d directory) TakeMFACode(_ context.Context, _ awsid.Scope, _, serial, code string) bool {
	return serial == device && code == "123456"
}

const device = "arn:aws:iam::" + account + ":mfa/alice"

func (d directory) KeyAccount(_ context.Context, _, id string) (string, bool) {
	return account, id == "AKIAEXAMPLE"
}

func (d directory) add(name, statement string, max time.Duration) {
	arn := "arn:aws:iam::" + account + ":role/" + name
	d[arn] = policy.Role{
		Account: account, Name: name[strings.LastIndex(name, "/")+1:], ARN: arn, ID: "AROAEXAMPLEEXAMPLE123", MaxSession: max,
		Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` + statement + `}]}`,
	}
}

type keys map[string]crypto.PublicKey

func (k keys) SigningKeys(context.Context, string) (map[string]crypto.PublicKey, error) {
	if k == nil {
		return nil, errors.New("connection refused")
	}
	return k, nil
}

func newService(t *testing.T, d directory, k KeySource) (context.Context, *Service, *clocktesting.FakePassiveClock) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	st, err := store.Open(ctx, store.NewMemory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := clocktesting.NewFakePassiveClock(start)
	return as(ctx, root, account, "test"), New(Config{Store: st, Clock: c, IAM: d, Keys: k}), c
}

func as(ctx context.Context, arn, account, key string) context.Context {
	return awsid.WithCaller(ctx, awsid.Caller{Scope: awsid.Scope{Account: account, Region: "eu-west-1"}, ARN: arn, UserID: account, AccessKeyID: key, SourceIP: "127.0.0.1"})
}

func wantError(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("error = %v, want %s: %s", err, code, message)
	}
	if api.ErrorCode() != code || api.ErrorMessage() != message {
		t.Errorf("error =\n %s: %s, want\n %s: %s", api.ErrorCode(), api.ErrorMessage(), code, message)
	}
}

func TestGetCallerIdentity(t *testing.T) {
	ctx, s, _ := newService(t, directory{}, nil)
	out, err := s.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *out.Account != account || *out.Arn != root || *out.UserId != account {
		t.Errorf("GetCallerIdentity = %+v, %v", out, err)
	}
	for id, want := range map[string]string{"AKIAEXAMPLE": account, "test": awsid.DefaultAccount, other: other} {
		out, err := s.GetAccessKeyInfo(ctx, &sts.GetAccessKeyInfoInput{AccessKeyId: &id})
		if err != nil || *out.Account != want {
			t.Errorf("GetAccessKeyInfo(%s) = %+v, %v", id, out, err)
		}
	}
}

func TestAssumeRole(t *testing.T) {
	d := directory{}
	d.add("team/ops", `"Principal":{"AWS":"`+root+`"},"Action":"sts:AssumeRole"`, 2*time.Hour)
	ctx, s, clk := newService(t, d, nil)
	arn := aws.String("arn:aws:iam::" + account + ":role/team/ops")
	out, err := s.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("me")})
	if err != nil {
		t.Fatal(err)
	}
	if *out.AssumedRoleUser.Arn != "arn:aws:sts::111122223333:assumed-role/ops/me" || *out.AssumedRoleUser.AssumedRoleId != "AROAEXAMPLEEXAMPLE123:me" {
		t.Errorf("AssumedRoleUser = %s %s", *out.AssumedRoleUser.Arn, *out.AssumedRoleUser.AssumedRoleId)
	}
	if !out.Credentials.Expiration.Equal(start.Add(time.Hour)) || !strings.HasPrefix(*out.Credentials.AccessKeyId, "ASIA") || len(*out.Credentials.AccessKeyId) != 20 || out.PackedPolicySize != nil {
		t.Errorf("credentials = %+v", out)
	}
	k, ok := s.Key(ctx, awsid.PartitionAWS, *out.Credentials.AccessKeyId)
	if !ok || k.Secret != *out.Credentials.SecretAccessKey || k.SessionToken != *out.Credentials.SessionToken || !k.Expires.Equal(start.Add(time.Hour)) ||
		k.Caller.ARN != *out.AssumedRoleUser.Arn || k.Caller.UserID != *out.AssumedRoleUser.AssumedRoleId || k.Caller.Account != account {
		t.Errorf("Key = %+v, %v", k, ok)
	}

	chained := as(ctx, k.Caller.ARN, account, k.Caller.AccessKeyID)
	_, err = s.AssumeRole(chained, &sts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("me"), DurationSeconds: aws.Int32(7200)})
	wantError(t, err, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	_, err = s.GetSessionToken(chained, &sts.GetSessionTokenInput{})
	wantError(t, err, "AccessDenied", "Cannot call GetSessionToken with session credentials")

	clk.SetTime(start.Add(3 * time.Hour))
	if _, err := s.GetSessionToken(ctx, &sts.GetSessionTokenInput{}); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Key(ctx, awsid.PartitionAWS, *out.Credentials.AccessKeyId); ok {
		t.Error("a session that ended two hours ago is still kept")
	}
}

func TestAssumeRoleRefusals(t *testing.T) {
	d := directory{}
	d.add("eks", `"Principal":{"Service":"eks.amazonaws.com"},"Action":"sts:AssumeRole"`, time.Hour)
	d.add("ops", `"Principal":{"AWS":"`+account+`"},"Action":"sts:AssumeRole"`, time.Hour)
	d.add("external", `"Principal":{"AWS":"arn:aws:iam::`+other+`:root"},"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"42"}}`, time.Hour)
	d.add("path/from", `"Principal":{"AWS":"`+account+`"},"Action":"sts:AssumeRole"`, time.Hour)
	d.add("named", `"Principal":{"AWS":"arn:aws:iam::`+account+`:role/path/from"},"Action":"sts:AssumeRole"`, time.Hour)
	ctx, s, _ := newService(t, d, nil)
	arn := func(n string) string { return "arn:aws:iam::" + account + ":role/" + n }
	denied := func(who, action, role string) string {
		return "User: " + who + " is not authorized to perform: " + action + " on resource: " + arn(role)
	}
	otherRoot := as(ctx, "arn:aws:iam::"+other+":root", other, other)
	session := as(ctx, "arn:aws:sts::"+account+":assumed-role/from/x", account, "ASIAUNKNOWN")
	tag := []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
	tests := []struct {
		name          string
		ctx           context.Context
		role, session string
		in            sts.AssumeRoleInput
		code, message string
	}{
		{"good", ctx, "ops", "me", sts.AssumeRoleInput{}, "", ""},
		{"trusts a service only", ctx, "eks", "me", sts.AssumeRoleInput{}, "AccessDenied", denied(root, "sts:AssumeRole", "eks")},
		{"no such role", ctx, "gone", "me", sts.AssumeRoleInput{}, "AccessDenied", denied(root, "sts:AssumeRole", "gone")},
		{"other account", otherRoot, "ops", "me", sts.AssumeRoleInput{}, "AccessDenied", denied("arn:aws:iam::"+other+":root", "sts:AssumeRole", "ops")},
		{"external id", otherRoot, "external", "me", sts.AssumeRoleInput{ExternalId: aws.String("42"), Tags: tag}, "", ""},
		{"no external id", otherRoot, "external", "me", sts.AssumeRoleInput{}, "AccessDenied", denied("arn:aws:iam::"+other+":root", "sts:AssumeRole", "external")},
		{"role by path", session, "named", "me", sts.AssumeRoleInput{}, "", ""},
		{"not the named role", ctx, "named", "me", sts.AssumeRoleInput{}, "AccessDenied", denied(root, "sts:AssumeRole", "named")},
		{"tags not trusted", ctx, "ops", "me", sts.AssumeRoleInput{Tags: tag}, "AccessDenied", denied(root, "sts:TagSession", "ops")},
		{"session name", ctx, "ops", "a b", sts.AssumeRoleInput{}, "ValidationError", `1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		{"short", ctx, "ops", "me", sts.AssumeRoleInput{DurationSeconds: aws.Int32(60)}, "ValidationError", "1 validation error detected: Value '60' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900"},
		{"too long", ctx, "ops", "me", sts.AssumeRoleInput{DurationSeconds: aws.Int32(7200)}, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		{"bad session policy", ctx, "ops", "me", sts.AssumeRoleInput{Policy: aws.String("{")}, "MalformedPolicyDocument", "This policy contains invalid Json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.RoleArn, tt.in.RoleSessionName = aws.String(arn(tt.role)), &tt.session
			_, err := s.AssumeRole(tt.ctx, &tt.in)
			if tt.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, tt.code, tt.message)
			if st, ok := err.(interface{ HTTPStatusCode() int }); tt.code == "AccessDenied" && (!ok || st.HTTPStatusCode() != 403) {
				t.Error("AccessDenied is not 403")
			}
		})
	}
}

func TestServiceSession(t *testing.T) {
	d := directory{}
	d.add("node", `"Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"`, time.Hour)
	ctx, s, _ := newService(t, d, nil)
	in := ServiceRequest{Service: "ec2.amazonaws.com", RoleARN: "arn:aws:iam::" + account + ":role/node", SessionName: "i-0123456789abcdef0", Life: 6 * time.Hour}
	c, u, err := s.ServiceSession(ctx, in)
	if err != nil || *u.Arn != "arn:aws:sts::111122223333:assumed-role/node/i-0123456789abcdef0" || c == nil {
		t.Fatal(c, u, err)
	}
	in.Service = "eks.amazonaws.com"
	_, _, err = s.ServiceSession(ctx, in)
	wantError(t, err, "AccessDenied", "User: eks.amazonaws.com is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111122223333:role/node")
}
