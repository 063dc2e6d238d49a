package ipam

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// Last returns the last address of a block.
func Last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Contains tells whether all of inner is in outer.
func Contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// Size returns how many addresses a block has, at most math.MaxInt.
func Size(p netip.Prefix) int {
	host := p.Addr().BitLen() - p.Bits()
	if host >= 63 {
		return math.MaxInt
	}
	return 1 << host
}

// distance returns to - from, at most 1<<62: callers count addresses that somebody
// took one by one or in /28 and /80 blocks.
func distance(from, to netip.Addr) int {
	f, t := from.As16(), to.As16()
	hi := binary.BigEndian.Uint64(t[:8]) - binary.BigEndian.Uint64(f[:8])
	lo := binary.BigEndian.Uint64(t[8:])
	sub := binary.BigEndian.Uint64(f[8:])
	if lo < sub {
		hi--
	}
	if lo -= sub; hi > 0 || lo > 1<<62 {
		return 1 << 62
	}
	return int(lo)
}

// align returns the first block of that length that begins at or after a.
func align(a netip.Addr, bits int) (netip.Prefix, bool) {
	p := netip.PrefixFrom(a, bits).Masked()
	if p.Addr() == a {
		return p, true
	}
	next := Last(p).Next()
	if !next.IsValid() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(next, bits), true
}

// Offset returns how many addresses a is after from, which shares all but the last
// eight bytes with it.
func Offset(from, a netip.Addr) uint64 {
	f, t := from.As16(), a.As16()
	return binary.BigEndian.Uint64(t[8:]) - binary.BigEndian.Uint64(f[8:])
}

// Add returns the address n after a, whose last eight bytes hold the sum.
func Add(a netip.Addr, n uint64) netip.Addr {
	if a.Is4() {
		b := a.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+n)
	return netip.AddrFrom16(b)
}
