package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
)

// logEvery is how often a container without a command of its own says that it is
// alive; ekslocal.dev/log-every changes it.
const logEvery = 30 * time.Second

// logTime is kubelet's format of timestamps: always nine digits.
const logTime = "2006-01-02T15:04:05.000000000Z07:00"

// apiTruncation makes up for times in the API being cut to whole seconds.
const apiTruncation = 999 * time.Millisecond

// run is one run of a container.
type run struct {
	start, end time.Time // end is zero while it runs
	exit       int32
	id         string
}

// runOf picks the run that somebody asks about; the error is kubelet's.
func runOf(pod *corev1.Pod, status *corev1.ContainerStatus, name string, previous bool) (run, error) {
	ended := func(t *corev1.ContainerStateTerminated) run {
		return run{t.StartedAt.Time, t.FinishedAt.Time, t.ExitCode, t.ContainerID}
	}
	switch {
	case previous:
		if status == nil || status.LastTerminationState.Terminated == nil {
			return run{}, fmt.Errorf("previous terminated container %q in pod %q not found", name, pod.Name)
		}
		return ended(status.LastTerminationState.Terminated), nil
	case status == nil:
		return run{}, fmt.Errorf("container %q in pod %q is not available", name, pod.Name)
	case status.State.Running != nil:
		return run{start: status.State.Running.StartedAt.Time, id: status.ContainerID}, nil
	case status.State.Terminated != nil:
		return ended(status.State.Terminated), nil
	case status.LastTerminationState.Terminated != nil: // waits to restart
		return ended(status.LastTerminationState.Terminated), nil
	}
	reason := "no status yet"
	if w := status.State.Waiting; w != nil {
		reason = w.Reason
		if w.Message != "" && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff" || w.Reason == "InvalidImageName") {
			return run{}, fmt.Errorf("container %q in pod %q is waiting to start: %s", name, pod.Name, imageTrouble[w.Reason])
		}
	}
	return run{}, fmt.Errorf("container %q in pod %q is waiting to start: %s", name, pod.Name, reason)
}

var imageTrouble = map[string]string{
	"ErrImagePull":     "image can't be pulled",
	"ImagePullBackOff": "trying and failing to pull image",
	"InvalidImageName": "InvalidImageName",
}

