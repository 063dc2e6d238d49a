package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBounding(t *testing.T) {
	have, err := bounding("Name:\tx\nCapBnd:\t000001fffeffffff\n")
	if err != nil {
		t.Fatal(err)
	}
	if have["CAP_SYS_RESOURCE"] || !have["CAP_SYS_ADMIN"] || !have["CAP_CHECKPOINT_RESTORE"] {
		t.Errorf("%v", have)
	}
	if _, err := bounding("Name:\tx\n"); err == nil {
		t.Error("no error without CapBnd")
	}
}

func TestDocument(t *testing.T) {
	type found struct {
		File string
		Path []string
	}
	for _, c := range []struct {
		args []string
		want found
	}{
		{[]string{"--root", "/r", "create", "--bundle", "/b", "id"}, found{"/b/config.json", []string{"process"}}},
		{[]string{"create", "--bundle=/b", "exec"}, found{"/b/config.json", []string{"process"}}},
		{[]string{"run", "id"}, found{"config.json", []string{"process"}}},
		{[]string{"exec", "-p", "/p.json", "id"}, found{"/p.json", nil}},
		{[]string{"exec", "id", "sh"}, found{}},
		{[]string{"state", "id"}, found{}},
	} {
		var got found
		got.File, got.Path = document(c.args)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%v: %s", c.args, d)
		}
	}
}

func TestFit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	in := `{"process":{"capabilities":{"bounding":["CAP_KILL","CAP_SYS_RESOURCE"]},"rlimit":18446744073709551615}}`
	if err := os.WriteFile(file, []byte(in), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fit(file, []string{"process"}, map[string]bool{"CAP_KILL": true}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"process":{"capabilities":{"bounding":["CAP_KILL"]},"rlimit":18446744073709551615}}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}
