// Package ipam allocates addresses and prefixes out of CIDR blocks, and models
// how the VPC CNI hands the addresses of a node's interfaces to its pods.
package ipam

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
)

// Errors of Pool.
var (
	// ErrFull means that no address is free.
	ErrFull = errors.New("no free address")
	// ErrNoPrefix means that no aligned block of the asked size is free, though
	// single addresses may be.
	ErrNoPrefix = errors.New("no free prefix")
	// ErrInUse means that the asked address is taken.
	ErrInUse = errors.New("address is in use")
	// ErrOutside means that the asked address is not in the pool's block, or is
	// one that AWS keeps to itself.
	ErrOutside = errors.New("address is not in the block")
)

// Pool knows which addresses of a CIDR block are taken; who holds them is the
// business of its owner. It survives encoding/json. It is not safe for
// concurrent use: it lives in a store record, whose transactions guard it.
//
// Taken addresses are kept as runs: lowest-free choice keeps them few, so that a /16
// with thousands of addresses stays a record of some hundred bytes. (A bitmap was
// rejected: 8 KiB per write for a /16, and no IPv6.) However many there are, n, to
// take or release an address takes O(log n); a prefix, O(n/128) at worst.
type Pool struct {
	CIDR netip.Prefix
	// Reserved counts the taken addresses that AWS keeps to itself.
	Reserved int

	runs runList
	held int // addresses in runs
}

// NewSubnet returns the pool of a VPC subnet. AWS keeps the first four and the
// last address of each: network, router, DNS, future use and broadcast.
func NewSubnet(cidr netip.Prefix) *Pool {
	cidr = cidr.Masked()
	first, last := cidr.Addr(), Last(cidr)
	p := &Pool{CIDR: cidr, Reserved: 5, held: 5}
	to := first
	for range 3 {
		to = to.Next()
	}
	p.runs = listOf([]Range{{first, to}, {last, last}})
	return p
}

// Clone returns an independent copy.
func (p *Pool) Clone() *Pool {
	c := *p
	c.runs = p.runs.clone()
	return &c
}

// Runs returns the runs of taken addresses, the reserved ones included, in order.
func (p *Pool) Runs() []Range { return p.runs.all() }

// Taken returns how many addresses are taken beyond the reserved ones.
func (p *Pool) Taken() int { return p.held - p.Reserved }

// Free returns how many addresses are free, at most math.MaxInt32.
func (p *Pool) Free() int {
	host := p.CIDR.Addr().BitLen() - p.CIDR.Bits()
	if host >= 31 {
		return 1<<31 - 1
	}
	return 1<<host - p.held
}

// IsFree tells whether a is in the block and not taken.
func (p *Pool) IsFree(a netip.Addr) bool {
	_, _, used := p.runs.find(a)
	return p.CIDR.Contains(a) && !used
}

// Take takes one particular address.
func (p *Pool) Take(a netip.Addr) error {
	if !p.CIDR.Contains(a) {
		return fmt.Errorf("%s, block %s: %w", a, p.CIDR, ErrOutside)
	}
	if p.isReserved(a) {
		return fmt.Errorf("%s is reserved in %s: %w", a, p.CIDR, ErrOutside)
	}
	if _, _, used := p.runs.find(a); used {
		return fmt.Errorf("%s: %w", a, ErrInUse)
	}
	p.add(Range{a, a})
	return nil
}

// TakeFree takes the n lowest free addresses, or none with ErrFull.
func (p *Pool) TakeFree(n int) ([]netip.Addr, error) {
	if n <= 0 {
		return nil, nil
	}
	if n > p.Free() {
		return nil, fmt.Errorf("%d of %s, %d free: %w", n, p.CIDR, p.Free(), ErrFull)
	}
	out := make([]netip.Addr, 0, n)
	var taken []Range
	for from, to := range p.gaps() {
		r := Range{from, from}
		for out = append(out, from); len(out) < n && r.To != to; out = append(out, r.To) {
			r.To = r.To.Next()
		}
		taken = append(taken, r)
		if len(out) == n {
			break
		}
	}
	for _, r := range taken {
		p.add(r)
	}
	return out, nil
}

// TakePrefix takes the lowest aligned free block of that length.
func (p *Pool) TakePrefix(bits int) (netip.Prefix, error) {
	if blk, ok := p.runs.firstBlock(p.CIDR, bits); ok {
		p.add(Range{blk.Addr(), Last(blk)})
		return blk, nil
	}
	return netip.Prefix{}, fmt.Errorf("a /%d of %s: %w", bits, p.CIDR, ErrNoPrefix)
}

// TakeBlock takes one particular block.
func (p *Pool) TakeBlock(b netip.Prefix) error {
	if b != b.Masked() || !Contains(p.CIDR, b) {
		return fmt.Errorf("%s, block %s: %w", b, p.CIDR, ErrOutside)
	}
	ci, i, _ := p.runs.find(b.Addr())
	if r := p.runs.at(ci, i); r != nil && !Last(b).Less(r.From) {
		return fmt.Errorf("%s: %w", b, ErrInUse)
	}
	p.add(Range{b.Addr(), Last(b)})
	return nil
}

// Release frees an address; freeing a free or reserved one does nothing.
func (p *Pool) Release(a netip.Addr) {
	if !p.isReserved(a) {
		p.remove(Range{a, a})
	}
}

// ReleaseBlock frees every address of b.
func (p *Pool) ReleaseBlock(b netip.Prefix) { p.remove(Range{b.Addr(), Last(b)}) }

func (p *Pool) isReserved(a netip.Addr) bool {
	if p.Reserved == 0 {
		return false
	}
	return a == Last(p.CIDR) || p.CIDR.Contains(a) && distance(p.CIDR.Addr(), a) < p.Reserved-1
}

// gaps yields the runs of free addresses in order.
func (p *Pool) gaps() iter.Seq2[netip.Addr, netip.Addr] { return p.runs.gaps(p.CIDR) }

func (p *Pool) add(r Range) {
	p.runs.add(r)
	p.held += r.size()
}

func (p *Pool) remove(r Range) { p.held -= p.runs.remove(r) }

// Fill takes every free address of b that is in the pool's block.
func (p *Pool) Fill(b netip.Prefix) {
	var free []Range
	for from, to := range p.gaps() {
		r := Range{maxAddr(from, b.Addr()), minAddr(to, Last(b))}
		if !r.To.Less(r.From) {
			free = append(free, r)
		}
	}
	for _, r := range free {
		p.add(r)
	}
}

// Within returns a pool of the part b of p's block, in which nothing is reserved
// but what p has taken is.
func (p *Pool) Within(b netip.Prefix) *Pool {
	out := &Pool{CIDR: b}
	for _, c := range p.runs.chunks {
		for _, u := range c.runs {
			r := Range{maxAddr(u.From, b.Addr()), minAddr(u.To, Last(b))}
			if !r.To.Less(r.From) {
				out.add(r)
			}
		}
	}
	return out
}

func maxAddr(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
}

func minAddr(a, b netip.Addr) netip.Addr {
	if b.Less(a) {
		return b
	}
	return a
}
