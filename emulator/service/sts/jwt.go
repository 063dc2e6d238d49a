package sts

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
)

// jwt is a JSON web token whose signature has not been looked at.
type jwt struct {
	alg, kid  string
	signed    string
	signature []byte
	claims    claims
}

type claims struct {
	Issuer   string      `json:"iss"`
	Subject  string      `json:"sub"`
	Audience audience    `json:"aud"`
	Party    string      `json:"azp"`
	Expires  json.Number `json:"exp"`
	Issued   json.Number `json:"iat"`
	NotYet   json.Number `json:"nbf"`

	Tags           tagClaim `json:"https://aws.amazon.com/tags"`
	SourceIdentity string   `json:"https://aws.amazon.com/source_identity"`
}

// tagClaim are session tags in a token ("Passing session tags in AWS STS", using
// AssumeRoleWithWebIdentity): a list of one value for each key.
type tagClaim struct {
	Principal  map[string]audience `json:"principal_tags"`
	Transitive []string            `json:"transitive_tag_keys"`
}

// transitive leaves out keys of no tag.
func (c tagClaim) transitive() []string {
	return slices.DeleteFunc(c.Transitive, func(k string) bool { return len(c.Principal[k]) == 0 })
}

func (c tagClaim) principal() map[string]string {
	if len(c.Principal) == 0 {
		return nil
	}
	out := map[string]string{}
	for k, v := range c.Principal {
		if len(v) > 0 {
			out[k] = v[0]
		}
	}
	return out
}

// audience is a string or a list of strings, as some other claims are.
type audience []string

func (a *audience) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(a))
}

var errNotJWT = errors.New("not a JSON web token")

func parseJWT(token string) (jwt, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return jwt{}, errNotJWT
	}
	var raw [3][]byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			return jwt{}, errNotJWT
		}
		raw[i] = b
	}
	var header struct{ Alg, Kid string }
	t := jwt{signed: parts[0] + "." + parts[1], signature: raw[2]}
	if json.Unmarshal(raw[0], &header) != nil || json.Unmarshal(raw[1], &t.claims) != nil {
		return jwt{}, errNotJWT
	}
	t.alg, t.kid = header.Alg, header.Kid
	return t, nil
}

// verify checks the signature with the key that the token names, or with the
// only one if it names none.
func (t jwt) verify(keys map[string]crypto.PublicKey) bool {
	key, ok := keys[t.kid]
	if t.kid == "" && len(keys) == 1 {
		for _, key = range keys {
			ok = true
		}
	}
	if !ok {
		return false
	}
	sum := sha256.Sum256([]byte(t.signed))
	switch pub := key.(type) {
	case *rsa.PublicKey:
		return t.alg == "RS256" && rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], t.signature) == nil
	case *ecdsa.PublicKey:
		if t.alg != "ES256" || pub.Curve != elliptic.P256() || len(t.signature) != 64 {
			return false
		}
		r, s := new(big.Int).SetBytes(t.signature[:32]), new(big.Int).SetBytes(t.signature[32:])
		return ecdsa.Verify(pub, sum[:], r, s)
	}
	return false
}
