package kind

import (
	"bufio"
	"context"
	"encoding/json"
	osexec "os/exec"
	"strings"
	"time"
)

// restartDelay is how long a control plane that ended stays so: the engine itself
// starts it again once, and one that always ends must not keep the machine busy.
const restartDelay = 2 * time.Second

// supervise starts the control planes again that end without having been told to, and
// tells of machines that do, until ctx ends. It hears of them from the engine, and looks
// for itself when that went away: an engine that restarts starts no container that was
// told to stop.
func (b *Backend) supervise(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		b.follow(ctx, func() {
			if !first {
				b.reviveAll(ctx)
			}
		})
		b.pause(ctx, restartDelay)
	}
}

// event is what the engine says of a container.
type event struct {
	Action string
	Actor  struct{ Attributes map[string]string }
}

// follow returns when the engine's events end. begun is called when they have begun.
func (b *Backend) follow(ctx context.Context, begun func()) {
	cmd := osexec.CommandContext(ctx, "docker", "events", "--filter", "type=container", "--filter", "event=die", "--filter", "event=kill",
		"--filter", "label="+labelRole, "--format", "{{json .}}")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return
	}
	if err := cmd.Start(); err != nil {
		return
	}
	go begun()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			b.heard(ctx, e)
		}
	}
	_ = cmd.Wait() // its error is that it ended
}

func (b *Backend) heard(ctx context.Context, e event) {
	a := e.Actor.Attributes
	p := b.named(a[labelCluster])
	if p == nil {
		return
	}
	instance, die := a[labelInstance], e.Action == "die"
	switch {
	case instance == "" && a["name"] == nodeName(p.id):
		p.note(b.cfg.Clock.Now())
		if die {
			go p.revive(ctx)
		}
	case instance != "" && die:
		go p.ended(ctx, instance)
	}
}

// named is the control plane of a kind cluster, nil if it should not run.
func (b *Backend) named(cluster string) *plane {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, p := range b.planes {
		if clusterName(id) == cluster && p.isRunning() {
			return p
		}
	}
	return nil
}

func (b *Backend) reviveAll(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.planes {
		if p.isRunning() {
			go p.revive(ctx)
		}
	}
}

func (p *plane) isRunning() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// note remembers when the control plane's container was last told to stop, or ended.
func (p *plane) note(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stirred = at
}

// together is how near to each other containers end that an engine stops which itself
// goes down: it signals all of them at once.
const together = 10 * time.Second

// ended tells of a machine that ended by itself: somebody's `docker stop` is to EC2 what
// a shutdown inside the instance is. One that was told to is no news; nor are those that
// end together with their control plane, for then it is the engine that stops.
func (p *plane) ended(ctx context.Context, instanceID string) {
	g := p.guest(instanceID)
	if g == nil {
		return
	}
	if _, runs := g.seen(); !runs {
		return
	}
	p.b.pause(ctx, restartDelay)
	p.mu.Lock()
	engineStops := !p.running || p.b.cfg.Clock.Since(p.stirred) < together
	p.mu.Unlock()
	if _, runs := g.seen(); !runs || ctx.Err() != nil {
		return
	}
	if engineStops {
		p.revive(ctx)
		return
	}
	c, err := p.b.engine.inspect(ctx, machineName(p.id, instanceID))
	if err != nil || c != nil && c.State.Running {
		return // the engine is gone: when it is back all is looked at; or it has started the machine again
	}
	g.setRuns(false)
	p.b.cfg.Log.Info("a machine ended by itself", "id", p.id, "instance", instanceID)
	p.b.cfg.Ended(ctx, p.id, instanceID)
}

// revive starts the node of a control plane that should run, and its machines.
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
		return
	case c == nil:
		p.lost(ctx)
		return
	case !c.State.Running:
		log.Warn("a control plane ended and is started again")
		if _, err := p.b.engine.run(ctx, nil, "start", c.Name); err != nil {
			log.Error("a control plane does not start again", "error", err)
			return
		}
	}
	p.reviveMachines(ctx)
}

// reviveMachines starts the machines again that should run and do not.
func (p *plane) reviveMachines(ctx context.Context) {
	log := p.b.cfg.Log.With("id", p.id)
	states, err := p.b.Machines(ctx, p.id)
	if err != nil {
		log.Warn("machines are not looked at", "error", err)
		return
	}
	should := map[string]bool{}
	for _, id := range p.runningGuests() {
		should[id] = true
	}
	var start []string
	for _, s := range states {
		if should[s.InstanceID] && !s.Running {
			start = append(start, machineName(p.id, s.InstanceID))
		}
	}
	if len(start) == 0 {
		return
	}
	log.Warn("machines ended with the engine and are started again", "machines", strings.Join(start, " "))
	if _, err := p.b.engine.run(ctx, nil, append([]string{"start"}, start...)...); err != nil {
		log.Error("machines do not start again", "error", err)
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
