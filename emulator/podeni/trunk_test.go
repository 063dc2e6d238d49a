package podeni_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/podeni"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestCooldownOf(t *testing.T) {
	for _, tc := range []struct {
		seconds int
		ok      bool
		want    time.Duration
	}{{0, false, 60 * time.Second}, {90, true, 90 * time.Second}, {5, true, 30 * time.Second}, {-1, true, 30 * time.Second}} {
		if got := podeni.CooldownOf(tc.seconds, tc.ok); got != tc.want {
			t.Errorf("%d %v: %s, want %s", tc.seconds, tc.ok, got, tc.want)
		}
	}
}

func on(id string, vlan int) podeni.Branch {
	return podeni.Branch{ID: id, VLAN: vlan, Association: "a-" + id}
}

func TestNext(t *testing.T) {
	var trunk podeni.Trunk
	now := start
	holds := func(pod, id string) podeni.Claim { return podeni.Claim{Pod: pod, Count: 1, Holds: []string{id}} }
	wants := func(pod string) podeni.Claim { return podeni.Claim{Pod: pod, Count: 1} }
	ended := func(c podeni.Claim) podeni.Claim { c.Ended = true; return c }
	for i, step := range []struct {
		what     string
		after    time.Duration
		claims   []podeni.Claim
		branches []podeni.Branch
		want     podeni.Plan
	}{
		{"a new pod", 0, []podeni.Claim{wants("p1")}, nil, podeni.Plan{Create: []podeni.Claim{wants("p1")}}},
		{"it has one", 0, []podeni.Claim{holds("p1", "eni-1")}, []podeni.Branch{on("eni-1", 1)}, podeni.Plan{}},
		{"it is gone", time.Second, nil, []podeni.Branch{on("eni-1", 1)}, podeni.Plan{Again: time.Minute}},
		{"its branch rests", 20 * time.Second, []podeni.Claim{wants("p2")}, []podeni.Branch{on("eni-1", 1)}, podeni.Plan{Again: 40 * time.Second, Create: []podeni.Claim{wants("p2")}}},
		{"two are the limit", 10 * time.Second, []podeni.Claim{holds("p2", "eni-2"), wants("p3")}, []podeni.Branch{on("eni-1", 1), on("eni-2", 2)}, podeni.Plan{Again: 30 * time.Second, Full: true}},
		{"it has rested", 30 * time.Second, []podeni.Claim{holds("p2", "eni-2"), wants("p3")}, []podeni.Branch{on("eni-1", 1), on("eni-2", 2)},
			podeni.Plan{Delete: []podeni.Branch{on("eni-1", 1)}, Create: []podeni.Claim{wants("p3")}}},
		{"a Job's pod ended", 0, []podeni.Claim{ended(holds("p2", "eni-2")), holds("p3", "eni-3")}, []podeni.Branch{on("eni-2", 2), on("eni-3", 1)}, podeni.Plan{Again: time.Minute}},
		{"half made", 0, []podeni.Claim{holds("p3", "eni-3"), ended(wants("p4"))}, []podeni.Branch{{ID: "eni-4", VLAN: 3}, on("eni-3", 1)}, podeni.Plan{Delete: []podeni.Branch{{ID: "eni-4", VLAN: 3}}}},
	} {
		now = now.Add(step.after)
		got := trunk.Next(step.claims, step.branches, 2, now, time.Minute)
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%d, %s: %s", i, step.what, diff)
		}
	}
}

func TestVLAN(t *testing.T) {
	var all []podeni.Branch
	for want := 1; want <= 120; want++ {
		if got := podeni.VLAN(all); got != want {
			t.Fatalf("VLAN %d, want %d", got, want)
		}
		all = append(all, podeni.Branch{VLAN: want})
	}
	if got := podeni.VLAN(all); got != 0 {
		t.Errorf("VLAN %d of a full trunk", got)
	}
	all[41].VLAN = 0
	if got := podeni.VLAN(all); got != 42 {
		t.Errorf("VLAN %d, want the free one", got)
	}
}

// TestHistories carries plans out under random comings and goings of pods and
// restarts of the controller.
func TestHistories(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		limit := 1 + r.IntN(6)
		now, trunk := start, &podeni.Trunk{}
		var claims []podeni.Claim
		var branches []podeni.Branch
		next := 0
		for range 200 {
			now = now.Add(time.Duration(r.IntN(30)) * time.Second)
			switch n := r.IntN(10); {
			case n < 4:
				next++
				claims = append(claims, podeni.Claim{Pod: fmt.Sprint("p", next), Count: 1})
			case n < 7 && len(claims) > 0:
				i := r.IntN(len(claims))
				claims = append(claims[:i:i], claims[i+1:]...)
			case n == 7 && len(claims) > 0:
				claims[r.IntN(len(claims))].Ended = true
			case n == 8:
				trunk = &podeni.Trunk{}
			}
			branches = carryOut(t, trunk.Next(claims, branches, limit, now, time.Minute), claims, branches, &next)
			if len(branches) > limit {
				t.Fatalf("seed %d: %d branches, the limit is %d", seed, len(branches), limit)
			}
		}
		now = now.Add(time.Hour)
		for range 2 {
			branches = carryOut(t, trunk.Next(nil, branches, limit, now, time.Minute), nil, branches, &next)
			now = now.Add(time.Minute)
		}
		if len(branches) > 0 {
			t.Fatalf("seed %d: left over: %v", seed, branches)
		}
	}
}

func carryOut(t *testing.T, p podeni.Plan, claims []podeni.Claim, branches []podeni.Branch, next *int) []podeni.Branch {
	t.Helper()
	for _, d := range p.Delete {
		for _, c := range claims {
			if !c.Ended && len(c.Holds) > 0 && c.Holds[0] == d.ID {
				t.Fatalf("%s is %s's", d.ID, c.Pod)
			}
		}
		for i := range branches {
			if branches[i] == d {
				branches = append(branches[:i:i], branches[i+1:]...)
				break
			}
		}
	}
	for _, c := range p.Create {
		*next++
		b := on(fmt.Sprint("eni-", *next), podeni.VLAN(branches))
		for _, o := range branches {
			if o.VLAN == b.VLAN {
				t.Fatalf("VLAN %d twice", b.VLAN)
			}
		}
		branches = append(branches, b)
		for i := range claims {
			if claims[i].Pod == c.Pod {
				claims[i].Holds = []string{b.ID}
			}
		}
	}
	return branches
}
