package ssm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

const region = "eu-west-1"

var start = time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)

func newService(t *testing.T) (context.Context, *Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	st, err := store.Open(ctx, store.NewMemory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx = awsid.WithCaller(ctx, awsid.Caller{Scope: awsid.Scope{Account: "111122223333", Region: region}, ARN: "arn:aws:iam::111122223333:root"})
	return ctx, New(Config{Store: st, Clock: clocktesting.NewFakePassiveClock(start)})
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

func put(t *testing.T, ctx context.Context, s *Service, name, value string, f ...func(*ssm.PutParameterInput)) int64 {
	t.Helper()
	in := &ssm.PutParameterInput{Name: &name, Value: &value, Type: types.ParameterTypeString, Overwrite: aws.Bool(true)}
	for _, f := range f {
		f(in)
	}
	out, err := s.PutParameter(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return out.Version
}

func TestParameterLife(t *testing.T) {
	ctx, s := newService(t)
	put(t, ctx, s, "/app/db", "one")
	if v := put(t, ctx, s, "/app/db", "two"); v != 2 {
		t.Errorf("Version = %d", v)
	}
	_, err := s.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/app/db"), Value: aws.String("x"), Type: types.ParameterTypeString})
	wantError(t, err, "ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	_, err = s.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: aws.String("/app/db"), ParameterVersion: aws.Int64(1), Labels: []string{"prod"}})
	if err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:ssm:eu-west-1:111122223333:parameter/app/db"
	for name, want := range map[string]string{"/app/db": "two", "/app/db:1": "one", "/app/db:prod": "one", "/app/db:2": "two", arn: "two", arn + ":1": "one"} {
		out, err := s.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
		if err != nil || *out.Parameter.Value != want || *out.Parameter.ARN != arn {
			t.Errorf("GetParameter(%s) = %+v, %v", name, out, err)
		}
	}
	_, err = s.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/app/db:9")})
	wantError(t, err, "ParameterVersionNotFound", "Systems Manager could not find version 9 of /app/db. Verify the version and try again.")
	_, err = s.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/gone")})
	wantError(t, err, "ParameterNotFound", "")
	hist, err := s.GetParameterHistory(ctx, &ssm.GetParameterHistoryInput{Name: aws.String("/app/db")})
	if err != nil || len(hist.Parameters) != 2 || *hist.Parameters[0].Value != "one" || !cmp.Equal(hist.Parameters[0].Labels, []string{"prod"}) {
		t.Errorf("history = %+v, %v", hist, err)
	}
	// Moving a label takes it off the version that had it.
	if _, err := s.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: aws.String("/app/db"), Labels: []string{"prod", "1bad"}}); err != nil {
		t.Fatal(err)
	}
	if out, err := s.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/app/db:prod")}); err != nil || *out.Parameter.Value != "two" {
		t.Errorf("after moving the label: %+v, %v", out, err)
	}
	del, err := s.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: []string{"/app/db", "/gone"}})
	if err != nil || !cmp.Equal(del.DeletedParameters, []string{"/app/db"}) || !cmp.Equal(del.InvalidParameters, []string{"/gone"}) {
		t.Errorf("DeleteParameters = %+v, %v", del, err)
	}
	_, err = s.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String("/app/db")})
	wantError(t, err, "ParameterNotFound", "")
	if v := put(t, ctx, s, "/app/db", "new"); v != 1 {
		t.Errorf("Version after deletion = %d", v)
	}
}

func TestPutErrors(t *testing.T) {
	ctx, s := newService(t)
	put(t, ctx, s, "string", "x")
	tests := []struct {
		name          string
		in            ssm.PutParameterInput
		code, message string
	}{
		{"aws", ssm.PutParameterInput{Name: aws.String("/aws/x"), Value: aws.String("x"), Type: "String"}, "AccessDeniedException", "No access to reserved parameter name: /aws/x."},
		{"relative", ssm.PutParameterInput{Name: aws.String("a/b"), Value: aws.String("x"), Type: "String"}, "ValidationException", "Parameter name must be a fully qualified name."},
		{"no type", ssm.PutParameterInput{Name: aws.String("a"), Value: aws.String("x")}, "ValidationException", "A parameter type is required when you create a parameter."},
		{"nothing", ssm.PutParameterInput{}, "ValidationException", "2 validation errors detected: Value null at 'name' failed to satisfy constraint: Member must not be null; Value null at 'value' failed to satisfy constraint: Member must not be null"},
		{"deep", ssm.PutParameterInput{Name: aws.String(strings.Repeat("/a", 16)), Value: aws.String("x"), Type: "String"}, "HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of 15 levels. For more information, see Requirements and constraints for parameter names in the AWS Systems Manager User Guide."},
		{"pattern", ssm.PutParameterInput{Name: aws.String("a"), Value: aws.String("x"), Type: "String", AllowedPattern: aws.String(`\d+`)}, "ParameterPatternMismatchException", `Parameter value, cannot be validated against allowedPattern: \d+`},
		{"type change", ssm.PutParameterInput{Name: aws.String("string"), Value: aws.String("x"), Type: "SecureString", Overwrite: aws.Bool(true)}, "HierarchyTypeMismatchException", "Parameter Store does not support changing a parameter type in a hierarchy. For example, you can't change a parameter from a String type to a SecureString type. You must create a new, unique parameter."},
		{"key", ssm.PutParameterInput{Name: aws.String("a"), Value: aws.String("x"), Type: "String", KeyId: aws.String("k")}, "ValidationException", "KeyId is required for SecureString type parameter only."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.PutParameter(ctx, &tt.in)
			wantError(t, err, tt.code, tt.message)
		})
	}
}

