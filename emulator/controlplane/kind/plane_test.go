package kind

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
)

// testPlane is a control plane of a new backend, on whatever docker is.
func testPlane(t *testing.T, spec controlplane.Spec) *plane {
	t.Helper()
	b, err := New(Config{RunDir: t.TempDir(), Authenticator: table{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	p, err := b.plane(spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCertainlyGone: only the engine's word, and that twice, makes of a control plane one
// whose data are gone.
func TestCertainlyGone(t *testing.T) {
	const way = `info) echo 2 ;; network) echo 127.0.0.0/8 ;; `
	for name, c := range map[string]struct {
		script   string
		engine   string // that has the container
		forgets  bool
		noEngine bool
	}{
		"the engine is down":      {`case $1 in *) echo "failed to connect to the docker API at unix:///x; check if the path is correct and if the daemon is running: dial unix /x: connect: no such file or directory" >&2; exit 1 ;; esac`, "", false, true},
		"it contradicts itself":   {`case $1 in ` + way + `ps) echo "$NODE" ;; *) echo "Error response from daemon: No such container: $NODE" >&2; exit 1 ;; esac`, "2", false, false},
		"it goes down in between": {`case $1 in ` + way + `ps) echo "Cannot connect to the Docker daemon at unix:///x" >&2; exit 1 ;; *) echo "Error response from daemon: No such container: $NODE" >&2; exit 1 ;; esac`, "2", false, true},
		"another engine":          {`case $1 in ` + way + `ps) ;; *) echo "Error response from daemon: No such container: $NODE" >&2; exit 1 ;; esac`, "1", false, false},
		"gone":                    {`case $1 in ` + way + `ps) ;; *) echo "Error response from daemon: No such container: $NODE" >&2; exit 1 ;; esac`, "2", true, false},
		"gone long ago":           {`case $1 in ` + way + `ps) ;; *) echo "Error response from daemon: No such container: $NODE" >&2; exit 1 ;; esac`, "", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			spec := conformance.NewSpec(t, "gone", "1.36")
			log := filepath.Join(t.TempDir(), "asked")
			t.Setenv("NODE", nodeName(spec.ID))
			fakeDocker(t, `echo "$@" >>`+log+"\n"+c.script)
			p := testPlane(t, spec)
			if err := p.save(record{Secret: "s", Made: true, Engine: c.engine}); err != nil {
				t.Fatal(err)
			}
			if _, err := p.create(t.Context(), spec); err == nil || errors.Is(err, ErrNoEngine) != c.noEngine {
				t.Errorf("create: %v", err)
			}
			if r, err := p.load(); err != nil || r.Made == c.forgets || r.Secret != "s" {
				t.Errorf("record %+v: %v", r, err)
			}
			asked, err := os.ReadFile(log)
			if err != nil || strings.Contains(string(asked), "rm -f") {
				t.Errorf("docker was asked:\n%s%v", asked, err)
			}
		})
	}
}

// TestRemoved: a control plane whose container somebody removed does not run, and the
// reconcilers hear of it; one that the engine only does not find does.
func TestRemoved(t *testing.T) {
	for script, gone := range map[string]bool{"exit 0": true, `echo "$NODE"`: false, "exit 1": false} {
		spec := conformance.NewSpec(t, "removed", "1.36")
		t.Setenv("NODE", nodeName(spec.ID))
		fakeDocker(t, script)
		p := testPlane(t, spec)
		var heard []string
		p.b.cfg.Lost = func(_ context.Context, id string) { heard = append(heard, id) }
		p.running = true
		p.lost(t.Context())
		if p.isRunning() == gone || (len(heard) == 1) != gone {
			t.Errorf("%s: it runs: %v, heard of %v", script, p.isRunning(), heard)
		}
	}
}

// TestCloseStops: whatever nodes of the control planes in RunDir run when the backend is
// closed are stopped, whether it has seen them run or not.
func TestCloseStops(t *testing.T) {
	const away = `echo "Cannot connect to the Docker daemon at unix:///x" >&2; exit 1`
	for name, c := range map[string]struct {
		ps    string
		asked bool // Create was
		seen  bool // and has succeeded
		stops bool
		fails bool
	}{
		"of a crash":             {`echo "$NODE"`, false, false, true, false},
		"only just started":      {`echo "$NODE"`, true, false, true, false},
		"seen":                   {`echo "$NODE"`, true, true, true, false},
		"none runs":              {"", true, true, false, false},
		"no engine":              {away, false, false, false, false},
		"the engine went away":   {away, true, true, false, true},
		"the engine has trouble": {"echo trouble >&2; exit 1", false, false, false, true},
	} {
		spec := conformance.NewSpec(t, "stop", "1.36")
		log := filepath.Join(t.TempDir(), "stopped")
		t.Setenv("NODE", nodeName(spec.ID))
		fakeDocker(t, "case $1 in\nps) case $2 in -a) echo of others ;; *) "+c.ps+" ;; esac ;;\nstop) echo \"$*\" >>"+log+" ;;\nesac\n")
		p := testPlane(t, spec)
		if err := p.save(record{Made: true}); err != nil {
			t.Fatal(err)
		}
		if !c.asked {
			p.b.forget(p)
		}
		p.running = c.seen
		if err := p.b.Close(); (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
		}
		stopped, err := os.ReadFile(log)
		if (err == nil) != c.stops || c.stops && string(stopped) != "stop -t 10 "+nodeName(spec.ID)+"\n" {
			t.Errorf("%s: stopped %q, %v", name, stopped, err)
		}
	}
}

// TestRemoveFails: after a removal that failed the control plane can be created again,
// and machines join it.
func TestRemoveFails(t *testing.T) {
	spec := conformance.NewSpec(t, "remove", "1.36")
	fakeDocker(t, "echo trouble >&2; exit 1")
	p := testPlane(t, spec)
	g, leave, err := p.enter(t.Context(), "i-1")
	if err != nil {
		t.Fatal(err)
	}
	g.setRuns(true)
	leave()
	if err := p.remove(t.Context()); err == nil {
		t.Fatal("it is removed")
	}
	if _, _, err := p.enter(t.Context(), "i-1"); !errors.Is(err, errLeaving) {
		t.Errorf("a machine of what is being removed: %v", err)
	}
	if _, err := p.create(t.Context(), spec); err == nil {
		t.Error("it is created")
	}
	g, leave, err = p.enter(t.Context(), "i-1")
	if err != nil {
		t.Fatalf("a machine of what is created again: %v", err)
	}
	defer leave()
	if _, runs := g.seen(); runs {
		t.Error("it seems to run, removed or not")
	}
}
