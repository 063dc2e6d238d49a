package plan

import (
	"math/rand/v2"
	"strconv"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// Range is how many pods wait for an address in other orders than a plan's own: nodes
// start and grow side by side, pods come in any order, before their nodes are warm or
// after. It is what some orders came to, not a bound.
type Range struct {
	Orders int `json:"orders"` // tried
	Least  int `json:"least"`
	Most   int `json:"most"`
}

// work bounds what trying other orders costs, in pods.
const work = 100_000

// otherOrders plays a layout in several other orders, always the same.
func otherOrders(l *Layout, w *world) *Range {
	r := &Range{Orders: max(2, min(32, work/max(1, w.workload.asked))), Least: -1}
	for i := range r.Orders {
		o := newOrder(l, w, rand.New(rand.NewPCG(uint64(i), 0)))
		n := o.play()
		if r.Least < 0 || n < r.Least {
			r.Least = n
		}
		r.Most = max(r.Most, n)
	}
	return r
}

// order is a layout being played in a random order.
type order struct {
	*world
	rand  *rand.Rand
	early bool // pods come while their nodes start
	pods  []*busy
	nodes []*busy
}

// busy is a node that does one thing at a time, as the others do theirs.
type busy struct {
	*node
	started   bool
	doing     warmpool.Action
	want, got int // pods
}

// newOrder has each node of a played layout get the same pods.
func newOrder(l *Layout, played *world, r *rand.Rand) *order {
	o := &order{world: newWorld(l, played.typ), rand: r, early: r.IntN(2) == 0}
	o.connectControlPlane()
	o.launch(l.Nodes)
	for i, n := range o.world.nodes {
		b := &busy{node: n}
		o.nodes = append(o.nodes, b)
		for range played.nodes[i].asked {
			o.pods = append(o.pods, b)
		}
	}
	r.Shuffle(len(o.pods), func(i, j int) { o.pods[i], o.pods[j] = o.pods[j], o.pods[i] })
	return o
}

// play does one thing after the other, of those that could be next a random one, and
// returns how many pods are without an address in the end.
func (o *order) play() (waiting int) {
	able := make([]*busy, 0, len(o.nodes))
	for {
		able = able[:0]
		starting := false
		for _, b := range o.nodes {
			if !b.started || b.doing.Kind != warmpool.None {
				able = append(able, b)
				starting = starting || !b.started
			}
		}
		arrive := len(o.pods) > 0 && (o.early || !starting)
		switch {
		case arrive && (len(able) == 0 || o.rand.IntN(4) == 0):
			b := o.pods[0]
			o.pods = o.pods[1:]
			b.want++
			b.serve()
			b.poke()
		case len(able) == 0:
			for _, b := range o.nodes {
				waiting += b.want - b.got
			}
			return waiting
		default:
			able[o.rand.IntN(len(able))].step()
		}
	}
}

// poke has the node look whether there is something to do.
func (b *busy) poke() {
	if b.started && b.doing.Kind == warmpool.None {
		b.doing = b.machine.Next(b.world.now)
	}
}

// step starts the node, or ends what it does.
func (b *busy) step() {
	if !b.started {
		b.started = true
		b.poke()
		return
	}
	grew := b.machine.Done(b.doing, b.carryOut(b.doing), b.world.now)
	b.doing = b.machine.Next(b.world.now)
	if grew {
		b.serve()
		b.poke()
	}
}

// serve gives addresses to the pods that wait.
func (b *busy) serve() {
	for b.got < b.want && b.try(strconv.Itoa(b.got)) {
		b.got++
	}
}
