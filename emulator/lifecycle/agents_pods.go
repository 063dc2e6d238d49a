package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/podeni"
)

// unreachable is what the plugin says while no daemon serves on a node.
func (a *agents) unreachable(instanceID string) error {
	a.mu.Lock()
	at := cmp.Or(a.address[instanceID], "tcp 127.0.0.1:50051")
	a.mu.Unlock()
	return errors.New("Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial " + at + ": connect: connection refused\"") //nolint:staticcheck // gRPC's words
}

// AddPod implements controlplane.NodeAgents.
func (l *Lifecycle) AddPod(ctx context.Context, clusterID, instanceID string, s controlplane.Sandbox) (netip.Addr, error) {
	a, err := l.agentsOf(clusterID)
	if err != nil {
		return netip.Addr{}, err
	}
	node, _, err := a.instanceNode(instanceID)
	if err != nil {
		return netip.Addr{}, err
	}
	return a.add(asNode(ctx, a.rt.scope), node, s)
}

// add gives a sandbox its address, or notes that its pod waits.
func (a *agents) add(ctx context.Context, node dataplane.Node, s controlplane.Sandbox) (netip.Addr, error) {
	pod, err := a.rt.client.CoreV1().Pods(s.Pod.Namespace).Get(ctx, s.Pod.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && s.UID != "" && sandboxUID(pod) != s.UID:
		// Or a static pod's mirror is not there yet: the kubelet tries again.
		return netip.Addr{}, fmt.Errorf("pod %s has been deleted", s.Pod)
	case err != nil:
		return netip.Addr{}, fmt.Errorf("pod %s: %w", s.Pod, err)
	case pod.Spec.NodeName != node.Name:
		// Whoever is on the host network can name a pod. Its own node's word counts.
		return netip.Addr{}, fmt.Errorf("pod %s is not bound to node %s", s.Pod, node.Name)
	case podeni.Wants(pod) > 0:
		return netip.Addr{}, fmt.Errorf("pod %s wants a branch network interface (security groups for pods), which ekslocal's real nodes do not have: take a cluster of the embedded backend", s.Pod)
	}
	s.UID = sandboxUID(pod)
	ip, err := a.assign(ctx, node, pod, s)
	if err != nil {
		a.starve(node, pod, s, err)
	}
	return ip, err
}

// assign gives the sandbox its address, unless the node's daemon does not serve.
func (a *agents) assign(ctx context.Context, node dataplane.Node, pod *corev1.Pod, s controlplane.Sandbox) (netip.Addr, error) {
	if !a.serves(node.InstanceID) {
		return netip.Addr{}, a.unreachable(node.InstanceID)
	}
	if a.elsewhere(s.UID, node.InstanceID) {
		return netip.Addr{}, fmt.Errorf("pod %s has its address on another node", s.Pod)
	}
	prefer, _ := netip.ParseAddr(pod.Status.PodIP) // a pod that is new shows none
	ip, err := a.l.Addresses.Assign(ctx, node.InstanceID, s.UID, s.Pod, prefer)
	if err != nil {
		return ip, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held[s.UID] = &lease{instance: node.InstanceID, container: s.ContainerID, pod: s.Pod, ip: ip}
	delete(a.waiting, s.UID)
	return ip, nil
}

// serves tells whether a node's daemon answers its plugin.
func (a *agents) serves(instanceID string) bool {
	a.mu.Lock()
	me := a.nodes[instanceID]
	open := me != nil && me.serving
	a.mu.Unlock()
	return open && a.rt.cni.serves(instanceID)
}

// starve notes a pod that got no address. The kubelet tries again after its own backoff.
func (a *agents) starve(node dataplane.Node, pod *corev1.Pod, s controlplane.Sandbox, err error) {
	now := a.l.Clock.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	w := &waiter{uid: pod.UID, WaitingPod: dataplane.WaitingPod{
		Namespace: pod.Namespace, Name: pod.Name, Node: node.Name, InstanceID: node.InstanceID, Since: now, RetryAt: now.Add(kubeletRetry),
		Message: fmt.Sprintf("Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox %q: plugin type=\"aws-cni\" name=\"aws-cni\" failed (add): add cmd: %s",
			s.ContainerID, err),
	}}
	if was := a.waiting[s.UID]; was != nil {
		w.Since = was.Since
	}
	a.waiting[s.UID] = w
}

// kubeletRetry is about when a kubelet makes a sandbox anew: ten seconds and up to half
// as much again.
const kubeletRetry = 12 * time.Second

// list returns the pods that wait, by namespace and name. stays drops those that need no
// address any more.
func (a *agents) list(stays func(types.NamespacedName, types.UID) bool) []dataplane.WaitingPod {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []dataplane.WaitingPod
	for _, w := range a.waiting {
		if stays(types.NamespacedName{Namespace: w.Namespace, Name: w.Name}, w.uid) {
			out = append(out, w.WaitingPod)
		}
	}
	slices.SortFunc(out, func(x, y dataplane.WaitingPod) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return out
}

// DelPod implements controlplane.NodeAgents. A sandbox that was replaced ends after the
// pod has another one, and must not take that one's address along.
func (l *Lifecycle) DelPod(ctx context.Context, clusterID, instanceID string, s controlplane.Sandbox) error {
	a, err := l.agentsOf(clusterID)
	if err != nil {
		return err
	}
	uid, known := a.release(instanceID, s)
	if uid == "" {
		return nil
	}
	if !known {
		// Its sandbox is from before the emulator started. While there is a pod, an
		// address that shows there stays its own; without, the sweep finds it too.
		pod, err := a.rt.client.CoreV1().Pods(s.Pod.Namespace).Get(ctx, s.Pod.Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("pod %s: %w", s.Pod, err)
		}
		if err == nil && sandboxUID(pod) == uid && !finished(pod) && pod.DeletionTimestamp == nil {
			return nil
		}
		a.drop(uid, instanceID)
	}
	a.l.Addresses.Release(asNode(ctx, a.rt.scope), instanceID, uid)
	return nil
}

// release takes the lease of a sandbox. known tells whether it was that sandbox's for
// sure; uid is empty if there is nothing to give back.
func (a *agents) release(instanceID string, s controlplane.Sandbox) (uid types.UID, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for u, h := range a.held {
		if h.instance == instanceID && h.container == s.ContainerID {
			delete(a.held, u)
			return u, true
		}
	}
	if s.UID == "" {
		for u, h := range a.held {
			if h.instance == instanceID && h.pod == s.Pod && h.container == "" {
				return u, false
			}
		}
		return "", false
	}
	if h := a.held[s.UID]; h == nil || h.instance != instanceID || h.container != "" {
		return "", false
	}
	return s.UID, false
}
