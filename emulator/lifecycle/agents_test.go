package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
)

// leases is a pool of addresses that remembers who has which.
type leases struct {
	pools
	mu   sync.Mutex
	free []netip.Addr
	has  map[types.UID]netip.Addr
	log  string
	// expected is what was said of the pool when it began; unseen: its interfaces are not known.
	expected map[types.UID]netip.Addr
	began    bool
	unseen   bool
}

func newLeases(addresses ...string) *leases {
	l := &leases{has: map[types.UID]netip.Addr{}}
	l.total = len(addresses)
	for _, a := range addresses {
		l.free = append(l.free, netip.MustParseAddr(a))
	}
	return l
}

func (l *leases) Assign(_ context.Context, _ string, uid types.UID, _ types.NamespacedName, prefer netip.Addr) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unseen {
		return netip.Addr{}, ipamd.ErrNoAddress
	}
	if ip, ok := l.has[uid]; ok {
		return ip, nil
	}
	for i, ip := range l.free {
		if ip == prefer || i == len(l.free)-1 {
			for j, other := range l.free {
				if other == prefer {
					i, ip = j, other
				}
			}
			l.free = append(l.free[:i], l.free[i+1:]...)
			l.has[uid] = ip
			return ip, nil
		}
	}
	return netip.Addr{}, ipamd.ErrNoAddress
}

func (l *leases) Release(_ context.Context, _ string, uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ip, ok := l.has[uid]; ok {
		delete(l.has, uid)
		l.free = append(l.free, ip)
	}
}

func (l *leases) Expect(_ string, pods map[types.UID]netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.began {
		l.expected = pods
	}
}

func (l *leases) Start(context.Context, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.began = true
}

func (l *leases) View(string) (ipamd.View, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ipamd.View{Total: l.total}, !l.unseen
}

func (l *leases) Pods(string) map[types.UID]netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.has)
}

func (l *leases) Log(string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []byte(l.log)
}

func (l *leases) holders() map[string]string {
	return textOf(l.Pods(""))
}

func textOf(addresses map[types.UID]netip.Addr) map[string]string {
	out := map[string]string{}
	for uid, ip := range addresses {
		out[string(uid)] = ip.String()
	}
	return out
}

// agentFixture is a cluster with one real node, whose pool has what a test says.
type agentFixture struct {
	*cniFixture
	*agents
	pool *leases
}

func newAgentFixture(t *testing.T, addresses ...string) *agentFixture {
	f := &agentFixture{cniFixture: newCNIFixture(t), pool: newLeases(addresses...)}
	f.cniFixture.l.Addresses = f.pool
	f.agents = f.cniFixture.rt.agents
	f.agents.l.runtimes["id"] = f.agents.rt
	return f
}

func (f *agentFixture) clock() *clocktesting.FakeClock {
	return f.agents.l.Clock.(*clocktesting.FakeClock)
}

// pod makes a pod that is bound to the node.
func (f *agentFixture) pod(name, ip string, change ...func(*corev1.Pod)) controlplane.Sandbox {
	f.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "c"}}},
		Status:     corev1.PodStatus{PodIP: ip, Phase: corev1.PodPending},
	}
	for _, c := range change {
		c(p)
	}
	if _, err := f.agents.rt.client.CoreV1().Pods("default").Create(f.t.Context(), p, metav1.CreateOptions{}); err != nil {
		f.t.Fatal(err)
	}
	return controlplane.Sandbox{ContainerID: "c-" + name, Pod: keyOfPod(p), UID: p.UID}
}

