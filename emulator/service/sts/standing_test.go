package sts

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

const alice = "arn:aws:iam::" + account + ":user/alice"

func roleARN(name string) *string { return aws.String("arn:aws:iam::" + account + ":role/" + name) }

func TestTrustConditions(t *testing.T) {
	d := directory{}
	allow := func(name, actions, condition string) {
		d.add(name, `"Principal":{"AWS":"`+account+`"},"Action":[`+actions+`],"Condition":`+condition, time.Hour)
	}
	const plain = `"sts:AssumeRole"`
	allow("mfa", plain, `{"Bool":{"aws:MultiFactorAuthPresent":"true"}}`)
	allow("nomfa", plain, `{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}`)
	allow("external", plain, `{"StringEquals":{"sts:ExternalId":"42"}}`)
	allow("named", plain, `{"StringLike":{"sts:RoleSessionName":"${aws:username}"}}`)
	allow("team", plain, `{"StringEquals":{"aws:PrincipalTag/team":"a"}}`)
	allow("same", plain, `{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}`)
	allow("tagged", plain+`,"sts:TagSession"`, `{"StringEquals":{"aws:RequestTag/Project":"x"},"ForAllValues:StringEquals":{"sts:TransitiveTagKeys":["Project"]}}`)
	allow("identified", plain+`,"sts:SetSourceIdentity"`, `{"StringLike":{"sts:SourceIdentity":"${aws:username}"}}`)
	allow("here", plain, `{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"},"DateLessThan":{"aws:CurrentTime":"2026-05-02T00:00:00Z"}}`)
	same := d[*roleARN("same")]
	same.Tags = map[string]string{"Team": "a"}
	d[same.ARN] = same

	ctx, s, _ := newService(t, d, nil)
	ctx = as(ctx, alice, account, "AKIAEXAMPLE")
	tag := func(k, v string) []types.Tag { return []types.Tag{{Key: &k, Value: &v}} }
	tests := []struct {
		name, role string
		in         sts.AssumeRoleInput
		refused    string // the action
	}{
		{"long-term keys have no MFA", "mfa", sts.AssumeRoleInput{}, "sts:AssumeRole"},
		{"with a device's code", "mfa", sts.AssumeRoleInput{SerialNumber: aws.String(device), TokenCode: aws.String("123456")}, ""},
		{"nor its key", "nomfa", sts.AssumeRoleInput{}, ""},
		{"external id", "external", sts.AssumeRoleInput{ExternalId: aws.String("42")}, ""},
		{"wrong external id", "external", sts.AssumeRoleInput{ExternalId: aws.String("43")}, "sts:AssumeRole"},
		{"session named as the user", "named", sts.AssumeRoleInput{RoleSessionName: aws.String("alice")}, ""},
		{"session named otherwise", "named", sts.AssumeRoleInput{}, "sts:AssumeRole"},
		{"the user's tag", "team", sts.AssumeRoleInput{}, ""},
		{"the user's tag is the role's", "same", sts.AssumeRoleInput{}, ""},
		{"requested tag", "tagged", sts.AssumeRoleInput{Tags: tag("Project", "x"), TransitiveTagKeys: []string{"Project"}}, ""},
		{"another value", "tagged", sts.AssumeRoleInput{Tags: tag("Project", "y")}, "sts:AssumeRole"},
		{"tags are not trusted", "team", sts.AssumeRoleInput{Tags: tag("Project", "x")}, "sts:TagSession"},
		{"source identity", "identified", sts.AssumeRoleInput{SourceIdentity: aws.String("alice")}, ""},
		{"somebody else's", "identified", sts.AssumeRoleInput{SourceIdentity: aws.String("bob")}, "sts:AssumeRole"},
		{"source identity is not trusted", "team", sts.AssumeRoleInput{SourceIdentity: aws.String("alice")}, "sts:SetSourceIdentity"},
		{"address and time", "here", sts.AssumeRoleInput{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.RoleArn = roleARN(tt.role)
			if tt.in.RoleSessionName == nil {
				tt.in.RoleSessionName = aws.String("me")
			}
			_, err := s.AssumeRole(ctx, &tt.in)
			if tt.refused == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, "AccessDenied", "User: "+alice+" is not authorized to perform: "+tt.refused+" on resource: "+*tt.in.RoleArn)
		})
	}
}

