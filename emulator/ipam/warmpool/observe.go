package warmpool

import (
	"net/netip"
	"slices"
	"time"
)

// observed takes over what EC2 says of the instance: all of it when the daemon
// starts, later what differs.
func (n *Node) observed(r Result, now time.Time) {
	if r.Err != nil || len(r.Interfaces) == 0 {
		n.lastError = "no interfaces"
		if r.Err != nil {
			n.lastError = r.Err.Error()
		}
		n.error(now, ipamd, "IP pool reconcile: Failed to get attached ENI info: %s", n.lastError)
		n.fault("reconcileFailedGetENIs")
		n.growAt = now.Add(Monitor)
		return
	}
	n.limits = r.Limits
	if n.started {
		n.reconcile(r.Interfaces, now)
		return
	}
	n.boot(r.Interfaces, now)
}

// boot is the daemon's start.
func (n *Node) boot(seen []Interface, now time.Time) {
	n.started, n.lastError, n.lastAction = true, "", now
	n.growAt, n.monitorAt = now, now.Add(Monitor)
	for _, l := range n.config.Notes {
		n.say(now, levelOf(l.Level), ipamd, "%s", l.Message)
	}
	n.setMode(now)
	n.debug(now, ipamd, "Start node init")
	n.debug(now, ipamd, "Max ip per ENI %d and max prefixes per ENI %d", n.ipsPerENI(), n.perENI())
	for _, e := range n.enis {
		e.since = now // a new process knows no older ones
	}
	n.match(seen, now, true)
	for _, e := range n.enis {
		n.info(now, ipamd, "ENI %s set up.", e.ID)
	}
	n.recover(now) // before the look at what no pod has
	if !n.v6 && !n.config.DisableProvisioning {
		n.dropOtherMode(now)
	}
	n.info(now, ipamd, "IP pool manager - max pods: %d, warm IP target: %d, warm prefix target: %d, warm ENI target: %d, minimum IP target: %d",
		n.maxPods(), n.config.WarmIPTarget, n.config.WarmPrefixTarget, n.config.WarmENITarget, n.config.MinimumIPTarget)
	n.debug(now, ipamd, "node init completed successfully")
}

// setMode decides what the node gives to its pods.
func (n *Node) setMode(now time.Time) {
	n.v6 = n.config.IPv6
	n.prefixMode = n.config.PrefixDelegation && n.limits.Prefixes && !n.v6
	if n.config.PrefixDelegation && !n.limits.Prefixes {
		n.warn(now, ipamd, "Prefix delegation is not supported on non-nitro instance %s hence falling back to default (secondary IP) mode", n.limits.InstanceType)
	}
	n.info(now, awsUtils, "Prefix Delegation enabled %v", n.prefixMode || n.v6)
	n.recount()
}

// dropOtherMode gives back what a switch of ENABLE_PREFIX_DELEGATION left over: pods
// keep their addresses, the rest goes.
func (n *Node) dropOtherMode(now time.Time) {
	other := block
	if n.prefixMode {
		other = single
	}
	for _, e := range n.enis {
		n.dropUnused(e, other, now)
	}
}

// reconcile makes the store what EC2 says.
func (n *Node) reconcile(seen []Interface, now time.Time) {
	n.match(seen, now, false)
	n.lastAction = now
	n.debug(now, ipamd, "Successfully Reconciled ENI/IP pool")
	n.logPool(now)
	for b, until := range n.freed {
		if !now.Before(until) {
			delete(n.freed, b)
		}
	}
}

// match drops what is gone, then adds what is new: an address may have moved from
// one interface to another.
func (n *Node) match(seen []Interface, now time.Time, boot bool) {
	slices.SortFunc(seen, func(a, b Interface) int { return a.Device - b.Device })
	owner, managed := map[netip.Prefix]string{}, map[string]*Interface{}
	n.unmanaged = 0
	for i := range seen {
		s := &seen[i]
		if s.Unmanaged && !s.Primary {
			n.debug(now, ipamd, "Skipping ENI %s: since it is unmanaged", s.ID)
			n.unmanaged++
			continue
		}
		managed[s.ID] = s
		for _, b := range s.blocks(n.v6) {
			owner[b] = s.ID
		}
	}
	for _, e := range slices.Clone(n.enis) {
		if s := managed[e.ID]; s != nil {
			n.sweep(e, owner, now)
			e.adopt(s)
		} else {
			n.lose(e, now)
		}
	}
	n.recount()
	for i := range seen {
		if s := &seen[i]; managed[s.ID] == s {
			n.mark(s, now, boot)
		}
	}
}

