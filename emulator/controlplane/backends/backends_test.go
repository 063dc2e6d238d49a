package backends_test

import (
	"errors"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/backends"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/fake"
)

func TestConformance(t *testing.T) {
	conformance.RunSuite(t, func(t *testing.T) conformance.Harness {
		open := func() controlplane.Backend {
			return backends.New(map[string]controlplane.Backend{"": &fake.Backend{}, "kind": &fake.Backend{}})
		}
		return conformance.Harness{Backend: open(), Reopen: open}
	})
}

func TestChoice(t *testing.T) {
	usual, other := &fake.Backend{}, &fake.Backend{}
	b := backends.New(map[string]controlplane.Backend{"": usual, "other": other})
	ctx := t.Context()

	one, two, three := conformance.NewSpec(t, "one", "1.36"), conformance.NewSpec(t, "two", "1.36"), conformance.NewSpec(t, "three", "1.36")
	two.Backend, three.Backend = "other", "no such"
	for _, s := range []controlplane.Spec{one, two} {
		if _, err := b.Create(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Create(ctx, three); err == nil {
		t.Error("Create on a backend that is not there succeeded")
	}
	for _, c := range []struct {
		backend *fake.Backend
		id      string
		there   bool
	}{{usual, one.ID, true}, {usual, two.ID, false}, {other, two.ID, true}, {other, one.ID, false}} {
		if _, err := c.backend.Get(ctx, c.id); (err == nil) != c.there {
			t.Errorf("Get: %v, want one there: %v", err, c.there)
		}
	}

	// The fake has no log to follow.
	tail, err := b.Tail(ctx, two.ID, controlplane.LogAPI, "here")
	if err != nil {
		t.Fatal(err)
	}
	if lines, err := tail.Lines(t.Context(), 1<<20); len(lines) > 0 || err != nil || tail.Position() != "here" {
		t.Errorf("lines %v, error %v, position %q", lines, err, tail.Position())
	}
	if _, err := b.Tail(ctx, three.ID, controlplane.LogAPI, ""); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("Tail of none: %v, want ErrNotFound", err)
	}

	// Somebody new deletes what neither was asked for since.
	again := backends.New(map[string]controlplane.Backend{"": usual, "other": other})
	if err := again.Delete(ctx, two.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Get(ctx, two.ID); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("Get after Delete: %v, want ErrNotFound", err)
	}
}
