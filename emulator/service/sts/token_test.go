package sts

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

func TestGetFederationToken(t *testing.T) {
	ctx, s, _ := newService(t, directory{}, nil)
	user := as(ctx, alice, account, "AKIAALICE")
	out, err := s.GetFederationToken(user, &sts.GetFederationTokenInput{
		Name: aws.String("bob"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("b")}},
		Policy: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sqs:*","Resource":"*"}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:sts::" + account + ":federated-user/bob"
	if *out.FederatedUser.Arn != arn || *out.FederatedUser.FederatedUserId != account+":bob" || !out.Credentials.Expiration.Equal(start.Add(12*time.Hour)) {
		t.Errorf("answer = %+v until %v", out.FederatedUser, out.Credentials.Expiration)
	}
	caller := func(key string) awsid.Caller {
		return awsid.Caller{Scope: awsid.Scope{Account: account, Region: "eu-west-1"}, ARN: arn, UserID: account + ":bob", AccessKeyID: key}
	}
	who, p, ok := s.Standing(ctx, caller(*out.Credentials.AccessKeyId))
	if !ok || who.Tags["team"] != "b" || len(who.Tags) != 1 || len(p.Session) != 1 {
		t.Errorf("Standing = %+v, %+v, %v", who.Tags, p.Session, ok)
	}
	// Without policies of its own the session may do nothing, not everything.
	out, err = s.GetFederationToken(user, &sts.GetFederationTokenInput{Name: aws.String("bob")})
	if err != nil {
		t.Fatal(err)
	}
	if _, p, ok := s.Standing(ctx, caller(*out.Credentials.AccessKeyId)); !ok || p.Session == nil || len(p.Session) != 0 {
		t.Errorf("without a policy: %+v, %v", p.Session, ok)
	}
	if _, _, ok := s.Standing(ctx, caller("ASIAFORGED")); ok {
		t.Error("a federated user without a session stands for somebody")
	}
	out, err = s.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("bob")})
	if err != nil || !out.Credentials.Expiration.Equal(start.Add(time.Hour)) {
		t.Errorf("of the root: %v, %v", out, err)
	}
}

func TestRefuse(t *testing.T) {
	d := directory{}
	d.add("ops", `"Principal":{"AWS":"`+account+`"},"Action":"sts:AssumeRole"`, time.Hour)
	ctx, s, _ := newService(t, d, nil)
	user := as(ctx, alice, account, "AKIAALICE")
	key := func(c *types.Credentials, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return *c.AccessKeyId
	}
	token, err := s.GetSessionToken(user, &sts.GetSessionTokenInput{})
	plain := key(token.Credentials, err)
	token, err = s.GetSessionToken(user, &sts.GetSessionTokenInput{SerialNumber: aws.String(device), TokenCode: aws.String("123456")})
	mfa := key(token.Credentials, err)
	federation, err := s.GetFederationToken(user, &sts.GetFederationTokenInput{Name: aws.String("bob")})
	federated := key(federation.Credentials, err)
	role, err := s.AssumeRole(user, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + account + ":role/ops"), RoleSessionName: aws.String("me")})
	assumed := key(role.Credentials, err)

	arns := map[string]string{plain: alice, mfa: alice, "AKIAALICE": alice, federated: *federation.FederatedUser.Arn, assumed: *role.AssumedRoleUser.Arn}
	const invalid = "The security token included in the request is invalid"
	for _, tt := range []struct{ name, key, service, operation, code, message string }{
		{"a user's own key", "AKIAALICE", "iam", "ListUsers", "", ""},
		{"a session token and IAM", plain, "iam", "ListUsers", "InvalidClientTokenId", invalid},
		{"a session token with MFA and IAM", mfa, "iam", "ListUsers", "", ""},
		{"a session token and a service", plain, "eks", "ListClusters", "", ""},
		{"a session token and a role", plain, "sts", "AssumeRole", "", ""},
		{"a session token and STS", mfa, "sts", "GetAccessKeyInfo", "AccessDenied", "Cannot call GetAccessKeyInfo with session credentials"},
		{"a federated user and IAM", federated, "iam", "GetUser", "InvalidClientTokenId", invalid},
		{"a federated user and a role", federated, "sts", "AssumeRole", "AccessDenied", "Cannot call AssumeRole with session credentials"},
		{"a federated user who asks who it is", federated, "sts", "GetCallerIdentity", "", ""},
		{"a role's session", assumed, "iam", "ListUsers", "", ""},
		{"a role's session and STS", assumed, "sts", "GetAccessKeyInfo", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := s.Refuse(awsid.Caller{Scope: awsid.Scope{Account: account}, ARN: arns[tt.key], AccessKeyID: tt.key}, tt.service, tt.operation)
			if tt.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, tt.code, tt.message)
		})
	}
}

func TestSessions(t *testing.T) {
	d := directory{}
	d.add("ops", `"Principal":{"AWS":"`+account+`"},"Action":"sts:AssumeRole"`, time.Hour)
	d.add("node", `"Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"`, time.Hour)
	ctx, s, clk := newService(t, d, nil)
	if _, err := s.GetSessionToken(as(ctx, alice, account, "AKIAALICE"), &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(900)}); err != nil {
		t.Fatal(err)
	}
	clk.SetTime(start.Add(14 * time.Minute))
	if _, err := s.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + account + ":role/ops"), RoleSessionName: aws.String("me")}); err != nil {
		t.Fatal(err)
	}
	clk.SetTime(start.Add(14*time.Minute + time.Second))
	if _, _, err := s.ServiceSession(ctx, ServiceRequest{
		Service: "ec2.amazonaws.com", RoleARN: "arn:aws:iam::" + account + ":role/node", SessionName: "i-1", Life: time.Hour,
		Operation: "AssumeRole", By: "ec2.amazonaws.com",
	}); err != nil {
		t.Fatal(err)
	}
	show := func() (out [][3]string) {
		for _, v := range s.Sessions() {
			out = append(out, [3]string{v.ARN, v.Operation, v.By})
		}
		return out
	}
	later := [][3]string{
		{"arn:aws:sts::111122223333:assumed-role/ops/me", "AssumeRole", root},
		{"arn:aws:sts::111122223333:assumed-role/node/i-1", "AssumeRole", "ec2.amazonaws.com"},
	}
	if d := cmp.Diff(append([][3]string{{alice, "GetSessionToken", alice}}, later...), show()); d != "" {
		t.Error(d)
	}
	clk.SetTime(start.Add(15 * time.Minute))
	if d := cmp.Diff(later, show()); d != "" {
		t.Errorf("after the first has ended: %s", d)
	}
}
