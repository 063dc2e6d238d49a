package logfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

func mustTail(t *testing.T, log Log, position string) *Tail {
	t.Helper()
	tl, err := OpenTail(log, position)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tl.Close() })
	return tl
}

func wantLines(t *testing.T, tl *Tail, want ...string) {
	t.Helper()
	got, err := tl.Lines(t.Context(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestTailFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kube-scheduler.log")
	tl := mustTail(t, Plain(path), "")
	wantLines(t, tl)
	appendTo(t, path, "a\nb\nhal")
	wantLines(t, tl, "a", "b")
	again := mustTail(t, Plain(path), tl.Position())
	appendTo(t, path, "f\nc\n")
	wantLines(t, tl, "half", "c")
	wantLines(t, again, "half", "c") // from where the first had whole lines
	wantLines(t, mustTail(t, Plain(path), End))

	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path+".1", "late\n")
	appendTo(t, path, "new\n")
	wantLines(t, tl, "late", "new")
	wantLines(t, mustTail(t, Plain(path), again.Position()), "late", "new")
	wantLines(t, mustTail(t, Plain(path), ""), "a", "b", "half", "c", "late", "new")
	wantLines(t, mustTail(t, Plain(path), "1:1"), "a", "b", "half", "c", "late", "new")
}

// TestTailFollowsTheAuditLog, which is set aside under its time, and does not take
// it for the API server's.
func TestTailFollowsTheAuditLog(t *testing.T) {
	dir := t.TempDir()
	audit, api := filepath.Join(dir, "kube-apiserver-audit.log"), filepath.Join(dir, "kube-apiserver.log")
	appendTo(t, audit, "1\n")
	tl := mustTail(t, Plain(audit), "")
	wantLines(t, tl, "1")
	if err := os.Rename(audit, filepath.Join(dir, "kube-apiserver-audit-2026-05-01T12-00-00.000.log")); err != nil {
		t.Fatal(err)
	}
	appendTo(t, audit, "2\n")
	wantLines(t, tl, "2")
	wantLines(t, mustTail(t, Plain(audit), ""), "1", "2")
	appendTo(t, api, "x\n")
	wantLines(t, mustTail(t, Plain(api), ""), "x")
}

func TestTailTakesALimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	var all, got []string
	for i := range 1000 {
		all = append(all, fmt.Sprint("line ", i))
	}
	appendTo(t, path, strings.Join(all, "\n")+"\n")
	for position := ""; ; {
		tl := mustTail(t, Plain(path), position)
		lines, err := tl.Lines(t.Context(), 100)
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
		if err := EndLine(path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%q became %q, %v", text, got, err)
		}
	}
	if err := EndLine(path + ".none"); err != nil {
		t.Error(err)
	}
}

// TestTailFollowsContainers across a restart of the container, a file that the kubelet
// sets aside, another pod, and an inode that is used again.
func TestTailFollowsContainers(t *testing.T) {
	dir := t.TempDir()
	at := func(second int) string { return fmt.Sprintf("2026-05-01T12:00:%02d.5Z", second) }
	file := func(pod, name string) string { return filepath.Join(dir, "kube-system_x-"+pod, "x", name) }
	for _, pod := range []string{"b", "a"} {
		if err := os.MkdirAll(filepath.Dir(file(pod, "0.log")), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	log := Containers(filepath.Join(dir, "kube-system_x-*", "x", "*.log"))
	tl := mustTail(t, log, "")
	wantLines(t, tl)
	appendTo(t, file("b", "0.log"), at(1)+" stderr F one\n"+at(2)+" stderr P tw")
	wantLines(t, tl, "one")
	appendTo(t, file("b", "0.log"), "\n"+at(2)+" stderr F o lines\n"+at(3)+" stdout F \nbroken\n"+at(4)+" stderr P half\n")
	wantLines(t, mustTail(t, log, tl.Position()), "two lines", "", "broken")
	wantLines(t, tl, "two lines", "", "broken")
	middle := tl.Position()
	appendTo(t, file("b", "0.log"), at(4)+" stderr F way\n")

	if err := os.Rename(file("b", "0.log"), file("b", "0.log.20260501-120005")); err != nil {
		t.Fatal(err)
	}
	appendTo(t, file("b", "0.log"), at(5)+" stderr F again\n")
	appendTo(t, file("b", "1.log"), at(6)+" stderr F restarted\n")
	appendTo(t, file("b", "0.log.20260501-110000.gz"), "squeezed")
	appendTo(t, file("a", "0.log"), at(7)+" stderr F another pod\n")
	wantLines(t, tl, "halfway", "again", "restarted", "another pod")
	wantLines(t, mustTail(t, log, middle), "halfway", "again", "restarted", "another pod")
	wantLines(t, mustTail(t, log, End))

	for _, n := range []string{"0.log.20260501-120005", "0.log", "1.log"} {
		if err := os.Remove(file("b", n)); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, file("b", "2.log"), at(8)+" stderr F long enough for the place that was remembered: "+strings.Repeat("x", 200)+"\n")
	if got, err := mustTail(t, log, middle).Lines(t.Context(), 1<<20); err != nil || len(got) != 2 || got[0] != "another pod" {
		t.Errorf("from a place that is gone: %q, %v", got, err)
	}
	wantLines(t, mustTail(t, log, End))
}

func FuzzContainersCut(f *testing.F) {
	f.Add([]byte("2026-05-01T12:00:00Z stderr P a\n2026-05-01T12:00:00Z stderr F b\n"))
	f.Add([]byte("\n\n x\n"))
	f.Fuzz(func(t *testing.T, read []byte) {
		for len(read) > 0 {
			line, n := Containers("").cut(read)
			if n == 0 {
				return
			}
			if n < 0 || n > len(read) || len(line) > n {
				t.Fatalf("%d bytes and a line of %d out of %d", n, len(line), len(read))
			}
			read = read[n:]
		}
	})
}
