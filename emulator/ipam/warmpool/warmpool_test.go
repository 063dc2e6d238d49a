package warmpool_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

func eniTarget(n int) func(*warmpool.Settings) {
	return func(s *warmpool.Settings) { s.WarmENITarget = n }
}

func ipTargets(warm, least int) func(*warmpool.Settings) {
	return func(s *warmpool.Settings) { s.WarmIPTarget, s.MinimumIPTarget = warm, least }
}

func prefixes(warm, ips, least int) func(*warmpool.Settings) {
	return func(s *warmpool.Settings) {
		s.PrefixDelegation, s.WarmPrefixTarget, s.WarmIPTarget, s.MinimumIPTarget = true, warm, ips, least
	}
}

// TestWorkedExamples are the tables of the CNI's docs/eni-and-ip-target.md and
// docs/prefix-and-ip-target.md, each held for ten minutes. Where a table contradicts
// the code (interfaces of p3dn.24xlarge without a prefix), the code counts.
func TestWorkedExamples(t *testing.T) {
	for _, c := range []struct {
		limits  warmpool.Limits
		how     string
		with    func(*warmpool.Settings)
		pods    int
		perENI  []int
		unused  int
		maxPods int
	}{
		{t3small, "eni 1", eniTarget(1), 0, []int{3}, 3, 0},
		{t3small, "eni 1", eniTarget(1), 5, []int{3, 3, 3}, 4, 0},
		{t3small, "eni 1", eniTarget(1), 9, []int{3, 3, 3}, 0, 0},
		{t3small, "ip 1, min 1", ipTargets(1, 1), 0, []int{1}, 1, 0},
		{t3small, "ip 1, min 1", ipTargets(1, 1), 5, []int{3, 3}, 1, 0},
		{t3small, "ip 1, min 1", ipTargets(1, 1), 9, []int{3, 3, 3}, 0, 0},
		{t3small, "ip 2, min 5", ipTargets(2, 5), 0, []int{3, 2}, 5, 0},
		{t3small, "ip 2, min 5", ipTargets(2, 5), 5, []int{3, 3, 1}, 2, 0},
		{t3small, "ip 2, min 5", ipTargets(2, 5), 9, []int{3, 3, 3}, 0, 0},
		{p3dn, "eni 1", eniTarget(1), 0, []int{49}, 49, 0},
		{p3dn, "eni 1", eniTarget(1), 3, []int{49, 49}, 95, 0},
		{p3dn, "eni 1", eniTarget(1), 95, []int{49, 49, 49}, 52, 0},
		{p3dn, "ip 5, min 10", ipTargets(5, 10), 0, []int{10}, 10, 0},
		{p3dn, "ip 5, min 10", ipTargets(5, 10), 7, []int{12}, 5, 0},
		{p3dn, "ip 5, min 10", ipTargets(5, 10), 15, []int{20}, 5, 0},
		{p3dn, "ip 5, min 10", ipTargets(5, 10), 45, []int{49, 1}, 5, 0},

		{t3small, "prefix 1", prefixes(1, 0, 0), 0, []int{1}, 16, 110},
		{t3small, "prefix 1", prefixes(1, 0, 0), 5, []int{2}, 27, 110},
		{t3small, "prefix 1", prefixes(1, 0, 0), 16, []int{2}, 16, 110},
		{t3small, "prefix 1", prefixes(1, 0, 0), 17, []int{3}, 31, 110},
		{t3small, "prefix 1", prefixes(1, 0, 0), 58, []int{3, 2}, 22, 110},
		{t3small, "prefix, ip 1, min 1", prefixes(1, 1, 1), 0, []int{1}, 16, 110},
		{t3small, "prefix, ip 1, min 1", prefixes(1, 1, 1), 5, []int{1}, 11, 110},
		{t3small, "prefix, ip 1, min 1", prefixes(1, 1, 1), 17, []int{2}, 15, 110},
		{t3small, "prefix, ip 1, min 1", prefixes(1, 1, 1), 58, []int{3, 1}, 6, 110},
		{t3small, "prefix, ip 7, min 20", prefixes(1, 7, 20), 0, []int{2}, 32, 110},
		{t3small, "prefix, ip 7, min 20", prefixes(1, 7, 20), 5, []int{2}, 27, 110},
		{t3small, "prefix, ip 7, min 20", prefixes(1, 7, 20), 17, []int{2}, 15, 110},
		{t3small, "prefix, ip 7, min 20", prefixes(1, 7, 20), 58, []int{3, 2}, 22, 110},
		{p3dn, "prefix 1", prefixes(1, 0, 0), 3, []int{2}, 29, 250},
		{p3dn, "prefix 1", prefixes(1, 0, 0), 95, []int{7}, 17, 250},
		{p3dn, "prefix, ip 5, min 10", prefixes(1, 5, 10), 0, []int{1}, 16, 250},
		{p3dn, "prefix, ip 5, min 10", prefixes(1, 5, 10), 7, []int{1}, 9, 250},
		{p3dn, "prefix, ip 5, min 10", prefixes(1, 5, 10), 15, []int{2}, 17, 250},
		{p3dn, "prefix, ip 5, min 10", prefixes(1, 5, 10), 45, []int{4}, 19, 250},

		// Others: the capacity for pods and MAX_ENI stop growth.
		{t3small, "eni 1, capacity 3", eniTarget(1), 3, []int{3}, 0, 3},
		{t3small, "eni 2", eniTarget(2), 0, []int{3, 3}, 6, 0},
		{t3small, "eni 0", eniTarget(0), 0, []int{3}, 3, 0},
		{t3small, "max eni 2", func(s *warmpool.Settings) { s.MaxENI = 2 }, 6, []int{3, 3}, 0, 0},
		{t3small, "max eni 200", func(s *warmpool.Settings) { s.MaxENI = 200 }, 9, []int{3, 3, 3}, 0, 0},
		{t3small, "huge", ipTargets(1<<62, 1<<62), 1, []int{3, 3, 3}, 8, 0},
		{t3small, "min only", ipTargets(0, 5), 5, []int{3, 2}, 0, 0},
		{t3small, "no PD on Xen", prefixes(1, 0, 0), 0, []int{3}, 3, 0},
	} {
		t.Run(fmt.Sprintf("%s/%s/%d", c.limits.InstanceType, c.how, c.pods), func(t *testing.T) {
			if strings.Contains(c.how, "Xen") {
				c.limits.Prefixes = false
			}
			r := newRig(t, c.limits, "10.0.0.0/16", warmpool.Config{Settings: settings(c.with), MaxPods: c.maxPods})
			if got := r.start(c.pods); got != c.pods {
				t.Fatalf("%d pods of %d", got, c.pods)
			}
			for range 20 {
				if d := cmp.Diff(c.perENI, r.perENI()); d != "" {
					t.Fatalf("at %s: %s", r.now.Format(time.TimeOnly), d)
				}
				if s := r.node.State(r.now); s.Total-s.Assigned != c.unused || s.Assigned != c.pods {
					t.Fatalf("%d of %d assigned, want %d unused", s.Assigned, s.Total, c.unused)
				}
				r.agree()
				r.pass(30 * time.Second)
			}
		})
	}
}

