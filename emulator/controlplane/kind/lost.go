package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// certainlyGone is nil if the engine has no container of the control plane. That is asked
// in another way than by its name: on the answer a healthy cluster would be removed. And
// only the engine that had it can say so: the user may have another one chosen since, by
// Docker's context or DOCKER_HOST.
func (p *plane) certainlyGone(ctx context.Context) error {
	r, err := p.load()
	if err != nil {
		return err
	}
	id, err := p.b.engine.id(ctx)
	if err != nil {
		return err
	}
	if r.Engine != "" && id != r.Engine {
		return errors.New("the Docker engine is another one than the cluster was made on: go back to that (`docker context`, DOCKER_HOST), or delete the cluster")
	}
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
