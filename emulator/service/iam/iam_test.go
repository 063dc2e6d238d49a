package iam

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/managedpolicies"
)

const (
	trustEKS  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"eks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	allowAll  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	clusterP  = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
	account   = "111122223333"
	longName  = "r23456789012345678901234567890123456789012345678901234567890123456789"
	otherTime = "2026-05-01T10:00:00Z"
)

var start = time.Date(2026, 5, 1, 10, 0, 0, 123, time.UTC)

func newService(t *testing.T) (context.Context, *Service, *clocktesting.FakePassiveClock) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	st, err := store.Open(ctx, store.NewMemory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := clocktesting.NewFakePassiveClock(start)
	return as(ctx, "arn:aws:iam::"+account+":root"), New(Config{Store: st, Clock: c}), c
}

func as(ctx context.Context, arn string) context.Context {
	return awsid.WithCaller(ctx, awsid.Caller{Scope: awsid.Scope{Account: account, Region: "eu-west-1"}, ARN: arn, UserID: account})
}

func must[T any](t *testing.T) func(*T, error) *T {
	return func(v *T, err error) *T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantError checks code and message of an AWS error.
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

func createRole(t *testing.T, ctx context.Context, s *Service, name string) *types.Role {
	t.Helper()
	return must[iam.CreateRoleOutput](t)(s.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trustEKS)})).Role
}

func TestRoleLife(t *testing.T) {
	ctx, s, _ := newService(t)
	in := &iam.CreateRoleInput{
		RoleName: aws.String("cluster"), Path: aws.String("/team/"), AssumeRolePolicyDocument: aws.String(trustEKS),
		Description: aws.String("d"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}},
	}
	made := must[iam.CreateRoleOutput](t)(s.CreateRole(ctx, in)).Role
	if len(*made.RoleId) != 21 || !strings.HasPrefix(*made.RoleId, "AROA") {
		t.Errorf("RoleId = %q", *made.RoleId)
	}
	got := must[iam.GetRoleOutput](t)(s.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("cluster")})).Role
	want := &types.Role{
		RoleName: aws.String("cluster"), RoleId: made.RoleId, Arn: aws.String("arn:aws:iam::111122223333:role/team/cluster"), Path: aws.String("/team/"),
		CreateDate: aws.Time(start.Truncate(time.Second)), MaxSessionDuration: aws.Int32(3600), Description: aws.String("d"),
		AssumeRolePolicyDocument: got.AssumeRolePolicyDocument, Tags: in.Tags, RoleLastUsed: &types.RoleLastUsed{},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(types.Role{}, types.Tag{}, types.RoleLastUsed{})); diff != "" {
		t.Error(diff)
	}
	if doc, err := url.PathUnescape(*got.AssumeRolePolicyDocument); err != nil || doc != trustEKS || strings.ContainsAny(*got.AssumeRolePolicyDocument, `+{"`) {
		t.Errorf("AssumeRolePolicyDocument = %q", *got.AssumeRolePolicyDocument)
	}

	_, err := s.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("CLUSTER"), AssumeRolePolicyDocument: aws.String(trustEKS)})
	wantError(t, err, "EntityAlreadyExists", "Role with name CLUSTER already exists.")
	_, err = s.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("nobody")})
	wantError(t, err, "NoSuchEntity", "The role with name nobody cannot be found.")

	attach := &iam.AttachRolePolicyInput{RoleName: aws.String("cluster"), PolicyArn: aws.String(clusterP)}
	must[iam.AttachRolePolicyOutput](t)(s.AttachRolePolicy(ctx, attach))
	must[iam.AttachRolePolicyOutput](t)(s.AttachRolePolicy(ctx, attach)) // idempotent
	_, err = s.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("cluster")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must detach all policies first.")
	_, err = s.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("cluster"), PolicyArn: aws.String("arn:aws:iam::aws:policy/NoSuch")})
	wantError(t, err, "NoSuchEntity", "Policy arn:aws:iam::aws:policy/NoSuch does not exist or is not attachable.")
	list := must[iam.ListAttachedRolePoliciesOutput](t)(s.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String("cluster")}))
	if len(list.AttachedPolicies) != 1 || *list.AttachedPolicies[0].PolicyName != "AmazonEKSClusterPolicy" || list.IsTruncated {
		t.Errorf("AttachedPolicies = %+v", list)
	}
	r, ok := s.RoleByARN(ctx, awsid.Scope{Account: account}, *made.Arn)
	if !ok || r.Trust != trustEKS || !cmp.Equal(r.Attached, []string{clusterP}) || !policy.TrustsService(r.Trust, "eks.amazonaws.com") {
		t.Errorf("RoleByARN = %+v, %v", r, ok)
	}
	must[iam.DetachRolePolicyOutput](t)(s.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("cluster"), PolicyArn: aws.String(clusterP)}))
	_, err = s.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("cluster"), PolicyArn: aws.String(clusterP)})
	wantError(t, err, "NoSuchEntity", "Policy "+clusterP+" was not found.")

	must[iam.PutRolePolicyOutput](t)(s.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("cluster"), PolicyName: aws.String("p"), PolicyDocument: aws.String(allowAll)}))
	p := must[iam.GetRolePolicyOutput](t)(s.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: aws.String("cluster"), PolicyName: aws.String("p")}))
	if doc, _ := url.PathUnescape(*p.PolicyDocument); doc != allowAll {
		t.Errorf("PolicyDocument = %q", *p.PolicyDocument)
	}
	_, err = s.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("cluster")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	_, err = s.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: aws.String("cluster"), PolicyName: aws.String("q")})
	wantError(t, err, "NoSuchEntity", "The role policy with name q cannot be found.")
	must[iam.DeleteRolePolicyOutput](t)(s.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String("cluster"), PolicyName: aws.String("p")}))
	must[iam.DeleteRoleOutput](t)(s.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("cluster")}))
	if _, ok := s.Role(ctx, awsid.Scope{Account: account}, "cluster"); ok {
		t.Error("the role is still there")
	}
}

