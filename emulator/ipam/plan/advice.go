package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// Advice is a documented way out of a layout that does not carry, and how far it goes.
type Advice struct {
	Way   string `json:"way"`
	Flags string `json:"flags"` // of `ekslocal ips plan`
	// What the same nodes and pods come to.
	NodesLaunched int  `json:"nodesLaunched"`
	PodsAddressed int  `json:"podsAddressed"`
	MaxPods       int  `json:"maxPods"`
	Carries       bool `json:"carries"`
}

// Advise finds ways out of a layout by playing them. Each changes one thing, or two
// that belong together; those that gain nothing are left out, those that carry
// everything come first.
func Advise(l Layout, r *Result) []Advice {
	if r.Carries() {
		return nil
	}
	ways := []func(Layout) *Advice{
		warmTargets, prefixDelegation, prefixDelegationAndTargets, noPrefixDelegation, noMaxENI, morePods,
		biggerSubnets, customNetworking, otherType,
	}
	found := make([]*Advice, len(ways))
	var each sync.WaitGroup
	for i, way := range ways {
		each.Go(func() { found[i] = way(l) })
	}
	each.Wait()
	var out []Advice
	for _, a := range found {
		if a != nil && (a.Carries || a.NodesLaunched > r.NodesLaunched || a.PodsAddressed > r.PodsAddressed) {
			out = append(out, *a)
		}
	}
	slices.SortStableFunc(out, func(a, b Advice) int {
		return cmp.Or(order01(b.Carries, a.Carries), cmp.Compare(b.PodsAddressed, a.PodsAddressed))
	})
	return out
}

func order01(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// try plays a layout for an advice, nil if there can be no such layout.
func try(l Layout, way, flags string) *Advice {
	t, err := l.check()
	if err != nil {
		return nil
	}
	w := newWorld(&l, t)
	w.play()
	a := &Advice{Way: way, Flags: flags, NodesLaunched: len(w.nodes), PodsAddressed: w.workload.addressed, MaxPods: w.maxPods}
	a.Carries = len(w.ready) == l.Nodes && w.first == nil
	if a.Carries && l.Surge > 0 {
		s := w.surge()
		a.Carries = s.First == nil
	}
	return a
}

// carries tells whether a layout does, and stops playing it when it does not.
func carries(l Layout) bool {
	t, err := l.check()
	if err != nil {
		return false
	}
	w := newWorld(&l, t)
	w.impatient = true
	w.play()
	return len(w.ready) == l.Nodes && w.first == nil && (l.Surge == 0 || w.surge().First == nil)
}

// counted is WARM_IP_TARGET with a MINIMUM_IP_TARGET for the pods that a node is to
// have, as the CNI's documentation recommends for small subnets.
func counted(l Layout) (Layout, string) {
	const warm = 2
	least := l.PodsPerNode + l.DaemonSetPods
	l.Settings.WarmIPTarget, l.Settings.MinimumIPTarget = warm, least
	return l, fmt.Sprintf("--warm-ip-target %d --minimum-ip-target %d", warm, least)
}

func warmTargets(l Layout) *Advice {
	l, flags := counted(l)
	return try(l, "smaller warm targets", flags)
}

func isNitro(l *Layout) bool {
	t, ok := instancetypes.Lookup(l.InstanceType)
	return ok && t.Hypervisor == nitro
}

func prefixDelegation(l Layout) *Advice {
	if l.Settings.PrefixDelegation || !isNitro(&l) {
		return nil
	}
	l.Settings.PrefixDelegation = true
	return try(l, "prefix delegation", "--prefix-delegation")
}

func prefixDelegationAndTargets(l Layout) *Advice {
	if l.Settings.PrefixDelegation || !isNitro(&l) {
		return nil
	}
	l.Settings.PrefixDelegation = true
	l, flags := counted(l)
	return try(l, "prefix delegation with smaller warm targets", "--prefix-delegation "+flags)
}

func noPrefixDelegation(l Layout) *Advice {
	if !l.Settings.PrefixDelegation {
		return nil
	}
	l.Settings.PrefixDelegation = false
	return try(l, "no prefix delegation", "without --prefix-delegation")
}

func noMaxENI(l Layout) *Advice {
	if l.Settings.MaxENI < 1 {
		return nil
	}
	l.Settings.MaxENI = -1
	return try(l, "no MAX_ENI", "without --max-eni")
}

// morePods raises the nodes' capacity to what the layout asks for.
func morePods(l Layout) *Advice {
	need := l.PodsPerNode + l.DaemonSetPods + l.HostNetworkPods + (l.SystemPods+l.Nodes-1)/l.Nodes
	if t, ok := instancetypes.Lookup(l.InstanceType); !ok || need <= maxPods(&l, t) {
		return nil
	}
	l.MaxPods = need
	return try(l, "more pods on each node", fmt.Sprintf("--max-pods %d", need))
}

// Sizes of subnets, as lengths of their prefixes.
const (
	largest  = 16
	smallest = 28
)

// enough finds the smallest subnets, from as small as that to the largest, with which a
// layout goes as far as with the largest.
func enough(from int, with func(bits int) Layout) int {
	l := with(largest)
	most := try(l, "", "")
	if most == nil {
		return largest
	}
	// Less than an address for each pod need not be tried.
	for from > largest && len(l.Subnets)<<(32-from) < most.PodsAddressed {
		from--
	}
	good := func(bits int) bool {
		if most.Carries {
			return carries(with(bits))
		}
		a := try(with(bits), "", "")
		return a != nil && a.NodesLaunched >= most.NodesLaunched && a.PodsAddressed >= most.PodsAddressed
	}
	// More addresses never reach fewer pods: sort.Search's condition.
	return from - sort.Search(from-largest, func(i int) bool { return good(from - i) })
}

func biggerSubnets(l Layout) *Advice {
	list, flag := l.Subnets, "--subnets"
	if len(l.PodSubnets) > 0 {
		list, flag = l.PodSubnets, "--custom-networking-subnets"
	}
	least := slices.MaxFunc(list, func(a, b netip.Prefix) int { return cmp.Compare(a.Bits(), b.Bits()) }).Bits()
	if least == largest {
		return nil
	}
	bits := enough(least-1, func(bits int) Layout { return resized(l, bits) })
	return try(resized(l, bits), "bigger subnets", fmt.Sprintf("%s of %d x /%d", flag, len(list), bits))
}

// resized gives the subnets of pods at least that size.
func resized(l Layout, bits int) Layout {
	old := l.Subnets
	if len(l.PodSubnets) > 0 {
		old = l.PodSubnets
	}
	list := make([]netip.Prefix, len(old))
	for i, p := range old {
		// Numbers are all that matters: 240.0.0.0/4 is nobody's.
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{240, byte(i), 0, 0}), min(bits, p.Bits()))
	}
	if len(l.PodSubnets) > 0 {
		l.PodSubnets = list
		return l
	}
	l.Subnets = list
	return l
}

