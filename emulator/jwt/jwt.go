// Package jwt reads and verifies JSON web tokens as AWS takes them: compact, signed by
// RS256 or ES256, with a key that the issuer publishes.
package jwt

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
	"strconv"
	"strings"
	"time"
)

// Token is a token whose signature has not been looked at.
type Token struct {
	alg, kid          string
	signed            string
	claims, signature []byte
}

// KeyID is the key that the token names.
func (t *Token) KeyID() string { return t.kid }

// Claims reads the claims into a structure.
func (t *Token) Claims(into any) error { return json.Unmarshal(t.claims, into) }

// List is a claim that is a string or a list of strings, such as the audience.
type List []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *List) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*l = List{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(l))
}

// Time reads a NumericDate claim: seconds since 1970, with or without fraction.
func Time(n json.Number) (time.Time, bool) {
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || f != f || f < 0 || f > 1e12 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0), true
}

// Err is the error of everything that is no such token.
var Err = errors.New("not a JSON web token")

// Parse reads a token. Nothing in it is to be believed before Verify.
func Parse(token string) (*Token, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, Err
	}
	var raw [3][]byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			return nil, Err
		}
		raw[i] = b
	}
	var header struct{ Alg, Kid string }
	if json.Unmarshal(raw[0], &header) != nil || !json.Valid(raw[1]) {
		return nil, Err
	}
	return &Token{alg: header.Alg, kid: header.Kid, signed: parts[0] + "." + parts[1], claims: raw[1], signature: raw[2]}, nil
}

// Verify checks the signature with the key that the token names, or with the only one
// if it names none. The kind of the key decides the algorithm, whatever the token
// says of itself, and what it brings along as a key counts for nothing.
func (t *Token) Verify(keys map[string]crypto.PublicKey) bool {
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
