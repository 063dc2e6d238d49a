// Package ipamd models the address daemon of the VPC CNI on every node: it keeps
// a warm pool of secondary addresses on the instance's network interfaces and
// hands them to pods.
//
// EC2 is the ledger of which addresses an instance has, the cluster of which pod
// has which; this package remembers both only as a cache, and builds it again
// after a restart from the interfaces and from the addresses that pods prefer.
//
// Source of the rules: amazon-vpc-cni-k8s, pkg/ipamd and docs/eni-and-ip-target.md.
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
	CreateNetworkInterface(context.Context, *ec2.CreateNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.CreateNetworkInterfaceOutput, error)
	AttachNetworkInterface(context.Context, *ec2.AttachNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.AttachNetworkInterfaceOutput, error)
	ModifyNetworkInterfaceAttribute(context.Context, *ec2.ModifyNetworkInterfaceAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyNetworkInterfaceAttributeOutput, error)
	AssignPrivateIpAddresses(context.Context, *ec2.AssignPrivateIpAddressesInput, ...func(*ec2.Options)) (*ec2.AssignPrivateIpAddressesOutput, error)
	DeleteNetworkInterface(context.Context, *ec2.DeleteNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.DeleteNetworkInterfaceOutput, error)
	Locate(instanceID string) (awsid.Scope, bool)
	Scopes() []awsid.Scope
}

// Config is what Pools needs.
type Config struct {
	EC2   EC2
	Clock clock.Clock
	Log   *slog.Logger
	// OnGrow, if set, hears of instances whose pool got new addresses, so that
	// pods that wait for one can try again at once. It must not block.
	OnGrow func(instanceID string)
}

// The CNI's defaults.
const (
	// warmENIs is WARM_ENI_TARGET: how many interfaces' worth of addresses are
	// kept free.
	warmENIs = 1
	// cooldown is how long a released address is not given out again.
	cooldown = 30 * time.Second
	// exhausted is how long the pool does not try to grow after EC2 said that the
	// subnet is full.
	exhausted = 120 * time.Second
	// hiccup is the same for other refusals, the interval of ipamd's monitor.
	hiccup = 5 * time.Second
	// parallel bounds the nodes that grow at the same time: more only conflict in
	// the subnets' ledgers.
	parallel = 8
)

// Pools is the address daemons of all nodes. It is safe for concurrent use and
// implements dataplane.Addresses.
type Pools struct {
	cfg     Config
	started time.Time
	slots   chan struct{} // held while a node talks to EC2

	mu    sync.Mutex
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

// node returns the instance's pool, which may not be loaded yet.
func (p *Pools) node(id string) *node {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil {
		n = &node{id: id, config: NodeConfig{Settings: warmpool.Defaults()}, pods: map[types.UID]netip.Addr{}, addrs: map[netip.Addr]*address{}}
		p.nodes[id] = n
	}
	return n
}

// Start fills a node's pool, as ipamd does when the node boots.
func (p *Pools) Start(ctx context.Context, instanceID string) {
	n := p.node(instanceID)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.growing == nil && n.wantsMore(p.cfg.Clock.Now()) {
		p.grow(ctx, n)
	}
}

// Assign returns the pod's address: the one it has, else the preferred one if the
// instance holds it and no other pod does, else a free one. It waits while the
// pool grows, and returns ErrNoAddress when it cannot.
func (p *Pools) Assign(ctx context.Context, instanceID string, pod types.UID, name types.NamespacedName, prefer netip.Addr) (netip.Addr, error) {
	for {
		// Looked up each time: the instance may be forgotten while the pod waits.
		ip, wait := p.try(ctx, p.node(instanceID), pod, prefer)
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
func (p *Pools) try(ctx context.Context, n *node, pod types.UID, prefer netip.Addr) (netip.Addr, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := p.cfg.Clock.Now()
	ip := n.take(pod, prefer, now)
	if n.growing == nil && n.wantsMore(now) {
		p.grow(ctx, n)
	}
	return ip, n.growing
}

// Release gives the pod's address back.
func (p *Pools) Release(_ context.Context, instanceID string, pod types.UID) {
	p.mu.Lock()
	n := p.nodes[instanceID]
	p.mu.Unlock()
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.release(pod, p.cfg.Clock.Now())
}

// Forget drops what is known of an instance that has ended.
func (p *Pools) Forget(instanceID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.nodes, instanceID)
}

// Configure tells a node's ipamd what the cluster says now: the environment of its
// aws-node, its capacity for pods, its ENIConfig. It may be called at any time, also
// with what is known already.
func (p *Pools) Configure(instanceID string, c NodeConfig) {
	n := p.node(instanceID)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.config = c
}

// View returns one node's pool, false if it is not in use.
func (p *Pools) View(instanceID string) (View, bool) {
	p.mu.Lock()
	n := p.nodes[instanceID]
	p.mu.Unlock()
	if n == nil {
		return View{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	v := View{InstanceID: n.id, Cluster: n.cluster, Settings: n.config.Settings, RetryAt: n.retryAt}
	if n.limits == nil {
		return v, false
	}
	s := n.stats(p.cfg.Clock.Now())
	v.InstanceType, v.MaxENIs, v.IPv4PerENI = n.limits.Name, n.limits.DefaultCardENIs, n.limits.IPv4PerENI
	v.Total, v.Assigned, v.Cooling = s.Total, s.Assigned, s.Cooldown
	for _, e := range n.enis {
		v.ENIs = append(v.ENIs, ENIView{ID: e.id, Device: int(e.device), Subnet: n.subnet})
	}
	return v, true
}

// Log returns what is kept of the node's ipamd.log.
func (p *Pools) Log(instanceID string) []byte { return nil }

// Stats is the state of one node's pool.
type Stats struct {
	Interfaces int
	Total      int // addresses for pods
	Assigned   int
	Cooldown   int
}

// Stats returns the state of a node's pool, false if it is not in use.
func (p *Pools) Stats(instanceID string) (Stats, bool) {
	p.mu.Lock()
	n := p.nodes[instanceID]
	p.mu.Unlock()
	if n == nil {
		return Stats{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats(p.cfg.Clock.Now()), n.loaded
}
