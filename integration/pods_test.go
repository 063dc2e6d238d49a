package integration

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const tinySubnet = "10.0.200.0/28"

// TestPods plays what users see of pods and their controllers. Everything is
// applied at once, so that waits overlap; the tests then look one by one.
func TestPods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	k := w.kube(t, w.cluster(t, "dev"))
	w.nodegroup(t, "dev", "ng", 2)
	if _, err := k.RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/nodes").DoRaw(t.Context()); !apierrors.IsNotFound(err) {
		t.Errorf("metrics without metrics-server: %v", err)
	}
	t.Run("no metrics", func(t *testing.T) {
		if out, err := k.kubectl(t, "", "top", "nodes"); err == nil || !strings.Contains(err.Error(), "Metrics API not available") {
			t.Errorf("kubectl top nodes without metrics-server: %q, %v", out, err)
		}
	})
	must(w.eks.CreateAddon(t.Context(), &eks.CreateAddonInput{ClusterName: aws.String("dev"), AddonName: aws.String("metrics-server")}))(t)
	tiny := must(w.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: aws.String(tinySubnet), AvailabilityZone: aws.String(region + "a")}))(t)
	w.nodegroup(t, "dev", "tiny", 1, func(in *eks.CreateNodegroupInput) {
		in.Subnets = []string{*tiny.Subnet.SubnetId}
		in.Taints = []ekstypes.Taint{{Key: aws.String("tiny"), Effect: ekstypes.TaintEffectNoSchedule}}
	})
	k.apply(t, "pods.yaml")

	t.Run("crash loop", k.crashLoop) // its first back-off passes soon
	recovers := k.crowd(t)           // asks for addresses that are free again in 30 s

	t.Run("logs", k.logs)
	t.Run("exec", k.execs)
	t.Run("attach", k.attaches)
	t.Run("stages", k.stages)
	t.Run("configuration", k.configuration)
	t.Run("image", func(t *testing.T) {
		k.pod(t, "unpullable", "backs off its pull", waitsFor("ImagePullBackOff"))
		if m := k.podEvents(t, "unpullable", "Failed"); !anyContains(m, "registry.example.com/nothing:1") {
			t.Errorf("events: %q", m)
		}
	})
	t.Run("stateful set", k.statefulSet)
	t.Run("daemon set", k.daemonSet)
	t.Run("rolling update", k.rollingUpdate)
	t.Run("port-forward", k.forwards)
	t.Run("deletion", k.deletion)
	t.Run("eviction", k.eviction)
	t.Run("volumes", k.volumes)
	t.Run("services", k.services)
	t.Run("metrics", func(t *testing.T) { k.metrics(t, w) })
	t.Run("drain", k.drain)
	t.Run("addresses recover", recovers)
	t.Run("autoscaler", k.autoscaler)
}

func (k *kube) crashLoop(t *testing.T) {
	p := k.pod(t, "crash", "backs off", func(p *corev1.Pod) bool {
		return waitsFor("CrashLoopBackOff")(p) && p.Status.ContainerStatuses[0].RestartCount > 0
	})
	s := p.Status.ContainerStatuses[0]
	if last := s.LastTerminationState.Terminated; p.Status.Phase != corev1.PodRunning || s.Ready || last == nil || last.ExitCode != 3 || last.Reason != "Error" {
		t.Errorf("a crashing pod is %s, %+v", p.Status.Phase, s)
	}
	// On a busy machine it may have crashed more often by now.
	delay := min(10*time.Second<<(s.RestartCount-1), 5*time.Minute)
	if want := fmt.Sprintf("back-off %s restarting failed container=web pod=crash_default(", delay); !strings.HasPrefix(s.State.Waiting.Message, want) {
		t.Errorf("message %q after %d restarts, want %q", s.State.Waiting.Message, s.RestartCount, want)
	}
	k.podEvents(t, "crash", "BackOff")
	b, err := k.CoreV1().Pods("default").GetLogs("crash", &corev1.PodLogOptions{Previous: true}).DoRaw(t.Context())
	if err != nil || !bytes.Contains(b, []byte("simulated")) {
		t.Errorf("--previous: %q, %v", b, err)
	}
	p = k.pod(t, "stumble", "runs after one crash", func(p *corev1.Pod) bool { return podCondition(p, corev1.PodReady).Status == corev1.ConditionTrue })
	if s := p.Status.ContainerStatuses[0]; s.RestartCount != 1 || s.State.Running == nil {
		t.Errorf("after one crash: %+v", s)
	}
}

