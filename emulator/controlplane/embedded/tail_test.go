package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func mustTail(t *testing.T, path, position string) *tail {
	t.Helper()
	tl, err := openTail(path, position)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tl.Close() })
	return tl
}

func wantLines(t *testing.T, tl *tail, want ...string) {
	t.Helper()
	got, err := tl.Lines(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestTailFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kube-scheduler.log")
	tl := mustTail(t, path, "")
	wantLines(t, tl)
	appendTo(t, path, "a\nb\nhal")
	wantLines(t, tl, "a", "b")
	again := mustTail(t, path, tl.Position())
	appendTo(t, path, "f\nc\n")
	wantLines(t, tl, "half", "c")
	wantLines(t, again, "half", "c") // from where the first had whole lines
	wantLines(t, mustTail(t, path, controlplane.TailEnd))

	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path+".1", "late\n")
	appendTo(t, path, "new\n")
	wantLines(t, tl, "late", "new")
	wantLines(t, mustTail(t, path, again.Position()), "late", "new")
	wantLines(t, mustTail(t, path, ""), "a", "b", "half", "c", "late", "new")
	wantLines(t, mustTail(t, path, "1:1"), "a", "b", "half", "c", "late", "new")
}

// TestTailFollowsTheAuditLog, which is set aside under its time, and does not take
// it for the API server's.
func TestTailFollowsTheAuditLog(t *testing.T) {
	dir := t.TempDir()
	audit, api := filepath.Join(dir, LogFile(controlplane.LogAudit)), filepath.Join(dir, LogFile(controlplane.LogAPI))
	appendTo(t, audit, "1\n")
	tl := mustTail(t, audit, "")
	wantLines(t, tl, "1")
	if err := os.Rename(audit, filepath.Join(dir, "kube-apiserver-audit-2026-05-01T12-00-00.000.log")); err != nil {
		t.Fatal(err)
	}
	appendTo(t, audit, "2\n")
	wantLines(t, tl, "2")
	wantLines(t, mustTail(t, audit, ""), "1", "2")
	appendTo(t, api, "x\n")
	wantLines(t, mustTail(t, api, ""), "x")
}

func TestTailTakesALimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	var all, got []string
	for i := range 1000 {
		all = append(all, fmt.Sprint("line ", i))
	}
	appendTo(t, path, strings.Join(all, "\n")+"\n")
	for position := ""; ; {
		tl := mustTail(t, path, position)
		lines, err := tl.Lines(100)
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) == 0 {
			break
		}
		if len(lines) > 20 {
			t.Fatalf("%d lines at once", len(lines))
		}
		got, position = append(got, lines...), tl.Position()
	}
	if d := cmp.Diff(all, got); d != "" {
		t.Error(d)
	}
}

func TestEndLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	for text, want := range map[string]string{"": "", "a\n": "a\n", "a\nb": "a\nb\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := endLine(path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%q became %q, %v", text, got, err)
		}
	}
	if err := endLine(path + ".none"); err != nil {
		t.Error(err)
	}
}
