package warmpool_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

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
