package kind_test

import (
	"os"
	"strings"
	"testing"
)

// TestSameModules: what ekslocal and the node image's Kubernetes are both made of is of
// the same version, or Go compiles all of Kubernetes twice, which is a quarter of an
// hour. `go get MODULE@VERSION` in nodeimage mends it.
func TestSameModules(t *testing.T) {
	ours, theirs := modules(t, "../../go.mod"), modules(t, "nodeimage/go.mod")
	if len(ours) < 100 || len(theirs) < 100 {
		t.Fatalf("%d and %d modules are read", len(ours), len(theirs))
	}
	for m, v := range theirs {
		if o := ours[m]; o != "" && o != v {
			t.Errorf("%s is %s in nodeimage/go.mod, %s in go.mod", m, v, o)
		}
	}
}

// modules reads the versions of a go.mod's requirements, or those that replace them.
func modules(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(strings.TrimPrefix(line, "require "))
		switch {
		case len(f) >= 4 && f[1] == "=>":
			out[f[0]] = f[3]
		case len(f) >= 2 && strings.HasPrefix(f[1], "v"):
			out[f[0]] = f[1]
		}
	}
	return out
}
