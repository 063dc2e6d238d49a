package warmpool

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"github.com/ekslocal/ekslocal/emulator/ipam"
)

// eni is one interface that the node gives addresses of.
type eni struct {
	Interface
	order    int // as attached
	since    time.Time
	cidrs    []*cidr // as they came
	assigned int
	kept     string // why it could not be freed when last asked
}

// usable tells whether pods may have addresses of the interface.
func (e *eni) usable() bool { return !e.Excluded && !e.Trunk }

// cidr is a secondary address or a prefix of an interface.
//
// used lists, by address, those that a pod has or had lately: as upstream's store,
// which grows with use, and from which an address whose cooldown is over goes when
// the next one is chosen.
type cidr struct {
	block    netip.Prefix
	eni      *eni
	order    int
	used     []held
	assigned int
	cooling  int
	queued   bool // in Node.free
	gone     bool
	one      [1]held // room for used of a secondary address
}

// held is one address of a cidr.
type held struct {
	at    uint64 // offset in the block
	pod   string // empty while nobody has it
	freed int64  // when it was given back, in Unix nanoseconds
}

func (c *cidr) size() int      { return ipam.Size(c.block) }
func (c *cidr) isPrefix() bool { return !c.block.IsSingleIP() }
func (c *cidr) full() bool     { return c.assigned+c.cooling >= c.size() }

func (c *cidr) find(at uint64) (int, bool) {
	return slices.BinarySearchFunc(c.used, at, func(h held, at uint64) int {
		switch {
		case h.at < at:
			return -1
		case h.at > at:
			return 1
		}
		return 0
	})
}

func (c *cidr) addr(at uint64) netip.Addr { return ipam.Add(c.block.Addr(), at) }

// choose returns the offset of the address that the next pod gets, and where in
// used it goes. As upstream, one that was used before and has cooled goes before
// one that never was; of several, where upstream leaves it to a map's order, the
// one that rested longest. c is not full.
func (c *cidr) choose() uint64 {
	if len(c.used) > c.assigned+c.cooling {
		best := -1
		for i := range c.used {
			if h := &c.used[i]; h.pod == "" && !h.cooling() && (best < 0 || h.freed > c.used[best].freed) {
				best = i
			}
		}
		at := c.used[best].at
		c.used = slices.DeleteFunc(c.used, func(h held) bool { return h.pod == "" && !h.cooling() })
		return at
	}
	at := uint64(0)
	for i := range c.used {
		if c.used[i].at != at {
			break
		}
		at++
	}
	return at
}

// cooled marks an address whose cooldown is over: its freed time is kept for the
// choice, negated.
func (h *held) cooled()       { h.freed = -h.freed }
func (h *held) cooling() bool { return h.freed > 0 }

// kind is one of the two currencies of addresses; a node uses one at a time.
type kind int

const (
	single kind = iota // secondary addresses
	block              // addresses of prefixes
)

func (c *cidr) kind() kind {
	if c.isPrefix() {
		return block
	}
	return single
}

// sum counts addresses of one kind.
type sum struct{ total, assigned, cooling int }

func (s sum) available() int { return s.total - s.assigned }

// spot is where a pod's address is.
type spot struct {
	c  *cidr
	at uint64
}

// rest is an address in its cooldown.
type rest struct {
	spot
	freed int64
}

// freeHeap orders the cidrs that may have a free address: those of older
// interfaces first, on one interface those that came first. Upstream goes by the
// order of a map; the oldest first is one of its outcomes, keeps younger interfaces
// free, and lets a plan of the same steps give the same answer.
type freeHeap []*cidr

func (h freeHeap) Len() int { return len(h) }
func (h freeHeap) Less(i, j int) bool {
	if h[i].eni != h[j].eni {
		return h[i].eni.order < h[j].eni.order
	}
	return h[i].order < h[j].order
}
func (h freeHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *freeHeap) Push(x any)   { *h = append(*h, x.(*cidr)) }
func (h *freeHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return c
}

// offer lets c's free addresses be found.
func (n *Node) offer(c *cidr) {
	if c.queued || c.gone || c.full() || !c.eni.usable() || c.kind() != n.kind() || c.block.Addr().Is6() != n.v6 {
		return
	}
	c.queued = true
	heap.Push(&n.free, c)
}

// firstFree returns the first cidr with a free address, nil without one.
func (n *Node) firstFree() *cidr {
	for len(n.free) > 0 {
		c := n.free[0]
		if !c.gone && !c.full() {
			return c
		}
		heap.Pop(&n.free)
		c.queued = false
	}
	return nil
}

// addCIDR puts an address or a prefix into the store, unless it is there. EC2 has just
// said that e has it: what had any of it before has it no more.
func (n *Node) addCIDR(e *eni, b netip.Prefix) bool {
	if c := n.cidrs[b]; c != nil && c.eni == e {
		return false
	}
	n.dropStale(b)
	n.order++
	c := &cidr{block: b, eni: e, order: n.order}
	c.used = c.one[:0:1]
	n.cidrs[b] = c
	e.cidrs = append(e.cidrs, c)
	n.total += c.size()
	if c.isPrefix() {
		n.prefixes++
		n.freePrefixes++
	}
	if e.usable() {
		n.sums[c.kind()].total += c.size()
	}
	n.offer(c)
	return true
}

