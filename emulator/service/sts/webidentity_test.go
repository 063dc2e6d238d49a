package sts

import (
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
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

func sign(t *testing.T, key crypto.Signer, alg, kid string, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := part(map[string]string{"alg": alg, "kid": kid}) + "." + part(claims)
	sum := sha256.Sum256([]byte(signed))
	var sig []byte
	var err error
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		r, s, e := ecdsa.Sign(rand.Reader, k, sum[:])
		sig, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), e
	} else {
		sig, err = key.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestWebIdentity(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bare := strings.TrimPrefix(issuer, "https://")
	d := directory{}
	d.add("irsa", `"Principal":{"Federated":"arn:aws:iam::`+account+`:oidc-provider/`+bare+`"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"`+bare+`:sub":"system:serviceaccount:ns:app","`+bare+`:aud":"sts.amazonaws.com"}}`, time.Hour)
	ctx, s, _ := newService(t, d, keys{"k1": &rsaKey.PublicKey, "k2": &ecKey.PublicKey})
	d.add("any", `"Principal":{"Federated":"arn:aws:iam::`+account+`:oidc-provider/`+bare+`"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringLike":{"`+bare+`:sub":"system:serviceaccount:n?:*"}}`, time.Hour)
	claims := func(change ...any) map[string]any {
		m := map[string]any{"iss": issuer, "sub": "system:serviceaccount:ns:app", "aud": []string{"sts.amazonaws.com"}, "exp": start.Add(time.Hour).Unix()}
		for i := 0; i < len(change); i += 2 {
			m[change[i].(string)] = change[i+1]
		}
		return m
	}
	refused := "Not authorized to perform sts:AssumeRoleWithWebIdentity"
	noKey := "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
	tests := []struct{ name, role, token, code, message string }{
		{"RSA", "irsa", sign(t, rsaKey, "RS256", "k1", claims()), "", ""},
		{"EC", "irsa", sign(t, ecKey, "ES256", "k2", claims("aud", "sts.amazonaws.com")), "", ""},
		{"like", "any", sign(t, rsaKey, "RS256", "k1", claims()), "", ""},
		{"unlike", "any", sign(t, rsaKey, "RS256", "k1", claims("sub", "system:serviceaccount:kube-system:app")), "AccessDenied", refused},
		{"no token", "irsa", "xxxx", "InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"},
		{"wrong key", "irsa", sign(t, rsaKey, "RS256", "k2", claims()), "InvalidIdentityToken", noKey},
		{"no algorithm", "irsa", sign(t, rsaKey, "none", "k1", claims()), "InvalidIdentityToken", noKey},
		{"unknown issuer", "irsa", sign(t, rsaKey, "RS256", "k1", claims("iss", "https://x")), "InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://x"},
		{"expired", "irsa", sign(t, rsaKey, "RS256", "k1", claims("exp", start.Unix()-1)), "ExpiredTokenException", "Token expired: current date/time 1777629600 must be before the expiration date/time 1777629599"},
		{"audience", "irsa", sign(t, rsaKey, "RS256", "k1", claims("aud", "other")), "InvalidIdentityToken", "Incorrect token audience"},
		{"subject", "irsa", sign(t, rsaKey, "RS256", "k1", claims("sub", "system:serviceaccount:ns:other")), "AccessDenied", refused},
		{"no such role", "gone", sign(t, rsaKey, "RS256", "k1", claims()), "AccessDenied", refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := s.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
				RoleArn: aws.String("arn:aws:iam::" + account + ":role/" + tt.role), RoleSessionName: aws.String("pod"), WebIdentityToken: &tt.token,
			})
			if tt.code != "" {
				wantError(t, err, tt.code, tt.message)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if *out.SubjectFromWebIdentityToken != "system:serviceaccount:ns:app" || *out.Audience != "sts.amazonaws.com" || *out.AssumedRoleUser.Arn != "arn:aws:sts::111122223333:assumed-role/"+tt.role+"/pod" {
				t.Errorf("answer = %+v", out)
			}
		})
	}
}

// TestForgedTokens are attacks on the verification of tokens: none gets in.
func TestForgedTokens(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	bare := strings.TrimPrefix(issuer, "https://")
	d := directory{}
	d.add("irsa", `"Principal":{"Federated":"arn:aws:iam::`+account+`:oidc-provider/`+bare+`"},"Action":"sts:AssumeRoleWithWebIdentity"`, time.Hour)
	ctx, s, _ := newService(t, d, keys{"k1": &rsaKey.PublicKey})
	claims := map[string]any{"iss": issuer, "sub": "system:serviceaccount:ns:app", "aud": "sts.amazonaws.com", "exp": start.Add(time.Hour).Unix()}
	good := sign(t, rsaKey, "RS256", "k1", claims)
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	// hmac signs with what everybody knows, the public key, as a secret.
	hmacOf := func(secret []byte) string {
		signed := part(map[string]string{"alg": "HS256", "kid": "k1"}) + "." + part(claims)
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	der, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]any{"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(stranger.N.Bytes()), "e": "AQAB"}
	header := func(h map[string]any) string {
		signed := part(h) + "." + part(claims)
		sum := sha256.Sum256([]byte(signed))
		sig, err := stranger.Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	parts := strings.Split(good, ".")
	admin := map[string]any{"iss": issuer, "sub": "system:serviceaccount:ns:admin", "aud": "sts.amazonaws.com", "exp": start.Add(time.Hour).Unix()}
	for name, token := range map[string]string{
		"alg none without a signature":     part(map[string]string{"alg": "none"}) + "." + part(claims) + ".",
		"alg none with the signature":      part(map[string]string{"alg": "none", "kid": "k1"}) + "." + parts[1] + "." + parts[2],
		"HS256 by the public key as DER":   hmacOf(der),
		"HS256 by the public key as PEM":   hmacOf(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"HS256 by nothing":                 hmacOf(nil),
		"another cluster's key":            sign(t, stranger, "RS256", "k1", claims),
		"a kid that is nobody's":           sign(t, rsaKey, "RS256", "k9", claims),
		"a kid that points to a file":      sign(t, stranger, "RS256", "../../dev/null", claims),
		"a key of its own in the header":   header(map[string]any{"alg": "RS256", "kid": "k1", "jwk": own}),
		"a key set of its own":             header(map[string]any{"alg": "RS256", "kid": "k1", "jku": "https://evil.example.com/keys"}),
		"another subject by the signature": parts[0] + "." + part(admin) + "." + parts[2],
		"no signature":                     parts[0] + "." + parts[1] + ".",
		"two parts":                        parts[0] + "." + parts[1],
		"four parts":                       good + "." + parts[2],
		"RS512 by name":                    sign(t, rsaKey, "RS512", "k1", claims),
		"lower case":                       sign(t, rsaKey, "rs256", "k1", claims),
	} {
		out, err := s.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: roleARN("irsa"), RoleSessionName: aws.String("pod"), WebIdentityToken: &token})
		var api smithy.APIError
		if err == nil || !errors.As(err, &api) || api.ErrorCode() != "InvalidIdentityToken" {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
	if _, err := s.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: roleARN("irsa"), RoleSessionName: aws.String("pod"), WebIdentityToken: &good}); err != nil {
		t.Errorf("the token that all of these were made from: %v", err)
	}
	ctx, s, _ = newService(t, d, keys(nil))
	_, err = s.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: roleARN("irsa"), RoleSessionName: aws.String("pod"), WebIdentityToken: &good})
	wantError(t, err, "IDPCommunicationError", "Couldn't retrieve verification key from your identity provider: connection refused")
}
