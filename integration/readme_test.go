package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// commands are the first indented block below a heading of the README.
func commands(t *testing.T, heading string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "## "+heading+"\n")
	if !ok {
		t.Fatalf("the README has no heading %q", heading)
	}
	for line := range strings.Lines(rest) {
		command, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented:
			lines = append(lines, command)
		case strings.TrimSpace(line) != "" && lines != nil:
			return lines
		}
	}
	return lines
}

// TestReadmeByHand types what the README tells a newcomer to type, all but the start
// itself: the emulator of the test listens elsewhere.
func TestReadmeByHand(t *testing.T) {
	tool(t, "aws")
	tool(t, "kubectl")
	e := start(t)
	env := e.env(filepath.Join(t.TempDir(), "kubeconfig"))
	// Each part has a shell and its time of its own.
	run := func(lines []string, steps ...string) string {
		t.Helper()
		script := "set -euo pipefail\n" + strings.ReplaceAll(strings.Join(lines, ""), "bin/ekslocal", "'"+e.binary+"'")
		for _, step := range steps {
			if !strings.Contains(script, step) {
				t.Errorf("the README's commands have no %q:\n%s", step, script)
			}
		}
		out, err := runTool(t, env, script, "bash")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
	out := run(slices.DeleteFunc(commands(t, "By hand"), func(command string) bool {
		return strings.HasPrefix(command, "bin/ekslocal") || strings.HasPrefix(command, "eval ")
	}), "create-cluster", "wait cluster-active", "create-nodegroup", "kubectl get nodes,pods")
	if n := strings.Count(out, "node/ip-"); n != 3 {
		t.Errorf("%d nodes:\n%s", n, out)
	}
	if n := strings.Count(out, "pod/web-"); n != 20 {
		t.Errorf("%d pods:\n%s", n, out)
	}
	out = run(commands(t, "As whom a pod acts"), "pod credentials cart", "aws sts get-caller-identity")
	if !strings.Contains(out, "The pod acts as arn:aws:sts::000000000000:assumed-role/cart/") || !strings.Contains(out, `"Arn": "arn:aws:sts::000000000000:assumed-role/cart/`) {
		t.Errorf("as whom the pod acts:\n%s", out)
	}
}
