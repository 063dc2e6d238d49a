package kind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	eksauthtypes "github.com/aws/aws-sdk-go-v2/service/eksauth/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
)

// agents answers what a test says.
type agents struct {
	add    func(s controlplane.Sandbox) (netip.Addr, error)
	daemon func(ctx context.Context, s controlplane.DaemonStart, report func(controlplane.DaemonReport) error) error
	token  func(string) (controlplane.PodCredentials, error)
	told   []controlplane.Sandbox
}

func (a *agents) AddPod(_ context.Context, cluster, instance string, s controlplane.Sandbox) (netip.Addr, error) {
	if cluster != "c1" || instance != "i-1" {
		return netip.Addr{}, fmt.Errorf("of %s, %s", cluster, instance)
	}
	return a.add(s)
}
func (a *agents) DelPod(context.Context, string, string, controlplane.Sandbox) error {
	return controlplane.ErrNoAgent
}
func (a *agents) Daemon(ctx context.Context, _, _ string, s controlplane.DaemonStart, report func(controlplane.DaemonReport) error) error {
	return a.daemon(ctx, s, report)
}
func (a *agents) Sandboxes(_ context.Context, cluster, instance string, all []controlplane.Sandbox) error {
	if cluster != "c1" || instance != "i-1" {
		return controlplane.ErrNoAgent
	}
	a.told = all
	return nil
}
func (a *agents) PodCredentials(_ context.Context, _, _, token string) (controlplane.PodCredentials, error) {
	return a.token(token)
}

func serveAgents(t *testing.T, a controlplane.NodeAgents) (*questions, *httptest.Server) {
	t.Helper()
	q := &questions{askers: map[string]*asker{"c1": {secret: "secret"}, "c2": {secret: "other"}}, cfg: Config{Agents: a}}
	q.life, q.end = context.WithCancel(t.Context())
	srv := httptest.NewServer(q.handler())
	t.Cleanup(srv.Close)
	q.advertise = strings.TrimPrefix(srv.URL, "http://")
	return q, srv
}

func TestNodeQuestions(t *testing.T) {
	a := &agents{}
	q, srv := serveAgents(t, a)
	c := protocol.NewClient(q.nodeURL("c1", "secret", "i-1"))
	a.add = func(s controlplane.Sandbox) (netip.Addr, error) {
		if s.Pod.String() != "ns/web" || s.UID != "u" || s.ContainerID != "c" {
			t.Errorf("%+v", s)
		}
		return netip.MustParseAddr("10.0.0.7"), nil
	}
	var n protocol.PodNetwork
	s := protocol.Sandbox{ContainerID: "c", Namespace: "ns", Name: "web", UID: "u"}
	if err := c.Call(t.Context(), protocol.AddPod, s, &n); err != nil || n.IP.String() != "10.0.0.7" {
		t.Errorf("%v, %v", n, err)
	}
	a.add = func(controlplane.Sandbox) (netip.Addr, error) {
		return netip.Addr{}, errors.New("failed to assign an IP address to container")
	}
	if err := c.Call(t.Context(), protocol.AddPod, s, &n); err == nil || err.Error() != "failed to assign an IP address to container" {
		t.Errorf("%v", err)
	}
	var no *protocol.Error
	if err := c.Call(t.Context(), protocol.DelPod, s, nil); !errors.As(err, &no) || no.Status != http.StatusServiceUnavailable {
		t.Errorf("%v", err)
	}
	list := protocol.SandboxList{Sandboxes: []protocol.Sandbox{s}}
	if err := c.Call(t.Context(), protocol.Sandboxes, list, nil); err != nil || len(a.told) != 1 || a.told[0].ContainerID != "c" || a.told[0].UID != "u" {
		t.Errorf("%+v, %v", a.told, err)
	}
	a.token = func(token string) (controlplane.PodCredentials, error) {
		if token != "jwt" {
			return controlplane.PodCredentials{}, &eksauthtypes.AccessDeniedException{Message: aws.String("no")}
		}
		return controlplane.PodCredentials{AccessKeyID: "ASIA", Expiration: time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)}, nil
	}
	var got protocol.PodCredentials
	if err := c.Call(t.Context(), protocol.Credentials, protocol.CredentialsRequest{Token: "jwt"}, &got); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(protocol.PodCredentials{AccessKeyID: "ASIA", Expiration: "2030-01-02T03:04:05Z"}, got); diff != "" {
		t.Error(diff)
	}
	if err := c.Call(t.Context(), protocol.Credentials, protocol.CredentialsRequest{Token: "x"}, &got); !errors.As(err, &no) || no.Code != "AccessDeniedException" || no.Status != http.StatusForbidden {
		t.Errorf("%v", err)
	}

	// Nobody else is answered: not a node of another cluster, not another node of this one.
	for name, url := range map[string]string{
		"another instance": strings.Replace(q.nodeURL("c1", "secret", "i-1"), "/i-1/", "/i-2/", 1),
		"another cluster":  strings.Replace(q.nodeURL("c2", "other", "i-1"), "/c2/", "/c1/", 1),
		"no such cluster":  strings.Replace(q.nodeURL("c1", "secret", "i-1"), "/c1/", "/c9/", 1),
		"the plane's own":  srv.URL + "/nodes/c1/i-1/secret",
	} {
		if err := protocol.NewClient(url).Call(t.Context(), protocol.AddPod, s, &n); !errors.As(err, &no) || no.Status != http.StatusForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	resp, err := http.Post(q.nodeURL("c1", "secret", "i-1")+"/add", "application/json", strings.NewReader("{"))
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("half a question: %v, %v", resp, err)
	}
	if resp, err := http.Get(q.nodeURL("c1", "secret", "i-1") + "/add"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("a GET: %v, %v", resp, err)
	}
}

