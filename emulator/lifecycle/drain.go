package lifecycle

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// drainTimeout is how long an update of a managed node group waits for a node's
	// pods to go before it fails with PodEvictionFailure ("Update a managed node
	// group for your cluster", EKS User Guide).
	drainTimeout = 15 * time.Minute
	// scaleInPatience is how long nodes that are scaled in or deleted with their
	// group wait for their pods. EKS gives them five minutes and terminates them
	// then; pods that cannot go, because a PodDisruptionBudget wants them and no
	// node is left for them, would make every clean-up of a test take that long.
	scaleInPatience = 5 * time.Second
)

// drainStarted marks a node since when it is being drained; in the cluster, so
// that it survives the emulator.
const drainStarted = "ekslocal.dev/drain-started"

// drain cordons a node and asks for the eviction of its pods, once. It answers
// how many pods are still there and since when the node drains.
func (l *Lifecycle) drain(ctx context.Context, rt *runtime, node string) (left int, since time.Time, err error) {
	n, err := rt.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, l.Clock.Now(), nil
	}
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("drain %s: %w", node, err)
	}
	since, err = l.cordon(ctx, rt, n)
	if err != nil {
		return 0, time.Time{}, err
	}
	pods, err := rt.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(), ResourceVersion: "0",
	})
	if err != nil {
		return 0, since, fmt.Errorf("drain %s: %w", node, err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if !evictable(p) {
			continue
		}
		left++
		if p.DeletionTimestamp != nil {
			continue
		}
		err := rt.client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}},
		})
		// 429 is a PodDisruptionBudget saying not yet.
		if err != nil && !apierrors.IsTooManyRequests(err) && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return left, since, fmt.Errorf("evict %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	return left, since, nil
}

func (l *Lifecycle) cordon(ctx context.Context, rt *runtime, n *corev1.Node) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, n.Annotations[drainStarted]); err == nil && n.Spec.Unschedulable {
		return at, nil
	}
	now := l.Clock.Now().UTC().Truncate(time.Second)
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}},"spec":{"unschedulable":true}}`, drainStarted, now.Format(time.RFC3339))
	if _, err := rt.client.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return now, fmt.Errorf("cordon %s: %w", n.Name, err)
	}
	return now, nil
}

// evictable tells whether a drain has to wait for a pod: not for those of
// DaemonSets, mirror pods, or pods that have ended.
func evictable(p *corev1.Pod) bool {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return false
	}
	owner := metav1.GetControllerOf(p)
	return owner == nil || owner.Kind != "DaemonSet"
}

// uncordon undoes cordon.
func (rt *runtime) uncordon(ctx context.Context, node string) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}},"spec":{"unschedulable":null}}`, drainStarted)
	_, err := rt.client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("uncordon %s: %w", node, err)
	}
	return nil
}