// TestChain goes from role to role: the source identity and transitive tags stay.
func TestChain(t *testing.T) {
	d := directory{}
	d.add("first", `"Principal":{"AWS":"`+account+`"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`, time.Hour)
	d.add("second", `"Principal":{"AWS":"`+*roleARN("first")+`"},"Action":["sts:AssumeRole","sts:SetSourceIdentity"],"Condition":{"StringEquals":{"aws:ResourceTag/star":"1","aws:SourceIdentity":"alice"},"Null":{"aws:PrincipalTag/moon":"false"}}`, time.Hour)
	d.add("deaf", `"Principal":{"AWS":"`+*roleARN("first")+`"},"Action":"sts:AssumeRole"`, time.Hour)
	second := d[*roleARN("second")]
	second.Tags = map[string]string{"Star": "3", "Sun": "2"}
	d[second.ARN] = second
	ctx, s, _ := newService(t, d, nil)
	one, err := s.AssumeRole(as(ctx, alice, account, "AKIAEXAMPLE"), &sts.AssumeRoleInput{
		RoleArn: roleARN("first"), RoleSessionName: aws.String("me"), SourceIdentity: aws.String("alice"), TransitiveTagKeys: []string{"Star"},
		Tags: []types.Tag{{Key: aws.String("Star"), Value: aws.String("1")}, {Key: aws.String("Moon"), Value: aws.String("9")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	chained := as(ctx, *one.AssumedRoleUser.Arn, account, *one.Credentials.AccessKeyId)
	two, err := s.AssumeRole(chained, &sts.AssumeRoleInput{RoleArn: roleARN("second"), RoleSessionName: aws.String("me")})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(two.SourceIdentity) != "alice" {
		t.Errorf("SourceIdentity = %v", two.SourceIdentity)
	}
	who, ok := s.Subject(ctx, awsid.Caller{Scope: awsid.Scope{Account: account}, ARN: *two.AssumedRoleUser.Arn, UserID: *two.AssumedRoleUser.AssumedRoleId, AccessKeyID: *two.Credentials.AccessKeyId})
	if diff := cmp.Diff(map[string]string{"Star": "1", "Sun": "2"}, who.Tags); diff != "" || !ok || who.RoleARN != *roleARN("second") {
		t.Errorf("%s: %v %s", who.RoleARN, ok, diff)
	}
	_, err = s.AssumeRole(chained, &sts.AssumeRoleInput{RoleArn: roleARN("deaf"), RoleSessionName: aws.String("me")})
	wantError(t, err, "AccessDenied", "User: "+*one.AssumedRoleUser.Arn+" is not authorized to perform: sts:SetSourceIdentity on resource: "+*roleARN("deaf"))
	_, err = s.AssumeRole(chained, &sts.AssumeRoleInput{RoleArn: roleARN("second"), RoleSessionName: aws.String("me"), SourceIdentity: aws.String("bob")})
	wantError(t, err, "AccessDenied", "User: "+*one.AssumedRoleUser.Arn+" is not authorized to perform: sts:SetSourceIdentity on resource: "+*roleARN("second"))
}

func TestStanding(t *testing.T) {
	d := directory{}
	d.add("ops", `"Principal":{"AWS":"`+account+`"},"Action":"sts:AssumeRole"`, time.Hour)
	ctx, s, _ := newService(t, d, nil)
	caller := func(in sts.AssumeRoleInput) awsid.Caller {
		in.RoleArn, in.RoleSessionName = roleARN("ops"), aws.String("me")
		out, err := s.AssumeRole(ctx, &in)
		if err != nil {
			t.Fatal(err)
		}
		k, _ := s.Key(ctx, awsid.PartitionAWS, *out.Credentials.AccessKeyId)
		return k.Caller
	}
	arns := func(names ...string) (out []types.PolicyDescriptorType) {
		for _, n := range names {
			out = append(out, types.PolicyDescriptorType{Arn: aws.String("arn:aws:iam::" + account + ":policy/" + n)})
		}
		return out
	}
	const doc = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
	names := func(list []policy.Policy) []string {
		if list == nil {
			return nil
		}
		out := []string{}
		for _, p := range list {
			out = append(out, p.Name)
		}
		return out
	}
	for _, tt := range []struct {
		name    string
		in      sts.AssumeRoleInput
		session []string
	}{
		{"no session policy", sts.AssumeRoleInput{}, nil},
		{"document and ARN", sts.AssumeRoleInput{Policy: aws.String(doc), PolicyArns: arns("there")}, []string{"there", "session policy"}},
		{"an ARN of nothing allows nothing", sts.AssumeRoleInput{PolicyArns: arns("gone")}, []string{}},
	} {
		who, p, ok := s.Standing(ctx, caller(tt.in))
		if diff := cmp.Diff(tt.session, names(p.Session)); diff != "" || !ok || who.RoleARN != *roleARN("ops") || !who.Issued.Equal(start) || len(p.Identity) != 1 {
			t.Errorf("%s: %+v %v %s", tt.name, who, ok, diff)
		}
	}
	for code, want := range map[string]string{"": "false", "123456": "true"} {
		in := &sts.GetSessionTokenInput{}
		if code != "" {
			in.SerialNumber, in.TokenCode = aws.String(device), &code
		}
		me := awsid.CallerFrom(as(ctx, alice, account, "AKIAEXAMPLE"))
		me.UserID = "AIDAALICE"
		out, err := s.GetSessionToken(awsid.WithCaller(ctx, me), in)
		if err != nil {
			t.Fatal(err)
		}
		k, _ := s.Key(ctx, awsid.PartitionAWS, *out.Credentials.AccessKeyId)
		who, ok := s.Subject(ctx, k.Caller)
		if got := who.Keys()["aws:multifactorauthpresent"]; !ok || !cmp.Equal(got, []string{want}) {
			t.Errorf("with the code %q: MFA %v, want %s", code, got, want)
		}
	}
	c := caller(sts.AssumeRoleInput{})
	again := d[*roleARN("ops")]
	again.ID = "AROAANOTHERONE1234567"
	d[again.ARN] = again
	if who, p, ok := s.Standing(ctx, c); ok || p.Identity != nil || who.RoleARN != "" {
		t.Errorf("a role made again stands in for the one of the session: %+v", who)
	}
	if _, _, ok := s.Standing(ctx, awsid.Caller{Scope: awsid.Scope{Account: account}, ARN: "arn:aws:iam::" + account + ":user/gone"}); ok {
		t.Error("a user that is gone stands")
	}
}

func TestTokenTags(t *testing.T) {
	var c claims
	err := json.Unmarshal([]byte(`{"https://aws.amazon.com/tags":{"principal_tags":{"Project":["Automation"],"CostCenter":["987654"]},"transitive_tag_keys":["Project","None"]}}`), &c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"Project": "Automation", "CostCenter": "987654"}, c.Tags.principal()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"Project"}, c.Tags.transitive()); diff != "" {
		t.Error(diff)
	}
}
