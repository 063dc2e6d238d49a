package dataplane

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ekslocal/ekslocal/emulator/dataplane/fake"
)

// fakeDaemon is a daemon whose state a test sets.
type fakeDaemon struct {
	mu    sync.Mutex
	state DaemonState
	env   map[string]string // of the last container
	runs  []string
	gone  int
	log   string
	hears func() // of a container, if set
}

func (s *fakeDaemon) Observe(_ Node, run string, env map[string]string) DaemonState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hears != nil {
		s.hears()
	}
	if len(s.runs) == 0 || s.runs[len(s.runs)-1] != run {
		s.runs = append(s.runs, run)
	}
	s.env = env
	return s.state
}

func (s *fakeDaemon) Refusal(env map[string]string) string { return env["REFUSE"] }

func (s *fakeDaemon) Gone(string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone++
}

func (s *fakeDaemon) File(_, path string) ([]byte, bool) {
	return []byte(s.log), path == "/var/log/aws-routed-eni/ipamd.log"
}

func (s *fakeDaemon) Output(string) []byte { return []byte(s.log) }

func (s *fakeDaemon) set(p DaemonPhase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Phase = p
}

func (s *fakeDaemon) seen() (runs int, env map[string]string, gone int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs), s.env, s.gone
}

func awsNode(name, node string) *corev1.Pod {
	return testPod(name, node, func(p *corev1.Pod) {
		p.Labels, p.Spec.HostNetwork = map[string]string{"k8s-app": "aws-node"}, true
		p.Spec.Containers = []corev1.Container{{
			Name: "aws-node", Image: "amazon-k8s-cni:v1.22.4-eksbuild.3", ImagePullPolicy: corev1.PullIfNotPresent,
			Env: []corev1.EnvVar{
				{Name: "WARM_IP_TARGET", Value: "5"},
				{Name: "MY_NODE_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
				{Name: "MAX_ENI", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cni"}, Key: "max"}}},
			},
			VolumeMounts: []corev1.VolumeMount{{Name: "log-dir", MountPath: "/host/var/log/aws-routed-eni"}},
		}}
		p.Spec.Volumes = []corev1.Volume{{Name: "log-dir", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log/aws-routed-eni"}}}}
	})
}

func (fx *fixture) nodeReady(name string) bool {
	n, err := fx.client.CoreV1().Nodes().Get(fx.ctx, name, metav1.GetOptions{})
	if err != nil {
		fx.t.Fatal(err)
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (fx *fixture) event(reason, part string) func() bool {
	return func() bool {
		list, err := fx.client.CoreV1().Events("").List(fx.ctx, metav1.ListOptions{})
		if err != nil {
			fx.t.Fatal(err)
		}
		for _, e := range list.Items {
			if e.Reason == reason && strings.Contains(e.Message, part) {
				return true
			}
		}
		return false
	}
}

func (fx *fixture) delete(name string) {
	fx.t.Helper()
	if err := fx.client.CoreV1().Pods("default").Delete(fx.ctx, name, metav1.DeleteOptions{}); err != nil {
		fx.t.Fatal(err)
	}
}

// TestDaemonDecidesAboutTheNode goes through the life of an aws-node pod: the node
// is Ready when the daemon serves, pods have their sandboxes while it does.
func TestDaemonDecidesAboutTheNode(t *testing.T) {
	d := &fakeDaemon{}
	fx := newFixture(t, 0)
	if _, err := fx.client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "cni", Namespace: "default"}, Data: map[string]string{"max": "2"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fx.run(func(c *Config) { c.AwaitCNI, c.Daemon = true, d })
	n := testNode(1)
	fx.join(n)
	fx.create(awsNode("aws-node-1", n.Name))
	fx.eventually("the daemon is told of its container", func() bool { runs, _, _ := d.seen(); return runs == 1 })
	if _, env, _ := d.seen(); env["WARM_IP_TARGET"] != "5" || env["MY_NODE_NAME"] != n.Name || env["MAX_ENI"] != "2" {
		t.Errorf("environment %v", env)
	}
	if fx.nodeReady(n.Name) {
		t.Error("the node is Ready while the daemon starts")
	}
	d.set(DaemonServing)
	fx.DaemonChanged(n.Name)
	fx.eventually("the node is Ready", func() bool { return fx.nodeReady(n.Name) })
	fx.create(testPod("first", n.Name, nil))
	fx.eventually("a pod runs", fx.running("first"))

	fx.delete("aws-node-1")
	fx.eventually("the daemon is gone", func() bool { _, _, gone := d.seen(); return gone == 1 })
	fx.create(testPod("second", n.Name, nil))
	fx.eventually("a pod has no sandbox", fx.event("FailedCreatePodSandBox",
		`failed (add): add cmd: Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:50051: connect: connection refused"`))
	if !fx.nodeReady(n.Name) || !fx.running("first")() {
		t.Error("without its daemon the node is not Ready, or its pod does not run")
	}
	fx.create(awsNode("aws-node-2", n.Name))
	fx.eventually("the waiting pod runs as soon as a daemon serves", fx.running("second"))
	if runs, _, _ := d.seen(); runs != 2 {
		t.Errorf("%d containers seen, want 2", runs)
	}
}

// TestAddressesGoBeforeTheDaemon: after a restart pods have their addresses before the
// daemon hears of its container, whose settings may give back what no pod has.
func TestAddressesGoBeforeTheDaemon(t *testing.T) {
	fx := newFixture(t, 0)
	stop := fx.run(func(c *Config) { c.AwaitCNI, c.Daemon = true, &fakeDaemon{state: DaemonState{Phase: DaemonServing}} })
	n := testNode(1)
	fx.join(n)
	p := awsNode("aws-node-1", n.Name)
	p.Spec.Containers[0].Env = nil
	fx.create(p)
	fx.create(testPod("web", n.Name, nil))
	fx.eventually("a pod runs", fx.running("web"))
	stop()

	fx.addresses = fake.NewAddresses("10.1.0.0/16", 0)
	want, early := fx.pod("web").Status.PodIP, 0
	d := &fakeDaemon{state: DaemonState{Phase: DaemonServing}}
	d.hears = func() {
		if ip, _ := fx.addresses.Held("uid-web"); ip.String() != want {
			early++
		}
	}
	fx.run(func(c *Config) { c.AwaitCNI, c.Daemon = true, d })
	fx.join(n)
	fx.eventually("the daemon is told of its container", func() bool { runs, _, _ := d.seen(); return runs == 1 })
	d.mu.Lock()
	defer d.mu.Unlock()
	if early > 0 {
		t.Errorf("told %d times before the pod had its address", early)
	}
}

// TestDaemonThatDoesNotServe looks at what its container shows.
func TestDaemonThatDoesNotServe(t *testing.T) {
	for _, tc := range []struct {
		name  string
		phase DaemonPhase
		ok    func(cs corev1.ContainerStatus) bool
	}{
		{"refused", DaemonRefused, func(cs corev1.ContainerStatus) bool {
			last := cs.LastTerminationState.Terminated
			return cs.RestartCount > 0 && last != nil && last.ExitCode == 1
		}},
		{"failed", DaemonFailed, func(cs corev1.ContainerStatus) bool { return cs.State.Running != nil && !cs.Ready }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fx := startFleet(t, 0, func(c *Config) {
				c.AwaitCNI, c.Daemon = true, &fakeDaemon{state: DaemonState{Phase: tc.phase}}
			})
			n := testNode(1)
			fx.join(n)
			p := awsNode("aws-node-1", n.Name)
			p.Spec.Containers[0].Env = nil
			fx.create(p)
			fx.eventually("its container shows it", func() bool {
				p := fx.pod("aws-node-1")
				return p != nil && len(p.Status.ContainerStatuses) == 1 && tc.ok(p.Status.ContainerStatuses[0])
			})
			if fx.nodeReady(n.Name) {
				t.Error("the node is Ready")
			}
			if tc.phase == DaemonFailed {
				fx.eventually("the probe's event", fx.event("Unhealthy", `failed to connect service \":50051\" within 5s`))
			}
		})
	}
}

func TestKilledAfter(t *testing.T) {
	for _, tc := range []struct {
		probe *corev1.Probe
		want  time.Duration
	}{
		{nil, forever},
		{&corev1.Probe{InitialDelaySeconds: 60}, 90 * time.Second},
		{&corev1.Probe{InitialDelaySeconds: 5, PeriodSeconds: 2, FailureThreshold: 4}, 13 * time.Second},
	} {
		if got := killedAfter(tc.probe); got != tc.want {
			t.Errorf("%+v: %v, want %v", tc.probe, got, tc.want)
		}
	}
}

// TestDaemonFiles reads the daemon's log where its volumes show it.
func TestDaemonFiles(t *testing.T) {
	fx := startFleet(t, 0, func(c *Config) { c.Daemon = &fakeDaemon{log: "one\ntwo\nthree\n"} })
	n := testNode(1)
	fx.join(n)
	pod := awsNode("aws-node-1", n.Name)
	pod.Spec.Containers[0].Env = nil
	plain := testPod("plain", n.Name, nil)
	for _, tc := range []struct {
		pod  *corev1.Pod
		argv string
		want string
		code int
	}{
		{pod, "cat /var/log/aws-routed-eni/ipamd.log", "one\ntwo\nthree\n", 0},
		{pod, "tail -n 1 /host/var/log/aws-routed-eni/ipamd.log", "three\n", 0},
		{pod, "tail -2 /var/log/aws-routed-eni/ipamd.log", "two\nthree\n", 0},
		{pod, "head -n1 /var/log/aws-routed-eni/ipamd.log", "one\n", 0},
		{pod, "grep -in T.*O /var/log/aws-routed-eni/ipamd.log", "2:two\n", 0},
		{pod, "grep -c e /var/log/aws-routed-eni/ipamd.log", "2\n", 0},
		{pod, "grep -vE one|two /var/log/aws-routed-eni/ipamd.log", "three\n", 0},
		{pod, "grep one|two /var/log/aws-routed-eni/ipamd.log", "", 1},
		{pod, "cat /host/var/log/aws-routed-eni/other.log", "", 1},
		{plain, "cat /var/log/aws-routed-eni/ipamd.log", "", 1},
	} {
		var out bytes.Buffer
		sh := newShell(tc.pod, &tc.pod.Spec.Containers[0], fx.resolver(t.Context()))
		sh.steps, sh.out = 100, &out
		code, err := sh.run(strings.Fields(tc.argv))
		if err != nil || code != tc.code || out.String() != tc.want {
			t.Errorf("%s: %q, %d, %v", tc.argv, out.String(), code, err)
		}
	}
}

func TestAppended(t *testing.T) {
	for _, tc := range []struct{ was, now, want string }{
		{"", "a\n", "a\n"},
		{"a\n", "a\n", ""},
		{"a\nb\n", "a\nb\nc\n", "c\n"},
		{"a\nb\n", "b\nc\nd\n", "c\nd\n"}, // the beginning was dropped
		{"a\nb\n", "x\ny\n", "x\ny\n"},
	} {
		if got := string(appended([]byte(tc.was), []byte(tc.now))); got != tc.want {
			t.Errorf("%q after %q: %q, want %q", tc.now, tc.was, got, tc.want)
		}
	}
}

// TestDaemonLogs reads what kubectl logs shows of aws-node.
func TestDaemonLogs(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, refuse, output string
		want                 []string
	}{
		{"quiet", "", "", []string{
			"Installed /host/opt/cni/bin/aws-cni", "Installed /host/opt/cni/bin/egress-cni",
			`time="2026-05-01T12:00:00Z" level=info msg="Starting IPAM daemon... "`, `time="2026-05-01T12:00:00Z" level=info msg="Checking for IPAM connectivity... "`,
		}},
		{"refused", "no good", "", []string{`time="2026-05-01T12:00:00Z" level=error msg="no good"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fx := startFleet(t, 0, func(c *Config) { c.Daemon = &fakeDaemon{log: tc.output} })
			n := testNode(1)
			fx.join(n)
			pod := awsNode("aws-node-1", n.Name)
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "REFUSE", Value: tc.refuse}}
			var got []string
			err := fx.speak(t.Context(), pod, &pod.Spec.Containers[0], run{start: start, end: start, exit: 1}, func(time.Time) error { return errHorizon }, func(l logLine) error {
				got = append(got, l.text)
				return nil
			})
			if err != nil && !errors.Is(err, errHorizon) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