// blocks returns what of an interface is for pods.
func (s *Interface) blocks(v6 bool) []netip.Prefix {
	if s.Trunk {
		return nil
	}
	var out []netip.Prefix
	for _, ip := range s.IPs {
		if !v6 {
			out = append(out, prefixOf(ip))
		}
	}
	for _, p := range s.Prefixes {
		if p.Addr().Is6() == v6 && (!v6 || s.Primary) {
			out = append(out, p)
		}
	}
	return out
}

// adopt takes over what may change of an interface's marks.
func (e *eni) adopt(s *Interface) {
	e.Device, e.Subnet, e.Address, e.Primary, e.Trunk, e.EFA, e.Excluded = s.Device, s.Subnet, s.Address, s.Primary, s.Trunk, s.EFA, s.Excluded
}

// lose drops an interface that was detached, from under its pods.
func (n *Node) lose(e *eni, now time.Time) {
	n.info(now, ipamd, "Reconcile and delete detached ENI %s", e.ID)
	if e.assigned > 0 {
		n.warn(now, dataStore, "Force removing eni %s with %d assigned pods", e.ID, e.assigned)
		n.counters.ForceRemovedENIs++
	}
	n.dropENI(e)
	inc(&n.counters.Reconciles, "eniReconcileDel")
}

// sweep drops what e no longer has.
func (n *Node) sweep(e *eni, owner map[netip.Prefix]string, now time.Time) {
	for _, c := range slices.Clone(e.cidrs) {
		if owner[c.block] != e.ID {
			n.debug(now, ipamd, "Reconcile and delete IP %s on ENI %s", c.block, e.ID)
			n.dropCIDR(c)
			inc(&n.counters.Reconciles, "eniIPPoolReconcileDel")
		}
	}
}

// mark adds what is new, but for what the node itself gave back just now: what EC2's
// metadata say of that may be old.
func (n *Node) mark(s *Interface, now time.Time, boot bool) {
	e := n.eniByID(s.ID)
	if e == nil {
		if !boot {
			n.debug(now, ipamd, "Reconcile and add a new ENI %s", s.ID)
			inc(&n.counters.Reconciles, "eniReconcileAdd")
		} else {
			n.debug(now, ipamd, "Discovered ENI %s, trying to set it up", s.ID)
		}
		i := *s
		i.IPs, i.Prefixes = split(s.blocks(n.v6))
		n.addENI(i, now)
		return
	}
	for _, b := range s.blocks(n.v6) {
		if n.cidrs[b] != nil {
			continue
		}
		if until, ok := n.freed[b]; ok && now.Before(until) {
			n.debug(now, ipamd, "Reconcile skipping IP %s on ENI %s because it was recently unassigned from the ENI.", b, s.ID)
			continue
		}
		n.info(now, ipamd, "Trying to add %s", b)
		n.addCIDR(e, b)
		inc(&n.counters.Reconciles, "eniDataStorePoolReconcileAdd")
	}
}

func split(blocks []netip.Prefix) (ips []netip.Addr, prefixes []netip.Prefix) {
	for _, b := range blocks {
		if b.IsSingleIP() {
			ips = append(ips, b.Addr())
		} else {
			prefixes = append(prefixes, b)
		}
	}
	return ips, prefixes
}

// growPrefix6 asks for the one prefix that a node of an IPv6 cluster has, on its
// primary interface. No warm target says more.
func (n *Node) growPrefix6(now time.Time) Action {
	if n.stats().total > 0 || now.Before(n.growAt) {
		return Action{}
	}
	for _, e := range n.enis {
		if e.Primary {
			n.debug(now, ipamd, "No IPv6 Prefix(es) found for ENI: %s", e.ID)
			return Action{Kind: AssignPrefix6, ENI: e.ID, Count: 1, Prefix: true}
		}
	}
	return Action{}
}

func (n *Node) prefix6Done(a Action, r Result, now time.Time) {
	e := n.eniByID(a.ENI)
	if r.Err != nil || e == nil || len(r.Prefixes) == 0 {
		if r.Err != nil {
			n.lastError = r.Err.Error()
		}
		n.error(now, awsUtils, "Failed to allocate IPv6 Prefixes on ENI %v: %v", a.ENI, r.Err)
		n.growAt = now.Add(Monitor)
		return
	}
	n.debug(now, ipamd, "Successfully allocated an IPv6Prefix for ENI: %s", a.ENI)
	n.grown(n.addAll(e, nil, r.Prefixes, now), now)
}
