package integration

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// statefulSet checks that each replica came after the one before it was ready.
func (k *kube) statefulSet(t *testing.T) {
	var ready metav1.Time
	for i := range 3 {
		p := k.pod(t, fmt.Sprintf("db-%d", i), "is ready", func(p *corev1.Pod) bool { return podCondition(p, corev1.PodReady).Status == corev1.ConditionTrue })
		if p.CreationTimestamp.Before(&ready) {
			t.Errorf("%s was created at %v, the one before it was ready at %v", p.Name, p.CreationTimestamp, ready)
		}
		ready = podCondition(p, corev1.PodReady).LastTransitionTime
		if p.Spec.Hostname != p.Name || p.Spec.Subdomain != "db" {
			t.Errorf("%s is %s.%s", p.Name, p.Spec.Hostname, p.Spec.Subdomain)
		}
	}
}

func (k *kube) daemonSet(t *testing.T) {
	eventually(t, 30*time.Second, "one agent on each node", func() error {
		nodes, err := k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		pods, err := k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=agent"})
		if err != nil {
			return err
		}
		on := map[string]int{}
		for _, p := range pods.Items {
			if podRuns(&p) {
				on[p.Spec.NodeName]++
			}
		}
		if len(nodes.Items) != 3 || len(on) != 3 || len(pods.Items) != 3 {
			return fmt.Errorf("%v on %d nodes", on, len(nodes.Items))
		}
		return nil
	})
}

// rollingUpdate changes the image and watches that no more than maxUnavailable
// replicas are missing at any time.
func (k *kube) rollingUpdate(t *testing.T) {
	get := func() (image string, available int32, done bool, err error) {
		d, err := k.AppsV1().Deployments("default").Get(t.Context(), "rolling", metav1.GetOptions{})
		if err != nil {
			return "", 0, false, err
		}
		s := d.Status
		return d.Spec.Template.Spec.Containers[0].Image, s.AvailableReplicas, s.ObservedGeneration == d.Generation && s.UpdatedReplicas == 4 && s.Replicas == 4 && s.AvailableReplicas == 4, nil
	}
	settled := func() error {
		image, available, done, err := get()
		if err == nil && !done {
			err = fmt.Errorf("%s: %d available", image, available)
		}
		return err
	}
	eventually(t, 30*time.Second, "the first version is out", settled)
	patch := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.29"}]}}}}`)
	must(k.AppsV1().Deployments("default").Patch(t.Context(), "rolling", types.StrategicMergePatchType, patch, metav1.PatchOptions{}))(t)
	eventually(t, 30*time.Second, "the second version is out", func() error {
		if _, available, _, err := get(); err == nil && available < 3 {
			t.Errorf("%d replicas are available during the update, want 3 or more", available)
		}
		return settled()
	})
	eventually(t, 15*time.Second, "the first version is gone", func() error {
		list, err := k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=rolling"})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if p.Spec.Containers[0].Image != "nginx:1.29" {
				return fmt.Errorf("%s is there", p.Name)
			}
		}
		return nil
	})
}

