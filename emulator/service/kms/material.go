package kms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// kind is what KMS can do with keys of one spec.
type kind struct {
	// secret makes new key material; nil for specs that are not emulated.
	secret     func() ([]byte, error)
	asymmetric bool
	// usages are the algorithms for each use that such keys can have.
	usages map[types.KeyUsageType][]string
}

// kinds of keys. secp256k1, SM2 and ML-DSA have no implementation in Go's standard
// library.
var kinds = map[types.KeySpec]kind{
	types.KeySpecSymmetricDefault: {secret: random(32), usages: map[types.KeyUsageType][]string{types.KeyUsageTypeEncryptDecrypt: {"SYMMETRIC_DEFAULT"}}},
	types.KeySpecHmac224:          hmacKind(28, "HMAC_SHA_224"),
	types.KeySpecHmac256:          hmacKind(32, "HMAC_SHA_256"),
	types.KeySpecHmac384:          hmacKind(48, "HMAC_SHA_384"),
	types.KeySpecHmac512:          hmacKind(64, "HMAC_SHA_512"),
	types.KeySpecRsa2048:          rsaKind(2048),
	types.KeySpecRsa3072:          rsaKind(3072),
	types.KeySpecRsa4096:          rsaKind(4096),
	types.KeySpecEccNistP256:      ecKind(elliptic.P256(), "ECDSA_SHA_256"),
	types.KeySpecEccNistP384:      ecKind(elliptic.P384(), "ECDSA_SHA_384"),
	types.KeySpecEccNistP521:      ecKind(elliptic.P521(), "ECDSA_SHA_512"),
	types.KeySpecEccNistEdwards25519: {secret: edwardsSecret, asymmetric: true, usages: map[types.KeyUsageType][]string{
		types.KeyUsageTypeSignVerify: {"ED25519_SHA_512", "ED25519_PH_SHA_512"},
	}},
}

func hmacKind(size int, algorithm string) kind {
	return kind{secret: random(size), usages: map[types.KeyUsageType][]string{types.KeyUsageTypeGenerateVerifyMac: {algorithm}}}
}

func rsaKind(bits int) kind {
	return kind{secret: rsaSecret(bits), asymmetric: true, usages: map[types.KeyUsageType][]string{
		types.KeyUsageTypeEncryptDecrypt: {"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"},
		types.KeyUsageTypeSignVerify: {
			"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512", "RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
		},
	}}
}

func ecKind(curve elliptic.Curve, algorithm string) kind {
	return kind{secret: ecSecret(curve), asymmetric: true, usages: map[types.KeyUsageType][]string{
		types.KeyUsageTypeSignVerify: {algorithm}, types.KeyUsageTypeKeyAgreement: {"ECDH"},
	}}
}

func algorithmsOf(spec types.KeySpec, usage types.KeyUsageType) []string {
	return kinds[spec].usages[usage]
}

func newMaterial(spec types.KeySpec) (material, error) {
	b, err := kinds[spec].secret()
	if err != nil {
		return material{}, fmt.Errorf("kms: key material of %s: %w", spec, err)
	}
	return material{ID: awsid.Hex(64), Secret: b}, nil
}

func random(n int) func() ([]byte, error) {
	return func() ([]byte, error) {
		b := make([]byte, n)
		_, err := rand.Read(b)
		return b, err
	}
}

func rsaSecret(bits int) func() ([]byte, error) {
	return func() ([]byte, error) {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return nil, err
		}
		return x509.MarshalPKCS8PrivateKey(k)
	}
}

func ecSecret(curve elliptic.Curve) func() ([]byte, error) {
	return func() ([]byte, error) {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			return nil, err
		}
		return x509.MarshalPKCS8PrivateKey(k)
	}
}

func edwardsSecret() ([]byte, error) {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(k)
}

// signer is the private key of asymmetric material.
func (m *material) signer() (crypto.Signer, error) {
	k, err := x509.ParsePKCS8PrivateKey(m.Secret)
	if err != nil {
		return nil, fmt.Errorf("kms: key material %s: %w", m.ID, err)
	}
	s, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("kms: key material %s is a %T", m.ID, k)
	}
	return s, nil
}

// publicDER is the public key as GetPublicKey answers it.
func publicDER(s crypto.Signer) ([]byte, error) {
	b, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		return nil, fmt.Errorf("kms: public key: %w", err)
	}
	return b, nil
}
