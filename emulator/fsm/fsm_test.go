package fsm

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type light string

var good = Machine[light]{
	Name: "toy light", Member: "light.status", Passing: []light{"WARMING", "COOLING"},
	Transitions: []Transition[light]{
		{"", "WARMING", Call, "Switch"},
		{"WARMING", "ON", Work, "warm"},
		{"ON", "COOLING", Call, "Unswitch"},
		{"COOLING", "", Work, "cold"},
	},
	Waiters: []Waiter[light]{
		{Name: "LightOn", Operation: "Look", Success: []light{"ON"}},
		{Name: "LightOut", Operation: "Look", Failure: []light{"ON"}, Gone: true},
	},
}

func TestCheck(t *testing.T) {
	for _, ok := range [][2]light{{"", "WARMING"}, {"", "ON"}, {"WARMING", "ON"}, {"ON", "ON"}, {"COOLING", ""}} {
		if err := good.Check(ok[0], ok[1]); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
	for _, bad := range [][2]light{{"ON", "WARMING"}, {"WARMING", "COOLING"}, {"ON", ""}, {"ON", "BROKEN"}} {
		var e *Error
		if err := good.Check(bad[0], bad[1]); !errors.As(err, &e) || e.From != string(bad[0]) || e.To != string(bad[1]) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestProblems(t *testing.T) {
	if got := good.Table().Problems(); got != nil {
		t.Errorf("a good machine has problems: %v", got)
	}
	for name, tc := range map[string]struct {
		change func(*Machine[light])
		want   string
	}{
		"no beginning": {func(m *Machine[light]) { m.Transitions = m.Transitions[1:] }, "it never begins"},
		"unreachable": {func(m *Machine[light]) {
			m.Transitions = append(m.Transitions, Transition[light]{"DIM", "ON", Work, "x"})
		}, "nothing leads to DIM"},
		"dead end": {func(m *Machine[light]) {
			m.Transitions = append(m.Transitions, Transition[light]{"ON", "DIM", Work, "x"})
		}, "DIM is a dead end"},
		"never passes":     {func(m *Machine[light]) { m.Transitions[1].By = Call }, "WARMING never passes"},
		"circle of work":   {func(m *Machine[light]) { m.Passing = append(m.Passing, "ON"); m.Transitions[2].To = "WARMING" }, "ON never passes"},
		"twice":            {func(m *Machine[light]) { m.Transitions = append(m.Transitions, m.Transitions[0]) }, "is there twice"},
		"no cause":         {func(m *Machine[light]) { m.Transitions[0].By = "" }, "is incomplete"},
		"unknown passing":  {func(m *Machine[light]) { m.Passing = append(m.Passing, "DIM") }, "passing state DIM is in no transition"},
		"hopeless waiter":  {func(m *Machine[light]) { m.Waiters[0].Success = nil }, "waiter LightOn cannot succeed"},
		"waiter's own day": {func(m *Machine[light]) { m.Waiters[0].Success = []light{"BRIGHT"} }, "succeeds with BRIGHT"},
	} {
		m := good
		m.Transitions = append([]Transition[light]{}, good.Transitions...)
		m.Waiters = append([]Waiter[light]{}, good.Waiters...)
		m.Passing = append([]light{}, good.Passing...)
		tc.change(&m)
		if got := strings.Join(m.Table().Problems(), "\n"); !strings.Contains(got, tc.want) {
			t.Errorf("%s: want %q in %q", name, tc.want, got)
		}
	}
}

func TestStates(t *testing.T) {
	if diff := cmp.Diff([]string{"WARMING", "ON", "COOLING"}, good.Table().States()); diff != "" {
		t.Error(diff)
	}
}
