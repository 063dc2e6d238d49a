package dataplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	clientset "k8s.io/client-go/kubernetes/fake"

	"github.com/ekslocal/ekslocal/emulator/dataplane/fake"
)

func testNode(i int) Node {
	return Node{
		Name: fmt.Sprintf("ip-10-0-0-%d.ec2.internal", i), InstanceID: fmt.Sprintf("i-%017x", i), InstanceType: "m5.large",
		Region: "us-east-1", Zone: "us-east-1a", ZoneID: "use1-az6", PrivateIP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}),
		KubeletVersion: "v1.34.2-eks-113cf36", Architecture: "amd64", VCPUs: 2, MemoryMiB: 8192, MaxPods: 29,
		Labels: map[string]string{"eks.amazonaws.com/nodegroup": "ng"},
	}
}

type fixture struct {
	*Fleet
	t         *testing.T
	ctx       context.Context
	client    *clientset.Clientset
	addresses *fake.Addresses
	issue     issuer
}

// startFleet runs a fleet against a fake API server until the test ends.
func startFleet(t *testing.T, perNode int, edit func(*Config)) *fixture {
	t.Helper()
	fx := newFixture(t, perNode)
	fx.run(edit)
	return fx
}

func newFixture(t *testing.T, perNode int) *fixture {
	unsigned := func(context.Context, *node) (*tls.Certificate, error) { return nil, errors.New("no signer") }
	return &fixture{t: t, client: clientset.NewClientset(), addresses: fake.NewAddresses("10.1.0.0/16", perNode), issue: unsigned}
}

func (fx *fixture) run(edit func(*Config)) (stop func()) {
	cfg := Config{ClusterName: "dev", Addresses: fx.addresses}
	if edit != nil {
		edit(&cfg)
	}
	fleet := newFleet(cfg, fx.client, fx.client)
	fx.Fleet = fleet
	fleet.kubelet.issue = fx.issue
	ctx, cancel := context.WithCancel(fx.t.Context())
	fx.ctx = ctx
	done := make(chan struct{})
	before := fx.podWatches()
	go func() { defer close(done); _ = fleet.Run(ctx) }()
	stop = func() { cancel(); <-done }
	fx.t.Cleanup(stop)
	// The fake API server forgets what happens between a list and the watch after it.
	fx.eventually("the fleet watches pods", func() bool { return fx.podWatches() > before })
	return stop
}

func (fx *fixture) podWatches() (n int) {
	for _, a := range fx.client.Actions() {
		if a.Matches("watch", "pods") {
			n++
		}
	}
	return n
}

func (fx *fixture) eventually(what string, f func() bool) {
	fx.t.Helper()
	err := wait.PollUntilContextTimeout(fx.ctx, 5*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) { return f(), nil })
	if err != nil {
		fx.t.Fatalf("never happened: %s", what)
	}
}

func (fx *fixture) join(n Node) {
	fx.t.Helper()
	if err := fx.Join(fx.ctx, n); err != nil {
		fx.t.Fatal(err)
	}
}

func testPod(name, node string, edit func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "app", Image: "nginx:1.29", ImagePullPolicy: corev1.PullIfNotPresent}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	if edit != nil {
		edit(p)
	}
	return p
}

func (fx *fixture) create(p *corev1.Pod) {
	fx.t.Helper()
	if _, err := fx.client.CoreV1().Pods(p.Namespace).Create(fx.ctx, p, metav1.CreateOptions{}); err != nil {
		fx.t.Fatal(err)
	}
}

