package warmpool

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// The intervals of upstream.
const (
	// Monitor is how often the daemon looks whether the pool is as it should be.
	//
	// A pool that is too low grows as soon as it is: a simulated EC2 answers at once,
	// and nobody gains from a pod that waits for the next look. Only after a failure,
	// and for everything that shrinks a pool or compares it with EC2, the pace is this.
	Monitor = 5 * time.Second
	// Reconcile is how long after its last change a pool is compared with EC2.
	Reconcile = 60 * time.Second
	// Decrease is how long surplus addresses stay after the last that were freed.
	Decrease = 30 * time.Second
	// Shortage is how long nothing is asked of EC2 after it said that the subnet has
	// too few addresses.
	Shortage = 120 * time.Second
	// Freed is how long an address that the node gave back is not taken over again.
	Freed = 60 * time.Second
	// MinLife is how long an interface lives at least.
	MinLife = time.Minute
)

// Config is what the cluster tells the daemon.
type Config struct {
	Settings
	// MaxPods is the node's capacity, 0 for what the AMI computes for the type.
	MaxPods int
	// Unschedulable is set on a cordoned node, whose interfaces stay as they are.
	Unschedulable bool
	// Cluster is the name in the tags of the node's interfaces.
	Cluster string
}

// Node is one node's daemon. It is not safe for concurrent use.
//
// Assign, Release and Next take constant time but for what they change: the choice
// of an address is O(log c) in the node's addresses and prefixes.
type Node struct {
	config Config
	limits Limits
	// prefixMode and v6 are the settings as they take effect on this type.
	prefixMode, v6 bool

	enis     []*eni // oldest first
	born     int    // interfaces ever
	cidrs    map[netip.Prefix]*cidr
	order    int // cidrs ever
	pods     map[string]spot
	expected map[string]netip.Addr // of Expect, as far as they are not found yet
	free     freeHeap
	resting  []rest // oldest first
	sums     [2]sum // of interfaces that pods may have addresses of
	total    int    // addresses of all kinds and interfaces
	assigned int
	prefixes int
	// freePrefixes counts those without a pod.
	freePrefixes int
	unmanaged    int // interfaces that are not ipamd's

	started bool // has seen the interfaces since it started
	pending Action
	queue   []Action // decided, to be done first
	growth  growth

	growAt       time.Time // no growth before
	monitorAt    time.Time // next look at what shrinks or differs
	lastAction   time.Time
	lastDecrease time.Time
	lastShortage time.Time
	// freed are the blocks that the node gave back lately, and until when they are
	// not taken over again.
	freed map[netip.Prefix]time.Time

	lastError string
	log       log
	counters  Counters
}

// New returns the daemon of a node that knows nothing yet: the first Next asks for
// the interfaces.
func New(c Config) *Node {
	return &Node{config: c, cidrs: map[netip.Prefix]*cidr{}, pods: map[string]spot{}, freed: map[netip.Prefix]time.Time{}}
}

// Configure takes over what the cluster says now. Other settings mean that the
// DaemonSet's pod was replaced: the daemon starts again. The capacity and whether
// pods are scheduled are read live.
func (n *Node) Configure(c Config, now time.Time) {
	same := n.config.Settings.Equal(&c.Settings)
	n.config = c
	if !same {
		n.Restart(now)
	}
}

// Restart forgets what a new process of the daemon would not know: cooldowns,
// pauses, how old interfaces are. Which pod has which address is in its file.
func (n *Node) Restart(now time.Time) {
	for i := range n.resting {
		n.endCooldown(&n.resting[i])
	}
	n.endGrowth()
	n.resting, n.queue = nil, nil
	n.growAt, n.monitorAt = time.Time{}, time.Time{}
	n.lastAction, n.lastDecrease, n.lastShortage = time.Time{}, time.Time{}, time.Time{}
	n.lastError = ""
	clear(n.freed)
	if n.started {
		n.info(now, agent, "Starting L-IPAMD  ...")
	}
	n.started = false
}

// Expect tells which pods have which addresses from before: what is in the file of
// upstream's daemon. They have them again before anything is given, or given back: at
// once where the node knows the address, else when it first sees its interfaces. An
// address that it does not hold then, or that another pod has, is not recovered.
func (n *Node) Expect(pods map[string]netip.Addr, now time.Time) {
	n.expected = maps.Clone(pods)
	n.recover(now)
}

// recover gives expected addresses to their pods. What is not there once all interfaces
// have been seen never comes. Source: amazon-vpc-cni-k8s, pkg/ipamd/datastore
// (ReadBackingStore).
func (n *Node) recover(now time.Time) {
	for _, pod := range slices.Sorted(maps.Keys(n.expected)) {
		ip := n.expected[pod]
		if _, has := n.pods[pod]; has {
			delete(n.expected, pod)
			continue
		}
		s, ok := n.preferred(ip)
		if ok {
			n.give(s.c, s.at, pod)
			n.debug(now, dataStore, "Recovered aws-cni/%s/eth0 => %s/%s", pod, s.c.eni.ID, ip)
			delete(n.expected, pod)
		} else if n.started {
			n.info(now, dataStore, "datastore: Sandbox aws-cni/%s/eth0 uses unknown IP Address %s - presuming stale/dead", pod, ip)
		}
	}
	if n.started {
		n.expected = nil
	}
}

