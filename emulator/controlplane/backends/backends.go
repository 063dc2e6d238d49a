// Package backends is a controlplane.Backend made of several: each control plane is
// with the one that its Spec names.
package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// Backends hands each control plane's calls to its backend.
type Backends struct {
	named map[string]controlplane.Backend

	mu sync.Mutex
	of map[string]controlplane.Backend // of the control planes that Create was asked for
}

var (
	_ controlplane.Backend  = (*Backends)(nil)
	_ controlplane.Reserver = (*Backends)(nil)
	_ controlplane.Auditor  = (*Backends)(nil)
	_ controlplane.Tailer   = (*Backends)(nil)
	_ controlplane.Hoster   = (*Backends)(nil)
)

// New returns the backends by the names that Specs have for them. The one for no name
// reserves and is the one whose Versions count.
func New(named map[string]controlplane.Backend) *Backends {
	return &Backends{named: maps.Clone(named), of: map[string]controlplane.Backend{}}
}

func (b *Backends) choose(spec controlplane.Spec) (controlplane.Backend, error) {
	chosen, ok := b.named[spec.Backend]
	if !ok {
		return nil, fmt.Errorf("cluster %s: there is no backend %q", spec.Name, spec.Backend)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of[spec.ID] = chosen
	return chosen, nil
}

func (b *Backends) find(id string) (controlplane.Backend, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if chosen := b.of[id]; chosen != nil {
		return chosen, nil
	}
	return nil, fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
}

// Create implements controlplane.Backend.
func (b *Backends) Create(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	chosen, err := b.choose(spec)
	if err != nil {
		return controlplane.Info{}, err
	}
	return chosen.Create(ctx, spec)
}

// Get implements controlplane.Backend.
func (b *Backends) Get(ctx context.Context, id string) (controlplane.Info, error) {
	chosen, err := b.find(id)
	if err != nil {
		return controlplane.Info{}, err
	}
	return chosen.Get(ctx, id)
}

// Upgrade implements controlplane.Backend. It does not move a control plane from one
// backend to another.
func (b *Backends) Upgrade(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	chosen, err := b.find(spec.ID)
	if err != nil {
		return controlplane.Info{}, err
	}
	return chosen.Upgrade(ctx, spec)
}

// Delete implements controlplane.Backend. After a restart nobody knows whose a control
// plane is that was never asked for again: none of them minds the question.
func (b *Backends) Delete(ctx context.Context, id string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(b.named)) {
		errs = append(errs, b.named[name].Delete(ctx, id))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, id)
	return nil
}

// Logs implements controlplane.Backend.
func (b *Backends) Logs(ctx context.Context, id string, s controlplane.LogStream) (io.ReadCloser, error) {
	chosen, err := b.find(id)
	if err != nil {
		return nil, err
	}
	return chosen.Logs(ctx, id, s)
}

// Versions implements controlplane.Backend.
func (b *Backends) Versions() []string { return b.named[""].Versions() }

// Close implements controlplane.Backend.
func (b *Backends) Close() error {
	errs := make([]error, 0, len(b.named))
	for _, name := range slices.Sorted(maps.Keys(b.named)) {
		errs = append(errs, b.named[name].Close())
	}
	return errors.Join(errs...)
}

// Reserve implements controlplane.Reserver, for control planes without a name of a
// backend.
func (b *Backends) Reserve(ctx context.Context, version, serviceCIDR string) (controlplane.Reservation, bool) {
	r, ok := b.named[""].(controlplane.Reserver)
	if !ok {
		return controlplane.Reservation{}, false
	}
	return r.Reserve(ctx, version, serviceCIDR)
}

// Audit implements controlplane.Auditor. A backend that is none always writes all of it.
func (b *Backends) Audit(ctx context.Context, id string, full bool) error {
	chosen, err := b.find(id)
	if err != nil {
		return err
	}
	if a, ok := chosen.(controlplane.Auditor); ok {
		return a.Audit(ctx, id, full)
	}
	return nil
}

// Tail implements controlplane.Tailer. Of a backend that is none there are no lines to
// follow.
func (b *Backends) Tail(ctx context.Context, id string, s controlplane.LogStream, position string) (controlplane.Tail, error) {
	chosen, err := b.find(id)
	if err != nil {
		return nil, err
	}
	if t, ok := chosen.(controlplane.Tailer); ok {
		return t.Tail(ctx, id, s, position)
	}
	return silent(position), nil
}

// silent is a log without lines, wherever one looks.
type silent string

var _ controlplane.Tail = silent("")

func (silent) Lines(context.Context, int) ([]string, error) { return nil, nil }
func (s silent) Position() string                           { return string(s) }
func (silent) Close() error                                 { return nil }

// hoster finds the backend of a control plane that has real nodes.
func (b *Backends) hoster(id string) (controlplane.Hoster, error) {
	chosen, err := b.find(id)
	if err != nil {
		return nil, err
	}
	if h, ok := chosen.(controlplane.Hoster); ok {
		return h, nil
	}
	return nil, fmt.Errorf("control plane %s has no real nodes", id)
}

// Join implements controlplane.Hoster.
func (b *Backends) Join(ctx context.Context, id string, m controlplane.Machine) error {
	h, err := b.hoster(id)
	if err != nil {
		return err
	}
	return h.Join(ctx, id, m)
}

// Halt implements controlplane.Hoster.
func (b *Backends) Halt(ctx context.Context, id, instanceID string) error {
	h, err := b.hoster(id)
	if err != nil {
		return err
	}
	return h.Halt(ctx, id, instanceID)
}

// Leave implements controlplane.Hoster.
func (b *Backends) Leave(ctx context.Context, id, instanceID string) error {
	h, err := b.hoster(id)
	if err != nil {
		return err
	}
	return h.Leave(ctx, id, instanceID)
}

// Machines implements controlplane.Hoster.
func (b *Backends) Machines(ctx context.Context, id string) ([]controlplane.MachineState, error) {
	h, err := b.hoster(id)
	if err != nil {
		return nil, err
	}
	return h.Machines(ctx, id)
}

// Provide implements controlplane.Hoster.
func (b *Backends) Provide(ctx context.Context, id string, images []string) error {
	h, err := b.hoster(id)
	if err != nil {
		return err
	}
	return h.Provide(ctx, id, images)
}
