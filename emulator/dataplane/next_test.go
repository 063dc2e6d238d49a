package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// play calls next whenever it asks to be called and notes what kubectl would show
// after each change, with the time since the pod was admitted.
func play(t *testing.T, pod *corev1.Pod, until time.Duration, edit func(at time.Duration, s *situation)) []string {
	t.Helper()
	l, errs := lifeOf(pod)
	for _, err := range errs {
		t.Error(err)
	}
	var out []string
	var was corev1.PodStatus
	last := ""
	for at := time.Duration(0); at <= until; {
		s := situation{
			pod: pod, was: was, life: l, now: epoch.Add(at), admitted: epoch, network: epoch, minor: 34,
			ips: []netip.Addr{netip.MustParseAddr("10.0.0.9")}, hostIP: netip.MustParseAddr("10.0.0.1"),
		}
		if edit != nil {
			edit(at, &s)
		}
		got := next(s)
		if again := next(s); !cmp.Equal(again.status, got.status) {
			t.Errorf("%s: a second call differs: %s", at, cmp.Diff(got.status, again.status))
		}
		was = got.status
		if text := show(&was); text != last {
			out = append(out, fmt.Sprintf("%s %s", at, text))
			last = text
		}
		if got.again <= 0 {
			break
		}
		at += got.again
	}
	return out
}

// show is phase, ready containers and each container's state.
func show(st *corev1.PodStatus) string {
	var states []string
	ready := 0
	for _, list := range [][]corev1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses} {
		for _, cs := range list {
			state := "?"
			switch {
			case cs.State.Running != nil:
				state = "run"
			case cs.State.Waiting != nil:
				state = cs.State.Waiting.Reason
			case cs.State.Terminated != nil:
				state = fmt.Sprintf("%s(%d)", cs.State.Terminated.Reason, cs.State.Terminated.ExitCode)
			}
			if cs.RestartCount > 0 {
				state += fmt.Sprintf("*%d", cs.RestartCount)
			}
			if cs.Ready {
				state += "+"
			}
			states = append(states, cs.Name+"="+state)
		}
	}
	if c := findCondition(st.Conditions, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		ready = 1
	}
	text := fmt.Sprintf("%s ready=%d %s", st.Phase, ready, strings.Join(states, " "))
	if st.Reason != "" {
		text += " " + st.Reason
	}
	return text
}

func scripted(policy corev1.RestartPolicy, annotations map[string]string, edit func(*corev1.PodSpec)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", UID: types.UID("u"), Annotations: map[string]string{"ekslocal.dev/start-delay": "1s"}},
		Spec:       corev1.PodSpec{RestartPolicy: policy, Containers: []corev1.Container{{Name: "app", Image: "nginx"}}},
	}
	for k, v := range annotations {
		p.Annotations["ekslocal.dev/"+k] = v
	}
	if edit != nil {
		edit(&p.Spec)
	}
	return p
}

