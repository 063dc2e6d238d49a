// Package pki makes the key material of the emulator and of its clusters:
// certificate authorities, certificates issued by them, signing keys.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Lifetime of everything issued here; EKS's cluster CAs live ten years too.
const Lifetime = 10 * 365 * 24 * time.Hour

// backdate makes certificates good on machines whose clock runs a little behind
// (containers on a virtual machine that slept).
const backdate = time.Hour

// CA is a certificate authority, PEM encoded.
type CA struct {
	Cert []byte
	Key  []byte
}

// NewCA makes a self-signed ECDSA P-256 authority.
func NewCA(commonName string, now time.Time) (CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return CA{}, fmt.Errorf("pki: generate CA key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return CA{}, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(Lifetime),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{commonName},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return CA{}, fmt.Errorf("pki: sign CA: %w", err)
	}
	keyPEM, err := marshalEC(key)
	if err != nil {
		return CA{}, err
	}
	return CA{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: keyPEM}, nil
}

// Request says what to issue: a server certificate if Hosts (DNS names and IP
// addresses) are given, a client certificate otherwise.
type Request struct {
	CommonName   string
	Organization []string
	Hosts        []string
}

// Issue signs a new key for r and returns certificate and key as PEM.
func (ca CA) Issue(r Request, now time.Time) (cert, key []byte, err error) {
	pair, err := tls.X509KeyPair(ca.Cert, ca.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: read CA: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: generate key: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: r.CommonName, Organization: r.Organization},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(Lifetime), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(r.Hosts) > 0 {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, h := range r.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, pair.Leaf, k.Public(), pair.PrivateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: issue %q: %w", r.CommonName, err)
	}
	key, err = marshalEC(k)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key, err
}

// NewSigningKey makes an RSA key for service-account tokens (RS256, as on EKS).
func NewSigningKey() ([]byte, error) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("pki: generate signing key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}), nil
}

// ParseSigningKey reads what NewSigningKey made.
func ParseSigningKey(b []byte) (*rsa.PrivateKey, error) {
	p, _ := pem.Decode(b)
	if p == nil {
		return nil, errors.New("pki: signing key is not PEM")
	}
	k, err := x509.ParsePKCS1PrivateKey(p.Bytes)
	if err != nil {
		return nil, fmt.Errorf("pki: signing key: %w", err)
	}
	return k, nil
}

func marshalEC(k *ecdsa.PrivateKey) ([]byte, error) {
	b, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("pki: encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b}), nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("pki: serial: %w", err)
	}
	return n, nil
}
