package podeni

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels and annotations of pods on Fargate, which have an interface of their own
// anyway: the policy's groups go onto that one.
const (
	fargateProfile = "eks.amazonaws.com/fargate-profile"
	// FargateGroups is the annotation with the security groups of a pod on Fargate.
	FargateGroups = "fargate.amazonaws.com/pod-sg"
)

// Admit answers the mutating webhook for a new pod: one that a policy matches asks
// for a branch interface from then on. groups finds the pod's security groups.
func Admit(r *admissionv1.AdmissionRequest, groups func(*corev1.Pod) ([]string, error)) (*admissionv1.AdmissionResponse, error) {
	pod, err := podOf(r, r.Object.Raw)
	if err != nil {
		return nil, err
	}
	windows := pod.Spec.NodeSelector["kubernetes.io/os"] == "windows" || pod.Spec.NodeSelector["beta.kubernetes.io/os"] == "windows"
	if r.Operation != admissionv1.Create || pod.Spec.HostNetwork || windows || len(pod.Spec.Containers) == 0 {
		return allowed(r), nil
	}
	_, onFargate := pod.Labels[fargateProfile]
	ids, err := groups(pod)
	switch {
	case err != nil && onFargate:
		return denied(r, "Failed to get Matching SGP for Pods, rejecting event"), nil
	case err != nil:
		return denied(r, fmt.Sprintf("Failed to get Matching SGP for Pods, rejecting event, error %v", err)), nil
	case onFargate:
		return patched(r, fargatePatch(pod, ids))
	case len(ids) == 0:
		return allowed(r), nil
	}
	return patched(r, append(resourcePatch(pod, "limits"), resourcePatch(pod, "requests")...))
}

// Validate answers the validating webhook: nobody but the controller says what a pod
// was given.
func Validate(r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	pod, err := podOf(r, r.Object.Raw)
	if err != nil {
		return nil, err
	}
	if r.Operation == admissionv1.Create {
		if _, ok := pod.Annotations[Resource]; ok {
			return denied(r, "pod cannot be created with "+Resource+" annotation"), nil
		}
		return allowed(r), nil
	}
	old, err := podOf(r, r.OldObject.Raw)
	switch {
	case err != nil:
		return nil, err
	case pod.Annotations[FargateGroups] != old.Annotations[FargateGroups]:
		return denied(r, "annotation is not set by mutating webhook"), nil
	case pod.Annotations[Resource] != old.Annotations[Resource] && r.UserInfo.Username != User:
		return denied(r, "annotation is not set by vpc-resource-controller"), nil
	}
	return allowed(r), nil
}

func podOf(r *admissionv1.AdmissionRequest, raw []byte) (*corev1.Pod, error) {
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		return nil, fmt.Errorf("podeni: pod under admission: %w", err)
	}
	pod.Namespace = r.Namespace // the object may leave it out
	return &pod, nil
}

func allowed(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{UID: r.UID, Allowed: true}
}

func denied(r *admissionv1.AdmissionRequest, why string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{UID: r.UID, Result: &metav1.Status{Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: why}}
}

type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

func patched(r *admissionv1.AdmissionRequest, ops []patchOp) (*admissionv1.AdmissionResponse, error) {
	out := allowed(r)
	if len(ops) == 0 {
		return out, nil
	}
	patch, err := json.Marshal(ops)
	if err != nil {
		return nil, fmt.Errorf("podeni: %w", err)
	}
	t := admissionv1.PatchTypeJSONPatch
	out.Patch, out.PatchType = patch, &t
	return out, nil
}

func escape(key string) string { return strings.ReplaceAll(key, "/", "~1") }

// resourcePatch lets the pod's first container ask for one branch interface.
func resourcePatch(pod *corev1.Pod, list string) []patchOp {
	path := "/spec/containers/0/resources/" + list
	have := pod.Spec.Containers[0].Resources.Requests
	if list == "limits" {
		have = pod.Spec.Containers[0].Resources.Limits
	}
	if len(have) == 0 {
		return []patchOp{{"add", path, map[string]string{Resource: "1"}}}
	}
	return []patchOp{{"add", path + "/" + escape(Resource), "1"}}
}

// fargatePatch names a Fargate pod's groups; an annotation of the user's own goes.
func fargatePatch(pod *corev1.Pod, groups []string) []patchOp {
	path := "/metadata/annotations"
	_, have := pod.Annotations[FargateGroups]
	switch {
	case len(groups) == 0 && have:
		return []patchOp{{Op: "remove", Path: path + "/" + escape(FargateGroups)}}
	case len(groups) == 0:
		return nil
	case len(pod.Annotations) == 0:
		return []patchOp{{"add", path, map[string]string{FargateGroups: strings.Join(groups, ",")}}}
	}
	return []patchOp{{"add", path + "/" + escape(FargateGroups), strings.Join(groups, ",")}}
}
