package demo

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/service/eks"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// app is the Deployment, its Service, their container and their label.
const app = "web"

func (r *run) connect(ctx context.Context) (string, error) {
	cluster := name
	got, err := r.eks.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &cluster})
	if err != nil {
		return "", err
	}
	ca, err := base64.StdEncoding.DecodeString(*got.Cluster.CertificateAuthority.Data)
	if err != nil {
		return "", err
	}
	token, err := r.Token(ctx, r.AWS, cluster)
	if err != nil {
		return "", err
	}
	r.kube, err = kubernetes.NewForConfig(&rest.Config{Host: *got.Cluster.Endpoint, BearerToken: token,
		TLSClientConfig: rest.TLSClientConfig{CAData: ca}, UserAgent: "ekslocal-demo"})
	if err != nil {
		return "", err
	}
	v, err := r.kube.Discovery().ServerVersion()
	if err != nil {
		return "", err
	}
	return v.GitVersion + ", signed in with an IAM token", nil
}

// waitNodes and waitPods follow watches until the whole picture is as wanted.
func (r *run) waitNodes(ctx context.Context) (string, error) {
	nodes := r.kube.CoreV1().Nodes()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return nodes.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return nodes.Watch(ctx, o)
		},
	}
	all, err := follow(ctx, cache.ToListWatcherWithWatchListSemantics(lw, r.kube), &corev1.Node{}, func(n *corev1.Node) bool {
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	}, nodeCount)
	if err != nil {
		return "", err
	}
	for _, n := range all {
		p := place{name: n.Name, node: n.Name}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				p.ip = a.Address
			}
		}
		r.nodes = append(r.nodes, p)
	}
	return fmt.Sprintf("%d", len(r.nodes)), nil
}

func (r *run) apply(ctx context.Context) (string, error) {
	labels := map[string]string{"app": app}
	opts := metav1.ApplyOptions{FieldManager: "ekslocal-demo", Force: true}
	container := corev1ac.Container().WithName(app).WithImage("public.ecr.aws/nginx/nginx:1.29").
		WithPorts(corev1ac.ContainerPort().WithContainerPort(80))
	deployment := appsv1ac.Deployment(app, namespace).WithSpec(appsv1ac.DeploymentSpec().WithReplicas(replicas).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels)).
		WithTemplate(corev1ac.PodTemplateSpec().WithLabels(labels).WithSpec(corev1ac.PodSpec().WithContainers(container))))
	if _, err := r.kube.AppsV1().Deployments(namespace).Apply(ctx, deployment, opts); err != nil {
		return "", err
	}
	service := corev1ac.Service(app, namespace).WithSpec(corev1ac.ServiceSpec().WithSelector(labels).
		WithPorts(corev1ac.ServicePort().WithPort(80).WithTargetPort(intstr.FromInt32(80))))
	s, err := r.kube.CoreV1().Services(namespace).Apply(ctx, service, opts)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %d replicas; service at %s", app, replicas, s.Spec.ClusterIP), nil
}

func (r *run) waitPods(ctx context.Context) (string, error) {
	pods := r.kube.CoreV1().Pods(namespace)
	selector := "app=" + app
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			return pods.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			return pods.Watch(ctx, o)
		},
	}
	all, err := follow(ctx, cache.ToListWatcherWithWatchListSemantics(lw, r.kube), &corev1.Pod{}, func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" && p.DeletionTimestamp == nil
	}, replicas)
	if err != nil {
		return "", errors.Join(err, r.whyNot(ctx))
	}
	for _, p := range all {
		if !inSubnets(p.Status.PodIP) {
			return "", fmt.Errorf("pod %s has the address %s, which is in none of the subnets", p.Name, p.Status.PodIP)
		}
		r.pods = append(r.pods, place{name: p.Name, ip: p.Status.PodIP, node: p.Spec.NodeName})
	}
	return fmt.Sprintf("%d, each with an address out of the subnets", len(r.pods)), nil
}

func inSubnets(address string) bool {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, c := range subnetCIDRs {
		if netip.MustParsePrefix(c).Contains(ip) {
			return true
		}
	}
	return false
}

// follow returns the objects that are good once there are as many as wanted.
func follow[T any, P interface {
	*T
	runtime.Object
	metav1.Object
}](ctx context.Context, lw cache.ListerWatcher, kind P, good func(P) bool, wanted int) ([]P, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	seen := map[string]P{}
	var out []P
	_, err := watchtools.UntilWithSync(ctx, lw, kind, nil, func(e watch.Event) (bool, error) {
		o, ok := e.Object.(P)
		if !ok {
			return false, nil
		}
		if delete(seen, o.GetName()); e.Type != watch.Deleted {
			seen[o.GetName()] = o
		}
		out = out[:0]
		for _, o := range seen {
			if good(o) {
				out = append(out, o)
			}
		}
		return len(out) >= wanted, nil
	})
	if err != nil {
		return nil, fmt.Errorf("only %d of %d: %w", len(out), wanted, err)
	}
	return out, nil
}

// whyNot is the newest warning about the pods.
func (r *run) whyNot(ctx context.Context) error {
	events, err := r.kube.CoreV1().Events(namespace).List(context.WithoutCancel(ctx),
		metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("type", corev1.EventTypeWarning).String()})
	if err != nil || len(events.Items) == 0 {
		return nil
	}
	e := events.Items[len(events.Items)-1]
	return fmt.Errorf("%s of %s: %s", e.Reason, e.InvolvedObject.Name, e.Message)
}
