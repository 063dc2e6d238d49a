package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The committed tables are what the SDK modules in go.mod say, byte for byte,
// and generating twice gives the same bytes.
func TestTablesAreFresh(t *testing.T) {
	for _, s := range services {
		files, err := generate(t.Context(), s)
		if err != nil {
			t.Fatalf("%s: %v", s.ID, err)
		}
		again, err := generate(t.Context(), s)
		if err != nil {
			t.Fatalf("%s: %v", s.ID, err)
		}
		for name, want := range files {
			path := filepath.Join("..", "..", "api", s.ID, name)
			got, err := os.ReadFile(path)
			if err != nil {
				t.Errorf("%s: %v", s.ID, err)
				continue
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s is stale: run go run ./cmd/wiregen", path)
			}
			if !bytes.Equal(want, again[name]) {
				t.Errorf("%s comes out differently each time", path)
			}
		}
	}
}

func TestToken(t *testing.T) {
	for _, c := range []struct {
		m    member
		kind string
		want string
	}{
		{member{Go: "VpcId", Wire: "vpcId"}, "struct", "vpcId"},
		{member{Go: "VpcId", Wire: "VpcId"}, "struct", "VpcId"},
		{member{Go: "Tags", Wire: "tagSet", Target: "TagList"}, "struct", "Tags=tagSet:TagList"},
		{member{Go: "Tags", Wire: "Tag", Target: "TagList", Options: []string{"flat"}}, "struct", "Tags=Tag:TagList!flat"},
		{member{Wire: "item", Target: "Vpc"}, "list", "item:Vpc"},
	} {
		if got := c.m.token(c.kind); got != c.want {
			t.Errorf("%+v: %s, want %s", c.m, got, c.want)
		}
	}
}

func TestStatusesNameKnownErrors(t *testing.T) {
	tab := &table{errors: []modelledError{{Type: "A"}}}
	if err := tab.addStatuses(map[string]int{"B": 404}); err == nil {
		t.Error("a status for an unknown error was accepted")
	}
}