func (k *kube) eviction(t *testing.T) {
	// A budget that is not up to date yet makes clients wait for 10 s.
	allows := func(n int32) {
		t.Helper()
		eventually(t, 30*time.Second, fmt.Sprintf("the budget allows %d disruptions", n), func() error {
			b, err := k.PolicyV1().PodDisruptionBudgets("default").Get(t.Context(), "guarded", metav1.GetOptions{})
			if err == nil && (b.Status.CurrentHealthy != 2 || b.Status.ObservedGeneration != b.Generation || b.Status.DisruptionsAllowed != n) {
				err = fmt.Errorf("%+v", b.Status)
			}
			return err
		})
	}
	allows(0)
	list := must(k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=guarded"}))(t)
	evict := func() error {
		return k.CoreV1().Pods("default").EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: list.Items[0].Name, Namespace: "default"}})
	}
	if err := evict(); !apierrors.IsTooManyRequests(err) {
		t.Fatalf("evicting against the budget: %v", err)
	}
	must(k.PolicyV1().PodDisruptionBudgets("default").Patch(t.Context(), "guarded", types.MergePatchType, []byte(`{"spec":{"minAvailable":1}}`), metav1.PatchOptions{}))(t)
	allows(1)
	eventually(t, 15*time.Second, "the eviction is let through", evict)
	eventually(t, 15*time.Second, "the evicted pod is gone", func() error {
		if _, err := k.CoreV1().Pods("default").Get(t.Context(), list.Items[0].Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
}

// volumes: a claim of gp2 waits for its consumer, then for a provisioner that
// nobody runs for now. The pod stays Pending, as on EKS without the EBS CSI driver.
func (k *kube) volumes(t *testing.T) {
	for claim, reason := range map[string]string{"lonely": "WaitForFirstConsumer", "wanted": "ExternalProvisioning"} {
		eventually(t, 30*time.Second, claim+" says why it waits", func() error {
			c, err := k.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), claim, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if c.Status.Phase != corev1.ClaimPending {
				t.Errorf("claim %s is %s", claim, c.Status.Phase)
			}
			list, err := k.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + claim + ",reason=" + reason})
			if err == nil && len(list.Items) == 0 {
				err = errors.New("no event " + reason)
			}
			return err
		})
	}
	if p := must(k.CoreV1().Pods("default").Get(t.Context(), "consumer", metav1.GetOptions{}))(t); p.Status.Phase != corev1.PodPending || p.Spec.NodeName != "" {
		t.Errorf("the consumer is %s on %q", p.Status.Phase, p.Spec.NodeName)
	}
}

