package ipam

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
)

// heldPool is a pool of 2^18 addresses of which about n are taken: one after the
// other, every second, or at random.
func heldPool(tb testing.TB, how string, n int) (*Pool, []netip.Addr) {
	tb.Helper()
	p := NewSubnet(netip.MustParsePrefix("10.0.0.0/14"))
	all, err := p.TakeFree(2 * n)
	if err != nil {
		tb.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var held []netip.Addr
	for i, a := range all {
		switch {
		case how == "contiguous" && i < n, how == "comb" && i%2 == 0, how == "random" && rnd.IntN(2) == 0:
			held = append(held, a)
		default:
			p.Release(a)
		}
	}
	return p, held
}

var shapes = []string{"contiguous", "comb", "random"}

// BenchmarkPool takes and gives back single addresses and prefixes of a pool with
// 100,000 held: an operation is one address taken and released, or one prefix.
func BenchmarkPool(b *testing.B) {
	for _, how := range shapes {
		p, held := heldPool(b, how, 100_000)
		b.Run(how+"/lowest", func(b *testing.B) {
			for b.Loop() {
				a, err := p.TakeFree(1)
				if err != nil {
					b.Fatal(err)
				}
				p.Release(a[0])
			}
		})
		b.Run(how+"/particular", func(b *testing.B) {
			i := 0
			for b.Loop() {
				a := held[i%len(held)]
				i += 7919
				p.Release(a)
				if err := p.Take(a); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(how+"/prefix", func(b *testing.B) {
			for b.Loop() {
				blk, err := p.TakePrefix(28)
				if err != nil {
					b.Fatal(err)
				}
				p.ReleaseBlock(blk)
			}
		})
	}
}

// BenchmarkPoolFills takes the addresses of a subnet one by one, to see that the last
// cost what the first do.
func BenchmarkPoolFills(b *testing.B) {
	for _, free := range []int{200_000, 100_000, 1_000} {
		b.Run(fmt.Sprintf("%d-free", free), func(b *testing.B) {
			p := NewSubnet(netip.MustParsePrefix("10.0.0.0/14"))
			held, err := p.TakeFree(p.Free() - free)
			if err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				p.Release(held[i%len(held)])
				if _, err := p.TakeFree(1); err != nil {
					b.Fatal(err)
				}
				i += 7919
			}
		})
	}
}

// BenchmarkPoolMemory says what a held address costs.
func BenchmarkPoolMemory(b *testing.B) {
	for _, how := range shapes {
		b.Run(how, func(b *testing.B) {
			p, held := heldPool(b, how, 100_000)
			raw, err := json.Marshal(p)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := json.Unmarshal(raw, new(Pool)); err != nil {
					b.Fatal(err)
				}
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			c := p.Clone()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(len(held)), "B/address")
			b.ReportMetric(float64(len(raw))/float64(len(held)), "stored-B/address")
			runtime.KeepAlive(c)
		})
	}
}
