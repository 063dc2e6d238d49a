package dataplane

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// annotationPrefix starts every annotation that scripts a simulated pod. A key
// may end in ".<container>" and then speaks for that container only.
// docs/simulated-pods.md is the users' reference.
const annotationPrefix = "ekslocal.dev/"

const (
	defaultStartDelay  = 200 * time.Millisecond
	defaultInitRun     = 300 * time.Millisecond
	defaultJobRun      = 2 * time.Second
	defaultStopAfter   = 300 * time.Millisecond
	crashLoopRun       = time.Second
	exitCodeKilled     = 137
	exitCodeTerminated = 143
	reasonOOMKilled    = "OOMKilled"
	reasonError        = "Error"
	reasonCompleted    = "Completed"
	forever            = time.Duration(-1)
	keyImagePull       = "image-pull"
)

// life is what a pod's containers will do, out of the pod's annotations and, for
// what these leave open, its spec. It is data: next plays it.
type life struct {
	startDelay time.Duration
	containers map[string]containerLife
}

// containerLife is one container's part of a life.
type containerLife struct {
	// runFor is how long a run takes, or forever.
	runFor time.Duration
	// exitCodes holds the exit code of each run; the last one repeats.
	exitCodes []int32
	reason    string // of the termination; empty: Completed or Error
	message   string
	// readyAfter and startedAfter count from the container's start; forever = never.
	readyAfter, startedAfter time.Duration
	stopAfter                time.Duration
	stopCode                 int32
	// crashes is how many runs crash before the container keeps running, -1 all.
	crashes int
	// pullError, when set, is the registry's answer to the image pull.
	pullError string
}

// run returns how the container's nth run (from 0) goes.
func (c containerLife) run(n int32) (runFor time.Duration, exit int32, reason string) {
	runFor = c.runFor
	if c.crashes < 0 || int(n) < c.crashes {
		if runFor == forever {
			runFor = crashLoopRun
		}
	} else if c.crashes > 0 {
		return forever, 0, reasonCompleted
	}
	exit = c.exitCodes[min(int(n), len(c.exitCodes)-1)]
	reason = c.reason
	if reason == "" {
		reason = reasonCompleted
		if exit != 0 {
			reason = reasonError
		}
	}
	return runFor, exit, reason
}

// lifeOf reads the pod's script. Errors name annotations that are not understood;
// the life is usable all the same, with the defaults in their place.
func lifeOf(pod *corev1.Pod) (life, []error) {
	r := &annotationReader{pod: pod}
	l := life{containers: map[string]containerLife{}}
	l.startDelay = r.duration("start-delay", "", startJitter(pod))
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		l.containers[c.Name] = containerLifeOf(r, pod, c, true)
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		l.containers[c.Name] = containerLifeOf(r, pod, c, false)
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		l.containers[c.Name] = containerLifeOf(&annotationReader{pod: &corev1.Pod{}}, pod, &c, false)
	}
	return l, r.errs
}

// startJitter spreads the pods of one Deployment a little, so that they do not
// all turn Running in the same instant.
func startJitter(pod *corev1.Pod) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(pod.UID))
	return defaultStartDelay + time.Duration(h.Sum32()%200)*time.Millisecond
}

func containerLifeOf(r *annotationReader, pod *corev1.Pod, c *corev1.Container, init bool) containerLife {
	sidecar := init && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	l := containerLife{
		runFor: forever, exitCodes: []int32{0}, stopAfter: defaultStopAfter,
		readyAfter: probeDelay(c.ReadinessProbe), startedAfter: probeDelay(c.StartupProbe),
	}
	switch {
	case sidecar:
	case init:
		l.runFor = defaultInitRun
	case runsOnce(pod) && !c.Stdin:
		l.runFor = defaultJobRun
	}
	if pod.Spec.RestartPolicy != corev1.RestartPolicyAlways && !sidecar {
		l.stopCode = exitCodeTerminated
	}
	l.applyCommand(pod, c)
	// Annotations without a container's name speak for the main containers; init
	// containers are scripted by name only, or a crashing app would never start.
	name, plain := c.Name, !init
	l.applyAnnotations(r, name, plain)
	return l
}

// runsOnce tells whether a pod is a task that ends by itself unless told otherwise.
func runsOnce(pod *corev1.Pod) bool {
	if pod.Spec.RestartPolicy == corev1.RestartPolicyNever || pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure {
		return true
	}
	for _, o := range pod.OwnerReferences {
		if o.Kind == "Job" && o.Controller != nil && *o.Controller {
			return true
		}
	}
	return false
}

func probeDelay(p *corev1.Probe) time.Duration {
	if p == nil {
		return 0
	}
	return time.Duration(p.InitialDelaySeconds) * time.Second
}

// applyCommand lets commands that the simulated shell understands in full, such
// as `sh -c "echo hello; sleep 5; exit 1"`, decide for themselves.
func (l *containerLife) applyCommand(pod *corev1.Pod, c *corev1.Container) {
	p, ok := planCommand(pod, c)
	if !ok {
		return
	}
	l.runFor, l.exitCodes = p.runFor, []int32{p.exit}
}

