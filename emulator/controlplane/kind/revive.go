package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

const (
	// restartDelay is how long a control plane that ended stays so: the engine itself
	// starts it again once, and one that always ends must not keep the machine busy.
	restartDelay = 2 * time.Second
	// restartMost is the longest delay between two tries to start one again.
	restartMost = 30 * time.Second
	// revivePatience bounds one try.
	revivePatience = 2 * time.Minute
)

// care brings a control plane and its machines back. There is one goroutine at a time for
// it, however often it is asked for.
type care struct {
	mu    sync.Mutex
	given bool
	again chan struct{} // of one that is asked for meanwhile
}

// begin tells whether the caller is to do it. If not, whoever does it now looks again.
func (c *care) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.again == nil {
		c.again = make(chan struct{}, 1)
	}
	if !c.given {
		c.given = true
		return true
	}
	select {
	case c.again <- struct{}{}:
	default:
	}
	return false
}

// end tells whether that was all: it is done, and nobody has asked again, or it is over.
func (c *care) end(done, over bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := false
	select {
	case <-c.again:
		asked = true
	default:
	}
	c.given = !over && (!done || asked)
	return !c.given
}

// tend starts what should run and does not, the machines too, and tries again until it
// runs or ctx ends. It does not wait for that.
func (p *plane) tend(ctx context.Context) {
	if !p.care.begin() {
		return
	}
	p.b.background.Go(func() {
		for delay := restartDelay; ; {
			p.rest(ctx, delay)
			err := p.revive(ctx)
			over := ctx.Err() != nil || !p.isRunning()
			if err != nil && !over && !errors.Is(err, ErrNoEngine) { // which is said for all of them at once
				p.b.cfg.Log.Warn("a control plane is not looked after, and will be tried again", "id", p.id, "error", err)
			}
			if p.care.end(err == nil, over) {
				return
			}
			if delay = min(2*delay, restartMost); err == nil {
				delay = restartDelay
			}
		}
	})
}

// rest waits for d, or less if somebody asks for care; never for less than restartDelay.
func (p *plane) rest(ctx context.Context, d time.Duration) {
	p.b.pause(ctx, restartDelay)
	if d <= restartDelay {
		return
	}
	t := p.b.cfg.Clock.NewTimer(d - restartDelay)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-p.care.again:
	case <-t.C():
	}
}

// revive starts the node of a control plane that should run, and its machines.
func (p *plane) revive(ctx context.Context) error {
	if err := p.work.take(ctx); err != nil {
		return err
	}
	defer p.work.leave()
	if ctx.Err() != nil || !p.isRunning() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, revivePatience)
	defer cancel()
	c, err := p.b.engine.inspect(ctx, nodeName(p.id))
	switch {
	case err != nil:
		return err
	case c == nil:
		p.lost(ctx)
		return nil // or the next look sees that it does not run
	case !c.State.Running:
		p.b.cfg.Log.Warn("a control plane ended and is started again", "id", p.id)
		if _, err := p.b.engine.run(ctx, nil, "start", c.Name); err != nil {
			return fmt.Errorf("starting it again: %w", err)
		}
	}
	return p.reviveMachines(ctx)
}

// reviveMachines starts the machines again that should run and do not.
func (p *plane) reviveMachines(ctx context.Context) error {
	states, err := p.b.Machines(ctx, p.id)
	if err != nil {
		return err
	}
	should := p.runningGuests()
	var start []string
	for _, s := range states {
		if !s.Running && slices.Contains(should, s.InstanceID) {
			start = append(start, machineName(p.id, s.InstanceID))
		}
	}
	if len(start) == 0 {
		return nil
	}
	p.b.cfg.Log.Warn("machines ended with the engine and are started again", "id", p.id, "machines", strings.Join(start, " "))
	if _, err := p.b.engine.run(ctx, nil, append([]string{"start"}, start...)...); err != nil {
		return fmt.Errorf("starting its machines again: %w", err)
	}
	return nil
}

// together is how near to each other containers end that an engine stops which itself
// goes down: it signals all of them at once.
const together = 10 * time.Second

// stopped is told of a machine that should run and does not, and does not wait for what
// becomes of that.
func (p *plane) stopped(ctx context.Context, instanceID string) {
	g := p.guest(instanceID)
	if g == nil || !g.mourn() {
		return
	}
	p.b.background.Go(func() {
		defer g.mourned()
		p.ended(ctx, instanceID)
	})
}

// ended tells of a machine that ended by itself: somebody's `docker stop` is to EC2 what
// a shutdown inside the instance is. One that was told to is no news; nor are those that
// end together with their control plane, for then it is the engine that stops.
func (p *plane) ended(ctx context.Context, instanceID string) {
	p.b.pause(ctx, restartDelay)
	p.mu.Lock()
	engineStops := !p.running || p.b.cfg.Clock.Since(p.stirred) < together
	p.mu.Unlock()
	if engineStops {
		p.tend(ctx)
		return
	}
	log := p.b.cfg.Log.With("id", p.id, "instance", instanceID)
	// Whoever changes the machine next, because EC2 has been told, waits for this.
	err := p.b.withMachine(ctx, p.id, instanceID, true, func(ctx context.Context, p *plane, g *guest) error {
		if _, runs := g.seen(); !runs {
			return nil
		}
		c, err := p.b.engine.inspect(ctx, machineName(p.id, instanceID))
		if err != nil || c != nil && c.State.Running {
			return err // none: the engine has started it again
		}
		if err := p.b.cfg.Ended(ctx, p.id, instanceID); err != nil {
			return err
		}
		g.setRuns(false)
		log.Info("a machine ended by itself")
		return nil
	})
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, ErrNoEngine) || errors.Is(err, controlplane.ErrNotFound) || errors.Is(err, errLeaving):
	default: // the next look comes back to it
		log.Warn("a machine seems to have ended, and will be looked at again", "error", err)
	}
}

// mourn tells whether it is news that the machine ended, and nobody sees to it yet.
func (g *guest) mourn() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.runs || g.mourning {
		return false
	}
	g.mourning = true
	return true
}

func (g *guest) mourned() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mourning = false
}
