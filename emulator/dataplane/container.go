package dataplane

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// advance moves one container as far as s.now allows.
func (w *walk) advance(c *corev1.Container, cs *corev1.ContainerStatus, earliest time.Time, policy corev1.RestartPolicy, init bool) {
	cl := w.life.containers[c.Name]
	for {
		switch {
		case cs.State.Running != nil:
			if !w.runOn(c, cs, cl, init) {
				return
			}
		case cs.State.Terminated != nil:
			if !restarts(c, policy, cs.State.Terminated.ExitCode) {
				return
			}
			cs.LastTerminationState = cs.State
			cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reasonCrashLoopBackOff}}
		default:
			if !w.tryStart(c, cs, earliest, init) {
				return
			}
		}
	}
}

// restarts applies the container's restart rules, then the policy.
func restarts(c *corev1.Container, policy corev1.RestartPolicy, exit int32) bool {
	for _, rule := range c.RestartPolicyRules {
		if rule.ExitCodes == nil {
			continue
		}
		in := false
		for _, v := range rule.ExitCodes.Values {
			in = in || v == exit
		}
		if in == (rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return true
		}
	}
	return policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && exit != 0
}

// tryStart starts a waiting container, or says why it waits.
func (w *walk) tryStart(c *corev1.Container, cs *corev1.ContainerStatus, earliest time.Time, init bool) bool {
	last := cs.LastTerminationState.Terminated
	due := earliest
	if last != nil {
		delay := w.backoff(c.Name, cs.RestartCount)
		due = last.FinishedAt.Add(delay)
		if w.now.Before(due) {
			message := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", delay, c.Name, w.pod.Name, w.pod.Namespace, w.pod.UID)
			if cs.State.Waiting == nil || cs.State.Waiting.Message != message {
				w.emit(c, init, true, "BackOff", "Back-off restarting failed container %s in pod %s_%s(%s)", c.Name, w.pod.Name, w.pod.Namespace, w.pod.UID)
			}
			cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reasonCrashLoopBackOff, Message: message}}
			w.unready(cs)
			w.wake(due)
			return false
		}
	}
	if h, held := w.held[c.Name]; held {
		cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: h.reason, Message: h.message}}
		w.unready(cs)
		return false
	}
	if w.now.Before(due) {
		w.wake(due)
		return false
	}
	if last != nil {
		cs.RestartCount++
	}
	if w.now.Sub(due) > lateStart {
		due = w.now
	}
	cs.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(due)}}
	cs.Image, cs.ImageID = imageNames(c.Image)
	cs.ContainerID = "containerd://" + containerID(w.pod.UID, c.Name, cs.RestartCount)
	w.startEvents(c, cs, init)
	return true
}

func (w *walk) startEvents(c *corev1.Container, cs *corev1.ContainerStatus, init bool) {
	present := "Container image %q already present on machine and can be accessed by the pod"
	created, started := "Container created", "Container started"
	if w.minor < 35 {
		present, created, started = "Container image %q already present on machine", "Created container: "+c.Name, "Started container "+c.Name
	}
	// Always is the API server's default for images without a fixed tag.
	if c.ImagePullPolicy == corev1.PullAlways || !w.images[c.Image] {
		w.emit(c, init, false, "Pulling", "Pulling image %q", c.Image)
		took := pullTime(w.pod.UID, c.Name)
		w.emit(c, init, false, "Pulled", "Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes.", c.Image, took, took, imageSize(c.Image))
	} else {
		w.emit(c, init, false, "Pulled", present, c.Image)
	}
	w.emit(c, init, false, "Created", "%s", created)
	w.emit(c, init, false, "Started", "%s", started)
}

// backoff is kubelet's: the first restart is immediate, the next waits 10 s, and
// each further one twice as long, up to 5 minutes.
func (w *walk) backoff(container string, restarts int32) time.Duration {
	n := restarts - w.forgiven[container]
	if n <= 0 {
		return 0
	}
	if n > 6 {
		return backoffMax
	}
	return min(backoffBase<<(n-1), backoffMax)
}

// runOn keeps a container running, or ends its run when its time has come; true
// means that it ended.
func (w *walk) runOn(c *corev1.Container, cs *corev1.ContainerStatus, cl containerLife, init bool) bool {
	started := cs.State.Running.StartedAt.Time
	runFor, exit, reason := cl.run(cs.RestartCount)
	if code, ok := w.ended[c.Name]; ok {
		runFor, exit, reason = w.now.Sub(started), code, reasonCompleted
		if code != 0 {
			reason = reasonError
		}
		delete(w.ended, c.Name)
	}
	if runFor != forever {
		if end := started.Add(runFor); !w.now.Before(end) {
			w.terminate(cs, end, exit, reason, cl.message)
			cs.Ready = init && exit == 0 && !isSidecar(c)
			return true
		} else {
			w.wake(end)
		}
	}
	cs.Started = ptr.To(w.reached(started, cl.startedAfter))
	cs.Ready = *cs.Started && w.reached(started, cl.readyAfter) && (!init || isSidecar(c))
	resourcesOf(c, cs)
	return false
}

// reached tells whether the delay since a moment is over, and wakes the pod when
// it will be.
func (w *walk) reached(since time.Time, after time.Duration) bool {
	if after == forever {
		return false
	}
	at := since.Add(after)
	w.wake(at)
	return !w.now.Before(at)
}

func resourcesOf(c *corev1.Container, cs *corev1.ContainerStatus) {
	cs.AllocatedResources = c.Resources.Requests
	cs.Resources = nil
	if len(c.Resources.Requests) > 0 || len(c.Resources.Limits) > 0 {
		cs.Resources = &corev1.ResourceRequirements{Requests: c.Resources.Requests, Limits: c.Resources.Limits}
	}
}

func (w *walk) unready(cs *corev1.ContainerStatus) { cs.Ready, cs.Started = false, ptr.To(false) }

func (w *walk) terminate(cs *corev1.ContainerStatus, end time.Time, exit int32, reason, message string) {
	cs.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: exit, Reason: reason, Message: message,
		StartedAt: cs.State.Running.StartedAt, FinishedAt: metav1.NewTime(end), ContainerID: cs.ContainerID,
	}}
	w.unready(cs)
}
