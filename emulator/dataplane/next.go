package dataplane

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	reasonContainerCreating = "ContainerCreating"
	reasonPodInitializing   = "PodInitializing"
	reasonCrashLoopBackOff  = "CrashLoopBackOff"
	reasonDeadlineExceeded  = "DeadlineExceeded"
	messageDeadlineExceeded = "Pod was active on the node longer than the specified deadline"
)

const (
	backoffBase = 10 * time.Second
	backoffMax  = 5 * time.Minute
	// backoffForget is how long a run has to last for earlier crashes to be forgotten.
	backoffForget = 10 * time.Minute
	// lateStart bounds how far in the past a container may be said to have
	// started: after a pause of the emulator it starts now, not back then.
	lateStart = 2 * time.Second
)

// situation is all that next decides upon. was is what the node knew last, with
// the sub-second times that the API's status loses.
type situation struct {
	pod      *corev1.Pod
	was      corev1.PodStatus
	life     life
	now      time.Time
	admitted time.Time // when the node took the pod on
	network  time.Time // since when the pod has its sandbox; zero: not yet
	ips      []netip.Addr
	hostIP   netip.Addr
	stopping time.Time // when the node saw the deletion; zero: not
	// held says which containers cannot start for now and why; the key "" holds
	// the whole pod (volumes).
	held map[string]hold
	// forgiven is the restart count from which the back-off counts, by container.
	forgiven map[string]int32
	// images are those that the node has; minor is its Kubernetes minor version,
	// which the wording of events depends on.
	images map[string]bool
	minor  int
	// ended are containers whose process was ended from outside, by attach.
	ended map[string]int32
}

// hold is why a container waits.
type hold struct{ reason, message string }

// step is what happened until now.
type step struct {
	status corev1.PodStatus
	// again is when something happens next; zero: nothing by the clock alone.
	again time.Duration
	// stopped is true for a pod under deletion whose last container has ended.
	stopped bool
	events  []podEvent
}

// podEvent is what kubelet would say about it.
type podEvent struct {
	container       string // empty: the pod's
	init            bool
	warning         bool
	reason, message string
}

// next plays a pod's life forward to s.now. It is pure: same situation, same
// step, whatever the number of calls in between.
func next(s situation) step {
	w := &walk{situation: s, st: *s.was.DeepCopy()}
	if isTerminal(w.st.Phase) {
		return step{status: w.st, stopped: !s.stopping.IsZero()}
	}
	w.prepare()
	switch {
	case w.pastDeadline():
		w.exceedDeadline()
		return w.finish(!s.stopping.IsZero())
	case !s.stopping.IsZero():
		return w.stop()
	}
	if d := s.pod.Spec.ActiveDeadlineSeconds; d != nil {
		w.wake(w.st.StartTime.Add(time.Duration(*d) * time.Second))
	}
	if _, held := s.held[""]; !held && !s.network.IsZero() {
		w.play()
	}
	return w.finish(false)
}

func isTerminal(p corev1.PodPhase) bool {
	return p == corev1.PodSucceeded || p == corev1.PodFailed
}

// walk is next's working state.
type walk struct {
	situation
	st     corev1.PodStatus
	due    time.Time // earliest moment at which something else happens
	events []podEvent
}

func (w *walk) wake(t time.Time) {
	if t.After(w.now) && (w.due.IsZero() || t.Before(w.due)) {
		w.due = t
	}
}

func (w *walk) emit(c *corev1.Container, init, warning bool, reason, format string, args ...any) {
	w.events = append(w.events, podEvent{container: c.Name, init: init, warning: warning, reason: reason, message: fmt.Sprintf(format, args...)})
}

// prepare fills in what a pod has from the moment on that a node admits it.
func (w *walk) prepare() {
	if w.st.StartTime == nil {
		w.st.StartTime = ptr.To(metav1.NewTime(w.admitted))
	}
	if w.hostIP.IsValid() {
		w.st.HostIP = w.hostIP.String()
		w.st.HostIPs = []corev1.HostIP{{IP: w.st.HostIP}}
	}
	if len(w.ips) > 0 && !w.network.IsZero() {
		w.st.PodIP = w.ips[0].String()
		w.st.PodIPs = nil
		for _, ip := range w.ips {
			w.st.PodIPs = append(w.st.PodIPs, corev1.PodIP{IP: ip.String()})
		}
	}
	waiting := reasonContainerCreating
	if len(w.pod.Spec.InitContainers) > 0 {
		waiting = reasonPodInitializing
	}
	w.st.InitContainerStatuses = statusesFor(w.st.InitContainerStatuses, w.pod.Spec.InitContainers, waiting)
	w.st.ContainerStatuses = statusesFor(w.st.ContainerStatuses, w.pod.Spec.Containers, waiting)
	w.st.EphemeralContainerStatuses = statusesFor(w.st.EphemeralContainerStatuses, ephemerals(w.pod), reasonContainerCreating)
	w.st.ObservedGeneration = w.pod.Generation
	if w.st.QOSClass == "" {
		w.st.QOSClass = w.pod.Status.QOSClass
	}
}

