package ec2

import (
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/ipam"
)

// prefixBits6 is the size of the IPv6 blocks that prefix delegation hands out.
const prefixBits6 = 80

// wish6 is the IPv6 addresses that a request asks for.
type wish6 struct {
	addresses   []string
	count       int
	prefixes    []string
	prefixCount int
	primary     bool // makes the first address the primary one
}

func (w wish6) empty() bool { return w.slots() == 0 }
func (w wish6) slots() int  { return len(w.addresses) + w.count + len(w.prefixes) + w.prefixCount }

// wish6Of reads the parameters that CreateNetworkInterface and RunInstances share.
func wish6Of(ips []types.InstanceIpv6Address, count *int32, prefixes []types.Ipv6PrefixSpecificationRequest, prefixCount *int32, primary *bool) (wish6, error) {
	w := wish6{count: int(aws.ToInt32(count)), prefixCount: int(aws.ToInt32(prefixCount)), primary: aws.ToBool(primary)}
	for _, a := range ips {
		w.addresses = append(w.addresses, deref(a.Ipv6Address))
	}
	for _, p := range prefixes {
		w.prefixes = append(w.prefixes, deref(p.Ipv6Prefix))
	}
	return w, w.check()
}

func (w wish6) check() error {
	switch {
	case w.count < 0 || w.prefixCount < 0:
		return errInvalid("Invalid value for the number of addresses or prefixes: it must not be negative.")
	case w.count > 0 && len(w.addresses) > 0:
		return errCombination("The parameters ipv6Addresses and ipv6AddressCount cannot be used together")
	case w.prefixCount > 0 && len(w.prefixes) > 0:
		return errCombination("The parameters ipv6Prefixes and ipv6PrefixCount cannot be used together")
	}
	return nil
}

// grant6 is the IPv6 addresses that a wish was given.
type grant6 struct {
	addresses []netip.Addr
	prefixes  []netip.Prefix
}

// take6 is take for IPv6. The lowest free address is chosen, where AWS chooses a
// random one, so that the pool's record stays small.
func (p *SubnetAddressPool) take6(w wish6) (grant6, error) {
	var g grant6
	if w.empty() {
		return g, nil
	}
	if p.IPv6 == nil {
		return g, apiError("InvalidParameterCombination", "Cannot assign an IPv6 address to a network interface in a subnet that has no IPv6 CIDR block")
	}
	for _, s := range w.addresses {
		a, err := takeOne6(p.IPv6, s)
		if err != nil {
			return g, err
		}
		g.addresses = append(g.addresses, a)
	}
	for _, s := range w.prefixes {
		b, err := takeBlock6(p.IPv6, s)
		if err != nil {
			return g, err
		}
		g.prefixes = append(g.prefixes, b)
	}
	for range w.prefixCount {
		b, err := p.takePrefix(p.IPv6, prefixBits6)
		if err != nil {
			return g, errNoBlocks
		}
		g.prefixes = append(g.prefixes, b)
	}
	free, err := p.takeFree(p.IPv6, w.count)
	if err != nil {
		return g, errNoAddresses
	}
	g.addresses = append(g.addresses, free...)
	return g, nil
}

func takeOne6(pool *ipam.Pool, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is6() {
		return a, errInvalid("Value (%s) for parameter ipv6Addresses is invalid. This is not a valid IPv6 address.", s)
	}
	switch err := pool.Take(a); {
	case errors.Is(err, ipam.ErrInUse):
		return a, apiError("InvalidIPAddress.InUse", "Address %s is in use.", a)
	case err != nil && pool.CIDR.Contains(a):
		return a, errInvalid("Address %s is in subnet's reserved address range", a)
	case err != nil:
		return a, errInvalid("Address %s does not fall within the subnet's address range", a)
	}
	return a, nil
}

func takeBlock6(pool *ipam.Pool, s string) (netip.Prefix, error) {
	b, err := netip.ParsePrefix(s)
	if err != nil || !b.Addr().Is6() || b.Bits() != prefixBits6 || b != b.Masked() {
		return b, errInvalid("Value (%s) for parameter ipv6Prefix is invalid. IPv6 prefixes are blocks of length /%d.", s, prefixBits6)
	}
	switch err := pool.TakeBlock(b); {
	case errors.Is(err, ipam.ErrInUse):
		return b, errInvalid("The Ipv6 prefix %s is already in use", b)
	case err != nil:
		return b, errInvalid("The Ipv6 prefix %s does not fall within the subnet's address range", b)
	}
	return b, nil
}

// takeFree takes free addresses of pool, which is p's IPv4 or IPv6 one, outside
// the reservations.
func (p *SubnetAddressPool) takeFree(pool *ipam.Pool, n int) ([]netip.Addr, error) {
	if len(p.Reserved) == 0 {
		return pool.TakeFree(n)
	}
	out, err := p.unreserved(pool).TakeFree(n)
	if err != nil {
		return nil, err
	}
	for _, a := range out {
		if err := pool.Take(a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// takePrefix takes a block: out of the reservations for prefixes while they last, the
// lowest first, then from what no reservation keeps.
func (p *SubnetAddressPool) takePrefix(pool *ipam.Pool, bits int) (netip.Prefix, error) {
	if len(p.Reserved) == 0 {
		return pool.TakePrefix(bits)
	}
	byAddress := func(a, b Reservation) int { return a.CIDR.Addr().Compare(b.CIDR.Addr()) }
	for _, r := range slices.SortedFunc(maps.Values(p.Reserved), byAddress) {
		if !r.Prefixes || !ipam.Contains(pool.CIDR, r.CIDR) {
			continue
		}
		if b, err := pool.Within(r.CIDR).TakePrefix(bits); err == nil {
			return b, pool.TakeBlock(b)
		}
	}
	b, err := p.unreserved(pool).TakePrefix(bits)
	if err != nil {
		return b, err
	}
	return b, pool.TakeBlock(b)
}

// unreserved returns a copy of the pool in which the reservations are taken.
func (p *SubnetAddressPool) unreserved(pool *ipam.Pool) *ipam.Pool {
	out := pool.Clone()
	for _, r := range p.Reserved {
		if ipam.Contains(pool.CIDR, r.CIDR) {
			out.Fill(r.CIDR)
		}
	}
	return out
}

func (p *SubnetAddressPool) clone() *SubnetAddressPool {
	c := *p // reservations don't change under a launch
	if p.IPv4 != nil {
		c.IPv4 = p.IPv4.Clone()
	}
	if p.IPv6 != nil {
		c.IPv6 = p.IPv6.Clone()
	}
	return &c
}

// taken counts the addresses in use.
func (p *SubnetAddressPool) taken() int {
	n := 0
	for _, pool := range []*ipam.Pool{p.IPv4, p.IPv6} {
		if pool != nil {
			n += pool.Taken()
		}
	}
	return n
}
