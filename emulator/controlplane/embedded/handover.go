package embedded

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// upgrade starts a child of the new version, or with the new PKI, beside the running
// one, lets it take the connections and the controllers over, and drains the old one.
//
// Of another PKI kube-apiserver would take most from its files while it runs, but
// kube-controller-manager reads what it publishes as kube-root-ca.crt only once.
func (p *plane) upgrade(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	if err := p.take(ctx); err != nil {
		return controlplane.Info{}, err
	}
	defer p.give()
	p.mu.Lock()
	old, was, socket := p.proc, p.spec, p.socket
	p.mu.Unlock()
	if socket == nil {
		return controlplane.Info{}, controlplane.ErrNotFound
	}
	if older(spec.Version, was.Version) && !spec.Rollback {
		return controlplane.Info{}, fmt.Errorf("control plane runs %s already", was.Version)
	}
	same := spec.PKI.Equal(was.PKI)
	if spec.Version == was.Version && same && old != nil && old.alive() {
		return p.info()
	}
	var admin *rest.Config
	if !same {
		var err error
		if admin, err = p.administrator(spec); err != nil {
			return controlplane.Info{}, err
		}
	}
	ctx, cancel := p.b.bounded(ctx)
	defer cancel()
	next, err := p.b.spawn(spec)
	if err != nil {
		return controlplane.Info{}, err
	}
	if err := p.handOver(ctx, old, next, socket); err != nil {
		next.stop()
		return controlplane.Info{}, err
	}
	p.adopt(spec, socket, next)
	if admin != nil {
		p.setAdmin(admin)
	}
	if old != nil {
		p.mu.Lock()
		p.leaving = append(p.leaving, old)
		p.mu.Unlock()
		old.retire(ctx)
		p.b.wg.Go(func() { p.drain(old) })
	}
	return p.info()
}

// handOver leaves old serving if next fails before old's controllers were stopped;
// after that it ends old, and the supervisor makes a new one of the old version.
func (p *plane) handOver(ctx context.Context, old, next *proc, socket *listenSocket) error {
	if err := next.await(ctx, next.ready, "ready"); err != nil {
		return err
	}
	if old != nil && old.alive() {
		if err := old.control.Send(Message{Kind: StopControllers}, -1); err != nil {
			p.b.cfg.Log.Warn("old control plane", "cluster", p.id, "error", err)
		}
		select {
		case <-old.controllersStopped:
		case <-old.exited:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := next.control.Send(Message{Kind: Serve}, socket.fd); err != nil {
		return next.failure(err)
	}
	err := next.await(ctx, next.serving, "serving")
	if err != nil && old != nil {
		old.stop()
	}
	return err
}

// retire lets a child take no more connections: until it has said so some of the shared
// socket's are its own, and whoever was told of an upgrade would meet the version before.
// One that does not say so in time is left to drain.
func (p *proc) retire(ctx context.Context) {
	const patience = 2 * time.Second
	if err := p.control.Send(Message{Kind: Drain}, -1); err != nil {
		p.stop()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-p.draining:
	case <-p.exited:
	case <-ctx.Done():
	}
}

// drain waits for the gentle end of old.
func (p *plane) drain(old *proc) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.leaving = slices.DeleteFunc(p.leaving, func(o *proc) bool { return o == old })
	}()
	const patience = 40 * time.Second // more than the child gives itself
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-old.exited:
	case <-t.C:
		old.stop()
	case <-p.b.life.Done():
		old.stop()
	}
}
