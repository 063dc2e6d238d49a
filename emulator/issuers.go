package emulator

import (
	"context"
	"crypto"
	"crypto/sha1" //nolint:gosec // what AWS's thumbprints are
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/oidc"
	"github.com/ekslocal/ekslocal/emulator/pki"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/service/iam"
	"github.com/ekslocal/ekslocal/emulator/service/sts"
)

// issuers gives STS the keys of the clusters' issuers, which it would fetch from
// their JWKS documents on AWS, and fetches those of others.
type issuers struct {
	e       *Emulator
	foreign *oidc.Fetcher
}

var (
	_ sts.KeySource   = issuers{}
	_ iam.Thumbprints = issuers{}
)

// own tells whether the issuer's URL is the emulator's.
func (i issuers) own(issuer string) bool { return strings.HasPrefix(issuer, i.e.issuerBase()+"/") }

// SigningKeys implements sts.KeySource.
func (i issuers) SigningKeys(ctx context.Context, issuer string) (map[string]crypto.PublicKey, error) {
	if !i.own(issuer) {
		return i.foreign.SigningKeys(ctx, issuer)
	}
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

// Thumbprint implements iam.Thumbprints: all issuers' certificates are signed by the
// emulator's own authority.
func (i issuers) Thumbprint(_ context.Context, issuer string) (string, bool) {
	b, _ := pem.Decode(i.e.ca)
	if b == nil || !i.own(issuer) {
		return "", false
	}
	sum := sha1.Sum(b.Bytes) //nolint:gosec // what AWS's thumbprints are
	return hex.EncodeToString(sum[:]), true
}