// block is the i-th subnet out of secondary CIDR blocks in the shared address space.
func block(i, bits int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(64 + i), 0, 0}), bits)
}

// secondary adds subnets out of secondary CIDR blocks for pods.
func secondary(l Layout, bits int) Layout {
	l.Settings.CustomNetworking = true
	l.PodSubnets = nil
	for i := range l.Subnets {
		l.PodSubnets = append(l.PodSubnets, block(i, bits))
	}
	return l
}

// customNetworking takes prefix delegation with it where it does not carry alone: the
// primary interface has no pods then.
func customNetworking(l Layout) *Advice {
	if len(l.PodSubnets) > 0 {
		return nil
	}
	way, flags := "custom networking in a secondary CIDR block", ""
	if !l.Settings.PrefixDelegation && isNitro(&l) && !carries(secondary(l, largest)) {
		l.Settings.PrefixDelegation = true
		way, flags = way+", and prefix delegation", "--prefix-delegation "
	}
	bits := enough(smallest, func(bits int) Layout { return secondary(l, bits) })
	return try(secondary(l, bits), way, flags+"--custom-networking-subnets "+names(l, bits))
}

func names(l Layout, bits int) string {
	var out []string
	for i := range l.Subnets {
		out = append(out, block(i, bits).String())
	}
	return strings.Join(out, ",")
}

// otherType tries the other sizes of the type's family: the cheapest that carries, else
// the one that goes farthest.
func otherType(l Layout) *Advice {
	family, _, _ := strings.Cut(l.InstanceType, ".")
	var types []*instancetypes.Type
	seen := map[string]bool{l.InstanceType: true}
	for _, t := range instancetypes.All() {
		f, _, _ := strings.Cut(t.Name, ".")
		if f == family && !t.BareMetal && !seen[t.Name] {
			types = append(types, t)
		}
	}
	slices.SortStableFunc(types, func(a, b *instancetypes.Type) int { return cmp.Compare(a.VCPUs, b.VCPUs) })
	var best *Advice
	limits := map[string]bool{}
	for _, t := range types {
		key := fmt.Sprint(t.DefaultCardENIs, t.IPv4PerENI, t.VCPUs > 30)
		if limits[key] {
			continue
		}
		limits[key] = true
		l.InstanceType = t.Name
		a := try(l, "another instance type", "--instance-type "+t.Name)
		if best == nil || a != nil && (a.PodsAddressed > best.PodsAddressed || a.NodesLaunched > best.NodesLaunched) {
			best = a
		}
		if a != nil && a.Carries {
			return a
		}
	}
	return best
}