func TestVersionLimit(t *testing.T) {
	ctx, s := newService(t)
	for range maxVersions + 2 {
		put(t, ctx, s, "p", "x")
	}
	if _, err := s.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("p:2")}); err == nil {
		t.Error("version 2 is still there")
	}
	if _, err := s.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: aws.String("p"), ParameterVersion: aws.Int64(3), Labels: []string{"keep"}}); err != nil {
		t.Fatal(err)
	}
	_, err := s.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("p"), Value: aws.String("x"), Overwrite: aws.Bool(true)})
	var limit *types.ParameterMaxVersionLimitExceeded
	if !errors.As(err, &limit) {
		t.Errorf("error = %v", err)
	}
}

func TestSecureString(t *testing.T) {
	ctx, s := newService(t)
	put(t, ctx, s, "secret", "hidden", func(in *ssm.PutParameterInput) { in.Type = types.ParameterTypeSecureString })
	out, err := s.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("secret")})
	if err != nil || *out.Parameter.Value == "hidden" || *out.Parameter.Value == "" {
		t.Errorf("without decryption: %+v, %v", out, err)
	}
	out, err = s.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("secret"), WithDecryption: aws.Bool(true)})
	if err != nil || *out.Parameter.Value != "hidden" {
		t.Errorf("with decryption: %+v, %v", out, err)
	}
	d, err := s.DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("KeyId"), Values: []string{"alias/aws/ssm"}}}})
	if err != nil || len(d.Parameters) != 1 || *d.Parameters[0].Name != "secret" {
		t.Errorf("DescribeParameters = %+v, %v", d, err)
	}
}

func TestByPathAndDescribe(t *testing.T) {
	ctx, s := newService(t)
	for i := range 12 {
		put(t, ctx, s, fmt.Sprintf("/a/p%02d", i), "x")
	}
	put(t, ctx, s, "/a/b/c", "x")
	put(t, ctx, s, "/ab", "x")
	list := func(in *ssm.GetParametersByPathInput) (names []string) {
		p := ssm.NewGetParametersByPathPaginator(byPath{s}, in)
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range out.Parameters {
				names = append(names, *v.Name)
			}
		}
		return names
	}
	if got := list(&ssm.GetParametersByPathInput{Path: aws.String("/a")}); len(got) != 12 {
		t.Errorf("one level: %v", got)
	}
	if got := list(&ssm.GetParametersByPathInput{Path: aws.String("/a/"), Recursive: aws.Bool(true)}); len(got) != 13 || got[0] != "/a/b/c" {
		t.Errorf("recursive: %v", got)
	}
	describe := func(key, option string, values ...string) (names []string) {
		in := &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{{Key: &key, Values: values}}}
		if option != "" {
			in.ParameterFilters[0].Option = &option
		}
		out, err := s.DescribeParameters(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range out.Parameters {
			names = append(names, *v.Name)
		}
		return names
	}
	if _, err := s.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/ab"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key, option, value string
		want               []string
	}{
		{"Name", "", "/ab", []string{"/ab"}}, {"Name", "BeginsWith", "/a/b", []string{"/a/b/c"}}, {"Name", "Contains", "p03", []string{"/a/p03"}},
		{"Path", "Recursive", "/a/b", []string{"/a/b/c"}}, {"Path", "OneLevel", "/a/b/", []string{"/a/b/c"}}, {"tag:k", "", "v", []string{"/ab"}},
	} {
		if diff := cmp.Diff(tt.want, describe(tt.key, tt.option, tt.value)); diff != "" {
			t.Errorf("%+v: %s", tt, diff)
		}
	}
	_, err := s.DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("Nope")}}})
	wantError(t, err, "ValidationException", "1 validation error detected: Value 'Nope' at 'parameterFilters.1.member.key' failed to satisfy constraint: Member must satisfy regular expression pattern: tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType")
	_, err = s.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("/a"), MaxResults: aws.Int32(11)})
	wantError(t, err, "ValidationException", "1 validation error detected: Value '11' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 10")
}

type byPath struct{ s *Service }

func (b byPath) GetParametersByPath(ctx context.Context, in *ssm.GetParametersByPathInput, o ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error) {
	return b.s.GetParametersByPath(ctx, in, o...)
}

