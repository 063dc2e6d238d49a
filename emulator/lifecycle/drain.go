package lifecycle

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/timing"
)

// Patience is how long node groups wait.
type Patience struct {
	// Create is for a cluster's control plane to come up: after it the cluster is FAILED.
	// timing.PatienceCreateCluster unless set.
	Create time.Duration
	// Drain is for the pods of a node that an update replaces: after it the update
	// fails with PodEvictionFailure. timing.PatienceDrain unless set.
	Drain time.Duration
	// ScaleIn is for the pods of nodes that are scaled in, deleted with their group
	// or replaced by force, and then terminated. EKS gives them minutes; pods that
	// cannot go, because a PodDisruptionBudget wants them and no node is left for
	// them, would make every clean-up of a test take that long.
	// timing.PatienceScaleIn unless set.
	ScaleIn time.Duration
	// Join is for an instance to become a Ready node: after it the creation or
	// update fails with NodeCreationFailure. EKS gives up after some 25 minutes
	// here, and nothing that a simulated node waits for takes as long.
	// timing.PatienceJoin unless set.
	Join time.Duration
}

func (p Patience) withDefaults(t timing.Timing) Patience {
	return Patience{
		Drain: cmp.Or(p.Drain, t.Of(timing.PatienceDrain)), ScaleIn: cmp.Or(p.ScaleIn, t.Of(timing.PatienceScaleIn)),
		Join: cmp.Or(p.Join, t.Of(timing.PatienceJoin)), Create: cmp.Or(p.Create, t.Of(timing.PatienceCreateCluster)),
	}
}

// drainStarted marks a node since when it is being drained; in the cluster, so
// that it survives the emulator.
const drainStarted = "ekslocal.dev/drain-started"

// drainRoll on such a node names the node group's generation whose roll drains it.
// When that roll is given up the mark is void at once, although for a moment the
// node is still seen with it: else the node would be drained again, as if the group
// were scaled in, and be terminated by force.
const drainRoll = "ekslocal.dev/drain-roll"

// drains tells whether a node is being drained. failedRoll is the generation of the
// group's roll that was given up, 0 if none was.
func drains(n *corev1.Node, failedRoll int64) bool {
	if n == nil || n.Annotations[drainStarted] == "" {
		return false
	}
	return failedRoll == 0 || n.Annotations[drainRoll] != strconv.FormatInt(failedRoll, 10)
}

// drain cordons a node and asks for the eviction of its pods, once. It answers
// how many pods are still there and since when the node drains. roll is the
// generation that is rolled out, 0 if the node goes for another reason.
func (l *Lifecycle) drain(ctx context.Context, rt *runtime, node string, roll int64) (left int, since time.Time, err error) {
	n, err := rt.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, l.Clock.Now(), nil
	}
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("drain %s: %w", node, err)
	}
	since, err = l.cordon(ctx, rt, n, roll)
	if err != nil {
		return 0, time.Time{}, err
	}
	pods, err := rt.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{
		// Not ResourceVersion 0: a pod that was bound just before the cordon must show.
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
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

func (l *Lifecycle) cordon(ctx context.Context, rt *runtime, n *corev1.Node, roll int64) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, n.Annotations[drainStarted]); err == nil && n.Spec.Unschedulable {
		return at, nil
	}
	now := l.Clock.Now().UTC().Truncate(time.Second)
	reason := "null"
	if roll != 0 {
		reason = strconv.Quote(strconv.FormatInt(roll, 10))
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q,%q:%s}},"spec":{"unschedulable":true}}`, drainStarted, now.Format(time.RFC3339), drainRoll, reason)
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
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null,%q:null}},"spec":{"unschedulable":null}}`, drainStarted, drainRoll)
	_, err := rt.client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("uncordon %s: %w", node, err)
	}
	return nil
}
