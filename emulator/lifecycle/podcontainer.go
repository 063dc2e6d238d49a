package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ekslocal/ekslocal/emulator/podidentity"
)

// ErrNotFound is what PodContainer answers, wrapped, for what is not there.
var ErrNotFound = errors.New("not found")

// PodContainer is a container of a pod in a running cluster, with what credentials are
// made from.
type PodContainer struct {
	rt   *runtime
	Pod  *corev1.Pod
	Spec *corev1.Container
	// Env is the environment that the container's processes see.
	Env map[string]string
}

// PodContainer finds a container; name may be empty for the pod's first.
func (l *Lifecycle) PodContainer(ctx context.Context, clusterID, namespace, pod, name string) (*PodContainer, error) {
	rt := l.runtimeOf(clusterID)
	if rt == nil {
		return nil, fmt.Errorf("%w: the cluster is not running", ErrNotFound)
	}
	p, err := rt.client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%w: there is no pod %s in namespace %s", ErrNotFound, pod, namespace)
	case err != nil:
		return nil, fmt.Errorf("pod %s/%s: %w", namespace, pod, err)
	}
	all := slices.Concat(p.Spec.Containers, p.Spec.InitContainers)
	i := slices.IndexFunc(all, func(c corev1.Container) bool { return name == "" || c.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: pod %s/%s has no container %s", ErrNotFound, namespace, pod, name)
	}
	return &PodContainer{rt, p, &all[i], rt.fleet.Environment(ctx, p, &all[i])}, nil
}

// Account is what the pod's service account says now.
func (c *PodContainer) Account(ctx context.Context) (podidentity.Account, bool, error) {
	return c.rt.account(ctx, c.Pod.Namespace, c.Pod.Spec.ServiceAccountName)
}

// Token is a token of the pod's service account as a kubelet asks for it.
func (c *PodContainer) Token(ctx context.Context, audience string, seconds int64) (string, error) {
	r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{audience}, ExpirationSeconds: &seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: c.Pod.Name, UID: c.Pod.UID},
	}}
	r, err := c.rt.client.CoreV1().ServiceAccounts(c.Pod.Namespace).CreateToken(ctx, c.Pod.Spec.ServiceAccountName, r, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token of service account %s/%s: %w", c.Pod.Namespace, c.Pod.Spec.ServiceAccountName, err)
	}
	return r.Status.Token, nil
}

// RunsOnNode tells whether a running pod with that label is on the container's node.
func (c *PodContainer) RunsOnNode(label, value string) bool {
	return slices.ContainsFunc(c.rt.fleet.PodsOn(c.Pod.Spec.NodeName), func(p *corev1.Pod) bool {
		return p.Labels[label] == value && p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil
	})
}

// InstanceID is the instance that the pod runs on, empty for one on Fargate or nowhere.
func (c *PodContainer) InstanceID() string {
	n := c.rt.node(c.Pod.Spec.NodeName)
	if n == nil {
		return ""
	}
	id := n.Spec.ProviderID[strings.LastIndexByte(n.Spec.ProviderID, '/')+1:]
	if !strings.HasPrefix(id, "i-") {
		return ""
	}
	return id
}
