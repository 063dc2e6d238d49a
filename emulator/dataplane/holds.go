package dataplane

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// errImagePullShown is how long a failed pull shows as ErrImagePull before it
// turns into ImagePullBackOff.
const errImagePullShown = 2 * time.Second

// pullState is the back-off of one container's image pull.
type pullState struct {
	tries int
	last  time.Time
}

// holds collects what keeps the pod's containers from starting: images that
// cannot be pulled, configuration that does not exist. It returns when to look
// again.
func (f *Fleet) holds(ctx context.Context, n *node, pod *corev1.Pod, rec *podRecord, now time.Time) (map[string]hold, time.Duration) {
	if rec.network.IsZero() || !rec.stopping.IsZero() || !anyWaiting(&rec.known) {
		return nil, 0
	}
	var again waits
	held, wait := f.missing(ctx, n, pod, rec, now)
	again.add(wait)
	if _, all := held[""]; all {
		return held, again.next
	}
	images, wait := f.imageHolds(n, pod, rec, now)
	again.add(wait)
	if len(images) == 0 {
		return held, again.next
	}
	out := maps.Clone(held)
	if out == nil {
		out = map[string]hold{}
	}
	maps.Copy(out, images) // pulling comes before configuring
	return out, again.next
}

func anyWaiting(st *corev1.PodStatus) bool {
	if len(st.ContainerStatuses) == 0 {
		return true
	}
	for _, list := range [][]corev1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses, st.EphemeralContainerStatuses} {
		for _, cs := range list {
			if cs.State.Waiting != nil {
				return true
			}
		}
	}
	return false
}

func (f *Fleet) imageHolds(n *node, pod *corev1.Pod, rec *podRecord, now time.Time) (map[string]hold, time.Duration) {
	held := map[string]hold{}
	var again waits
	each := func(list []corev1.Container, init bool) {
		for i := range list {
			c := &list[i]
			if msg := invalidImage(c.Image); msg != "" {
				held[c.Name] = hold{"InvalidImageName", msg}
				if rec.pulls[c.Name] == nil {
					rec.pulls[c.Name] = &pullState{}
					f.events.pod(n, pod, podEvent{container: c.Name, init: init, warning: true, reason: "InspectFailed", message: msg})
					f.events.pod(n, pod, podEvent{container: c.Name, init: init, warning: true, reason: "Failed", message: "Error: InvalidImageName"})
				}
				continue
			}
			if cause := rec.life.containers[c.Name].pullError; cause != "" {
				h, wait := f.failPull(n, pod, c, init, rec, cause, now)
				held[c.Name] = h
				again.add(wait)
			}
		}
	}
	each(pod.Spec.InitContainers, true)
	each(pod.Spec.Containers, false)
	return held, again.next
}

// failPull plays a pull that the registry refuses, at kubelet's pace.
func (f *Fleet) failPull(n *node, pod *corev1.Pod, c *corev1.Container, init bool, rec *podRecord, cause string, now time.Time) (hold, time.Duration) {
	p := rec.pulls[c.Name]
	if p == nil {
		p = &pullState{}
		rec.pulls[c.Name] = p
	}
	name, _ := imageNames(c.Image)
	text := fmt.Sprintf("failed to pull and unpack image %q: failed to resolve reference %q: %s: %s", name, name, name, cause)
	emit := func(warning bool, reason, message string) {
		f.events.pod(n, pod, podEvent{container: c.Name, init: init, warning: warning, reason: reason, message: message})
	}
	if due := p.last.Add(pullBackoff(p.tries)); p.tries == 0 || !now.Before(due) {
		p.tries++
		p.last = now
		emit(false, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
		emit(true, "Failed", fmt.Sprintf("Failed to pull image %q: %s", c.Image, text))
		emit(true, "Failed", "Error: ErrImagePull")
	}
	if shown := p.last.Add(errImagePullShown); p.tries == 1 && now.Before(shown) {
		return hold{"ErrImagePull", text}, shown.Sub(now)
	}
	emit(false, "BackOff", fmt.Sprintf("Back-off pulling image %q", c.Image))
	emit(true, "Failed", "Error: ImagePullBackOff")
	return hold{"ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", c.Image, text)},
		p.last.Add(pullBackoff(p.tries)).Sub(now)
}

func pullBackoff(tries int) time.Duration {
	if tries > 6 {
		return backoffMax
	}
	return min(backoffBase<<max(tries-1, 0), backoffMax)
}