func TestNext(t *testing.T) {
	const always, never, onFailure = corev1.RestartPolicyAlways, corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure
	sidecar := ptr.To(corev1.ContainerRestartPolicyAlways)
	for _, tc := range []struct {
		name  string
		pod   *corev1.Pod
		until time.Duration
		want  []string
	}{
		{"runs forever", scripted(always, nil, nil), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=1 app=run+",
		}},
		{"readiness", scripted(always, map[string]string{"ready-after": "5s"}, nil), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=0 app=run", "6s Running ready=1 app=run+",
		}},
		{"never ready", scripted(always, map[string]string{"ready-after": "never"}, nil), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=0 app=run",
		}},
		{"readiness probe", scripted(always, nil, func(s *corev1.PodSpec) {
			s.Containers[0].ReadinessProbe = &corev1.Probe{InitialDelaySeconds: 7}
		}), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=0 app=run", "8s Running ready=1 app=run+",
		}},
		{"a task completes", scripted(never, nil, nil), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=1 app=run+", "3s Succeeded ready=0 app=Completed(0)",
		}},
		{"a task fails", scripted(never, map[string]string{"exit-code": "3", "run-for": "10s"}, nil), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=1 app=run+", "11s Failed ready=0 app=Error(3)",
		}},
		{"out of memory", scripted(never, map[string]string{"exit-reason": "OOMKilled"}, nil), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=1 app=run+", "3s Failed ready=0 app=OOMKilled(137)",
		}},
		{"on failure restarts until it succeeds", scripted(onFailure, map[string]string{"exit-code": "1,1,0", "run-for": "1s"}, nil), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=1 app=run+", "2s Running ready=1 app=run*1+",
			"3s Running ready=0 app=CrashLoopBackOff*1", "13s Running ready=1 app=run*2+", "14s Succeeded ready=0 app=Completed(0)*2",
		}},
		{"crash loop backs off to five minutes", scripted(always, map[string]string{"crash-loop": "true"}, nil), 24 * time.Minute, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=1 app=run+", "2s Running ready=1 app=run*1+",
			"3s Running ready=0 app=CrashLoopBackOff*1", "13s Running ready=1 app=run*2+",
			"14s Running ready=0 app=CrashLoopBackOff*2", "34s Running ready=1 app=run*3+",
			"35s Running ready=0 app=CrashLoopBackOff*3", "1m15s Running ready=1 app=run*4+",
			"1m16s Running ready=0 app=CrashLoopBackOff*4", "2m36s Running ready=1 app=run*5+",
			"2m37s Running ready=0 app=CrashLoopBackOff*5", "5m17s Running ready=1 app=run*6+",
			"5m18s Running ready=0 app=CrashLoopBackOff*6", "10m18s Running ready=1 app=run*7+",
			"10m19s Running ready=0 app=CrashLoopBackOff*7", "15m19s Running ready=1 app=run*8+",
			"15m20s Running ready=0 app=CrashLoopBackOff*8", "20m20s Running ready=1 app=run*9+",
			"20m21s Running ready=0 app=CrashLoopBackOff*9",
		}},
		{"crashes twice, then stays", scripted(always, map[string]string{"crash-loop": "2"}, nil), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=1 app=run+", "2s Running ready=1 app=run*1+",
			"3s Running ready=0 app=CrashLoopBackOff*1", "13s Running ready=1 app=run*2+",
		}},
		{"init containers in order", scripted(always, nil, func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Name: "a", Image: "x"}, {Name: "b", Image: "x", Command: []string{"sleep", "2"}}}
		}), time.Hour, []string{
			"0s Pending ready=0 a=PodInitializing b=PodInitializing app=PodInitializing",
			"1s Pending ready=0 a=run b=PodInitializing app=PodInitializing",
			"1.3s Pending ready=0 a=Completed(0)+ b=run app=PodInitializing",
			"3.3s Running ready=1 a=Completed(0)+ b=Completed(0)+ app=run+",
		}},
		{"init container fails for good", scripted(never, map[string]string{"exit-code.a": "1"}, func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Name: "a", Image: "x"}}
		}), time.Hour, []string{
			"0s Pending ready=0 a=PodInitializing app=PodInitializing",
			"1s Pending ready=0 a=run app=PodInitializing",
			"1.3s Failed ready=0 a=Error(1) app=PodInitializing",
		}},
		{"sidecar starts first and ends last", scripted(never, nil, func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Name: "side", Image: "x", RestartPolicy: sidecar}}
		}), time.Hour, []string{
			"0s Pending ready=0 side=PodInitializing app=PodInitializing",
			"1s Running ready=1 side=run+ app=run+",
			"3s Succeeded ready=0 side=Completed(0) app=Completed(0)",
		}},
		{"deadline", scripted(never, map[string]string{"run-for": "forever"}, func(s *corev1.PodSpec) {
			s.ActiveDeadlineSeconds = ptr.To[int64](30)
		}), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=1 app=run+", "30s Failed ready=0 app=Error(137) DeadlineExceeded",
		}},
		{"one of two containers ends", scripted(never, map[string]string{"run-for.app": "5s", "run-for.other": "9s"}, func(s *corev1.PodSpec) {
			s.Containers = append(s.Containers, corev1.Container{Name: "other", Image: "x"})
		}), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating other=ContainerCreating", "1s Running ready=1 app=run+ other=run+",
			"6s Running ready=0 app=Completed(0) other=run+", "10s Succeeded ready=0 app=Completed(0) other=Completed(0)",
		}},
		{"the command decides", scripted(never, nil, func(s *corev1.PodSpec) {
			s.Containers[0].Command = []string{"sh", "-c", "echo working; sleep 4; exit 9"}
		}), time.Hour, []string{
			"0s Pending ready=0 app=ContainerCreating", "1s Running ready=1 app=run+", "5s Failed ready=0 app=Error(9)",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, play(t, tc.pod, tc.until, nil)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestNextStops(t *testing.T) {
	stopped := func(pod *corev1.Pod) []string {
		return play(t, pod, time.Hour, func(at time.Duration, s *situation) {
			pod.DeletionGracePeriodSeconds = ptr.To[int64](30)
			if at >= time.Second {
				s.stopping = epoch.Add(time.Second)
			}
		})
	}
	for _, tc := range []struct {
		name string
		pod  *corev1.Pod
		want string
	}{
		{"a server ends well", scripted(corev1.RestartPolicyAlways, nil, func(s *corev1.PodSpec) { s.Containers[0].Name = "a" }), "1s Failed ready=0 a=ContainerCreating"},
		{"SIGTERM fails a task", scripted(corev1.RestartPolicyNever, map[string]string{"start-delay": "0"}, nil), "1.3s Failed ready=0 app=Error(143)"},
		{"SIGTERM ends a server", scripted(corev1.RestartPolicyAlways, map[string]string{"start-delay": "0", "run-for": "1h"}, nil), "1.3s Succeeded ready=0 app=Completed(0)"},
		{"killed at the end of the grace period", scripted(corev1.RestartPolicyAlways, map[string]string{"start-delay": "0", "run-for": "1h", "stop-after": "never"}, nil), "31s Failed ready=0 app=Error(137)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// Something has to happen at 1 s for play to look.
			if tc.pod.Annotations["ekslocal.dev/start-delay"] == "0" {
				tc.pod.Annotations["ekslocal.dev/ready-after"] = "1s"
			}
			got := stopped(tc.pod)
			if last := got[len(got)-1]; last != tc.want {
				t.Errorf("ends with %q, want %q (all: %q)", last, tc.want, got)
			}
		})
	}
}

func TestNextWithoutNetworkOrConfiguration(t *testing.T) {
	pod := scripted(corev1.RestartPolicyAlways, nil, nil)
	got := play(t, pod, time.Hour, func(_ time.Duration, s *situation) { s.network, s.ips = time.Time{}, nil })
	if want := []string{"0s Pending ready=0 app=ContainerCreating"}; !cmp.Equal(got, want) {
		t.Errorf("without a sandbox: %q", got)
	}
	got = play(t, pod, time.Hour, func(_ time.Duration, s *situation) {
		s.held = map[string]hold{"app": {"CreateContainerConfigError", `configmap "x" not found`}}
	})
	if want := []string{"0s Pending ready=0 app=CreateContainerConfigError"}; !cmp.Equal(got, want) {
		t.Errorf("without its ConfigMap: %q", got)
	}
}

func TestReadinessGates(t *testing.T) {
	pod := scripted(corev1.RestartPolicyAlways, map[string]string{"start-delay": "0"}, func(s *corev1.PodSpec) {
		s.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "target-health.elbv2.k8s.aws/tg"}}
	})
	got := play(t, pod, 0, nil)
	if want := []string{"0s Running ready=0 app=run+"}; !cmp.Equal(got, want) {
		t.Errorf("gate closed: %q", got)
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: "target-health.elbv2.k8s.aws/tg", Status: corev1.ConditionTrue}}
	got = play(t, pod, 0, nil)
	if want := []string{"0s Running ready=1 app=run+"}; !cmp.Equal(got, want) {
		t.Errorf("gate open: %q", got)
	}
}

