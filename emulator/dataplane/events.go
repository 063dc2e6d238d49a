package dataplane

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
)

// Normal events are the first to go when many pods start together: an event
// costs the API server as much as a status update, and four a container would
// double the time that 5,000 pods take. Warnings have a budget of their own.
const (
	normalBurst, normalQPS   = 200, 5
	warningBurst, warningQPS = 400, 20
)

// eventSink writes kubelet's events.
type eventSink struct {
	off             bool
	client          kubernetes.Interface
	broadcaster     record.EventBroadcaster
	normal, warning flowcontrol.PassiveRateLimiter
}

func newEventSink(client kubernetes.Interface, off bool, c clock.PassiveClock) *eventSink {
	return &eventSink{
		off: off, client: client,
		normal:  flowcontrol.NewTokenBucketPassiveRateLimiterWithClock(normalQPS, normalBurst, c),
		warning: flowcontrol.NewTokenBucketPassiveRateLimiterWithClock(warningQPS, warningBurst, c),
		// Equal warnings of a pod are folded into one event with a count.
		broadcaster: record.NewBroadcasterWithCorrelatorOptions(record.CorrelatorOptions{BurstSize: 25, QPS: 1. / 300}),
	}
}

func (e *eventSink) start() {
	if !e.off {
		e.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: e.client.CoreV1().Events("")})
	}
}

func (e *eventSink) stop() { e.broadcaster.Shutdown() }

// pod records what the node's kubelet has to say about a pod.
func (e *eventSink) pod(n *node, pod *corev1.Pod, ev podEvent) {
	ref := &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
	if ev.container != "" {
		ref.FieldPath = "spec.containers{" + ev.container + "}"
		if ev.init {
			ref.FieldPath = "spec.initContainers{" + ev.container + "}"
		}
	}
	e.record(n, ref, ev)
}

// node records an event about the node itself.
func (e *eventSink) node(n *node, reason, message string) {
	// kubelet names the node in place of its UID, and kubectl describe looks for that.
	ref := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: n.Name, UID: n.uid}
	e.record(n, ref, podEvent{reason: reason, message: message})
}

func (e *eventSink) record(n *node, ref *corev1.ObjectReference, ev podEvent) {
	if e.off {
		return
	}
	kind, budget := corev1.EventTypeNormal, e.normal
	if ev.warning {
		kind, budget = corev1.EventTypeWarning, e.warning
	}
	if !budget.TryAccept() {
		return
	}
	e.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: n.Name}).Event(ref, kind, ev.reason, ev.message)
}
