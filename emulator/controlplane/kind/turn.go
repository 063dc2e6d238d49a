package kind

import (
	"context"
	"fmt"
	"time"
)

// turn is a lock that is held over calls to the engine, which may take long: who waits
// for it may be told to stop.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take returns ctx's error if that ends first.
func (t turn) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) leave() { <-t }

// settled waits until kind's library has done what nobody waits for any more, and what it
// made of it is gone.
func (p *plane) settled(ctx context.Context) error {
	if err := p.making.take(ctx); err != nil {
		return fmt.Errorf("kind is at work on it: %w", err)
	}
	p.making.leave()
	return nil
}

// unattended runs what takes no context, which with the image there is a matter of
// seconds. Who does not wait for its end leaves nothing of what it makes after that.
func (p *plane) unattended(ctx context.Context, create func() error) error {
	if err := p.making.take(ctx); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- create() }()
	select {
	case err := <-done:
		p.making.leave()
		return err
	case <-ctx.Done():
	}
	go func() {
		defer p.making.leave()
		<-done
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		names, err := p.b.engine.nodes(after, clusterName(p.id))
		if err == nil {
			err = p.b.engine.removeContainers(after, names)
		}
		if err != nil && !absent(err) {
			p.b.cfg.Log.Warn("what is left of a control plane is not removed", "id", p.id, "error", err)
		}
	}()
	return ctx.Err()
}
