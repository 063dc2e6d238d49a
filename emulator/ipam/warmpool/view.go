package warmpool

import (
	"net/netip"
	"time"
)

// State is a node's pool as it is.
type State struct {
	Started  bool
	Limits   Limits
	MaxENIs  int // what may be attached, less what is not ipamd's
	MaxIPs   int
	MaxPods  int
	ENIs     []ENI
	Total    int // addresses for pods
	Assigned int
	Cooling  int
	Prefixes int
	// RetryAt is when the pool is next tried to grow, zero if nothing stands in the
	// way; LastError what did.
	RetryAt   time.Time
	LastError string
	Settings  Settings
	Counters  Counters
}

// ENI is one interface of a State. Its IPs and Prefixes are what the node knows.
type ENI struct {
	Interface
	Assigned int
	Cooling  int
}

// State returns a copy of the node's state.
func (n *Node) State(now time.Time) State {
	n.endCooldowns(now)
	s := n.stats()
	out := State{
		Started: n.started, Limits: n.limits, MaxENIs: n.maxENIs() - n.unmanaged, MaxPods: n.maxPods(),
		Total: s.total, Assigned: s.assigned, Cooling: s.cooling, Prefixes: n.prefixes,
		LastError: n.lastError, Settings: n.config.Settings, Counters: n.counters.Clone(),
	}
	if !n.v6 {
		out.MaxIPs = n.ipsPerENI() * out.MaxENIs
	}
	if n.config.Invalid != "" {
		out.LastError = n.config.Invalid
	}
	switch {
	case n.inShortage(now):
		out.RetryAt = n.lastShortage.Add(Shortage)
	case now.Before(n.growAt) && out.LastError != "":
		out.RetryAt = n.growAt
	}
	for _, e := range n.enis {
		i := ENI{Interface: e.Interface, Assigned: e.assigned, Cooling: e.cooling()}
		blocks := make([]netip.Prefix, 0, len(e.cidrs))
		for _, c := range e.cidrs {
			blocks = append(blocks, c.block)
		}
		i.IPs, i.Prefixes = split(blocks)
		out.ENIs = append(out.ENIs, i)
	}

	return out
}

// Has tells which address the node says that a pod has.
func (n *Node) Has(pod string) (netip.Addr, bool) {
	s, ok := n.pods[pod]
	if !ok {
		return netip.Addr{}, false
	}
	return s.c.addr(s.at), true
}

// Pods tells which pods have which addresses.
func (n *Node) Pods() map[string]netip.Addr {
	out := make(map[string]netip.Addr, len(n.pods))
	for pod, s := range n.pods {
		out[pod] = s.c.addr(s.at)
	}
	return out
}

// Started tells whether the daemon has seen the node's interfaces since it started.
func (n *Node) Started() bool { return n.started }

// Note writes a line into the node's log: what was done on the way to the result of an
// action.
func (n *Node) Note(now time.Time, level, text string) {
	n.say(now, levelOf(level), awsUtils, "%s", text)
}

// Low tells whether the pool wants more addresses than it has.
func (n *Node) Low() bool { return n.started && !n.v6 && n.low() }

// Called counts a request to EC2 and its refusal, if any.
func (n *Node) Called(api string, err error) {
	inc(&n.counters.EC2Requests, api)
	if err == nil {
		return
	}
	inc(&n.counters.EC2Errors, api)
	if code := codeOf(err); code != "" {
		inc(&n.counters.AWSAPIErrors, APIError{api, code})
	}
}