func TestRoleValidation(t *testing.T) {
	ctx, s, _ := newService(t)
	role := func(name, doc string) *iam.CreateRoleInput {
		return &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &doc}
	}
	with := func(in *iam.CreateRoleInput, f func(*iam.CreateRoleInput)) *iam.CreateRoleInput { f(in); return in }
	tests := []struct {
		name          string
		in            *iam.CreateRoleInput
		code, message string
	}{
		{"nothing", &iam.CreateRoleInput{}, "ValidationError", "2 validation errors detected: Value at 'roleName' failed to satisfy constraint: Member must not be null; Value at 'assumeRolePolicyDocument' failed to satisfy constraint: Member must not be null"},
		{"long name", role(longName, trustEKS), "ValidationError", "1 validation error detected: Value at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"bad name", role("a b", trustEKS), "ValidationError", "The specified value for roleName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"},
		{"bad path", with(role("a", trustEKS), func(in *iam.CreateRoleInput) { in.Path = aws.String("x") }), "ValidationError", "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters."},
		{"session", with(role("a", trustEKS), func(in *iam.CreateRoleInput) { in.MaxSessionDuration = aws.Int32(60) }), "ValidationError", "1 validation error detected: Value at 'maxSessionDuration' failed to satisfy constraint: Member must have value greater than or equal to 3600"},
		{"no JSON", role("a", "{"), "MalformedPolicyDocument", "This policy contains invalid Json"},
		{"no policy", role("a", `{"Statement":1}`), "MalformedPolicyDocument", "Syntax error in policy."},
		{"unknown principal", role("a", strings.Replace(trustEKS, `"Service":"eks.amazonaws.com"`, `"AWS":"arn:aws:iam::111122223333:role/gone"`, 1)), "MalformedPolicyDocument", `Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:role/gone"`},
		{"boundary", with(role("a", trustEKS), func(in *iam.CreateRoleInput) { in.PermissionsBoundary = aws.String("arn:aws:iam::aws:policy/NoSuch") }), "NoSuchEntity", "Scope ARN: arn:aws:iam::aws:policy/NoSuch does not exist or is not attachable."},
		{"reserved tag", with(role("a", trustEKS), func(in *iam.CreateRoleInput) {
			in.Tags = []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}}
		}), "InvalidInput", "Tag keys starting with aws: are reserved for system use."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.CreateRole(ctx, tt.in)
			wantError(t, err, tt.code, tt.message)
		})
	}
	encoded := url.PathEscape(trustEKS)
	must[iam.CreateRoleOutput](t)(s.CreateRole(ctx, role("encoded", encoded)))
	if r, _ := s.Role(ctx, awsid.Scope{Account: account}, "encoded"); r.Trust != trustEKS {
		t.Errorf("Trust = %q", r.Trust)
	}
}

