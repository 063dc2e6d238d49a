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
	if cs.RestartCount == 0 && pulls(c) {
		w.emit(c, init, false, "Pulling", "Pulling image %q", c.Image)
		took := pullTime(w.pod.UID, c.Name)
		w.emit(c, init, false, "Pulled", "Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes.", c.Image, took, took, imageSize(c.Image))
	} else {
		w.emit(c, init, false, "Pulled", "Container image %q already present on machine and can be accessed by the pod", c.Image)
	}
	w.emit(c, init, false, "Created", "Container created")
	w.emit(c, init, false, "Started", "Container started")
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
