package ipamd

import (
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
)

func addrOf(s *string) netip.Addr {
	a, _ := netip.ParseAddr(aws.ToString(s)) // what EC2 says, or nothing
	return a
}

// View returns one node's pool, false if it is not in use.
func (p *Pools) View(instanceID string) (View, bool) {
	n := p.known(instanceID)
	if n == nil {
		return View{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.machine.State(p.cfg.Clock.Now())
	v := View{
		InstanceID: n.id, Cluster: n.cluster, InstanceType: s.Limits.InstanceType,
		MaxENIs: s.MaxENIs, MaxIPs: s.MaxIPs, IPv4PerENI: s.Limits.IPv4PerENI,
		Total: s.Total, Assigned: s.Assigned, Cooling: s.Cooling, Prefixes: s.Prefixes,
		RetryAt: s.RetryAt, LastError: s.LastError, Settings: s.Settings, Counters: s.Counters,
	}
	for _, e := range s.ENIs {
		v.ENIs = append(v.ENIs, ENIView{
			ID: e.ID, Device: e.Device, Subnet: e.Subnet, Primary: e.Address, Addresses: e.IPs, Prefixes: e.Prefixes,
			Trunk: e.Trunk, Excluded: e.Excluded, Assigned: e.Assigned, Cooling: e.Cooling,
		})
	}
	return v, s.Started
}

// Instances returns the instances whose pools are in use, in order.
func (p *Pools) Instances() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := make([]string, 0, len(p.nodes))
	for id := range p.nodes {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// Log returns what is kept of the node's ipamd.log.
func (p *Pools) Log(instanceID string) []byte {
	n := p.known(instanceID)
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.machine.Log()
}

// Stats is the state of one node's pool.
type Stats struct {
	Interfaces int
	Total      int // addresses for pods
	Assigned   int
	Cooldown   int
}

// Stats returns the state of a node's pool, false if it is not in use.
func (p *Pools) Stats(instanceID string) (Stats, bool) {
	n := p.known(instanceID)
	if n == nil {
		return Stats{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.machine.State(p.cfg.Clock.Now())
	return Stats{Interfaces: len(s.ENIs), Total: s.Total, Assigned: s.Assigned, Cooldown: s.Cooling}, s.Started
}
