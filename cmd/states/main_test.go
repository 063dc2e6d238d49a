package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/timing"
)

// TestFresh keeps docs/states.md true: `make generate` writes it.
func TestFresh(t *testing.T) {
	got, err := os.ReadFile("../../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != render(machines()) {
		t.Error("docs/states.md is stale: run make generate")
	}
}

// TestPhases: every state that passes has its duration, and every duration is of
// one. An update lasts as long as its resource's UPDATING, and so does what it does
// to a certificate authority.
func TestPhases(t *testing.T) {
	passing, timed := map[string]bool{}, map[string]bool{}
	for _, m := range machines() {
		for _, s := range m.Passing {
			passing[m.Name+" "+s] = true
		}
	}
	for _, s := range []string{"eks update InProgress", "eks certificate authority signing ACTIVATING", "eks certificate authority distribution DELETING"} {
		delete(passing, s)
	}
	for _, r := range timing.Table() {
		if p, _, _ := strings.Cut(string(r.Phase), ","); !strings.HasPrefix(p, "patience: ") {
			timed[p] = true
		}
	}
	if diff := cmp.Diff(passing, timed); diff != "" {
		t.Errorf("states that pass (-) and phases (+) differ:\n%s", diff)
	}
}

// TestProblems walks every machine that the page shows.
func TestProblems(t *testing.T) {
	for _, m := range machines() {
		for _, p := range m.Problems() {
			t.Error(p)
		}
	}
}
