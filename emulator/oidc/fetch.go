package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"time"
)

// Fetcher reads the keys of issuers that are not the emulator's own. It trusts the
// system's certificate authorities, which SSL_CERT_FILE and SSL_CERT_DIR replace.
type Fetcher struct{ client *http.Client }

// NewFetcher takes the client's transport; nil is net/http's.
func NewFetcher(transport http.RoundTripper) *Fetcher {
	return &Fetcher{&http.Client{
		Transport: transport, Timeout: 5 * time.Second,
		// An issuer answers itself: redirects lead to hosts that nobody registered.
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the issuer redirects") },
	}}
}

// maxDocument is more than any issuer's documents have.
const maxDocument = 1 << 20

// SigningKeys reads the issuer's discovery document and the key set that it names.
func (f *Fetcher) SigningKeys(ctx context.Context, issuer string) (map[string]crypto.PublicKey, error) {
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	raw, err := f.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	switch err := json.Unmarshal(raw, &doc); {
	case err != nil:
		return nil, fmt.Errorf("discovery document of %s: %w", issuer, err)
	case doc.Issuer != issuer:
		return nil, fmt.Errorf("the discovery document of %s is that of %s", issuer, doc.Issuer)
	}
	if raw, err = f.get(ctx, doc.Keys); err != nil {
		return nil, err
	}
	return ParseKeySet(raw)
}

func (f *Fetcher) get(ctx context.Context, url string) ([]byte, error) {
	if !strings.HasPrefix(url, "https://") {
		return nil, fmt.Errorf("%q is no https URL", url)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s", url, resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err == nil && len(raw) > maxDocument {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	return raw, nil
}

// ParseKeySet reads the RSA and P-256 keys of a JSON Web Key Set by their ids; keys
// of other kinds, and those for encryption, are left out.
func ParseKeySet(raw []byte) (map[string]crypto.PublicKey, error) {
	var set struct {
		Keys []struct{ Kid, Kty, Use, Crv, N, E, X, Y string }
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	out := map[string]crypto.PublicKey{}
	for _, k := range set.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		switch n, e, x, y := number(k.N), number(k.E), number(k.X), number(k.Y); {
		case k.Kty == "RSA" && n != nil && e != nil && n.BitLen() >= 1024 && n.BitLen() <= 8192 && e.IsInt64() && e.Int64() > 1 && e.Int64() < 1<<31:
			out[k.Kid] = &rsa.PublicKey{N: n, E: int(e.Int64())}
		case k.Kty == "EC" && k.Crv == "P-256" && x != nil && y != nil && x.BitLen() <= 256 && y.BitLen() <= 256:
			point := append(append([]byte{4}, x.FillBytes(make([]byte, 32))...), y.FillBytes(make([]byte, 32))...)
			if key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point); err == nil {
				out[k.Kid] = key
			}
		}
	}
	return out, nil
}

func number(s string) *big.Int {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil || len(b) == 0 {
		return nil
	}
	return new(big.Int).SetBytes(b)
}
