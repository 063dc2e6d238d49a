package child_test

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

// TestEgress wants the API server's way to a kubelet to lead through the data
// plane's socket, in an IPv6 cluster, and OpenAPI to be complete.
func TestEgress(t *testing.T) {
	dir, err := os.MkdirTemp("", "egress")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	b, ctx := newBackend(t, startEtcd(t), func(c *embedded.Config) { c.EgressSocket = func(string) string { return socket } }), testContext(t)
	spec := conformance.NewSpec(t, "egress", "1.36")
	spec.ServiceCIDR = "fd00:10:96::/108"
	info, err := b.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	c := kubernetes.NewForConfigOrDie(info.Admin)
	dialled := serveConnect(t, socket)
	if _, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "ip-10-0-0-5.ec2.internal"},
		Status: corev1.NodeStatus{
			Addresses:       []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "ip-10-0-0-5.ec2.internal"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.5"}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec:       corev1.PodSpec{NodeName: "ip-10-0-0-5.ec2.internal", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{}).DoRaw(ctx); err == nil {
		t.Error("logs came from nowhere")
	}
	select {
	case target := <-dialled:
		if target != "10.0.0.5:10250" {
			t.Errorf("the kubelet was dialled at %s", target)
		}
	case <-ctx.Done():
		t.Error("the kubelet was not dialled")
	}
	waitFor(ctx, t, "service kubernetes", func() bool {
		s, err := c.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		return err == nil && s.Spec.ClusterIP == "fd00:10:96::1"
	})
	doc, err := c.Discovery().RESTClient().Get().AbsPath("/openapi/v2").DoRaw(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"io.k8s.api.apps.v1.Deployment", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService", "/apis/batch/v1/"} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("OpenAPI v2 has no %s", want)
		}
	}
	checkOpenAPIv3(ctx, t, c)
}

// serveConnect refuses every CONNECT, and tells whereto.
func serveConnect(t *testing.T, socket string) <-chan string {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	targets := make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil && r.Method == http.MethodConnect {
				targets <- r.Host
			}
			_, _ = c.Write([]byte("HTTP/1.1 502 Bad Gateway\r\n\r\n"))
			c.Close()
		}
	}()
	return targets
}
