package warmpool_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// TestHistories runs random histories: pods come and go, users change settings and
// interfaces, the subnet fills and empties. Whatever happens no address has two pods,
// counts are those of what is there, and a node left alone is what EC2 says.
func TestHistories(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { history(t, rand.New(rand.NewPCG(seed, 11))) })
	}
}

func history(t *testing.T, rnd *rand.Rand) {
	limits := []warmpool.Limits{t3small, {InstanceType: "m5.large", ENIs: 3, IPv4PerENI: 10, Prefixes: true}, {InstanceType: "m4.large", ENIs: 2, IPv4PerENI: 10}}[rnd.IntN(3)]
	r := newRig(t, limits, []string{"10.0.0.0/24", "10.0.0.0/26", "10.0.0.0/20"}[rnd.IntN(3)], warmpool.Config{Settings: settings(nil), MaxPods: 40})
	w := &world{rig: r, rnd: rnd, pods: map[string]netip.Addr{}}
	for range 300 {
		w.step()
		w.check()
	}
	if w.pool.Free() == 0 && len(w.blockers) > 0 {
		w.unblock(len(w.blockers))
	}
	w.refuse = nil
	w.pass(5 * time.Minute)
	w.check()
	w.agree()
	for id := range maps.Keys(maps.Clone(w.enis)) {
		w.detach(id)
	}
	w.unblock(len(w.blockers))
	if w.pool.Taken() != 0 {
		t.Errorf("%d addresses stay taken when the instance has ended", w.pool.Taken())
	}
}

// world is a rig under a history.
type world struct {
	*rig
	rnd      *rand.Rand
	pods     map[string]netip.Addr // as they were told
	born     int
	blockers []netip.Addr // addresses that somebody else has in the subnet
}

func (w *world) step() {
	switch w.rnd.IntN(13) {
	case 0, 1, 2, 3:
		for range 1 + w.rnd.IntN(6) {
			w.add()
		}
	case 4, 5:
		for _, p := range slices.Sorted(maps.Keys(w.pods))[:w.rnd.IntN(len(w.pods)+1)] {
			w.node.Release(p, "PodDeleted", w.now)
			delete(w.pods, p)
			w.settle()
		}
	case 6:
		w.pass(time.Duration(w.rnd.IntN(200)) * time.Second)
	case 7:
		w.configure()
	case 8:
		w.tamper()
	case 9:
		ips, _ := w.pool.TakeFree(min(w.pool.Free(), w.rnd.IntN(60)))
		w.blockers = append(w.blockers, ips...)
	case 10:
		w.unblock(w.rnd.IntN(len(w.blockers) + 1))
	case 12: // the daemon's pod is replaced while EC2 is at it
		w.now = w.now.Add(warmpool.Monitor)
		a := w.node.Next(w.now)
		w.node.Restart(w.now)
		if a.Kind != warmpool.None {
			w.node.Done(a, w.do(a), w.now)
		}
	case 11:
		w.refuse = nil
		if w.rnd.IntN(3) == 0 {
			code := []string{"UnauthorizedOperation", "RequestLimitExceeded", "InsufficientCidrBlocks"}[w.rnd.IntN(3)]
			w.refuse = func(warmpool.Action) error {
				if w.rnd.IntN(2) == 0 {
					return apiError(code)
				}
				return nil
			}
		}
	}
	w.settle()
}

func (w *world) add() {
	w.born++
	pod, prefer := fmt.Sprint("p", w.born), netip.Addr{}
	if w.rnd.IntN(4) == 0 { // one of an earlier process of the emulator
		prefer = ipam.Add(w.pool.CIDR.Addr(), w.rnd.Uint64N(200))
	}
	a := w.node.Assign(pod, "default", pod, prefer, w.now)
	w.settle()
	if !a.IsValid() {
		w.node.Refuse(w.now)
		return
	}
	w.pods[pod] = a
	// EC2 may just have given an address to this node that a user took from it before,
	// from under the pod.
	if _, ok := w.node.Has(pod); !ok {
		delete(w.pods, pod)
		return
	}
	if again := w.node.Assign(pod, "default", pod, netip.Addr{}, w.now); again != a {
		w.t.Fatalf("%s has %s, and then %s", pod, a, again)
	}
}

func (w *world) configure() {
	s := settings(func(s *warmpool.Settings) {
		s.WarmENITarget = w.rnd.IntN(3)
		// Not 0: then ipamd gives back and takes again without end, and never compares.
		s.WarmPrefixTarget = 1 + w.rnd.IntN(2)
		s.PrefixDelegation = w.rnd.IntN(2) == 0
		s.SubnetDiscovery = w.rnd.IntN(2) == 0
		if w.rnd.IntN(2) == 0 {
			s.WarmIPTarget, s.MinimumIPTarget = w.rnd.IntN(5), w.rnd.IntN(20)
		}
		if w.rnd.IntN(3) == 0 {
			s.MaxENI = w.rnd.IntN(4)
		}
	})
	w.node.Configure(warmpool.Config{Settings: s, MaxPods: 10 + w.rnd.IntN(100), Unschedulable: w.rnd.IntN(6) == 0}, w.now)
}

// tamper is a user who changes an interface without a word to the node.
func (w *world) tamper() {
	ids := slices.Sorted(maps.Keys(w.enis))
	e := w.enis[ids[w.rnd.IntN(len(ids))]]
	switch n := w.rnd.IntN(3); {
	case n == 0 && !e.Primary:
		w.detach(e.ID)
	case n == 1 && len(e.IPs) > 0:
		w.unassign(e, e.IPs[:1], nil)
	case n == 2:
		_ = w.assign(e, 1, w.rnd.IntN(2) == 0) // refused when full
	}
}

func (w *world) unblock(n int) {
	for _, a := range w.blockers[:n] {
		w.pool.Release(a)
	}
	w.blockers = w.blockers[n:]
}

// check is what holds at any time.
func (w *world) check() {
	s := w.node.State(w.now)
	owner := map[netip.Addr]string{}
	assigned := 0
	for _, p := range slices.Sorted(maps.Keys(w.pods)) {
		a, ok := w.node.Has(p)
		if !ok {
			continue // taken from under the pod by a user
		}
		assigned++
		if a != w.pods[p] {
			w.t.Fatalf("%s was told %s and has %s", p, w.pods[p], a)
		}
		if o := owner[a]; o != "" {
			w.t.Fatalf("%s has %s and %s", a, o, p)
		}
		owner[a] = p
	}
	sum, total, cooling := 0, 0, 0
	for _, e := range s.ENIs {
		sum += e.Assigned
		cooling += e.Cooling
		if s.Settings.PrefixDelegation && w.limits.Prefixes {
			total += 16 * len(e.Prefixes)
		} else {
			total += len(e.IPs)
		}
	}
	if sum != assigned || s.Started && s.Total != total || s.Assigned > assigned || s.Cooling > cooling || s.Assigned+s.Cooling > s.Total {
		w.t.Fatalf("%d pods, %d addresses: %+v", assigned, total, s)
	}
	if len(s.ENIs) > w.limits.ENIs {
		w.t.Fatalf("%d interfaces", len(s.ENIs))
	}
	for fn, n := range s.Counters.InProgress {
		if n != 0 {
			w.t.Fatalf("%s: %d in progress", fn, n)
		}
	}
}
