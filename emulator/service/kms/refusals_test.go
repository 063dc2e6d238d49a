package kms

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	kmsapi "github.com/ekslocal/ekslocal/api/kms"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

func names[T ~string](values []T) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	key := func(spec types.KeySpec, usage types.KeyUsageType) string {
		return *w.create(func(in *kms.CreateKeyInput) { in.KeySpec, in.KeyUsage = spec, usage }).KeyId
	}
	symmetric := func() string { return *w.create().KeyId }
	v := map[string]string{
		"key": symmetric(), "other": symmetric(), "disabled": symmetric(), "pending": symmetric(),
		"rsa":     key(types.KeySpecRsa2048, types.KeyUsageTypeEncryptDecrypt),
		"sign":    key(types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify),
		"hmac":    key(types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac),
		"import":  *w.create(func(in *kms.CreateKeyInput) { in.Origin = types.OriginTypeExternal }).KeyId,
		"managed": *must(w.DescribeKey(w.ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/s3")})).KeyMetadata.KeyId,
		"specs":   names(types.KeySpec("").Values()), "usages": names(types.KeyUsageType("").Values()),
	}
	seal := func(id string) string {
		return base64.StdEncoding.EncodeToString(must(w.Encrypt(w.ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionContext: map[string]string{"a": "b"}})).CiphertextBlob)
	}
	v["sealed"] = seal(v["key"])
	elsewhere := w.as(account, "us-east-1", "arn:aws:iam::111122223333:root")
	far := must(w.CreateKey(elsewhere, &kms.CreateKeyInput{})).KeyMetadata.KeyId
	v["lost"] = base64.StdEncoding.EncodeToString(must(w.Encrypt(elsewhere, &kms.EncryptInput{KeyId: far, Plaintext: []byte("x")})).CiphertextBlob)
	must(w.CreateAlias(w.ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/used"), TargetKeyId: aws.String(v["key"])}))
	must(w.DisableKey(w.ctx, &kms.DisableKeyInput{KeyId: aws.String(v["disabled"])}))
	must(w.ScheduleKeyDeletion(w.ctx, &kms.ScheduleKeyDeletionInput{KeyId: aws.String(v["pending"])}))
	refusal.Run(w.ctx, t, kmsapi.Model(), w.Service, v)
}
