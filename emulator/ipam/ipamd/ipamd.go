// Package ipamd runs the address daemon of the VPC CNI on every node: it keeps a
// warm pool of addresses on the instance's network interfaces and hands them to
// pods. What the daemon decides is package warmpool's; this package carries it out
// in EC2.
//
// EC2 is the ledger of which addresses an instance has, the cluster of which pod
// has which; this package remembers both only as a cache, and builds it again
// after a restart from the interfaces and from the addresses that pods prefer.
package ipamd

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// ErrNoAddress is what the CNI plugin says when the node's pool is empty.
var ErrNoAddress = errors.New("failed to assign an IP address to container")

// EC2 is what ipamd calls, as the real one does, and how it learns where an
// instance lives.
type EC2 interface {
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	DescribeNetworkInterfaces(context.Context, *ec2.DescribeNetworkInterfacesInput, ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput, ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error)
	CreateNetworkInterface(context.Context, *ec2.CreateNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.CreateNetworkInterfaceOutput, error)
	AttachNetworkInterface(context.Context, *ec2.AttachNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.AttachNetworkInterfaceOutput, error)
	DetachNetworkInterface(context.Context, *ec2.DetachNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.DetachNetworkInterfaceOutput, error)
	DeleteNetworkInterface(context.Context, *ec2.DeleteNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.DeleteNetworkInterfaceOutput, error)
	ModifyNetworkInterfaceAttribute(context.Context, *ec2.ModifyNetworkInterfaceAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyNetworkInterfaceAttributeOutput, error)
	AssignPrivateIpAddresses(context.Context, *ec2.AssignPrivateIpAddressesInput, ...func(*ec2.Options)) (*ec2.AssignPrivateIpAddressesOutput, error)
	UnassignPrivateIpAddresses(context.Context, *ec2.UnassignPrivateIpAddressesInput, ...func(*ec2.Options)) (*ec2.UnassignPrivateIpAddressesOutput, error)
	AssignIpv6Addresses(context.Context, *ec2.AssignIpv6AddressesInput, ...func(*ec2.Options)) (*ec2.AssignIpv6AddressesOutput, error)
	Locate(instanceID string) (awsid.Scope, bool)
	Scopes() []awsid.Scope
}

// Config is what Pools needs.
type Config struct {
	EC2   EC2
	Clock clock.Clock
	Log   *slog.Logger
	// OnGrow, if set, hears of instances whose daemon has started, well or not, or
	// whose pool got new addresses, so that pods that wait for one can try again at
	// once. It must not block.
	OnGrow func(instanceID string)
}

// parallel bounds the nodes that talk to EC2 at the same time: more only conflict in
// the subnets' ledgers.
const parallel = 8

// Pools is the address daemons of all nodes. It is safe for concurrent use and
// implements dataplane.Addresses.
type Pools struct {
	cfg     Config
	started time.Time
	slots   chan struct{} // held while a node talks to EC2

	mu    sync.RWMutex
	nodes map[string]*node
}

// New returns Pools without nodes: each is loaded when it is first asked for.
func New(cfg Config) *Pools {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Pools{cfg: cfg, started: cfg.Clock.Now(), slots: make(chan struct{}, parallel), nodes: map[string]*node{}}
}

// known returns the instance's pool, nil if there is none.
func (p *Pools) known(id string) *node {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.nodes[id]
}

// node returns the instance's pool, a new one that has seen nothing if there is none.
func (p *Pools) node(id string) *node {
	if n := p.known(id); n != nil {
		return n
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil {
		n = newNode(id)
		p.nodes[id] = n
	}
	return n
}

// Configure tells a node's ipamd what the cluster says now: the environment of its
// aws-node, its capacity for pods, its ENIConfig. It may be called at any time, also
// with what is known already. Until the first call the defaults hold; nothing is done
// about the pool before Start, or before a pod asks for an address.
func (p *Pools) Configure(instanceID string, c NodeConfig) {
	n := p.node(instanceID)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.config = c
	n.configure(p.cfg.Clock.Now())
	if n.active {
		p.poke(context.Background(), n)
	}
}

// Start is the start of a node's ipamd, the first or another one: it forgets what only
// its memory had, such as that EC2 had no addresses a minute ago, and looks at its
// pool.
func (p *Pools) Start(ctx context.Context, instanceID string) {
	n := p.node(instanceID)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machine.Restart(p.cfg.Clock.Now())
	p.poke(ctx, n)
}

// Expect tells which addresses pods of an instance have from before there was this pool:
// they keep them, whatever its settings give back. It is to be called before Start and
// before the first Assign, and does not start the pool.
func (p *Pools) Expect(instanceID string, pods map[types.UID]netip.Addr) {
	if len(pods) == 0 && p.known(instanceID) == nil {
		return
	}
	expected := make(map[string]netip.Addr, len(pods))
	for uid, ip := range pods {
		expected[string(uid)] = ip
	}
	n := p.node(instanceID)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machine.Expect(expected, p.cfg.Clock.Now())
}

// Pods tells which pods have which of an instance's addresses.
func (p *Pools) Pods(instanceID string) map[types.UID]netip.Addr {
	out := map[types.UID]netip.Addr{}
	n := p.known(instanceID)
	if n == nil {
		return out
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for pod, ip := range n.machine.Pods() {
		out[types.UID(pod)] = ip
	}
	return out
}

// Assign returns the pod's address: the one it has, else the preferred one if the
// instance holds it and no other pod does, else a free one. It waits while the
// pool grows, and returns ErrNoAddress when it cannot.
func (p *Pools) Assign(ctx context.Context, instanceID string, pod types.UID, name types.NamespacedName, prefer netip.Addr) (netip.Addr, error) {
	for {
		// Looked up each time: the instance may be forgotten while the pod waits.
		ip, wait := p.try(ctx, p.node(instanceID), pod, name, prefer)
		if ip.IsValid() {
			return ip, nil
		}
		if wait == nil {
			return netip.Addr{}, ErrNoAddress
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return netip.Addr{}, ctx.Err()
		}
	}
}

// try gives the pod an address, or says what to wait for: neither means that
// there will be none for now.
func (p *Pools) try(ctx context.Context, n *node, pod types.UID, name types.NamespacedName, prefer netip.Addr) (netip.Addr, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := p.cfg.Clock.Now()
	ip := n.machine.Assign(string(pod), name.Namespace, name.Name, prefer, now)
	p.poke(ctx, n)
	if !ip.IsValid() && n.change == nil {
		n.machine.Refuse(now)
	}
	return ip, n.change
}

// Release gives the pod's address back.
func (p *Pools) Release(ctx context.Context, instanceID string, pod types.UID) {
	n := p.known(instanceID)
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machine.Release(string(pod), warmpool.PodDeleted, p.cfg.Clock.Now())
	p.poke(ctx, n)
}

// Forget drops what is known of an instance that has ended.
func (p *Pools) Forget(instanceID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.nodes, instanceID)
}

// Settle waits until a node has nothing to do for now.
func (p *Pools) Settle(ctx context.Context, instanceID string) error {
	for {
		n := p.known(instanceID)
		if n == nil {
			return nil
		}
		n.mu.Lock()
		wait := n.change
		n.mu.Unlock()
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
