package ipamd

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// node is one instance's pool. mu guards what follows it and is never held while
// EC2 is asked: that work is done by one goroutine at a time, whose channel
// growing is.
type node struct {
	id string

	mu      sync.Mutex
	growing chan struct{} // closed when the work in progress is done; nil without any
	retryAt time.Time     // no growth before

	config  NodeConfig
	loaded  bool
	scope   awsid.Scope
	cluster string // of the instance's tags
	limits  *instancetypes.Type
	subnet  string
	groups  []string
	enis    []*eni // the primary one first

	addrs map[netip.Addr]*address
	order []*address // addrs as they came: older ones are given out first
	pods  map[types.UID]netip.Addr
	held  int // addresses with a pod
	// cooling is the addresses that were released lately, oldest first.
	cooling []*address
}

// eni is one interface of the instance.
type eni struct {
	id     string
	device int32
	slots  int // secondary addresses and prefixes it holds
}

// address is one address that pods can have.
type address struct {
	ip    netip.Addr
	pod   types.UID
	until time.Time // end of the cooldown
}

// perENI is how many secondary addresses one interface takes: the first address
// is its own.
func (n *node) perENI() int { return n.limits.IPv4PerENI - 1 }

// addInterface takes over the addresses that EC2 says an interface has.
func (n *node) addInterface(id string, device int32, ips []netip.Addr, prefixes []netip.Prefix) {
	i := slices.IndexFunc(n.enis, func(e *eni) bool { return e.id == id })
	if i < 0 {
		n.enis = append(n.enis, &eni{id: id, device: device})
		i = len(n.enis) - 1
	}
	n.enis[i].slots += len(ips) + len(prefixes)
	for _, ip := range ips {
		n.addAddress(ip)
	}
	for _, p := range prefixes {
		for ip := p.Addr(); ip.IsValid() && p.Contains(ip); ip = ip.Next() {
			n.addAddress(ip)
			if ip == ipam.Last(p) {
				break
			}
		}
	}
}

func (n *node) addAddress(ip netip.Addr) {
	if n.addrs[ip] == nil {
		a := &address{ip: ip}
		n.addrs[ip] = a
		n.order = append(n.order, a)
	}
}

// take gives the pod an address, the invalid one if none is free.
func (n *node) take(pod types.UID, prefer netip.Addr, now time.Time) netip.Addr {
	if !n.loaded {
		return netip.Addr{}
	}
	if ip, ok := n.pods[pod]; ok {
		return ip
	}
	n.endCooldowns(now)
	a := n.addrs[prefer]
	// A preferred address is the pod's own: its cooldown, if any, is about others.
	if a == nil || a.pod != "" {
		a = n.firstFree(now)
	}
	if a == nil {
		return netip.Addr{}
	}
	a.pod, a.until = pod, time.Time{}
	n.cooling = slices.DeleteFunc(n.cooling, func(c *address) bool { return c == a })
	n.pods[pod] = a.ip
	n.held++
	return a.ip
}

func (n *node) firstFree(now time.Time) *address {
	for _, a := range n.order {
		if a.pod == "" && !a.until.After(now) {
			return a
		}
	}
	return nil
}

func (n *node) release(pod types.UID, now time.Time) {
	ip, ok := n.pods[pod]
	if !ok {
		return
	}
	delete(n.pods, pod)
	n.held--
	a := n.addrs[ip]
	a.pod, a.until = "", now.Add(cooldown)
	n.cooling = append(n.cooling, a)
}

func (n *node) endCooldowns(now time.Time) {
	i := 0
	for i < len(n.cooling) && !n.cooling[i].until.After(now) {
		i++
	}
	n.cooling = n.cooling[i:]
}

// wantsMore tells whether the pool is below its warm target and could grow.
func (n *node) wantsMore(now time.Time) bool {
	if now.Before(n.retryAt) {
		return false
	}
	if !n.loaded {
		return true
	}
	n.endCooldowns(now)
	return len(n.addrs)-n.held-len(n.cooling) < n.perENI()*warmENIs && n.canGrow()
}

func (n *node) canGrow() bool {
	return len(n.enis) < n.limits.DefaultCardENIs || n.unfilled() != nil
}

// unfilled returns an interface with room for further addresses.
func (n *node) unfilled() *eni {
	for _, e := range n.enis {
		if e.slots < n.perENI() {
			return e
		}
	}
	return nil
}

// freeDevice returns the lowest device index without an interface.
func (n *node) freeDevice() int32 {
	for d := int32(1); ; d++ {
		if !slices.ContainsFunc(n.enis, func(e *eni) bool { return e.device == d }) {
			return d
		}
	}
}

func (n *node) stats(now time.Time) Stats {
	n.endCooldowns(now)
	return Stats{Interfaces: len(n.enis), Total: len(n.addrs), Assigned: n.held, Cooldown: len(n.cooling)}
}

// load takes over what EC2 says of the instance.
func (n *node) load(scope awsid.Scope, inst ec2types.Instance) bool {
	t, ok := instancetypes.Lookup(string(inst.InstanceType))
	if !ok || len(inst.NetworkInterfaces) == 0 {
		return false
	}
	n.scope, n.limits = scope, t
	if inst.SubnetId != nil {
		n.subnet = *inst.SubnetId
	}
	for _, g := range inst.SecurityGroups {
		n.groups = append(n.groups, *g.GroupId)
	}
	for _, tag := range inst.Tags {
		if *tag.Key == "eks:cluster-name" || *tag.Key == "eks:eks-cluster-name" {
			n.cluster = *tag.Value
		}
	}
	for _, i := range inst.NetworkInterfaces {
		// EFA-only, trunk and branch interfaces carry no addresses for pods.
		if i.InterfaceType != nil && *i.InterfaceType != "interface" && *i.InterfaceType != "efa" || i.Attachment == nil || *i.Attachment.NetworkCardIndex != 0 {
			continue
		}
		var ips []netip.Addr
		for _, a := range i.PrivateIpAddresses {
			if ip, err := netip.ParseAddr(*a.PrivateIpAddress); err == nil && !*a.Primary {
				ips = append(ips, ip)
			}
		}
		var prefixes []netip.Prefix
		for _, p := range i.Ipv4Prefixes {
			if pre, err := netip.ParsePrefix(*p.Ipv4Prefix); err == nil {
				prefixes = append(prefixes, pre)
			}
		}
		n.addInterface(*i.NetworkInterfaceId, *i.Attachment.DeviceIndex, ips, prefixes)
	}
	n.loaded = true
	return true
}