// TestRefusals: which of EC2's answers make the node wait for two minutes, which
// only for the monitor's next look.
func TestRefusals(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		name    string
		with    func(*warmpool.Settings)
		code    string
		kinds   []warmpool.Kind // refused
		retries time.Duration   // when it tries again
	}{
		{"no addresses for an interface", nil, "InsufficientFreeAddressesInSubnet", []warmpool.Kind{warmpool.Create, warmpool.Assign}, 125 * second},
		{"no blocks for an interface", prefixes(1, 0, 0), "InsufficientCidrBlocks", []warmpool.Kind{warmpool.Create, warmpool.Assign}, 125 * second},
		{"a full subnet, asked for prefixes", prefixes(1, 0, 0), "InvalidParameterValue", []warmpool.Kind{warmpool.Create, warmpool.Assign}, 5 * second},
		{"no permission", nil, "UnauthorizedOperation", []warmpool.Kind{warmpool.Create, warmpool.Assign}, 5 * second},
		{"limit of interfaces", nil, "AttachmentLimitExceeded", []warmpool.Kind{warmpool.Create}, 5 * second},
		// With subnet discovery the shortage of one interface's subnet is none of the
		// next's, and where no further interface fits nobody waits.
		{"no addresses, no room for an interface", func(s *warmpool.Settings) { s.MaxENI = 1 }, "InsufficientFreeAddressesInSubnet", []warmpool.Kind{warmpool.Assign}, 5 * second},
		{"the same without discovery", func(s *warmpool.Settings) { s.MaxENI, s.SubnetDiscovery = 1, false }, "InsufficientFreeAddressesInSubnet", []warmpool.Kind{warmpool.Assign}, 125 * second},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &rig{ledger: newLedger(t, t3small, "10.0.0.0/24"), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
			r.node = warmpool.New(warmpool.Config{Settings: settings(c.with), MaxPods: 30})
			r.refuse = func(a warmpool.Action) error {
				for _, k := range c.kinds {
					if a.Kind == k {
						return apiError(c.code)
					}
				}
				return nil
			}
			r.settle()
			if !refused(r.calls, c.kinds) {
				r.start(3) // an interface is needed once the first is full
			}
			r.calls = nil
			began := r.now
			for range 60 {
				r.pass(5 * second)
				if refused(r.calls, c.kinds) {
					break
				}
			}
			if got := r.now.Sub(began); got != c.retries {
				t.Errorf("asks again after %s, want %s\n%s", got, c.retries, r.node.Log())
			}
			if s := r.node.State(r.now); s.LastError == "" || !s.RetryAt.After(r.now) {
				t.Errorf("says %q, again at %s", s.LastError, s.RetryAt)
			}
			r.refuse = nil
			r.pass(130 * second)
			if s := r.node.State(r.now); s.LastError != "" || !s.RetryAt.IsZero() || s.Total == 0 {
				t.Errorf("EC2 is well again: %+v", s)
			}
		})
	}
}

