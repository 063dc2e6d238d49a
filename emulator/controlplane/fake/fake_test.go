package fake_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/fake"
)

func TestConformance(t *testing.T) {
	conformance.RunSuite(t, func(t *testing.T) conformance.Harness {
		b := &fake.Backend{}
		return conformance.Harness{Backend: b, Reopen: func() controlplane.Backend { return b }}
	})
}

func TestNextErrorFailsOneCall(t *testing.T) {
	b := &fake.Backend{}
	spec := conformance.NewSpec(t, "a", "1.34")
	boom := errors.New("boom")
	b.NextError(fake.Create, boom)
	if _, err := b.Create(t.Context(), spec); !errors.Is(err, boom) {
		t.Errorf("first Create: %v, want boom", err)
	}
	if _, err := b.Create(t.Context(), spec); err != nil {
		t.Errorf("second Create: %v", err)
	}
	if n := len(b.Calls()); n != 2 {
		t.Errorf("%d calls were recorded, want 2", n)
	}
}

func TestHoldDelaysUntilReleased(t *testing.T) {
	b := &fake.Backend{}
	release := b.Hold(fake.Create)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Create(ctx, conformance.NewSpec(t, "a", "1.34")); !errors.Is(err, context.Canceled) {
		t.Errorf("Create while held: %v, want canceled", err)
	}
	release()
	if _, err := b.Create(t.Context(), conformance.NewSpec(t, "a", "1.34")); err != nil {
		t.Error(err)
	}
}
