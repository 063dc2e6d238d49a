package enforce

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRing goes round the ring and reads it from everywhere.
func TestRing(t *testing.T) {
	for _, added := range []uint64{0, 1, 4, 5, 6, 13} {
		g := &Gate{trace: newTrace(5)}
		for range added {
			g.trace.add(Entry{})
		}
		kept := uint64(0)
		if added > 5 {
			kept = added - 5
		}
		for after := range added + 2 {
			for limit := range 7 {
				var want []uint64
				for n := max(after, kept) + 1; n <= added; n++ {
					want = append(want, n)
				}
				want = want[max(0, len(want)-limit):]
				var got []uint64
				entries, last := g.Decisions(after, limit, func(*Entry) bool { return true })
				for _, e := range entries {
					got = append(got, e.Number)
				}
				if d := cmp.Diff(append([]uint64{}, want...), append([]uint64{}, got...)); d != "" || last != added {
					t.Errorf("%d added, after %d, limit %d: last %d\n%s", added, after, limit, last, d)
				}
			}
		}
	}
}

func TestForget(t *testing.T) {
	g := &Gate{trace: newTrace(3)}
	all := func(*Entry) bool { return true }
	for range 4 {
		g.trace.add(Entry{})
	}
	g.Forget()
	if got, last := g.Decisions(0, 9, all); len(got) != 0 || last != 4 {
		t.Errorf("%d decisions are remembered, the last is %d", len(got), last)
	}
	g.trace.add(Entry{})
	if got, _ := g.Decisions(0, 9, all); len(got) != 1 || got[0].Number != 5 {
		t.Errorf("then there are %+v", got)
	}
}
