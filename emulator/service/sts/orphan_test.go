package sts

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// TestOrphans: the credentials of a role or user end with it, and do not come back
// with another one of that name.
func TestOrphans(t *testing.T) {
	d := directory{}
	d.add("dev", `"Principal":{"AWS":"`+root+`"},"Action":"sts:AssumeRole"`, time.Hour)
	ctx, s, _ := newService(t, d, nil)
	out, err := s.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + account + ":role/dev"), RoleSessionName: aws.String("me")})
	if err != nil {
		t.Fatal(err)
	}
	alice := awsid.Caller{Scope: awsid.GlobalScope("aws", account), ARN: "arn:aws:iam::" + account + ":user/alice", UserID: "AIDAALICE", AccessKeyID: "AKIAEXAMPLE"}
	session, err := s.GetSessionToken(awsid.WithCaller(context.Background(), alice), &sts.GetSessionTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	alice.UserID = "AIDAALICEBEFORE"
	before, err := s.GetSessionToken(awsid.WithCaller(context.Background(), alice), &sts.GetSessionTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	found := func(what string, id *string, want bool) {
		t.Helper()
		if _, ok := s.Key(ctx, "aws", *id); ok != want {
			t.Errorf("%s: found %v", what, ok)
		}
	}
	found("a role's", out.Credentials.AccessKeyId, true)
	found("a user's", session.Credentials.AccessKeyId, true)
	found("those of an earlier user of the name", before.Credentials.AccessKeyId, false)
	arn := "arn:aws:iam::" + account + ":role/dev"
	role := d[arn]
	delete(d, arn)
	found("a deleted role's", out.Credentials.AccessKeyId, false)
	role.ID = "AROAANOTHERANOTHER123"
	d[arn] = role
	found("those of a role made again", out.Credentials.AccessKeyId, false)
}
