package lifecycle

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func group(n int, f func(i int, m *member)) []member {
	out := make([]member, n)
	for i := range out {
		out[i] = member{ID: fmt.Sprintf("i-%d", i), Subnet: "abc"[i%3 : i%3+1], Ready: true}
		if f != nil {
			f(i, &out[i])
		}
	}
	return out
}

func TestMakePlan(t *testing.T) {
	outdated := func(_ int, m *member) { m.Outdated = true }
	for _, tc := range []struct {
		name           string
		members        []member
		desired, surge int
		maxUnavailable int
		want           plan
	}{
		{"empty to three", nil, 3, 1, 1, plan{Launch: 3}},
		{"as desired", group(3, nil), 3, 1, 1, plan{}},
		{"scale up", group(3, nil), 5, 1, 1, plan{Launch: 2}},
		{"scale down takes the fullest subnet", group(4, nil), 3, 1, 1, plan{Drain: []string{"i-0"}}},
		{"scale to zero", group(2, nil), 0, 1, 1, plan{Drain: []string{"i-0", "i-1"}}},
		{"a victim stays one", group(3, func(i int, m *member) { m.Draining = i == 2 }), 2, 1, 1, plan{Drain: []string{"i-2"}}},
		{"roll begins with a surge", group(3, outdated), 3, 1, 1, plan{Launch: 1}},
		{"roll of the only node", group(1, outdated), 1, 1, 1, plan{Launch: 1}},
		{"roll without surge begins with a drain", group(3, outdated), 3, 0, 1, plan{Drain: []string{"i-0"}}},
		{"roll without surge launches for the one that drains", group(3, func(i int, m *member) { m.Outdated, m.Draining = true, i == 0 }), 3, 0, 1, plan{Launch: 1, Drain: []string{"i-0"}}},
		{"roll takes one that is not ready without a stand-in", group(3, func(i int, m *member) { m.Outdated, m.Ready = true, i != 1 }), 3, 1, 1, plan{Launch: 1, Drain: []string{"i-1"}}},
		{"what a given-up roll launched last goes first", group(4, func(i int, m *member) { m.Surge, m.Launched = i > 1, time.Unix(int64(i), 0) }), 3, 1, 1, plan{Drain: []string{"i-3"}}},
		{"roll goes on when the new one is ready", group(4, func(i int, m *member) { m.Outdated = i < 3 }), 3, 1, 1, plan{Drain: []string{"i-0"}}},
		{"roll waits while one drains", group(4, func(i int, m *member) { m.Outdated = i < 3; m.Draining = i == 0 }), 3, 1, 1, plan{Launch: 1, Drain: []string{"i-0"}}},
		{"roll waits for ready nodes", group(4, func(i int, m *member) { m.Outdated = i < 3; m.Ready = i < 3 }), 3, 1, 1, plan{}},
		{"roll three at a time", group(6, outdated), 6, 3, 3, plan{Launch: 3}},
		{"roll three at a time, stand-ins ready", group(9, func(i int, m *member) { m.Outdated = i < 6 }), 6, 3, 3, plan{Drain: []string{"i-0", "i-1", "i-2"}}},
		{"last one", group(4, func(i int, m *member) { m.Outdated = i == 1 }), 3, 1, 1, plan{Drain: []string{"i-1"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, makePlan(tc.members, tc.desired, tc.surge, tc.maxUnavailable)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever the sizes, following plans ends with desired current members and never
// takes Ready nodes below the desired number, or without a surge more than
// maxUnavailable below it.
func TestPlansConverge(t *testing.T) {
	for size := range 6 {
		for desired := range 6 {
			for mu := 1; mu <= 3; mu++ {
				for _, surge := range []int{0, mu} {
					t.Run(fmt.Sprintf("%d to %d, %d at a time, surge %d", size, desired, mu, surge), func(t *testing.T) {
						converge(t, size, desired, surge, mu)
					})
				}
			}
		}
	}
}

func converge(t *testing.T, size, desired, surge, mu int) {
	t.Helper()
	members, next := group(size, func(_ int, m *member) { m.Outdated = true }), 100
	for range 100 {
		p := makePlan(members, desired, surge, mu)
		if p.Launch == 0 && len(p.Drain) == 0 && !slices.ContainsFunc(members, func(m member) bool { return !m.Ready }) {
			if len(members) != desired || slices.ContainsFunc(members, func(m member) bool { return m.Outdated }) {
				t.Fatalf("ended with %v", members)
			}
			return
		}
		members = slices.DeleteFunc(members, func(m member) bool { return slices.Contains(p.Drain, m.ID) })
		ready := 0
		for i := range members {
			if members[i].Ready {
				ready++
			}
			members[i].Ready = true // what was launched last round is up
		}
		if floor := desired - mu; size >= desired && (ready < floor || surge > 0 && ready < desired) {
			t.Fatalf("only %d of %d are ready", ready, desired)
		}
		for range p.Launch {
			members = append(members, member{ID: fmt.Sprintf("i-%d", next), Subnet: "a"})
			next++
		}
	}
	t.Fatalf("no end: %v", members)
}

func TestSpread(t *testing.T) {
	got := spread(4, []string{"a", "b", "c"}, []member{{Subnet: "a"}, {Subnet: "a"}})
	if diff := cmp.Diff(map[string]int{"b": 2, "c": 2}, got); diff != "" {
		t.Error(diff)
	}
}