func refused(calls []warmpool.Action, kinds []warmpool.Kind) bool {
	for _, a := range calls {
		for _, k := range kinds {
			if a.Kind == k {
				return true
			}
		}
	}
	return false
}

// TestNearlyFull: what is wanted is asked for first, then one by one; an interface
// takes all or nothing.
func TestNearlyFull(t *testing.T) {
	r := newRig(t, p3dn, "10.0.0.0/26", warmpool.Config{Settings: settings(nil)}) // 58 for pods
	if d := cmp.Diff([]int{49}, r.perENI()); d != "" {
		t.Error(d)
	}
	r.start(1)
	if r.pool.Free() != 9 || len(r.enis) != 1 {
		t.Errorf("%d free: an interface of 1+49 was made of 9", r.pool.Free())
	}
	if got := r.start(60); got != 48 {
		t.Errorf("%d more pods, want 48", got)
	}
	r.node.Configure(warmpool.Config{Settings: settings(ipTargets(1, 0))}, r.now)
	r.settle()
	if got := r.start(60); got != 8 {
		t.Errorf("%d more pods with WARM_IP_TARGET=1, want 8", got)
	}
	if r.pool.Free() != 0 {
		t.Errorf("%d free", r.pool.Free())
	}
}

// TestCooldown: an address that a pod gave back counts as available, so that the pool
// does not grow, though no pod gets it for 30 seconds.
func TestCooldown(t *testing.T) {
	r := newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: settings(nil)})
	r.start(9)
	r.stop(9)
	if got := r.start(1); got != 0 {
		t.Error("an address in its cooldown was given")
	}
	if s := r.node.State(r.now); s.Cooling != 9 || s.Assigned != 0 || s.Total != 9 {
		t.Errorf("%+v", s)
	}
	r.now = r.now.Add(30 * time.Second)
	if got := r.start(1); got != 0 {
		t.Error("an address was given at the end of its cooldown, not after")
	}
	r.now = r.now.Add(time.Millisecond)
	if got := r.start(9); got != 9 {
		t.Errorf("%d pods after the cooldown", got)
	}
	// A pod gets its own address back at any time.
	own, _ := r.node.Has("3")
	r.node.Release("3", "PodDeleted", r.now)
	if got := r.node.Assign("3", "default", "pod-3", own, r.now); got != own {
		t.Errorf("%v, had %v", got, own)
	}
	if s := r.node.State(r.now); s.Cooling != 0 || s.Assigned != 9 {
		t.Errorf("%+v", s)
	}
}

