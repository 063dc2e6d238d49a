package dataplane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// servingCert is a node's kubelet certificate, made when first needed: the key
// lives in memory only, and asking 500 times after a restart for what nobody may
// use would be waste. mu is held while it is being issued.
type servingCert struct {
	mu   sync.Mutex
	cert *tls.Certificate
}

// issuer gets a node's kubelet a serving certificate.
type issuer func(ctx context.Context, n *node) (*tls.Certificate, error)

// get returns a certificate that is valid for a while yet.
func (c *servingCert) get(ctx context.Context, n *node, issue issuer, now time.Time) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert != nil && now.Add(time.Hour).Before(c.cert.Leaf.NotAfter) {
		return c.cert, nil
	}
	cert, err := issue(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("serving certificate of node %s: %w", n.Name, err)
	}
	c.cert = cert
	return cert, nil
}

// requestCertificate is kubelet's serverTLSBootstrap: the node asks in its own
// name, and what approves such requests on EKS approves it. The cluster's CA signs.
func (f *Fleet) requestCertificate(ctx context.Context, n *node) (*tls.Certificate, error) {
	key, request, err := newRequest(n)
	if err != nil {
		return nil, err
	}
	as := rest.CopyConfig(f.cfg.REST)
	as.QPS = -1
	as.Impersonate = rest.ImpersonationConfig{UserName: "system:node:" + n.Name, Groups: []string{"system:nodes", "system:authenticated"}}
	own, err := kubernetes.NewForConfig(as)
	if err != nil {
		return nil, err
	}
	csr, err := own.CertificatesV1().CertificateSigningRequests().Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: request, SignerName: certificatesv1.KubeletServingSignerName,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue,
		Reason: "AutoApproved", Message: "Auto approving kubelet server certificate after SubjectAccessReview.",
	})
	if csr, err = f.client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("approve: %w", err)
	}
	signed, err := f.awaitCertificate(ctx, csr)
	if err != nil {
		return nil, err
	}
	return pairOf(signed, key)
}

func newRequest(n *node) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "system:node:" + n.Name, Organization: []string{"system:nodes"}},
		DNSNames:    []string{n.Name},
		IPAddresses: []net.IP{n.PrivateIP.AsSlice()},
	}, key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

func pairOf(certPEM []byte, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return nil, errors.New("signed certificate is not PEM")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key, Leaf: leaf}, nil
}

// awaitCertificate waits on a watch until the request is signed.
func (f *Fleet) awaitCertificate(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) ([]byte, error) {
	if len(csr.Status.Certificate) > 0 {
		return csr.Status.Certificate, nil
	}
	w, err := f.client.CertificatesV1().CertificateSigningRequests().Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, csr.Name).String(),
		ResourceVersion: csr.ResourceVersion,
	})
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is not signed: %w", csr.Name, ctx.Err())
		case e, ok := <-w.ResultChan():
			if !ok {
				return nil, fmt.Errorf("%s: watch ended before it was signed", csr.Name)
			}
			got, ok := e.Object.(*certificatesv1.CertificateSigningRequest)
			if !ok {
				return nil, fmt.Errorf("%s: watch: %v", csr.Name, e.Object)
			}
			if len(got.Status.Certificate) > 0 {
				return got.Status.Certificate, nil
			}
			for _, c := range got.Status.Conditions {
				if c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed {
					return nil, fmt.Errorf("%s is %s: %s", csr.Name, c.Type, c.Message)
				}
			}
		}
	}
}
