package pki

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"
)

func TestIssue(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	ca, err := NewCA("kubernetes", now)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Cert)
	for _, tc := range []struct {
		name  string
		req   Request
		usage x509.ExtKeyUsage
		host  string
		ok    bool
	}{
		{"server by address", Request{CommonName: "s", Hosts: []string{"127.0.0.1", "localhost"}}, x509.ExtKeyUsageServerAuth, "127.0.0.1", true},
		{"server by name", Request{CommonName: "s", Hosts: []string{"127.0.0.1", "localhost"}}, x509.ExtKeyUsageServerAuth, "localhost", true},
		{"server, other name", Request{CommonName: "s", Hosts: []string{"localhost"}}, x509.ExtKeyUsageServerAuth, "example.com", false},
		{"client", Request{CommonName: "c", Organization: []string{"system:masters"}}, x509.ExtKeyUsageClientAuth, "", true},
		{"client used as server", Request{CommonName: "c"}, x509.ExtKeyUsageServerAuth, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			certPEM, _, err := ca.Issue(tc.req, now)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := pem.Decode(certPEM)
			cert, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			_, err = cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, DNSName: tc.host, KeyUsages: []x509.ExtKeyUsage{tc.usage}})
			if (err == nil) != tc.ok {
				t.Fatalf("verify: %v, want ok=%v", err, tc.ok)
			}
		})
	}
}

func TestSigningKeyRoundTrip(t *testing.T) {
	b, err := NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSigningKey(b); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSigningKey([]byte("no key")); err == nil {
		t.Fatal("parsed rubbish")
	}
}
