package kind

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/relay"
)

// TestLogReader: one process answers question after question, and one that does not is
// ended and replaced.
func TestLogReader(t *testing.T) {
	b := &Backend{engine: engine{log: slog.New(slog.DiscardHandler)}}
	ask := func(ctx context.Context, r *logReader) (relay.LogAnswer, error) {
		return r.ask(ctx, relay.LogQuestion{Plain: "x"})
	}

	starts := filepath.Join(t.TempDir(), "starts")
	fakeDocker(t, `echo started >>`+starts+`; while read -r q; do echo '{"Lines":["a"],"Position":"1:2"}'; done`)
	var r logReader
	one, two := r.open(b, "node"), r.open(b, "node")
	for range 3 {
		if a, err := ask(t.Context(), one); err != nil || a.Position != "1:2" {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	two.close()
	if _, err := ask(t.Context(), one); err != nil {
		t.Error(err)
	}
	if raw, err := os.ReadFile(starts); err != nil || strings.Count(string(raw), "started") != 1 {
		t.Errorf("%s, %v, want one start", raw, err)
	}
	one.close()
	if r.cmd != nil {
		t.Error("a process stays that nobody needs")
	}

	r.open(b, "node")
	defer r.close()
	for name, c := range map[string]struct{ script, want string }{
		"ends":      {`echo "OCI runtime exec failed: no such file"`, "OCI runtime exec failed"},
		"complains": {`read -r q; echo '{"Error":"permission denied"}'; read -r q`, "permission denied"},
		"hangs":     {`exec sleep 60`, "deadline exceeded"},
	} {
		fakeDocker(t, c.script)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err := ask(ctx, &r)
		cancel()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		r.mu.Lock()
		r.end()
		r.mu.Unlock()
	}
	fakeDocker(t, `read -r q; echo '{"Position":"3:4"}'; read -r q`)
	if a, err := ask(t.Context(), &r); err != nil || a.Position != "3:4" {
		t.Errorf("after all that: %+v, %v", a, err)
	}
}

// TestTail: a container that does not run is not there, and the authenticator's log is
// the emulator's own.
func TestTail(t *testing.T) {
	cfg := Config{RunDir: t.TempDir()}
	b := &Backend{cfg: cfg, engine: engine{log: slog.New(slog.DiscardHandler)}, planes: map[string]*plane{}}
	if _, err := b.Tail(t.Context(), "one", controlplane.LogAPI, ""); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("of none: %v", err)
	}
	b.planes["one"] = &plane{b: b, id: "one", running: true}
	fakeDocker(t, `[ "$1" = exec ] && exit 1; echo '[{"State":{"Running":false}}]'`)
	if _, err := b.Tail(t.Context(), "one", controlplane.LogAPI, ""); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("of one that is started again: %v", err)
	}
	fakeDocker(t, `[ "$1" = exec ] && exit 1; echo '[{"State":{"Running":true}}]'`)
	if _, err := b.Tail(t.Context(), "one", controlplane.LogAPI, ""); err == nil || errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("of one that runs: %v", err)
	}
	questions := filepath.Join(t.TempDir(), "questions")
	fakeDocker(t, `while read -r q; do echo "$q" >>`+questions+`; echo '{"Lines":["a"],"Position":"1:2"}'; done`)
	tl, err := b.Tail(t.Context(), "one", controlplane.LogScheduler, controlplane.TailEnd)
	if err != nil {
		t.Fatal(err)
	}
	defer tl.Close()
	lines, err := tl.Lines(t.Context(), 100)
	if d := cmp.Diff([]string{"a"}, lines); d != "" || err != nil || tl.Position() != "1:2" {
		t.Errorf("%s, %v, %s", d, err, tl.Position())
	}
	raw, err := os.ReadFile(questions)
	const pattern = `"Containers":"/var/log/pods/kube-system_kube-scheduler-*/kube-scheduler/*.log"`
	if err != nil || strings.Count(string(raw), pattern) != 2 || !strings.Contains(string(raw), `"Position":"`+logfile.End+`","Limit":0`) || !strings.Contains(string(raw), `"Position":"1:2","Limit":100`) {
		t.Errorf("it asked %s, %v", raw, err)
	}

	if err := os.MkdirAll(filepath.Join(cfg.RunDir, "one"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(authenticatorLog(cfg, "one"), []byte("granted\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	own, err := b.Tail(t.Context(), "one", controlplane.LogAuthenticator, "")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if lines, err := own.Lines(t.Context(), 100); err != nil || cmp.Diff([]string{"granted"}, lines) != "" {
		t.Errorf("%q, %v", lines, err)
	}
}

// TestHungTail: who asks for lines waits no longer than they want, and one whose question
// took too long finds out why.
func TestHungTail(t *testing.T) {
	b := &Backend{engine: engine{log: slog.New(slog.DiscardHandler)}, planes: map[string]*plane{}}
	b.planes["one"] = &plane{b: b, id: "one", running: true}
	fakeDocker(t, `if [ "$1" = exec ]; then read -r q; echo '{"Position":"1:2"}'; exec sleep 60; fi; echo '[{"State":{"Running":false}}]'`)
	tl, err := b.Tail(t.Context(), "one", controlplane.LogAPI, "")
	if err != nil {
		t.Fatal(err)
	}
	defer tl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := tl.Lines(ctx, 100); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > answerPatience/2 {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
	tl.(*tail).patience = 50 * time.Millisecond
	fakeDocker(t, `if [ "$1" = exec ]; then exec sleep 60; fi; echo '[{"State":{"Running":false}}]'`)
	if _, err := tl.Lines(t.Context(), 100); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("of a container that does not run: %v", err)
	}
}
