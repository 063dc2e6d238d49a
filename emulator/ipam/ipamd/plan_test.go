package ipamd_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	"github.com/ekslocal/ekslocal/emulator/ipam/plan"
)

// layouts is how many random layouts the tests of agreement play.
const layouts = 240

// TestPlanAgrees plays random layouts in the emulator's EC2 and pools, in the order
// that package plan states, and holds each plan to what came of it: which pod failed
// first, on which node, for want of what; how many failed; what every subnet has left.
func TestPlanAgrees(t *testing.T) {
	ran := map[plan.Resource]int{}
	for seed := range uint64(layouts) {
		l := randomLayout(rand.New(rand.NewPCG(seed, 1)))
		want, err := plan.Evaluate(l)
		if err != nil {
			t.Fatalf("layout %d: %v", seed, err)
		}
		s := newStage(t, &l, want.MaxPods)
		s.playInOrder()
		if d := gocmp.Diff(outcomeOf(want), s.outcome()); d != "" {
			t.Fatalf("layout %d: %s\nplan and emulator differ (-plan +emulator):\n%s", seed, describe(&l), d)
		}
		if want.First != nil {
			ran[want.First.Resource]++
		} else {
			ran["nothing"]++
		}
	}
	t.Logf("what ran out: %v", ran)
	for _, r := range []plan.Resource{plan.SubnetAddresses, plan.PrefixBlocks, plan.InstanceAddresses, plan.MaxENI, plan.MaxPods, plan.WarmTargets, "nothing"} {
		if ran[r] == 0 {
			t.Errorf("in no layout %s runs out", r)
		}
	}
}

// TestPlanAgreesInOtherOrders plays the same layouts with everything side by side: all
// nodes start at once, and pods come all at once where the plan says that no order
// matters, else one after the other.
func TestPlanAgreesInOtherOrders(t *testing.T) {
	atOnce, inOrder := 0, 0
	for seed := range uint64(layouts) {
		l := randomLayout(rand.New(rand.NewPCG(seed, 1)))
		want, err := plan.Evaluate(l)
		if err != nil {
			t.Fatalf("layout %d: %v", seed, err)
		}
		if want.RefusedAtStart > 0 {
			continue
		}
		s := newStage(t, &l, want.MaxPods)
		if want.Refused == 0 {
			atOnce++
			s.playAtOnce()
			s.compareAtOnce(seed, want)
			continue
		}
		inOrder++
		s.startAtOnce()
		s.playPods()
		if d := gocmp.Diff(outcomeOf(want), s.outcome()); d != "" {
			t.Fatalf("layout %d: %s\nplan and emulator differ (-plan +emulator):\n%s", seed, describe(&l), d)
		}
	}
	t.Logf("%d layouts all at once, %d with pods in order", atOnce, inOrder)
	if atOnce < layouts/4 || inOrder < layouts/10 {
		t.Error("too few layouts")
	}
}

// compareAtOnce compares numbers: which of a node's pods are those without an address
// is a matter of who came first.
func (s *stage) compareAtOnce(seed uint64, want *plan.Result) {
	type numbers struct {
		Waiting, Pending int
		Resource         string
		Free             []int
	}
	p, got := outcomeOf(want), s.outcome()
	w := numbers{p.Waiting + p.OtherFailed, p.Pending, s.short, p.Free}
	if f := want.First; f != nil && f.Phase == plan.ContainerCreating {
		w.Resource = string(f.Resource)
	}
	if d := gocmp.Diff(w, numbers{s.late + got.OtherFailed, got.Pending, s.short, got.Free}); d != "" {
		s.t.Fatalf("layout %d: %s\nplan and emulator differ (-plan +emulator):\n%s", seed, describe(s.layout), d)
	}
}

func describe(l *plan.Layout) string {
	s := &l.Settings
	return fmt.Sprintf("%v for pods %v, %d x %s, %d pods each + %d of DaemonSets, %d of the system, max-pods %d, ENI %d IP %d MIN %d PREFIX %d MAX_ENI %d, prefixes %t",
		l.Subnets, l.PodSubnets, l.Nodes, l.InstanceType, l.PodsPerNode, l.DaemonSetPods, l.SystemPods, l.MaxPods,
		s.WarmENITarget, s.WarmIPTarget, s.MinimumIPTarget, s.WarmPrefixTarget, s.MaxENI, s.PrefixDelegation)
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// randomLayout mixes what a layout can have, of a size that something often runs out.
func randomLayout(r *rand.Rand) plan.Layout {
	env := map[string]string{"WARM_ENI_TARGET": "1", "WARM_PREFIX_TARGET": "1"}
	set := func(name string, from, to int) { env[name] = strconv.Itoa(from + r.IntN(to-from+1)) }
	if r.IntN(3) == 0 {
		env["ENABLE_PREFIX_DELEGATION"] = "true"
		set("WARM_PREFIX_TARGET", 1, 2)
	}
	switch r.IntN(5) {
	case 0:
		set("WARM_ENI_TARGET", 0, 2)
	case 1:
		set("WARM_IP_TARGET", 1, 8)
	case 2:
		set("WARM_IP_TARGET", 1, 4)
		set("MINIMUM_IP_TARGET", 1, 20)
	case 3:
		if r.IntN(3) == 0 {
			set("MINIMUM_IP_TARGET", 5, 20)
		}
	}
	if r.IntN(4) == 0 {
		set("MAX_ENI", 1, 3)
	}
	l := plan.Layout{
		InstanceType: pick(r, "t3.small", "t3.medium", "m5.large", "m5.large", "c5.xlarge", "t2.medium", "m4.large", "t3.nano"),
		Nodes:        1 + r.IntN(pick(r, 3, 7, 7, 14)), PodsPerNode: 1 + r.IntN(24), DaemonSetPods: r.IntN(3), SystemPods: r.IntN(3),
		HostNetworkPods: 2, ControlPlaneENIs: r.IntN(4),
	}
	if r.IntN(4) == 0 {
		l.MaxPods = 4 + r.IntN(60)
	}
	sizes := []int{28, 27, 27, 26, 26, 25, 24}
	for i := range 1 + r.IntN(3) {
		l.Subnets = append(l.Subnets, netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/%d", i, pick(r, sizes...))))
	}
	if r.IntN(4) == 0 {
		env["AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG"] = "true"
		for i := range l.Subnets {
			l.PodSubnets = append(l.PodSubnets, netip.MustParsePrefix(fmt.Sprintf("100.64.%d.0/%d", i, pick(r, sizes...))))
		}
	}
	l.Settings, _ = ipamd.ParseSettings(env)
	return l
}

// outcome is what is compared.
type outcome struct {
	Nodes               []int // in each subnet
	First               string
	Addressed           int
	Waiting             int
	Pending             int
	Others, OtherFailed int
	Free                []int // of each subnet
}

func outcomeOf(r *plan.Result) outcome {
	o := outcome{
		Addressed: r.PodsAddressed, Waiting: r.PodsWaiting, Pending: r.PodsPending, Others: r.OtherPods, OtherFailed: r.OtherPodsFailed,
		First: "none",
	}
	if f := r.First; f != nil {
		o.First = fmt.Sprintf("%s pod %d, node %d, %s: %s", f.Kind, f.Index, f.Node, f.Phase, f.Resource)
		if f.Subnet != nil {
			o.First += fmt.Sprintf(" of %s, %d free", f.Subnet, f.Free)
		}
	}
	for _, s := range r.Subnets {
		if !s.ForPods {
			o.Nodes = append(o.Nodes, s.Nodes)
		}
		o.Free = append(o.Free, s.Free)
	}
	return o
}