// TestOrder: which address the next pod gets is determined.
func TestOrder(t *testing.T) {
	r := newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: settings(prefixes(1, 0, 0)), MaxPods: 110})
	r.start(18)
	got := func(pod string) string { a, _ := r.node.Has(pod); return a.String() }
	if got("0") != "10.0.0.16" || got("15") != "10.0.0.31" || got("16") != "10.0.0.32" {
		t.Errorf("%s, %s, %s", got("0"), got("15"), got("16"))
	}
	for _, pod := range []string{"7", "3"} {
		r.node.Release(pod, "PodDeleted", r.now)
		r.now = r.now.Add(time.Second)
	}
	r.start(1)
	if got("18") != "10.0.0.34" {
		t.Errorf("while two cool: %s", got("18"))
	}
	r.now = r.now.Add(time.Minute)
	r.start(2)
	if got("19") != "10.0.0.23" || got("20") != "10.0.0.19" {
		t.Errorf("after: %s, %s, want the one that rested longest first", got("19"), got("20"))
	}
}

// TestShrink: surplus addresses go every 30 seconds, and do not come back by
// themselves.
func TestShrink(t *testing.T) {
	r := newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: settings(nil)})
	r.start(4)
	r.node.Configure(warmpool.Config{Settings: settings(ipTargets(1, 0))}, r.now)
	r.settle()
	r.pass(5 * time.Second)
	if d := cmp.Diff([]int{3, 2, 0}, r.perENI()); d != "" {
		t.Error(d)
	}
	r.agree()
	r.stop(2)
	r.pass(25 * time.Second)
	if d := cmp.Diff([]int{3, 2, 0}, r.perENI()); d != "" {
		t.Errorf("before 30 seconds: %s", d)
	}
	r.pass(10 * time.Second)
	if d := cmp.Diff([]int{3, 0, 0}, r.perENI()); d != "" {
		t.Errorf("after: %s", d)
	}
	r.pass(time.Minute)
	if d := cmp.Diff([]int{3}, r.perENI()); d != "" {
		t.Errorf("empty interfaces stay: %s", d)
	}
	r.agree()
}

// TestFreeENI: whole interfaces go one at a time, when they are a minute old, nothing
// cools on them, and the rest is warm enough.
func TestFreeENI(t *testing.T) {
	r := newRig(t, p3dn, "10.0.0.0/16", warmpool.Config{Settings: settings(nil)})
	r.start(120)
	if len(r.enis) != 4 {
		t.Fatalf("%d interfaces", len(r.enis))
	}
	r.stop(120)
	r.pass(30 * time.Second)
	if len(r.enis) != 4 {
		t.Errorf("%d interfaces while all are young", len(r.enis))
	}
	r.pass(30 * time.Second)
	if len(r.enis) != 3 {
		t.Errorf("%d interfaces after the first look", len(r.enis))
	}
	r.pass(5 * time.Second)
	if len(r.enis) != 2 {
		t.Errorf("%d interfaces after the second look", len(r.enis))
	}
	r.pass(10 * time.Minute)
	if d := cmp.Diff([]int{49}, r.perENI()); d != "" {
		t.Errorf("one is warm enough: %s", d)
	}
	if _, ok := r.enis["eni-0"]; !ok {
		t.Error("the primary interface went")
	}
	r.agree()
}

