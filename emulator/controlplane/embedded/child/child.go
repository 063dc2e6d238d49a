// Package child is the control-plane process: kube-apiserver,
// kube-controller-manager and kube-scheduler as libraries, led by the parent over
// inherited sockets. It is the only package that may import k8s.io/kubernetes.
package child

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

const (
	// stopGrace bounds the end after SIGTERM, in which clients are told to go: etcd
	// has everything, and an API server whose etcd is gone would wait forever.
	stopGrace = time.Second
	// haltGrace bounds the controllers' end, before others may start.
	haltGrace = 3 * time.Second
	// drainGrace bounds a Drain; drainNotice is how long a draining API server goes
	// on answering while it tells every client that asks to connect anew.
	drainGrace, drainNotice = 20 * time.Second, 1500 * time.Millisecond
	// settleTime is how long after a start, or the last of a load, the process still
	// allocates what it will keep.
	settleTime = 10 * time.Second
	// While starting, garbage is collected less often, but not as seldom as would be
	// quickest: what stays would lie scattered in a heap that never shrinks again.
	// Afterwards a small heap matters more than a little processor time, unless
	// busyAllocation bytes and more are allocated in a second.
	startingGCPercent, steadyGCPercent, busyGCPercent = 100, 20, 100
	busyAllocation                                    = 24 << 20
)

// Main runs a control plane until the parent ends it or itself ends, and returns
// the process's exit status. Its arguments only name the cluster for ps.
func Main(_ []string) int {
	signal.Ignore(syscall.SIGINT) // Ctrl-C reaches the whole process group; the parent decides
	debug.SetGCPercent(startingGCPercent)
	control, err := embedded.NewConn(os.NewFile(embedded.ControlFD, "control"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "a control plane is started by ekslocal, not by hand: %v\n", err)
		return 2
	}
	if err := run(control); err != nil {
		fmt.Fprintf(os.Stderr, "control plane: %v\n", err)
		_ = control.Send(embedded.Message{Kind: embedded.Failed, Error: err.Error()}, -1)
		return 1
	}
	return 0
}

// process is the state of the one control plane that this process is.
type process struct {
	control *embedded.Conn
	plan    embedded.Plan
	logs    *logs
	server  *apiServer

	stopControllers context.CancelFunc // nil while none run
	controllersDone chan error
}

func run(control *embedded.Conn) error {
	m, _, err := control.Receive()
	if err != nil {
		return fmt.Errorf("waiting for the plan: %w", err)
	}
	if m.Kind != embedded.Boot || m.Plan == nil {
		return fmt.Errorf("first message is %q instead of a plan", m.Kind)
	}
	p := &process{control: control, plan: *m.Plan}
	if p.logs, err = openLogs(p.plan.Dir); err != nil {
		return err
	}
	defer klog.Flush()
	rest.SetDefaultWarningHandler(rest.NoWarnings{})

	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	commands := make(chan command)
	go p.receive(commands)

	access, err := dialAccess()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if p.server, err = newAPIServer(ctx, p.plan, access); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- p.server.run(ctx) }()
	ready := make(chan error, 1)
	go func() { ready <- p.server.waitReady(ctx) }()

	for {
		select {
		case err := <-ready:
			if err != nil {
				return err
			}
			if err := control.Send(embedded.Message{Kind: embedded.Ready}, -1); err != nil {
				return err
			}
			ready = nil
			go tuneGC(ctx)
		case err := <-served:
			return errors.Join(errors.New("kube-apiserver ended"), err)
		case err := <-p.controllersDone:
			return errors.Join(errors.New("controllers ended"), err)
		case c := <-commands:
			done, err := p.obey(ctx, c, cancel, served)
			if done || err != nil {
				return err
			}
		case <-term:
			end(cancel, served, stopGrace)
			return nil
		}
	}
}

type command struct {
	embedded.Message
	file *os.File
}

// receive ends the process at the end of file: the parent, and with it etcd, is gone.
func (p *process) receive(to chan<- command) {
	for {
		m, f, err := p.control.Receive()
		if err != nil {
			klog.Flush()
			os.Exit(0)
		}
		to <- command{m, f}
	}
}

func (p *process) obey(ctx context.Context, c command, cancel func(), served <-chan error) (done bool, err error) {
	switch c.Kind {
	case embedded.Serve:
		l, err := net.FileListener(c.file)
		c.file.Close()
		if err != nil {
			return false, fmt.Errorf("public listener: %w", err)
		}
		p.server.listener.open(l)
		p.startControllers(ctx)
		return false, p.control.Send(embedded.Message{Kind: embedded.Serving}, -1)
	case embedded.StopControllers:
		p.haltControllers()
		return false, p.control.Send(embedded.Message{Kind: embedded.ControllersStopped}, -1)
	case embedded.Audit:
		p.server.audit.full.Store(c.Full)
		return false, nil
	case embedded.Drain:
		p.haltControllers()
		p.server.startDraining()
		if err := p.control.Send(embedded.Message{Kind: embedded.Draining}, -1); err != nil {
			return false, err
		}
		time.Sleep(drainNotice)
		end(cancel, served, drainGrace)
		return true, nil
	default:
		return false, fmt.Errorf("unknown command %q", c.Kind)
	}
}

func (p *process) startControllers(ctx context.Context) {
	ctx, p.stopControllers = context.WithCancel(ctx)
	p.controllersDone = make(chan error, 1)
	done := p.controllersDone
	go func() { done <- runControllers(ctx, p.plan, p.server, p.logs) }()
}

// tuneGC keeps the heap small while little goes on, and lets it grow under load: with
// thousands of pods, the steady percentage would have the collector take most of the
// processor.
func tuneGC(ctx context.Context) {
	total := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(total)
	was, quiet, busy := total[0].Value.Uint64(), time.Duration(0), true
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(total)
		now := total[0].Value.Uint64()
		quiet += time.Second
		if now-was > busyAllocation {
			quiet = 0
		}
		was = now
		switch {
		case quiet == 0 && !busy:
			busy = true
			debug.SetGCPercent(busyGCPercent)
		case quiet >= settleTime && busy:
			busy = false
			debug.SetGCPercent(steadyGCPercent)
			debug.FreeOSMemory()
		}
	}
}

func (p *process) haltControllers() {
	if p.stopControllers == nil {
		return
	}
	p.stopControllers()
	select {
	case <-p.controllersDone:
	case <-time.After(haltGrace):
		klog.Warning("controllers did not stop in time")
	}
	p.stopControllers, p.controllersDone = nil, nil
}

// end stops everything that runs in the context of cancel.
func end(cancel func(), served <-chan error, grace time.Duration) {
	cancel()
	select {
	case <-served:
	case <-time.After(grace):
		klog.Warning("kube-apiserver did not stop in time")
	}
}