// TestDaemonQuestion: reports come while the call is open, and its end is the daemon's.
func TestDaemonQuestion(t *testing.T) {
	ended := make(chan struct{})
	a := &agents{daemon: func(ctx context.Context, s controlplane.DaemonStart, report func(controlplane.DaemonReport) error) error {
		if s.Run != "r" || s.Env["A"] != "b" || len(s.Sandboxes) != 1 || s.Sandboxes[0].IP.String() != "10.0.0.9" {
			t.Errorf("%+v", s)
		}
		inside := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
		if err := report(controlplane.DaemonReport{Phase: "serving", Log: "x", Network: &controlplane.NodeNetwork{Inside: inside}}); err != nil {
			t.Error(err)
		}
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	}}
	q, _ := serveAgents(t, a)
	c := protocol.NewClient(q.nodeURL("c1", "secret", "i-1"))
	start := protocol.DaemonStart{Run: "r", Env: map[string]string{"A": "b"}, Sandboxes: []protocol.Sandbox{{ContainerID: "c", IP: netip.MustParseAddr("10.0.0.9")}}}
	enough := errors.New("enough")
	err := c.Follow(t.Context(), start, func(r protocol.DaemonReport) error {
		if r.Phase != "serving" || r.Log != "x" || r.Network.Inside[0].String() != "10.0.0.0/16" {
			t.Errorf("%+v", r)
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	<-ended // the container is gone

	a.daemon = func(context.Context, controlplane.DaemonStart, func(controlplane.DaemonReport) error) error {
		return controlplane.ErrNoAgent
	}
	var no *protocol.Error
	if err := c.Follow(t.Context(), start, nil); !errors.As(err, &no) || no.Status != http.StatusServiceUnavailable {
		t.Errorf("%v", err)
	}
	a.daemon = func(ctx context.Context, _ controlplane.DaemonStart, report func(controlplane.DaemonReport) error) error {
		_ = report(controlplane.DaemonReport{Phase: "starting"})
		<-ctx.Done()
		return nil
	}
	err = c.Follow(t.Context(), start, func(protocol.DaemonReport) error { q.end(); return nil })
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end of the emulator: %v", err)
	}
}

func TestImagesOfNodes(t *testing.T) {
	const registry = "602401143452.dkr.ecr.us-east-1.amazonaws.com"
	images := []string{
		registry + "/amazon-k8s-cni:v1.21.1-eksbuild.3", registry + "/eks/kube-proxy:v1.36.0-minimal-eksbuild.1", registry + "/eks/coredns:v1.12.1-eksbuild.2",
		registry + "/eks/metrics-server:v0.8.0", "nginx", "Not An Image", "coredns",
	}
	var kept []string
	for _, i := range images {
		if provided(i) {
			kept = append(kept, i)
		}
	}
	if diff := cmp.Diff(images[:3], kept); diff != "" {
		t.Errorf("provided (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"kube-proxy", images[1], "coredns", images[2]}, aliases(images)); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
	f := mirrorFiles(images)
	want := "server = \"https://" + registry + "\"\n\n[host.\"http://127.0.0.1:21365\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	if got := string(f["/etc/containerd/certs.d/"+registry+"/hosts.toml"]); len(f) != 1 || got != want {
		t.Errorf("%q", f)
	}
}
