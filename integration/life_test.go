package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	clientexec "k8s.io/client-go/util/exec"
)

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "public.ecr.aws/nginx/nginx:1.29"}}},
			},
		},
	}
}

// running waits until n pods of app run, each with an address of its own out of
// the subnets.
func (w *world) running(t *testing.T, k *kubernetes.Clientset, app string, n int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, time.Minute, fmt.Sprintf("%d pods of %s run", n, app), func() error {
		list, err := k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil {
			return err
		}
		pods = nil
		for _, p := range list.Items {
			if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
				pods = append(pods, p)
			}
		}
		if len(pods) != n {
			return fmt.Errorf("%d run of %d", len(pods), len(list.Items))
		}
		return nil
	})
	seen := map[string]string{}
	for _, p := range pods {
		ip, err := netip.ParseAddr(p.Status.PodIP)
		if err != nil {
			t.Fatalf("pod %s: %v", p.Name, err)
		}
		if other := seen[p.Status.PodIP]; other != "" {
			t.Errorf("%s and %s share %s", other, p.Name, ip)
		}
		seen[p.Status.PodIP] = p.Name
		inside := false
		for _, c := range w.cidrs {
			inside = inside || c.Contains(ip)
		}
		if !inside {
			t.Errorf("pod %s has %s, which is in none of %v", p.Name, ip, w.cidrs)
		}
	}
	return pods
}

func readyNodes(t *testing.T, k *kubernetes.Clientset, n int) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("%d nodes are Ready", n), func() error {
		list, err := k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for _, node := range list.Items {
			for _, c := range node.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		if ready != n || len(list.Items) != n {
			return fmt.Errorf("%d of %d", ready, len(list.Items))
		}
		return nil
	})
}

// TestLife takes one cluster from nothing to nothing.
func TestLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	before := w.freeAddresses(t)

	c := w.cluster(t, "dev")
	k, cfg := w.kubernetes(t, c)
	if _, err := k.CoreV1().Namespaces().List(ctx, metav1.ListOptions{}); err != nil {
		t.Fatalf("the creator is not an admin: %v", err)
	}
	version, err := k.Discovery().ServerVersion()
	if err != nil || !strings.HasPrefix(version.GitVersion, "v"+*c.Version+".") || !strings.Contains(version.GitVersion, "-eks-") {
		t.Errorf("the API server of a %s cluster says %v, %v", *c.Version, version, err)
	}

	w.nodegroup(t, "dev", "ng", 3)
	readyNodes(t, k, 3)
	if _, err := k.AppsV1().Deployments("default").Create(ctx, deployment("web", 20), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pods := w.running(t, k, "web", 20)
	eventually(t, 30*time.Second, "the default add-ons run", func() error {
		list, err := k.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		n := map[string]int{}
		for _, p := range list.Items {
			if p.Status.Phase == corev1.PodRunning {
				n[p.Labels["k8s-app"]]++
			}
		}
		if n["aws-node"] != 3 || n["kube-proxy"] != 3 || n["kube-dns"] != 2 {
			return fmt.Errorf("running: %v", n)
		}
		return nil
	})
	t.Run("logs", func(t *testing.T) {
		b, err := k.CoreV1().Pods("default").GetLogs(pods[0].Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil || !bytes.Contains(bytes.ToLower(b), []byte("simulated")) {
			t.Errorf("logs: %q, %v", b, err)
		}
	})
	t.Run("exec", func(t *testing.T) {
		out, code := execIn(t, k, cfg, pods[0].Name, "echo", "hello")
		if out != "hello\n" || code != 0 {
			t.Errorf("echo: %q, exit code %d", out, code)
		}
		if _, code := execIn(t, k, cfg, pods[0].Name, "sh", "-c", "exit 7"); code != 7 {
			t.Errorf("exit code %d, want 7", code)
		}
	})

	if _, err := w.eks.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: aws.String("dev")}); errorAs[*ekstypes.ResourceInUseException](err) == nil {
		t.Errorf("deleting a cluster with a node group: %v", err)
	}
	must(w.eks.DeleteNodegroup(ctx, &eks.DeleteNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")}))(t)
	eventually(t, time.Minute, "the node group is gone", func() error {
		_, err := w.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")})
		if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
	d := must(w.eks.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: aws.String("dev")}))(t)
	if d.Cluster.Status != ekstypes.ClusterStatusDeleting {
		t.Errorf("a deleted cluster is %s, want DELETING", d.Cluster.Status)
	}
	eventually(t, time.Minute, "the cluster is gone", func() error {
		_, err := w.eks.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})
		if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
	if left := w.interfaces(t); len(left) != 0 {
		t.Errorf("network interfaces left behind: %v", left)
	}
	if after := w.freeAddresses(t); after != before {
		t.Errorf("%d addresses are free, %d were before", after, before)
	}
	if s := w.status(); len(s.Clusters) != 0 {
		t.Errorf("status shows %v", s.Clusters)
	}
}

func errorAs[E error](err error) error {
	var e E
	if errors.As(err, &e) {
		return e
	}
	return nil
}

func execIn(t *testing.T, k *kubernetes.Clientset, cfg *rest.Config, pod string, command ...string) (string, int) {
	t.Helper()
	req := k.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "web", Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	x, err := remotecommand.NewSPDYExecutor(cfg, "POST", req.URL())
	if err != nil {
		t.Fatal(err)
	}
	var out, errb bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = x.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errb})
	var exit clientexec.CodeExitError
	if errors.As(err, &exit) {
		return out.String(), exit.Code
	}
	if err != nil {
		t.Fatalf("exec %v: %v (%s)", command, err, errb.String())
	}
	return out.String(), 0
}
