package main

import (
	"os"
	"testing"
)

// TestFresh keeps docs/coverage.md true: `make generate` writes it.
func TestFresh(t *testing.T) {
	want, err := render("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/coverage.md is stale: run make generate")
	}
}
