// Package ipamd models the address pool that amazon-vpc-cni-k8s's ipamd keeps on
// every node: network interfaces and their secondary addresses, handed to pods.
//
// Source of the rules: amazon-vpc-cni-k8s, pkg/ipamd/ipamd.go and
// pkg/ipamd/datastore/data_store.go.
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
)

// EC2 is what ipamd asks of EC2.
type EC2 interface {
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	DescribeNetworkInterfaces(context.Context, *ec2.DescribeNetworkInterfacesInput, ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error)
	CreateNetworkInterface(context.Context, *ec2.CreateNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.CreateNetworkInterfaceOutput, error)
	DeleteNetworkInterface(context.Context, *ec2.DeleteNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.DeleteNetworkInterfaceOutput, error)
	AttachNetworkInterface(context.Context, *ec2.AttachNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.AttachNetworkInterfaceOutput, error)
	ModifyNetworkInterfaceAttribute(context.Context, *ec2.ModifyNetworkInterfaceAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyNetworkInterfaceAttributeOutput, error)
	AssignPrivateIpAddresses(context.Context, *ec2.AssignPrivateIpAddressesInput, ...func(*ec2.Options)) (*ec2.AssignPrivateIpAddressesOutput, error)
}

const (
	// warmENITarget is the default WARM_ENI_TARGET: keep as many addresses free as
	// one whole interface has.
	warmENITarget = 1
	// cooldown keeps a released address out of use, IP_COOLDOWN_PERIOD's default:
	// kube-proxy elsewhere may still send it traffic.
	cooldown = 30 * time.Second
	// exhaustedFor is how long ipamd leaves EC2 alone after a subnet was full.
	exhaustedFor = 120 * time.Second
)

// errNoAddress ends the FailedCreatePodSandBox event (CNI plugin, cni.go).
var errNoAddress = errors.New("add cmd: failed to assign an IP address to container")

// Config is what Pools works with.
type Config struct {
	EC2   EC2
	Clock clock.PassiveClock
	Log   *slog.Logger
}

// Pools is the ipamd of every node. It implements dataplane.Addresses. EC2 is the
// ledger: which addresses an instance has is read from there, and only which pod
// has which of them is kept here, and rebuilt from the pods.
type Pools struct {
	cfg Config

	mu    sync.Mutex
	nodes map[string]*pool // by instance id
}

// New returns pools for no node yet.
func New(cfg Config) *Pools { return &Pools{cfg: cfg, nodes: map[string]*pool{}} }

func (p *Pools) pool(instanceID string) *pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[instanceID]
	if n == nil {
		n = &pool{Config: p.cfg, instance: instanceID, byPod: map[types.UID]netip.Addr{}, taken: map[netip.Addr]types.UID{}, cooling: map[netip.Addr]time.Time{}}
		p.nodes[instanceID] = n
	}
	return n
}

// Assign implements dataplane.Addresses. ctx carries the caller in whose account
// the instance is.
func (p *Pools) Assign(ctx context.Context, instanceID string, pod types.UID, name types.NamespacedName, prefer netip.Addr) (netip.Addr, error) {
	n := p.pool(instanceID)
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, ok := n.byPod[pod]; ok {
		return a, nil
	}
	log := p.cfg.Log.With("instance", instanceID, "pod", name.String())
	if err := n.load(ctx); err != nil {
		log.Warn("ipamd: instance not readable", "error", err)
		return netip.Addr{}, errors.New("add cmd: Error received from AddNetwork gRPC call: " + err.Error())
	}
	a, ok := n.pick(prefer)
	if !ok {
		// ipamd would let the pod fail and grow the pool within 5 s. Growing at once
		// saves every such pod kubelet's 10 s retry.
		n.grow(ctx, log)
		a, ok = n.pick(prefer)
	}
	if !ok {
		log.Info("ipamd: DataStore has no available IP/Prefix addresses")
		return netip.Addr{}, errNoAddress
	}
	n.byPod[pod], n.taken[a] = a, pod
	n.grow(ctx, log)
	return a, nil
}

// Release implements dataplane.Addresses.
func (p *Pools) Release(_ context.Context, instanceID string, pod types.UID) {
	n := p.pool(instanceID)
	n.mu.Lock()
	defer n.mu.Unlock()
	a, ok := n.byPod[pod]
	if !ok {
		return
	}
	delete(n.byPod, pod)
	delete(n.taken, a)
	n.cooling[a] = p.cfg.Clock.Now().Add(cooldown)
}

// Forget drops what is known of an instance that is gone.
func (p *Pools) Forget(instanceID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.nodes, instanceID)
}
