package kind

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
)

// within fails a test that waits for what must not take long.
func within[T any](t *testing.T, what string, f func() T) (out T) {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- f() }()
	select {
	case out = <-done:
	case <-time.After(15 * time.Second):
		t.Fatalf("%s hangs with the engine", what)
	}
	return out
}

// TestHungEngine: who waits for an engine that does not answer, or for somebody who does,
// may be told to stop, and what needs no engine does not wait.
func TestHungEngine(t *testing.T) {
	begun := filepath.Join(t.TempDir(), "begun")
	fakeDocker(t, "echo $* >>"+begun+"; sleep 20\n") // not exec: its output stays open when it is killed
	b, err := New(Config{RunDir: t.TempDir(), Authenticator: table{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := make(chan error, 1)
	go func() {
		_, err := b.asking(ctx)
		first <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if raw, err := os.ReadFile(begun); err == nil && len(raw) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the engine is not asked")
		}
	}
	if at := within(t, "Endpoint", b.Endpoint); at != "" {
		t.Errorf("containers reach AWS at %s", at)
	}
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	err = within(t, "who waits for the server", func() error { _, err := b.asking(short); return err })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who waits for the server: %v", err)
	}

	spec := conformance.NewSpec(t, "hung", "1.36")
	p, err := b.plane(spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.work.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(context.Context) error{
		"create":  func(ctx context.Context) error { _, err := p.create(ctx, spec); return err },
		"upgrade": func(ctx context.Context) error { _, err := p.upgrade(ctx, spec); return err },
		"remove":  p.remove,
		"revive":  p.revive,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := within(t, name, func() error { return f(ctx) }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s while somebody else works: %v", name, err)
		}
		cancel()
	}
	p.work.leave()

	cancel()
	if err := within(t, "who asks the engine", func() error { return <-first }); !errors.Is(err, context.Canceled) {
		t.Errorf("who asks the engine: %v", err)
	}
	fakeDocker(t, `echo "Cannot connect to the Docker daemon" >&2; exit 1`) // Close has a patience of its own
	if err := within(t, "Close", b.Close); err != nil {
		t.Error(err)
	}
}

// TestUnattended: what comes of a call that nobody waits for any more is removed before
// the next one.
func TestUnattended(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	fakeDocker(t, `echo "$*" >>`+log+`; if [ "$1" = ps ]; then echo left-behind; fi`)
	b, err := New(Config{RunDir: t.TempDir(), Authenticator: table{}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.plane(strings.Repeat("0", 32))
	if err != nil {
		t.Fatal(err)
	}
	works, finish := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-works
		cancel()
	}()
	err = within(t, "who made it", func() error {
		return p.unattended(ctx, func() error { close(works); <-finish; return nil })
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := p.unattended(short, func() error { t.Error("two at a time"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the next: %v", err)
	}
	// Nor does anybody remove what is yet to come.
	early, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := p.remove(early); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("removed in the middle of it: %v", err)
	}
	close(finish)
	err = within(t, "the next", func() error {
		return p.unattended(t.Context(), func() error { return controlplane.ErrNotFound })
	})
	if !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("its error is not handed on: %v", err)
	}
	if raw, err := os.ReadFile(log); err != nil || !strings.Contains(string(raw), "rm -f -v left-behind") {
		t.Errorf("the engine was asked %s, %v", raw, err)
	}
}
