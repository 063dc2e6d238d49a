package kind

import (
	"context"
	"fmt"
	"slices"
)

// certainlyGone is nil if the engine has no container of the control plane. That is asked
// in another way than by its name: on the answer a healthy cluster would be removed.
func (p *plane) certainlyGone(ctx context.Context) error {
	names, err := p.b.engine.nodes(ctx, clusterName(p.id))
	if err != nil {
		return err
	}
	if slices.Contains(names, nodeName(p.id)) {
		return fmt.Errorf("the engine lists the container %s and does not find it", nodeName(p.id))
	}
	return nil
}

// lost notes that somebody removed the container of a control plane that should run, and
// its data with it. Whoever has p.work calls it, after the engine answered that there is
// none; Create makes another.
func (p *plane) lost(ctx context.Context) error {
	if err := p.certainlyGone(ctx); err != nil {
		return err
	}
	p.b.cfg.Log.Error("somebody removed the container of a control plane, and its data with it", "id", p.id)
	p.mu.Lock()
	p.running = false
	p.mu.Unlock()
	p.b.cfg.Lost(ctx, p.id)
	return nil
}
