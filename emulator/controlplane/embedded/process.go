package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
)

// stopGrace is how long a child gets after SIGTERM. Its own limit is shorter.
const stopGrace = 3 * time.Second

// proc is one child process. Its methods but stop are called by one goroutine at
// a time.
type proc struct {
	cmd                                *exec.Cmd
	dir, keys                          string // the second is removed with the process
	control                            *Conn
	ready, serving, controllersStopped signal
	draining                           signal
	exited                             chan struct{} // closed after the process ended and exit is set
	exit                               error
	since                              time.Time

	output output
	mu     sync.Mutex
	reason string // what the child said of its end
}

// signal is closed when the child has said so.
type signal chan struct{}

// spawn starts a child and gives it its plan. It does not wait for it.
func (b *Backend) spawn(spec controlplane.Spec) (*proc, error) {
	plan, err := b.plan(spec)
	if err != nil {
		return nil, err
	}
	started := false
	defer func() {
		if !started {
			_ = os.RemoveAll(plan.Keys) // removeLostKeys has another try
		}
	}()
	controlOurs, controlTheirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer controlTheirs.Close()
	control, err := NewConn(controlOurs)
	if err != nil {
		return nil, err
	}
	accessOurs, accessTheirs, err := socketPair()
	if err != nil {
		control.Close()
		return nil, err
	}
	defer accessTheirs.Close()
	access, err := net.FileConn(accessOurs)
	accessOurs.Close()
	if err != nil {
		control.Close()
		return nil, fmt.Errorf("access socket: %w", err)
	}
	p := &proc{
		dir: plan.Dir, keys: plan.Keys, control: control, exited: make(chan struct{}),
		ready: make(signal), serving: make(signal), controllersStopped: make(signal), draining: make(signal),
	}
	if err := b.exec(p, spec, controlTheirs, accessTheirs); err != nil {
		control.Close()
		access.Close()
		return nil, err
	}
	started = true // from here on it is wait's to remove the keys
	b.wg.Go(func() { b.answer(spec.ID, plan.Dir, access) })
	b.wg.Go(p.receive)
	b.wg.Go(p.wait)
	if err := control.Send(Message{Kind: Boot, Plan: plan}, -1); err != nil {
		p.stop()
		return nil, p.failure(err)
	}
	return p, nil
}

func (b *Backend) exec(p *proc, spec controlplane.Spec, files ...*os.File) error {
	log, err := logfile.Open(filepath.Join(p.dir, processLog))
	if err != nil {
		return err
	}
	p.output.log = log
	p.cmd = exec.Command(b.cfg.Executable, ChildArg, spec.ID, spec.Name)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = &p.output, &p.output, files
	// A group of its own: the terminal's Ctrl-C is for the parent, which ends
	// its children in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		log.Close()
		return fmt.Errorf("starting %s: %w", b.cfg.Executable, err)
	}
	return nil
}

// plan lays out the child's directory and says what it must do.
func (b *Backend) plan(spec controlplane.Spec) (*Plan, error) {
	git, err := gitVersion(spec.Version)
	if err != nil {
		return nil, err
	}
	dir := b.dir(spec.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, l := range []controlplane.LogStream{controlplane.LogAPI, controlplane.LogAudit, controlplane.LogControllerManager, controlplane.LogScheduler, controlplane.LogAuthenticator} {
		if err := logfile.EndLine(filepath.Join(dir, LogFile(l))); err != nil {
			return nil, err
		}
	}
	ca, err := parseAuthority(spec.PKI.CACert, spec.PKI.CAKey, b.cfg.Clock.Now())
	if err != nil {
		return nil, err
	}
	keys, err := writePKI(dir, ca, spec.PKI, spec.ServiceCIDR, b.cfg.CertHosts)
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	p := &Plan{
		ID: spec.ID, Version: spec.Version, GitVersion: git, ServiceCIDR: spec.ServiceCIDR, Issuer: spec.Issuer,
		EtcdEndpoint: b.cfg.EtcdEndpoint, EtcdPrefix: etcdPrefix(spec.ID), Dir: dir, Keys: keys, SimulatedWebhooks: b.cfg.SimulatedWebhooks,
	}
	if b.cfg.EgressSocket != nil {
		p.EgressSocket = b.cfg.EgressSocket(spec.ID)
	}
	return p, nil
}

// answer serves the child's questions until it ends.
func (b *Backend) answer(id, dir string, conn net.Conn) {
	defer conn.Close()
	lines, err := logfile.Open(filepath.Join(dir, LogFile(controlplane.LogAuthenticator)))
	if err != nil {
		b.cfg.Log.Error("authenticator log", "cluster", id, "error", err)
		return
	}
	defer lines.Close()
	s := &accessServer{id: id, auth: b.cfg.Authenticator, admit: b.cfg.Admitter, usage: b.cfg.Usage, log: b.cfg.Log, lines: lines, clock: b.cfg.Clock}
	s.serve(conn)
}

func (p *proc) receive() {
	signals := map[Kind]signal{Ready: p.ready, Serving: p.serving, ControllersStopped: p.controllersStopped, Draining: p.draining}
	for {
		m, _, err := p.control.Receive()
		if err != nil {
			return
		}
		if m.Kind == Failed {
			p.mu.Lock()
			p.reason = m.Error
			p.mu.Unlock()
		}
		if s := signals[m.Kind]; s != nil {
			close(s)
			delete(signals, m.Kind)
		}
	}
}

func (p *proc) wait() {
	p.exit = p.cmd.Wait()
	p.output.log.Close()
	_ = os.RemoveAll(p.keys) // removeLostKeys has another try
	close(p.exited)
	p.control.Close()
}

func (p *proc) await(ctx context.Context, s signal, what string) error {
	select {
	case <-s:
		return nil
	case <-p.exited:
		return p.failure(p.exit)
	case <-ctx.Done():
		return fmt.Errorf("waiting for the control plane to be %s: %w", what, context.Cause(ctx))
	}
}

func (p *proc) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// stop ends the child and returns when it is gone.
func (p *proc) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(stopGrace) // a process's time, not the emulator's
	defer t.Stop()
	select {
	case <-p.exited:
	case <-t.C:
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// failure explains err by what the child said, or else printed last.
func (p *proc) failure(err error) error {
	if err == nil {
		err = errors.New("process ended")
	}
	p.mu.Lock()
	reason := p.reason
	p.mu.Unlock()
	if reason == "" {
		reason = p.output.last()
	}
	if reason == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, reason)
}

// processLog takes what a child prints outside its logs.
const processLog = "process.log"

// output is what the child prints: into a file, and the end of it kept.
type output struct {
	log *logfile.Writer

	mu   sync.Mutex
	tail []byte
}

func (o *output) Write(b []byte) (int, error) {
	const keep = 16 << 10
	o.mu.Lock()
	o.tail = append(o.tail, b...)
	o.tail = o.tail[max(0, len(o.tail)-keep):]
	o.mu.Unlock()
	return o.log.Write(b)
}

// last returns the message of a panic, or else the last words.
func (o *output) last() string {
	const most = 1 << 10
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, mark := range []string{"panic: ", "fatal error: "} {
		if i := bytes.Index(o.tail, []byte(mark)); i >= 0 {
			return string(o.tail[i:min(len(o.tail), i+most)])
		}
	}
	return strings.TrimSpace(string(o.tail[max(0, len(o.tail)-most):]))
}