func TestLifeReportsBadAnnotations(t *testing.T) {
	pod := scripted(corev1.RestartPolicyAlways, map[string]string{"run-for": "soon", "exit-code": "300", "crash-loop": "maybe", "ready-after.app": "-1s"}, nil)
	_, errs := lifeOf(pod)
	var text []string
	for _, err := range errs {
		text = append(text, err.Error())
	}
	all := strings.Join(text, "\n")
	for _, key := range []string{"run-for", "exit-code", "crash-loop", "ready-after.app"} {
		if strings.Count(all, "ekslocal.dev/"+key+":") != 1 {
			t.Errorf("%s is not reported once in:\n%s", key, all)
		}
	}
}

func TestIndexedJobsFailByIndex(t *testing.T) {
	for index, want := range map[string]string{"1": "3s Failed ready=0 app=Error(1)", "2": "3s Succeeded ready=0 app=Completed(0)"} {
		pod := scripted(corev1.RestartPolicyNever, map[string]string{"fail-indexes": "1, 3"}, nil)
		pod.Annotations["batch.kubernetes.io/job-completion-index"] = index
		got := play(t, pod, time.Hour, nil)
		if last := got[len(got)-1]; last != want {
			t.Errorf("index %s: %q, want %q", index, last, want)
		}
	}
}
