package ipamd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// node is one instance's daemon. mu guards what follows it and is never held while
// EC2 is asked: that is done by one goroutine at a time, while change is set.
type node struct {
	id string

	mu      sync.Mutex
	machine *warmpool.Node
	config  NodeConfig
	active  bool // has been asked to do something
	// change is closed when pods that wait may find an address, or that there will
	// be none; nil while nothing goes on.
	change chan struct{}

	// What is known of the instance since it was last looked at.
	scope   awsid.Scope // zero before
	cluster string      // of the instance's tags
	subnet  string      // of the primary interface
	groups  []string
	marks   map[string]mark // of interfaces, by id
}

func newNode(id string) *node {
	n := &node{id: id, config: NodeConfig{Settings: warmpool.Defaults()}, marks: map[string]mark{}}
	n.machine = warmpool.New(n.machineConfig())
	return n
}

func (n *node) machineConfig() warmpool.Config {
	return warmpool.Config{Settings: n.config.Settings, MaxPods: n.config.MaxPods, Unschedulable: n.config.Unschedulable}
}

func (n *node) configure(now time.Time) { n.machine.Configure(n.machineConfig(), now) }

// locate returns where the instance lives, which does not change.
func (p *Pools) locate(n *node) (awsid.Scope, bool) {
	n.mu.Lock()
	scope := n.scope
	n.mu.Unlock()
	if scope != (awsid.Scope{}) {
		return scope, true
	}
	return p.cfg.EC2.Locate(n.id)
}

// say writes a line of the node's ipamd.log.
func (n *node) say(now time.Time, level, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machine.Note(now, level, fmt.Sprintf(format, args...))
}

// poke lets the node do what its machine says, if nobody does it already; the caller
// holds n.mu. The work outlives ctx, whose pod may give up: an interface must not stay
// half made.
func (p *Pools) poke(ctx context.Context, n *node) {
	n.active = true
	if n.change != nil {
		return
	}
	a := n.machine.Next(p.cfg.Clock.Now())
	if a.Kind == warmpool.None {
		return
	}
	n.change = make(chan struct{})
	go p.work(context.WithoutCancel(ctx), n, a)
}

// work carries out one action after the other until the machine has no more.
func (p *Pools) work(ctx context.Context, n *node, a warmpool.Action) {
	p.slots <- struct{}{}
	tell := false
	for a.Kind != warmpool.None && p.knows(n) {
		boot := a.Kind == warmpool.Observe && !n.hasStarted()
		r := p.do(ctx, n, a)
		if r.Err != nil {
			p.cfg.Log.Debug("ipamd: EC2 refuses", "instance", n.id, "error", r.Err)
		}
		n.mu.Lock()
		now := p.cfg.Clock.Now()
		grew := n.machine.Done(a, r, now)
		tell = tell || grew || boot
		if grew {
			close(n.change)
			n.change = make(chan struct{})
		}
		if a = n.machine.Next(now); a.Kind == warmpool.None {
			n.rest()
		}
		n.mu.Unlock()
	}
	if a.Kind != warmpool.None { // forgotten meanwhile
		n.mu.Lock()
		n.rest()
		n.mu.Unlock()
	}
	<-p.slots
	if tell && p.cfg.OnGrow != nil {
		p.cfg.OnGrow(n.id)
	}
}

// rest ends the work; the caller holds n.mu.
func (n *node) rest() {
	close(n.change)
	n.change = nil
}

func (n *node) hasStarted() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.machine.Started()
}

// knows tells whether n is still the pool of its instance, not a forgotten one.
func (p *Pools) knows(n *node) bool { return p.known(n.id) == n }

// monitor gives every node a look at its pool, and forgets those of instances that
// never were, or are no more.
func (p *Pools) monitor(ctx context.Context) {
	p.mu.RLock()
	nodes := make([]*node, 0, len(p.nodes))
	for _, n := range p.nodes {
		nodes = append(nodes, n)
	}
	p.mu.RUnlock()
	for _, n := range nodes {
		n.mu.Lock()
		lost := n.active && !n.machine.Started()
		if n.active {
			p.poke(ctx, n)
		}
		n.mu.Unlock()
		if !lost {
			continue
		}
		if _, there := p.cfg.EC2.Locate(n.id); !there {
			p.Forget(n.id)
		}
	}
}
