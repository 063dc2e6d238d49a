package child_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

// TestCluster looks at one cluster from many sides, for starting one costs.
func TestCluster(t *testing.T) {
	people := newPeople()
	b, ctx := newBackend(t, startEtcd(t), func(c *embedded.Config) {
		c.Authenticator, c.CertHosts = people, []string{"ekslocal.internal"}
	}), testContext(t)
	spec := conformance.NewSpec(t, "sides", "1.35")
	info, err := b.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	admin := kubernetes.NewForConfigOrDie(info.Admin)
	as := func(token string) *rest.Config {
		cfg := rest.AnonymousClientConfig(info.Admin)
		cfg.BearerToken = token
		return cfg
	}

	t.Run("Tokens", func(t *testing.T) {
		me, err := kubernetes.NewForConfigOrDie(as("k8s-aws-v1.ann")).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := authenticationv1.UserInfo{
			Username: "ann", UID: "uid-ann", Groups: []string{"viewers", "system:authenticated"},
			Extra: map[string]authenticationv1.ExtraValue{"arn": {"arn:aws:iam::000000000000:user/ann"}},
		}
		if diff := cmp.Diff(want, me.Status.UserInfo); diff != "" {
			t.Errorf("who ann is (-want +got):\n%s", diff)
		}
		before := people.count()
		for range 20 {
			if _, err := kubernetes.NewForConfigOrDie(as("k8s-aws-v1.ann")).CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := people.count() - before; n > 1 {
			t.Errorf("20 requests asked %d times whose token it is", n)
		}
		for _, token := range []string{"k8s-aws-v1.nobody", "k8s-aws-v1.", "rubbish"} {
			_, err := kubernetes.NewForConfigOrDie(as(token)).CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
			if !apierrors.IsUnauthorized(err) {
				t.Errorf("token %q: %v, want Unauthorized", token, err)
			}
		}
	})

	t.Run("AccessPolicies", func(t *testing.T) {
		ann, bob := kubernetes.NewForConfigOrDie(as("k8s-aws-v1.ann")), kubernetes.NewForConfigOrDie(as("k8s-aws-v1.bob"))
		if _, err := ann.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{}); err != nil {
			t.Errorf("ann may look: %v", err)
		}
		if err := ann.CoreV1().Namespaces().Delete(ctx, "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("ann may only look: %v", err)
		}
		_, err := bob.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		want := `pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"`
		if err == nil || err.Error() != want {
			t.Errorf("bob: %v, want %s", err, want)
		}
		if _, err := kubernetes.NewForConfigOrDie(as("k8s-aws-v1.admin")).CoreV1().Namespaces().List(ctx, metav1.ListOptions{}); err != nil {
			t.Errorf("system:masters: %v", err)
		}
	})

	t.Run("Version", func(t *testing.T) {
		v, err := admin.Discovery().ServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		if v.GitVersion != info.GitVersion || v.Major != "1" || v.Minor != "35" {
			t.Errorf("version %+v, want %s", v, info.GitVersion)
		}
	})

	t.Run("ServiceAccountTokens", func(t *testing.T) {
		r, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(r.Status.Token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			Iss, Sub string
			Aud      []string
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		if claims.Iss != spec.Issuer || claims.Sub != "system:serviceaccount:default:default" || !cmp.Equal(claims.Aud, []string{"https://kubernetes.default.svc"}) {
			t.Errorf("claims: %+v", claims)
		}
	})

	t.Run("ServingCertificate", func(t *testing.T) {
		cfg := rest.CopyConfig(info.Admin)
		for _, name := range []string{"ekslocal.internal", "kubernetes.default.svc", "127.0.0.1", "10.100.0.1"} {
			cfg.ServerName = name
			if _, err := kubernetes.NewForConfigOrDie(cfg).Discovery().ServerVersion(); err != nil {
				t.Errorf("as %s: %v", name, err)
			}
		}
	})

	t.Run("KubeletServingCertificateIsSigned", func(t *testing.T) { checkKubeletCertificate(t, admin) })
	t.Run("ControllersActAsServiceAccounts", func(t *testing.T) { checkControllers(t, b, spec, admin) })
}

func (p *people) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func checkKubeletCertificate(t *testing.T, admin kubernetes.Interface) {
	ctx := testContext(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	node := "system:node:ip-10-0-0-1.ec2.internal"
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: node, Organization: []string{"system:nodes"}}, IPAddresses: []net.IP{net.ParseIP("10.0.0.1")},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	csrs := admin.CertificatesV1().CertificateSigningRequests()
	csr, err := csrs.Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "node"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certificatesv1.KubeletServingSignerName,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
			Username:   node,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"}}
	if _, err := csrs.UpdateApproval(ctx, "node", csr, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(ctx, t, "a certificate or a refusal", func() bool {
		csr, err = csrs.Get(ctx, "node", metav1.GetOptions{})
		return err == nil && (len(csr.Status.Certificate) > 0 || len(csr.Status.Conditions) > 1)
	})
	// The API server writes the requester into the CSR, which is no node here: the
	// signer must be at work and refuse for that reason.
	if len(csr.Status.Certificate) == 0 && !strings.Contains(csr.Status.Conditions[1].Message, "system:node") {
		t.Errorf("conditions: %+v", csr.Status.Conditions)
	}
}

func checkControllers(t *testing.T, b controlplane.Backend, spec controlplane.Spec, admin kubernetes.Interface) {
	ctx := testContext(t)
	if _, err := admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "made"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(ctx, t, "the namespace's service account and CA", func() bool {
		_, err1 := admin.CoreV1().ServiceAccounts("made").Get(ctx, "default", metav1.GetOptions{})
		_, err2 := admin.CoreV1().ConfigMaps("made").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err1 == nil && err2 == nil
	})
	r, err := b.Logs(ctx, spec.ID, controlplane.LogAudit)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var log bytes.Buffer
	waitFor(ctx, t, "the audit log to tell", func() bool { // it is written in batches
		if _, err := io.Copy(&log, r); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(log.String(), `"username":"system:serviceaccount:kube-system:root-ca-cert-publisher"`)
	})
	// Both policies, on a server that runs on: the objects themselves are in EKS's log.
	for i, full := range []bool{true, false} {
		if err := b.(controlplane.Auditor).Audit(ctx, spec.ID, full); err != nil {
			t.Fatal(err)
		}
		waitFor(ctx, t, "the audit log to change", func() bool {
			name := fmt.Sprintf("audited-%d-%d", i, time.Now().UnixNano())
			if _, err := admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			var line string
			waitFor(ctx, t, "the audit log to tell", func() bool {
				if _, err := io.Copy(&log, r); err != nil {
					t.Fatal(err)
				}
				for l := range strings.Lines(log.String()) {
					if strings.Contains(l, `"requestURI":"/api/v1/namespaces"`) && strings.Contains(l, `"name":"`+name+`"`) {
						line = l
					}
				}
				return line != ""
			})
			return strings.Contains(line, `"level":"RequestResponse"`) == full && strings.Contains(line, `"responseObject"`) == full
		})
	}
	for _, s := range []controlplane.LogStream{controlplane.LogAPI, controlplane.LogControllerManager, controlplane.LogScheduler, controlplane.LogAuthenticator} {
		r, err := b.Logs(ctx, spec.ID, s)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		r.Close()
		if err != nil || len(text) == 0 {
			t.Errorf("log %s: %d bytes, %v", s, len(text), err)
		}
	}
}
