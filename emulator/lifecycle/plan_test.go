package lifecycle

import (
	"fmt"
	"slices"
	"testing"

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
		{"roll begins with a surge and one drain", group(3, outdated), 3, 1, 1, plan{Launch: 1, Drain: []string{"i-0"}}},
		{"roll goes on when the new one is ready", group(4, func(i int, m *member) { m.Outdated = i < 3 }), 3, 1, 1, plan{Drain: []string{"i-0"}}},
		{"roll waits while one drains", group(4, func(i int, m *member) { m.Outdated = i < 3; m.Draining = i == 0 }), 3, 1, 1, plan{Launch: 1, Drain: []string{"i-0"}}},
		{"roll waits for ready nodes", group(4, func(i int, m *member) { m.Outdated = i < 3; m.Ready = i < 2 }), 3, 1, 1, plan{}},
		{"roll three at a time", group(6, outdated), 6, 3, 3, plan{Launch: 3, Drain: []string{"i-0", "i-1", "i-2"}}},
		{"last one", group(4, func(i int, m *member) { m.Outdated = i == 1 }), 3, 1, 1, plan{Drain: []string{"i-1"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, makePlan(tc.members, tc.desired, tc.surge, tc.maxUnavailable)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever the sizes, following plans ends with desired current members, never
// takes more than maxUnavailable Ready nodes away at a time, and never holds more
// than desired+surge instances while rolling.
func TestPlansConverge(t *testing.T) {
	for size := range 6 {
		for desired := range 6 {
			for mu := 1; mu <= 3; mu++ {
				members, next := group(size, func(_ int, m *member) { m.Outdated = true }), 100
				round := 0
				for ; round < 100; round++ {
					p := makePlan(members, desired, mu, mu)
					settled := !slices.ContainsFunc(members, func(m member) bool { return !m.Ready })
					if p.Launch == 0 && len(p.Drain) == 0 && settled {
						break
					}
					gone := map[string]bool{}
					for _, id := range p.Drain {
						gone[id] = true
					}
					kept := members[:0:0]
					for _, m := range members {
						m.Ready = true // what was launched last round is up
						if !gone[m.ID] {
							kept = append(kept, m)
						}
					}
					if size >= desired && len(kept) < desired-mu {
						t.Fatalf("size %d desired %d mu %d: only %d left", size, desired, mu, len(kept))
					}
					for range p.Launch {
						kept = append(kept, member{ID: fmt.Sprintf("i-%d", next), Subnet: "a"})
						next++
					}
					members = kept
				}
				if len(members) != desired || round == 100 {
					t.Fatalf("size %d desired %d mu %d: ended with %v", size, desired, mu, members)
				}
				for _, m := range members {
					if m.Outdated {
						t.Fatalf("size %d desired %d mu %d: %s is outdated", size, desired, mu, m.ID)
					}
				}
			}
		}
	}
}

func TestSpread(t *testing.T) {
	got := spread(4, []string{"a", "b", "c"}, []member{{Subnet: "a"}, {Subnet: "a"}})
	if diff := cmp.Diff(map[string]int{"b": 2, "c": 2}, got); diff != "" {
		t.Error(diff)
	}
}
