package embedded

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/util/keyutil"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// keysPrefix begins the name of a child's directory of keys, below the control
// plane's. Each child has one of its own: the one that it takes over from still reads
// its files, and would find some of another authority.
const keysPrefix = "keys-"

// Files in a child's directory of keys, written by the parent and read by the child.
// The directory is for its owner only. The proxy's CA is in the control plane's.
const (
	FileCACert         = "ca.crt" // all that are trusted
	FileSigner         = "signer" // .crt and .key: the CA that signs
	FileSAKey          = "sa.key"
	FileServing        = "apiserver"      // .crt and .key
	FileKubeletClient  = "kubelet-client" // .crt and .key
	FileProxyClient    = "proxy-client"   // .crt and .key
	FileProxyCACert    = "proxy-ca.crt"
	fileProxyCAKey     = "proxy-ca.key"
	FileControllers    = "controller-manager" // .crt and .key
	FileScheduler      = "scheduler"          // .crt and .key
	certificateYears   = 10
	notBeforeTolerance = time.Hour
)

// ProxyClientName is the common name of the certificate with which the API server
// calls aggregated API servers.
const ProxyClientName = "front-proxy-client"

type authority struct {
	cert    *x509.Certificate
	certPEM []byte
	key     crypto.Signer
	now     time.Time
}

func parseAuthority(certPEM, keyPEM []byte, now time.Time) (*authority, error) {
	b, _ := pem.Decode(certPEM)
	if b == nil {
		return nil, errors.New("CA certificate is not PEM")
	}
	cert, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	k, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("CA key: %w", err)
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("CA key is a %T, which cannot sign", k)
	}
	return &authority{cert: cert, certPEM: certPEM, key: signer, now: now}, nil
}

// newAuthority makes a self-signed CA.
func newAuthority(name string, now time.Time) (ca *authority, keyPEM []byte, err error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-notBeforeTolerance), NotAfter: now.AddDate(certificateYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	ca, err = parseAuthority(certPEM, keyPEM, now)
	return ca, keyPEM, err
}

// issue signs a client certificate, or one that serves too if it has hosts.
func (a *authority) issue(subject pkix.Name, hosts ...string) (certPEM, keyPEM []byte, err error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: subject,
		NotBefore: a.now.Add(-notBeforeTolerance), NotAfter: a.now.AddDate(certificateYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(hosts) > 0 {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %w", subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	b, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b}), nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail on supported systems
	}
	return n
}

// writePKI lays a child's key material out in a new directory below dir, which it
// returns.
func writePKI(dir string, ca *authority, p controlplane.PKI, serviceCIDR string, hosts []string) (keys string, err error) {
	first, err := apiServiceAddress(serviceCIDR)
	if err != nil {
		return "", err
	}
	proxyCA, err := proxyAuthority(dir, ca.now)
	if err != nil {
		return "", err
	}
	serving := append([]string{
		"localhost", "127.0.0.1", "::1", first.String(),
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}, hosts...)
	leaves := []struct {
		file    string
		by      *authority
		subject pkix.Name
		hosts   []string
	}{
		{FileServing, ca, pkix.Name{CommonName: "kube-apiserver"}, serving},
		{FileKubeletClient, ca, pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}}, nil},
		{FileControllers, ca, pkix.Name{CommonName: "system:kube-controller-manager"}, nil},
		{FileScheduler, ca, pkix.Name{CommonName: "system:kube-scheduler"}, nil},
		{FileProxyClient, proxyCA, pkix.Name{CommonName: ProxyClientName}, nil},
	}
	files := map[string][]byte{FileCACert: p.Bundle(), FileSigner + ".crt": p.CACert, FileSigner + ".key": p.CAKey, FileSAKey: p.SAKey}
	for _, l := range leaves {
		crt, key, err := l.by.issue(l.subject, l.hosts...)
		if err != nil {
			return "", err
		}
		files[l.file+".crt"], files[l.file+".key"] = crt, key
	}
	if keys, err = os.MkdirTemp(dir, keysPrefix); err != nil {
		return "", err
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(keys, name), b, 0o600); err != nil {
			return "", errors.Join(err, os.RemoveAll(keys))
		}
	}
	return keys, nil
}

// removeLostKeys deletes the keys of children that an emulator which was killed could
// not clean up after.
func (b *Backend) removeLostKeys() error {
	lost, err := filepath.Glob(filepath.Join(b.cfg.RunDir, "*", keysPrefix+"*"))
	for _, dir := range lost {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// proxyAuthority is the CA of the API server's calls to aggregated ones. It must
// not be the cluster's, which signs whatever a CSR's approver lets it sign. It is
// kept, since the trust in every one the cluster ever had stays in
// kube-system/extension-apiserver-authentication.
func proxyAuthority(dir string, now time.Time) (*authority, error) {
	crtFile, keyFile := filepath.Join(dir, FileProxyCACert), filepath.Join(dir, fileProxyCAKey)
	crt, err := os.ReadFile(crtFile)
	if err == nil {
		var key []byte
		if key, err = os.ReadFile(keyFile); err == nil {
			if ca, err := parseAuthority(crt, key, now); err == nil {
				return ca, nil
			}
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ca, key, err := newAuthority("front-proxy-ca", now)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return nil, err
	}
	return ca, os.WriteFile(crtFile, ca.certPEM, 0o600)
}

// apiServiceAddress is the address of Service default/kubernetes: the network's first.
func apiServiceAddress(cidr string) (netip.Addr, error) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("service network: %w", err)
	}
	return p.Masked().Addr().Next(), nil
}
