package dataplane

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"github.com/ekslocal/ekslocal/emulator/podeni"
)

// Join makes a node of an instance that has booted: it registers the Node object,
// starts its heartbeat and takes on the pods that are bound to it. Joining a node
// that has joined changes nothing; joining one that an earlier process had joined
// takes over its pods, with their addresses.
func (f *Fleet) Join(ctx context.Context, n Node) error {
	if f.broken != nil {
		return f.broken
	}
	if n.Region == "" {
		n.Region = f.cfg.Region
	}
	if n.Name == "" || n.InstanceID == "" || !n.PrivateIP.IsValid() {
		return fmt.Errorf("join node %q: name, instance id and address are required", n.Name)
	}
	f.names.LockKey(n.Name)
	defer f.unlockName(n.Name)
	if old := f.node(n.Name); old != nil && old.InstanceID == n.InstanceID {
		return nil
	}
	member := &node{Node: n, networkReady: !f.cfg.AwaitCNI || n.Fargate != nil, serving: &servingCert{}, images: map[string]bool{}}
	fresh, err := f.register(ctx, member)
	if err != nil {
		return fmt.Errorf("join node %s: %w", n.Name, err)
	}
	// The lease comes with the node: without one the node life cycle controller
	// judges by the status alone.
	if err := f.takeLease(ctx, member, fresh); err != nil {
		return fmt.Errorf("join node %s: lease: %w", n.Name, err)
	}
	f.mu.Lock()
	f.nodes[n.Name] = member
	f.byIP[n.PrivateIP] = member
	f.mu.Unlock()
	f.startBeats(n.Name)
	if fresh {
		f.events.node(member, "Starting", "Starting kubelet.")
		f.kubelet.certify(n.Name)
	}
	select {
	case <-f.synced:
		f.adopt(ctx, n.Name)
	default: // Run adopts once it knows the pods
	}
	return nil
}

// register creates the Node object, or brings an existing one up to date. It
// tells whether the node is new to the cluster.
func (f *Fleet) register(ctx context.Context, m *node) (fresh bool, err error) {
	nodes := f.client.CoreV1().Nodes()
	want := nodeObject(f.cfg.ClusterName, m.Node, m.networkReady, f.clock.Now())
	created, err := nodes.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		m.uid, m.conditions = created.UID, created.Status.Conditions
		return true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return false, err
	}
	existing, err := nodes.Get(ctx, m.Name, metav1.GetOptions{})
	if err != nil {
		return false, err
	}
	if existing.Spec.ProviderID != want.Spec.ProviderID {
		// Another instance had this address, and with it the name, before.
		if err := f.deleteNode(ctx, m.Name, existing.UID); err != nil {
			return false, err
		}
		return f.register(ctx, m)
	}
	return false, f.renewNode(ctx, m, existing)
}

// renewNode is what a restarted kubelet does with its Node: default labels and
// status anew, everything else as it is.
func (f *Fleet) renewNode(ctx context.Context, m *node, existing *corev1.Node) error {
	m.uid = existing.UID
	for _, c := range existing.Status.Conditions {
		if c.Type == corev1.NodeReady && (c.Status == corev1.ConditionTrue || c.Reason == "NodeStatusUnknown") {
			m.networkReady = true // the CNI's configuration stays on the node's disk
		}
	}
	want := nodeObject(f.cfg.ClusterName, m.Node, m.networkReady, f.clock.Now())
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		update := existing.DeepCopy()
		if update.Labels == nil {
			update.Labels = map[string]string{}
		}
		for k, v := range nodeLabels(f.cfg.ClusterName, Node{
			Name: m.Name, Architecture: m.Architecture, InstanceType: m.InstanceType, Region: m.Region, Zone: m.Zone, ZoneID: m.ZoneID, Fargate: m.Fargate,
		}) {
			update.Labels[k] = v
		}
		update.Status.Capacity = withOthers(want.Status.Capacity, existing.Status.Capacity)
		update.Status.Allocatable = withOthers(want.Status.Allocatable, existing.Status.Allocatable)
		update.Status.Addresses, update.Status.NodeInfo = want.Status.Addresses, want.Status.NodeInfo
		update.Status.DaemonEndpoints = want.Status.DaemonEndpoints
		update.Status.Conditions = mergeNodeConditions(existing.Status.Conditions, nodeConditions(existing.Status.Conditions, m.networkReady, f.clock.Now()))
		// The status subresource takes labels too, as kubelet uses it.
		updated, err := f.client.CoreV1().Nodes().UpdateStatus(ctx, update, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			if again, getErr := f.client.CoreV1().Nodes().Get(ctx, m.Name, metav1.GetOptions{}); getErr == nil {
				existing = again
			}
		}
		if err == nil {
			m.conditions = updated.Status.Conditions
		}
		return err
	})
}

// withOthers adds the extended resources that others than kubelet maintain.
func withOthers(own, existing corev1.ResourceList) corev1.ResourceList {
	out := existing.DeepCopy()
	if out == nil {
		out = corev1.ResourceList{}
	}
	for name := range out {
		if !strings.Contains(string(name), "/") {
			delete(out, name)
		}
	}
	maps.Copy(out, own)
	return out
}