func (l *containerLife) applyAnnotations(r *annotationReader, name string, plain bool) {
	r.plain = plain
	l.readyAfter = r.duration("ready-after", name, l.readyAfter)
	l.stopAfter = r.duration("stop-after", name, l.stopAfter)
	if code, ok := r.codes("stop-exit-code", name); ok {
		l.stopCode = code[0]
	}
	l.message = r.text("exit-message", name, "")
	exits := false
	if codes, ok := r.codes("exit-code", name); ok {
		l.exitCodes, exits = codes, true
	}
	if reason := r.text("exit-reason", name, ""); reason != "" {
		l.reason, exits = reason, true
		if reason == reasonOOMKilled {
			l.exitCodes = []int32{exitCodeKilled}
		}
	}
	if r.failsIndex(r.pod) {
		l.exitCodes, exits = []int32{1}, true
	}
	if exits && l.runFor == forever {
		l.runFor = defaultJobRun
	}
	l.runFor = r.duration("run-for", name, l.runFor)
	if n, ok := r.crashes(name); ok && n != 0 {
		l.crashes = n
		if l.exitCodes[0] == 0 {
			l.exitCodes = []int32{1}
		}
		if !r.has("run-for", name) {
			l.runFor = crashLoopRun
		}
	}
	l.pullError = r.pullError(name)
}

// annotationReader looks a script's keys up, the container's own first.
type annotationReader struct {
	pod   *corev1.Pod
	plain bool // also look at the key without a container's name
	errs  []error
	bad   sets.Set[string]
}

func (r *annotationReader) lookup(key, container string) (name, value string, ok bool) {
	if container != "" {
		name = annotationPrefix + key + "." + container
		if v, ok := r.pod.Annotations[name]; ok {
			return name, strings.TrimSpace(v), true
		}
		if !r.plain {
			return "", "", false
		}
	}
	name = annotationPrefix + key
	v, ok := r.pod.Annotations[name]
	return name, strings.TrimSpace(v), ok
}

func (r *annotationReader) has(key, container string) bool {
	_, _, ok := r.lookup(key, container)
	return ok
}

// fail notes a value that is not understood, once for each annotation.
func (r *annotationReader) fail(name, value, want string) {
	if r.bad.Has(name) {
		return
	}
	r.bad = r.bad.Union(sets.New(name))
	r.errs = append(r.errs, fmt.Errorf("annotation %s: %q is not %s", name, value, want))
}

func (r *annotationReader) text(key, container, def string) string {
	if _, v, ok := r.lookup(key, container); ok {
		return v
	}
	return def
}

// duration takes Go's notation ("90s", "1m30s"), plain seconds, and "forever" or
// "never".
func (r *annotationReader) duration(key, container string, def time.Duration) time.Duration {
	name, v, ok := r.lookup(key, container)
	if !ok {
		return def
	}
	if v == "forever" || v == "never" {
		return forever
	}
	if secs, err := strconv.ParseFloat(v, 64); err == nil && secs >= 0 && secs < 1e9 {
		return time.Duration(secs * float64(time.Second))
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		r.fail(name, v, `a duration such as "30s", or "forever"`)
		return def
	}
	return d
}

func (r *annotationReader) codes(key, container string) ([]int32, bool) {
	name, v, ok := r.lookup(key, container)
	if !ok {
		return nil, false
	}
	var codes []int32
	for _, part := range strings.Split(v, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 8)
		if err != nil {
			r.fail(name, v, `an exit code from 0 to 255, or a list such as "1,1,0"`)
			return nil, false
		}
		codes = append(codes, int32(n))
	}
	return codes, true
}

// crashes reads crash-loop: true, false, or how many runs crash before the
// container stays up.
func (r *annotationReader) crashes(container string) (int, bool) {
	name, v, ok := r.lookup("crash-loop", container)
	if !ok {
		return 0, false
	}
	if n, err := strconv.Atoi(v); err == nil && n >= 0 {
		return n, true
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		r.fail(name, v, `"true", "false" or a number of crashes`)
		return 0, false
	}
	if b {
		return -1, true
	}
	return 0, true
}

// failsIndex tells whether the pod is one of an Indexed Job's that fail-indexes
// names.
func (r *annotationReader) failsIndex(pod *corev1.Pod) bool {
	_, v, ok := r.lookup("fail-indexes", "")
	index := pod.Annotations["batch.kubernetes.io/job-completion-index"]
	if !ok || index == "" {
		return false
	}
	for _, part := range strings.Split(v, ",") {
		if strings.TrimSpace(part) == index {
			return true
		}
	}
	return false
}

// pullError reads image-pull: "ok", "fail" for a missing image, or the
// registry's words.
func (r *annotationReader) pullError(container string) string {
	switch v := r.text(keyImagePull, container, "ok"); v {
	case "ok", "":
		return ""
	case "fail", "not-found":
		return "not found"
	default:
		return v
	}
}
