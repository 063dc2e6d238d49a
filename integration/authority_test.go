package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// rotation is a cluster whose certificate authority changes.
type rotation struct {
	*world
	t     *testing.T
	name  *string
	certs map[string][]byte // PEM, by authority
}

// TestRotateCertificateAuthority goes through a rotation and looks at each step from
// all sides. The emulator is killed in the middle of each.
func TestRotateCertificateAuthority(t *testing.T) {
	t.Parallel()
	tool(t, "kubectl")
	tool(t, "aws")
	w := newWorld(t, start(t))
	c := w.cluster(t, "dev")
	w.nodegroup(t, "dev", "ng", 2)
	r := &rotation{w, t, c.Name, map[string][]byte{}}
	k, old := w.kubernetes(t, c)
	must(k.AppsV1().Deployments("default").Create(t.Context(), deployment("web", 4), metav1.CreateOptions{}))(t)
	pods := w.running(t, k, "web", 4)
	before := w.look(t, k, c)
	first := *c.CertificateAuthority.Active.Id
	r.sees(first)
	dev := person{w.env(filepath.Join(t.TempDir(), "kubeconfig"))}
	r.updateKubeconfig(dev)
	dev.ok(t, "", "get", "nodes")
	r.serves(old, first)
	ann := r.person(old, "ann", first)

	made := must(w.eks.CreateCertificateAuthority(t.Context(), &eks.CreateCertificateAuthorityInput{ClusterName: r.name}))(t)
	second := *made.CertificateAuthority.Id
	w.kill()
	w.run()
	r.done(made.Update)
	both := r.client(first, second)
	r.sees(first, second)
	r.works(old, pods[0])
	r.works(both, pods[1])
	r.serves(both, first)
	r.publishes(both, first, second)

	u := must(w.eks.ActivateCertificateAuthority(t.Context(), &eks.ActivateCertificateAuthorityInput{ClusterName: r.name, CertificateAuthorityId: &second}))(t).Update
	r.serves(both, second) // and so the control plane has it, and the record not yet
	w.kill()
	w.run()
	r.done(u)
	latest := r.client(second, first)
	r.sees(second, first)
	r.fails(old)
	dev.refused(t, "certificate signed by unknown authority", "get", "nodes")
	r.updateKubeconfig(dev)
	dev.ok(t, "", "get", "nodes")
	r.works(both, pods[0])
	r.works(latest, pods[1])
	r.serves(both, second)
	bob := r.person(both, "bob", second)
	r.knows(latest, ann, "ann")
	r.knows(latest, bob, "bob")

	u = must(w.eks.DeleteCertificateAuthority(t.Context(), &eks.DeleteCertificateAuthorityInput{ClusterName: r.name, CertificateAuthorityId: &first}))(t).Update
	w.kill()
	w.run()
	r.done(u)
	only := r.client(second)
	r.sees(second)
	r.fails(old)
	r.works(both, pods[0])
	r.works(only, pods[1])
	r.publishes(only, second)
	r.knows(only, bob, "bob")
	r.knows(only, ann, "")

	before.cluster = *w.clusterIs(t, "dev", ekstypes.ClusterStatusActive)
	w.backAgain(t, only, before)
	k = must(kubernetes.NewForConfig(only))(t)
	scale(t, k, "web", 8)
	w.running(t, k, "web", 8)
	w.heartbeats(t, k)
	w.addresses(t, k)
}

// TestRotationUnderLoad: whoever trusts both authorities sees nothing of a rotation.
func TestRotationUnderLoad(t *testing.T) {
	w := newWorld(t, start(t))
	c := w.cluster(t, "dev")
	w.nodegroup(t, "dev", "ng", 2)
	r := &rotation{w, t, c.Name, map[string][]byte{}}
	k, _ := w.kubernetes(t, c)
	must(k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}))(t)
	first := *c.CertificateAuthority.Active.Id
	made := must(w.eks.CreateCertificateAuthority(t.Context(), &eks.CreateCertificateAuthorityInput{ClusterName: r.name}))(t)
	second := *made.CertificateAuthority.Id
	r.done(made.Update)
	r.sees(first, second)
	k, cfg := w.kubernetes(t, w.clusterIs(t, "dev", ekstypes.ClusterStatusActive))
	l := newLoad(t, k, cfg)
	r.done(must(w.eks.ActivateCertificateAuthority(t.Context(), &eks.ActivateCertificateAuthorityInput{ClusterName: r.name, CertificateAuthorityId: &second}))(t).Update)
	l.check(t, "the activation")
	r.done(must(w.eks.DeleteCertificateAuthority(t.Context(), &eks.DeleteCertificateAuthorityInput{ClusterName: r.name, CertificateAuthorityId: &first}))(t).Update)
	l.check(t, "the deletion")
	l.end(t)
	r.sees(second)
	readyNodes(t, k, 2)
	w.nodegroupIs(t, "dev", "ng", ekstypes.NodegroupStatusActive)
}

