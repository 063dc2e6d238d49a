package dataplane

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	utilexec "k8s.io/utils/exec"
)

// authority is a CA for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// sign answers a certificate request as the cluster's signers would.
func (a *authority) sign(request []byte, usage x509.ExtKeyUsage) []byte {
	a.t.Helper()
	block, _ := pem.Decode(request)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: csr.Subject, DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(12 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, a.cert, csr.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (a *authority) client(cn string, orgs ...string) (cert, key []byte) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn, Organization: orgs}}, k)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	cert = a.sign(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), x509.ExtKeyUsageClientAuth)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// kubeletFixture is a fleet whose kubelets are reached as the API server does it:
// through the egress proxy, with a client certificate of the cluster's CA.
type kubeletFixture struct {
	*fixture
	ca     *authority
	node   Node
	config *rest.Config
	// address leads to the node's kubelet without the proxy.
	address string
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
}

func startKubelets(t *testing.T) *kubeletFixture {
	ca := newAuthority(t)
	fx := newFixture(t, 0)
	fx.issue = func(_ context.Context, n *node) (*tls.Certificate, error) {
		key, request, err := newRequest(n)
		if err != nil {
			return nil, err
		}
		return pairOf(ca.sign(request, x509.ExtKeyUsageServerAuth), key)
	}
	fx.run(func(c *Config) { c.ClientCA = ca.pem })
	socket := filepath.Join(t.TempDir(), "egress")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { _ = fx.ServeEgress(l) }()
	k := &kubeletFixture{fixture: fx, ca: ca, node: testNode(7)}
	k.dial = func(_ context.Context, _, addr string) (net.Conn, error) {
		c, err := net.Dial("unix", socket)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", addr)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return nil, err
		}
		if res.StatusCode != 200 {
			c.Close()
			return nil, errors.New(res.Status)
		}
		return c, nil
	}
	fx.join(k.node)
	// client-go's streaming clients insist on dialling themselves.
	direct, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { direct.Close() })
	go func() {
		for {
			c, err := direct.Accept()
			if err != nil {
				return
			}
			fx.kubelet.accept(c, fx.Fleet.node(k.node.Name))
		}
	}()
	k.address = direct.Addr().String()
	cert, key := ca.client("kube-apiserver-kubelet-client", "system:masters")
	k.config = k.configFor(cert, key)
	return k
}

func (k *kubeletFixture) configFor(cert, key []byte) *rest.Config {
	return &rest.Config{
		Host:            "https://" + k.address,
		TLSClientConfig: rest.TLSClientConfig{CAData: k.ca.pem, CertData: cert, KeyData: key, ServerName: k.node.Name},
	}
}

func (k *kubeletFixture) get(cfg *rest.Config, path string) (int, string) {
	k.t.Helper()
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		k.t.Fatal(err)
	}
	res, err := c.Get(cfg.Host + path)
	if err != nil {
		k.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func (k *kubeletFixture) runPod(name string, edit func(*corev1.Pod)) {
	k.t.Helper()
	k.create(testPod(name, k.node.Name, edit))
	k.eventually(name+" runs", func() bool {
		p := k.Fleet.podNamed("default", name)
		return p != nil && p.Status.Phase != corev1.PodPending
	})
}

func (k *kubeletFixture) execIn(pod, stdin string, cmd ...string) (stdout, stderr string, code int) {
	k.t.Helper()
	q := url.Values{"command": cmd, "output": {"1"}, "error": {"1"}}
	if stdin != "" {
		q.Set("input", "1")
	}
	u, err := url.Parse(k.config.Host + "/exec/default/" + pod + "/app?" + q.Encode())
	if err != nil {
		k.t.Fatal(err)
	}
	e, err := remotecommand.NewSPDYExecutor(k.config, "POST", u)
	if err != nil {
		k.t.Fatal(err)
	}
	var out, errw bytes.Buffer
	opts := remotecommand.StreamOptions{Stdout: &out, Stderr: &errw}
	if stdin != "" {
		opts.Stdin = strings.NewReader(stdin)
	}
	err = e.StreamWithContext(k.ctx, opts)
	var exit utilexec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitStatus()
	case err != nil:
		k.t.Fatalf("exec %q: %v", cmd, err)
	}
	return out.String(), errw.String(), code
}

