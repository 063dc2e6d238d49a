// Package fsm holds the lives of resources as data: their states, what leads
// from one to the next, and what clients' waiters wait for.
//
// A Machine is not run by an engine. Handlers and reconcilers set states where
// they know why; the store asks the record's machine whether the step is one it
// has (store.Table.Put calls Follows), so that a step which nobody thought of is
// refused with its transaction instead of being written. The tests walk the same
// tables, and docs/states.md is printed from them.
package fsm

import (
	"fmt"
	"slices"
)

// Cause tells what makes a transition.
type Cause string

// The causes.
const (
	// Call is a client's request.
	Call Cause = "call"
	// Work is the emulator's own: something got done, failed, or took its time.
	Work Cause = "work"
)

// Transition is one step. An empty From is the resource's beginning, an empty To
// its end.
type Transition[S ~string] struct {
	From, To S
	By       Cause
	// On is the operation, or what happened.
	On string
}

// Waiter is one of the SDKs' waiters on the machine's states, as botocore's
// waiters-2.json has it.
type Waiter[S ~string] struct {
	Name string
	// Operation is what it calls.
	Operation string
	// Success and Failure end it; any other state has it ask again.
	Success, Failure []S
	// Gone: the error for a resource that is not there is a success.
	Gone bool
}

// Machine is the life of one kind of resource.
type Machine[S ~string] struct {
	// Name is the service and the resource: "eks cluster".
	Name string
	// Member is where clients see the state: "cluster.status".
	Member string
	// Passing are the states that end by themselves.
	Passing     []S
	Transitions []Transition[S]
	Waiters     []Waiter[S]
}

// Error is a step that a machine does not have: a bug of the emulator.
type Error struct {
	Machine, From, To string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s does not lead to %s (emulator/fsm)", e.Machine, shown(e.From, "nothing"), shown(e.To, "its end"))
}

func shown(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

// Check returns an *Error unless the machine leads from one state to the other.
// Staying is no step, and a new record may be in any state: it may come from a
// copy of another emulator's store.
func (m *Machine[S]) Check(from, to S) error {
	if from == to || from == "" {
		return nil
	}
	for _, t := range m.Transitions {
		if t.From == from && t.To == to {
			return nil
		}
	}
	return &Error{m.Name, string(from), string(to)}
}

// Passes tells whether s ends by itself.
func (m *Machine[S]) Passes(s S) bool { return slices.Contains(m.Passing, s) }

// Table is the machine without its type.
func (m *Machine[S]) Table() Table {
	t := Table{Name: m.Name, Member: m.Member, Passing: text(m.Passing)}
	for _, x := range m.Transitions {
		t.Transitions = append(t.Transitions, Transition[string]{string(x.From), string(x.To), x.By, x.On})
	}
	for _, w := range m.Waiters {
		t.Waiters = append(t.Waiters, Waiter[string]{w.Name, w.Operation, text(w.Success), text(w.Failure), w.Gone})
	}
	return t
}

// Table is what every machine is once its states are plain text.
type Table Machine[string]

func text[S ~string](in []S) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}
