package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadmeByHand types what the README tells a newcomer to type, all but the start
// itself: the emulator of the test listens elsewhere.
func TestReadmeByHand(t *testing.T) {
	tool(t, "aws")
	tool(t, "kubectl")
	text, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "## By hand\n")
	if !ok {
		t.Fatal("the README has no such heading")
	}
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	for line := range strings.Lines(rest) {
		command, indented := strings.CutPrefix(line, "    ")
		if !indented && strings.TrimSpace(line) != "" {
			break
		}
		if strings.HasPrefix(command, "bin/ekslocal") || strings.HasPrefix(command, "eval ") {
			continue
		}
		script.WriteString(command)
	}
	for _, step := range []string{"create-cluster", "wait cluster-active", "create-nodegroup", "kubectl get nodes,pods"} {
		if !strings.Contains(script.String(), step) {
			t.Errorf("the README's commands have no %q:\n%s", step, script.String())
		}
	}
	e := start(t)
	out, err := runTool(t, e.env(filepath.Join(t.TempDir(), "kubeconfig")), script.String(), "bash")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(out, "node/ip-"); n != 3 {
		t.Errorf("%d nodes:\n%s", n, out)
	}
	if n := strings.Count(out, "pod/web-"); n != 20 {
		t.Errorf("%d pods:\n%s", n, out)
	}
}