func TestKubeletAuthentication(t *testing.T) {
	k := startKubelets(t)
	if code, body := k.get(k.config, "/healthz"); code != 200 || body != "ok" {
		t.Errorf("healthz: %d %q", code, body)
	}
	proxied := k.configFor(k.config.CertData, k.config.KeyData)
	proxied.Host, proxied.Dial = "https://"+net.JoinHostPort(k.node.PrivateIP.String(), "10250"), k.dial
	if code, body := k.get(proxied, "/healthz"); code != 200 || body != "ok" {
		t.Errorf("healthz through the proxy: %d %q", code, body)
	}
	k.client.PrependReactor("create", "subjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authorizationv1.SubjectAccessReview{}, nil
	})
	anonymous := k.configFor(nil, nil)
	if code, _ := k.get(anonymous, "/pods"); code != http.StatusUnauthorized {
		t.Errorf("without a certificate: %d", code)
	}
	nobody := k.configFor(k.ca.client("somebody"))
	if code, body := k.get(nobody, "/pods"); code != http.StatusForbidden {
		t.Errorf("without rights: %d %s", code, body)
	}
	stranger := k.configFor(newAuthority(t).client("x", "system:masters"))
	if c, err := rest.HTTPClientFor(stranger); err != nil {
		t.Fatal(err)
	} else if _, err := c.Get(stranger.Host + "/pods"); err == nil {
		t.Error("a certificate of another CA was accepted")
	}
}

func TestExec(t *testing.T) {
	k := startKubelets(t)
	k.runPod("a", func(p *corev1.Pod) { p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "COLOR", Value: "blue"}} })
	for _, tc := range []struct {
		cmd          []string
		stdin        string
		out, errPart string
		code         int
	}{
		{cmd: []string{"echo", "hello", "world"}, out: "hello world\n"},
		{cmd: []string{"sh", "-c", "echo $COLOR; exit 3"}, out: "blue\n", code: 3},
		{cmd: []string{"sh", "-c", "false || echo \"no $COLOR\" && true"}, out: "no blue\n"},
		{cmd: []string{"false"}, code: 1},
		{cmd: []string{"hostname"}, out: "a\n"},
		{cmd: []string{"/bin/cat"}, stdin: "through\n", out: "through\n"},
		{cmd: []string{"sh"}, stdin: "echo one\nexit 4\necho two\n", out: "one\n", code: 4},
		{cmd: []string{"psql", "-l"}, errPart: "psql: command not found", code: 127},
		{cmd: []string{"cat", "/nowhere"}, errPart: "No such file", code: 1},
		{cmd: []string{"cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"}, out: "default"},
		{cmd: []string{"sh", "-c", "sleep 0.01; echo done >&2"}, errPart: "done\n"},
	} {
		out, errw, code := k.execIn("a", tc.stdin, tc.cmd...)
		if out != tc.out || code != tc.code || !strings.Contains(errw, tc.errPart) {
			t.Errorf("%q: out %q err %q code %d; want %q, %q, %d", tc.cmd, out, errw, code, tc.out, tc.errPart, tc.code)
		}
	}
}

func TestExecEndsWithItsContainer(t *testing.T) {
	k := startKubelets(t)
	k.runPod("a", func(p *corev1.Pod) { p.Annotations = map[string]string{"ekslocal.dev/run-for": "500ms"} })
	if _, _, code := k.execIn("a", "", "sleep", "infinity"); code != 137 {
		t.Errorf("exit code %d of a command whose container ended", code)
	}
}

func TestAttachedShellEndsItsContainer(t *testing.T) {
	k := startKubelets(t)
	k.runPod("a", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		c := &p.Spec.Containers[0]
		c.Stdin, c.StdinOnce, c.TTY = true, true, true
	})
	u, _ := url.Parse(k.config.Host + "/attach/default/a/app?input=1&output=1&tty=1")
	e, err := remotecommand.NewSPDYExecutor(k.config, "POST", u)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := e.StreamWithContext(k.ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("echo hx\x7fi\rexit 7\r"), Stdout: &out, Tty: true}); err != nil {
		t.Fatal(err)
	}
	if want := "/ # echo hx\b \bi\r\nhi\r\n/ # exit 7\r\n"; out.String() != want {
		t.Errorf("terminal shows %q, want %q", out.String(), want)
	}
	k.eventually("a failed with 7", func() bool {
		s := k.pod("a").Status
		return s.Phase == corev1.PodFailed && s.ContainerStatuses[0].State.Terminated.ExitCode == 7
	})
}

