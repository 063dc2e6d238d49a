package warmpool_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// apiError is a refusal of EC2's.
type apiError string

func (e apiError) Error() string     { return "api error " + string(e) + ": refused" }
func (e apiError) ErrorCode() string { return string(e) }

// ledger is one subnet and one instance in it.
type ledger struct {
	t      testing.TB
	limits warmpool.Limits
	pool   *ipam.Pool
	pool6  *ipam.Pool
	enis   map[string]*warmpool.Interface
	made   int
	refuse func(warmpool.Action) error // before anything is done
	calls  []warmpool.Action
}

var (
	t3small = warmpool.Limits{InstanceType: "t3.small", ENIs: 3, IPv4PerENI: 4, Prefixes: true}
	p3dn    = warmpool.Limits{InstanceType: "p3dn.24xlarge", ENIs: 15, IPv4PerENI: 50, Prefixes: true, Trunking: true}
)

func newLedger(t testing.TB, l warmpool.Limits, cidr string) *ledger {
	led := &ledger{t: t, limits: l, pool: ipam.NewSubnet(netip.MustParsePrefix(cidr)), enis: map[string]*warmpool.Interface{}}
	led.pool6 = ipam.NewSubnet(netip.MustParsePrefix("2600:1f18:1:2::/64"))
	led.create(0, false)
	return led
}

func (l *ledger) create(count int, prefix bool) (*warmpool.Interface, error) {
	own, err := l.pool.TakeFree(1)
	if err != nil {
		return nil, apiError("InsufficientFreeAddressesInSubnet")
	}
	i := &warmpool.Interface{ID: fmt.Sprintf("eni-%d", l.made), Device: l.made, Subnet: "subnet-1", Address: own[0], Primary: l.made == 0}
	if err := l.assign(i, count, prefix); err != nil {
		l.pool.Release(own[0])
		return nil, err
	}
	for slices.ContainsFunc(slices.Collect(maps.Values(l.enis)), func(o *warmpool.Interface) bool { return o.Device == i.Device }) {
		i.Device--
	}
	l.made++
	l.enis[i.ID] = i
	return i, nil
}

func (l *ledger) assign(i *warmpool.Interface, count int, prefix bool) error {
	if len(i.IPs)+len(i.Prefixes)+count > l.limits.IPv4PerENI-1 {
		return apiError("PrivateIpAddressLimitExceeded")
	}
	if !prefix {
		ips, err := l.pool.TakeFree(count)
		if err != nil {
			return apiError("InsufficientFreeAddressesInSubnet")
		}
		i.IPs = append(i.IPs, ips...)
		return nil
	}
	trial := l.pool.Clone()
	var got []netip.Prefix
	for range count {
		b, err := trial.TakePrefix(28)
		if err != nil {
			if trial.Free() < 16 {
				return apiError("InvalidParameterValue")
			}
			return apiError("InsufficientCidrBlocks")
		}
		got = append(got, b)
	}
	l.pool, i.Prefixes = trial, append(i.Prefixes, got...)
	return nil
}

// detach deletes an interface, as a user or ipamd does.
func (l *ledger) detach(id string) {
	i := l.enis[id]
	if i == nil {
		return
	}
	l.pool.Release(i.Address)
	l.unassign(i, i.IPs, i.Prefixes)
	delete(l.enis, id)
}

func (l *ledger) unassign(i *warmpool.Interface, ips []netip.Addr, prefixes []netip.Prefix) {
	for _, a := range slices.Clone(ips) {
		l.pool.Release(a)
		i.IPs = slices.DeleteFunc(slices.Clone(i.IPs), func(o netip.Addr) bool { return o == a })
	}
	for _, b := range slices.Clone(prefixes) {
		if b.Addr().Is4() {
			l.pool.ReleaseBlock(b)
		}
		i.Prefixes = slices.DeleteFunc(slices.Clone(i.Prefixes), func(o netip.Prefix) bool { return o == b })
	}
}

func (l *ledger) interfaces() []warmpool.Interface {
	var out []warmpool.Interface
	for _, i := range l.enis {
		c := *i
		c.IPs, c.Prefixes = slices.Clone(i.IPs), slices.Clone(i.Prefixes)
		out = append(out, c)
	}
	return out
}

