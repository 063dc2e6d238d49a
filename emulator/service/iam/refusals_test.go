package iam

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	iamapi "github.com/ekslocal/ekslocal/api/iam"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
	"github.com/ekslocal/ekslocal/fixtures/managedpolicies"
)

// padded is a policy of about n characters.
func padded(n int, rest string) string {
	return `{"Version":"2012-10-17","Statement":[{"Sid":"` + strings.Repeat("x", n) + `","Effect":"Allow",` + rest + `}]}`
}

// attachable are managed policies of AWS for the quotas on attachments.
func attachable(n int) []string {
	var out []string
	for _, m := range managedpolicies.All("aws") {
		if len(out) < n && !strings.Contains(m.ARN(), "/aws-service-role/") {
			out = append(out, m.ARN())
		}
	}
	return out
}

// TestRefusals runs the table in an account that is full: every quota on a kind of
// entity is what there is of it. They are the last thing that a creation asks.
func TestRefusals(t *testing.T) {
	ctx, s, _ := newService(t)
	v := map[string]string{
		"largerole": padded(10240, `"Action":"*","Resource":"*"`), "largeuser": padded(2048, `"Action":"*","Resource":"*"`),
		"largegroup": padded(5120, `"Action":"*","Resource":"*"`), "largemanaged": padded(6144, `"Action":"*","Resource":"*"`),
		"largetrust": padded(2048, `"Action":"sts:AssumeRole","Principal":{"Service":"eks.amazonaws.com"}`), "huge": strings.Repeat("x", 131073),
	}
	fillRoles(t, ctx, s)
	fillUsers(t, ctx, s, v)
	fillPolicies(t, ctx, s, v)
	for _, p := range []string{"full", "empty"} {
		must[iam.CreateInstanceProfileOutput](t)(s.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &p}))
	}
	must[iam.AddRoleToInstanceProfileOutput](t)(s.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("full"), RoleName: aws.String("profiled")}))
	fillProviders(t, ctx, s, v)
	other := awsid.WithCaller(ctx, awsid.Caller{Scope: awsid.Scope{Account: "444455556666", Region: "eu-west-1"}, ARN: "arn:aws:iam::444455556666:root"})
	must[iam.CreateAccountAliasOutput](t)(s.CreateAccountAlias(other, &iam.CreateAccountAliasInput{AccountAlias: aws.String("taken-alias")}))

	sc := scopeOf(ctx)
	s.quotas = map[string]int{}
	for name, n := range map[string]int{
		"roles": len(roles.List(s.store, sc)), "users": len(users.List(s.store, sc)), "groups": len(groups.List(s.store, sc)),
		"policies": len(policies.List(s.store, sc)), "profiles": len(profiles.List(s.store, sc)), "providers": len(providers.List(s.store, sc)),
	} {
		v[name] = strconv.Itoa(n)
		quota := map[string]string{"policies": "managed-policies", "profiles": "instance-profiles", "providers": "oidc-providers"}[name]
		if quota == "" {
			quota = name
		}
		s.quotas[quota+"-per-account"] = n
	}
	refusal.Run(ctx, t, iamapi.Model(), s, v)
}

func fillRoles(t *testing.T, ctx context.Context, s *Service) {
	for _, n := range []string{"plain", "busy", "inlined", "profiled", "laden", "tagged"} {
		createRole(t, ctx, s, n)
	}
	must[iam.CreateServiceLinkedRoleOutput](t)(s.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("eks.amazonaws.com")}))
	must[iam.AttachRolePolicyOutput](t)(s.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("busy"), PolicyArn: aws.String(clusterP)}))
	must[iam.PutRolePolicyOutput](t)(s.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("inlined"), PolicyName: aws.String("i"), PolicyDocument: aws.String(allowAll)}))
	for _, arn := range attachable(10) {
		must[iam.AttachRolePolicyOutput](t)(s.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("laden"), PolicyArn: &arn}))
	}
	must[iam.TagRoleOutput](t)(s.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("tagged"), Tags: fiftyTags()}))
}

func fiftyTags() []types.Tag {
	out := make([]types.Tag, 50)
	for i := range out {
		out[i] = types.Tag{Key: aws.String(fmt.Sprint("t", i)), Value: aws.String("")}
	}
	return out
}

func fillUsers(t *testing.T, ctx context.Context, s *Service, v map[string]string) {
	for _, n := range []string{"alice", "keyed", "inlined", "laden", "joiner", "tagged"} {
		must[iam.CreateUserOutput](t)(s.CreateUser(ctx, &iam.CreateUserInput{UserName: &n}))
	}
	for range 2 {
		v["key"] = *must[iam.CreateAccessKeyOutput](t)(s.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("keyed")})).AccessKey.AccessKeyId
	}
	must[iam.PutUserPolicyOutput](t)(s.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("inlined"), PolicyName: aws.String("i"), PolicyDocument: aws.String(allowAll)}))
	must[iam.TagUserOutput](t)(s.TagUser(ctx, &iam.TagUserInput{UserName: aws.String("tagged"), Tags: fiftyTags()}))
	for _, n := range []string{"g", "laden", "crew", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10"} {
		must[iam.CreateGroupOutput](t)(s.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: &n}))
		if n[0] == 'c' {
			must[iam.AddUserToGroupOutput](t)(s.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: &n, UserName: aws.String("joiner")}))
		}
	}
	for _, arn := range attachable(10) {
		must[iam.AttachUserPolicyOutput](t)(s.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("laden"), PolicyArn: &arn}))
		must[iam.AttachGroupPolicyOutput](t)(s.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: aws.String("laden"), PolicyArn: &arn}))
	}
}

func fillPolicies(t *testing.T, ctx context.Context, s *Service, v map[string]string) {
	for _, n := range []string{"own", "attached", "full"} {
		v[n] = *must[iam.CreatePolicyOutput](t)(s.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: &n, PolicyDocument: aws.String(allowAll)})).Policy.Arn
	}
	must[iam.AttachRolePolicyOutput](t)(s.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("busy"), PolicyArn: aws.String(v["attached"])}))
	for range 4 {
		must[iam.CreatePolicyVersionOutput](t)(s.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: aws.String(v["full"]), PolicyDocument: aws.String(allowAll)}))
	}
}

func fillProviders(t *testing.T, ctx context.Context, s *Service, v map[string]string) {
	clients := make([]string, 100)
	for i := range clients {
		clients[i] = fmt.Sprint("client", i)
	}
	for name, list := range map[string][]string{"provider": nil, "crowded": clients} {
		url := "https://example.com/" + map[string]string{"provider": "there", "crowded": "crowded"}[name]
		v[name] = *must[iam.CreateOpenIDConnectProviderOutput](t)(s.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: &url, ClientIDList: list})).OpenIDConnectProviderArn
	}
}