func ephemerals(pod *corev1.Pod) []corev1.Container {
	var cs []corev1.Container
	for _, e := range pod.Spec.EphemeralContainers {
		cs = append(cs, corev1.Container(e.EphemeralContainerCommon))
	}
	return cs
}

// statusesFor keeps one status a container, in the spec's order.
func statusesFor(old []corev1.ContainerStatus, specs []corev1.Container, waiting string) []corev1.ContainerStatus {
	if len(specs) == 0 {
		return nil
	}
	out := make([]corev1.ContainerStatus, len(specs))
	for i := range specs {
		out[i] = corev1.ContainerStatus{
			Name: specs[i].Name, Image: specs[i].Image, Started: ptr.To(false),
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waiting}},
		}
		for j := range old {
			if old[j].Name == specs[i].Name {
				out[i] = old[j]
			}
		}
	}
	return out
}

// play lets init containers run one after the other, then the others together.
func (w *walk) play() {
	start := w.admitted
	if w.network.After(start) {
		start = w.network
	}
	if w.life.startDelay == forever {
		return
	}
	start = start.Add(w.life.startDelay)
	for i := range w.pod.Spec.EphemeralContainers {
		c := corev1.Container(w.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		w.advance(&c, &w.st.EphemeralContainerStatuses[i], w.now, corev1.RestartPolicyNever, false)
	}
	for i := range w.pod.Spec.InitContainers {
		c, cs := &w.pod.Spec.InitContainers[i], &w.st.InitContainerStatuses[i]
		w.advance(c, cs, start, initPolicy(w.pod, c), true)
		if !w.regularStarted() && !initDone(c, cs) {
			return
		}
		if t := doneAt(c, cs, w.life); t.After(start) {
			start = t
		}
	}
	for i := range w.pod.Spec.Containers {
		c := &w.pod.Spec.Containers[i]
		w.advance(c, &w.st.ContainerStatuses[i], start, containerPolicy(w.pod, c), false)
	}
	w.endSidecars()
}

// regularStarted tells whether initialization is over for good: sidecars that
// restart later do not hold the main containers up.
func (w *walk) regularStarted() bool {
	for _, cs := range w.st.ContainerStatuses {
		if cs.State.Running != nil || cs.State.Terminated != nil || cs.LastTerminationState.Terminated != nil {
			return true
		}
	}
	return false
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// initPolicy is how an init container restarts: sidecars always, others until
// they succeed, unless the pod never restarts anything.
func initPolicy(pod *corev1.Pod, c *corev1.Container) corev1.RestartPolicy {
	switch {
	case isSidecar(c):
		return corev1.RestartPolicyAlways
	case pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		return corev1.RestartPolicyNever
	default:
		return corev1.RestartPolicyOnFailure
	}
}

func containerPolicy(pod *corev1.Pod, c *corev1.Container) corev1.RestartPolicy {
	if c.RestartPolicy != nil {
		return corev1.RestartPolicy(*c.RestartPolicy)
	}
	return pod.Spec.RestartPolicy
}

// initDone tells whether the next container may start.
func initDone(c *corev1.Container, cs *corev1.ContainerStatus) bool {
	if isSidecar(c) {
		return cs.State.Running != nil && ptr.Deref(cs.Started, false)
	}
	return cs.State.Terminated != nil && cs.State.Terminated.ExitCode == 0
}

func doneAt(c *corev1.Container, cs *corev1.ContainerStatus, l life) time.Time {
	switch {
	case cs.State.Terminated != nil:
		return cs.State.Terminated.FinishedAt.Time
	case cs.State.Running != nil && isSidecar(c):
		return cs.State.Running.StartedAt.Add(max(l.containers[c.Name].startedAfter, 0))
	default:
		return time.Time{}
	}
}

// endSidecars stops the sidecars of a pod whose main containers are done.
func (w *walk) endSidecars() {
	for i := range w.pod.Spec.Containers {
		c, cs := &w.pod.Spec.Containers[i], &w.st.ContainerStatuses[i]
		if cs.State.Terminated == nil || restarts(c, containerPolicy(w.pod, c), cs.State.Terminated.ExitCode) {
			return
		}
	}
	for i := range w.st.InitContainerStatuses {
		if cs := &w.st.InitContainerStatuses[i]; cs.State.Running != nil {
			w.terminate(cs, w.now, 0, reasonCompleted, "")
		}
	}
}

// finish derives phase and conditions and hands the step over.
func (w *walk) finish(stopped bool) step {
	if !isTerminal(w.st.Phase) {
		w.st.Phase = phaseOf(w.pod, &w.st)
	}
	if isTerminal(w.st.Phase) {
		w.due = time.Time{}
	}
	w.st.Conditions = conditions(w.pod, &w.st, w.network, w.now)
	s := step{status: w.st, stopped: stopped, events: w.events}
	if !w.due.IsZero() {
		s.again = w.due.Sub(w.now)
	}
	return s
}
