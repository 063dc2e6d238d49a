package fargate

import (
	"encoding/json"
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
)

// WebhookName is the MutatingWebhookConfiguration by which EKS hands pods to
// Fargate.
const WebhookName = "0500-amazon-eks-fargate-mutation.amazonaws.com"

// Admit answers the webhook for a new pod: one that a profile selects gets
// Fargate's scheduler, label and priority.
func Admit(profiles []Profile, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	out := &admissionv1.AdmissionResponse{UID: r.UID, Allowed: true}
	if r.Operation != admissionv1.Create || r.Resource.Resource != "pods" || r.SubResource != "" {
		return out, nil
	}
	var pod corev1.Pod
	if err := json.Unmarshal(r.Object.Raw, &pod); err != nil {
		return nil, fmt.Errorf("fargate: pod under admission: %w", err)
	}
	pod.Namespace = r.Namespace // the object may leave it out
	p, ok := Choose(profiles, &pod)
	if !ok {
		return out, nil
	}
	patch, err := json.Marshal(patchOf(&pod, p))
	if err != nil {
		return nil, fmt.Errorf("fargate: %w", err)
	}
	t := admissionv1.PatchTypeJSONPatch
	out.Patch, out.PatchType = patch, &t
	return out, nil
}

type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func patchOf(pod *corev1.Pod, p Profile) []patchOp {
	ops := []patchOp{{"add", "/spec/schedulerName", SchedulerName}}
	if len(pod.Labels) == 0 {
		ops = append(ops, patchOp{"add", "/metadata/labels", map[string]string{ProfileLabel: p.Name}})
	} else {
		ops = append(ops, patchOp{"add", "/metadata/labels/" + strings.ReplaceAll(ProfileLabel, "/", "~1"), p.Name})
	}
	// The number too: the priority plugin has filled it in already and refuses one
	// that is not the class's.
	return append(ops, patchOp{"add", "/spec/priorityClassName", priorityClass}, patchOp{"add", "/spec/priority", priority})
}
