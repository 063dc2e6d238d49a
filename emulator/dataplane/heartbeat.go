package dataplane

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	beatWorkers    = 4
	leaseEvery     = 10 * time.Second
	leaseDuration  = 40 * time.Second
	nodeStatusEach = 5 * time.Minute
)

// beat is one due heartbeat of a node.
type beat struct {
	node string
	kind beatKind
}

type beatKind int

const (
	beatLease beatKind = iota
	beatStatus
)

type leaseState struct{ current *coordinationv1.Lease }

// startBeats schedules a node's heartbeats, spread over their interval so that
// 500 nodes do not renew in the same second.
func (f *Fleet) startBeats(name string) {
	h := fnv.New32a()
	h.Write([]byte(name))
	part := float64(h.Sum32()) / (1 << 32)
	f.pulse.AddAfter(beat{name, beatLease}, time.Duration((0.5+part/2)*float64(leaseEvery)))
	f.pulse.AddAfter(beat{name, beatStatus}, time.Duration((0.5+part/2)*float64(nodeStatusEach)))
}

func (f *Fleet) beatWorker(ctx context.Context) {
	for {
		b, quit := f.pulse.Get()
		if quit {
			return
		}
		f.beatOnce(ctx, b)
		f.pulse.Done(b)
	}
}

func (f *Fleet) beatOnce(ctx context.Context, b beat) {
	n := f.node(b.node)
	if n == nil {
		return // removed: its heartbeat ends here
	}
	var err error
	every := leaseEvery
	if b.kind == beatLease {
		err = f.renewLease(ctx, n)
	} else {
		every = nodeStatusEach
		err = f.postNodeStatus(ctx, n)
	}
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		f.log.Warn("heartbeat failed", "node", b.node, "error", err)
		every = min(every, leaseEvery) / 5
	}
	f.pulse.AddAfter(b, every+time.Duration(f.clock.Now().UnixNano()%int64(every/25+1)))
}

// renewLease renews a joined node's lease. Only one worker has a node's beat at a
// time, and Join takes the lease before there are beats.
func (f *Fleet) renewLease(ctx context.Context, n *node) error {
	l := n.lease.current
	if l == nil {
		return f.takeLease(ctx, n, false)
	}
	l = l.DeepCopy()
	l.Spec.RenewTime = ptr.To(metav1.NewMicroTime(f.clock.Now()))
	l, err := f.beats.CoordinationV1().Leases(corev1.NamespaceNodeLease).Update(ctx, l, metav1.UpdateOptions{})
	switch {
	case err == nil:
		n.lease.current = l
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		n.lease.current = nil
		if f.node(n.Name) != n {
			return nil // removed meanwhile
		}
		return f.takeLease(ctx, n, false)
	}
	return err
}

// takeLease makes the lease, or takes over the one there is.
func (f *Fleet) takeLease(ctx context.Context, n *node, fresh bool) error {
	leases := f.beats.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NewMicroTime(f.clock.Now())
	if !fresh {
		l, err := leases.Get(ctx, n.Name, metav1.GetOptions{})
		if err == nil {
			l.Spec.RenewTime, l.Spec.HolderIdentity = &now, &n.Name
			if l, err = leases.Update(ctx, l, metav1.UpdateOptions{}); err == nil {
				n.lease.current = l
			}
			return err
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	l, err := leases.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: n.Name, Namespace: corev1.NamespaceNodeLease,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.uid}},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &n.Name, LeaseDurationSeconds: ptr.To(int32(leaseDuration / time.Second)), RenewTime: &now,
		},
	}, metav1.CreateOptions{})
	switch {
	case err == nil:
		n.lease.current = l
	case apierrors.IsAlreadyExists(err) && fresh:
		return f.takeLease(ctx, n, false)
	}
	return err
}

// postNodeStatus writes the node's conditions; other fields do not change while
// an instance runs.
func (f *Fleet) postNodeStatus(ctx context.Context, n *node) error {
	f.mu.Lock()
	ready, old := n.networkReady, n.conditions
	f.mu.Unlock()
	own := nodeConditions(old, ready, f.clock.Now())
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": own}})
	if err != nil {
		return err
	}
	_, err = f.beats.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil // somebody deleted the Node object; like kubelet, do not make it again
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	n.conditions = own
	f.mu.Unlock()
	return nil
}

// networkPlugins are k8s-app labels of the DaemonSets that configure a node's
// network.
var networkPlugins = map[string]bool{"aws-node": true, "cilium": true, "calico-node": true, "canal": true, "kube-router": true, "antrea": true}

// noteNetwork turns a node Ready when its CNI serves: that is when the plugin's
// configuration file appears, ahead of the pod's own readiness (entrypoint of
// amazon-vpc-cni-k8s). It stays so when the pod goes: the file stays on disk.
func (f *Fleet) noteNetwork(ctx context.Context, n *node, pod *corev1.Pod, phase corev1.PodPhase) error {
	plugin := networkPlugins[pod.Labels["k8s-app"]] || networkPlugins[pod.Labels["app.kubernetes.io/name"]]
	up := phase == corev1.PodRunning && plugin && pod.Spec.HostNetwork
	f.mu.Lock()
	switch {
	case up && f.cfg.Daemon != nil && isDaemon(pod):
		up = n.daemon.pod == pod.UID && n.daemon.Phase == DaemonServing
	case up && !n.foreignNetwork:
		n.foreignNetwork = true
		defer f.wakeStarved(n.Name, -1)
	}
	done := n.networkReady
	n.networkReady = done || up
	changed := n.networkReady && !done
	f.mu.Unlock()
	if !changed {
		return nil
	}
	if err := f.postNodeStatus(ctx, n); err != nil {
		f.mu.Lock()
		n.networkReady = false
		f.mu.Unlock()
		return err
	}
	f.events.node(n, "NodeReady", "Node "+n.Name+" status is now: NodeReady")
	for _, p := range f.podsOn(n.Name) {
		f.enqueue(p)
	}
	return nil
}
