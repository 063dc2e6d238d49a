package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProviderPrefixes(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    Provider
		want [2]string // claim, prefix
	}{
		{"the default", Provider{IssuerURL: "https://i"}, [2]string{"sub", "https://i#"}},
		{"another claim", Provider{IssuerURL: "https://i", UsernameClaim: "name"}, [2]string{"name", "https://i#"}},
		{"email", Provider{IssuerURL: "https://i", UsernameClaim: "email"}, [2]string{"email", ""}},
		{"none", Provider{IssuerURL: "https://i", UsernamePrefix: "-"}, [2]string{"sub", ""}},
		{"its own", Provider{IssuerURL: "https://i", UsernameClaim: "email", UsernamePrefix: "oidc:"}, [2]string{"email", "oidc:"}},
	} {
		u := tc.p.authenticator().ClaimMappings.Username
		if d := cmp.Diff(tc.want, [2]string{u.Claim, *u.Prefix}); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}

// providerOf is a Providers of one cluster.
type providerOf struct{ p *Provider }

func (p providerOf) IdentityProvider(_ context.Context, id string) (Provider, bool) {
	if p.p == nil || id != clusterID {
		return Provider{}, false
	}
	return *p.p, true
}

// TestProviderWithoutIssuer: an issuer that is not there refuses tokens and does not
// hang; a token of nobody's never reaches one.
func TestProviderWithoutIssuer(t *testing.T) {
	w := newWorld()
	a := w.authenticator(t)
	t.Cleanup(a.Close)
	jwt := "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://127.0.0.1:1","aud":"k","sub":"x","exp":9999999999}`)) + ".c2ln"
	if _, ok, err := a.Authenticate(t.Context(), clusterID, jwt); ok || err != nil {
		t.Errorf("without a provider: %v %v", ok, err)
	}
	p := providerOf{&Provider{IssuerURL: "https://127.0.0.1:1", ClientID: "k"}}
	a.Providers = p
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, ok, err := a.Authenticate(ctx, clusterID, jwt); ok || err != nil {
		t.Errorf("an issuer that does not answer: %v %v", ok, err)
	}
	p.p.IssuerURL = "http://not-https"
	if _, ok, err := a.Authenticate(ctx, clusterID, jwt); ok || err != nil {
		t.Errorf("an issuer that cannot be: %v %v", ok, err)
	}
	a.Providers = providerOf{}
	if _, ok, _ := a.Authenticate(ctx, clusterID, jwt); ok || len(a.providers.all) != 0 {
		t.Error("a provider that is gone is remembered")
	}
}

// TestProviderAlgorithms: like kube-apiserver without --oidc-signing-algs, RS256 is
// all that counts, whatever the issuer says.
func TestProviderAlgorithms(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	var url string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{
				map[string]any{"kty": "RSA", "alg": "RS256", "kid": "r", "n": b64(key.N.Bytes()), "e": "AQAB"},
				map[string]any{"kty": "EC", "alg": "ES256", "kid": "e", "crv": "P-256", "x": b64(ec.X.FillBytes(make([]byte, 32))), "y": b64(ec.Y.FillBytes(make([]byte, 32)))},
			}})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": url, "jwks_uri": url + "/keys", "id_token_signing_alg_values_supported": []string{"RS256", "ES256"}})
	}))
	t.Cleanup(s.Close)
	url = s.URL
	v, err := newVerifier(t.Context(), Provider{IssuerURL: url, ClientID: "k", GroupsClaim: "g", GroupsPrefix: "x:"}, s.Client())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	verifier{AuthenticatorTokenWithHealthCheck: v, until: w.now.Add(time.Minute)}.await(t.Context(), w.authenticator(t))
	claims, err := json.Marshal(map[string]any{"iss": url, "aud": "k", "sub": "me", "g": []string{"a"}, "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	signed := func(header string) (string, [32]byte) {
		text := b64([]byte(header)) + "." + b64(claims)
		return text, sha256.Sum256([]byte(text))
	}
	text, sum := signed(`{"alg":"RS256","kid":"r"}`)
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	r, ok, err := v.AuthenticateToken(t.Context(), text+"."+b64(sig))
	if !ok || err != nil || r.User.GetName() != url+"#me" || cmp.Diff([]string{"x:a"}, r.User.GetGroups()) != "" {
		t.Errorf("RS256: %+v %v %v", r, ok, err)
	}
	text, sum = signed(`{"alg":"ES256","kid":"e"}`)
	x, y, err := ecdsa.Sign(rand.Reader, ec, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := v.AuthenticateToken(t.Context(), text+"."+b64(append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...))); ok {
		t.Error("ES256 is accepted")
	}
	for _, none := range []string{"none", "None", "NONE", ""} {
		text, _ = signed(`{"alg":"` + none + `"}`)
		if _, ok, _ := v.AuthenticateToken(t.Context(), text+"."); ok {
			t.Errorf("an unsigned token is accepted: alg %q", none)
		}
	}
	// The issuer's public key, which everybody has, as the secret of an HMAC.
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), key.N.Bytes(), nil} {
		text, _ = signed(`{"alg":"HS256","kid":"r"}`)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		if _, ok, _ := v.AuthenticateToken(t.Context(), text+"."+b64(mac.Sum(nil))); ok {
			t.Error("HS256 is accepted")
		}
	}
	// Keys that the token itself brings, or says where to fetch.
	var asked atomic.Bool
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	t.Cleanup(evil.Close)
	mine, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	jwk := `{"kty":"RSA","alg":"RS256","kid":"mine","e":"AQAB","n":"` + b64(mine.N.Bytes()) + `"}`
	for _, header := range []string{
		`{"alg":"RS256","kid":"` + evil.URL + `/keys"}`, `{"alg":"RS256","kid":"../../../../dev/null"}`, `{"alg":"RS256","kid":"r"}`, `{"alg":"RS256"}`,
		`{"alg":"RS256","kid":"mine","jku":"` + evil.URL + `"}`, `{"alg":"RS256","kid":"mine","x5u":"` + evil.URL + `"}`, `{"alg":"RS256","kid":"mine","jwk":` + jwk + `}`,
	} {
		text, sum := signed(header)
		sig, err := rsa.SignPKCS1v15(rand.Reader, mine, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, _ := v.AuthenticateToken(t.Context(), text+"."+b64(sig)); ok {
			t.Errorf("a token that brings its key is accepted: %s", header)
		}
	}
	if asked.Load() {
		t.Error("a token chose where keys are fetched from")
	}
}
