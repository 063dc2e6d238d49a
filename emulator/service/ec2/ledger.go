package ec2

import (
	"errors"
	"net/netip"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// ledger hands out addresses within one transaction. It keeps the pools it
// touched and writes each once: a launch of many instances decodes a subnet's pool
// one time.
type ledger struct {
	tx    *store.Tx
	sc    awsid.Scope
	pools map[string]*SubnetAddressPool
}

func newLedger(tx *store.Tx, sc awsid.Scope) *ledger {
	return &ledger{tx: tx, sc: sc, pools: map[string]*SubnetAddressPool{}}
}

// pool returns the subnet's addresses to change, nil if the subnet is gone.
func (l *ledger) pool(subnet string) *SubnetAddressPool {
	p, ok := l.pools[subnet]
	if !ok {
		p = SubnetAddresses.Edit(l.tx, l.sc, subnet)
		if p == nil {
			return nil
		}
		l.pools[subnet] = p
	}
	return p
}

// flush writes the touched pools.
func (l *ledger) flush() {
	for id, p := range l.pools {
		SubnetAddresses.Put(l.tx, l.sc, id, p)
	}
}

// prefixBits is the size of the blocks that prefix delegation hands out.
const prefixBits = 28

// wish is the addresses that a request asks for.
type wish struct {
	// primary asks for a primary address; primaryIP for that one in particular.
	primary     bool
	primaryIP   string
	secondary   []string
	count       int // of further secondary addresses
	prefixes    []string
	prefixCount int
	v6          wish6
}

// slots is how many of an interface's address slots the secondary part takes.
func (w wish) slots() int { return len(w.secondary) + w.count + len(w.prefixes) + w.prefixCount }

func (w wish) check() error {
	if w.count < 0 || w.prefixCount < 0 {
		return errInvalid("Invalid value for the number of addresses or prefixes: it must not be negative.")
	}
	if w.count > 0 && len(w.secondary) > 0 {
		return errCombination("The parameters privateIpAddresses and secondaryPrivateIpAddressCount cannot be used together")
	}
	if w.prefixCount > 0 && len(w.prefixes) > 0 {
		return errCombination("The parameters ipv4Prefixes and ipv4PrefixCount cannot be used together")
	}
	if w.prefixCount+len(w.prefixes) > 0 && w.count+len(w.secondary) > 0 {
		return errCombination("Only one of private IP addresses and IPv4 prefixes can be requested at a time")
	}
	return nil
}

// grant is the addresses that a wish was given.
type grant struct {
	primary   netip.Addr
	secondary []netip.Addr
	prefixes  []netip.Prefix
	v6        grant6
}

var (
	errNoAddresses = apiError("InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses to satisfy the request.")
	errNoBlocks    = apiError("InsufficientCidrBlocks", "The specified subnet does not have enough free cidr blocks to satisfy the request.")
	errNoPrefixes  = errInvalid("There aren't sufficient free Ipv4 addresses or prefixes")
)

// take fulfils a wish wholly or not at all; on an error the pool is spoilt and
// the transaction must fail.
func take(p *SubnetAddressPool, w wish) (grant, error) {
	var g grant
	var err error
	if g.v6, err = p.take6(w.v6); err != nil {
		return g, err
	}
	pool := p.IPv4
	if pool == nil {
		if w.primaryIP != "" || w.slots() > 0 {
			return g, apiError("InvalidParameterCombination", "IPv4 addresses are not supported in an IPv6-only subnet")
		}
		return g, nil
	}
	if w.primaryIP != "" {
		a, err := takeOne(pool, w.primaryIP)
		if err != nil {
			return g, err
		}
		g.primary = a
	}
	for _, s := range w.secondary {
		a, err := takeOne(pool, s)
		if err != nil {
			return g, err
		}
		g.secondary = append(g.secondary, a)
	}
	for _, s := range w.prefixes {
		p, err := takeBlock(pool, s)
		if err != nil {
			return g, err
		}
		g.prefixes = append(g.prefixes, p)
	}
	n := w.count
	choosePrimary := w.primary && w.primaryIP == ""
	if choosePrimary {
		n++
	}
	// AWS tells a subnet with too few addresses from one whose free addresses lie
	// so that no aligned block is free (cilium pull request 31016).
	if w.prefixCount > 0 && n+w.prefixCount<<(32-prefixBits) > pool.Free() {
		return g, errNoPrefixes
	}
	for range w.prefixCount {
		p, err := p.takePrefix(pool, prefixBits)
		if err != nil {
			return g, errNoBlocks
		}
		g.prefixes = append(g.prefixes, p)
	}
	free, err := p.takeFree(pool, n)
	if err != nil {
		return g, errNoAddresses
	}
	if choosePrimary {
		g.primary, free = free[0], free[1:]
	}
	g.secondary = append(g.secondary, free...)
	return g, nil
}

func takeOne(pool *ipam.Pool, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return a, errInvalid("Value (%s) for parameter privateIpAddress is invalid. This is not a valid IP address.", s)
	}
	switch err := pool.Take(a); {
	case errors.Is(err, ipam.ErrInUse):
		return a, apiError("InvalidIPAddress.InUse", "Address %s is in use.", a)
	case err != nil && pool.CIDR.Contains(a):
		return a, errInvalid("Address %s is in subnet's reserved address range", a)
	case err != nil:
		return a, errInvalid("Address does not fall within the subnet's address range")
	}
	return a, nil
}

func takeBlock(pool *ipam.Pool, s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || p.Bits() != prefixBits || p != p.Masked() {
		return p, errInvalid("Value (%s) for parameter ipv4Prefix is invalid. IPv4 prefixes are blocks of length /%d.", s, prefixBits)
	}
	switch err := pool.TakeBlock(p); {
	case errors.Is(err, ipam.ErrInUse):
		return p, errInvalid("The Ipv4 prefix %s is already in use", p)
	case err != nil:
		return p, errInvalid("The Ipv4 prefix %s does not fall within the subnet's address range", p)
	}
	return p, nil
}

// releaseAll gives back every address that an interface holds.
func (l *ledger) releaseAll(eni *NetworkInterface) {
	pool := l.pool(deref(eni.SubnetId))
	if pool == nil {
		return
	}
	for _, a := range eni.PrivateIpAddresses {
		if ip, err := netip.ParseAddr(deref(a.PrivateIpAddress)); err == nil {
			pool.IPv4.Release(ip)
		}
	}
	for _, p := range eni.Ipv4Prefixes {
		if block, err := netip.ParsePrefix(deref(p.Ipv4Prefix)); err == nil {
			pool.IPv4.ReleaseBlock(block)
		}
	}
	if pool.IPv6 == nil {
		return
	}
	for _, a := range eni.Ipv6Addresses {
		if ip, err := netip.ParseAddr(deref(a.Ipv6Address)); err == nil {
			pool.IPv6.Release(ip)
		}
	}
	for _, p := range eni.Ipv6Prefixes {
		if block, err := netip.ParsePrefix(deref(p.Ipv6Prefix)); err == nil {
			pool.IPv6.ReleaseBlock(block)
		}
	}
}
