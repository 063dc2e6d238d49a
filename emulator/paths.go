package emulator

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ekslocal/ekslocal/emulator/pki"
)

// maxSocketPath is what macOS allows for a unix socket's path; Linux has four more.
const maxSocketPath = 103

// runDir is for sockets. It is in the data directory unless that makes their
// paths too long.
func (e *Emulator) runDir() string {
	dir := filepath.Join(e.cfg.DataDir, "run")
	if len(dir)+len("/0123456789abcdef.sock") <= maxSocketPath {
		return dir
	}
	sum := sha256.Sum256([]byte(e.cfg.DataDir))
	return filepath.Join(os.TempDir(), "ekslocal-"+strconv.Itoa(os.Getuid())+"-"+hex.EncodeToString(sum[:6]))
}

// egressSocket is where a cluster's API server reaches its nodes.
func (e *Emulator) egressSocket(clusterID string) string {
	return filepath.Join(e.runDir(), clusterID[:16]+".sock")
}

// serverCertificate returns the endpoint's certificate and the CA that signed it.
// The CA is made once and kept, so that clients that trust it go on doing so.
func serverCertificate(dir string, hosts []string, now time.Time) (tls.Certificate, []byte, error) {
	ca, err := loadCA(dir, now)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	cert, key, err := ca.Issue(pki.Request{CommonName: hosts[0], Hosts: hosts}, now)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("endpoint certificate: %w", err)
	}
	// With the authority in the chain, as EKS's issuers have it, whoever wants its
	// thumbprint (Terraform's tls_certificate) finds it there.
	if b, _ := pem.Decode(ca.Cert); b != nil {
		pair.Certificate = append(pair.Certificate, b.Bytes)
	}
	return pair, ca.Cert, nil
}

func loadCA(dir string, now time.Time) (pki.CA, error) {
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	cert, err := os.ReadFile(certFile)
	if err == nil {
		key, err := os.ReadFile(keyFile)
		return pki.CA{Cert: cert, Key: key}, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return pki.CA{}, err
	}
	ca, err := pki.NewCA("ekslocal", now)
	if err != nil {
		return pki.CA{}, err
	}
	// The key first: a certificate without its key would be taken for complete.
	if err := os.WriteFile(keyFile, ca.Key, 0o600); err != nil {
		return pki.CA{}, err
	}
	return ca, os.WriteFile(certFile, ca.Cert, 0o600)
}
