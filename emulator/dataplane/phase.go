package dataplane

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// phaseOf is kubelet's rule for a pod's phase.
func phaseOf(pod *corev1.Pod, st *corev1.PodStatus) corev1.PodPhase {
	pending, failedForGood := initCounts(pod, st)
	switch {
	case failedForGood:
		return corev1.PodFailed
	case pending:
		return corev1.PodPending
	}
	running, waiting, restartable, failed := 0, 0, 0, 0
	for i := range pod.Spec.Containers {
		c, cs := &pod.Spec.Containers[i], &st.ContainerStatuses[i]
		exited := cs.State.Terminated
		switch {
		case cs.State.Running != nil:
			running++
			continue
		case exited == nil:
			exited = cs.LastTerminationState.Terminated
		}
		switch {
		case exited == nil:
			waiting++
		case restarts(c, containerPolicy(pod, c), exited.ExitCode):
			restartable++
		case exited.ExitCode != 0:
			failed++
		}
	}
	switch {
	case waiting > 0:
		return corev1.PodPending
	case running > 0 || restartable > 0:
		return corev1.PodRunning
	case failed > 0:
		return corev1.PodFailed
	default:
		return corev1.PodSucceeded
	}
}

// initCounts tells whether initialization is still to be done, and whether it
// failed with nothing left to restart.
func initCounts(pod *corev1.Pod, st *corev1.PodStatus) (pending, failedForGood bool) {
	for i := range pod.Spec.InitContainers {
		c, cs := &pod.Spec.InitContainers[i], &st.InitContainerStatuses[i]
		if isSidecar(c) {
			continue
		}
		switch t := cs.State.Terminated; {
		case t == nil:
			pending = true
		case t.ExitCode != 0 && !restarts(c, initPolicy(pod, c), t.ExitCode):
			failedForGood = true
		case t.ExitCode != 0:
			pending = true
		}
	}
	return pending, failedForGood
}

// finalPhase is the phase of a pod that was deleted: Succeeded only when every
// main container ended well.
func finalPhase(st *corev1.PodStatus) corev1.PodPhase {
	for _, cs := range st.ContainerStatuses {
		if cs.State.Terminated == nil || cs.State.Terminated.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

// conditions derives the conditions that kubelet owns; those of others are left
// to whoever writes the status.
func conditions(pod *corev1.Pod, st *corev1.PodStatus, network, now time.Time) []corev1.PodCondition {
	var out []corev1.PodCondition
	set := func(t corev1.PodConditionType, ok bool, reason, message string) {
		c := corev1.PodCondition{
			Type: t, Status: corev1.ConditionFalse, Reason: reason, Message: message,
			LastTransitionTime: metav1.NewTime(now), ObservedGeneration: pod.Generation,
		}
		if ok {
			c.Status = corev1.ConditionTrue
		}
		if old := findCondition(st.Conditions, t); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		out = append(out, c)
	}
	set(corev1.PodReadyToStartContainers, !network.IsZero() && !isTerminal(st.Phase), "", "")
	ok, reason, message := initialized(pod, st)
	set(corev1.PodInitialized, ok, reason, message)
	ok, reason, message = containersReady(pod, st)
	ready, readyReason, readyMessage := ok, reason, message
	if ok {
		ready, readyReason, readyMessage = gatesReady(pod)
	}
	set(corev1.PodReady, ready, readyReason, readyMessage)
	set(corev1.ContainersReady, ok, reason, message)
	scheduled := findCondition(pod.Status.Conditions, corev1.PodScheduled)
	if scheduled == nil {
		scheduled = findCondition(st.Conditions, corev1.PodScheduled)
	}
	if scheduled != nil {
		out = append(out, *scheduled)
	} else {
		set(corev1.PodScheduled, true, "", "") // bound by something other than the scheduler
	}
	return out
}

func findCondition(list []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range list {
		if list[i].Type == t {
			return &list[i]
		}
	}
	return nil
}

func initialized(pod *corev1.Pod, st *corev1.PodStatus) (bool, string, string) {
	if st.Phase == corev1.PodSucceeded {
		return true, "PodCompleted", ""
	}
	for _, cs := range st.ContainerStatuses {
		if cs.State.Running != nil || cs.State.Terminated != nil || cs.LastTerminationState.Terminated != nil {
			return true, "", ""
		}
	}
	var incomplete []string
	for i := range pod.Spec.InitContainers {
		c, cs := &pod.Spec.InitContainers[i], &st.InitContainerStatuses[i]
		if done := cs.Ready || isSidecar(c) && ptr.Deref(cs.Started, false); !done {
			incomplete = append(incomplete, c.Name)
		}
	}
	if len(incomplete) > 0 {
		return false, "ContainersNotInitialized", fmt.Sprintf("containers with incomplete status: %s", incomplete)
	}
	return true, "", ""
}

func containersReady(pod *corev1.Pod, st *corev1.PodStatus) (bool, string, string) {
	switch st.Phase {
	case corev1.PodSucceeded:
		return false, "PodCompleted", ""
	case corev1.PodFailed:
		return false, "PodFailed", ""
	}
	var unready []string
	for i := range pod.Spec.InitContainers {
		if isSidecar(&pod.Spec.InitContainers[i]) && !st.InitContainerStatuses[i].Ready {
			unready = append(unready, pod.Spec.InitContainers[i].Name)
		}
	}
	for i := range pod.Spec.Containers {
		if !st.ContainerStatuses[i].Ready {
			unready = append(unready, pod.Spec.Containers[i].Name)
		}
	}
	if len(unready) > 0 {
		return false, "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
	}
	return true, "", ""
}

// gatesReady looks at the conditions that others set for the pod's readiness gates.
func gatesReady(pod *corev1.Pod) (bool, string, string) {
	var unready []string
	for _, g := range pod.Spec.ReadinessGates {
		switch c := findCondition(pod.Status.Conditions, g.ConditionType); {
		case c == nil:
			unready = append(unready, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", string(g.ConditionType)))
		case c.Status != corev1.ConditionTrue:
			unready = append(unready, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", string(g.ConditionType), c.Status))
		}
	}
	if len(unready) > 0 {
		return false, "ReadinessGatesNotReady", strings.Join(unready, ", ")
	}
	return true, "", ""
}
