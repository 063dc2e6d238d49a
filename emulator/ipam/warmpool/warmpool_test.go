package warmpool_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
