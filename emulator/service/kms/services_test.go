package kms

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

func TestServiceMayUse(t *testing.T) {
	w := newWorld(t)
	logs := "logs.eu-west-1.amazonaws.com"
	group := map[string]string{"aws:logs:arn": "arn:aws:logs:eu-west-1:111122223333:log-group:g"}
	plain := w.create()
	// The statement of CloudWatch Logs User Guide, "Encrypt log data using KMS".
	policy := strings.TrimSuffix(strings.TrimSpace(defaultPolicy(awsid.Scope{Account: account})), "]\n}") + `, {"Effect":"Allow","Principal":{"Service":"` + logs + `"},
		"Action":["kms:Encrypt*","kms:Decrypt*","kms:ReEncrypt*","kms:GenerateDataKey*","kms:Describe*"],"Resource":"*",
		"Condition":{"ArnEquals":{"kms:EncryptionContext:aws:logs:arn":"arn:aws:logs:eu-west-1:111122223333:log-group:g"}}}]}`
	open := w.create(func(in *kms.CreateKeyInput) { in.Policy = aws.String(policy) })
	for name, tc := range map[string]struct {
		key  string
		ctx  map[string]string
		want bool
	}{
		"a key that says nothing of the service": {*plain.Arn, group, false},
		"a key that lets the service":            {*open.Arn, group, true},
		"another group":                          {*open.Arn, map[string]string{"aws:logs:arn": "arn:aws:logs:eu-west-1:111122223333:log-group:h"}, false},
		"no key":                                 {"arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", group, false},
		"no ARN":                                 {*open.KeyId, group, false},
	} {
		if got := w.ServiceMayUse(w.ctx, logs, tc.key, tc.ctx); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	must(w.DisableKey(w.ctx, &kms.DisableKeyInput{KeyId: open.KeyId}))
	if w.ServiceMayUse(w.ctx, logs, *open.Arn, group) {
		t.Error("a disabled key may be used")
	}
}
