package main

import (
	"os"
	"testing"
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

// TestProblems walks every machine that the page shows.
func TestProblems(t *testing.T) {
	for _, m := range machines() {
		for _, p := range m.Problems() {
			t.Error(p)
		}
	}
}
