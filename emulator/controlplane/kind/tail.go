package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	osexec "os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/relay"
)

var _ controlplane.Tailer = (*Backend)(nil)

// authenticatorLog is the one log that the emulator itself writes.
func authenticatorLog(cfg Config, id string) string {
	return filepath.Join(cfg.RunDir, id, "authenticator.log")
}

// source is where a log is in the control plane's container.
func source(s controlplane.LogStream) relay.LogQuestion {
	if s == controlplane.LogAudit {
		return relay.LogQuestion{Plain: auditLog}
	}
	return relay.LogQuestion{Containers: containerLogs(component(s))}
}

// Tail implements controlplane.Tailer. Positions are those of files in the container,
// which stay through its restarts.
func (b *Backend) Tail(ctx context.Context, id string, s controlplane.LogStream, position string) (controlplane.Tail, error) {
	p := b.lookup(id)
	if p == nil || !p.isRunning() {
		return nil, fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
	}
	if position == controlplane.TailEnd {
		position = logfile.End
	}
	if s == controlplane.LogAuthenticator {
		return logfile.OpenTail(logfile.Plain(authenticatorLog(b.cfg, id)), position)
	}
	q := source(s)
	q.Position = position
	t := &tail{id: id, logs: p.logs.open(b, nodeName(id)), q: q, patience: answerPatience}
	if _, err := t.ask(ctx, 0); err != nil {
		_ = t.Close() // which cannot fail
		return nil, fmt.Errorf("log %s: %w", s, err)
	}
	return t, nil
}

// tail is one log in a container.
type tail struct {
	id   string
	logs *logReader
	q    relay.LogQuestion

	patience time.Duration // of one question
}

const (
	// answerPatience bounds the wait for an answer out of a container, which takes
	// milliseconds if that is not frozen.
	answerPatience = 10 * time.Second
	// lookPatience bounds the look at a container that has not answered.
	lookPatience = 2 * time.Second
)

func (t *tail) ask(ctx context.Context, limit int) ([]string, error) {
	asking, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	q := t.q
	q.Limit = limit
	a, err := t.logs.ask(asking, q)
	if err != nil {
		looking, cancel := context.WithTimeout(ctx, lookPatience)
		defer cancel()
		if c, e := t.logs.engine.inspect(looking, nodeName(t.id)); e == nil && (c == nil || !c.State.Running) {
			err = fmt.Errorf("%w: %s", controlplane.ErrNotFound, t.id) // it is being started again, or removed
		}
		return nil, err
	}
	t.q.Position = a.Position
	return a.Lines, nil
}

// Lines implements controlplane.Tail.
func (t *tail) Lines(ctx context.Context, limit int) ([]string, error) { return t.ask(ctx, limit) }

// Position implements controlplane.Tail.
func (t *tail) Position() string { return t.q.Position }

// Close implements controlplane.Tail.
func (t *tail) Close() error {
	t.logs.close()
	return nil
}

// logReader is a process in a control plane's container that reads logs there, for as
// long as anybody follows one. The zero value reads nothing.
type logReader struct {
	engine engine
	node   string

	mu    sync.Mutex // held while a question is asked
	users int
	cmd   *osexec.Cmd // nil: none runs
	in    io.WriteCloser
	out   *json.Decoder
}

func (r *logReader) open(b *Backend, node string) *logReader {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.engine, r.node, r.users = b.engine, node, r.users+1
	return r
}

func (r *logReader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users--; r.users == 0 {
		r.end()
	}
}

// end is for a process that is not wanted, or not to be trusted, any more.
func (r *logReader) end() {
	if r.cmd == nil {
		return
	}
	_ = r.in.Close()
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait() // its error is that it was killed
	r.cmd = nil
}

func (r *logReader) start() error {
	cmd := osexec.Command("docker", "exec", "-i", r.node, protocol.Program, "logs")
	// A group of its own: the terminal's Ctrl-C is for the emulator, which delivers what
	// is there before it ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("reading logs of %s: %w", r.node, err)
	}
	r.cmd, r.in, r.out = cmd, in, json.NewDecoder(out)
	return nil
}

// ask starts the process if none runs. One that fails to answer is ended, and the next
// question starts another.
func (r *logReader) ask(ctx context.Context, q relay.LogQuestion) (relay.LogAnswer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil { // it ended while somebody else asked
		return relay.LogAnswer{}, err
	}
	if r.cmd == nil {
		if err := r.start(); err != nil {
			return relay.LogAnswer{}, err
		}
	}
	cmd := r.cmd
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	var a relay.LogAnswer
	err := json.NewEncoder(r.in).Encode(q)
	if err == nil || errors.Is(err, syscall.EPIPE) { // then it has said why it ended
		err = r.out.Decode(&a)
	}
	if err != nil {
		if said, e := io.ReadAll(io.LimitReader(r.out.Buffered(), 200)); e == nil && len(said) > 0 {
			err = fmt.Errorf("%w: %q", err, said)
		}
		r.end()
		return a, fmt.Errorf("reading logs of %s: %w", r.node, errors.Join(ctx.Err(), err))
	}
	if a.Error != "" {
		return a, fmt.Errorf("reading logs of %s: %s", r.node, a.Error)
	}
	return a, nil
}