func (fx *fixture) pod(name string) *corev1.Pod {
	p, err := fx.client.CoreV1().Pods("default").Get(fx.ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return p
}

func (fx *fixture) running(name string) func() bool {
	return func() bool {
		p := fx.pod(name)
		return p != nil && p.Status.Phase == corev1.PodRunning && findCondition(p.Status.Conditions, corev1.PodReady).Status == corev1.ConditionTrue
	}
}

func TestPodRunsWithAnAddressOfItsNode(t *testing.T) {
	fx := startFleet(t, 0, nil)
	n := testNode(1)
	fx.create(testPod("early", n.Name, nil)) // bound before the node joins
	fx.join(n)
	fx.join(n)
	fx.create(testPod("late", n.Name, nil))
	fx.create(testPod("host", n.Name, func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
	for _, name := range []string{"early", "late", "host"} {
		fx.eventually(name+" is Running and Ready", fx.running(name))
	}
	if got := fx.pod("host").Status.PodIP; got != n.PrivateIP.String() {
		t.Errorf("host network pod has IP %s, not its node's", got)
	}
	ip, _ := fx.addresses.Held("uid-late")
	if got := fx.pod("late").Status; got.PodIP != ip.String() || got.HostIP != n.PrivateIP.String() || len(got.PodIPs) != 1 {
		t.Errorf("status has %s %s %v, Addresses has %s", got.PodIP, got.HostIP, got.PodIPs, ip)
	}
	fx.eventually("the snapshot counts them", func() bool {
		s := fx.Snapshot()
		return s.Nodes == 1 && s.Ready == 1 && s.Pods[corev1.PodRunning] == 3
	})
}

func TestPodWithoutAddressWaitsAndIsRetriedOnRelease(t *testing.T) {
	fx := startFleet(t, 1, nil)
	n := testNode(1)
	fx.join(n)
	fx.create(testPod("first", n.Name, nil))
	fx.eventually("first runs", fx.running("first"))
	fx.create(testPod("second", n.Name, nil))
	fx.eventually("second waits", func() bool {
		p := fx.pod("second")
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting.Reason == "ContainerCreating"
	})
	fx.eventually("event", func() bool {
		l, _ := fx.client.CoreV1().Events("default").List(fx.ctx, metav1.ListOptions{})
		for _, e := range l.Items {
			if e.Reason == "FailedCreatePodSandBox" && e.InvolvedObject.Name == "second" {
				return true
			}
		}
		return false
	})
	waiting := fx.Waiting()
	if len(waiting) != 1 {
		t.Fatalf("waiting: %+v", waiting)
	}
	w := waiting[0]
	if w.Namespace != "default" || w.Name != "second" || w.Node != n.Name || w.InstanceID != n.InstanceID || w.Since.IsZero() || w.RetryAt.Before(w.Since.Add(sandboxRetry)) ||
		!strings.HasPrefix(w.Message, "Failed to create pod sandbox: ") || !strings.HasSuffix(w.Message, fake.ErrNoAddress.Error()) {
		t.Errorf("waiting: %+v", w)
	}
	fx.create(testPod("third", n.Name, nil))
	fx.eventually("third waits", func() bool { return len(fx.Waiting()) == 2 })
	if err := fx.client.CoreV1().Pods("default").Delete(fx.ctx, "third", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fx.eventually("a deleted pod waits no more", func() bool { return len(fx.Waiting()) == 1 })
	if err := fx.client.CoreV1().Pods("default").Delete(fx.ctx, "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fx.eventually("second runs", fx.running("second"))
	if w := fx.Waiting(); len(w) != 0 {
		t.Errorf("still waiting: %+v", w)
	}
}

func TestRemoveTakesNodeLeaseAndPods(t *testing.T) {
	fx := startFleet(t, 0, nil)
	n := testNode(1)
	fx.join(n)
	fx.create(testPod("a", n.Name, nil))
	fx.eventually("a runs", fx.running("a"))
	for range 2 {
		if err := fx.Remove(fx.ctx, n.Name, n.InstanceID); err != nil {
			t.Fatal(err)
		}
	}
	if fx.pod("a") != nil || fx.addresses.Len() != 0 {
		t.Errorf("pod or address left: %v, %d", fx.pod("a"), fx.addresses.Len())
	}
	nodes, _ := fx.client.CoreV1().Nodes().List(fx.ctx, metav1.ListOptions{})
	leases, _ := fx.client.CoordinationV1().Leases("kube-node-lease").List(fx.ctx, metav1.ListOptions{})
	if len(nodes.Items) != 0 || len(leases.Items) != 0 {
		t.Errorf("%d nodes, %d leases left", len(nodes.Items), len(leases.Items))
	}
}

// Addresses, and names with them, are given again at once. An instance's end that
// comes late must not take its successor's node.
func TestRemoveLeavesTheSuccessor(t *testing.T) {
	fx := startFleet(t, 0, nil)
	old, next := testNode(1), testNode(1)
	next.InstanceID = "i-next"
	fx.join(old)
	fx.join(next)
	if err := fx.Remove(fx.ctx, old.Name, old.InstanceID); err != nil {
		t.Fatal(err)
	}
	n, err := fx.client.CoreV1().Nodes().Get(fx.ctx, next.Name, metav1.GetOptions{})
	if err != nil || !strings.HasSuffix(n.Spec.ProviderID, "/i-next") || fx.Snapshot().Nodes != 1 {
		t.Errorf("the successor's node: %v, %v, %+v", n.Spec.ProviderID, err, fx.Snapshot())
	}
}

func TestRestartKeepsAddressesAndCounts(t *testing.T) {
	fx := newFixture(t, 0)
	stop := fx.run(nil)
	n := testNode(1)
	fx.join(n)
	crashed := func(p *corev1.Pod) {
		p.Annotations = map[string]string{"ekslocal.dev/crash-loop": "1", "ekslocal.dev/run-for": "10ms"}
	}
	fx.create(testPod("a", n.Name, crashed))
	fx.eventually("a crashed once and runs", func() bool {
		p := fx.pod("a")
		return fx.running("a")() && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	before := fx.pod("a")
	stop()

	fx.addresses = fake.NewAddresses("10.1.0.0/16", 0)
	fx.run(nil)
	fx.join(n)
	fx.create(testPod("b", n.Name, nil))
	fx.eventually("b runs", fx.running("b"))
	ip, _ := fx.addresses.Held("uid-a")
	after := fx.pod("a")
	if ip.String() != before.Status.PodIP || after.Status.PodIP != before.Status.PodIP || after.Status.ContainerStatuses[0].RestartCount != 1 {
		t.Errorf("address %s -> %s (%s held), restarts %d", before.Status.PodIP, after.Status.PodIP, ip, after.Status.ContainerStatuses[0].RestartCount)
	}
	if after.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID {
		t.Error("container was replaced")
	}
}

func TestAwaitCNI(t *testing.T) {
	fx := startFleet(t, 0, func(c *Config) { c.AwaitCNI = true })
	n := testNode(1)
	fx.join(n)
	ready := func() corev1.NodeCondition {
		got, err := fx.client.CoreV1().Nodes().Get(fx.ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range got.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c
			}
		}
		return corev1.NodeCondition{}
	}
	if c := ready(); c.Status != corev1.ConditionFalse || c.Message != messageNoCNI {
		t.Errorf("Ready is %+v before the CNI runs", c)
	}
	fx.create(testPod("app", n.Name, nil))
	fx.create(testPod("aws-node-x", n.Name, func(p *corev1.Pod) {
		p.Labels, p.Spec.HostNetwork = map[string]string{"k8s-app": "aws-node"}, true
	}))
	fx.eventually("node is Ready", func() bool { return ready().Status == corev1.ConditionTrue })
	fx.eventually("app runs", fx.running("app"))
}