func (r *rotation) done(u *ekstypes.Update) {
	r.t.Helper()
	if u.Type != ekstypes.UpdateTypeCertificateAuthorityUpdate {
		r.t.Errorf("update %+v", u)
	}
	r.updated(r.t, &eks.DescribeUpdateInput{Name: r.name, UpdateId: u.Id}, ekstypes.UpdateStatusSuccessful)
}

// sees waits until the cluster has these authorities with their trust distributed, and
// the first of them in use.
func (r *rotation) sees(ids ...string) {
	r.t.Helper()
	want := map[string]string{}
	for _, id := range ids {
		want[id] = "NOT_USED COMPLETE"
	}
	want[ids[0]] = "IN_USE COMPLETE"
	eventually(r.t, 15*time.Second, fmt.Sprintf("authorities are %v", want), func() error {
		list, err := r.eks.ListCertificateAuthorities(r.t.Context(), &eks.ListCertificateAuthoritiesInput{ClusterName: r.name})
		if err != nil {
			return err
		}
		for _, a := range list.CertificateAuthorities {
			if got := fmt.Sprintf("%s %s", a.SigningStatus, a.DistributionStatus); got != want[*a.Id] {
				return fmt.Errorf("%s is %s", *a.Id, got)
			}
			d, err := r.eks.DescribeCertificateAuthority(r.t.Context(), &eks.DescribeCertificateAuthorityInput{ClusterName: r.name, CertificateAuthorityId: a.Id})
			if err != nil {
				return err
			}
			if r.certs[*a.Id], err = base64.StdEncoding.DecodeString(*d.CertificateAuthority.Data); err != nil {
				return err
			}
		}
		if len(list.CertificateAuthorities) != len(want) {
			return fmt.Errorf("there are %d", len(list.CertificateAuthorities))
		}
		return nil
	})
	c := r.clusterIs(r.t, *r.name, ekstypes.ClusterStatusActive)
	data := must(base64.StdEncoding.DecodeString(*c.CertificateAuthority.Data))(r.t)
	if !bytes.Equal(data, r.pem(ids...)) || *c.CertificateAuthority.Active.Id != ids[0] {
		r.t.Errorf("DescribeCluster shows %s active, and not the bundle of %v:\n%s", *c.CertificateAuthority.Active.Id, ids, data)
	}
}

func (r *rotation) pem(ids ...string) (b []byte) {
	for _, id := range ids {
		b = append(b, r.certs[id]...)
	}
	return b
}

// client is one whose kubeconfig is written now; it trusts just these.
func (r *rotation) client(ids ...string) *rest.Config {
	r.t.Helper()
	r.sees(ids...)
	_, cfg := r.kubernetes(r.t, r.clusterIs(r.t, *r.name, ekstypes.ClusterStatusActive))
	return cfg
}

// alone makes a client that shares its connections with nobody.
func (r *rotation) alone(cfg *rest.Config) *kubernetes.Clientset {
	r.t.Helper()
	own := rest.CopyConfig(cfg)
	own.Dial = (&net.Dialer{}).DialContext
	return must(kubernetes.NewForConfig(own))(r.t)
}

// works asks with client-go, also something that the API server asks a kubelet, and
// with kubectl.
func (r *rotation) works(cfg *rest.Config, pod corev1.Pod) {
	r.t.Helper()
	eventually(r.t, 20*time.Second, "a client works", func() error {
		body, err := r.alone(cfg).CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).Stream(r.t.Context())
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.ReadAll(body)
		return err
	})
	if out, err := r.kubectl(cfg, "get", "nodes", "--no-headers"); err != nil || strings.Count(out, " Ready ") != 2 {
		r.t.Errorf("kubectl get nodes: %s %v", out, err)
	}
}

// fails checks that a client does not trust the API server.
func (r *rotation) fails(cfg *rest.Config) {
	r.t.Helper()
	eventually(r.t, 20*time.Second, "a client that trusts the outgoing authority only fails", func() error {
		_, err := r.alone(cfg).Discovery().ServerVersion()
		if !errors.As(err, new(x509.UnknownAuthorityError)) {
			return fmt.Errorf("the answer is %w", err)
		}
		return nil
	})
	if out, err := r.kubectl(cfg, "get", "nodes"); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		r.t.Errorf("kubectl get nodes: %s %v", out, err)
	}
}

