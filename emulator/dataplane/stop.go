package dataplane

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func (w *walk) pastDeadline() bool {
	d := w.pod.Spec.ActiveDeadlineSeconds
	return d != nil && !w.now.Before(w.st.StartTime.Add(time.Duration(*d)*time.Second))
}

func (w *walk) exceedDeadline() {
	w.events = append(w.events, podEvent{reason: reasonDeadlineExceeded, message: messageDeadlineExceeded})
	w.endAll(exitCodeKilled)
	w.st.Phase, w.st.Reason, w.st.Message = corev1.PodFailed, reasonDeadlineExceeded, messageDeadlineExceeded
}

// stop plays SIGTERM: the containers run on for their stopAfter, but no longer
// than the grace period, at whose end they are killed.
func (w *walk) stop() step {
	grace := time.Duration(ptr.Deref(w.pod.DeletionGracePeriodSeconds, 30)) * time.Second
	var last time.Duration
	for name, cl := range w.life.containers {
		if w.runs(name) {
			last = max(last, stopTime(cl, grace))
		}
	}
	if end := w.stopping.Add(last); w.now.Before(end) {
		w.wake(end)
		return w.finish(false)
	}
	w.endAll(-1)
	// A pod whose containers never ran fails, as kubelet has it: its status must
	// be final before the object goes.
	s := w.finish(true)
	if !isTerminal(s.status.Phase) {
		s.status.Phase = finalPhase(&s.status)
		s.status.Conditions = conditions(w.pod, &s.status, w.network, w.now)
	}
	return s
}

func stopTime(cl containerLife, grace time.Duration) time.Duration {
	if cl.stopAfter == forever {
		return grace
	}
	return min(cl.stopAfter, grace)
}

func (w *walk) runs(name string) bool {
	for _, list := range [][]corev1.ContainerStatus{w.st.InitContainerStatuses, w.st.ContainerStatuses, w.st.EphemeralContainerStatuses} {
		for _, cs := range list {
			if cs.Name == name {
				return cs.State.Running != nil
			}
		}
	}
	return false
}

// endAll ends every running container with the code, or with its own stop code
// when code is negative (137 for those that outlive the grace period).
func (w *walk) endAll(code int32) {
	grace := time.Duration(ptr.Deref(w.pod.DeletionGracePeriodSeconds, 30)) * time.Second
	for _, list := range [][]corev1.ContainerStatus{w.st.InitContainerStatuses, w.st.ContainerStatuses, w.st.EphemeralContainerStatuses} {
		for i := range list {
			cs := &list[i]
			if cs.State.Running == nil {
				continue
			}
			cl := w.life.containers[cs.Name]
			exit := code
			if code < 0 {
				exit = cl.stopCode
				if cl.stopAfter == forever || cl.stopAfter > grace {
					exit = exitCodeKilled
				}
			}
			reason := reasonCompleted
			if exit != 0 {
				reason = reasonError
			}
			w.terminate(cs, w.now, exit, reason, "")
		}
	}
}
