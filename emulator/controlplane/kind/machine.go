package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// labelInstance is the instance whose machine a container is.
const labelInstance = "ekslocal.dev/instance"

// kind's values of labelRole.
const (
	roleControlPlane = "control-plane"
	roleWorker       = "worker"
)

// machineName is the container of an instance's machine.
func machineName(id, instanceID string) string { return clusterName(id) + "-" + instanceID }

// guest is a machine of a control plane, as this process knows it.
type guest struct {
	// work is held by whoever changes the machine.
	work turn
	left bool // nothing is left of it; belongs to whoever has work

	mu sync.Mutex
	// runs: it has joined, and was not told to end since. One that ends all the same has
	// ended by itself.
	runs bool
	// mourning: somebody finds out whether it has ended by itself.
	mourning bool
	m        controlplane.Machine
}

// machineRecord is what is remembered of a machine across restarts of the emulator.
// There is one before there is a container.
type machineRecord struct {
	// Joined: kubeadm has come to its end. A container without it is of a join that was
	// killed.
	Joined bool
	// Network is the VPC's, by its name in the engine.
	Network string
	// Authority is the sum of the authorities that the machine trusts.
	Authority string
}

var instanceForm = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)

func (p *plane) machinesDir() string { return filepath.Join(p.b.dir(p.id), "machines") }

func (p *plane) machineFile(instanceID string) string {
	return filepath.Join(p.machinesDir(), instanceID+".json")
}

// loadMachine returns ok=false for a machine that nobody has begun to make.
func (p *plane) loadMachine(instanceID string) (r machineRecord, ok bool, err error) {
	raw, err := os.ReadFile(p.machineFile(instanceID))
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		return r, false, fmt.Errorf("record of the machine: %w", err)
	}
	return r, true, nil
}

