package embedded

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// Restarts of a child that crashes wait for restartFirst, doubled up to
// restartMost; a child that ran for restartForget is forgiven.
const restartFirst, restartMost, restartForget = 200 * time.Millisecond, 30 * time.Second, time.Minute

// plane is one control plane: its listening socket and the child that serves it
// at present.
type plane struct {
	b  *Backend
	id string
	// turn is held by whoever starts, replaces or stops the child: one at a time.
	turn chan struct{}

	mu      sync.Mutex // guards what follows; short
	spec    controlplane.Spec
	socket  *listenSocket // nil: not created, or a spare
	proc    *proc         // nil: none, or being restarted
	leaving []*proc       // of older versions, draining
	admin   *rest.Config
	full    bool // the full audit log is wanted
	removed bool // ended for good: not to be restarted, and no longer the backend's
}

// errRemoved answers whoever waited for the turn of a plane that was removed
// meanwhile; the backend then has another, or none.
var errRemoved = errors.New("control plane was removed")

func newPlane(b *Backend, id string) *plane {
	p := &plane{b: b, id: id, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

func (p *plane) take(ctx context.Context) error {
	select {
	case <-p.turn:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.removed {
			p.give()
			return errRemoved
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *plane) give() { p.turn <- struct{}{} }

// exists tells whether the control plane was created and not deleted.
func (p *plane) exists() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.socket != nil && !p.removed
}

// create starts the control plane unless it runs. It takes over warm, a child that
// was started ahead from the same spec, if that is not nil.
func (p *plane) create(ctx context.Context, spec controlplane.Spec, warm *proc) (controlplane.Info, error) {
	if err := p.take(ctx); err != nil {
		return controlplane.Info{}, err
	}
	defer p.give()
	if pr := p.current(); pr != nil && pr.alive() {
		return p.info()
	}
	ctx, cancel := p.b.bounded(ctx)
	defer cancel()
	socket := p.publicSocket()
	made := socket == nil
	if made {
		var err error
		if socket, err = listen(ctx, p.b.cfg.Clock, p.b.cfg.ListenHost, spec.Port); err != nil {
			return controlplane.Info{}, err
		}
	}
	admin, err := p.administrator(spec)
	if err == nil {
		p.setAdmin(admin)
		err = p.start(ctx, spec, socket, warm)
	}
	if err != nil {
		if made {
			socket.close()
			p.markRemoved()
		}
		return controlplane.Info{}, err
	}
	return p.info()
}

// start brings up a child on the socket and makes it the current one.
func (p *plane) start(ctx context.Context, spec controlplane.Spec, socket *listenSocket, warm *proc) error {
	pr := warm
	if pr == nil {
		var err error
		if pr, err = p.b.spawn(spec); err != nil {
			return err
		}
	}
	if err := p.bringUp(ctx, pr, socket); err != nil {
		pr.stop()
		return err
	}
	p.adopt(spec, socket, pr)
	return nil
}

func (p *plane) bringUp(ctx context.Context, pr *proc, socket *listenSocket) error {
	if err := pr.await(ctx, pr.ready, "ready"); err != nil {
		return err
	}
	if err := pr.control.Send(Message{Kind: Serve}, socket.fd); err != nil {
		return pr.failure(err)
	}
	return pr.await(ctx, pr.serving, "serving")
}

// adopt makes pr the child that is supervised.
func (p *plane) adopt(spec controlplane.Spec, socket *listenSocket, pr *proc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pr.since = p.b.cfg.Clock.Now()
	p.spec, p.socket, p.proc = spec, socket, pr
	if p.full {
		p.tellAudit(pr)
	}
	p.b.wg.Go(func() { p.supervise(pr) })
}

// setAudit tells the child that runs, and those to come, which audit log is wanted.
func (p *plane) setAudit(full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full == full {
		return
	}
	p.full = full
	for _, pr := range append(slices.Clone(p.leaving), p.proc) {
		if pr != nil && pr.alive() {
			p.tellAudit(pr)
		}
	}
}

// tellAudit does not mind a child that ends: the next one is told too.
func (p *plane) tellAudit(pr *proc) {
	if err := pr.control.Send(Message{Kind: Audit, Full: p.full}, -1); err != nil {
		p.b.cfg.Log.Debug("control plane's audit log", "cluster", p.id, "error", err)
	}
}

// supervise restarts pr when it ends without having been told to.
func (p *plane) supervise(pr *proc) {
	log := p.b.cfg.Log.With("cluster", p.id)
	<-pr.exited
	p.mu.Lock()
	wanted, name := p.proc == pr && !p.removed, p.spec.Name
	if wanted {
		p.proc = nil
	}
	p.mu.Unlock()
	if !wanted {
		return
	}
	clk := p.b.cfg.Clock
	wait := restartFirst
	log.Error("control plane crashed, restarting", "name", name, "ran", clk.Since(pr.since), "error", pr.failure(pr.exit))
	for {
		select {
		case <-clk.After(wait):
		case <-p.b.life.Done():
			return
		}
		done, err := p.restart()
		if done {
			return
		}
		wait = min(2*wait, restartMost)
		log.Error("control plane did not come back", "error", err, "retry", wait)
	}
}

// restart is done when the control plane runs or is not wanted any more.
func (p *plane) restart() (done bool, err error) {
	ctx, cancel := context.WithTimeout(p.b.life, startPatience)
	defer cancel()
	if err := p.take(ctx); err != nil {
		return p.b.life.Err() != nil || errors.Is(err, errRemoved), err
	}
	defer p.give()
	p.mu.Lock()
	spec, socket, idle := p.spec, p.socket, p.proc == nil && !p.removed
	p.mu.Unlock()
	if !idle {
		return true, nil
	}
	if err := p.start(ctx, spec, socket, nil); err != nil {
		return p.b.life.Err() != nil, err
	}
	return true, nil
}

// stop ends the child and keeps the data.
func (p *plane) stop() {
	<-p.turn
	defer p.give()
	defer p.b.forget(p)
	p.halt()
}

func (p *plane) halt() {
	p.mu.Lock()
	pr, socket, leaving := p.proc, p.socket, slices.Clone(p.leaving)
	p.removed, p.proc, p.socket = true, nil, nil
	p.mu.Unlock()
	// Those that drain too: they would go on writing after the data is deleted.
	for _, old := range leaving {
		old.stop()
	}
	if pr != nil {
		pr.stop()
	}
	if socket != nil {
		socket.close()
	}
}

func (p *plane) markRemoved() {
	p.mu.Lock()
	p.removed = true
	p.mu.Unlock()
	p.b.forget(p)
}

// remove ends the child and deletes the data.
func (p *plane) remove(ctx context.Context) error {
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.give()
	// Not before the data is gone: the next plane of that id would write in between.
	defer p.b.forget(p)
	p.halt() // also when ctx ends: half stopped is not a state
	return p.b.deleteData(ctx, p.id)
}

func (p *plane) current() *proc {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proc
}

func (p *plane) publicSocket() *listenSocket {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.socket
}

// administrator makes the administrator's client configuration.
func (p *plane) administrator(spec controlplane.Spec) (*rest.Config, error) {
	ca, err := parseAuthority(spec.PKI.CACert, spec.PKI.CAKey, p.b.cfg.Clock.Now())
	if err != nil {
		return nil, err
	}
	crt, key, err := ca.issue(pkix.Name{CommonName: "eks:cluster-bootstrap", Organization: []string{"system:masters"}})
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            "https://" + net.JoinHostPort(dialHost(p.b.cfg.ListenHost), strconv.Itoa(spec.Port)),
		QPS:             -1, // the API server has priority and fairness
		TLSClientConfig: rest.TLSClientConfig{CAData: spec.PKI.Bundle(), CertData: crt, KeyData: key, ServerName: "localhost"},
	}, nil
}

func (p *plane) setAdmin(cfg *rest.Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.admin = cfg
}

// dialHost is where a listener on host answers on this machine.
func dialHost(host string) string {
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil || !a.IsUnspecified():
		return host
	case a.Is4():
		return "127.0.0.1"
	default:
		return "::1"
	}
}

func (p *plane) info() (controlplane.Info, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.socket == nil || p.removed {
		return controlplane.Info{}, fmt.Errorf("%w: %s", controlplane.ErrNotFound, p.id)
	}
	git, err := gitVersion(p.spec.Version)
	info := controlplane.Info{GitVersion: git, Admin: rest.CopyConfig(p.admin)}
	if p.proc != nil && p.proc.alive() {
		info.PID, info.StartedAt = p.proc.cmd.Process.Pid, p.proc.since
		info.RSS = residentMemory(info.PID)
	}
	return info, errors.Join(err)
}
