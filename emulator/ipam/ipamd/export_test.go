package ipamd

import (
	"context"
	"net/netip"

	"k8s.io/apimachinery/pkg/types"
)

// Look is what Run does at the monitor's pace.
func (p *Pools) Look(ctx context.Context) { p.monitor(ctx) }

// Has tells which address a node says that a pod has.
func (p *Pools) Has(instanceID string, pod types.UID) (netip.Addr, bool) {
	n := p.known(instanceID)
	if n == nil {
		return netip.Addr{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.machine.Has(string(pod))
}