// Assign gives the pod an address: the one it has, else the preferred one if the
// node holds it and no pod does, else a free one. It returns the invalid address if
// there is none.
func (n *Node) Assign(pod, namespace, name string, prefer netip.Addr, now time.Time) netip.Addr {
	if s, ok := n.pods[pod]; ok {
		return s.c.addr(s.at)
	}
	n.endCooldowns(now)
	s, ok := n.preferred(prefer)
	if !ok {
		c := n.firstFree()
		if c == nil {
			return netip.Addr{}
		}
		s = spot{c, c.choose()}
	}
	n.give(s.c, s.at, pod)
	n.counters.AddIPRequests++
	ip := s.c.addr(s.at)
	n.log.add(now, &assignment{
		pod: pod, namespace: namespace, name: name, ip: ip, device: s.c.eni.Device, total: n.total, assigned: n.assigned - 1,
	})
	return ip
}

// preferred finds a pod's own address again. A cooldown, if any, is about others.
func (n *Node) preferred(a netip.Addr) (spot, bool) {
	s, ok := n.locate(a)
	if !ok || s.c.gone {
		return s, false
	}
	if i, used := s.c.find(s.at); used && s.c.used[i].pod != "" {
		return s, false
	}
	return s, true
}

// Refuse records that a pod was told that there is no address.
func (n *Node) Refuse(now time.Time) {
	n.counters.AddIPRequests++
	n.counters.NoAvailableIPs++
	n.error(now, dataStore, "DataStore has no available IP/Prefix addresses")
	n.warn(now, rpc, "Failed to assign IPs from network card 0: AssignPodIPAddress: no available IP/Prefix addresses")
	n.info(now, rpc, "Send AddNetworkReply: Success: false IPAddr: [], resp: , err: AssignPodIPAddress: no available IP/Prefix addresses")
}

// Release takes the pod's address back, if it has one.
func (n *Node) Release(pod, reason string, now time.Time) {
	n.counters.released(reason)
	delete(n.expected, pod)
	s, ok := n.pods[pod]
	if !ok {
		n.warn(now, dataStore, "UnassignPodIPAddress: Failed to find sandbox aws-cni/%s/eth0", pod)
		return
	}
	ip := s.c.addr(s.at)
	n.log.add(now, &release{assignment{
		pod: pod, ip: ip, device: s.c.eni.Device, total: n.total, assigned: n.assigned,
	}, n.config.Cooldown})
	n.take(pod, s, now)
	// With prefix delegation off again, the interface's free prefixes go with the
	// first pod that leaves one. Upstream means to treat a secondary address with
	// prefix delegation on alike, but asks for one that is a prefix: those stay until
	// the daemon starts again or the pool shrinks.
	if !n.prefixMode && !n.v6 && s.c.isPrefix() && n.started && !n.config.DisableProvisioning {
		n.debug(now, rpc, "IP belongs to prefix pool with PD disabled so try free prefix from EC2")
		n.dropUnused(s.c.eni, block, now)
	}
}

// kind returns what the node gives to pods.
func (n *Node) kind() kind {
	if n.prefixMode || n.v6 {
		return block
	}
	return single
}

// stats are the sums of what the node gives to pods.
func (n *Node) stats() sum { return n.sums[n.kind()] }

// perENI is how many addresses or prefixes an interface takes beside its own.
func (n *Node) perENI() int { return n.limits.IPv4PerENI - 1 }

// ipsPerENI is the same in addresses.
func (n *Node) ipsPerENI() int {
	if n.prefixMode {
		return n.perENI() * perPrefix
	}
	return n.perENI()
}

// perPrefix is the size of the prefixes of IPv4.
const perPrefix = 16

func (n *Node) maxENIs() int {
	if m := n.config.MaxENI; m >= 1 && m < n.limits.ENIs {
		return m
	}
	return n.limits.ENIs
}

func (n *Node) maxPods() int {
	if n.config.MaxPods > 0 {
		return n.config.MaxPods
	}
	return n.limits.MaxPods()
}

func (n *Node) eniByID(id string) *eni {
	for _, e := range n.enis {
		if e.ID == id {
			return e
		}
	}
	return nil
}

// Next returns what to do now. Until Done is told what came of it there is nothing
// else to do.
func (n *Node) Next(now time.Time) Action {
	if n.pending.Kind != None || n.config.Invalid != "" {
		return Action{}
	}
	n.pending = n.next(now)
	return n.pending
}

func (n *Node) next(now time.Time) Action {
	n.endCooldowns(now)
	if !n.started {
		if now.Before(n.growAt) {
			return Action{}
		}
		return Action{Kind: Observe}
	}
	if a, ok := n.queued(); ok {
		return a
	}
	if a := n.grow(now); a.Kind != None {
		return a
	}
	if !now.Before(n.monitorAt) {
		n.monitorAt = now.Add(Monitor)
		n.monitor(now)
		a, _ := n.queued()
		return a
	}
	return Action{}
}

func (n *Node) queued() (Action, bool) {
	if len(n.queue) == 0 {
		return Action{}, false
	}
	a := n.queue[0]
	n.queue = n.queue[1:]
	return a, true
}

// Done takes over what came of the action that Next returned, and tells whether pods
// that wait may find an address now.
func (n *Node) Done(a Action, r Result, now time.Time) bool {
	n.pending = Action{}
	before := n.total
	switch a.Kind {
	case Observe:
		n.observed(r, now)
	case Assign:
		n.assignDone(a, r, now)
	case Resync:
		n.resynced(a, r, now)
	case Create:
		n.created(a, r, now)
	case Unassign:
		n.unassigned(a, r, now)
	case Free:
		n.eniFreed(a, r, now)
	case AssignPrefix6:
		n.prefix6Done(a, r, now)
	}
	return n.total > before
}
