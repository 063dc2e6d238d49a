package plan

import (
	"net/netip"

	"github.com/ekslocal/ekslocal/emulator/ipam"
)

// prefixBits is the size of the blocks that prefix delegation hands out.
const (
	prefixBits = 28
	perPrefix  = 16
)

// Codes of EC2's refusals.
const (
	insufficientAddresses = "InsufficientFreeAddressesInSubnet"
	insufficientBlocks    = "InsufficientCidrBlocks"
	invalidValue          = "InvalidParameterValue"
)

// refusal is EC2's answer to a wish that a subnet cannot fulfil.
type refusal struct {
	code   string
	subnet *subnet
	launch bool // of an instance
}

func (r *refusal) ErrorCode() string { return r.code }

func (r *refusal) Error() string {
	switch r.code {
	case insufficientBlocks:
		return "InsufficientCidrBlocks: The specified subnet does not have enough free cidr blocks to satisfy the request."
	case invalidValue:
		return "InvalidParameterValue: There aren't sufficient free Ipv4 addresses or prefixes"
	}
	if r.launch {
		return "InsufficientFreeAddressesInSubnet: There are not enough free addresses in subnet '" + r.subnet.cidr.String() + "' to satisfy the requested number of instances."
	}
	return "InsufficientFreeAddressesInSubnet: The specified subnet does not have enough free addresses to satisfy the request."
}

// subnet is the ledger of one.
type subnet struct {
	cidr netip.Prefix
	pool *ipam.Pool
	use  Use
}

func newSubnet(cidr netip.Prefix) *subnet { return &subnet{cidr: cidr, pool: ipam.NewSubnet(cidr)} }

// grant is what a wish was given.
type grant struct {
	primary  netip.Addr
	ips      []netip.Addr
	prefixes []netip.Prefix
}

// take gives all that is wished for or nothing: prefixes first, then addresses, each
// the lowest that is free, and each refused as EC2 refuses it.
func (s *subnet) take(primary bool, ips, prefixes int) (grant, *refusal) {
	var g grant
	singles := ips
	if primary {
		singles++
	}
	if prefixes > 0 && singles+prefixes*perPrefix > s.pool.Free() {
		return g, &refusal{code: invalidValue, subnet: s}
	}
	for range prefixes {
		b, err := s.pool.TakePrefix(prefixBits)
		if err != nil {
			s.giveBack(g)
			return grant{}, &refusal{code: insufficientBlocks, subnet: s}
		}
		g.prefixes = append(g.prefixes, b)
	}
	free, err := s.pool.TakeFree(singles)
	if err != nil {
		s.giveBack(g)
		return grant{}, &refusal{code: insufficientAddresses, subnet: s}
	}
	if primary {
		g.primary, free = free[0], free[1:]
	}
	g.ips = free
	return g, nil
}

func (s *subnet) giveBack(g grant) {
	if g.primary.IsValid() {
		s.pool.Release(g.primary)
	}
	for _, a := range g.ips {
		s.pool.Release(a)
	}
	for _, b := range g.prefixes {
		s.pool.ReleaseBlock(b)
	}
}

// takePrimary takes the one address of an interface that has no more.
func (s *subnet) takePrimary() error {
	if _, r := s.take(true, 0, 0); r != nil {
		return r
	}
	return nil
}

// launch takes primary addresses for up to n instances and returns for how many there
// were some.
func (s *subnet) launch(n int) int {
	for i := range n {
		if s.takePrimary() != nil {
			return i
		}
		s.use.Nodes++
	}
	return n
}
