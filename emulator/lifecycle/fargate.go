package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/fargate"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
)

// reconcileFargate does what the status asks for; ekssvc.FargateProfileStates says
// where each leads.
func (l *Lifecycle) reconcileFargate(ctx context.Context, k key) (time.Duration, error) {
	p := ekssvc.FargateProfiles.Get(l.Store, k.Scope, k.ID)
	if p == nil {
		return 0, nil
	}
	c := ekssvc.Clusters.Get(l.Store, k.Scope, *p.Resource.ClusterName)
	if c == nil {
		return 0, nil
	}
	rt := l.runtimeOf(c.ID)
	if rt == nil {
		return 0, nil // the runtime's start enqueues the cluster's profiles
	}
	ctx, done := rt.during(ctx)
	defer done()
	rt.fargate.start()
	switch p.Resource.Status {
	case ekstypes.FargateProfileStatusCreating:
		return l.createFargate(ctx, c, p, rt)
	case ekstypes.FargateProfileStatusDeleting:
		return l.deleteFargate(ctx, c, p, rt)
	}
	return 0, nil
}

func (l *Lifecycle) createFargate(ctx context.Context, c *ekssvc.Cluster, p *ekssvc.FargateProfile, rt *runtime) (time.Duration, error) {
	role := *p.Resource.PodExecutionRoleArn
	if e := ekssvc.AccessEntries.Get(l.Store, c.Scope, ekssvc.ChildID(rt.name, role)); ekssvc.UsesAccessEntries(c) && e != nil && aws.ToString(e.Resource.Type) != ekssvc.EntryFargateLinux {
		return 0, l.moveFargate(ctx, p, ekstypes.FargateProfileStatusCreateFailed, ekstypes.FargateProfileIssue{
			Code: ekstypes.FargateProfileIssueCodePodExecutionRoleAlreadyInUse, ResourceIds: []string{role},
			Message: aws.String(fmt.Sprintf("The pod execution role %s already has an access entry of type %s in the cluster.", role, aws.ToString(e.Resource.Type))),
		})
	}
	if err := l.letFargateIn(ctx, c, p, rt); err != nil {
		return 0, err
	}
	if err := rt.applier.apply(ctx, []unstructured.Unstructured{fargateWebhook()}, true); err != nil {
		return 0, err
	}
	if left := l.left(timing.FargateCreating, p.Resource.CreatedAt); left > 0 {
		return left, nil
	}
	return 0, l.moveFargate(ctx, p, ekstypes.FargateProfileStatusActive)
}

// letFargateIn maps the pod execution role into the cluster, so that the kubelets of
// Fargate may register.
func (l *Lifecycle) letFargateIn(ctx context.Context, c *ekssvc.Cluster, p *ekssvc.FargateProfile, rt *runtime) error {
	role := *p.Resource.PodExecutionRoleArn
	if !ekssvc.UsesAccessEntries(c) {
		rt.auth.Lock()
		defer rt.auth.Unlock()
		return addAuthRow(ctx, rt, authRow{
			RoleARN: role, Username: "system:node:{{SessionName}}", Groups: []string{"system:bootstrappers", "system:nodes", "system:node-proxier"},
		})
	}
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		ekssvc.EnsureNodeEntry(tx, c, ekssvc.Principal{ARN: role, ID: p.RoleID}, ekssvc.EntryFargateLinux, l.Clock.Now())
		return nil
	})
}

// fargateWebhook is the configuration that EKS puts into clusters. It fails closed:
// the API server reaches its answer without a network, and a pod that ends up on
// EC2 against its profile would be a lie.
func fargateWebhook() unstructured.Unstructured {
	return unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
		"metadata": map[string]any{"name": fargate.WebhookName, "labels": map[string]any{"eks.amazonaws.com/component": "fargate"}},
		"webhooks": []any{map[string]any{
			"name": fargate.WebhookName, "clientConfig": map[string]any{"url": "https://" + controlplane.AdmissionHost + "/" + FargateWebhookPath},
			"rules": []any{map[string]any{
				"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "resources": []any{"pods"}, "operations": []any{"CREATE"}, "scope": "Namespaced",
			}},
			"admissionReviewVersions": []any{"v1"}, "sideEffects": "None", "failurePolicy": "Fail", "reinvocationPolicy": "Never", "timeoutSeconds": int64(10),
		}},
	}}
}

// FargateWebhookPath is the path of the webhook's URL.
const FargateWebhookPath = "mutate/fargate"

// FargateProfiles are a cluster's profiles that take new pods.
func FargateProfiles(r store.Reader, c *ekssvc.Cluster) []fargate.Profile {
	var out []fargate.Profile
	for _, p := range ekssvc.FargateProfiles.ListPrefix(r, c.Scope, ekssvc.ClusterPrefix(*c.Resource.Name)) {
		if p.Resource.Status != ekstypes.FargateProfileStatusActive {
			continue
		}
		one := fargate.Profile{Name: *p.Resource.FargateProfileName}
		for _, s := range p.Resource.Selectors {
			one.Selectors = append(one.Selectors, fargate.Selector{Namespace: aws.ToString(s.Namespace), Labels: s.Labels})
		}
		out = append(out, one)
	}
	return out
}

