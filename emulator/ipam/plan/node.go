package plan

import (
	"container/heap"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// node is one node: its daemon's machine and what it holds.
type node struct {
	world   *world
	index   int
	subnet  *subnet // of the primary interface
	pods    *subnet // of further interfaces
	machine *warmpool.Node
	enis    map[string]*subnet
	device  int

	held     int // pods bound to the node, those on the host's network too
	workload int
	asked    int // pods that asked for an address
	leaving  bool
	// refused is what EC2 last said no to and nothing has come of since.
	refused *refusal
}

// quiet is the machine's log level: a plan has no use for its log.
const quiet = "fatal"

func (n *node) start() {
	c := warmpool.Config{Settings: n.world.layout.Settings, MaxPods: n.world.maxPods}
	c.LogLevel = quiet
	n.machine, n.enis = warmpool.New(c), map[string]*subnet{}
}

// assign gives the node's next pod an address, as the emulator's node does: a pod that
// finds none waits while the pool grows.
func (n *node) assign() bool {
	pod := strconv.Itoa(n.asked)
	n.asked++
	got := n.try(pod)
	for {
		a := n.machine.Next(n.world.now)
		if a.Kind == warmpool.None {
			return got
		}
		for a.Kind != warmpool.None {
			grew := n.machine.Done(a, n.carryOut(a), n.world.now)
			// The daemon decides what comes next before the pod has its turn.
			a = n.machine.Next(n.world.now)
			if grew && !got {
				got = n.try(pod)
			}
		}
	}
}

func (n *node) try(pod string) bool {
	return n.machine.Assign(pod, "", "", netip.Addr{}, n.world.now).IsValid()
}

// grow lets the pool become as large as it wants to be and can.
func (n *node) grow() {
	for {
		a := n.machine.Next(n.world.now)
		if a.Kind == warmpool.None {
			return
		}
		n.machine.Done(a, n.carryOut(a), n.world.now)
	}
}

// ready tells whether the node is Ready once its daemon has started: with custom
// networking the daemon gives up without an interface for pods.
func (n *node) ready() bool {
	return !n.world.layout.Settings.CustomNetworking || n.machine.State(n.world.now).Total > 0
}

// carryOut does in the ledger what the machine asks of EC2.
func (n *node) carryOut(a warmpool.Action) warmpool.Result {
	switch a.Kind {
	case warmpool.Observe:
		return n.observe()
	case warmpool.Assign:
		s := n.enis[a.ENI]
		g, r := s.take(false, ips(a), prefixes(a))
		if n.heed(r); r != nil {
			return warmpool.Result{Err: r}
		}
		s.use.add(g)
		return warmpool.Result{IPs: g.ips, Prefixes: g.prefixes}
	case warmpool.Create:
		g, r := n.pods.take(true, ips(a), prefixes(a))
		if n.heed(r); r != nil {
			return warmpool.Result{Err: r}
		}
		n.pods.use.Interfaces++
		n.pods.use.add(g)
		n.device++
		return warmpool.Result{Interfaces: []warmpool.Interface{n.attach(n.pods, n.device, g)}}
	}
	// The others give something back, or are IPv6's.
	return warmpool.Result{Err: errNotPlanned}
}

var errNotPlanned = errors.New("no plan comes to this")

// heed remembers EC2's last answer, nil for one that gave all.
func (n *node) heed(r *refusal) {
	n.refused = r
	if r != nil {
		n.world.refusals++
	}
}

func ips(a warmpool.Action) int {
	if a.Prefix {
		return 0
	}
	return a.Count
}

func prefixes(a warmpool.Action) int {
	if a.Prefix {
		return a.Count
	}
	return 0
}

// observe is what the daemon sees when it starts.
func (n *node) observe() warmpool.Result {
	t := n.world.typ
	i := n.attach(n.subnet, 0, grant{})
	i.Primary = true
	return warmpool.Result{
		Interfaces: []warmpool.Interface{i},
		Limits: warmpool.Limits{
			InstanceType: t.Name, ENIs: t.DefaultCardENIs, IPv4PerENI: t.IPv4PerENI, Prefixes: t.Hypervisor == nitro || t.BareMetal, Trunking: t.BranchENIs > 0,
		},
	}
}

func (n *node) attach(s *subnet, device int, g grant) warmpool.Interface {
	n.world.enis++
	id := "eni-" + strconv.Itoa(n.world.enis)
	n.enis[id] = s
	return warmpool.Interface{ID: id, Device: device, Subnet: s.cidr.String(), Address: g.primary, IPs: g.ips, Prefixes: g.prefixes}
}

// loads orders nodes as the next pod would choose: the fewest pods first, then the
// first of them.
type loads []*node

func (l loads) Len() int { return len(l) }
func (l loads) Less(i, j int) bool {
	if l[i].held != l[j].held {
		return l[i].held < l[j].held
	}
	return l[i].index < l[j].index
}
func (l loads) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l *loads) Push(x any)   { *l = append(*l, x.(*node)) }
func (l *loads) Pop() any {
	old := *l
	n := old[len(old)-1]
	*l = old[:len(old)-1]
	return n
}

func (l *loads) remove(which func(*node) bool) {
	*l = slices.DeleteFunc(*l, which)
	heap.Init(l)
}