func TestPages(t *testing.T) {
	ctx, s, _ := newService(t)
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprintf("r%d", i))
		createRole(t, ctx, s, want[i])
	}
	var got []string
	p := iam.NewListRolesPaginator(lister{s}, &iam.ListRolesInput{MaxItems: aws.Int32(3)})
	pages := 0
	for p.HasMorePages() {
		out := must[iam.ListRolesOutput](t)(p.NextPage(ctx))
		for _, r := range out.Roles {
			got = append(got, *r.RoleName)
		}
		pages++
	}
	if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
		t.Error(pages, diff)
	}
	_, err := s.ListRoles(ctx, &iam.ListRolesInput{MaxItems: aws.Int32(0)})
	wantError(t, err, "ValidationError", "1 validation error detected: Value at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1")
}

type lister struct{ s *Service }

func (l lister) ListRoles(ctx context.Context, in *iam.ListRolesInput, o ...func(*iam.Options)) (*iam.ListRolesOutput, error) {
	return l.s.ListRoles(ctx, in, o...)
}

func TestPolicyVersions(t *testing.T) {
	ctx, s, clk := newService(t)
	p := must[iam.CreatePolicyOutput](t)(s.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(allowAll)})).Policy
	if *p.Arn != "arn:aws:iam::111122223333:policy/p" || *p.DefaultVersionId != "v1" || *p.AttachmentCount != 0 {
		t.Errorf("policy = %+v", p)
	}
	_, err := s.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("P"), PolicyDocument: aws.String(allowAll)})
	wantError(t, err, "EntityAlreadyExists", "A policy called P already exists. Duplicate names are not allowed.")
	clk.SetTime(start.Add(time.Hour))
	for range 4 {
		must[iam.CreatePolicyVersionOutput](t)(s.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: p.Arn, PolicyDocument: aws.String(allowAll), SetAsDefault: true}))
	}
	_, err = s.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: p.Arn, PolicyDocument: aws.String(allowAll)})
	wantError(t, err, "LimitExceeded", "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
	_, err = s.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v5")})
	wantError(t, err, "DeleteConflict", "Cannot delete the default version of a policy.")
	must[iam.DeletePolicyVersionOutput](t)(s.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v2")}))
	must[iam.CreatePolicyVersionOutput](t)(s.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: p.Arn, PolicyDocument: aws.String(allowAll)}))
	var got []string
	for _, v := range must[iam.ListPolicyVersionsOutput](t)(s.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: p.Arn})).Versions {
		got = append(got, fmt.Sprintf("%s/%v", *v.VersionId, v.IsDefaultVersion))
	}
	if diff := cmp.Diff([]string{"v6/false", "v5/true", "v4/false", "v3/false", "v1/false"}, got); diff != "" {
		t.Error(diff)
	}

	createRole(t, ctx, s, "r")
	must[iam.AttachRolePolicyOutput](t)(s.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: p.Arn}))
	if n := *must[iam.GetPolicyOutput](t)(s.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: p.Arn})).Policy.AttachmentCount; n != 1 {
		t.Errorf("AttachmentCount = %d", n)
	}
	who := must[iam.ListEntitiesForPolicyOutput](t)(s.ListEntitiesForPolicy(ctx, &iam.ListEntitiesForPolicyInput{PolicyArn: p.Arn}))
	if len(who.PolicyRoles) != 1 || *who.PolicyRoles[0].RoleName != "r" {
		t.Errorf("entities = %+v", who)
	}
	_, err = s.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: p.Arn})
	wantError(t, err, "DeleteConflict", "Cannot delete a policy attached to entities.")
	must[iam.DetachRolePolicyOutput](t)(s.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: p.Arn}))
	_, err = s.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: p.Arn})
	wantError(t, err, "DeleteConflict", "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	must[iam.SetDefaultPolicyVersionOutput](t)(s.SetDefaultPolicyVersion(ctx, &iam.SetDefaultPolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v1")}))
	for _, v := range []string{"v3", "v4", "v5", "v6"} {
		must[iam.DeletePolicyVersionOutput](t)(s.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String(v)}))
	}
	must[iam.DeletePolicyOutput](t)(s.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: p.Arn}))
	_, err = s.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: p.Arn})
	wantError(t, err, "NoSuchEntity", "Policy "+*p.Arn+" was not found.")
}

