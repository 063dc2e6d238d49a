package dataplane

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/podeni"
)

func guarded(p *corev1.Pod) {
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{podeni.Resource: resource.MustParse("1")}
}

func (fx *fixture) annotate(name, text string) {
	fx.t.Helper()
	patch := `{"metadata":{"annotations":{"` + podeni.Resource + `":` + text + `}}}`
	if _, err := fx.client.CoreV1().Pods("default").Patch(fx.ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		fx.t.Fatal(err)
	}
}

// TestBranch runs a pod that waits for its branch interface: an event when it takes
// long, an address as soon as the annotation is there, none of the node's pool.
func TestBranch(t *testing.T) {
	var mu sync.Mutex
	heard := map[string]bool{}
	fx := newFixture(t, 0) // the pool is empty
	n := testNode(1)
	stop := fx.run(nil)
	fx.OnPods(func(p *corev1.Pod) {
		mu.Lock()
		defer mu.Unlock()
		heard[p.Name] = true
	})
	fx.join(n)
	fx.create(testPod("guarded", n.Name, guarded))
	fx.eventually("somebody hears of the pod", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return heard["guarded"]
	})
	fx.eventually("the pod has no sandbox", fx.event("FailedCreatePodSandBox", "add cmd: failed to assign an IP address to container"))
	fx.eventually("the API server knows", func() bool { return fx.pod("guarded").Status.StartTime != nil })
	fx.annotate("guarded", `"[{\"eniId\":\"eni-1\",\"ifAddress\":\"02:00:00:00:00:01\",\"privateIp\":\"10.0.9.9\",\"vlanId\":1}]"`)
	fx.eventually("it runs", fx.running("guarded"))
	if p := fx.pod("guarded"); p.Status.PodIP != "10.0.9.9" {
		t.Errorf("address %s", p.Status.PodIP)
	}

	// Another process takes the address over without asking the pool.
	stop()
	fx.run(nil)
	fx.join(n)
	// Annotated from the start: unlike the API server, the fake one lets the update of a
	// status undo an annotation that came at the same time.
	fx.create(testPod("second", n.Name, func(p *corev1.Pod) {
		guarded(p)
		p.Annotations = map[string]string{podeni.Resource: `[{"eniId":"eni-2","ifAddress":"02:00:00:00:00:02","privateIp":"10.0.9.10","vlanId":2}]`}
	}))
	fx.eventually("the next one runs", fx.running("second"))
	if p := fx.pod("guarded"); p.Status.PodIP != "10.0.9.9" || p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("after the restart: %+v", p.Status)
	}
}

func TestBranchGrace(t *testing.T) {
	n := &node{Node: testNode(1)}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rec := &podRecord{admitted: now.Add(-300 * time.Millisecond)}
	plain, waits := testPod("plain", n.Name, nil), testPod("guarded", n.Name, guarded)
	has := testPod("guarded", n.Name, guarded)
	has.Annotations = map[string]string{podeni.Resource: `[{"ifAddress":"02:00:00:00:00:01","privateIp":"10.0.9.9","ipv6Addr":"2001:db8::9","vlanId":1}]`}
	if d := awaitsBranch(plain, rec, n, now); d != 0 || hasBranch(plain, n) {
		t.Errorf("a plain pod waits %s", d)
	}
	if d := awaitsBranch(waits, rec, n, now); d != 700*time.Millisecond || hasBranch(waits, n) {
		t.Errorf("a pod without its branch waits %s", d)
	}
	if d := awaitsBranch(waits, rec, n, now.Add(time.Second)); d != 0 {
		t.Errorf("it still waits %s", d)
	}
	if d := awaitsBranch(has, rec, n, now); d != 0 || !hasBranch(has, n) {
		t.Errorf("a pod with its branch waits %s", d)
	}
	six := &node{Node: testNode(1)}
	six.PrivateIP = netip.MustParseAddr("2001:db8::5")
	f := &Fleet{}
	if ip, err := f.sandboxAddress(t.Context(), six, has, netip.Addr{}); err != nil || ip.String() != "2001:db8::9" {
		t.Errorf("on an IPv6 node: %s %v", ip, err)
	}
}

func TestWithOthers(t *testing.T) {
	own := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
	got := withOthers(own, corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), "gone": resource.MustParse("1"), podeni.Resource: resource.MustParse("9")})
	cpu, eni := got[corev1.ResourceCPU], got[podeni.Resource]
	if len(got) != 2 || cpu.Value() != 2 || eni.Value() != 9 {
		t.Errorf("%v", got)
	}
	if got := withOthers(own, nil); len(got) != 1 {
		t.Errorf("%v", got)
	}
}
