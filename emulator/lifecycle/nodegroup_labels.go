package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// labelNodes brings labels and taints of the group's existing nodes to what an
// update asked for. It tells whether all have them already.
func (l *Lifecycle) labelNodes(ctx context.Context, ng *ekssvc.Nodegroup, rt *runtime) (done bool, err error) {
	u := ekssvc.Updates.Get(l.Store, ng.Scope, ekssvc.ChildID(*ng.Resource.ClusterName, ng.UpdateID))
	if ng.UpdateID == "" || u == nil || u.Resource.Type != ekstypes.UpdateTypeConfigUpdate {
		return true, nil
	}
	want := marks{labels: ng.Resource.Labels, taints: kubernetesTaints(ng.Resource.Taints)}
	if err := want.without(u.Resource.Params); err != nil {
		return false, err
	}
	done = true
	for _, n := range rt.nodesOf(*ng.Resource.NodegroupName) {
		patch := want.patch(n)
		if patch == nil {
			continue
		}
		done = false // the watch tells when it is
		_, err := rt.client.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return false, fmt.Errorf("label %s: %w", n.Name, err)
		}
	}
	return done, nil
}

// marks are the labels and taints that nodes should have and should lose.
type marks struct {
	labels     map[string]string
	taints     []corev1.Taint
	lostLabels []string
	lostTaints []corev1.Taint
}

// without reads what to remove out of an update's parameters.
func (m *marks) without(params []ekstypes.UpdateParam) error {
	for _, p := range params {
		var err error
		switch value := []byte(aws.ToString(p.Value)); p.Type {
		case ekstypes.UpdateParamTypeLabelsToRemove:
			err = json.Unmarshal(value, &m.lostLabels)
		case ekstypes.UpdateParamTypeTaintsToRemove:
			var taints []ekstypes.Taint // its fields match the JSON names but for case
			err = json.Unmarshal(value, &taints)
			m.lostTaints = kubernetesTaints(taints)
		}
		if err != nil {
			return fmt.Errorf("update parameter %s: %w", p.Type, err)
		}
	}
	return nil
}

// patch is the merge patch that gives n the labels and taints, nil if it has
// them. Labels and taints that are not the group's stay.
func (m *marks) patch(n *corev1.Node) []byte {
	labels := map[string]any{}
	for _, k := range m.lostLabels {
		if _, has := n.Labels[k]; has {
			labels[k] = nil
		}
	}
	for k, v := range m.labels {
		if n.Labels[k] != v {
			labels[k] = v
		} else {
			delete(labels, k)
		}
	}
	meta, patch := map[string]any{}, map[string]any{}
	if len(labels) > 0 {
		meta["labels"], patch["metadata"] = labels, meta
	}
	if next := m.taintsOf(n); !sameTaints(n.Spec.Taints, next) {
		// The resource version makes the list's replacement safe against a taint
		// that somebody else sets meanwhile.
		meta["resourceVersion"] = n.ResourceVersion
		patch["metadata"], patch["spec"] = meta, map[string]any{"taints": next}
	}
	if len(patch) == 0 {
		return nil
	}
	b, err := json.Marshal(patch)
	if err != nil {
		return nil // maps of strings and taints always encode
	}
	return b
}

func (m *marks) taintsOf(n *corev1.Node) []corev1.Taint {
	in := func(list []corev1.Taint, t corev1.Taint) bool {
		return slices.ContainsFunc(list, func(o corev1.Taint) bool { return o.MatchTaint(&t) })
	}
	next := slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return in(m.taints, t) || in(m.lostTaints, t) })
	return append(next, m.taints...)
}

func sameTaints(a, b []corev1.Taint) bool {
	same := func(x, y corev1.Taint) bool { return x.Key == y.Key && x.Value == y.Value && x.Effect == y.Effect }
	return len(a) == len(b) && !slices.ContainsFunc(b, func(t corev1.Taint) bool {
		return !slices.ContainsFunc(a, func(o corev1.Taint) bool { return same(o, t) })
	})
}