func TestLogs(t *testing.T) {
	k := startKubelets(t)
	k.runPod("app", nil)
	k.runPod("job", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].Command = []string{"sh", "-c", "echo one; echo two; sleep 0.6; echo three; exit 2"}
	})
	code, body := k.get(k.config, "/containerLogs/default/job/app?follow=true")
	if code != 200 || body != "one\ntwo\nthree\n" {
		t.Errorf("followed command: %d %q", code, body)
	}
	k.eventually("job failed with 2", func() bool {
		p := k.Fleet.podNamed("default", "job")
		return p.Status.Phase == corev1.PodFailed && p.Status.ContainerStatuses[0].State.Terminated.ExitCode == 2
	})
	for _, tc := range []struct {
		path, want string
		code       int
	}{
		{"job/app", "one\ntwo\nthree\n", 200},
		{"job/app?tailLines=1", "three\n", 200},
		{"job/app?limitBytes=5", "one\nt", 200},
		{"job/app?sinceTime=2100-01-01T00:00:00Z", "", 200},
		{"job/app?previous=true", `previous terminated container "app" in pod "job" not found`, 400},
		{"job/other", `container "other" not found in pod "job"`, 404},
		{"nope/app", `pod "nope" does not exist`, 404},
		{"job/app?tailLines=-1", "Invalid request", 422},
	} {
		code, body := k.get(k.config, "/containerLogs/default/"+tc.path)
		if code != tc.code || (code == 200 && body != tc.want) || !strings.Contains(body, tc.want) {
			t.Errorf("%s: %d %q, want %d %q", tc.path, code, body, tc.code, tc.want)
		}
	}
	if _, body := k.get(k.config, "/containerLogs/default/app/app"); !strings.Contains(body, `simulated container "app" of pod default/app`) {
		t.Errorf("logs do not say that they are simulated: %q", body)
	}
	_, body = k.get(k.config, "/containerLogs/default/job/app?timestamps=true&tailLines=1")
	at, text, _ := strings.Cut(body, " ")
	if _, err := time.Parse(logTime, at); err != nil || text != "three\n" || len(at) != 30 {
		t.Errorf("timestamped line %q: %v", body, err)
	}
}

func TestPortForward(t *testing.T) {
	k := startKubelets(t)
	k.runPod("web", func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}} })
	transport, upgrader, err := spdy.RoundTripperFor(k.config)
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(k.config.Host + "/portForward/default/web")
	ready, stop := make(chan struct{}), make(chan struct{})
	defer close(stop)
	fw, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u), []string{"0:80"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() { failed <- fw.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-failed:
		t.Fatal(err)
	}
	ports, err := fw.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/index.html", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 || !strings.Contains(string(body), "simulated") || !strings.Contains(string(body), "GET /index.html") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestEgressToPods(t *testing.T) {
	k := startKubelets(t)
	k.runPod("web", func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}} })
	k.runPod("metrics", func(p *corev1.Pod) {
		p.Spec.Containers[0].Image = "602401143452.dkr.ecr.us-east-1.amazonaws.com/eks/metrics-server:v0.8.0"
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("200Mi")}
	})
	ip := func(name string) string { return k.Fleet.podNamed("default", name).Status.PodIP }
	client := &http.Client{Transport: &http.Transport{DialContext: k.dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	res, err := client.Get("http://" + ip("web") + ":80/")
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	if _, err := client.Get("http://" + ip("web") + ":81/"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("port that no container has: %v", err)
	}
	res, err = client.Get("https://" + ip("metrics") + ":4443/apis/metrics.k8s.io/v1beta1/nodes")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var list metrics.NodeMetricsList
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].Name != k.node.Name || list.Items[0].Usage.Cpu().MilliValue() < 60 {
		t.Errorf("node metrics %+v", list.Items)
	}
	_, body := k.get(k.config, "/stats/summary")
	var s stats.Summary
	if err := json.Unmarshal([]byte(body), &s); err != nil || len(s.Pods) != 2 {
		t.Errorf("summary of %d pods: %v", len(s.Pods), err)
	}
	if _, body := k.get(k.config, "/metrics/resource"); !strings.Contains(body, `container_memory_working_set_bytes{container="app",namespace="default",pod="metrics"}`) {
		t.Errorf("resource metrics: %s", body)
	}
}