func TestManagedPolicies(t *testing.T) {
	ctx, s, _ := newService(t)
	for _, m := range managedpolicies.All("aws") {
		if _, err := policy.Validate(string(m.Document), policy.Identity, "aws"); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		out := must[iam.GetPolicyVersionOutput](t)(s.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: aws.String(m.ARN()), VersionId: &m.Version}))
		if doc, err := url.PathUnescape(*out.PolicyVersion.Document); err != nil || doc != string(m.Document) {
			t.Errorf("%s: document differs: %v", m.Name, err)
		}
	}
	for arn, want := range map[string]bool{
		"arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy":             true,
		"arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy": true,
		"arn:aws:iam::aws:policy/AmazonEBSCSIDriverPolicy":              false,
	} {
		if _, ok := managedpolicies.ByARN(arn); ok != want {
			t.Errorf("ByARN(%s) = %v", arn, ok)
		}
	}
	must[iam.CreatePolicyOutput](t)(s.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("own"), PolicyDocument: aws.String(allowAll)}))
	for scope, want := range map[types.PolicyScopeType]int{"": len(managedpolicies.All("aws")) + 1, "AWS": len(managedpolicies.All("aws")), "Local": 1} {
		if got := len(must[iam.ListPoliciesOutput](t)(s.ListPolicies(ctx, &iam.ListPoliciesInput{Scope: scope})).Policies); got != want {
			t.Errorf("ListPolicies(%q) has %d, want %d", scope, got, want)
		}
	}
	_, err := s.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: aws.String(clusterP), PolicyDocument: aws.String(allowAll)})
	wantError(t, err, "AccessDenied", "User: arn:aws:iam::111122223333:root is not authorized to perform this operation on resource: "+clusterP)
	createRole(t, ctx, s, "r")
	_, err = s.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: aws.String("arn:aws:iam::aws:policy/aws-service-role/AmazonEKSServiceRolePolicy")})
	wantError(t, err, "PolicyNotAttachable", "Cannot attach a Service Role Policy to a Customer Role.")
}

func TestInstanceProfiles(t *testing.T) {
	ctx, s, _ := newService(t)
	createRole(t, ctx, s, "node")
	p := must[iam.CreateInstanceProfileOutput](t)(s.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("np"), Path: aws.String("/karpenter/eu-west-1/c/1/")})).InstanceProfile
	if *p.Arn != "arn:aws:iam::111122223333:instance-profile/karpenter/eu-west-1/c/1/np" || !strings.HasPrefix(*p.InstanceProfileId, "AIPA") {
		t.Errorf("profile = %+v", p)
	}
	_, err := s.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("np"), RoleName: aws.String("gone")})
	wantError(t, err, "NoSuchEntity", "The role with name gone cannot be found.")
	add := &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("np"), RoleName: aws.String("node")}
	must[iam.AddRoleToInstanceProfileOutput](t)(s.AddRoleToInstanceProfile(ctx, add))
	_, err = s.AddRoleToInstanceProfile(ctx, add)
	wantError(t, err, "LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
	got := must[iam.GetInstanceProfileOutput](t)(s.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: aws.String("np")})).InstanceProfile
	if len(got.Roles) != 1 || *got.Roles[0].RoleName != "node" {
		t.Errorf("profile = %+v", got)
	}
	if arn, role, ok := s.InstanceProfileRole(ctx, awsid.Scope{Account: account}, *p.Arn); !ok || arn != *p.Arn || role != "arn:aws:iam::111122223333:role/node" {
		t.Error(arn, role, ok)
	}
	if n := len(must[iam.ListInstanceProfilesOutput](t)(s.ListInstanceProfiles(ctx, &iam.ListInstanceProfilesInput{PathPrefix: aws.String("/karpenter/eu-west-1/c/")})).InstanceProfiles); n != 1 {
		t.Errorf("%d profiles", n)
	}
	_, err = s.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("node")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")
	_, err = s.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: aws.String("np")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")
	must[iam.RemoveRoleFromInstanceProfileOutput](t)(s.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: aws.String("np"), RoleName: aws.String("node")}))
	must[iam.DeleteInstanceProfileOutput](t)(s.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: aws.String("np")}))
	_, err = s.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: aws.String("np")})
	wantError(t, err, "NoSuchEntity", "Instance Profile np cannot be found.")
}

