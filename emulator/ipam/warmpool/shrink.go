package warmpool

import (
	"net/netip"
	"slices"
	"time"
)

// monitor is the daemon's regular look at what a pool has too much of, and at
// whether it is as EC2 says. What is to be done goes to the queue.
func (n *Node) monitor(now time.Time) {
	if n.v6 {
		return // one prefix is enough for all pods: ipamd looks no more
	}
	if !n.config.DisableProvisioning {
		n.decrease(now)
		if n.mayFreeENI(now) && !n.hands(now, "not detaching any ENIs") {
			n.freeENI(now)
		}
	}
	if since := now.Sub(n.lastAction); since > Reconcile || n.needsTrunk() && n.limits.Trunking {
		n.debug(now, ipamd, "Reconciling ENI/IP pool info because time since last %v > %v", since, Reconcile)
		n.queue = append(n.queue, Action{Kind: Observe})
	}
}

// decrease gives surplus addresses and prefixes back, those of the youngest interface
// and the youngest of it first; upstream goes by the order of a map. Those in their
// cooldown go too.
func (n *Node) decrease(now time.Time) {
	over := n.over()
	if over == 0 || n.low() {
		return
	}
	if since := now.Sub(n.lastDecrease); !n.lastDecrease.IsZero() && since <= Decrease {
		n.debug(now, ipamd, "Skipping decrease Datastore pool because time since last %v <= %v", since, Decrease)
		return
	}
	n.debug(now, ipamd, "Starting to decrease pool size for network card 0")
	for _, e := range slices.Backward(n.enis) {
		var out []*cidr
		for _, c := range slices.Backward(e.cidrs) {
			if c.assigned == 0 && over > 0 {
				out = append(out, c)
				over--
			}
		}
		n.giveBack(e, out, now)
		for _, c := range out {
			n.freed[c.block] = now.Add(Freed)
		}
	}
	n.debug(now, ipamd, "Successfully decreased IP pool")
	n.logPool(now)
	n.lastDecrease, n.lastAction = now, now
}

// giveBack takes cidrs of e without pods out of the store and has EC2 unassign them.
func (n *Node) giveBack(e *eni, out []*cidr, now time.Time) {
	if len(out) == 0 {
		return
	}
	a := Action{Kind: Unassign, ENI: e.ID}
	for _, c := range out {
		n.dropCIDR(c)
		n.info(now, dataStore, "Deleted ENI(%s)'s IP/Prefix %s from datastore", e.ID, c.block)
		if c.isPrefix() {
			a.Prefixes = append(a.Prefixes, c.block)
		} else {
			a.IPs = append(a.IPs, c.block.Addr())
		}
	}
	n.queue = append(n.queue, a)
}

// dropUnused gives back what e holds of a kind that the node no longer uses.
func (n *Node) dropUnused(e *eni, k kind, now time.Time) {
	var out []*cidr
	for _, c := range e.cidrs {
		if c.kind() == k && c.assigned == 0 {
			out = append(out, c)
		}
	}
	n.giveBack(e, out, now)
}

func (n *Node) unassigned(a Action, r Result, now time.Time) {
	if r.Err != nil {
		// They are still there, and a reconciliation will find them.
		n.warn(now, ipamd, "Failed to free IPs %v from ENI %s: %v", append(texts(a.IPs), texts(a.Prefixes)...), a.ENI, r.Err)
		return
	}
	n.debug(now, awsUtils, "Successfully freed IPs %v from ENI %s", append(texts(a.IPs), texts(a.Prefixes)...), a.ENI)
}

func texts[T interface{ String() string }](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, v.String())
	}
	return out
}

// freeENI takes one interface without pods out of the store and has it detached and
// deleted: the youngest that nothing keeps. Upstream goes by the order of a map.
func (n *Node) freeENI(now time.Time) {
	for _, e := range slices.Backward(n.enis) {
		if why := n.keeps(e, now); why != "" {
			if why != e.kept {
				n.debug(now, dataStore, "ENI %s cannot be deleted because %s", e.ID, why)
				e.kept = why
			}
			continue
		}
		n.debug(now, dataStore, "getDeletableENI: found a deletable ENI %s", e.ID)
		cidrs := len(e.cidrs)
		n.dropENI(e)
		n.info(now, dataStore, "RemoveUnusedENIFromStore %s: IP/Prefix address pool stats: free %d addresses, total: %d, assigned: %d, total prefixes: %d",
			e.ID, cidrs, n.total, n.assigned, n.prefixes)
		n.debug(now, ipamd, "Start freeing ENI %s from network card 0", e.ID)
		n.queue = append(n.queue, Action{Kind: Free, ENI: e.ID})
		return
	}
}

// keeps says why an interface cannot be freed, nothing if it can.
func (n *Node) keeps(e *eni, now time.Time) string {
	switch {
	case e.Primary:
		return "it is primary"
	case now.Sub(e.since) < MinLife:
		return "it is too young"
	case e.cooling() > 0:
		return "has IPs in cooling"
	case e.assigned > 0:
		return "it has pods assigned"
	case n.config.WarmIPTarget != 0 && n.others(e).available() < n.rounded(n.config.WarmIPTarget):
		return "it is required for WARM_IP_TARGET"
	case n.config.MinimumIPTarget != 0 && n.others(e).total < n.rounded(n.config.MinimumIPTarget):
		return "it is required for MINIMUM_IP_TARGET"
	case n.prefixMode && n.config.WarmPrefixTarget != 0 && n.freeElsewhere(e) < n.config.WarmPrefixTarget:
		return "it is required for WARM_PREFIX_TARGET"
	case e.Trunk:
		return "it is a trunk ENI"
	case e.EFA:
		return "it is an EFA ENI"
	}
	return ""
}

func (e *eni) cooling() int {
	sum := 0
	for _, c := range e.cidrs {
		sum += c.cooling
	}
	return sum
}

// rounded is a target in whole prefixes where those are what the pool has.
func (n *Node) rounded(target int) int {
	if n.prefixMode {
		return inPrefixes(target) * perPrefix
	}
	return target
}

// others sums the addresses of the other interfaces.
func (n *Node) others(e *eni) sum {
	s := n.stats()
	if !e.usable() {
		return s
	}
	for _, c := range e.cidrs {
		if c.kind() == n.kind() {
			s.total -= c.size()
			s.assigned -= c.assigned
		}
	}
	return s
}

// freeElsewhere counts the free prefixes of the other interfaces. Upstream counts
// free secondary addresses with them.
func (n *Node) freeElsewhere(e *eni) int {
	sum := 0
	for _, o := range n.enis {
		if o == e || o.Excluded {
			continue
		}
		for _, c := range o.cidrs {
			if c.assigned == 0 {
				sum++
			}
		}
	}
	return sum
}

// dropENI takes an interface with all it has out of the store.
func (n *Node) dropENI(e *eni) {
	for len(e.cidrs) > 0 {
		n.dropCIDR(e.cidrs[len(e.cidrs)-1])
	}
	n.enis = slices.DeleteFunc(n.enis, func(o *eni) bool { return o == e })
}

func (n *Node) eniFreed(a Action, r Result, now time.Time) {
	if r.Err != nil {
		// What is still attached comes back with a reconciliation.
		n.fault("decreaseIPPoolFreeENIFailed")
		n.error(now, ipamd, "Failed to free ENI %s, err: %v", a.ENI, r.Err)
		return
	}
	n.info(now, awsUtils, "Successfully freed ENI: %s", a.ENI)
}

// prefixOf is the block of one address.
func prefixOf(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
