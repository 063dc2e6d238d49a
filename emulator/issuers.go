package emulator

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	"github.com/ekslocal/ekslocal/emulator/oidc"
	"github.com/ekslocal/ekslocal/emulator/pki"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/service/sts"
)

// issuers gives STS the keys of the clusters' issuers, which it would fetch from
// their JWKS documents on AWS.
type issuers struct{ e *Emulator }

var _ sts.KeySource = issuers{}

// SigningKeys implements sts.KeySource.
func (i issuers) SigningKeys(_ context.Context, issuer string) (map[string]crypto.PublicKey, error) {
	for _, c := range eks.Clusters.ListAll(i.e.store) {
		if len(c.SAKey) == 0 || oidc.Issuer(i.e.issuerBase(), c.OIDCID()) != issuer {
			continue
		}
		k, err := pki.ParseSigningKey(c.SAKey)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", issuer, err)
		}
		sum := sha256.Sum256(der)
		return map[string]crypto.PublicKey{base64.RawURLEncoding.EncodeToString(sum[:]): &k.PublicKey}, nil
	}
	return nil, nil
}
