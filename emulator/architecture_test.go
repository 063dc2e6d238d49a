package emulator_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/ekslocal/ekslocal/"

// banned are imports that must not happen, each with its reason. A rule holds for
// packages whose path below the module begins with from.
var banned = []struct{ from, imports, but, why string }{
	{"emulator/service/", "emulator/service/", "", "services never import each other: a consumer declares a small interface, emulator.go passes the provider"},
	{"emulator/service/", "emulator/lifecycle", "", "services write desired state; the lifecycle follows the store"},
	{"emulator/service/", "emulator/gateway", "", "operations know nothing of HTTP"},
	{"emulator/wire", "emulator/service/", "", "codecs know models, never services"},
	{"emulator/store", "emulator/service/", "", "tables are generic"},
	{"emulator/controlplane", "emulator/service/", "", "control planes know Kubernetes, not AWS"},
	{"emulator/controlplane", "emulator/lifecycle", "", "control planes are driven, they do not drive"},
	{"emulator/dataplane", "emulator/service/", "", "nodes ask for addresses through dataplane.Addresses"},
	{"emulator/dataplane", "emulator/lifecycle", "", "the fleet is driven, it does not drive"},
	{"emulator/ipam", "emulator/service/", "", "ipamd talks to EC2 through an interface, as aws-vpc-cni does"},
	{"emulator/ipam/warmpool", "github.com/aws/", "", "decisions are pure: a plan makes the same ones without EC2"},
	{"emulator/ipam/warmpool", "k8s.io/", "", "decisions are pure: time is passed in"},
	{"emulator/awsid", module + "emulator/", "", "ids are the lowest layer"},
	{"emulator/fsm", module + "emulator/", "", "lives are data"},
	{"emulator/timing", module + "emulator/", "", "durations are data"},
	{"emulator/nodeagent", "k8s.io/", "", "each node holds the agent in memory, and ekslocal carries two of it"},
	{"emulator/nodeagent", "github.com/aws/", "", "the agent knows nothing: it asks the emulator"},
	{"api/", "emulator/service/", "", "the contract knows no implementation"},
	{"fixtures/", "emulator/", "", "data knows no code"},
	{"emulator/", "k8s.io/kubernetes/", "emulator/controlplane/embedded/child", "only the child's package links Kubernetes: everything else must build and test fast"},
	{"emulator/", "github.com/spf13/cobra", "emulator/controlplane/embedded/child", "the command line is cmd's"},
}

type pkg struct {
	ImportPath, Doc string
	Imports         []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Doc", "../...")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(out); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, r := range banned {
			if !strings.HasPrefix(from, r.from) || (r.but != "" && strings.HasPrefix(from, r.but)) {
				continue
			}
			for _, i := range p.Imports {
				to := strings.TrimPrefix(i, module)
				own := to == from || sameService(from, to)
				if !own && (strings.HasPrefix(to, r.imports) || strings.HasPrefix(i, r.imports)) {
					t.Errorf("%s imports %s: %s", from, to, r.why)
				}
			}
		}
	}
}

// sameService tells whether both packages belong to one service's folder.
func sameService(a, b string) bool {
	const dir = "emulator/service/"
	if !strings.HasPrefix(a, dir) || !strings.HasPrefix(b, dir) {
		return false
	}
	first := func(s string) string { s, _, _ = strings.Cut(strings.TrimPrefix(s, dir), "/"); return s }
	return first(a) == first(b)
}

func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		name := p.ImportPath[strings.LastIndex(p.ImportPath, "/")+1:]
		if !strings.HasPrefix(p.Doc, "Package ") && !strings.HasPrefix(p.Doc, "Command ") {
			t.Errorf("%s: the package comment must say what %q is", p.ImportPath, name)
		}
	}
}