// TestSwitchPrefixDelegation both ways, while pods run.
func TestSwitchPrefixDelegation(t *testing.T) {
	r := newRig(t, p3dn, "10.0.0.0/20", warmpool.Config{Settings: settings(nil)})
	r.start(10)
	before := addresses(r, 10)
	r.node.Configure(warmpool.Config{Settings: settings(prefixes(1, 0, 0)), MaxPods: 110}, r.now)
	r.settle()
	if d := cmp.Diff(before, addresses(r, 10)); d != "" {
		t.Errorf("pods changed their addresses: %s", d)
	}
	if s := r.node.State(r.now); s.Total != 16 || s.Prefixes != 1 {
		t.Errorf("%+v", s)
	}
	r.start(1)
	if a, _ := r.node.Has("10"); a != r.node.State(r.now).ENIs[0].Prefixes[0].Addr() {
		t.Errorf("a new pod got %s", a)
	}
	r.agree()
	r.node.Configure(warmpool.Config{Settings: settings(nil)}, r.now)
	r.settle()
	if s := r.node.State(r.now); s.Prefixes != 1 || s.Assigned != 10 {
		t.Errorf("back again: %+v", s)
	}
	r.stop(1) // the last pod with an address of a prefix
	if s := r.node.State(r.now); s.Prefixes != 0 {
		t.Errorf("the prefix stays: %+v", s)
	}
	if d := cmp.Diff(before, addresses(r, 10)); d != "" {
		t.Errorf("pods changed their addresses: %s", d)
	}
	r.agree()
}

func addresses(r *rig, pods int) map[string]string {
	out := map[string]string{}
	for i := range pods {
		a, _ := r.node.Has(fmt.Sprint(i))
		out[fmt.Sprint(i)] = a.String()
	}
	return out
}

// TestOutOfBand: what users change in EC2 shows after a reconciliation.
func TestOutOfBand(t *testing.T) {
	r := newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: settings(ipTargets(1, 3))})
	r.start(4)
	r.pass(time.Minute)
	// A user takes a pod's address away, gives another one, and detaches the second
	// interface under the fourth pod.
	first := r.enis["eni-0"]
	a, _ := r.node.Has("0")
	r.unassign(first, []netip.Addr{a}, nil)
	r.detach("eni-1")
	other := netip.MustParseAddr("10.0.0.200")
	if err := r.pool.Take(other); err != nil {
		t.Fatal(err)
	}
	first.IPs = append(first.IPs, other)
	if _, ok := r.node.Has("0"); !ok {
		t.Error("seen at once")
	}
	r.pass(65 * time.Second)
	r.agree()
	if a, ok := r.node.Has("0"); ok {
		t.Errorf("pod 0 still has %s", a)
	}
	if a, ok := r.node.Has("3"); ok {
		t.Errorf("pod 3 still has %s", a)
	}
	s := r.node.State(r.now)
	if c := s.Counters; c.ForceRemovedENIs != 1 || c.ForceRemovedIPs != 2 || c.Reconciles["eniReconcileDel"] != 1 {
		t.Errorf("%+v", c)
	}
	// What the node itself gave back it does not take over for a minute.
	r.stop(3)
	r.pass(40 * time.Second)
	spare := firstFree(r)
	r.node.Configure(warmpool.Config{Settings: settings(ipTargets(1, 1))}, r.now)
	r.pass(5 * time.Second)
	if spare.IsValid() && r.pool.IsFree(spare) {
		_ = r.pool.Take(spare)
		first.IPs = append(first.IPs, spare)
	}
	r.pass(5 * time.Minute)
	r.agree()
}

func firstFree(r *rig) netip.Addr {
	for _, a := range r.enis["eni-0"].IPs {
		return a
	}
	return netip.Addr{}
}

// TestUnknownAddresses: an interface with more than the node knows is read again.
func TestUnknownAddresses(t *testing.T) {
	r := newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: settings(ipTargets(1, 0))})
	if err := r.assign(r.enis["eni-0"], 2, false); err != nil {
		t.Fatal(err)
	}
	r.start(1)
	r.agree()
	if s := r.node.State(r.now); s.Total != 3 {
		t.Errorf("%+v", s)
	}
}

