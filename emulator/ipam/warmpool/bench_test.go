package warmpool_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// crowded is a node with n pods of 4/3 as many addresses: larger than any instance,
// so that what grows with the number of addresses shows.
func crowded(b *testing.B, n int, prefix bool) *rig {
	b.Helper()
	s := settings(func(s *warmpool.Settings) {
		s.WarmIPTarget, s.PrefixDelegation, s.Cooldown = n/3, prefix, time.Duration(min(100, n/10))*time.Microsecond
	})
	perENI := 1000
	r := newRig(b, warmpool.Limits{InstanceType: "huge", ENIs: 1 + 2*n/perENI, IPv4PerENI: perENI + 1, Prefixes: true}, "10.0.0.0/12", warmpool.Config{Settings: s, MaxPods: 10 * n})
	for i := range n {
		if !r.node.Assign(fmt.Sprint(i), "default", "pod", netip.Addr{}, r.now).IsValid() {
			r.settle()
			if !r.node.Assign(fmt.Sprint(i), "default", "pod", netip.Addr{}, r.now).IsValid() {
				b.Fatal("no address")
			}
		}
	}
	r.settle()
	return r
}

// BenchmarkAssign is one pod that ends and one that starts, with all decisions that
// follow.
func BenchmarkAssign(b *testing.B) {
	for _, n := range []int{100, 1_000, 100_000} {
		for _, prefix := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d-held/prefix=%v", n, prefix), func(b *testing.B) {
				r := crowded(b, n, prefix)
				pods := make([]string, n)
				for i := range pods {
					pods[i] = fmt.Sprint(i)
				}
				i := 0
				for b.Loop() {
					r.now = r.now.Add(time.Microsecond)
					pod := pods[i%n]
					i += 7919
					r.node.Release(pod, "PodDeleted", r.now)
					if !r.node.Assign(pod, "default", "pod", netip.Addr{}, r.now).IsValid() {
						b.Fatal("no address")
					}
					if a := r.node.Next(r.now); a.Kind != warmpool.None {
						r.node.Done(a, r.do(a), r.now)
					}
				}
			})
		}
	}
}

// BenchmarkMemory says what an address costs that a node holds for a pod.
func BenchmarkMemory(b *testing.B) {
	for _, prefix := range []bool{false, true} {
		b.Run(fmt.Sprintf("prefix=%v", prefix), func(b *testing.B) {
			const n = 100_000
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			r := crowded(b, n, prefix)
			r.ledger = nil
			runtime.GC()
			runtime.ReadMemStats(&after)
			for b.Loop() {
				r.node.Next(r.now)
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/address")
			runtime.KeepAlive(r)
		})
	}
}
