package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	planSteps = 200      // a command that takes more steps is taken to run forever
	execSteps = 100000   // bounds one kubectl exec
	logSteps  = 500000   // bounds the replay of a container's output
	logLines  = 10000    // how much of it is kept, as log rotation would
	maxLine   = 16 << 10 // bytes; container runtimes cut lines there
)

// errHorizon ends a run whose further course nobody asked for.
var errHorizon = errors.New("horizon")

// plan is how a container's own command goes.
type plan struct {
	runFor time.Duration
	exit   int32
}

// commandOf is the command that the container runs, as far as its spec says:
// Command, or Args alone for images without an entry point.
func commandOf(c *corev1.Container) []string {
	return append(append([]string(nil), c.Command...), c.Args...)
}

// planCommand plays the container's command in virtual time. ok is false when any
// part of it is not understood: then the defaults decide.
func planCommand(pod *corev1.Pod, c *corev1.Container) (plan, bool) {
	argv := commandOf(c)
	if len(argv) == 0 || c.Stdin {
		return plan{}, false
	}
	p := newProcess(pod, c, nil, time.Time{})
	p.sh.out, p.sh.err = io.Discard, io.Discard
	p.sh.steps = planSteps
	exit, err := p.sh.run(argv)
	switch {
	case p.sh.unknown:
		return plan{}, false
	case err != nil:
		return plan{runFor: forever}, true
	default:
		return plan{runFor: p.at.Sub(p.start), exit: int32(exit)}, true
	}
}

// process is a container's command in virtual time.
type process struct {
	sh    *shell
	start time.Time
	at    time.Time // virtual now
}

// newProcess prepares a run of the container's command that begins at start.
// more, if not nil, resolves what is not in the spec (ConfigMaps, Secrets).
func newProcess(pod *corev1.Pod, c *corev1.Container, more *resolver, start time.Time) *process {
	p := &process{start: start, at: start}
	p.sh = newShell(pod, c, more)
	p.sh.now = func() time.Time { return p.at }
	p.sh.sleep = func(d time.Duration) error {
		if d == forever {
			return errHorizon
		}
		p.at = p.at.Add(d)
		return nil
	}
	return p
}

// logLine is one line that a container wrote.
type logLine struct {
	at   time.Time
	text string
}

// lineWriter cuts output into lines with the virtual time at which they ended.
type lineWriter struct {
	p    *process
	part bytes.Buffer
	emit func(logLine) error
	err  error // emit's first
}

func (w *lineWriter) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		line, after, found := bytes.Cut(rest, []byte{'\n'})
		w.part.Write(line)
		if found || w.part.Len() > maxLine {
			w.line()
		}
		rest = after
	}
	return len(b), w.err
}

func (w *lineWriter) line() {
	if w.err == nil {
		w.err = w.emit(logLine{w.p.at, w.part.String()})
	}
	w.part.Reset()
}

// flush ends a last line that has no newline.
func (w *lineWriter) flush() {
	if w.part.Len() > 0 {
		w.line()
	}
}

// newShell is a shell inside the container.
func newShell(pod *corev1.Pod, c *corev1.Container, more *resolver) *shell {
	env := environment(pod, c, more)
	host := env["HOSTNAME"]
	files := map[string]string{
		"/etc/hostname":    host + "\n",
		"/etc/hosts":       fmt.Sprintf("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n%s\t%s\n", pod.Status.PodIP, host),
		"/etc/resolv.conf": fmt.Sprintf("search %s.svc.cluster.local svc.cluster.local cluster.local\nnameserver %s\noptions ndots:5\n", pod.Namespace, more.dns()),
		"/etc/os-release":  "NAME=\"ekslocal simulated container\"\nID=ekslocal\n",
		"/var/run/secrets/kubernetes.io/serviceaccount/namespace": pod.Namespace,
	}
	return &shell{
		env: env,
		dirs: map[string][]string{
			"/": {"bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var"}, "/tmp": nil, "/root": nil, "/home": nil,
			"/etc": {"hostname", "hosts", "os-release", "resolv.conf"},
		},
		file: func(path string) ([]byte, bool) {
			if text, ok := files[strings.Replace(path, "/run/secrets", "/var/run/secrets", 1)]; ok && !strings.HasPrefix(path, "/var") {
				return []byte(text), true
			}
			if text, ok := files[path]; ok {
				return []byte(text), true
			}
			return more.mounted(pod, c, path)
		},
		now: time.Now, sleep: func(time.Duration) error { return nil }, out: io.Discard, err: io.Discard,
	}
}
