package fsm

import (
	"fmt"
	"slices"
)

// States are the machine's states in the order in which its transitions name them.
func (t Table) States() []string {
	var out []string
	for _, x := range t.Transitions {
		for _, s := range []string{x.From, x.To} {
			if s != "" && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// From are the transitions out of a state; "" is the beginning.
func (t Table) From(s string) []Transition[string] {
	var out []Transition[string]
	for _, x := range t.Transitions {
		if x.From == s {
			out = append(out, x)
		}
	}
	return out
}

// reach are the states that lead on from s, "" for the end.
func (t Table) reach(s string) map[string]bool {
	seen := map[string]bool{}
	next := []string{s}
	for len(next) > 0 {
		s, next = next[0], next[1:]
		for _, x := range t.From(s) {
			if !seen[x.To] {
				seen[x.To] = true
				if x.To != "" {
					next = append(next, x.To)
				}
			}
		}
	}
	return seen
}

// settles tells whether the emulator's own work leads from s to a state that
// lasts, or to the end.
func (t Table) settles(s string, seen map[string]bool) bool {
	if s == "" || !slices.Contains(t.Passing, s) {
		return true
	}
	if seen[s] {
		return false
	}
	seen[s] = true
	return slices.ContainsFunc(t.From(s), func(x Transition[string]) bool { return x.By == Work && t.settles(x.To, seen) })
}

// Waits tells whether a waiter that sees s asks again.
func (w Waiter[S]) Waits(s S) bool {
	return !slices.Contains(w.Success, s) && !slices.Contains(w.Failure, s)
}

// Problems walks the machine and says what is wrong with it: states that nothing
// leads to, or that the end cannot be reached from, passing states that never
// pass, waiters that cannot succeed.
func (t Table) Problems() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, t.Name+": "+fmt.Sprintf(format, args...)) }
	states, reached := t.States(), t.reach("")
	if len(t.From("")) == 0 {
		add("it never begins")
	}
	for i, x := range t.Transitions {
		if x.On == "" || x.By != Call && x.By != Work || x.From == x.To || x.From == "" && x.To == "" {
			add("transition %d (%s to %s) is incomplete or none", i, x.From, x.To)
		}
		if slices.ContainsFunc(t.Transitions[:i], func(y Transition[string]) bool { return x == y }) {
			add("transition %d (%s to %s) is there twice", i, x.From, x.To)
		}
	}
	for _, s := range states {
		if !reached[s] {
			add("nothing leads to %s", s)
		}
		if !t.reach(s)[""] {
			add("%s is a dead end", s)
		}
		if !t.settles(s, map[string]bool{}) {
			add("%s never passes", s)
		}
	}
	for _, s := range t.Passing {
		if !slices.Contains(states, s) {
			add("passing state %s is in no transition", s)
		}
	}
	for _, w := range t.Waiters {
		t.waiterProblems(w, states, add)
	}
	return out
}

func (t Table) waiterProblems(w Waiter[string], states []string, add func(string, ...any)) {
	if len(w.Success) == 0 && !w.Gone {
		add("waiter %s cannot succeed", w.Name)
	}
	for _, s := range w.Success {
		if !slices.Contains(states, s) {
			add("waiter %s succeeds with %s, which no resource has", w.Name, s)
		}
	}
}
