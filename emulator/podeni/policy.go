package podeni

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Policy is a SecurityGroupPolicy.
type Policy struct {
	PodSelector            *metav1.LabelSelector `json:"podSelector,omitempty"`
	ServiceAccountSelector *metav1.LabelSelector `json:"serviceAccountSelector,omitempty"`
	SecurityGroups         struct {
		GroupIDs []string `json:"groupIds,omitempty"`
	} `json:"securityGroups,omitempty"`
}

// PolicyOf reads a policy from the object that the cluster holds.
func PolicyOf(o *unstructured.Unstructured) (Policy, error) {
	var p struct {
		Spec Policy `json:"spec"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &p); err != nil {
		return Policy{}, fmt.Errorf("podeni: policy %s/%s: %w", o.GetNamespace(), o.GetName(), err)
	}
	return p.Spec, nil
}

// Groups are the security groups that the policies of a pod's namespace give it, each
// once. A policy with two selectors wants both to match; an empty selector matches
// everything; a policy without any, or without groups, is none.
func Groups(policies []Policy, pod, serviceAccount map[string]string) []string {
	var out []string
	for i := range policies {
		p := &policies[i]
		if p.PodSelector == nil && p.ServiceAccountSelector == nil || !matches(p.PodSelector, pod) || !matches(p.ServiceAccountSelector, serviceAccount) {
			continue
		}
		for _, g := range p.SecurityGroups.GroupIDs {
			if !slices.Contains(out, g) {
				out = append(out, g)
			}
		}
	}
	return out
}

// matches tells whether a selector, if there is one, matches labels. One that cannot
// be read matches nothing.
func matches(s *metav1.LabelSelector, l map[string]string) bool {
	if s == nil {
		return true
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(l))
}