// TestKinds: which interfaces give addresses, and which only take places.
func TestKinds(t *testing.T) {
	r := newRig(t, p3dn, "10.0.0.0/16", warmpool.Config{Settings: settings(func(s *warmpool.Settings) { s.PodENI, s.CustomNetworking, s.MaxENI = true, true, 4 })})
	if d := cmp.Diff([]int{49, 0}, r.perENI()); d != "" {
		t.Errorf("custom networking fills the primary interface: %s", d)
	}
	// A place is kept for the trunk interface, which takes it.
	r.start(98)
	if len(r.enis) != 3 {
		t.Errorf("%d interfaces of 4, one is the trunk's", len(r.enis))
	}
	r.enis["eni-t"] = &warmpool.Interface{ID: "eni-t", Device: 9, Trunk: true, Address: netip.MustParseAddr("10.0.200.1")}
	r.pass(10 * time.Second)
	if r.start(1) != 0 || len(r.enis) != 4 {
		t.Errorf("%d interfaces with the trunk", len(r.enis))
	}

	r = newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: settings(nil)})
	r.enis["eni-0"].Excluded = true
	r.enis["eni-x"] = &warmpool.Interface{ID: "eni-x", Device: 7, Unmanaged: true, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.222")}}
	r.pass(65 * time.Second)
	if s := r.node.State(r.now); s.MaxENIs != 2 || s.Total != 3 || len(r.enis) != 3 {
		t.Errorf("a closed primary interface and a foreign one leave %d places, %d addresses", s.MaxENIs, s.Total)
	}
	if got := r.start(9); got != 3 {
		t.Errorf("%d pods", got)
	}
}

// TestCordoned: the interfaces of a node without scheduling stay as they are.
func TestCordoned(t *testing.T) {
	r := newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: settings(nil)})
	r.node.Configure(warmpool.Config{Settings: settings(nil), Unschedulable: true}, r.now)
	r.start(1)
	r.pass(time.Minute)
	if len(r.enis) != 1 {
		t.Errorf("%d interfaces", len(r.enis))
	}
	r.node.Configure(warmpool.Config{Settings: settings(nil)}, r.now)
	r.pass(10 * time.Second)
	if len(r.enis) != 2 {
		t.Errorf("%d interfaces after uncordon", len(r.enis))
	}
}

// TestIPv6: one /80 on the primary interface serves every pod, and no target says
// otherwise.
func TestIPv6(t *testing.T) {
	r := newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: settings(func(s *warmpool.Settings) { s.IPv6, s.PrefixDelegation, s.WarmENITarget = true, true, 5 }), MaxPods: 110})
	if got := r.start(110); got != 110 {
		t.Fatalf("%d pods", got)
	}
	if a, _ := r.node.Has("0"); a.String() != "2600:1f18:1:2:1::" {
		t.Errorf("the first pod has %s", a)
	}
	if a, _ := r.node.Has("109"); a.String() != "2600:1f18:1:2:1::6d" {
		t.Errorf("the last pod has %s", a)
	}
	r.stop(1)
	r.pass(10 * time.Minute)
	if len(r.enis) != 1 || len(r.enis["eni-0"].IPs) != 0 || len(r.enis["eni-0"].Prefixes) != 1 {
		t.Errorf("%+v", r.enis["eni-0"])
	}
	r.start(1)
	if a, _ := r.node.Has("109"); a.String() != "2600:1f18:1:2:1::6d" {
		t.Errorf("after the cooldown: %s", a)
	}
}

func TestInvalidSettings(t *testing.T) {
	s, _ := warmpool.ParseSettings(map[string]string{"ENABLE_IPv6": "true"})
	r := newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: s})
	if got := r.start(1); got != 0 || len(r.calls) != 0 {
		t.Errorf("a daemon that does not start gave %d addresses and called %v", got, r.calls)
	}
	if v := r.node.State(r.now); v.LastError == "" {
		t.Error("it does not say why")
	}
}

