package lifecycle

import (
	"context"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/podeni"
)

// The paths of the URLs of the VPC resource controller's webhooks.
const (
	PodENIMutatePath   = "mutate-v1-pod"
	PodENIValidatePath = "validate-v1-pod"
)

// vpcResourceWebhooks are the configurations that EKS puts into every cluster. As
// there, a call that fails lets the pod through. The second has a condition that EKS's
// has not, which saves a call for nearly every pod: what it looks at is the
// annotation.
func vpcResourceWebhooks() []unstructured.Unstructured {
	webhook := func(name, path string, more map[string]any, operations ...any) []any {
		w := map[string]any{
			"name": name, "clientConfig": map[string]any{"url": "https://" + controlplane.AdmissionHost + "/" + path},
			"rules": []any{map[string]any{
				"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "resources": []any{"pods"}, "operations": operations, "scope": "*",
			}},
			"admissionReviewVersions": []any{"v1"}, "sideEffects": "None", "failurePolicy": "Ignore", "matchPolicy": "Equivalent", "timeoutSeconds": int64(10),
		}
		for k, v := range more {
			w[k] = v
		}
		return []any{w}
	}
	object := func(kind, name string, webhooks []any) unstructured.Unstructured {
		return unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
			"metadata": map[string]any{"name": name, "labels": map[string]any{"app.kubernetes.io/name": "vpc-resource-controller"}},
			"webhooks": webhooks,
		}}
	}
	annotated := func(object, annotation string) string {
		return "has(" + object + ".metadata.annotations) && '" + annotation + "' in " + object + ".metadata.annotations"
	}
	concerned := strings.Join([]string{
		annotated("object", podeni.Resource), annotated("object", podeni.FargateGroups),
		"oldObject != null && " + annotated("oldObject", podeni.Resource), "oldObject != null && " + annotated("oldObject", podeni.FargateGroups),
	}, " || ")
	return []unstructured.Unstructured{
		object("MutatingWebhookConfiguration", "vpc-resource-mutating-webhook",
			webhook("mpod.vpc.k8s.aws", PodENIMutatePath, map[string]any{"reinvocationPolicy": "Never"}, "CREATE")),
		object("ValidatingWebhookConfiguration", "vpc-resource-validating-webhook",
			webhook("vpod.vpc.k8s.aws", PodENIValidatePath, map[string]any{
				"matchConditions": []any{map[string]any{"name": "annotated", "expression": concerned}},
			}, "CREATE", "UPDATE")),
	}
}

// AdmitPodENI answers the VPC resource controller's webhooks in a cluster.
func (l *Lifecycle) AdmitPodENI(ctx context.Context, clusterID, path string, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	if path == PodENIValidatePath {
		return podeni.Validate(r)
	}
	rt := l.runtimeOf(clusterID)
	return podeni.Admit(r, func(pod *corev1.Pod) ([]string, error) {
		if rt == nil {
			return nil, nil // it is about to start, and has no policies yet
		}
		return rt.podENIs.groups(ctx, pod)
	})
}

// policiesIn are the policies of a namespace in order of their names; bySA tells
// whether one looks at the service account.
func (p *podENIs) policiesIn(namespace string) (out []podeni.Policy, bySA bool) {
	var all []*unstructured.Unstructured
	for _, o := range p.policies.GetStore().List() {
		if u := o.(*unstructured.Unstructured); u.GetNamespace() == namespace {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, u := range all {
		policy, err := podeni.PolicyOf(u)
		if err != nil {
			p.l.Log.Warn("a policy is passed over", "cluster", p.rt.name, "error", err)
			continue
		}
		out, bySA = append(out, policy), bySA || policy.ServiceAccountSelector != nil
	}
	return out, bySA
}
