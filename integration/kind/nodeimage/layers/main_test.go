package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pause")
	if err := os.WriteFile(file, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	spec := "# a comment\n\nexample/pause:1,example/pause:2 /pause,-v " + file + "=/bin/pause ->pause=/bin/link -=/var/lib " + dir + "/=/tree\n"
	if err := run(strings.NewReader(spec), &out); err != nil {
		t.Fatal(err)
	}
	files := read(t, out.Bytes())
	var manifest []entry
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || !slices.Equal(manifest[0].RepoTags, []string{"example/pause:1", "example/pause:2"}) {
		t.Fatalf("%+v", manifest)
	}
	layer := files[manifest[0].Layers[0]]
	if got := sum(layer) + ".tar"; got != manifest[0].Layers[0] {
		t.Errorf("the layer is called %s, its digest is %s", manifest[0].Layers[0], got)
	}
	if !bytes.Contains(files[manifest[0].Config], []byte(`"Entrypoint":["/pause","-v"]`)) {
		t.Errorf("%s", files[manifest[0].Config])
	}
	content := read(t, layer)
	for name, want := range map[string]string{"bin/pause": "program", "tree/pause": "program", "bin/link": "", "var/lib/": ""} {
		if got, ok := content[name]; !ok || string(got) != want {
			t.Errorf("%s is %q (there: %v), want %q", name, got, ok, want)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, spec := range []string{"name\n", "name /e source\n", "name /e /no/such/file=/x\n"} {
		if err := run(strings.NewReader(spec), io.Discard); err == nil {
			t.Errorf("%q was taken", spec)
		}
	}
}

func read(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