func TestParseSettings(t *testing.T) {
	base := warmpool.Settings{
		WarmENITarget: 1, MaxENI: -1, SubnetDiscovery: true, ManageUntagged: true, Cooldown: 30 * time.Second,
		ENIConfigLabel: "k8s.amazonaws.com/eniConfig", ENIConfigAnnotation: "k8s.amazonaws.com/eniConfig", LogLevel: "Debug",
	}
	for _, c := range []struct {
		env  map[string]string
		want func(*warmpool.Settings)
		says []string
	}{
		{nil, nil, nil},
		{map[string]string{"WARM_ENI_TARGET": "3", "WARM_IP_TARGET": "2", "MINIMUM_IP_TARGET": "10", "WARM_PREFIX_TARGET": "4", "MAX_ENI": "5"},
			func(s *warmpool.Settings) {
				s.WarmENITarget, s.WarmIPTarget, s.MinimumIPTarget, s.WarmPrefixTarget, s.MaxENI = 3, 2, 10, 4, 5
			}, nil},
		{map[string]string{"WARM_ENI_TARGET": "abc", "WARM_IP_TARGET": "abc", "MINIMUM_IP_TARGET": "1.5", "WARM_PREFIX_TARGET": "", "MAX_ENI": "many"}, nil, nil},
		{map[string]string{"WARM_ENI_TARGET": "-1", "WARM_IP_TARGET": "-2", "MINIMUM_IP_TARGET": "-9", "WARM_PREFIX_TARGET": "-1", "MAX_ENI": "0"}, nil, nil},
		{map[string]string{"WARM_IP_TARGET": "99999999999999999999", "MAX_ENI": "99999999999999999999"}, nil, nil},
		{map[string]string{"WARM_ENI_TARGET": "0"}, func(s *warmpool.Settings) { s.WarmENITarget = 0 }, nil},
		{map[string]string{"ENABLE_PREFIX_DELEGATION": "yes", "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "on", "ENABLE_SUBNET_DISCOVERY": "", "ENABLE_POD_ENI": ""}, nil, []string{
			`Failed to parse AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG; using default: false, err: strconv.ParseBool: parsing "on": invalid syntax`,
			"Failed to parse variable ENABLE_PREFIX_DELEGATION with value yes as boolean",
			"Failed to parse variable ENABLE_POD_ENI with value  as boolean",
		}},
		{map[string]string{"IP_COOLDOWN_PERIOD": "soon"}, nil, []string{"Failed to parse variable IP_COOLDOWN_PERIOD with value soon as integer"}},
		{map[string]string{"IP_COOLDOWN_PERIOD": "5", "ENABLE_SUBNET_DISCOVERY": "false", "AWS_VPC_K8S_CNI_LOG_FILE": "stdout", "AWS_VPC_K8S_CNI_LOGLEVEL": "WARN", "ENI_CONFIG_LABEL_DEF": "topology.kubernetes.io/zone"},
			func(s *warmpool.Settings) {
				s.Cooldown, s.SubnetDiscovery, s.LogToStdout, s.LogLevel, s.ENIConfigLabel = 5*time.Second, false, true, "WARN", "topology.kubernetes.io/zone"
			}, nil},
		{map[string]string{"ADDITIONAL_ENI_TAGS": `{"a":"b","k8s.amazonaws.com/x":"y"}`}, func(s *warmpool.Settings) { s.AdditionalTags = map[string]string{"a": "b"} },
			[]string{"ignoring tagKey k8s.amazonaws.com/x from additional ENI Tags as it contains reserved prefix k8s.amazonaws.com"}},
		{map[string]string{"ADDITIONAL_ENI_TAGS": `{`}, nil, []string{"failed to parse additional ENI Tags from env ADDITIONAL_ENI_TAGS due to unexpected end of JSON input"}},
		{map[string]string{"ENABLE_IPv4": "true", "ENABLE_IPv6": "true"}, func(s *warmpool.Settings) {
			s.IPv6, s.Invalid = true, "IPv4 and IPv6 are both enabled. VPC CNI currently does not support dual stack mode"
		}, []string{"IPv4 and IPv6 are both enabled. VPC CNI currently does not support dual stack mode"}},
		{map[string]string{"ENABLE_IPv4": "false", "ENABLE_IPv6": "true", "ENABLE_PREFIX_DELEGATION": "true"}, func(s *warmpool.Settings) { s.IPv6, s.PrefixDelegation = true, true }, nil},
	} {
		want := base
		if c.want != nil {
			c.want(&want)
		}
		got, says := warmpool.ParseSettings(c.env)
		if d := cmp.Diff(want, got, cmpopts.IgnoreFields(warmpool.Settings{}, "Notes")); d != "" {
			t.Errorf("%v: %s", c.env, d)
		}
		if d := cmp.Diff(c.says, says); d != "" {
			t.Errorf("%v: %s", c.env, d)
		}
		again, _ := warmpool.ParseSettings(c.env)
		if d := warmpool.Defaults(); !got.Equal(&again) || len(c.env) > 0 && c.want != nil && got.Equal(&d) {
			t.Errorf("%v: Equal", c.env)
		}
	}
}