// authority knows the thumbprint of one host.
type authority string

func (a authority) Thumbprint(_ context.Context, issuer string) (string, bool) {
	return strings.Repeat("b", 40), strings.HasPrefix(issuer, string(a))
}

func TestThumbprintOfTheIssuer(t *testing.T) {
	ctx, s, _ := newService(t)
	s.thumbprints = authority("https://127.0.0.1:4566/")
	for url, want := range map[string][]string{
		"https://127.0.0.1:4566/id/ABC": {strings.Repeat("b", 40)}, "https://unreachable.example.com": {},
	} {
		out := must[iam.CreateOpenIDConnectProviderOutput](t)(s.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: &url}))
		got := must[iam.GetOpenIDConnectProviderOutput](t)(s.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: out.OpenIDConnectProviderArn}))
		if !cmp.Equal(got.ThumbprintList, want) {
			t.Errorf("%s has %v, want %v", url, got.ThumbprintList, want)
		}
	}
}

func TestOIDCProvider(t *testing.T) {
	ctx, s, _ := newService(t)
	in := &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://127.0.0.1:4566/id/ABC"), ClientIDList: []string{"sts.amazonaws.com"}, ThumbprintList: []string{"9E99A48A9960B14926BB7F3B02E22DA2B0AB7280"}}
	arn := must[iam.CreateOpenIDConnectProviderOutput](t)(s.CreateOpenIDConnectProvider(ctx, in)).OpenIDConnectProviderArn
	if *arn != "arn:aws:iam::111122223333:oidc-provider/127.0.0.1:4566/id/ABC" {
		t.Errorf("ARN = %s", *arn)
	}
	_, err := s.CreateOpenIDConnectProvider(ctx, in)
	wantError(t, err, "EntityAlreadyExists", "Provider with url https://127.0.0.1:4566/id/ABC already exists.")
	_, err = s.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: aws.String("http://x")})
	wantError(t, err, "InvalidInput", "Invalid Open ID Connect Provider URL. The URL must begin with https://.")
	must[iam.AddClientIDToOpenIDConnectProviderOutput](t)(s.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: aws.String("other")}))
	must[iam.UpdateOpenIDConnectProviderThumbprintOutput](t)(s.UpdateOpenIDConnectProviderThumbprint(ctx, &iam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{strings.Repeat("a", 40)}}))
	got := must[iam.GetOpenIDConnectProviderOutput](t)(s.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}))
	if *got.Url != "https://127.0.0.1:4566/id/ABC" || !cmp.Equal(got.ClientIDList, []string{"sts.amazonaws.com", "other"}) || !cmp.Equal(got.ThumbprintList, []string{strings.Repeat("a", 40)}) {
		t.Errorf("provider = %+v", got)
	}
	other := must[iam.CreateOpenIDConnectProviderOutput](t)(s.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://oidc.eks.us-east-1.amazonaws.com/id/ABC")})).OpenIDConnectProviderArn
	if got := must[iam.GetOpenIDConnectProviderOutput](t)(s.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: other})); *got.Url != "oidc.eks.us-east-1.amazonaws.com/id/ABC" {
		t.Errorf("URL without a port = %s", *got.Url)
	}
	if p, ok := s.OIDCProvider(ctx, awsid.Scope{Account: account}, "https://127.0.0.1:4566/id/ABC"); !ok || p.ARN != *arn {
		t.Error(p, ok)
	}
	must[iam.DeleteOpenIDConnectProviderOutput](t)(s.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}))
	_, err = s.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	wantError(t, err, "NoSuchEntity", "OpenIDConnect Provider not found for arn "+*arn)
}

