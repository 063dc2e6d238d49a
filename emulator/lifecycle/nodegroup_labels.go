package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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
	if ng.UpdateID == "" {
		return true, nil
	}
	u := ekssvc.Updates.Get(l.Store, ng.Scope, ekssvc.ChildID(*ng.Resource.ClusterName, ng.UpdateID))
	if u == nil {
		return true, nil
	}
	removeLabels := paramKeys(u.Resource.Params, ekstypes.UpdateParamTypeLabelsToRemove)
	removeTaints := paramKeys(u.Resource.Params, ekstypes.UpdateParamTypeTaintsToRemove)
	want := kubernetesTaints(ng.Resource.Taints)
	for _, n := range rt.nodesOf(*ng.Resource.NodegroupName) {
		patch := nodePatch(n, ng.Resource.Labels, removeLabels, want, removeTaints)
		if patch == nil {
			continue
		}
		_, err := rt.client.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return false, fmt.Errorf("label %s: %w", n.Name, err)
		}
	}
	return true, nil
}

// nodePatch is the merge patch that gives n the labels and taints, nil if it has
// them. Taints that are not the group's stay.
func nodePatch(n *corev1.Node, labels map[string]string, removeLabels []string, taints []corev1.Taint, removeTaints []string) []byte {
	set := map[string]any{}
	for k, v := range labels {
		if n.Labels[k] != v {
			set[k] = v
		}
	}
	for _, k := range removeLabels {
		if _, kept := labels[k]; kept {
			continue
		}
		if _, has := n.Labels[k]; has {
			set[k] = nil
		}
	}
	next := slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool {
		named := func(o corev1.Taint) bool { return o.Key == t.Key && o.Effect == t.Effect }
		return slices.ContainsFunc(taints, named) || slices.ContainsFunc(removeTaints, func(k string) bool { return k == t.Key })
	})
	next = append(next, taints...)
	patch := map[string]any{}
	if len(set) > 0 {
		patch["metadata"] = map[string]any{"labels": set}
	}
	if !sameTaints(n.Spec.Taints, next) {
		// The resource version makes the list's replacement safe against a taint
		// that somebody else sets meanwhile.
		meta, _ := patch["metadata"].(map[string]any)
		if meta == nil {
			meta = map[string]any{}
		}
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

func sameTaints(a, b []corev1.Taint) bool {
	same := func(x, y corev1.Taint) bool { return x.Key == y.Key && x.Value == y.Value && x.Effect == y.Effect }
	return len(a) == len(b) && !slices.ContainsFunc(b, func(t corev1.Taint) bool {
		return !slices.ContainsFunc(a, func(o corev1.Taint) bool { return same(o, t) })
	})
}

// paramKeys reads the keys out of an update's parameter, which is JSON: a list of
// names, a map, or a list of taints.
func paramKeys(params []ekstypes.UpdateParam, t ekstypes.UpdateParamType) []string {
	for _, p := range params {
		if p.Type != t {
			continue
		}
		v := aws.ToString(p.Value)
		var names []string
		if json.Unmarshal([]byte(v), &names) == nil {
			return names
		}
		var taints []struct {
			Key string `json:"key"`
		}
		if json.Unmarshal([]byte(v), &taints) == nil {
			for _, t := range taints {
				names = append(names, t.Key)
			}
			return names
		}
		return strings.Split(v, ",")
	}
	return nil
}
