package warmpool

import "time"

// low tells whether the pool is to grow. Addresses in their cooldown count as
// available, though no pod gets them: a node may wait for cooldowns with a pool that
// is not low. A pool that has one address for each pod that the node takes is never
// low.
func (n *Node) low() bool {
	s := n.stats()
	if s.total >= n.maxPods() {
		return false
	}
	if short, _, counted := n.targets(); counted {
		return short > 0
	}
	warm, unit := n.warm()
	return s.available() < unit*warm || warm == 0 && s.available() == 0
}

// warm returns how many of which size are kept free if addresses are not counted one
// by one.
func (n *Node) warm() (target, unit int) {
	if n.prefixMode {
		return n.config.WarmPrefixTarget, perPrefix
	}
	return n.config.WarmENITarget, n.ipsPerENI()
}

func (n *Node) logLow(now time.Time) {
	s := n.stats()
	n.debug(now, ipamd, "IP stats for Network Card 0 - total IPs: %d, assigned IPs: %d, cooldown IPs: %d", s.total, s.assigned, s.cooling)
	if n.config.warmIPTargets() {
		return
	}
	warm, unit := n.warm()
	n.debug(now, ipamd, "IP pool is too low for Network Card 0: available (%d) < ENI target (%d) * addrsPerENI (%d)", s.available(), warm, unit)
	n.logPool(now)
}

func (n *Node) logPool(now time.Time) {
	what := "IP"
	if n.prefixMode {
		what = "Prefix"
	}
	s := n.stats()
	n.debug(now, ipamd, "%s pool stats for network card 0: Total IPs/Prefixes = %d/%d, AssignedIPs/CooldownIPs: %d/%d, c.maxIPsPerENI = %d",
		what, s.total, n.prefixes, s.assigned, s.cooling, n.ipsPerENI())
}

// targets says how many addresses, or with prefix delegation prefixes, the pool is
// short of or over WARM_IP_TARGET and MINIMUM_IP_TARGET; false if neither is set.
func (n *Node) targets() (short, over int, counted bool) {
	if !n.config.warmIPTargets() {
		return 0, 0, false
	}
	s, warm, least := n.stats(), n.config.WarmIPTarget, n.config.MinimumIPTarget
	short = max(warm-s.available(), 0, least-s.total)
	over = max(min(max(s.available()-warm, 0), s.total-least), 0)
	if !n.prefixMode {
		return short, over, true
	}
	over = min(n.freePrefixes, n.prefixes-inPrefixes(s.assigned+warm))
	over = max(min(max(over, 0), n.prefixes-inPrefixes(least)), 0)
	return inPrefixes(short), over, true
}

// inPrefixes is how many prefixes hold that many addresses.
func inPrefixes(ips int) int { return (ips + perPrefix - 1) / perPrefix }

// over says how many addresses or prefixes the pool has too many. Without a target
// that counts them, none: whole interfaces go then.
func (n *Node) over() int {
	if _, over, counted := n.targets(); counted {
		return over
	}
	if n.prefixMode {
		return max(n.freePrefixes-n.config.WarmPrefixTarget, 0)
	}
	return 0
}

// mayFreeENI tells whether it is worth looking for an interface to free.
func (n *Node) mayFreeENI(now time.Time) bool {
	if n.config.warmIPTargets() {
		return true
	}
	warm := n.config.WarmENITarget + 1
	if n.prefixMode {
		warm = n.config.WarmPrefixTarget + 1
	}
	available := n.stats().available()
	if available >= warm*n.ipsPerENI() {
		n.logPool(now)
		n.debug(now, ipamd, "It might be possible to remove extra ENIs because available (%d) >= (ENI/Prefix target + 1 (%d) + 1) * addrsPerENI (%d)", available, warm, n.ipsPerENI())
		return true
	}
	if !n.prefixMode {
		return false
	}
	for _, e := range n.enis {
		if !e.Primary && !e.Trunk && !e.EFA && e.assigned == 0 {
			return true
		}
	}
	return false
}