func TestServiceLinkedRoles(t *testing.T) {
	ctx, s, _ := newService(t)
	in := &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("eks-nodegroup.amazonaws.com")}
	r := must[iam.CreateServiceLinkedRoleOutput](t)(s.CreateServiceLinkedRole(ctx, in)).Role
	if *r.Arn != "arn:aws:iam::111122223333:role/aws-service-role/eks-nodegroup.amazonaws.com/AWSServiceRoleForAmazonEKSNodegroup" {
		t.Errorf("ARN = %s", *r.Arn)
	}
	_, err := s.CreateServiceLinkedRole(ctx, in)
	wantError(t, err, "InvalidInput", "Service role name AWSServiceRoleForAmazonEKSNodegroup has been taken in this account, please try a different suffix.")
	if err := s.EnsureServiceLinkedRole(ctx, awsid.Scope{Account: account}, "eks-nodegroup.amazonaws.com"); err != nil {
		t.Error(err)
	}
	_, err = s.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: r.RoleName})
	wantError(t, err, "UnmodifiableEntity", "Cannot perform the operation on the protected role 'AWSServiceRoleForAmazonEKSNodegroup' - this role is only modifiable by AWS")
	for service, l := range linkedServices {
		if _, ok := managedpolicies.ByARN("arn:aws:iam::aws:policy/aws-service-role/" + l.policy); !ok {
			t.Errorf("%s has no policy", service)
		}
	}
	task := must[iam.DeleteServiceLinkedRoleOutput](t)(s.DeleteServiceLinkedRole(ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: r.RoleName})).DeletionTaskId
	st := must[iam.GetServiceLinkedRoleDeletionStatusOutput](t)(s.GetServiceLinkedRoleDeletionStatus(ctx, &iam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: task}))
	if st.Status != types.DeletionTaskStatusTypeSucceeded {
		t.Errorf("Status = %s", st.Status)
	}
}

func TestUsersGroupsAndKeys(t *testing.T) {
	ctx, s, clk := newService(t)
	u := must[iam.CreateUserOutput](t)(s.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("alice")})).User
	must[iam.CreateGroupOutput](t)(s.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("devs")}))
	must[iam.AddUserToGroupOutput](t)(s.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: aws.String("devs"), UserName: aws.String("alice")}))
	k := must[iam.CreateAccessKeyOutput](t)(s.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("alice")})).AccessKey
	if len(*k.AccessKeyId) != 20 || len(*k.SecretAccessKey) != 40 {
		t.Errorf("key = %+v", k)
	}
	got, ok := s.Key(ctx, awsid.PartitionAWS, *k.AccessKeyId)
	want := awsid.Caller{Scope: awsid.Scope{Account: account}, ARN: *u.Arn, UserID: *u.UserId, AccessKeyID: *k.AccessKeyId}
	if !ok || got.Secret != *k.SecretAccessKey || got.Caller != want {
		t.Errorf("Key = %+v, %v", got, ok)
	}
	own := as(ctx, *u.Arn)
	if me := must[iam.GetUserOutput](t)(s.GetUser(own, &iam.GetUserInput{})).User; *me.UserName != "alice" {
		t.Errorf("GetUser = %+v", me)
	}
	must[iam.CreateAccessKeyOutput](t)(s.CreateAccessKey(own, &iam.CreateAccessKeyInput{}))
	_, err := s.CreateAccessKey(own, &iam.CreateAccessKeyInput{})
	wantError(t, err, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
	_, err = s.GetUser(as(ctx, "arn:aws:sts::111122223333:assumed-role/r/s"), &iam.GetUserInput{})
	wantError(t, err, "ValidationError", "Must specify userName when calling with non-User credentials")

	if err := s.KeyUsed(ctx, *k.AccessKeyId, "eks", "eu-west-1"); err != nil {
		t.Fatal(err)
	}
	clk.SetTime(start.Add(time.Minute))
	if err := s.KeyUsed(ctx, *k.AccessKeyId, "iam", "eu-west-1"); err != nil {
		t.Fatal(err)
	}
	used := must[iam.GetAccessKeyLastUsedOutput](t)(s.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: k.AccessKeyId})).AccessKeyLastUsed
	if *used.ServiceName != "eks" || used.LastUsedDate.Format(time.RFC3339) != otherTime {
		t.Errorf("last used = %+v", used)
	}

	must[iam.UpdateUserOutput](t)(s.UpdateUser(ctx, &iam.UpdateUserInput{UserName: aws.String("alice"), NewUserName: aws.String("bob"), NewPath: aws.String("/x/")}))
	if got, ok := s.Key(ctx, awsid.PartitionAWS, *k.AccessKeyId); !ok || got.Caller.ARN != "arn:aws:iam::111122223333:user/x/bob" {
		t.Errorf("Key after rename = %+v, %v", got, ok)
	}
	must[iam.UpdateAccessKeyOutput](t)(s.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: k.AccessKeyId, Status: types.StatusTypeInactive}))
	if _, ok := s.Key(ctx, awsid.PartitionAWS, *k.AccessKeyId); ok {
		t.Error("an inactive key is found")
	}
	_, err = s.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("bob")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must delete access keys first.")
	for _, m := range must[iam.ListAccessKeysOutput](t)(s.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: aws.String("bob")})).AccessKeyMetadata {
		must[iam.DeleteAccessKeyOutput](t)(s.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: m.AccessKeyId}))
	}
	_, err = s.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: aws.String("devs")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must remove users from group first.")
	must[iam.RemoveUserFromGroupOutput](t)(s.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: aws.String("devs"), UserName: aws.String("bob")}))
	must[iam.DeleteGroupOutput](t)(s.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: aws.String("devs")}))
	must[iam.DeleteUserOutput](t)(s.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("bob")}))
}

