package lifecycle

import (
	"cmp"
	"slices"
	"time"
)

// member is one live instance of a node group, as planning sees it.
type member struct {
	ID       string
	Subnet   string
	Outdated bool // boots from another template than the group's desired one
	Ready    bool // its node is Ready
	Draining bool // chosen as a victim by an earlier plan
	Launched time.Time
}

// plan says what to do next for a node group: how many instances to launch, which
// to drain and terminate. It is a pure function of what is there, so that a killed
// emulator makes the same plan again.
type plan struct {
	Launch int
	Drain  []string
}

// makePlan brings members to desired instances of the current template. While
// outdated ones exist it adds up to surge extra instances and takes at most
// maxUnavailable nodes out at a time, and only as many as Ready ones stand in for,
// which is how managed node groups roll with the DEFAULT strategy.
func makePlan(members []member, desired, surge, maxUnavailable int) plan {
	var p plan
	live, outdated, draining, current, ready := 0, 0, 0, 0, 0
	for _, m := range members {
		if m.Draining {
			draining++
			p.Drain = append(p.Drain, m.ID)
			continue
		}
		live++
		if m.Ready {
			ready++
		}
		if m.Outdated {
			outdated++
		} else {
			current++
		}
	}
	room := desired
	if outdated > 0 {
		room += surge
	}
	p.Launch = max(0, min(desired-current, room-live))

	// Too many whatever their template: all of the surplus goes at once, as an Auto
	// Scaling group's scale-in does. Rolling: as many outdated as maxUnavailable
	// allows and as Ready nodes beyond the desired count cover.
	surplus := live - desired
	if outdated > 0 {
		surplus = min(live+p.Launch-desired, maxUnavailable-draining, ready-desired+maxUnavailable-draining)
		surplus = min(surplus, outdated)
	}
	for _, m := range victims(members) {
		if surplus <= 0 {
			break
		}
		if outdated > 0 && !m.Outdated {
			continue
		}
		p.Drain = append(p.Drain, m.ID)
		surplus--
	}
	slices.Sort(p.Drain)
	return p
}

// victims orders the members that may go: outdated first, then not Ready, then
// from the subnet with the most members, then the oldest.
func victims(members []member) []member {
	per := map[string]int{}
	var out []member
	for _, m := range members {
		if !m.Draining {
			per[m.Subnet]++
			out = append(out, m)
		}
	}
	slices.SortStableFunc(out, func(a, b member) int {
		return cmp.Or(
			boolCompare(b.Outdated, a.Outdated), boolCompare(a.Ready, b.Ready),
			cmp.Compare(per[b.Subnet], per[a.Subnet]), a.Launched.Compare(b.Launched), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// spread says how many of n new instances to launch in each subnet so that the
// members end up even.
func spread(n int, subnets []string, members []member) map[string]int {
	count := map[string]int{}
	for _, m := range members {
		count[m.Subnet]++
	}
	out := map[string]int{}
	for range n {
		best := slices.MinFunc(subnets, func(a, b string) int { return cmp.Compare(count[a], count[b]) })
		count[best]++
		out[best]++
	}
	return out
}
