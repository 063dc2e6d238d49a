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
	Surge    bool // launched by a roll that was given up
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
// maxUnavailable nodes out at a time. With a surge a Ready node goes only when
// another stands in for it, which is how managed node groups roll with the DEFAULT
// strategy; without one, the MINIMAL strategy, up to maxUnavailable are missing.
func makePlan(members []member, desired, surge, maxUnavailable int) plan {
	var p plan
	var n census
	for _, m := range members {
		n.count(m)
		if m.Draining {
			p.Drain = append(p.Drain, m.ID)
		}
	}
	room := desired
	if n.outdated > 0 {
		room += surge
	}
	p.Launch = max(0, min(desired-n.current, room-n.live))
	if n.outdated > 0 {
		floor := desired
		if surge == 0 {
			floor -= maxUnavailable
		}
		p.Drain = append(p.Drain, rollVictims(members, maxUnavailable-n.draining, n.ready-floor)...)
	} else if surplus := n.live - desired; surplus > 0 {
		// All of the surplus goes at once, as in an Auto Scaling group's scale-in.
		for _, m := range victims(members)[:surplus] {
			p.Drain = append(p.Drain, m.ID)
		}
	}
	slices.Sort(p.Drain)
	return p
}

// census counts members; those that drain count as nothing else.
type census struct{ live, outdated, current, ready, draining int }

func (n *census) count(m member) {
	if m.Draining {
		n.draining++
		return
	}
	n.live++
	if m.Ready {
		n.ready++
	}
	if m.Outdated {
		n.outdated++
	} else {
		n.current++
	}
}

// rollVictims picks up to budget outdated members, of Ready ones no more than
// spare.
func rollVictims(members []member, budget, spare int) (ids []string) {
	for _, m := range victims(members) {
		if !m.Outdated || m.Ready && spare <= 0 {
			continue
		}
		if len(ids) >= budget {
			break
		}
		if m.Ready {
			spare--
		}
		ids = append(ids, m.ID)
	}
	return ids
}

// victims orders the members that may go: outdated first, then the newest of a roll
// that was given up, then not Ready, then from the subnet with the most members,
// then the oldest.
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
			boolCompare(b.Outdated, a.Outdated), boolCompare(b.Surge, a.Surge), boolCompare(a.Ready, b.Ready), surgeCompare(a, b),
			cmp.Compare(per[b.Subnet], per[a.Subnet]), a.Launched.Compare(b.Launched), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func surgeCompare(a, b member) int {
	if !a.Surge || !b.Surge {
		return 0
	}
	return b.Launched.Compare(a.Launched)
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
