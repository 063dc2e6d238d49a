//go:build linux

package nodelog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestAppend: many writers set a log aside once each time it is full, and lose nothing
// but what was set aside before.
func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "plugin.log")
	const writers, each, most = 8, 25, 2000
	line := func(w, i int) []byte { return fmt.Appendf(nil, "%02d %02d %s\n", w, i, bytes.Repeat([]byte("x"), 10)) } // 17 bytes
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := appendTo(path, line(w, i), most); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	now, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path + ".1")
	if err != nil {
		t.Fatal(err)
	}
	// Of 3400 bytes; writers that do not wait for each other may be late.
	if len(before) < most-17 || len(now) > most {
		t.Errorf("%d bytes were set aside, %d are there", len(before), len(now))
	}
	if n := bytes.Count(append(before, now...), []byte("\n")); n != writers*each {
		t.Errorf("%d lines", n)
	}
}

// TestAppendWhole: lines that are more than a log takes are in one all the same.
func TestAppendWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipamd.log")
	long := bytes.Repeat([]byte("y"), 50)
	for range 2 {
		if err := appendTo(path, long, 10); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{path, path + ".1"} {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, long) {
			t.Errorf("%s: %q, %v", filepath.Base(name), got, err)
		}
	}
	if err := Append(filepath.Join(path, "below-a-file"), nil); err == nil {
		t.Error("no error where no log can be")
	}
}
