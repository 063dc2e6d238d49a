package integration

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBoto3 runs testdata/boto3_checks.py; each of its checks is a subtest.
func TestBoto3(t *testing.T) {
	t.Parallel()
	python := tool(t, "python3")
	if exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("boto3 is not installed")
	}
	w := newWorld(t, start(t))
	args := append([]string{filepath.Join("testdata", "boto3_checks.py"), w.clusterRole, w.node}, w.subnets...)
	out, err := runTool(t, w.env(filepath.Join(t.TempDir(), "kubeconfig")), "", python, args...)
	if err != nil {
		t.Error(err)
	}
	n := 0
	for line := range strings.Lines(out) {
		var c struct{ Name, Error string }
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		n++
		t.Run(c.Name, func(t *testing.T) {
			if c.Error != "" {
				t.Error(c.Error)
			}
		})
	}
	if n == 0 {
		t.Error("no check ran")
	}
}
