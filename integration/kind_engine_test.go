package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestKindEngineRestarts: when the engine goes down and comes up again, as it does with
// its machine, clusters, nodes and pods are there again, and EC2 has noticed nothing. It
// disturbs whatever runs in the engine: make test-kind-all names the command only for one of
// its own.
func TestKindEngineRestarts(t *testing.T) {
	restart := os.Getenv("EKSLOCAL_KIND_RESTART_ENGINE")
	if restart == "" {
		t.Skip("EKSLOCAL_KIND_RESTART_ENGINE is not set: see make test-kind-all")
	}
	k := newKindPods(t, 1)
	k.ok(t, fmt.Sprintf(kindWorkload, "one", k.nodes[0].Name, false, 80), "apply", "-f", "-")
	before, containers := k.kindPod(t, "one"), containersOf(t, k.cluster)

	began := time.Now()
	if out, err := exec.Command(restart).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("the engine is back after %s", time.Since(began).Round(100*time.Millisecond))
	k.eventuallyRuns(t, began, before, containers)
	t.Logf("all is back after %s", time.Since(began).Round(100*time.Millisecond))
	if got := k.nodegroupNow(t, "real", "ng"); got.Status != ekstypes.NodegroupStatusActive || len(got.Health.Issues) > 0 {
		t.Errorf("the node group is %s, %+v", got.Status, got.Health.Issues)
	}
}

// eventuallyRuns waits until the node and its pod have said that they run since a time,
// in the containers that there were.
func (k *kindPods) eventuallyRuns(t *testing.T, since time.Time, pod *corev1.Pod, containers []string) {
	t.Helper()
	eventually(t, 3*time.Minute, "node and pod run again", func() error {
		for _, name := range containers {
			if !running(t, name) {
				return errors.New(name + " does not run")
			}
		}
		nodes, err := k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(nodes.Items) != 1 || nodes.Items[0].Spec.ProviderID != k.nodes[0].Spec.ProviderID {
			return fmt.Errorf("nodes %+v", nodes.Items)
		}
		for _, c := range nodes.Items[0].Status.Conditions {
			if c.Type == corev1.NodeReady && (c.Status != corev1.ConditionTrue || c.LastHeartbeatTime.Time.Before(since)) {
				return fmt.Errorf("the node is Ready=%s of %s", c.Status, c.LastHeartbeatTime)
			}
		}
		now, err := k.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		started := now.Status.ContainerStatuses[0].State.Running
		if !podReady(now) || started == nil || started.StartedAt.Time.Before(since.Truncate(time.Second)) {
			return fmt.Errorf("the pod is %s, %v", now.Status.Phase, now.Status.ContainerStatuses)
		}
		if now.Status.PodIP != pod.Status.PodIP {
			return fmt.Errorf("the pod has %s, it had %s", now.Status.PodIP, pod.Status.PodIP)
		}
		return k.onNode(t, 0, "ping -c 1 -w 5 "+now.Status.PodIP)
	})
}
