package emulator_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSecurityDoc: docs/security.md counts its attacks, and each is tried by a test
// that is there.
func TestSecurityDoc(t *testing.T) {
	doc, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, attacks, ok := strings.Cut(string(doc), "## Attacks")
	if !ok {
		t.Fatal("it has no list of attacks")
	}
	tests := testFunctions(t)
	name := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z]+)")
	rows := 0
	for line := range strings.Lines(attacks) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| #") {
			continue
		}
		rows++
		if !strings.HasPrefix(line, fmt.Sprintf("| %d | ", rows)) {
			t.Errorf("row %d: %s", rows, line)
		}
		named := name.FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("no test: %s", line)
		}
		for _, n := range named {
			if !tests[n[1]] {
				t.Errorf("there is no %s: %s", n[1], line)
			}
		}
	}
	if want := fmt.Sprintf("none gets in: %d.", rows); rows == 0 || !strings.Contains(attacks, want) {
		t.Errorf("there are %d attacks, and it does not say %q", rows, want)
	}
}

// testFunctions are the names of all tests of the module.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	found := map[string]bool{}
	for _, root := range []string{".", "../integration", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range function.FindAllSubmatch(b, -1) {
				found[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}
