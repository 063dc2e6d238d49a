package enforce

import (
	"sync"
	"time"

	"github.com/ekslocal/ekslocal/emulator/policy"
)

// remembered is how many decisions are kept.
const remembered = 1000

// Entry is a decision that was made.
type Entry struct {
	// Number counts decisions since the start; the first is 1.
	Number    uint64
	Time      time.Time
	RequestID string
	Operation string // as a policy would name it: eks:CreateCluster
	Decision  policy.Decision
	// NearMisses are the statements that would have allowed it but for a condition.
	NearMisses []policy.NearMiss
	// Allowed is what became of it: the account's root may do what nobody denies it.
	Allowed bool
	// LetThrough says that it was not allowed, and not refused either.
	LetThrough bool
}

// trace is the last decisions, in a ring.
type trace struct {
	mu      sync.Mutex
	last    uint64 // the number of the newest
	kept    uint64 // how many of the newest are there
	entries []Entry
}

func newTrace(n int) *trace { return &trace{entries: make([]Entry, n)} }

func (t *trace) add(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	e.Number = t.last
	n := uint64(len(t.entries))
	t.entries[(t.last-1)%n] = e
	t.kept = min(t.kept+1, n)
}

// Forget drops all decisions; the numbers go on.
func (g *Gate) Forget() {
	g.trace.mu.Lock()
	defer g.trace.mu.Unlock()
	g.trace.kept = 0
}

// Decisions are those with a number above after that want takes, the oldest first; of
// more than limit, the newest. last is the number of the newest there is.
func (g *Gate) Decisions(after uint64, limit int, want func(*Entry) bool) (out []Entry, last uint64) {
	t := g.trace
	t.mu.Lock()
	defer t.mu.Unlock()
	n := uint64(len(t.entries))
	for number := t.last; number > after && number+t.kept > t.last && len(out) < limit; number-- {
		if e := &t.entries[(number-1)%n]; want(e) {
			out = append(out, *e)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out, t.last
}