// services: a load balancer stays pending for now, with endpoints and a node port.
func (k *kube) services(t *testing.T) {
	s := must(k.CoreV1().Services("default").Get(t.Context(), "public", metav1.GetOptions{}))(t)
	if len(s.Status.LoadBalancer.Ingress) != 0 || s.Spec.Ports[0].NodePort == 0 {
		t.Errorf("service %+v", s)
	}
	slices := must(k.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=public"}))(t)
	if len(slices.Items) != 1 || len(slices.Items[0].Endpoints) != 4 {
		t.Errorf("endpoints %+v", slices.Items)
	}
	must(k.NetworkingV1().NetworkPolicies("default").Get(t.Context(), "deny", metav1.GetOptions{}))(t)
}

func (k *kube) metrics(t *testing.T, w *world) {
	eventually(t, time.Minute, "metrics-server is ACTIVE", func() error {
		d, err := w.eks.DescribeAddon(t.Context(), &eks.DescribeAddonInput{ClusterName: aws.String("dev"), AddonName: aws.String("metrics-server")})
		if err == nil && d.Addon.Status != ekstypes.AddonStatusActive {
			err = fmt.Errorf("it is %s", d.Addon.Status)
		}
		return err
	})
	eventually(t, 30*time.Second, "the metrics API answers", func() error {
		_, err := k.RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods").DoRaw(t.Context())
		return err
	})
	if out, err := k.kubectl(t, "", "top", "nodes", "--no-headers"); err != nil || strings.Count(out, "\n") != 3 || !strings.Contains(out, "Mi") {
		t.Errorf("kubectl top nodes: %q, %v", out, err)
	}
	if out, err := k.kubectl(t, "", "top", "pods", "-l", "app=rolling", "--no-headers"); err != nil || strings.Count(out, "\n") != 4 {
		t.Errorf("kubectl top pods: %q, %v", out, err)
	}
}

// autoscaler: the controller computes from the simulated metrics; it looks every 15 s.
func (k *kube) autoscaler(t *testing.T) {
	eventually(t, 45*time.Second, "the autoscaler has metrics", func() error {
		h, err := k.AutoscalingV2().HorizontalPodAutoscalers("default").Get(t.Context(), "rolling", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range h.Status.Conditions {
			if c.Type == autoscalingv2.ScalingActive && c.Status == corev1.ConditionTrue && h.Status.CurrentReplicas == 4 {
				return nil
			}
		}
		return fmt.Errorf("%+v", h.Status)
	})
}

// crowd waits until the /28 is full, gives some of its pods back and returns the
// check that the others get their addresses, once these have cooled down.
func (k *kube) crowd(t *testing.T) func(t *testing.T) {
	t.Helper()
	var run, wait []corev1.Pod
	eventually(t, 30*time.Second, "the small subnet is full", func() error {
		list, err := k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=crowd"})
		if err != nil {
			return err
		}
		run, wait = nil, nil
		for _, p := range list.Items {
			switch {
			case podRuns(&p):
				run = append(run, p)
			case waitsFor("ContainerCreating")(&p):
				wait = append(wait, p)
			}
		}
		if len(run)+len(wait) != 12 || len(wait) == 0 || len(run) < 5 {
			return fmt.Errorf("%d run, %d wait of %d", len(run), len(wait), len(list.Items))
		}
		return nil
	})
	cidr, held := netip.MustParsePrefix(tinySubnet), map[string]bool{}
	for _, p := range run {
		if ip, err := netip.ParseAddr(p.Status.PodIP); err != nil || !cidr.Contains(ip) || held[p.Status.PodIP] {
			t.Errorf("%s has %q, %v", p.Name, p.Status.PodIP, err)
		}
		held[p.Status.PodIP] = true
	}
	const text = `plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container`
	if m := k.podEvents(t, wait[0].Name, "FailedCreatePodSandBox"); !anyContains(m, text) || !strings.HasPrefix(m[0], "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox") {
		t.Errorf("events of a pod without an address: %q", m)
	}
	// The ReplicaSet lets go of pods that do not run first, so that it is made
	// smaller by those before running ones are deleted under it.
	stay := len(run) - 1
	begin := time.Now()
	for _, p := range run[:2] {
		if err := k.CoreV1().Pods("default").Delete(t.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, stay)
	must(k.AppsV1().ReplicaSets("default").Patch(t.Context(), "crowd", types.MergePatchType, []byte(patch), metav1.PatchOptions{}))(t)
	return func(t *testing.T) {
		eventually(t, time.Minute, "freed addresses are given out again", func() error {
			list, err := k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=crowd"})
			if err != nil {
				return err
			}
			n := 0
			for _, p := range list.Items {
				if podRuns(&p) && p.DeletionTimestamp == nil {
					n++
				}
			}
			if n != stay {
				return fmt.Errorf("%d run, want %d", n, stay)
			}
			return nil
		})
		if took := time.Since(begin); took < 28*time.Second {
			t.Errorf("an address was given out again %v after it was freed, before its cooldown of 30 s", took)
		}
	}
}

// drain empties a node as kubectl does, and lets it work again.
func (k *kube) drain(t *testing.T) {
	list := must(k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: "eks.amazonaws.com/nodegroup=ng"}))(t)
	node := list.Items[0].Name
	if out, err := k.kubectl(t, "", "cordon", node); err != nil || !strings.Contains(out, "cordoned") {
		t.Fatalf("%q, %v", out, err)
	}
	if out, err := k.kubectl(t, "", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s"); err != nil {
		t.Fatalf("drain: %q, %v", out, err)
	}
	pods := must(k.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + node}))(t)
	for _, p := range pods.Items {
		if len(p.OwnerReferences) == 0 || p.OwnerReferences[0].Kind != "DaemonSet" {
			t.Errorf("%s/%s is left on a drained node", p.Namespace, p.Name)
		}
	}
	eventually(t, 30*time.Second, "what was drained runs elsewhere", func() error {
		d, err := k.AppsV1().Deployments("default").Get(t.Context(), "rolling", metav1.GetOptions{})
		if err == nil && d.Status.AvailableReplicas != 4 {
			err = fmt.Errorf("%d available", d.Status.AvailableReplicas)
		}
		return err
	})
	if out, err := k.kubectl(t, "", "uncordon", node); err != nil || !strings.Contains(out, "uncordoned") {
		t.Errorf("%q, %v", out, err)
	}
}