func TestTags(t *testing.T) {
	ctx, s, _ := newService(t)
	createRole(t, ctx, s, "r")
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	must[iam.TagRoleOutput](t)(s.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("r"), Tags: []types.Tag{tag("a", "1"), tag("b", "2")}}))
	must[iam.TagRoleOutput](t)(s.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("r"), Tags: []types.Tag{tag("A", "3")}}))
	must[iam.UntagRoleOutput](t)(s.UntagRole(ctx, &iam.UntagRoleInput{RoleName: aws.String("r"), TagKeys: []string{"b"}}))
	got := must[iam.ListRoleTagsOutput](t)(s.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: aws.String("r")})).Tags
	if diff := cmp.Diff([]types.Tag{tag("a", "3")}, got, cmpopts.IgnoreUnexported(types.Tag{})); diff != "" {
		t.Error(diff)
	}
	_, err := s.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("r"), Tags: []types.Tag{tag("x", "1"), tag("X", "2")}})
	wantError(t, err, "InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
	var many []types.Tag
	for i := range 50 {
		many = append(many, tag(fmt.Sprint("k", i), ""))
	}
	_, err = s.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("r"), Tags: many})
	wantError(t, err, "LimitExceeded", "The number of tags has reached the maximum limit.")
}

func TestAccountsAreApart(t *testing.T) {
	ctx, s, _ := newService(t)
	createRole(t, ctx, s, "r")
	other := awsid.WithCaller(ctx, awsid.Caller{Scope: awsid.Scope{Account: "444455556666"}, ARN: "arn:aws:iam::444455556666:root"})
	_, err := s.GetRole(other, &iam.GetRoleInput{RoleName: aws.String("r")})
	wantError(t, err, "NoSuchEntity", "The role with name r cannot be found.")
}

func FuzzMarker(f *testing.F) {
	f.Add("cjE=", int32(1))
	f.Add("!", int32(1000))
	f.Fuzz(func(t *testing.T, marker string, n int32) {
		if n < 1 || n > 1000 {
			return
		}
		items := []string{"r3", "r1", "r2"}
		got, more, next, err := page(items, func(s string) string { return s }, &marker, &n)
		if err == nil && (more != (next != nil) || len(got) > int(n)) {
			t.Errorf("page = %v %v %v", got, more, next)
		}
	})
}
