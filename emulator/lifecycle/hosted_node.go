package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/ekslocal/ekslocal/emulator/dataplane"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// taintUninitialized is what a kubelet with an external cloud provider registers with,
// until that has seen the Node.
const taintUninitialized = "node.cloudprovider.kubernetes.io/uninitialized"

// initialize looks at a Node that has registered, for the first time or again.
func (l *Lifecycle) initialize(rt *runtime, o any) {
	n, ok := o.(*corev1.Node)
	if rt.hosted == nil || !ok || !uninitialized(n) {
		return
	}
	if id := instanceOf(n); id != "" {
		l.nodes.queue.Add(key{rt.scope, id})
	}
}

// reconcileNode does the cloud controller manager's part of an instance's Node. It has a
// queue of its own: the instance's is busy until kubeadm has come to its end, and the
// Node may be Ready before that.
func (l *Lifecycle) reconcileNode(ctx context.Context, k key) (time.Duration, error) {
	i := ec2svc.Instances.Get(l.Store, k.Scope, k.ID)
	if i == nil || !live(i) {
		return 0, nil
	}
	c := ekssvc.Clusters.Get(l.Store, k.Scope, clusterOf(i))
	if c == nil {
		return 0, nil
	}
	rt := l.runtimeOf(c.ID)
	ng := ekssvc.Nodegroups.Get(l.Store, k.Scope, ekssvc.ChildID(*c.Resource.Name, tagOf(i, tagNodegroup)))
	if rt == nil || rt.hosted == nil || ng == nil {
		return 0, nil
	}
	n, err := l.nodeOf(c, ng, i)
	if err != nil {
		return 0, err
	}
	return 0, l.initializeNode(ctx, rt, n)
}

func uninitialized(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == taintUninitialized })
}

// instanceOf is the instance that a Node says it is, "" for none.
func instanceOf(n *corev1.Node) string {
	_, id, _ := strings.Cut(n.Spec.ProviderID, "aws:///")
	_, id, _ = strings.Cut(id, "/")
	return id
}

// initializeNode does the cloud controller manager's part of a Node.
func (l *Lifecycle) initializeNode(ctx context.Context, rt *runtime, n dataplane.Node) error {
	if seen := rt.node(n.Name); seen != nil && cloudPatch(rt.name, n, seen) == nil && equality.Semantic.DeepEqual(seen.Status.Addresses, dataplane.CloudAddresses(n)) {
		return nil
	}
	nodes := rt.client.CoreV1().Nodes()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now, err := nodes.Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil || instanceOf(now) != n.InstanceID {
			return err // of another instance: its predecessor's goes, its own is yet to come
		}
		if addresses := dataplane.CloudAddresses(n); !equality.Semantic.DeepEqual(now.Status.Addresses, addresses) {
			// A merge patch: the kubelet's own has addresses under their types as keys.
			patch, err := json.Marshal(map[string]any{"status": map[string]any{"addresses": addresses}})
			if err != nil {
				return err
			}
			if now, err = nodes.Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
				return err
			}
		}
		patch := cloudPatch(rt.name, n, now)
		if patch == nil {
			return nil
		}
		_, err = nodes.Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil // somebody has deleted it, as one may on EKS: it comes back with the kubelet's next start
	}
	if err != nil {
		return fmt.Errorf("initialize node %s: %w", n.Name, err)
	}
	return nil
}

// cloudPatch gives a Node the cloud's labels and takes the taint of new ones off; nil if
// there is nothing to do.
func cloudPatch(cluster string, n dataplane.Node, now *corev1.Node) []byte {
	meta, patch := map[string]any{}, map[string]any{}
	labels := map[string]string{}
	for k, v := range dataplane.CloudLabels(cluster, n) {
		if now.Labels[k] != v {
			labels[k] = v
		}
	}
	if len(labels) > 0 {
		meta["labels"] = labels
	}
	if uninitialized(now) {
		// The list is replaced: not over what somebody else has changed meanwhile.
		meta["resourceVersion"] = now.ResourceVersion
		patch["spec"] = map[string]any{"taints": slices.DeleteFunc(slices.Clone(now.Spec.Taints), func(t corev1.Taint) bool { return t.Key == taintUninitialized })}
	}
	if len(meta) == 0 {
		return nil
	}
	patch["metadata"] = meta
	b, err := json.Marshal(patch)
	if err != nil {
		return nil // maps of strings and taints always encode
	}
	return b
}

// deleteNode deletes the Node of an instance, not that of another with its name.
func (rt *runtime) deleteNode(ctx context.Context, name, instanceID string) error {
	n, err := rt.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && instanceOf(n) != instanceID {
		return nil
	}
	if err == nil {
		err = rt.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &n.UID}})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete node %s: %w", name, err)
	}
	return nil
}

// sweep removes, once in a runtime's life, the machines and Nodes of instances that EC2
// does not remember: of an emulator that was away for longer than that, or of another
// state. All others have an instance that is looked at.
func (l *Lifecycle) sweep(ctx context.Context, rt *runtime) error {
	h := rt.hosted
	if h == nil {
		return nil
	}
	h.mu.Lock()
	swept := h.swept
	h.mu.Unlock()
	if swept {
		return nil
	}
	machines, err := h.hoster.Machines(ctx, rt.id)
	if err != nil {
		return err
	}
	for _, m := range machines {
		if ec2svc.Instances.Get(l.Store, rt.scope, m.InstanceID) != nil {
			continue
		}
		l.Log.Info("removing a machine whose instance is gone", "cluster", rt.name, "instance", m.InstanceID)
		if err := h.hoster.Leave(ctx, rt.id, m.InstanceID); err != nil {
			return err
		}
	}
	nodes, err := rt.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("nodes of cluster %s: %w", rt.name, err)
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if id := instanceOf(n); id != "" && ec2svc.Instances.Get(l.Store, rt.scope, id) == nil {
			if err := rt.deleteNode(ctx, n.Name, id); err != nil {
				return err
			}
		}
	}
	h.mu.Lock()
	h.swept = true
	h.mu.Unlock()
	return nil
}
