package kms

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// What other AWS services ask about a customer's key.

// ServiceMayUse tells whether a key is there, enabled, symmetric, and lets a service
// principal encrypt with that encryption context.
func (s *Service) ServiceMayUse(ctx context.Context, service, keyARN string, encryptionContext map[string]string) bool {
	who := awsid.CallerFrom(ctx)
	n, err := parseName(who.Region, keyARN)
	if err != nil || n.key == "" || n.account == "" {
		return false
	}
	k := s.live(s.store, awsid.Scope{Account: n.account, Region: who.Region}, n.key)
	if k == nil || k.State != types.KeyStateEnabled || !k.symmetric() {
		return false
	}
	d, err := policy.Parse(k.Policy)
	if err != nil {
		return false
	}
	given := map[string][]string{"aws:sourceaccount": {who.Account}, "kms:calleraccount": {who.Account}}
	for name, v := range encryptionContext {
		given["kms:encryptioncontext:"+strings.ToLower(name)] = []string{v}
		given["kms:encryptioncontextkeys"] = append(given["kms:encryptioncontextkeys"], name)
		if name == "aws:logs:arn" {
			given["aws:sourcearn"] = []string{v}
		}
	}
	return d.Evaluate(policy.Request{Principal: policy.Principal{Service: service}, Action: "kms:Encrypt", Resource: k.arn(), Context: given}) == policy.Allowed
}
