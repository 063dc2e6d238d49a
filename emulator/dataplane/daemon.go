package dataplane

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Daemon is the address daemon of the VPC CNI. It runs on every node in the
// container aws-node, whose environment is all of its settings.
type Daemon interface {
	// Observe says that the daemon's container runs, again and again while it does.
	// run tells one start of the container from the next. The answer is how the
	// daemon does; Fleet.DaemonChanged asks for it anew.
	Observe(n Node, run string, env map[string]string) DaemonState
	// Refusal is why a container with that environment ends at once; empty: it does not.
	Refusal(env map[string]string) string
	// Gone says that the daemon's container does not run any more.
	Gone(instanceID string)
	// File is a file that the daemon or its plugin writes to the node's disk.
	File(instanceID, path string) ([]byte, bool)
	// Output is what the daemon writes to its container's standard output.
	Output(instanceID string) []byte
}

// DaemonPhase is how far a daemon has come.
type DaemonPhase int

// A daemon that Refused its environment ends its container at once. One that
// Failed leaves the container running, whose entry point waits for the daemon for
// ever: the liveness probe ends it.
const (
	DaemonStarting DaemonPhase = iota
	DaemonServing
	DaemonFailed
	DaemonRefused
)

// DaemonState is how a daemon does.
type DaemonState struct {
	Phase DaemonPhase
	Since time.Time
	// Address is where the plugin calls the daemon: network and address.
	Address string
}

const (
	daemonName      = "aws-node" // of its container, and the label of its pod
	refusedAfter    = 100 * time.Millisecond
	defaultDaemonAt = "tcp 127.0.0.1:50051"
)

// daemon is what a node knows of its CNI's daemon; under Fleet.mu.
type daemon struct {
	pod types.UID // that has it; empty: none
	run string    // ID of the container
	env map[string]string
	DaemonState
}

// isDaemon recognizes the pod of the VPC CNI's daemon.
func isDaemon(pod *corev1.Pod) bool {
	return pod.Spec.HostNetwork && pod.Labels["k8s-app"] == daemonName && containerSpec(pod, daemonName) != nil
}

// observe tells the daemon about its container, as st has it, and keeps the answer.
func (f *Fleet) observe(ctx context.Context, n *node, pod *corev1.Pod, st *corev1.PodStatus) {
	if f.cfg.Daemon == nil || !isDaemon(pod) {
		return
	}
	run := ""
	for _, cs := range st.ContainerStatuses {
		if cs.Name == daemonName && cs.State.Running != nil {
			run = cs.ContainerID
		}
	}
	f.mu.Lock()
	was := n.daemon
	f.mu.Unlock()
	if run == "" {
		f.loseDaemon(n, pod.UID)
		return
	}
	now := was
	if now.pod != pod.UID || now.run != run {
		// As in a container, the environment is read once, at its start.
		now = daemon{pod: pod.UID, run: run, env: environment(pod, containerSpec(pod, daemonName), f.resolver(ctx))}
	}
	now.DaemonState = f.cfg.Daemon.Observe(n.Node, run, now.env)
	f.mu.Lock()
	n.daemon = now
	f.mu.Unlock()
	if now.Phase == DaemonFailed && (was.run != run || was.Phase != now.Phase) {
		// As grpc-health-probe says it, without its "caller": where upstream's image was built.
		f.events.pod(n, pod, podEvent{container: daemonName, warning: true, reason: "Unhealthy", message: fmt.Sprintf(
			"Readiness probe failed: {\"level\":\"info\",\"ts\":%q,\"msg\":\"timeout: failed to connect service \\\":50051\\\" within 5s\"}\n",
			f.clock.Now().UTC().Format("2006-01-02T15:04:05.000Z"))})
	}
	if now.Phase == DaemonServing && (was.run != run || was.Phase != DaemonServing) {
		f.wakeStarved(n.Name, -1) // pods that came while it was away
	}
}

// loseDaemon notes that the pod's daemon container has ended.
func (f *Fleet) loseDaemon(n *node, pod types.UID) {
	f.mu.Lock()
	had := n.daemon.pod == pod && pod != ""
	if had {
		n.daemon = daemon{DaemonState: DaemonState{Address: n.daemon.Address}}
	}
	f.mu.Unlock()
	if had {
		f.cfg.Daemon.Gone(n.InstanceID)
	}
}

// daemonOf is the node's daemon as far as it is this pod's.
func (f *Fleet) daemonOf(n *node, pod *corev1.Pod) (daemon, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return n.daemon, n.daemon.pod == pod.UID
}

// DaemonChanged asks the node's daemon anew how it does.
func (f *Fleet) DaemonChanged(nodeName string) {
	for _, pod := range f.podsOn(nodeName) {
		if isDaemon(pod) {
			f.enqueue(pod)
		}
	}
}

// withDaemon is the life of an aws-node pod: its container is ready when the daemon
// serves, and ends with it.
func (f *Fleet) withDaemon(n *node, pod *corev1.Pod, st *corev1.PodStatus, l life) life {
	if f.cfg.Daemon == nil || !isDaemon(pod) {
		return l
	}
	d, own := f.daemonOf(n, pod)
	c := l.containers[daemonName]
	switch {
	case !own || d.Phase == DaemonStarting:
		c.readyAfter = forever
	case d.Phase == DaemonServing:
		for _, cs := range st.ContainerStatuses {
			if cs.Name == daemonName && cs.State.Running != nil && c.readyAfter != forever {
				c.readyAfter = max(c.readyAfter, d.Since.Sub(cs.State.Running.StartedAt.Time))
			}
		}
	case d.Phase == DaemonRefused:
		c.readyAfter, c.runFor, c.exitCodes, c.crashes = forever, refusedAfter, []int32{1}, 0
	case d.Phase == DaemonFailed:
		c.readyAfter, c.runFor, c.exitCodes, c.crashes = forever, killedAfter(containerSpec(pod, daemonName).LivenessProbe), []int32{exitCodeKilled}, 0
	}
	l.containers = maps.Clone(l.containers)
	l.containers[daemonName] = c
	return l
}

// killedAfter is when a container dies whose liveness probe never succeeds.
func killedAfter(p *corev1.Probe) time.Duration {
	if p == nil {
		return forever
	}
	period, failures := max(p.PeriodSeconds, 1), max(p.FailureThreshold, 1)
	if p.PeriodSeconds == 0 {
		period = 10
	}
	if p.FailureThreshold == 0 {
		failures = 3
	}
	return time.Duration(p.InitialDelaySeconds+period*failures) * time.Second
}

// unreachable is what the CNI plugin says while no daemon serves on the node; nil if
// one does, or if the node's network is somebody else's.
func (f *Fleet) unreachable(n *node) error {
	if f.cfg.Daemon == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.foreignNetwork || n.daemon.pod != "" && n.daemon.Phase == DaemonServing {
		return nil
	}
	at := n.daemon.Address
	if at == "" {
		at = defaultDaemonAt
	}
	return pluginError("Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial " + at + ": connect: connection refused\"")
}

// pluginError is an error in the CNI plugin's own words.
type pluginError string

func (e pluginError) Error() string { return string(e) }