// deleteFargate deletes the pods that run by the profile, and then what let them in.
func (l *Lifecycle) deleteFargate(ctx context.Context, c *ekssvc.Cluster, p *ekssvc.FargateProfile, rt *runtime) (time.Duration, error) {
	name := *p.Resource.FargateProfileName
	if !rt.fargate.pods.HasSynced() {
		return minVisible / 4, nil
	}
	left := 0
	for _, pod := range rt.fargate.podsOf(name) {
		left++
		if pod.DeletionTimestamp != nil {
			continue
		}
		err := rt.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(pod.UID)}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return 0, fmt.Errorf("delete pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	for _, m := range l.fargateNodes(c) {
		if m.Profile == name {
			left++
		}
	}
	since := l.Clock.Since(aws.ToTime(p.DeletingSince))
	switch {
	case left > 0 && since < l.Patience.Join:
		return l.Patience.Join - since, nil // or sooner, when a pod goes
	case left > 0:
		return 0, l.moveFargate(ctx, p, ekstypes.FargateProfileStatusDeleteFailed, ekstypes.FargateProfileIssue{
			Code: ekstypes.FargateProfileIssueCodeInternalFailure, ResourceIds: []string{name}, Message: aws.String("Pods of the Fargate profile are still running."),
		})
	}
	if left := l.left(timing.FargateDeleting, p.DeletingSince); left > 0 {
		return left, nil
	}
	if err := l.keepFargateOut(ctx, c, p, rt); err != nil {
		return 0, err
	}
	return 0, l.Store.Update(ctx, func(tx *store.Tx) error {
		id := ekssvc.ChildID(rt.name, name)
		if now := ekssvc.FargateProfiles.Get(tx, p.Scope, id); now == nil || now.ID != p.ID {
			return nil
		}
		ekssvc.FargateProfiles.Delete(tx, p.Scope, id)
		return nil
	})
}

// keepFargateOut undoes letFargateIn and takes the webhook away, unless another
// profile needs them.
func (l *Lifecycle) keepFargateOut(ctx context.Context, c *ekssvc.Cluster, p *ekssvc.FargateProfile, rt *runtime) error {
	rt.auth.Lock()
	defer rt.auth.Unlock()
	others := slices.DeleteFunc(ekssvc.FargateProfiles.ListPrefix(l.Store, c.Scope, ekssvc.ClusterPrefix(rt.name)), func(o *ekssvc.FargateProfile) bool { return o.ID == p.ID })
	if len(others) == 0 {
		if err := rt.applier.remove(ctx, []unstructured.Unstructured{fargateWebhook()}); err != nil {
			return err
		}
	}
	role := *p.Resource.PodExecutionRoleArn
	if slices.ContainsFunc(others, func(o *ekssvc.FargateProfile) bool { return *o.Resource.PodExecutionRoleArn == role }) {
		return nil
	}
	if !ekssvc.UsesAccessEntries(c) {
		return removeAuthRow(ctx, rt, role)
	}
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		id := ekssvc.ChildID(rt.name, role)
		if e := ekssvc.AccessEntries.Get(tx, c.Scope, id); e != nil && aws.ToString(e.Resource.Type) == ekssvc.EntryFargateLinux {
			ekssvc.AccessEntries.Delete(tx, c.Scope, id)
		}
		return nil
	})
}

// moveFargate changes a profile's state unless it is gone, was made again or has
// moved on.
func (l *Lifecycle) moveFargate(ctx context.Context, p *ekssvc.FargateProfile, to ekstypes.FargateProfileStatus, issues ...ekstypes.FargateProfileIssue) error {
	id := ekssvc.ChildID(*p.Resource.ClusterName, *p.Resource.FargateProfileName)
	err := l.Store.Update(ctx, func(tx *store.Tx) error {
		now := ekssvc.FargateProfiles.Edit(tx, p.Scope, id)
		if now == nil || now.ID != p.ID || now.Resource.Status != p.Resource.Status || !now.Move(to, issues...) {
			return nil
		}
		ekssvc.FargateProfiles.Put(tx, p.Scope, id, now)
		return nil
	})
	if err != nil {
		return fmt.Errorf("fargate profile %s: %w", id, err)
	}
	return nil
}

// fargateNodes are the machines of a cluster's pods on Fargate.
func (l *Lifecycle) fargateNodes(c *ekssvc.Cluster) []*ekssvc.FargateNode {
	return ekssvc.FargateNodes.ListPrefix(l.Store, c.Scope, ekssvc.ClusterPrefix(*c.Resource.Name))
}

// finished tells whether the pod has ended.
func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
