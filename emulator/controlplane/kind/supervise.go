package kind

import (
	"bufio"
	"context"
	osexec "os/exec"
	"strings"
	"time"
)

// restartDelay is how long a control plane that ended stays so: the engine itself
// starts it again once, and one that always ends must not keep the machine busy.
const restartDelay = 2 * time.Second

// supervise starts the control planes again that end without having been told to,
// until ctx does. It hears of them from the engine, and asks again when that went away.
func (b *Backend) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		b.follow(ctx)
		b.pause(ctx, restartDelay)
	}
}

// follow returns when the engine's events end.
func (b *Backend) follow(ctx context.Context) {
	cmd := osexec.CommandContext(ctx, "docker", "events", "--filter", "type=container", "--filter", "event=die",
		"--filter", "label="+labelRole+"=control-plane", "--format", "{{.Actor.Attributes.name}}")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return
	}
	if err := cmd.Start(); err != nil {
		return
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if p := b.named(strings.TrimSpace(lines.Text())); p != nil {
			go p.revive(ctx)
		}
	}
	_ = cmd.Wait() // its error is that it ended
}

// named is the control plane whose node has the name, nil if it should not run.
func (b *Backend) named(node string) *plane {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, p := range b.planes {
		if nodeName(id) == node && p.isRunning() {
			return p
		}
	}
	return nil
}

func (p *plane) isRunning() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// revive starts the node of a control plane that should run.
func (p *plane) revive(ctx context.Context) {
	p.b.pause(ctx, restartDelay)
	p.work.Lock()
	defer p.work.Unlock()
	if ctx.Err() != nil || !p.isRunning() {
		return
	}
	log := p.b.cfg.Log.With("id", p.id)
	c, err := p.b.engine.inspect(ctx, nodeName(p.id))
	switch {
	case err != nil:
		log.Warn("a control plane ended", "error", err)
	case c == nil:
		log.Error("somebody removed the container of a control plane, and its data with it")
	case !c.State.Running:
		log.Warn("a control plane ended and is started again")
		if err := p.startNodes(ctx); err != nil {
			log.Error("a control plane does not start again", "error", err)
		}
	}
}

func (b *Backend) pause(ctx context.Context, d time.Duration) {
	t := b.cfg.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C():
	}
}
