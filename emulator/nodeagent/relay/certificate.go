package relay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

const (
	// validity is longer than a cluster's life; less than renewal of it is made anew when
	// the container starts, before the API server does.
	validity, renewal = 10 * 365 * 24 * time.Hour, 365 * 24 * time.Hour
)

// certificate is the one that the webhooks are served with, its own authority: the
// cluster's signs for kubelets and whoever is approved, who would all be trusted as
// webhooks if the API server trusted it here.
func certificate(c Config, now time.Time) (tls.Certificate, error) {
	raw, err := os.ReadFile(c.Key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, fmt.Errorf("relay's key: %w", err)
	}
	pair, err := tls.X509KeyPair(raw, raw)
	if err != nil || !usable(pair.Leaf, c.Listen, now) {
		if raw, err = issue(c.Listen, now); err != nil {
			return tls.Certificate{}, fmt.Errorf("relay's key: %w", err)
		}
		if err := replace(c.Key, raw, 0o600); err != nil {
			return tls.Certificate{}, fmt.Errorf("relay's key: %w", err)
		}
		if pair, err = tls.X509KeyPair(raw, raw); err != nil {
			return tls.Certificate{}, fmt.Errorf("relay's key: %w", err)
		}
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	if was, err := os.ReadFile(c.Trust); err == nil && bytes.Equal(was, public) {
		return pair, nil
	}
	if err := replace(c.Trust, public, 0o644); err != nil {
		return tls.Certificate{}, fmt.Errorf("relay's certificate: %w", err)
	}
	return pair, nil
}

func usable(leaf *x509.Certificate, listen []string, now time.Time) bool {
	if leaf == nil || now.Add(renewal).After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return false
	}
	for _, address := range listen {
		if host, _, err := net.SplitHostPort(address); err != nil || leaf.VerifyHostname(host) != nil {
			return false
		}
	}
	return true
}

// issue returns a certificate and its key, PEM.
func issue(listen []string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "ekslocal relay"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, address := range listen {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...), nil
}
