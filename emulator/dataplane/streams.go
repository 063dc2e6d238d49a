package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

const (
	streamIdle     = 4 * time.Hour
	streamCreation = 30 * time.Second
)

func (k *kubeletServer) exec(w http.ResponseWriter, r *http.Request) {
	opts, pod, spec := k.session(w, r)
	if pod == nil {
		return
	}
	remotecommand.ServeExec(w, r, executor{k.fleet, pod, spec}, pod.Name, string(pod.UID), spec.Name, r.URL.Query()["command"],
		opts, streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
}

func (k *kubeletServer) attach(w http.ResponseWriter, r *http.Request) {
	opts, pod, spec := k.session(w, r)
	if pod == nil {
		return
	}
	remotecommand.ServeAttach(w, r, executor{k.fleet, pod, spec}, pod.Name, string(pod.UID), spec.Name,
		opts, streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
}

// session finds what exec and attach go to; it has answered if pod is nil.
func (k *kubeletServer) session(w http.ResponseWriter, r *http.Request) (*remotecommand.Options, *corev1.Pod, *corev1.Container) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		writeError(w, err.Error(), http.StatusBadRequest)
		return nil, nil, nil
	}
	pod := k.podOf(w, r)
	if pod == nil {
		return nil, nil, nil
	}
	spec, status := containerIn(pod, r.PathValue("container"))
	if spec == nil || status == nil || status.State.Running == nil {
		writeError(w, fmt.Sprintf("container not found (%q)", r.PathValue("container")), http.StatusInternalServerError)
		return nil, nil, nil
	}
	return opts, pod, spec
}

// executor runs commands in one simulated container.
type executor struct {
	fleet *Fleet
	pod   *corev1.Pod
	spec  *corev1.Container
}

// errStreamEnded is a session cut short by the end of the container.
var errStreamEnded = errors.New("container ended")

// shell is one that lives in real time, on the session's streams.
func (e executor) shell(ctx context.Context, in io.Reader, stdout, stderr io.WriteCloser, tty bool) *shell {
	sh := newShell(e.pod, e.spec, e.fleet.resolver(ctx))
	sh.steps = execSteps
	sh.now = e.fleet.clock.Now
	sh.sleep = func(d time.Duration) error {
		if d == forever || d > streamIdle {
			d = streamIdle
		}
		if sleepUntil(ctx, e.fleet.clock, e.fleet.clock.Now().Add(d)) != nil {
			return errStreamEnded
		}
		return nil
	}
	var out, errw io.Writer = io.Discard, io.Discard // for streams that nobody asked for
	if stdout != nil {
		out = stdout
	}
	if stderr != nil {
		errw = stderr
	}
	if tty {
		out = &terminalOutput{w: out}
		errw = out
		sh.env["TERM"], sh.env["PS1"] = "xterm", "/ # "
		if in != nil {
			in = &terminalInput{in: in, echo: out}
		}
	}
	sh.in, sh.out, sh.err = in, out, errw
	return sh
}

// ExecInContainer implements remotecommand.Executor.
func (e executor) ExecInContainer(ctx context.Context, _, _, container string, cmd []string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	ctx, cancel := e.fleet.whileRunning(ctx, e.pod, container)
	defer cancel()
	go drain(ctx, resize)
	sh := e.shell(ctx, in, out, errw, tty)
	code, err := sh.run(cmd)
	if err != nil {
		code = exitCodeKilled
	}
	return exitStatus(code)
}

// AttachContainer implements remotecommand.Attacher. Attaching to a container
// that keeps its standard input open runs its command on it, a shell if the image
// decides, and ends with it; others show their output.
func (e executor) AttachContainer(ctx context.Context, _, _, container string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	ctx, cancel := e.fleet.whileRunning(ctx, e.pod, container)
	defer cancel()
	go drain(ctx, resize)
	if in == nil || !e.spec.Stdin {
		if out == nil {
			return nil
		}
		_, status := containerIn(e.pod, container)
		of, err := runOf(e.pod, status, container, false)
		if err != nil {
			return err
		}
		var w io.Writer = out
		if tty {
			w = &terminalOutput{w: out}
		}
		none := int64(0) // attach shows what comes, not what was
		e.fleet.follow(ctx, e.pod, e.spec, of, true, &logWriter{w: w, now: e.fleet.clock.Now(), opts: corev1.PodLogOptions{TailLines: &none}})
		return nil
	}
	sh := e.shell(ctx, in, out, errw, tty)
	argv := commandOf(e.spec)
	if len(argv) == 0 {
		argv = []string{"sh"}
	}
	code, err := sh.run(argv)
	if err != nil {
		return nil // the container ended under the session
	}
	if e.spec.StdinOnce || tty {
		e.fleet.endContainer(e.pod, container, int32(code))
	}
	return nil
}