func (l *ledger) do(a warmpool.Action) warmpool.Result {
	l.calls = append(l.calls, a)
	if l.refuse != nil {
		if err := l.refuse(a); err != nil {
			return warmpool.Result{Err: err}
		}
	}
	i := l.enis[a.ENI]
	if a.ENI != "" && i == nil {
		return warmpool.Result{Err: apiError("InvalidNetworkInterfaceID.NotFound")}
	}
	switch a.Kind {
	case warmpool.Observe:
		return warmpool.Result{Limits: l.limits, Interfaces: l.interfaces()}
	case warmpool.Assign:
		ips, prefixes := len(i.IPs), len(i.Prefixes)
		if err := l.assign(i, a.Count, a.Prefix); err != nil {
			return warmpool.Result{Err: err}
		}
		return warmpool.Result{IPs: i.IPs[ips:], Prefixes: i.Prefixes[prefixes:]}
	case warmpool.Resync:
		return warmpool.Result{Interfaces: []warmpool.Interface{*i}}
	case warmpool.Create:
		if len(l.enis) >= l.limits.ENIs {
			return warmpool.Result{Err: apiError("AttachmentLimitExceeded")}
		}
		made, err := l.create(a.Count, a.Prefix)
		if err != nil {
			return warmpool.Result{Err: err}
		}
		return warmpool.Result{Interfaces: []warmpool.Interface{*made}}
	case warmpool.Unassign:
		for _, ip := range a.IPs {
			if !slices.Contains(i.IPs, ip) {
				return warmpool.Result{Err: apiError("InvalidParameterValue")}
			}
		}
		for _, b := range a.Prefixes {
			if !slices.Contains(i.Prefixes, b) {
				return warmpool.Result{Err: apiError("InvalidParameterValue")}
			}
		}
		l.unassign(i, a.IPs, a.Prefixes)
		return warmpool.Result{}
	case warmpool.Free:
		l.detach(a.ENI)
		return warmpool.Result{}
	case warmpool.AssignPrefix6:
		b, err := l.pool6.TakePrefix(80)
		if err != nil {
			return warmpool.Result{Err: err}
		}
		i.Prefixes = append(i.Prefixes, b)
		return warmpool.Result{Prefixes: []netip.Prefix{b}}
	}
	return warmpool.Result{Err: errors.New("what?")}
}

// rig is a node over a ledger.
type rig struct {
	*ledger
	node *warmpool.Node
	now  time.Time
	pods int
}

func settings(edit func(*warmpool.Settings)) warmpool.Settings {
	s := warmpool.Defaults()
	if edit != nil {
		edit(&s)
	}
	return s
}

func newRig(t testing.TB, l warmpool.Limits, cidr string, c warmpool.Config) *rig {
	r := &rig{ledger: newLedger(t, l, cidr), node: warmpool.New(c), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	r.settle()
	return r
}

// settle does all that the node wants done now.
func (r *rig) settle() {
	r.t.Helper()
	for n := 0; ; n++ {
		a := r.node.Next(r.now)
		if a.Kind == warmpool.None {
			return
		}
		if n == 2000 {
			r.t.Fatalf("the node wants %+v and more, without end", a)
		}
		r.node.Done(a, r.do(a), r.now)
	}
}

// pass lets time pass, with the monitor's looks.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(min(warmpool.Monitor, end.Sub(r.now)))
		r.settle()
	}
}

// start starts pods and returns how many got an address.
func (r *rig) start(n int) int {
	r.t.Helper()
	for i := range n {
		if !r.node.Assign(fmt.Sprint(r.pods), "default", fmt.Sprint("pod-", r.pods), netip.Addr{}, r.now).IsValid() {
			return i
		}
		r.pods++
		r.settle()
	}
	return n
}

// stop ends the pods that started last.
func (r *rig) stop(n int) {
	for range n {
		r.pods--
		r.node.Release(fmt.Sprint(r.pods), "PodDeleted", r.now)
		r.settle()
	}
}

// perENI is how many addresses or prefixes each interface has, the fullest first.
func (r *rig) perENI() []int {
	var out []int
	for _, e := range r.enis {
		out = append(out, len(e.IPs)+len(e.Prefixes))
	}
	slices.SortFunc(out, func(a, b int) int { return b - a })
	return out
}

// agree checks that the node knows what the ledger says, and that its counts are
// those of what it knows.
func (r *rig) agree() {
	r.t.Helper()
	s := r.node.State(r.now)
	known := map[string][]netip.Prefix{}
	all := 0
	for _, e := range s.ENIs {
		blocks := slices.Clone(e.Prefixes)
		for _, a := range e.IPs {
			blocks = append(blocks, netip.PrefixFrom(a, 32))
		}
		known[e.ID] = sorted(blocks)
		all += e.Assigned
	}
	want := map[string][]netip.Prefix{}
	for _, e := range r.enis {
		blocks := slices.Clone(e.Prefixes)
		for _, a := range e.IPs {
			blocks = append(blocks, netip.PrefixFrom(a, 32))
		}
		want[e.ID] = sorted(blocks)
	}
	if !maps.EqualFunc(known, want, slices.Equal[[]netip.Prefix]) {
		r.t.Fatalf("the node knows\n%v, the ledger says\n%v", known, want)
	}
	if s.Total < s.Assigned+s.Cooling {
		r.t.Fatalf("%+v", s)
	}
}

func sorted(b []netip.Prefix) []netip.Prefix {
	slices.SortFunc(b, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return b
}