// dropStale takes out of the store what overlaps b.
func (n *Node) dropStale(b netip.Prefix) {
	drop := func(b netip.Prefix) {
		if c := n.cidrs[b]; c != nil {
			n.dropCIDR(c)
		}
	}
	drop(b)
	if !b.Addr().Is4() {
		return
	}
	if b.IsSingleIP() {
		drop(netip.PrefixFrom(b.Addr(), 28).Masked())
		return
	}
	for a := b.Addr(); b.Contains(a); a = a.Next() {
		drop(prefixOf(a))
	}
}

// dropCIDR takes c out of the store, from under its pods if it has any.
func (n *Node) dropCIDR(c *cidr) {
	for i := range c.used {
		if h := &c.used[i]; h.pod != "" {
			delete(n.pods, h.pod)
			n.counters.ForceRemovedIPs++
		}
	}
	s := &n.sums[c.kind()]
	if c.eni.usable() {
		s.total -= c.size()
		s.assigned -= c.assigned
		s.cooling -= c.cooling
	}
	n.total -= c.size()
	n.assigned -= c.assigned
	c.eni.assigned -= c.assigned
	if c.isPrefix() {
		n.prefixes--
		if c.assigned == 0 {
			n.freePrefixes--
		}
	}
	c.gone, c.used = true, nil
	delete(n.cidrs, c.block)
	c.eni.cidrs = slices.DeleteFunc(c.eni.cidrs, func(o *cidr) bool { return o == c })
}

// recount derives what depends on the mode and on the interfaces' marks anew.
func (n *Node) recount() {
	n.sums, n.free = [2]sum{}, n.free[:0]
	for _, e := range n.enis {
		for _, c := range e.cidrs {
			c.queued = false
			if e.usable() {
				s := &n.sums[c.kind()]
				s.total += c.size()
				s.assigned += c.assigned
				s.cooling += c.cooling
			}
			n.offer(c)
		}
	}
}

// give marks the address at as pod's.
func (n *Node) give(c *cidr, at uint64, pod string) {
	i, found := c.find(at)
	if found {
		if h := &c.used[i]; h.cooling() {
			c.cooling--
			if c.eni.usable() {
				n.sums[c.kind()].cooling--
			}
		}
		c.used[i] = held{at: at, pod: pod}
	} else {
		c.used = slices.Insert(c.used, i, held{at: at, pod: pod})
	}
	if c.isPrefix() && c.assigned == 0 {
		n.freePrefixes--
	}
	c.assigned++
	c.eni.assigned++
	n.assigned++
	if c.eni.usable() {
		n.sums[c.kind()].assigned++
	}
	n.pods[pod] = spot{c, at}
}

// take marks the pod's address as free from now on.
func (n *Node) take(pod string, s spot, now time.Time) {
	delete(n.pods, pod)
	c := s.c
	i, _ := c.find(s.at)
	h := &c.used[i]
	h.pod, h.freed = "", now.UnixNano()
	c.assigned--
	c.cooling++
	c.eni.assigned--
	n.assigned--
	if c.isPrefix() && c.assigned == 0 {
		n.freePrefixes++
	}
	if c.eni.usable() {
		n.sums[c.kind()].assigned--
		n.sums[c.kind()].cooling++
	}
	n.resting = append(n.resting, rest{s, h.freed})
}

// endCooldowns lets the addresses go whose cooldown is over. The cooldown is the
// same for all, so that they end in the order in which they began.
func (n *Node) endCooldowns(now time.Time) {
	i := 0
	for ; i < len(n.resting); i++ {
		r := &n.resting[i]
		if now.Sub(time.Unix(0, r.freed)) <= n.config.Cooldown {
			break
		}
		n.endCooldown(r)
	}
	if i > 0 {
		n.resting = n.resting[i:]
	}
	if len(n.resting) == 0 {
		n.resting = nil
	}
}

func (n *Node) endCooldown(r *rest) {
	if r.c.gone {
		return
	}
	i, ok := r.c.find(r.at)
	if !ok || r.c.used[i].freed != r.freed {
		return // a pod has it again
	}
	r.c.used[i].cooled()
	r.c.cooling--
	if r.c.eni.usable() {
		n.sums[r.c.kind()].cooling--
	}
	n.offer(r.c)
}

// locate returns where in the store an address is, if it is there.
func (n *Node) locate(a netip.Addr) (spot, bool) {
	if !a.IsValid() {
		return spot{}, false
	}
	lengths := [2]int{a.BitLen(), 28}
	if a.Is6() {
		lengths[1] = 80
	}
	for _, bits := range lengths {
		b := netip.PrefixFrom(a, bits).Masked()
		if c := n.cidrs[b]; c != nil {
			return spot{c, ipam.Offset(b.Addr(), a)}, true
		}
	}
	return spot{}, false
}
