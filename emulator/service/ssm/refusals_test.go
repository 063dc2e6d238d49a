package ssm

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	ssmapi "github.com/ekslocal/ekslocal/api/ssm"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

// oneKey is a KMS that has the AWS managed key only.
type oneKey struct{}

func (oneKey) Encrypt(_ context.Context, in *kms.EncryptInput, _ ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	if *in.KeyId == defaultKey {
		return &kms.EncryptOutput{}, nil
	}
	return nil, &kmstypes.NotFoundException{Message: aws.String("Key 'arn:aws:kms:eu-west-1:111122223333:key/" + *in.KeyId + "' does not exist")}
}

func TestRefusals(t *testing.T) {
	ctx, s := newService(t)
	s.keys = oneKey{}
	c := awsid.CallerFrom(ctx)
	c.RequestID = "44f3a2b9-0000-4000-8000-000000000001"
	ctx = awsid.WithCaller(ctx, c)

	put(t, ctx, s, "there", "x")
	put(t, ctx, s, "/a/b", "x")
	put(t, ctx, s, "secret", "x", func(in *ssm.PutParameterInput) { in.Type = types.ParameterTypeSecureString })
	put(t, ctx, s, "advanced", "x", func(in *ssm.PutParameterInput) { in.Tier = types.ParameterTierAdvanced })
	for range maxVersions {
		put(t, ctx, s, "full", "x")
	}
	label := func(name string, n int64, labels ...string) {
		t.Helper()
		if _, err := s.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: &name, ParameterVersion: &n, Labels: labels}); err != nil {
			t.Fatal(err)
		}
	}
	label("full", 1, "first")
	put(t, ctx, s, "labelled", "x")
	for i := range maxLabels {
		label("labelled", 1, fmt.Sprintf("l%d", i))
	}
	put(t, ctx, s, "tagged", "x")
	var tags []types.Tag
	for i := range maxTags {
		tags = append(tags, types.Tag{Key: aws.String(fmt.Sprintf("k%d", i)), Value: aws.String("v")})
	}
	if _, err := s.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: aws.String("tagged"), Tags: tags}); err != nil {
		t.Fatal(err)
	}
	refusal.Run(ctx, t, ssmapi.Model(), s, map[string]string{
		"request": c.RequestID,
		"n2049":   strings.Repeat("n", 2049), "s4097": strings.Repeat("s", 4097), "s8193": strings.Repeat("s", 8193), "d1025": strings.Repeat("d", 1025),
		"v1025": strings.Repeat("v", 1025), "t129": strings.Repeat("t", 129), "v257": strings.Repeat("v", 257), "l101": strings.Repeat("l", 101),
		"deep": strings.Repeat("/a", 16),
	})
}