// stages looks at init containers, sidecars, readiness delays and gates.
func (k *kube) stages(t *testing.T) {
	p := k.pod(t, "staged", "has ready containers", func(p *corev1.Pod) bool {
		return podCondition(p, corev1.ContainersReady).Status == corev1.ConditionTrue
	})
	prepare, proxy, web := p.Status.InitContainerStatuses[0], p.Status.InitContainerStatuses[1], p.Status.ContainerStatuses[0]
	if prepare.State.Terminated == nil || proxy.State.Running == nil || web.State.Running == nil {
		t.Fatalf("init %+v, sidecar %+v, main %+v", prepare.State, proxy.State, web.State)
	}
	if prepare.State.Terminated.Reason != "Completed" || proxy.State.Running.StartedAt.Before(&prepare.State.Terminated.FinishedAt) || web.State.Running.StartedAt.Before(&proxy.State.Running.StartedAt) {
		t.Errorf("out of order: init %+v, sidecar %+v, main %+v", prepare.State.Terminated, proxy.State.Running, web.State.Running)
	}
	// Times in the API are cut to seconds: 2 s may show as 1.
	if ready := podCondition(p, corev1.ContainersReady).LastTransitionTime; ready.Sub(web.State.Running.StartedAt.Time) < time.Second {
		t.Errorf("ready at %v, started at %v", ready, web.State.Running.StartedAt)
	}
	if c := podCondition(p, corev1.PodReady); c.Status != corev1.ConditionFalse || c.Reason != "ReadinessGatesNotReady" {
		t.Errorf("with its gate closed: %+v", c)
	}
	gate := []byte(`{"status":{"conditions":[{"type":"example.com/registered","status":"True"}]}}`)
	if _, err := k.CoreV1().Pods("default").Patch(t.Context(), "staged", types.StrategicMergePatchType, gate, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	k.pod(t, "staged", "is ready", func(p *corev1.Pod) bool {
		return podCondition(p, corev1.PodReady).Status == corev1.ConditionTrue && podCondition(p, "example.com/registered").Status == corev1.ConditionTrue
	})
}

// configuration looks at pods that wait for a ConfigMap or a Secret.
func (k *kube) configuration(t *testing.T) {
	p := k.pod(t, "unconfigured", "misses its configuration", waitsFor("CreateContainerConfigError"))
	if m := p.Status.ContainerStatuses[0].State.Waiting.Message; m != `configmap "settings" not found` {
		t.Errorf("message %q", m)
	}
	if m := k.podEvents(t, "unmounted", "FailedMount"); !anyContains(m, `secret "credentials" not found`) {
		t.Errorf("FailedMount: %q", m)
	}
	k.pod(t, "unmounted", "waits for its volume", waitsFor("ContainerCreating"))
	create := metav1.CreateOptions{}
	must(k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"GREETING": "bonjour"}}, create))(t)
	k.pod(t, "unconfigured", "misses its password", func(p *corev1.Pod) bool {
		return waitsFor("CreateContainerConfigError")(p) && p.Status.ContainerStatuses[0].State.Waiting.Message == `secret "credentials" not found`
	})
	must(k.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "credentials"}, StringData: map[string]string{"password": "x"}}, create))(t)
	k.pod(t, "unconfigured", "runs", podRuns)
	k.pod(t, "unmounted", "runs", podRuns)
	b, err := k.CoreV1().Pods("default").GetLogs("unconfigured", &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil || string(b) != "bonjour\n" {
		t.Errorf("the ConfigMap's value in the log: %q, %v", b, err)
	}
}

// deletion takes its grace, or none.
func (k *kube) deletion(t *testing.T) {
	pods := k.CoreV1().Pods("default")
	gone := func(name string) time.Duration {
		t.Helper()
		begin := time.Now()
		eventually(t, 20*time.Second, "pod "+name+" is gone", func() error {
			if _, err := pods.Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %v", err)
			}
			return nil
		})
		return time.Since(begin)
	}
	if err := pods.Delete(t.Context(), "slow", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p := must(pods.Get(t.Context(), "slow", metav1.GetOptions{}))(t)
	if p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 || p.Status.Phase != corev1.PodRunning {
		t.Errorf("a pod under deletion: %v, %v, %s", p.DeletionTimestamp, p.DeletionGracePeriodSeconds, p.Status.Phase)
	}
	if took := gone("slow"); took < 500*time.Millisecond {
		t.Errorf("a pod that stops in 1 s was gone after %v", took)
	}
	k.podEvents(t, "slow", "Killing")
	if err := pods.Delete(t.Context(), "stumble", metav1.DeleteOptions{GracePeriodSeconds: aws.Int64(0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(t.Context(), "stumble", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a pod deleted by force: %v", err)
	}
}