// updateKubeconfig writes the kubeconfig that the aws command makes of DescribeCluster.
func (r *rotation) updateKubeconfig(p person) {
	r.t.Helper()
	if _, err := runTool(r.t, p.env, "", "aws", "eks", "update-kubeconfig", "--name", *r.name); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotation) kubectl(cfg *rest.Config, args ...string) (string, error) {
	r.t.Helper()
	file := (&kube{cfg: cfg}).kubeconfig(r.t)
	return runTool(r.t, r.env(file), "", "kubectl", args...)
}

// serves waits until the API server's certificate is an authority's, and checks it with
// OpenSSL too, which knows issuers by their names.
func (r *rotation) serves(cfg *rest.Config, id string) {
	r.t.Helper()
	host := strings.TrimPrefix(cfg.Host, "https://")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.certs[id])
	eventually(r.t, 20*time.Second, "the API server has a certificate of "+id, func() error {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", host, &tls.Config{RootCAs: roots})
		if err != nil {
			return err
		}
		return c.Close()
	})
	if _, err := exec.LookPath("openssl"); err != nil {
		return
	}
	file := filepath.Join(r.t.TempDir(), "ca")
	if err := os.WriteFile(file, cfg.CAData, 0o600); err != nil {
		r.t.Fatal(err)
	}
	if out, err := runTool(r.t, r.env(file), "", "openssl", "s_client", "-connect", host, "-CAfile", file, "-verify_return_error"); err != nil {
		r.t.Errorf("openssl: %s %v", out, err)
	}
}

// publishes waits until pods are told to trust just these.
func (r *rotation) publishes(cfg *rest.Config, ids ...string) {
	r.t.Helper()
	for _, ns := range []string{"default", "kube-system"} {
		eventually(r.t, 20*time.Second, "kube-root-ca.crt of "+ns+" is up to date", func() error {
			cm, err := r.alone(cfg).CoreV1().ConfigMaps(ns).Get(r.t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
			if err == nil && cm.Data["ca.crt"] != string(r.pem(ids...)) {
				err = fmt.Errorf("it is %s", cm.Data["ca.crt"])
			}
			return err
		})
	}
}

// person gets somebody a client certificate from the cluster, and checks whose it is.
func (r *rotation) person(cfg *rest.Config, name, issuer string) rest.TLSClientConfig {
	r.t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(r.t)
	der := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key))(r.t)
	csrs := r.alone(cfg).CertificatesV1().CertificateSigningRequests()
	csr := must(csrs.Create(r.t.Context(), &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: certificatesv1.KubeAPIServerClientSignerName,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{}))(r.t)
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"}}
	must(csrs.UpdateApproval(r.t.Context(), name, csr, metav1.UpdateOptions{}))(r.t)
	eventually(r.t, 20*time.Second, "a certificate for "+name, func() (err error) {
		if csr, err = csrs.Get(r.t.Context(), name, metav1.GetOptions{}); err == nil && len(csr.Status.Certificate) == 0 {
			err = fmt.Errorf("conditions %+v", csr.Status.Conditions)
		}
		return err
	})
	block, _ := pem.Decode(csr.Status.Certificate)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.certs[issuer])
	cert := must(x509.ParseCertificate(block.Bytes))(r.t)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		r.t.Errorf("the certificate of %s is not from %s: %v", name, issuer, err)
	}
	b := must(x509.MarshalECPrivateKey(key))(r.t)
	return rest.TLSClientConfig{CertData: csr.Status.Certificate, KeyData: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b})}
}

// knows checks whom the API server takes a client certificate for, nobody if user is
// empty.
func (r *rotation) knows(cfg *rest.Config, who rest.TLSClientConfig, user string) {
	r.t.Helper()
	own := &rest.Config{Host: cfg.Host, TLSClientConfig: who}
	own.CAData = cfg.CAData
	me, err := r.alone(own).AuthenticationV1().SelfSubjectReviews().Create(r.t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	switch {
	case user == "" && !apierrors.IsUnauthorized(err):
		r.t.Errorf("a certificate of a deleted authority: %+v, %v", me, err)
	case user != "" && (err != nil || me.Status.UserInfo.Username != user):
		r.t.Errorf("%s is %+v, %v", user, me, err)
	}
}
