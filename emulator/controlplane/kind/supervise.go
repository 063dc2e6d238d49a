package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	osexec "os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often what should run is compared with what the engine has, for what
// its events have not told.
const lookEvery = 30 * time.Second

// supervisor has the control planes started again that end without having been told to,
// and tells of machines that do. It hears of them from the engine, and looks for itself
// when that went away: an engine that restarts starts no container that was told to stop.
type supervisor struct {
	b    *Backend
	wake chan struct{}
	// away: the engine's events have ended, or it did not answer, since the last look. What
	// does not run then has ended with it.
	away   atomic.Bool
	silent bool // it was said that the engine does not answer; belongs to watch
}

// supervise ends with ctx.
func (b *Backend) supervise(ctx context.Context) {
	s := &supervisor{b: b, wake: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { s.listen(ctx) })
	wg.Go(func() { s.watch(ctx) })
	wg.Wait()
}

// listen follows the engine's events. That they have begun the engine does not say: a
// look tells whether it answers.
func (s *supervisor) listen(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		err := s.b.follow(ctx, func() {
			if first {
				return
			}
			select {
			case s.wake <- struct{}{}:
			default: // it is about to look
			}
		})
		s.away.Store(true)
		s.b.cfg.Log.Debug("the engine's events have ended", "error", err)
		s.b.pause(ctx, restartDelay)
	}
}

func (s *supervisor) watch(ctx context.Context) {
	tick := s.b.cfg.Clock.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C():
		case <-s.wake:
		}
		s.look(ctx)
	}
}

// look sees to what should run and does not.
func (s *supervisor) look(ctx context.Context) {
	back := s.away.Swap(false)
	running, err := s.b.engine.runningNodes(ctx)
	if err != nil {
		s.away.Store(true)
		if !s.silent && ctx.Err() == nil {
			s.b.cfg.Log.Warn("control planes and machines are not looked after", "error", err)
			s.silent = true
		}
		return
	}
	if s.silent {
		s.b.cfg.Log.Info("control planes and machines are looked after again")
		s.silent = false
	}
	for _, p := range s.b.supervised() {
		here := running[clusterName(p.id)]
		if back || !here[""] {
			p.tend(ctx)
			continue
		}
		for _, instance := range p.runningGuests() {
			if !here[instance] {
				p.stopped(ctx, instance)
			}
		}
	}
}

// runningNodes are those of all clusters that run, by kind cluster and instance, "" being
// the control plane's.
func (e engine) runningNodes(ctx context.Context) (map[string]map[string]bool, error) {
	out, err := e.run(ctx, nil, "ps", "--filter", "label="+labelRole, "--format", `{{.Label "`+labelCluster+`"}} {{.Label "`+labelInstance+`"}}`)
	if err != nil {
		return nil, fmt.Errorf("nodes that run: %w", err)
	}
	all := map[string]map[string]bool{}
	for line := range strings.Lines(out) {
		cluster, instance, _ := strings.Cut(strings.TrimSpace(line), " ")
		if all[cluster] == nil {
			all[cluster] = map[string]bool{}
		}
		all[cluster][instance] = true
	}
	return all, nil
}

// event is what the engine says of a container.
type event struct {
	Action string
	Actor  struct{ Attributes map[string]string }
}

// follow returns when the engine's events end. started is called when they are asked for.
func (b *Backend) follow(ctx context.Context, started func()) error {
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	cmd := osexec.CommandContext(ctx, "docker", "events", "--filter", "type=container", "--filter", "event=die", "--filter", "event=kill",
		"--filter", "label="+labelRole, "--format", "{{json .}}")
	var complaint bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &complaint, waitDelay
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	started()
	err = b.hear(ctx, out)
	kill()                                                                             // it may still write what nobody reads
	return fmt.Errorf("%w, %v: %s", err, cmd.Wait(), lastLines(complaint.String(), 1)) //nolint:errorlint // for the log
}

// hear reads events until they end, or are none.
func (b *Backend) hear(ctx context.Context, in io.Reader) error {
	for events := json.NewDecoder(in); ; {
		var e event
		err := events.Decode(&e)
		var other *json.UnmarshalTypeError
		switch {
		case err == nil:
			b.heard(ctx, e)
		case !errors.As(err, &other): // one of another form is left out
			return err
		}
	}
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
			p.tend(ctx)
		}
	case instance != "" && die:
		p.stopped(ctx, instance)
	}
}

// named is the control plane of a kind cluster, nil if it should not run.
func (b *Backend) named(cluster string) *plane {
	for _, p := range b.supervised() {
		if clusterName(p.id) == cluster {
			return p
		}
	}
	return nil
}

// supervised are the control planes that should run.
func (b *Backend) supervised() []*plane {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*plane
	for _, p := range b.planes {
		if p.isRunning() {
			out = append(out, p)
		}
	}
	return out
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

func (b *Backend) pause(ctx context.Context, d time.Duration) {
	t := b.cfg.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C():
	}
}
