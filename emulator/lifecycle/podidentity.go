package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/podidentity"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// PodIdentityPath is the path of the pod identity webhook's URL.
const PodIdentityPath = "mutate"

// podIdentityWebhook is the configuration that EKS puts into every cluster. As there,
// a call that fails lets the pod through without credentials of its own.
func podIdentityWebhook() unstructured.Unstructured {
	return unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
		"metadata": map[string]any{"name": "pod-identity-webhook"},
		"webhooks": []any{map[string]any{
			"name": "iam-for-pods.amazonaws.com", "clientConfig": map[string]any{"url": "https://" + controlplane.PodIdentityHost + "/" + PodIdentityPath},
			"objectSelector": map[string]any{"matchExpressions": []any{map[string]any{"key": podidentity.SkipLabel, "operator": "DoesNotExist"}}},
			"rules": []any{map[string]any{
				"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "resources": []any{"pods"}, "operations": []any{"CREATE"}, "scope": "*",
			}},
			"admissionReviewVersions": []any{"v1beta1"}, "sideEffects": "None", "failurePolicy": "Ignore", "matchPolicy": "Equivalent",
			"reinvocationPolicy": "IfNeeded", "timeoutSeconds": int64(10),
		}},
	}}
}

// accountInformer watches the annotations of a cluster's service accounts.
func accountInformer(client kubernetes.Interface) cache.SharedIndexInformer {
	f := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(func(o any) (any, error) {
		sa, ok := o.(*corev1.ServiceAccount)
		if !ok {
			return o, nil
		}
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: sa.Namespace, Name: sa.Name, UID: sa.UID, ResourceVersion: sa.ResourceVersion, Annotations: sa.Annotations,
		}}, nil
	}))
	return f.Core().V1().ServiceAccounts().Informer()
}

// account reads a service account; ok is false if there is none. One that the watch
// has not brought yet is asked for: it often comes with its first pod.
func (rt *runtime) account(ctx context.Context, namespace, name string) (podidentity.Account, bool, error) {
	if o, ok, err := rt.accounts.GetStore().GetByKey(namespace + "/" + name); err == nil && ok {
		return podidentity.AccountOf(o.(*corev1.ServiceAccount).Annotations), true, nil
	}
	sa, err := rt.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return podidentity.Account{}, false, nil
	case err != nil:
		return podidentity.Account{}, false, fmt.Errorf("service account %s/%s: %w", namespace, name, err)
	}
	return podidentity.AccountOf(sa.Annotations), true, nil
}

// AdmitPodIdentity answers the pod identity webhook in a cluster.
func (l *Lifecycle) AdmitPodIdentity(ctx context.Context, clusterID string, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	rt, err := l.awaitRuntime(ctx, clusterID)
	if err != nil {
		return nil, err
	}
	var endpoint string
	if l.PodEndpoint != nil {
		endpoint = l.PodEndpoint(rt.backend)
	}
	return podidentity.Webhook{
		Region: rt.scope.Region, IPv6: rt.ipv6, Endpoint: endpoint, Random: rand.Int64N,
		Account: func(namespace, name string) (podidentity.Account, bool, error) {
			return rt.account(ctx, namespace, name)
		},
		Associated: func(namespace, name string) bool {
			return ekssvc.FindPodIdentity(l.Store, rt.scope, rt.name, namespace, name) != nil
		},
	}.Admit(r)
}

// runtimePatience is well within the webhook's time-out.
const runtimePatience = 5 * time.Second

// awaitRuntime waits for the daemon's side of a control plane that has just started:
// its controllers make pods before that is there, after a restart above all, and what
// the webhook does not give them they never get.
func (l *Lifecycle) awaitRuntime(ctx context.Context, clusterID string) (*runtime, error) {
	ctx, cancel := context.WithTimeout(ctx, runtimePatience)
	defer cancel()
	for {
		if rt := l.runtimeOf(clusterID); rt != nil {
			return rt, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("the cluster is not running")
		case <-l.Clock.After(50 * time.Millisecond):
		}
	}
}
