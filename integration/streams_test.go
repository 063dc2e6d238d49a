package integration

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
)

// kubectl runs it if it is installed, else it skips the test that asks.
func (k *kube) kubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	config := k.kubeconfig(t)
	return runTool(t, []string{"KUBECONFIG=" + config, "HOME=" + t.TempDir(), "PATH=/usr/local/bin:/usr/bin:/bin"}, stdin, tool(t, "kubectl"), args...)
}

func (k *kube) logs(t *testing.T) {
	k.pod(t, "talk", "runs", podRuns)
	read := func(pod string, o corev1.PodLogOptions) string {
		t.Helper()
		b, err := k.CoreV1().Pods("default").GetLogs(pod, &o).DoRaw(t.Context())
		if err != nil {
			t.Fatalf("logs of %s: %v", pod, err)
		}
		return string(b)
	}
	s, err := k.CoreV1().Pods("default").GetLogs("talk", &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lines := bufio.NewScanner(s)
	for _, want := range []string{"one", "two", "tick", "tick", "tick", "tick"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("followed line %q, want %q (%v)", lines.Text(), want, lines.Err())
		}
	}
	if got := read("talk", corev1.PodLogOptions{TailLines: aws.Int64(1)}); got != "tick\n" {
		t.Errorf("--tail 1: %q", got)
	}
	if got := read("talk", corev1.PodLogOptions{SinceSeconds: aws.Int64(2)}); strings.Contains(got, "one") || !strings.Contains(got, "tick") {
		t.Errorf("--since 2s: %q", got)
	}
	if got := read("talk", corev1.PodLogOptions{LimitBytes: aws.Int64(3)}); got != "one" {
		t.Errorf("--limit-bytes 3: %q", got)
	}
	line, _, _ := strings.Cut(read("talk", corev1.PodLogOptions{Timestamps: true}), "\n")
	if at, text, _ := strings.Cut(line, " "); text != "one" {
		t.Errorf("--timestamps: %q", line)
	} else if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
		t.Errorf("--timestamps: %v", err)
	}
	k.pod(t, "slow", "runs", podRuns)
	if got := read("slow", corev1.PodLogOptions{}); !strings.Contains(got, "simulated") {
		t.Errorf("the log of an image's own command does not say that it is simulated: %q", got)
	}
	err = k.CoreV1().Pods("default").GetLogs("talk", &corev1.PodLogOptions{Previous: true}).Do(t.Context()).Error()
	if !apierrors.IsBadRequest(err) || err.Error() != `previous terminated container "web" in pod "talk" not found` {
		t.Errorf("--previous of a first run: %v", err)
	}
	if err := k.CoreV1().Pods("default").GetLogs("talk", &corev1.PodLogOptions{Container: "nobody"}).Do(t.Context()).Error(); !apierrors.IsBadRequest(err) {
		t.Errorf("logs of no container: %v", err)
	}
	// A follower sees the end of the pod.
	if err := k.CoreV1().Pods("default").Delete(t.Context(), "talk", metav1.DeleteOptions{GracePeriodSeconds: aws.Int64(1)}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, s); ended <- err }()
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		t.Error("the log of a deleted pod is followed on")
	}
}

func (k *kube) execs(t *testing.T) {
	k.pod(t, "cat", "runs", podRuns)
	for _, c := range []struct {
		command []string
		out     string
		code    int
	}{
		{[]string{"echo", "hello"}, "hello\n", 0},
		{[]string{"sh", "-c", "echo out; exit 7"}, "out\n", 7},
		{[]string{"false"}, "", 1},
		{[]string{"psql"}, "", 127},
		{[]string{"hostname"}, "cat\n", 0},
	} {
		if out, code := execIn(t, k.Clientset, k.cfg, "cat", c.command...); out != c.out || code != c.code {
			t.Errorf("%q: %q, exit code %d; want %q, %d", c.command, out, code, c.out, c.code)
		}
	}
	if out, err := k.kubectl(t, "line 1\nline 2\n", "exec", "-i", "cat", "--", "cat"); out != "line 1\nline 2\n" || err != nil {
		t.Errorf("kubectl exec -i: %q, %v", out, err)
	}
	if _, err := k.kubectl(t, "", "exec", "cat", "--", "sh", "-c", "exit 9"); err == nil || !strings.Contains(err.Error(), "exit code 9") {
		t.Errorf("kubectl exec of exit 9: %v", err)
	}
}

func (k *kube) attaches(t *testing.T) {
	req := k.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("cat").SubResource("attach").
		VersionedParams(&corev1.PodAttachOptions{Container: "web", Stdin: true, Stdout: true}, scheme.ParameterCodec)
	x, err := remotecommand.NewWebSocketExecutor(k.cfg, http.MethodGet, req.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	var out bytes.Buffer
	if err := x.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("said\n"), Stdout: &out}); err != nil || out.String() != "said\n" {
		t.Errorf("attach: %q, %v", out.String(), err)
	}
}

// forwards sends one HTTP request through a forwarded port.
func (k *kube) forwards(t *testing.T) {
	list := must(k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=rolling"}))(t)
	pod := list.Items[0].Name
	roundTripper, upgrader, err := spdy.RoundTripperFor(k.cfg)
	if err != nil {
		t.Fatal(err)
	}
	url := k.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource("portforward").URL()
	stop, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, url), []string{"0:80", "0:81"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.ForwardPorts() }()
	defer func() {
		close(stop)
		<-done
	}()
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	ports := must(f.GetPorts())(t)
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz?x=1", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || !bytes.Contains(b, []byte("simulated")) || !bytes.Contains(b, []byte(pod)) || !bytes.Contains(b, []byte("GET /healthz?x=1")) {
		t.Errorf("GET through the port: %s %q, %v", r.Status, b, err)
	}
	if r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[1].Local)); err == nil {
		r.Body.Close()
		t.Errorf("a port that the pod does not name answers %s", r.Status)
	}
}
