package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/integration/terraform"
)

// workspace is one configuration in an AWS account of its own.
type workspace struct {
	*emulator
	clients
	*terraform.Workspace
	account string
}

// newWorkspace initializes a configuration.
func newWorkspace(t *testing.T, e *emulator, account, config string) *workspace {
	t.Helper()
	tf, err := terraform.New(t.TempDir(), config, e.endpoint, account)
	if errors.Is(err, terraform.ErrMissing) {
		t.Skipf("TERRAFORM IS NOT TESTED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &workspace{emulator: e, clients: e.clientsOf(account), Workspace: tf, account: account}
	w.ok(t, "init")
	return w
}

// command is terraform with some arguments; it is not started yet.
func (w *workspace) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd, out := w.Command(args[0], args[1:]...), &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// run returns what terraform printed and its exit status.
func (w *workspace) run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	began := time.Now()
	cmd, out := w.command(args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if args[0] != "show" {
		t.Logf("terraform %s: %v", args[0], time.Since(began).Round(100*time.Millisecond))
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func (w *workspace) ok(t *testing.T, args ...string) string {
	t.Helper()
	out, code := w.run(t, args...)
	if code != 0 {
		t.Fatalf("terraform %s: exit status %d\n%s", strings.Join(args, " "), code, lastLines(out, 60))
	}
	return out
}

func (w *workspace) apply(t *testing.T) {
	t.Helper()
	w.ok(t, "apply", "-auto-approve")
}

// set gives the configuration's variables for the commands that follow.
func (w *workspace) set(t *testing.T, vars map[string]any) {
	t.Helper()
	b, err := json.Marshal(vars)
	if err == nil {
		err = os.WriteFile(filepath.Join(w.Dir, "terraform.tfvars.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fails applies what must not succeed and looks for AWS's words in the errors.
func (w *workspace) fails(t *testing.T, want ...string) {
	t.Helper()
	out, code := w.run(t, "apply", "-auto-approve")
	if code == 0 {
		t.Errorf("terraform apply succeeded, want %q", want)
	}
	contains(t, out, want...)
}

// contains compares without line breaks and frames, which Terraform puts where the
// terminal ends.
func contains(t *testing.T, out string, want ...string) {
	t.Helper()
	flat := strings.Join(strings.Fields(strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(out)), " ")
	for _, s := range want {
		if !strings.Contains(flat, s) {
			t.Errorf("terraform printed\n%s\nwant %q in it", lastLines(out, 30), s)
		}
	}
}

// interrupted runs a command until when is true, ends it as Ctrl-C does and returns
// what it printed: what AWS may still mend in minutes the provider repeats for so
// long.
func (w *workspace) interrupted(t *testing.T, when func() error, args ...string) string {
	t.Helper()
	cmd, out := w.command(args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, 2*time.Minute, "terraform "+args[0]+" is refused", when)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Errorf("terraform %s succeeded", args[0])
		}
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-ended
		t.Errorf("terraform %s did not end within a minute of an interrupt", args[0])
	}
	return out.String()
}

// tfPlan is what `terraform show -json` says of a plan.
type tfPlan struct {
	ResourceChanges []tfResource        `json:"resource_changes"`
	OutputChanges   map[string]tfChange `json:"output_changes"`
}

type tfResource struct {
	Address string   `json:"address"`
	Change  tfChange `json:"change"`
}

type tfChange struct {
	Actions      []string `json:"actions"`
	Before       any      `json:"before"`
	After        any      `json:"after"`
	AfterUnknown any      `json:"after_unknown"`
	ReplacePaths [][]any  `json:"replace_paths"`
	Importing    *struct {
		ID string `json:"id"`
	} `json:"importing"`
}

// plan makes one and returns it. Its exit status must say the same as it does.
func (w *workspace) plan(t *testing.T) tfPlan {
	t.Helper()
	out, code := w.run(t, "plan", "-detailed-exitcode", "-out=tfplan")
	if code != 0 && code != 2 {
		t.Fatalf("terraform plan: exit status %d\n%s", code, lastLines(out, 60))
	}
	var p tfPlan
	cmd, shown := w.command("show", "-json", "tfplan")
	if err := cmd.Run(); err != nil {
		t.Fatal(err, shown)
	}
	if err := json.Unmarshal(shown.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if nothing := len(p.changes()) == 0 && len(p.imports()) == 0; nothing != (code == 0) {
		t.Errorf("terraform plan: exit status %d with the changes %v\n%s", code, p.changes(), out)
	}
	return p
}

// changes says for each resource what is to happen to it, with the paths of the
// attributes that change or, for a replacement, that force it.
func (p tfPlan) changes() map[string]string {
	out := map[string]string{}
	for _, r := range p.ResourceChanges {
		c := r.Change
		action := strings.Join(c.Actions, "+")
		switch action {
		case "no-op", "read":
			continue
		case "update":
			var paths []string
			differing("", c.Before, c.After, c.AfterUnknown, &paths)
			action += " " + strings.Join(slices.Compact(paths), " ")
		case "delete+create", "create+delete":
			action = "replace"
			for _, path := range c.ReplacePaths {
				action += " " + pathString(path)
			}
		}
		out[r.Address] = action
	}
	for name, c := range p.OutputChanges {
		if !slices.Equal(c.Actions, []string{"no-op"}) {
			out["output."+name] = strings.Join(c.Actions, "+")
		}
	}
	return out
}

func (p tfPlan) imports() (s []string) {
	for _, r := range p.ResourceChanges {
		if r.Change.Importing != nil {
			s = append(s, r.Address)
		}
	}
	return s
}

func pathString(path []any) string {
	var s []string
	for _, e := range path {
		s = append(s, fmt.Sprint(e))
	}
	return strings.Join(s, ".")
}

// differing collects the paths below which two values differ. Lists that differ in
// length, as sets do, are one path.
func differing(path string, before, after, unknown any, out *[]string) {
	if u, ok := unknown.(bool); ok && u {
		*out = append(*out, path+"?")
		return
	}
	join := func(k string) string { return strings.TrimPrefix(path+"."+k, ".") }
	if b, ok := before.(map[string]any); ok {
		if a, ok := after.(map[string]any); ok {
			all := maps.Clone(b)
			maps.Copy(all, a)
			um, _ := unknown.(map[string]any)
			for _, k := range slices.Sorted(maps.Keys(all)) {
				differing(join(k), b[k], a[k], um[k], out)
			}
			for _, k := range slices.Sorted(maps.Keys(um)) {
				if _, known := all[k]; !known && um[k] == true {
					*out = append(*out, join(k)+"?")
				}
			}
			return
		}
	}
	if b, ok := before.([]any); ok {
		if a, ok := after.([]any); ok && len(a) == len(b) {
			ul, _ := unknown.([]any)
			for i := range b {
				var u any
				if i < len(ul) {
					u = ul[i]
				}
				if _, nested := b[i].(map[string]any); nested {
					differing(join(fmt.Sprint(i)), b[i], a[i], u, out)
				} else if !reflect.DeepEqual(b[i], a[i]) {
					*out = append(*out, path)
				}
			}
			return
		}
	}
	if !reflect.DeepEqual(before, after) {
		*out = append(*out, path)
	}
}

// planned holds a plan to exactly these changes.
func (w *workspace) planned(t *testing.T, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, w.plan(t).changes()); diff != "" {
		t.Errorf("plan of %s (-want +got):\n%s", filepath.Base(w.Dir), diff)
	}
}

// unchanged holds that there is nothing to do.
func (w *workspace) unchanged(t *testing.T, when string) {
	t.Helper()
	if p := w.plan(t); len(p.changes()) != 0 {
		t.Errorf("the plan %s is not empty: %v", when, p.changes())
	}
}

// tfModule is a module's part of the state.
type tfModule struct {
	Resources []struct {
		Address string         `json:"address"`
		Values  map[string]any `json:"values"`
	} `json:"resources"`
	Children []tfModule `json:"child_modules"`
}

// state is what terraform knows of each resource and data source.
func (w *workspace) state(t *testing.T) map[string]map[string]any {
	t.Helper()
	cmd, out := w.command("show", "-json")
	if err := cmd.Run(); err != nil {
		t.Fatal(err, out)
	}
	var s struct {
		Values struct {
			Root tfModule `json:"root_module"`
		} `json:"values"`
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	found := map[string]map[string]any{}
	var collect func(m tfModule)
	collect = func(m tfModule) {
		for _, r := range m.Resources {
			found[r.Address] = r.Values
		}
		for _, c := range m.Children {
			collect(c)
		}
	}
	collect(s.Values.Root)
	return found
}

// attribute follows a path such as "vpc_config.0.vpc_id" into a resource's values.
func attribute(t *testing.T, values map[string]any, path string) any {
	t.Helper()
	var at any = values
	for _, k := range strings.Split(path, ".") {
		switch v := at.(type) {
		case map[string]any:
			at = v[k]
		case []any:
			var i int
			if _, err := fmt.Sscan(k, &i); err != nil || i >= len(v) {
				t.Errorf("no %s in %v", path, values)
				return nil
			}
			at = v[i]
		default:
			t.Errorf("no %s in %v", path, values)
			return nil
		}
	}
	return at
}

// refused tells whether the emulator has refused an operation of this account.
func (w *workspace) refused(operation, code string) func() error {
	line := regexp.MustCompile(`operation=` + operation + ` .*code=` + code + ` .*caller=arn:aws:iam::` + w.account + `:`)
	return func() error {
		if !line.MatchString(w.log.String()) {
			return fmt.Errorf("%s was not refused with %s", operation, code)
		}
		return nil
	}
}