func TestPublicParameters(t *testing.T) {
	ctx, s := newService(t)
	im, ok := images.EKSImage(region, "1.34", images.AL2023, images.X86)
	if !ok {
		t.Fatal("no image")
	}
	rocket, _ := images.EKSImage(region, "1.34", images.Bottlerocket, images.ARM)
	base, _ := images.Base(region, images.ARM)
	const al = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/"
	want := map[string]string{
		al + "recommended/image_id":                                                    im.ID,
		al + "recommended/image_name":                                                  im.Name,
		al + "recommended/release_version":                                             im.ReleaseVersion,
		al + im.Name + "/image_id":                                                     im.ID,
		"/aws/service/bottlerocket/aws-k8s-1.34/arm64/latest/image_id":                 rocket.ID,
		"/aws/service/bottlerocket/aws-k8s-1.34/arm64/latest/image_version":            rocket.ReleaseVersion,
		"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64":         base.ID,
		"/aws/service/global-infrastructure/regions/us-east-1":                         "us-east-1",
		"/aws/service/global-infrastructure/availability-zones/use1-az6/parent-region": "us-east-1",
	}
	for name, value := range want {
		out, err := s.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
		if err != nil || *out.Parameter.Value != value || *out.Parameter.ARN != "arn:aws:ssm:eu-west-1::parameter"+name {
			t.Errorf("%s = %+v, %v, want %s", name, out, err, value)
		}
	}
	out, err := s.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(al + "recommended")})
	if err != nil {
		t.Fatal(err)
	}
	var sum map[string]string
	if err := json.Unmarshal([]byte(*out.Parameter.Value), &sum); err != nil || sum["image_id"] != im.ID || sum["release_version"] != im.ReleaseVersion {
		t.Errorf("recommended = %v, %v", sum, err)
	}
	if _, ok := images.Lookup(region, sum["image_id"]); !ok {
		t.Error("EC2 does not know the image")
	}
	list, err := s.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String(al + "recommended")})
	if err != nil || len(list.Parameters) != 3 {
		t.Errorf("by path: %+v, %v", list, err)
	}
	got, err := s.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{al + "recommended/image_id", "/aws/service/eks/optimized-ami/1.10/x"}})
	if err != nil || len(got.Parameters) != 1 || len(got.InvalidParameters) != 1 {
		t.Errorf("GetParameters = %+v, %v", got, err)
	}
	d, err := s.DescribeParameters(ctx, &ssm.DescribeParametersInput{})
	if err != nil || len(d.Parameters) != 0 {
		t.Errorf("DescribeParameters = %+v, %v", d, err)
	}
}

func TestTags(t *testing.T) {
	ctx, s := newService(t)
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	if _, err := s.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("p"), Value: aws.String("x"), Type: "String", Tags: []types.Tag{tag("a", "1"), tag("b", "2")}}); err != nil {
		t.Fatal(err)
	}
	put(t, ctx, s, "p", "y") // keeps the tags
	if _, err := s.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{ResourceType: "Parameter", ResourceId: aws.String("p"), TagKeys: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	out, err := s.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: "Parameter", ResourceId: aws.String("p")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]types.Tag{tag("b", "2")}, out.TagList, cmpopts.IgnoreUnexported(types.Tag{})); diff != "" {
		t.Error(diff)
	}
	_, err = s.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: "Parameter", ResourceId: aws.String("q")})
	wantError(t, err, "InvalidResourceId", "")
}

func FuzzSelector(f *testing.F) {
	for _, n := range []string{"/a:1", "arn:aws:ssm:eu-west-1:111122223333:parameter/a:x", "arn:aws:ssm:::parameter", ":", ""} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		bare, sel := splitSelector(awsid.Scope{Account: "111122223333", Region: region}, name)
		if len(bare)+len(sel) > len(name) {
			t.Errorf("splitSelector(%q) = %q, %q", name, bare, sel)
		}
		_ = checkName(bare)
	})
}

func TestPublicParametersOfChina(t *testing.T) {
	ctx, s := newService(t)
	ctx = awsid.WithCaller(ctx, awsid.Caller{Scope: awsid.Scope{Account: "111122223333", Region: "cn-northwest-1"}})
	const base = "/aws/service/global-infrastructure/regions/"
	for name, want := range map[string]string{base + "cn-north-1/domain": "amazonaws.com.cn", base + "cn-north-1/partition": "aws-cn"} {
		out, err := s.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
		if err != nil {
			t.Fatal(err)
		}
		if *out.Parameter.Value != want || *out.Parameter.ARN != "arn:aws-cn:ssm:cn-northwest-1::parameter"+name {
			t.Errorf("%s is %s of %s", name, *out.Parameter.Value, *out.Parameter.ARN)
		}
	}
	if _, err := s.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(base + "us-east-1/domain")}); err == nil {
		t.Error("China knows a region of aws")
	}
}