func (f *agentFixture) delete(name string) {
	f.t.Helper()
	if err := f.agents.rt.client.CoreV1().Pods("default").Delete(f.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *agentFixture) phase(name string, to corev1.PodPhase) {
	f.t.Helper()
	pods := f.agents.rt.client.CoreV1().Pods("default")
	p, err := pods.Get(f.t.Context(), name, metav1.GetOptions{})
	if err == nil {
		p.Status.Phase = to
		_, err = pods.UpdateStatus(f.t.Context(), p, metav1.UpdateOptions{})
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// serve begins a daemon's run, as Daemon does.
func (f *agentFixture) serve(run string, sandboxes ...controlplane.Sandbox) *agent {
	f.t.Helper()
	me := f.begin(f.cniFixture.node, run, func() {})
	if _, err := f.start(f.t.Context(), me, controlplane.DaemonStart{Run: run, Sandboxes: sandboxes}); err != nil {
		f.t.Fatal(err)
	}
	return me
}

func (f *agentFixture) addPod(s controlplane.Sandbox) (string, error) {
	ip, err := f.add(f.t.Context(), f.cniFixture.node, s)
	if err != nil {
		return "", err
	}
	return ip.String(), nil
}

func TestAddPod(t *testing.T) {
	f := newAgentFixture(t, "10.0.0.10")
	one, two := f.pod("one", ""), f.pod("two", "")
	if _, err := f.addPod(one); err == nil || !strings.HasPrefix(err.Error(), "Error received from AddNetwork gRPC call: rpc error: code = Unavailable") || !strings.HasSuffix(err.Error(), `connect: connection refused"`) {
		t.Errorf("without a daemon: %v", err)
	}
	f.serve("r1")
	for range 2 {
		if ip, err := f.addPod(one); err != nil || ip != "10.0.0.10" {
			t.Errorf("%s, %v", ip, err)
		}
	}
	f.clock().Step(time.Second)
	if _, err := f.addPod(two); err == nil || err.Error() != "failed to assign an IP address to container" {
		t.Errorf("an empty pool: %v", err)
	}
	all := func(types.NamespacedName, types.UID) bool { return true }
	since := f.clock().Now()
	f.clock().Step(time.Second)
	_, _ = f.addPod(two)
	if err := f.agents.l.DelPod(t.Context(), "id", "i-1", two); err != nil { // as runtimes do after an ADD that failed
		t.Error(err)
	}
	waiting := f.list(all)
	if len(waiting) != 1 || waiting[0].Name != "two" || !waiting[0].Since.Equal(since) || waiting[0].InstanceID != "i-1" ||
		!strings.HasSuffix(waiting[0].Message, `sandbox "c-two": plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container`) {
		t.Errorf("%+v", waiting)
	}
	if err := f.agents.l.DelPod(t.Context(), "id", "i-1", one); err != nil {
		t.Error(err)
	}
	if ip, err := f.addPod(two); err != nil || ip != "10.0.0.10" || len(f.list(all)) != 0 {
		t.Errorf("after the other is gone: %s, %v, %v", ip, err, f.list(all))
	}

	gone := controlplane.Sandbox{ContainerID: "x", Pod: types.NamespacedName{Namespace: "default", Name: "gone"}}
	if _, err := f.addPod(gone); err == nil || !strings.Contains(err.Error(), "has been deleted") {
		t.Errorf("a pod that is gone: %v", err)
	}
	foreign := f.pod("foreign", "", func(p *corev1.Pod) { p.Spec.NodeName = "another" })
	if _, err := f.addPod(foreign); err == nil || err.Error() != "pod default/foreign is not bound to node node" || len(f.list(all)) != 0 {
		t.Errorf("a pod of another node: %v, waiting %v", err, f.list(all))
	}
	branch := f.pod("branch", "", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"vpc.amazonaws.com/pod-eni": resource.MustParse("1")}
	})
	if _, err := f.addPod(branch); err == nil || !strings.Contains(err.Error(), "security groups for pods") {
		t.Errorf("a pod with a branch interface: %v", err)
	}
}

// TestDelPod: a sandbox takes along only the address that is its own.
func TestDelPod(t *testing.T) {
	f := newAgentFixture(t, "10.0.0.10", "10.0.0.11")
	f.serve("r1")
	first := f.pod("web", "")
	again := first
	again.ContainerID = "c-later"
	for _, s := range []controlplane.Sandbox{first, again} {
		if _, err := f.addPod(s); err != nil {
			t.Fatal(err)
		}
	}
	del := func(s controlplane.Sandbox) {
		t.Helper()
		if err := f.agents.l.DelPod(t.Context(), "id", "i-1", s); err != nil {
			t.Error(err)
		}
	}
	del(first)
	if diff := cmp.Diff(map[string]string{"uid-web": "10.0.0.11"}, f.pool.holders()); diff != "" {
		t.Errorf("after the end of a sandbox that was replaced (-want +got):\n%s", diff)
	}
	del(again)
	del(again)
	if got := f.pool.holders(); len(got) != 0 {
		t.Errorf("after the end of the pod's: %v", got)
	}
	if err := f.agents.l.DelPod(t.Context(), "other", "i-1", first); !errors.Is(err, controlplane.ErrNoAgent) {
		t.Errorf("of another cluster: %v", err)
	}
}

// TestFollow: what the daemon writes and how it does is told as it comes, and a later run
// ends an earlier one.
func TestFollow(t *testing.T) {
	f := newAgentFixture(t, "10.0.0.10")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	me := f.serve("r1")
	reports, done := make(chan controlplane.DaemonReport), make(chan error, 1)
	f.pool.log = "one\n"
	inside := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	var grown atomic.Bool
	network := func() controlplane.NodeNetwork {
		if grown.Load() {
			return controlplane.NodeNetwork{Inside: append(slices.Clone(inside), netip.MustParsePrefix("100.64.0.0/16"))}
		}
		return controlplane.NodeNetwork{Inside: inside}
	}
	go func() {
		state := f.cni.Observe(f.cniFixture.node, "r1", nil)
		done <- f.follow(ctx, me, nil, state, network, func(r controlplane.DaemonReport) error {
			select {
			case reports <- r:
			case <-ctx.Done():
			}
			return ctx.Err()
		})
	}()
	if r := <-reports; r.Phase != "serving" || r.Log != "one\n" || r.Network == nil || r.Network.Inside[0] != inside[0] {
		t.Errorf("%+v", r)
	}
	f.pool.mu.Lock()
	f.pool.log = "one\ntwo\n"
	f.pool.mu.Unlock()
	f.changed("i-1")
	if r := <-reports; r.Log != "two\n" || r.Network != nil {
		t.Errorf("%+v", r)
	}
	step := func(d time.Duration) {
		t.Helper()
		waitFor(t, func() error {
			if !f.clock().HasWaiters() {
				return errors.New("nobody waits")
			}
			return nil
		})
		f.clock().Step(d)
	}
	step(agentWord)
	if r := <-reports; r.Log != "" || r.Phase != "serving" || r.Network != nil {
		t.Errorf("a word now and then: %+v", r)
	}
	grown.Store(true)
	step(sweepPace - agentWord) // a word, and then the look at the VPC
	if r := <-reports; r.Network != nil {
		t.Errorf("ahead of the look: %+v", r.Network)
	}
	step(agentPace)
	if r := <-reports; r.Network == nil || len(r.Network.Inside) != 2 {
		t.Errorf("after the VPC has grown: %+v", r)
	}
	ended := false
	me.end = func() { ended = true; cancel() }
	f.serve("r2")
	if err := <-done; !errors.Is(err, context.Canceled) || !ended {
		t.Errorf("%v, %v", err, ended)
	}
	f.finish(me)
	if !f.serves("i-1") {
		t.Error("the end of an earlier run is that of the later")
	}
}

func waitFor(t *testing.T, ok func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func TestSNAT(t *testing.T) {
	vpc := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"default":  {nil, "[10.0.0.0/16] false"},
		"external": {map[string]string{"AWS_VPC_K8S_CNI_EXTERNALSNAT": "true"}, "[10.0.0.0/16] true"},
		"excluded": {map[string]string{"AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": "172.16.0.0/12, fd00::/8,x"}, "[10.0.0.0/16 172.16.0.0/12] false"},
	} {
		n := snat(c.env, vpc)
		if got := fmt.Sprint(n.Inside, n.ExternalSNAT); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
