package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKindDoctor looks at this machine as a user does whose cluster does not come up.
func TestKindDoctor(t *testing.T) {
	ports := freePorts(t, 3)
	args := []string{"doctor", "--cluster-ports", fmt.Sprintf("%d-%d", ports, ports+2)}
	t.Run("without an engine", func(t *testing.T) {
		env := append(os.Environ(), "DOCKER_HOST=unix://"+filepath.Join(t.TempDir(), "no.sock"))
		out, err := runTool(t, env, "", binary(t), args...)
		if err == nil || !strings.Contains(err.Error(), "the embedded backend needs none of them") {
			t.Errorf("it ends with %v", err)
		}
		for _, want := range []string{"the Docker engine does not answer", "-> install Docker", fmt.Sprintf("3 of %d-%d are free", ports, ports+2)} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q:\n%s", want, out)
			}
		}
	})
	t.Run("with one", func(t *testing.T) {
		out, err := runTool(t, os.Environ(), "", binary(t), append(args, "--kind-node-image", nodeImage(t))...)
		if err != nil {
			t.Error(err)
		}
		checked := map[string]bool{}
		for line := range strings.Lines(out) {
			if rest, ok := strings.CutPrefix(line, "ok "); ok { // columns are two spaces apart
				check, _, _ := strings.Cut(strings.TrimSpace(rest), "  ")
				checked[check] = true
			}
		}
		for _, want := range []string{"engine", "cgroups", "memory", "network", "node images", "privileges", "disk", "way back", "ports", "clusters"} {
			if !checked[want] {
				t.Errorf("%s is not ok:\n%s", want, out)
			}
		}
	})
}
