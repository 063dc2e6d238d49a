package plan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// The agreement with the emulator is held in package ipamd, whose tests may import EC2.

func settings(env ...string) warmpool.Settings {
	all := map[string]string{"WARM_ENI_TARGET": "1", "WARM_PREFIX_TARGET": "1"}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		all[name] = value
	}
	s, _ := warmpool.ParseSettings(all)
	return s
}

func blocks(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// TestWorkedExamples are layouts whose answers can be counted by hand.
func TestWorkedExamples(t *testing.T) {
	type answer struct {
		Nodes, Ready, Addressed, Waiting, Pending int
		First                                     string
		Resource                                  Resource
		Free                                      []int
	}
	for _, tc := range []struct {
		name   string
		layout Layout
		want   answer
	}{
		{
			// 251 addresses: 2 of the control plane, then whole nodes of 3 x 10.
			"a /24 for m5.large", Layout{Subnets: blocks("10.0.0.0/24"), InstanceType: "m5.large", Nodes: 9, PodsPerNode: 27, Settings: settings()},
			// Each node begins with 10 and asks for 10 more at its first and its tenth pod:
			// 9*20 are gone after the first round, 6 of the second ten go to nodes 0 to 5.
			answer{Nodes: 9, Ready: 9, Addressed: 6*27 + 3*18, Waiting: 3 * 9, First: "workload pod 168 on node 6", Resource: SubnetAddresses, Free: []int{9}},
		},
		{
			"the type's limit", Layout{Subnets: blocks("10.0.0.0/24"), InstanceType: "t3.small", Nodes: 2, PodsPerNode: 10, MaxPods: 50, Settings: settings()},
			answer{Nodes: 2, Ready: 2, Addressed: 18, Waiting: 2, First: "workload pod 18 on node 0", Resource: InstanceAddresses, Free: []int{251 - 2 - 24}},
		},
		{
			"max-pods", Layout{Subnets: blocks("10.0.0.0/24"), InstanceType: "t3.small", Nodes: 2, PodsPerNode: 10, Settings: settings()},
			answer{Nodes: 2, Ready: 2, Addressed: 18, Pending: 2, First: "workload pod 18", Resource: MaxPods, Free: []int{251 - 2 - 24}},
		},
		{
			// .48/28 has the broadcast address, .0/28 the network's: two whole blocks.
			"blocks of a /26", Layout{Subnets: blocks("10.0.0.0/26"), InstanceType: "m5.large", Nodes: 1, PodsPerNode: 40, Settings: settings("ENABLE_PREFIX_DELEGATION=true")},
			answer{Nodes: 1, Ready: 1, Addressed: 32, Waiting: 8, First: "workload pod 32 on node 0", Resource: PrefixBlocks, Free: []int{59 - 2 - 1 - 32}},
		},
		{
			"no prefixes on Xen", Layout{Subnets: blocks("10.0.0.0/26"), InstanceType: "t2.medium", Nodes: 1, PodsPerNode: 10, Settings: settings("ENABLE_PREFIX_DELEGATION=true")},
			answer{Nodes: 1, Ready: 1, Addressed: 10, Free: []int{59 - 2 - 18}},
		},
		{
			"nodes beyond the subnets", Layout{Subnets: blocks("10.0.0.0/28", "10.0.1.0/27"), InstanceType: "t3.nano", Nodes: 40, PodsPerNode: 0, Settings: settings("WARM_ENI_TARGET=0", "MINIMUM_IP_TARGET=1")},
			answer{Nodes: 10 + 26, Ready: 36, Free: []int{0, 0}},
		},
		{
			"nodes without an interface for pods", Layout{
				Subnets: blocks("10.0.0.0/24"), PodSubnets: blocks("100.64.0.0/28"), InstanceType: "m5.large", Nodes: 2, PodsPerNode: 9,
				Settings: settings("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true"),
			},
			answer{Nodes: 2, Ready: 1, Addressed: 9, Waiting: 9, First: "workload pod 9 on node 0", Resource: SubnetAddresses, Free: []int{247, 1}},
		},
		{
			"a minimum without a warm target", Layout{Subnets: blocks("10.0.0.0/24"), InstanceType: "m5.large", Nodes: 1, PodsPerNode: 8, Settings: settings("MINIMUM_IP_TARGET=5")},
			answer{Nodes: 1, Ready: 1, Addressed: 5, Waiting: 3, First: "workload pod 5 on node 0", Resource: WarmTargets, Free: []int{251 - 2 - 6}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.layout.ControlPlaneENIs, tc.layout.HostNetworkPods = 2, 2
			r, err := Evaluate(tc.layout)
			if err != nil {
				t.Fatal(err)
			}
			got := answer{Nodes: r.NodesLaunched, Ready: r.NodesReady, Addressed: r.PodsAddressed, Waiting: r.PodsWaiting, Pending: r.PodsPending}
			if r.First != nil {
				got.First, got.Resource = r.First.String(), r.First.Resource
			}
			for _, s := range r.Subnets {
				got.Free = append(got.Free, s.Free)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// random is a layout in which something often runs out.
func random(r *rand.Rand) Layout {
	n := func(from, to int) string { return strconv.Itoa(from + r.IntN(to-from+1)) }
	var env []string
	if r.IntN(2) == 0 {
		env = append(env, "WARM_IP_TARGET="+n(1, 5), "MINIMUM_IP_TARGET="+n(1, 15))
	}
	if r.IntN(3) == 0 {
		env = append(env, "ENABLE_PREFIX_DELEGATION=true")
	}
	types := []string{"t3.small", "t3.medium", "m5.large", "c5.xlarge", "t2.medium"}
	l := Layout{
		InstanceType: types[r.IntN(len(types))], Nodes: 1 + r.IntN(8), PodsPerNode: 1 + r.IntN(20), DaemonSetPods: r.IntN(2),
		SystemPods: 2, HostNetworkPods: 2, ControlPlaneENIs: 2, Surge: r.IntN(2),
	}
	for i := range 1 + r.IntN(2) {
		l.Subnets = append(l.Subnets, netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/%d", i, 24+r.IntN(5))))
	}
	if r.IntN(3) == 0 {
		env = append(env, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true")
		for i := range l.Subnets {
			l.PodSubnets = append(l.PodSubnets, netip.MustParsePrefix(fmt.Sprintf("100.64.%d.0/%d", i, 24+r.IntN(5))))
		}
	}
	l.Settings = settings(env...)
	return l
}

// TestSums holds plans to what must be so of all: every address of a subnet is held by
// one kind of owner or free, every pod has one end, and without refusals the order is
// of no importance.
func TestSums(t *testing.T) {
	anyOrder := 0
	for seed := range uint64(300) {
		l := random(rand.New(rand.NewPCG(seed, 3)))
		r, err := Evaluate(l)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Subnets {
			held := s.ControlPlane + s.Nodes + s.Interfaces + s.Addresses + s.Prefixes*16
			if held+s.Free != s.Total || s.FreeBlocks*16 > s.Free {
				t.Errorf("layout %d: %+v does not add up", seed, s)
			}
		}
		if r.PodsAddressed+r.PodsWaiting+r.PodsPending != r.PodsAsked {
			t.Errorf("layout %d: pods do not add up: %+v", seed, r)
		}
		if (r.First == nil) != (r.PodsAddressed == r.PodsAsked && r.OtherPodsFailed == 0) {
			t.Errorf("layout %d: %+v with %d of %d pods", seed, r.First, r.PodsAddressed, r.PodsAsked)
		}
		if (r.First == nil) != (r.Next != nil) {
			t.Errorf("layout %d: first %v, next %v", seed, r.First, r.Next)
		}
		if r.Refused > 0 || r.NodesReady < r.NodesLaunched {
			continue
		}
		anyOrder++
		w := newWorld(&l, must(l.check())(t))
		w.play()
		if o := otherOrders(&l, w); o.Least != o.Most || o.Least != w.workload.waiting+w.others.waiting {
			t.Errorf("layout %d: nothing is refused, and yet %d to %d pods wait, planned were %d", seed, o.Least, o.Most, w.workload.waiting+w.others.waiting)
		}
	}
	if anyOrder < 50 {
		t.Errorf("only %d layouts without refusals", anyOrder)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestAdvice has each way out gain something, and carry where it says so.
func TestAdvice(t *testing.T) {
	given := map[string]int{}
	for seed := range uint64(60) {
		l := random(rand.New(rand.NewPCG(seed, 4)))
		r, err := Evaluate(l)
		if err != nil {
			t.Fatal(err)
		}
		all := Advise(l, r)
		if r.Carries() && all != nil {
			t.Errorf("layout %d carries, and yet: %+v", seed, all)
		}
		carried := true
		for _, a := range all {
			given[a.Way]++
			if a.Carries && !carried {
				t.Errorf("layout %d: %+v comes late", seed, a)
			}
			carried = a.Carries
			if a.Carries && (a.NodesLaunched != l.Nodes || a.PodsAddressed != l.Nodes*l.PodsPerNode) {
				t.Errorf("layout %d: %+v", seed, a)
			}
			if !a.Carries && a.NodesLaunched <= r.NodesLaunched && a.PodsAddressed <= r.PodsAddressed {
				t.Errorf("layout %d: %+v gains nothing", seed, a)
			}
		}
	}
	for _, way := range []string{"smaller warm targets", "prefix delegation", "bigger subnets", "custom networking in a secondary CIDR block", "another instance type", "no prefix delegation"} {
		if given[way] == 0 {
			t.Errorf("%s is never a way out: %v", way, given)
		}
	}
}

// TestBiggerSubnets are the smallest that carry: half of them do not.
func TestBiggerSubnets(t *testing.T) {
	l := Layout{Subnets: blocks("10.0.0.0/26", "10.0.1.0/26"), InstanceType: "m5.large", Nodes: 6, PodsPerNode: 20, HostNetworkPods: 2, ControlPlaneENIs: 2, Settings: settings()}
	a := biggerSubnets(l)
	if a == nil || !a.Carries || a.Flags != "--subnets of 2 x /25" {
		t.Fatalf("%+v", a)
	}
	if carries(resized(l, 26)) {
		t.Error("a /26 is enough")
	}
}

// TestPoolsOfNobody is ledgers after refused wishes: they took nothing.
func TestPoolsOfNobody(t *testing.T) {
	s := newSubnet(netip.MustParsePrefix("10.0.0.0/26"))
	before := fmt.Sprint(s.pool.FreeRuns(32))
	for _, w := range []struct{ ips, prefixes int }{{59, 0}, {0, 3}, {0, 4}} {
		if _, r := s.take(true, w.ips, w.prefixes); r == nil {
			t.Errorf("%+v fits", w)
		}
		if after := fmt.Sprint(s.pool.FreeRuns(32)); after != before {
			t.Errorf("after %+v: %s, before: %s", w, after, before)
		}
	}
	if s.pool.Free() != ipam.Size(s.cidr)-5 {
		t.Errorf("%d are free", s.pool.Free())
	}
}
