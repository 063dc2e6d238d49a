package logfile

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestReaderGoesOnAcrossFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	r, err := OpenReader(path) // before there is anything
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var want, got bytes.Buffer
	line := bytes.Repeat([]byte("x"), 1<<20)
	for i := range 40 { // 40 MiB in files of 16
		fmt.Fprintf(&want, "%d %s\n", i, line)
		if _, err := fmt.Fprintf(w, "%d %s\n", i, line); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 {
			if _, err := io.Copy(&got, r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := io.Copy(&got, r); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want.Bytes(), got.Bytes()) {
		t.Errorf("read %d bytes, want %d", got.Len(), want.Len())
	}
	for _, p := range []string{path, path + ".1"} {
		if st, err := os.Stat(p); err != nil || st.Size() > MaxBytes+2<<20 {
			t.Errorf("%s: %v, %v", p, st, err)
		}
	}
	if _, err := os.Stat(path + ".2"); err == nil {
		t.Error("more than two files")
	}
}

func TestLogIsReadFromItsBeginning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	for name, text := range map[string]string{path + ".1": "old\n", path: "new\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if text, err := io.ReadAll(r); err != nil || string(text) != "old\nnew\n" {
		t.Errorf("read %q, %v", text, err)
	}
}
