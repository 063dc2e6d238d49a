// Package fake is an in-memory CNI for tests of the data plane.
package fake

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// ErrNoAddress is what ipamd's plugin says when its node has no address left.
var ErrNoAddress = errors.New("failed to assign an IP address to container")

// Addresses gives pods addresses of one prefix, at most PerNode on each node. The
// zero value is not usable; see NewAddresses.
type Addresses struct {
	mu      sync.Mutex
	prefix  netip.Prefix
	next    netip.Addr
	perNode int
	taken   map[netip.Addr]types.UID
	held    map[types.UID]netip.Addr
	onNode  map[string]map[types.UID]bool
}

// NewAddresses takes addresses from prefix, up to perNode for each node (0: no
// limit).
func NewAddresses(prefix string, perNode int) *Addresses {
	p := netip.MustParsePrefix(prefix)
	return &Addresses{
		prefix: p, next: p.Addr(), perNode: perNode,
		taken: map[netip.Addr]types.UID{}, held: map[types.UID]netip.Addr{}, onNode: map[string]map[types.UID]bool{},
	}
}

// Expect implements dataplane.Addresses: the pods have their addresses from now on.
func (a *Addresses) Expect(instanceID string, pods map[types.UID]netip.Addr) {
	for pod, ip := range pods {
		_, _ = a.Assign(context.Background(), instanceID, pod, types.NamespacedName{}, ip) // a full node: the pod asks again
	}
}

// Assign implements dataplane.Addresses.
func (a *Addresses) Assign(_ context.Context, instanceID string, pod types.UID, _ types.NamespacedName, prefer netip.Addr) (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ip, ok := a.held[pod]; ok {
		return ip, nil
	}
	if a.perNode > 0 && len(a.onNode[instanceID]) >= a.perNode {
		return netip.Addr{}, ErrNoAddress
	}
	ip := prefer
	if _, used := a.taken[prefer]; used || !a.prefix.Contains(prefer) {
		ip = a.free()
	}
	if !ip.IsValid() {
		return netip.Addr{}, ErrNoAddress
	}
	a.taken[ip], a.held[pod] = pod, ip
	if a.onNode[instanceID] == nil {
		a.onNode[instanceID] = map[types.UID]bool{}
	}
	a.onNode[instanceID][pod] = true
	return ip, nil
}

// free is the next address nobody has, or the zero Addr.
func (a *Addresses) free() netip.Addr {
	for start := a.next; ; {
		a.next = a.next.Next()
		if !a.prefix.Contains(a.next) {
			a.next = a.prefix.Addr()
		}
		if _, used := a.taken[a.next]; !used {
			return a.next
		}
		if a.next == start {
			return netip.Addr{}
		}
	}
}

// Release implements dataplane.Addresses.
func (a *Addresses) Release(_ context.Context, instanceID string, pod types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ip, ok := a.held[pod]; ok {
		delete(a.taken, ip)
		delete(a.held, pod)
		delete(a.onNode[instanceID], pod)
	}
}

// Held tells which address a pod has.
func (a *Addresses) Held(pod types.UID) (netip.Addr, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ip, ok := a.held[pod]
	return ip, ok
}

// Len is how many addresses are held.
func (a *Addresses) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.held)
}