// endContainer ends a container's run from outside its life.
func (f *Fleet) endContainer(pod *corev1.Pod, container string, code int32) {
	key := keyOf(pod).String()
	f.mu.Lock()
	if rec := f.records[key]; rec != nil && rec.uid == pod.UID {
		rec.ended[container] = code
	}
	f.mu.Unlock()
	f.queue.Add(key)
}

// drain takes the terminal sizes that nobody here needs.
func drain(ctx context.Context, sizes <-chan remotecommand.TerminalSize) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-sizes:
			if !ok {
				return
			}
		}
	}
}

func exitStatus(code int) error {
	if code == 0 {
		return nil
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("%d", code), Code: code}
}

// terminalOutput ends lines as a terminal in raw mode needs it.
type terminalOutput struct{ w io.Writer }

func (t *terminalOutput) Write(b []byte) (int, error) {
	start := 0
	for i, c := range b {
		if c != '\n' {
			continue
		}
		if _, err := t.w.Write(b[start:i]); err != nil {
			return start, err
		}
		if _, err := io.WriteString(t.w, "\r\n"); err != nil {
			return start, err
		}
		start = i + 1
	}
	if start < len(b) {
		if _, err := t.w.Write(b[start:]); err != nil {
			return start, err
		}
	}
	return len(b), nil
}

// terminalInput is the line discipline: it echoes, lets erase, ends lines at
// carriage return, drops the line at ^C and ends the input at ^D.
type terminalInput struct {
	in    io.Reader
	echo  io.Writer
	ready []byte // a finished line
	line  []byte
}

func (t *terminalInput) Read(p []byte) (int, error) {
	one := make([]byte, 1)
	for len(t.ready) == 0 {
		n, err := t.in.Read(one)
		if n == 0 && err != nil {
			return 0, err
		}
		switch c := one[0]; {
		case c == '\r' || c == '\n':
			_, _ = io.WriteString(t.echo, "\n")
			t.ready, t.line = append(t.line, '\n'), nil
		case c == 3: // ^C
			_, _ = io.WriteString(t.echo, "^C\n")
			t.ready, t.line = []byte{'\n'}, nil
		case c == 4: // ^D
			if len(t.line) == 0 {
				return 0, io.EOF
			}
		case c == 8 || c == 127:
			if len(t.line) > 0 {
				t.line = t.line[:len(t.line)-1]
				_, _ = io.WriteString(t.echo, "\b \b")
			}
		case c >= ' ' || c == '\t':
			t.line = append(t.line, c)
			_, _ = t.echo.Write(one)
		}
	}
	n := copy(p, t.ready)
	t.ready = t.ready[n:]
	return n, nil
}

func (k *kubeletServer) portForward(w http.ResponseWriter, r *http.Request) {
	opts, err := portforward.NewV4Options(r)
	if err != nil {
		writeError(w, err.Error(), http.StatusBadRequest)
		return
	}
	pod := k.podOf(w, r)
	if pod == nil {
		return
	}
	if pod.Status.Phase != corev1.PodRunning {
		writeError(w, fmt.Sprintf("pod not found (%q)", pod.Name), http.StatusInternalServerError)
		return
	}
	portforward.ServePortForward(w, r, forwarder{k.fleet, pod}, pod.Name, string(pod.UID), opts, streamIdle, streamCreation, portforward.SupportedProtocols)
}

// forwarder connects forwarded streams to the ports of one simulated pod.
type forwarder struct {
	fleet *Fleet
	pod   *corev1.Pod
}

// PortForward implements portforward.PortForwarder.
func (p forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	serve, err := p.fleet.dialPod(p.pod, port)
	if err != nil {
		netns := hexDigest(string(p.pod.UID))[:32]
		return fmt.Errorf("failed to execute portforward in network namespace \"/var/run/netns/cni-%s\": failed to connect to localhost:%d inside namespace %q, IPv4: dial tcp4 127.0.0.1:%d: connect: connection refused", uuidOf(netns), port, hexDigest(string(p.pod.UID)), port)
	}
	c := newStreamConn(stream)
	serve(c)
	select {
	case <-ctx.Done():
		c.Close()
	case <-c.done:
	}
	return nil
}