// mergeNodeConditions keeps conditions that others than kubelet maintain.
func mergeNodeConditions(old, own []corev1.NodeCondition) []corev1.NodeCondition {
	out := own
	for _, c := range old {
		foreign := true
		for _, o := range own {
			foreign = foreign && o.Type != c.Type
		}
		if foreign {
			out = append(out, c)
		}
	}
	return out
}

// adopt gives the node's pods the addresses back that they had before this
// process started, and only then lets any pod of the node have a new one.
func (f *Fleet) adopt(ctx context.Context, name string) {
	n := f.node(name)
	if n == nil {
		return
	}
	pods := f.podsOn(name)
	had := map[types.UID]netip.Addr{}
	for _, pod := range pods {
		ip, err := netip.ParseAddr(pod.Status.PodIP)
		if _, own := n.ownAddress(pod); err == nil && !own && !isTerminal(pod.Status.Phase) && podeni.Wants(pod) == 0 {
			had[pod.UID] = ip
		}
	}
	// Before the daemon's start, which gives back what no pod has and its settings do not
	// want, such as the addresses of before a switch to prefixes.
	f.cfg.Addresses.Expect(n.InstanceID, had)
	for _, pod := range pods {
		f.observe(ctx, n, pod, &pod.Status) // its settings first: they decide about new addresses
	}
	for _, pod := range pods {
		ip, has := had[pod.UID]
		if !has {
			continue
		}
		// What the pod gets instead, or that it gets nothing, its own sync finds
		// out: Assign answers the same again.
		if _, err := f.cfg.Addresses.Assign(ctx, n.InstanceID, pod.UID, keyOf(pod), ip); err != nil {
			f.log.Warn("pod lost its address", "pod", keyOf(pod), "address", ip, "error", err)
		}
	}
	f.mu.Lock()
	n.adopted = true
	f.mu.Unlock()
	for _, pod := range pods {
		f.enqueue(pod)
	}
}

func keyOf(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

// unlockName is for defer. Unlocking cannot fail: the name was locked before.
func (f *Fleet) unlockName(name string) { _ = f.names.UnlockKey(name) }

// Remove ends a node whose instance is gone: the Node object and its lease are
// deleted, its addresses given back and its pods removed the way the pod garbage
// collector does, without waiting for it. Removing an unknown node only deletes
// what the API server may still have of it. An instance that got the address, and
// with it the name, meanwhile keeps its node.
func (f *Fleet) Remove(ctx context.Context, name, instanceID string) error {
	if f.broken != nil {
		return f.broken
	}
	f.names.LockKey(name)
	defer f.unlockName(name)
	f.mu.Lock()
	n := f.nodes[name]
	if n != nil && n.InstanceID != instanceID {
		f.mu.Unlock()
		return nil
	}
	delete(f.nodes, name)
	delete(f.starved, name)
	if n != nil && f.byIP[n.PrivateIP] == n {
		delete(f.byIP, n.PrivateIP)
	}
	f.mu.Unlock()
	// The Node first, or controllers would put the pods' successors on it.
	if err := f.deleteNode(ctx, name, ""); err != nil {
		return fmt.Errorf("remove node %s: %w", name, err)
	}
	err := f.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove node %s: lease: %w", name, err)
	}
	instance := ""
	if n != nil && n.Fargate == nil {
		instance = n.InstanceID
	}
	if err := f.collect(ctx, f.podsOn(name), instance); err != nil {
		return fmt.Errorf("remove node %s: %w", name, err)
	}
	return nil
}

func (f *Fleet) deleteNode(ctx context.Context, name string, uid types.UID) error {
	opts := metav1.DeleteOptions{}
	if uid != "" {
		opts.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	err := f.client.CoreV1().Nodes().Delete(ctx, name, opts)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// collect removes orphaned pods: a final phase and the reason first, so that
// their controllers count them right, then the object.
func (f *Fleet) collect(ctx context.Context, pods []*corev1.Pod, instanceID string) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	slots := make(chan struct{}, f.cfg.Workers)
	for _, pod := range pods {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if instanceID != "" && !pod.Spec.HostNetwork {
				f.cfg.Addresses.Release(ctx, instanceID, pod.UID)
			}
			if err := f.collectOne(ctx, pod); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = fmt.Errorf("pod %s: %w", keyOf(pod), err)
				}
			}
		})
	}
	wg.Wait()
	return first
}

func (f *Fleet) collectOne(ctx context.Context, pod *corev1.Pod) error {
	if !isTerminal(pod.Status.Phase) {
		st := corev1.PodStatus{Phase: corev1.PodFailed, Conditions: []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC", Message: "PodGC: node no longer exists",
			LastTransitionTime: metav1.NewTime(f.clock.Now()), ObservedGeneration: pod.Generation,
		}}}
		if err := f.patchStatus(ctx, pod, &st); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	f.forget(cache.MetaObjectToName(pod).String(), pod.UID)
	return f.deletePod(ctx, pod)
}

// deletePod removes the object at once, but never a later pod of the same name.
func (f *Fleet) deletePod(ctx context.Context, pod *corev1.Pod) error {
	err := f.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: ptr.To(pod.UID)},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
