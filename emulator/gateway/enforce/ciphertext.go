package enforce

import (
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/gateway/authorize"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// ciphertexts is the Directory of KMS, which can read off a ciphertext what key it is
// of.
type ciphertexts interface {
	CiphertextKey(sc awsid.Scope, blob []byte) (arn string, ok bool)
}

// unnamed is the ciphertext of a call that does not name the key it was made with.
func unnamed(c gateway.Call) []byte {
	switch in := c.Input.(type) {
	case *kms.DecryptInput:
		if in.KeyId == nil {
			return in.CiphertextBlob
		}
	case *kms.ReEncryptInput:
		if in.SourceKeyId == nil {
			return in.CiphertextBlob
		}
	}
	return nil
}

func decrypts(action string) bool { return action == "kms:Decrypt" || action == "kms:ReEncryptFrom" }

// findCiphertext completes checks about the key of a ciphertext.
func (g *Gate) findCiphertext(c gateway.Call, checks []authorize.Check) {
	blob := unnamed(c)
	d, ok := g.Directory("kms").(ciphertexts)
	if blob == nil || !ok {
		return
	}
	for i := range checks {
		if !decrypts(checks[i].Action) || checks[i].Resource != "*" {
			continue
		}
		if arn, ok := d.CiphertextKey(c.Caller.Scope, blob); ok {
			checks[i].Resource = arn
		}
	}
}

// hidden tells whether the answer must not say that there is such a key.
func hidden(c gateway.Call, d *policy.Decision) bool {
	return decrypts(d.Request.Action) && unnamed(c) != nil
}