func (p *plane) saveMachine(instanceID string, r machineRecord) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.machinesDir(), 0o700); err != nil {
		return err
	}
	file := p.machineFile(instanceID)
	if err := os.WriteFile(file+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Join implements controlplane.Hoster.
func (b *Backend) Join(ctx context.Context, id string, m controlplane.Machine) error {
	if err := validMachine(m); err != nil {
		return err
	}
	return b.withMachine(ctx, id, m.InstanceID, true, func(ctx context.Context, p *plane, g *guest) error { return p.join(ctx, g, m) })
}

// Halt implements controlplane.Hoster.
func (b *Backend) Halt(ctx context.Context, id, instanceID string) error {
	return b.withMachine(ctx, id, instanceID, false, func(ctx context.Context, p *plane, g *guest) error {
		g.setRuns(false)
		c, err := b.engine.inspect(ctx, machineName(p.id, instanceID))
		if err != nil || c == nil || !c.State.Running {
			return err
		}
		return b.engine.end(ctx, []string{c.Name}, "stop", "-t", "10")
	})
}

// Leave implements controlplane.Hoster.
func (b *Backend) Leave(ctx context.Context, id, instanceID string) error {
	return b.withMachine(ctx, id, instanceID, false, func(ctx context.Context, p *plane, g *guest) error {
		g.setRuns(false)
		if g.left {
			return nil
		}
		r, _, err := p.loadMachine(instanceID)
		if err != nil {
			b.cfg.Log.Warn("a machine's record cannot be read, and is removed", "instance", instanceID, "error", err)
		}
		if err := b.engine.removeContainers(ctx, []string{machineName(p.id, instanceID)}); err != nil && !absent(err) {
			return err
		}
		if r.Network != "" {
			if err := b.release(ctx, r.Network); err != nil {
				return fmt.Errorf("removing network %s: %w", r.Network, err)
			}
		}
		if err := os.Remove(p.machineFile(instanceID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		g.left = true
		return nil
	})
}

// Machines implements controlplane.Hoster.
func (b *Backend) Machines(ctx context.Context, id string) ([]controlplane.MachineState, error) {
	out, err := b.engine.run(ctx, nil, "ps", "-a", "--filter", "label="+labelCluster+"="+clusterName(id), "--filter", "label="+labelInstance,
		"--format", `{{.Label "`+labelInstance+`"}} {{.State}}`)
	if err != nil {
		return nil, fmt.Errorf("machines of control plane %s: %w", id, err)
	}
	var list []controlplane.MachineState
	for line := range strings.Lines(out) {
		instance, state, _ := strings.Cut(strings.TrimSpace(line), " ")
		list = append(list, controlplane.MachineState{InstanceID: instance, Running: state == "running"})
	}
	return list, nil
}

func validMachine(m controlplane.Machine) error {
	switch {
	case !instanceForm.MatchString(m.InstanceID):
		return fmt.Errorf("machine: %q is not an instance's id", m.InstanceID)
	case m.NodeName == "" || m.ProviderID == "" || m.VPC.ID == "":
		return fmt.Errorf("machine of instance %s: the node's name, its provider id and its VPC are required", m.InstanceID)
	case !m.PrivateIP.Is4():
		return fmt.Errorf("machine of instance %s: %w: the kind backend has no nodes with IPv6 addresses yet", m.InstanceID, controlplane.ErrHopeless)
	}
	return nil
}

// joinPatience bounds one try to join, which takes some seconds when the machine has
// nothing else to do.
const joinPatience = 3 * time.Minute

// withMachine has the machine to itself while f runs. running asks for a control plane
// that runs; without, one that is not there has no machines, and nothing is to be done.
func (b *Backend) withMachine(ctx context.Context, id, instanceID string, running bool, f func(ctx context.Context, p *plane, g *guest) error) error {
	p := b.lookup(id)
	if p == nil || running && !p.isRunning() {
		if !running {
			return nil
		}
		return fmt.Errorf("machine of instance %s: %w: %s", instanceID, controlplane.ErrNotFound, id)
	}
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	ctx, limit := context.WithTimeout(ctx, joinPatience)
	defer limit()
	g, leave, err := p.enter(ctx, instanceID)
	if err != nil {
		return fmt.Errorf("machine of instance %s: %w", instanceID, err)
	}
	defer leave()
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(p.guests.life, end)()
	if err := f(ctx, p, g); err != nil {
		return fmt.Errorf("machine of instance %s: %w", instanceID, err)
	}
	return nil
}

// guests are a control plane's machines.
type guests struct {
	life context.Context // ends with evict
	end  context.CancelFunc
	wg   sync.WaitGroup // who works on one

	mu     sync.Mutex
	closed bool
	// of has them by instance, those that have left too: somebody may wait for one.
	of map[string]*guest
}

func newGuests() *guests {
	g := &guests{of: map[string]*guest{}}
	g.life, g.end = context.WithCancel(context.Background())
	return g
}

var errLeaving = errors.New("the control plane is going away")

// enter waits for the machine, which is the caller's until leave.
func (p *plane) enter(ctx context.Context, instanceID string) (g *guest, leave func(), err error) {
	all := p.guests
	all.mu.Lock()
	if all.closed {
		all.mu.Unlock()
		return nil, nil, errLeaving
	}
	if g = all.of[instanceID]; g == nil {
		g = &guest{work: newTurn()}
		all.of[instanceID] = g
	}
	all.wg.Add(1)
	all.mu.Unlock()
	select {
	case g.work <- struct{}{}:
		return g, func() { g.work.leave(); all.wg.Done() }, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-all.life.Done():
		err = errLeaving
	}
	all.wg.Done()
	return nil, nil, err
}

// evict ends all work on machines and lets nobody begin any.
func (p *plane) evict() {
	p.guests.mu.Lock()
	p.guests.closed = true
	p.guests.mu.Unlock()
	p.guests.end()
	p.guests.wg.Wait()
}

// readmit lets machines be worked on again that a removal which failed has ended the work
// on. What was known of them is looked at anew. Whoever has p.work calls it.
func (p *plane) readmit() {
	p.guests.mu.Lock()
	defer p.guests.mu.Unlock()
	if p.guests.closed {
		p.guests.closed, p.guests.of = false, map[string]*guest{}
		p.guests.life, p.guests.end = context.WithCancel(context.Background())
	}
}

// runningGuests are the machines that should run.
func (p *plane) runningGuests() []string {
	p.guests.mu.Lock()
	defer p.guests.mu.Unlock()
	var out []string
	for id, g := range p.guests.of {
		if _, runs := g.seen(); runs {
			out = append(out, id)
		}
	}
	return out
}

func (p *plane) guest(instanceID string) *guest {
	p.guests.mu.Lock()
	defer p.guests.mu.Unlock()
	return p.guests.of[instanceID]
}

func (g *guest) seen() (controlplane.Machine, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.m, g.runs
}

func (g *guest) setRuns(runs bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runs = runs
}

func (g *guest) joined(m controlplane.Machine) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runs, g.m = true, m
}

// forgetMachines removes the records of machines whose containers are gone, and the
// networks that were theirs.
func (p *plane) forgetMachines(ctx context.Context) error {
	entries, err := os.ReadDir(p.machinesDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	networks := map[string]bool{}
	for _, e := range entries {
		r, ok, err := p.loadMachine(strings.TrimSuffix(e.Name(), ".json"))
		if err == nil && ok && r.Network != "" {
			networks[r.Network] = true
		}
	}
	for name := range networks {
		if err := p.b.release(ctx, name); err != nil {
			return fmt.Errorf("removing network %s: %w", name, err)
		}
	}
	p.guests.mu.Lock()
	for _, g := range p.guests.of {
		g.setRuns(false)
	}
	p.guests.mu.Unlock()
	return os.RemoveAll(p.machinesDir())
}
