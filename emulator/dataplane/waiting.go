package dataplane

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// WaitingPod is a pod that its node's CNI gives no address.
type WaitingPod struct {
	Namespace, Name  string
	Node, InstanceID string
	// Since is when the pod came to its node, or lost the address that it had.
	Since time.Time
	// RetryAt is kubelet's next attempt, unless an address comes free before.
	RetryAt time.Time
	// Message is the text of the last FailedCreatePodSandBox event.
	Message string
}

// Waiting returns the pods that wait for an address, by namespace and name.
func (f *Fleet) Waiting() []WaitingPod {
	var out []WaitingPod
	f.mu.Lock()
	for key, rec := range f.records {
		if rec.waiting == nil || f.nodes[rec.node.Name] != rec.node || !f.stays(key) {
			continue
		}
		out = append(out, *rec.waiting)
	}
	f.mu.Unlock()
	slices.SortFunc(out, func(a, b WaitingPod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// stays tells whether the pod is there and not about to end: then it needs no
// address.
func (f *Fleet) stays(key string) bool {
	o, ok, err := f.pods.GetIndexer().GetByKey(key)
	if err != nil || !ok {
		return false
	}
	pod := o.(*corev1.Pod)
	return pod.DeletionTimestamp == nil && !isTerminal(pod.Status.Phase)
}

// Stays tells whether a pod is there and not about to end.
func (f *Fleet) Stays(pod types.NamespacedName, uid types.UID) bool {
	o, ok, err := f.pods.GetIndexer().GetByKey(pod.String())
	return err == nil && ok && o.(*corev1.Pod).UID == uid && f.stays(pod.String())
}

// PodAt is namespace/name of the pod with that address of its own, empty for none.
func (f *Fleet) PodAt(ip netip.Addr) string {
	pod := f.podAt(ip)
	if pod == nil {
		return ""
	}
	return keyOf(pod).String()
}

// noteWaiting remembers that the pod got no address.
func (f *Fleet) noteWaiting(n *node, pod *corev1.Pod, rec *podRecord, had netip.Addr, message string) {
	since := rec.admitted
	if had.IsValid() {
		since = f.clock.Now()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if rec.waiting != nil {
		since = rec.waiting.Since
	}
	rec.waiting = &WaitingPod{
		Namespace: pod.Namespace, Name: pod.Name, Node: n.Name, InstanceID: n.InstanceID, Since: since, RetryAt: rec.retryAt, Message: message,
	}
}
