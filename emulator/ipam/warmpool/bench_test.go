package warmpool_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// perNode is how many pods of a benchmark are on one node, of 735 addresses.
const perNode = 600

// crowd is nodes that hold n addresses together. A cooldown is over after a hundred
// pods have ended.
func crowd(b *testing.B, n int, prefix bool) []*rig {
	b.Helper()
	s := settings(func(s *warmpool.Settings) {
		s.WarmIPTarget, s.PrefixDelegation, s.Cooldown = 135, prefix, 100*time.Microsecond
	})
	var rigs []*rig
	for held := 0; held < n; {
		r := newRig(b, p3dn, "10.0.0.0/16", warmpool.Config{Settings: s, MaxPods: 4000})
		for i := 0; i < perNode && held < n; i++ {
			if r.start(1) != 1 {
				b.Fatal("no address")
			}
			held++
		}
		rigs = append(rigs, r)
	}
	return rigs
}

// BenchmarkAssign is one pod that ends and one that starts, on nodes that hold so many
// addresses together, with all decisions that follow.
func BenchmarkAssign(b *testing.B) {
	pods := make([]string, perNode)
	for i := range pods {
		pods[i] = fmt.Sprint(i)
	}
	for _, n := range []int{perNode, 100_000} {
		for _, prefix := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d-held/prefix=%v", n, prefix), func(b *testing.B) {
				rigs := crowd(b, n, prefix)
				i := 0
				for b.Loop() {
					r := rigs[i%len(rigs)]
					r.now = r.now.Add(time.Microsecond)
					pod := pods[i/len(rigs)%r.pods]
					i++
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

// BenchmarkMemory says what an address costs that a node holds for a pod, the node's
// log and the spare addresses included.
func BenchmarkMemory(b *testing.B) {
	for _, prefix := range []bool{false, true} {
		b.Run(fmt.Sprintf("prefix=%v", prefix), func(b *testing.B) {
			const n = 20 * perNode
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			rigs := crowd(b, n, prefix)
			for _, r := range rigs {
				r.ledger = nil
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			for b.Loop() {
				rigs[0].node.Next(rigs[0].now)
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/address")
			runtime.KeepAlive(rigs)
		})
	}
}