func (k *kubeletServer) containerLogs(w http.ResponseWriter, r *http.Request) {
	opts, err := logOptions(r.URL.Query())
	if err != nil {
		writeError(w, fmt.Sprintf(`{"message": "Invalid request: %v."}`, err), http.StatusUnprocessableEntity)
		return
	}
	pod := k.podOf(w, r)
	if pod == nil {
		return
	}
	name := r.PathValue("container")
	spec, status := containerIn(pod, name)
	if spec == nil {
		writeError(w, fmt.Sprintf("container %q not found in pod %q", name, pod.Name), http.StatusNotFound)
		return
	}
	of, err := runOf(pod, status, name, opts.Previous)
	if err != nil {
		writeError(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	if opts.Stream != nil && *opts.Stream == corev1.LogStreamStderr {
		return // the simulation writes to standard output only
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if opts.Follow && of.end.IsZero() {
		var stop context.CancelFunc
		ctx, stop = k.fleet.whileRunning(ctx, pod, name)
		defer stop()
	}
	out := &logWriter{w: w, opts: opts, now: k.fleet.clock.Now()}
	k.fleet.follow(ctx, pod, spec, of, opts.Follow && of.end.IsZero(), out)
}

// logOptions reads the query of a log request.
func logOptions(q url.Values) (corev1.PodLogOptions, error) {
	var o corev1.PodLogOptions
	number := func(name string) (*int64, error) {
		v := q.Get(name)
		if v == "" {
			return nil, nil
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s %q is not a number", name, v)
		}
		return &n, nil
	}
	var errs [3]error
	o.TailLines, errs[0] = number("tailLines")
	o.SinceSeconds, errs[1] = number("sinceSeconds")
	o.LimitBytes, errs[2] = number("limitBytes")
	if err := errors.Join(errs[:]...); err != nil {
		return o, err
	}
	flag := func(name string) bool { b, _ := strconv.ParseBool(q.Get(name)); return b }
	o.Follow, o.Previous, o.Timestamps = flag("follow"), flag("previous"), flag("timestamps")
	if v := q.Get("sinceTime"); v != "" {
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return o, fmt.Errorf("sinceTime %q is not a time", v)
		}
		o.SinceTime = &metav1.Time{Time: t}
	}
	switch s := q.Get("stream"); s {
	case "":
	case corev1.LogStreamStdout, corev1.LogStreamStderr, corev1.LogStreamAll:
		o.Stream = &s
	default:
		return o, fmt.Errorf("stream %q is unknown", s)
	}
	return o, nil
}

// logWriter selects and formats lines. Lines up to the present are kept until
// caughtUp, for only then is it known which are the last ones.
type logWriter struct {
	w       io.Writer
	opts    corev1.PodLogOptions
	now     time.Time
	history []logLine
	size    int // bytes in history
	live    bool
	written int64
}

// maxHistory is kubelet's containerLogMaxSize.
const maxHistory = 10 << 20

var errLogDone = errors.New("enough")

func (l *logWriter) emit(line logLine) error {
	if since := l.since(); line.at.Before(since) {
		return nil
	}
	if l.live {
		return l.write(line)
	}
	l.history = append(l.history, line)
	l.size += len(line.text)
	// As log rotation would: the older half goes.
	if len(l.history) > 2*logLines || l.size > maxHistory {
		l.history = append([]logLine(nil), l.history[len(l.history)/2:]...)
		l.size = 0
		for _, kept := range l.history {
			l.size += len(kept.text)
		}
	}
	return nil
}

func (l *logWriter) since() time.Time {
	switch {
	case l.opts.SinceTime != nil:
		return l.opts.SinceTime.Time
	case l.opts.SinceSeconds != nil:
		return l.now.Add(-time.Duration(*l.opts.SinceSeconds) * time.Second)
	}
	return time.Time{}
}

// caughtUp writes the history's selected part; what follows is written as it comes.
func (l *logWriter) caughtUp() error {
	if l.live {
		return nil
	}
	l.live = true
	lines := l.history
	l.history = nil
	if t := l.opts.TailLines; t != nil && int64(len(lines)) > *t {
		lines = lines[int64(len(lines))-*t:]
	}
	for _, line := range lines {
		if err := l.write(line); err != nil {
			return err
		}
	}
	l.flush()
	return nil
}

func (l *logWriter) write(line logLine) error {
	text := line.text + "\n"
	if l.opts.Timestamps {
		text = line.at.UTC().Format(logTime) + " " + text
	}
	if limit := l.opts.LimitBytes; limit != nil {
		text = text[:min(int64(len(text)), *limit-l.written)]
	}
	n, err := io.WriteString(l.w, text)
	l.written += int64(n)
	if err == nil && l.opts.LimitBytes != nil && l.written >= *l.opts.LimitBytes {
		return errLogDone
	}
	return err
}

func (l *logWriter) flush() {
	if f, ok := l.w.(http.Flusher); ok {
		f.Flush()
	}
}

// follow writes what a run of a container has said, and with live set what it
// says from now on, until ctx ends.
func (f *Fleet) follow(ctx context.Context, pod *corev1.Pod, c *corev1.Container, of run, live bool, out *logWriter) {
	until := f.clock.Now()
	if !of.end.IsZero() {
		until = of.end.Add(apiTruncation)
	}
	// pass lets time go by up to t: at once in the past, in real time afterwards.
	pass := func(t time.Time) error {
		if !t.After(until) {
			return nil
		}
		if !live {
			return errHorizon
		}
		if err := out.caughtUp(); err != nil {
			return err
		}
		out.flush()
		err := sleepUntil(ctx, f.clock, t)
		if err == nil {
			return nil
		}
		// The run is over: what it wrote up to its end is still to come.
		end := f.ended(pod, c.Name, of)
		if end == nil {
			return err
		}
		until, live = end.FinishedAt.Add(apiTruncation), false
		if t.After(until) {
			return errHorizon
		}
		return nil
	}
	err := f.speak(ctx, pod, c, of, pass, out.emit)
	if caught := out.caughtUp(); err == nil || errors.Is(err, errHorizon) || errors.Is(err, context.Canceled) {
		err = caught
	}
	if err == nil && !spoken(pod, c) {
		if now := f.ended(pod, c.Name, of); now != nil {
			_ = out.write(logLine{now.FinishedAt.Time, fmt.Sprintf("ekslocal: simulated container %q ends with exit code %d", c.Name, now.ExitCode)})
		}
	}
	out.flush()
}

// ended returns how the run ended, nil while it runs.
func (f *Fleet) ended(pod *corev1.Pod, container string, of run) *corev1.ContainerStateTerminated {
	if now := f.podNamed(pod.Namespace, pod.Name); now != nil && now.UID == pod.UID {
		pod = now
	}
	_, status := containerIn(pod, container)
	if status == nil {
		return nil
	}
	for _, state := range []corev1.ContainerState{status.State, status.LastTerminationState} {
		if t := state.Terminated; t != nil && t.ContainerID == of.id {
			return t
		}
	}
	return nil
}

// sleepUntil waits in the clock's time.
func sleepUntil(ctx context.Context, c clock.Clock, t time.Time) error {
	timer := c.NewTimer(t.Sub(c.Now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}

// spoken tells whether the container's command is understood: then its output is
// the real one and needs no remark.
func spoken(pod *corev1.Pod, c *corev1.Container) bool {
	_, ok := planCommand(pod, c)
	return ok
}

// speak produces the output of a run, from its start on.
func (f *Fleet) speak(ctx context.Context, pod *corev1.Pod, c *corev1.Container, of run, pass func(time.Time) error, emit func(logLine) error) error {
	if spoken(pod, c) {
		p := newProcess(pod, c, f.resolver(ctx), of.start)
		p.sh.steps = logSteps
		w := &lineWriter{p: p, emit: emit}
		p.sh.out, p.sh.err = w, w
		p.sh.sleep = func(d time.Duration) error {
			if d == forever {
				d = 100 * 365 * 24 * time.Hour
			}
			if err := pass(p.at.Add(d)); err != nil {
				return err
			}
			p.at = p.at.Add(d)
			return w.err
		}
		_, err := p.sh.run(commandOf(c))
		w.flush()
		return err
	}
	if f.cfg.Daemon != nil && isDaemon(pod) && c.Name == daemonName {
		return f.daemonSpeaks(ctx, pod, of, pass, emit)
	}
	for _, text := range []string{
		fmt.Sprintf("ekslocal: simulated container %q of pod %s/%s on node %s", c.Name, pod.Namespace, pod.Name, pod.Spec.NodeName),
		fmt.Sprintf("ekslocal: image %s is not pulled and no process runs; see docs/simulated-pods.md", c.Image),
	} {
		if err := emit(logLine{of.start, text}); err != nil {
			return err
		}
	}
	r := &annotationReader{pod: pod, plain: true}
	every := max(r.duration("log-every", c.Name, logEvery), 100*time.Millisecond)
	if r.text("log-every", c.Name, "") == "never" {
		every = 100 * 365 * 24 * time.Hour
	}
	message := r.text("log-line", c.Name, "")
	at := of.start
	// Only what log rotation would have kept.
	if old := f.clock.Since(at); old > logLines*every {
		at = at.Add((old/every - logLines) * every)
	}
	for {
		at = at.Add(every)
		if err := pass(at); err != nil {
			return err
		}
		text := message
		if text == "" {
			text = fmt.Sprintf("ekslocal: simulated container %q is alive, up %s", c.Name, at.Sub(of.start).Round(time.Second))
		}
		if err := emit(logLine{at, text}); err != nil {
			return err
		}
	}
}

func (f *Fleet) resolver(ctx context.Context) *resolver {
	return &resolver{ctx: ctx, client: f.client, dnsIP: f.cfg.DNSClusterIP, disk: f.nodeFile}
}

// nodeFile reads a file of a node's disk, of which only those of the CNI exist.
func (f *Fleet) nodeFile(nodeName, path string) ([]byte, bool) {
	n := f.node(nodeName)
	if n == nil || f.cfg.Daemon == nil {
		return nil, false
	}
	return f.cfg.Daemon.File(n.InstanceID, path)
}
