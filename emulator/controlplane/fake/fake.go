// Package fake is a controlplane.Backend in memory, without any API server, for
// the tests of packages that use one.
package fake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// Method names a method of controlplane.Backend.
type Method string

// The methods that are counted and can be made to fail.
const (
	Create  Method = "Create"
	Get     Method = "Get"
	Upgrade Method = "Upgrade"
	Delete  Method = "Delete"
	Logs    Method = "Logs"
)

// Call is one call of the backend.
type Call struct {
	Method Method
	ID     string
	Spec   controlplane.Spec // of Create and Upgrade
}

// Backend runs nothing and answers as if it did. The zero value is ready to use;
// set the fields before sharing it.
type Backend struct {
	// Clock tells Info.StartedAt. Default: the real one.
	Clock clock.PassiveClock
	// Supported are the versions it takes. Default: 1.33 to 1.36.
	Supported []string
	// Admin, if set, makes the client configurations that Create hands out, so that
	// a test can put an API server of its own there.
	Admin func(controlplane.Spec) *rest.Config

	mu     sync.Mutex
	next   map[Method][]error
	gates  map[Method]chan struct{}
	calls  []Call
	planes map[string]*plane
	logs   map[string]map[controlplane.LogStream][]byte
	pid    int
	losses map[string]int // how often each lost its data
}

type plane struct {
	spec controlplane.Spec
	info controlplane.Info
}

var _ controlplane.Backend = (*Backend)(nil)

// NextError makes the next call of m that has no error queued before it fail.
func (b *Backend) NextError(m Method, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = map[Method][]error{}
	}
	b.next[m] = append(b.next[m], err)
}

// Hold makes calls of m wait until release is called or their context ends.
func (b *Backend) Hold(m Method) (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gates == nil {
		b.gates = map[Method]chan struct{}{}
	}
	gate := make(chan struct{})
	b.gates[m] = gate
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.gates[m] == gate {
			delete(b.gates, m)
		}
		close(gate)
	})
}

// Calls returns the calls so far, failed ones too, oldest first.
func (b *Backend) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

// Running returns the specs of the control planes that run, by ID.
func (b *Backend) Running() map[string]controlplane.Spec {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := make(map[string]controlplane.Spec, len(b.planes))
	for id, p := range b.planes {
		m[id] = p.spec
	}
	return m
}

// Crash makes the control plane look like one whose process is being restarted.
func (b *Backend) Crash(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.planes[id]; p != nil {
		p.info.PID, p.info.RSS = 0, 0
	}
}

// Lose makes the control plane one whose data somebody removed: it does not run, and
// Create makes another.
func (b *Backend) Lose(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.losses == nil {
		b.losses = map[string]int{}
	}
	b.losses[id]++
	delete(b.planes, id)
}

// WriteLog appends to a control plane's log.
func (b *Backend) WriteLog(id string, s controlplane.LogStream, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.logs == nil {
		b.logs = map[string]map[controlplane.LogStream][]byte{}
	}
	if b.logs[id] == nil {
		b.logs[id] = map[controlplane.LogStream][]byte{}
	}
	b.logs[id][s] = append(b.logs[id][s], text...)
}

// enter records the call, waits at a gate and takes the queued error.
func (b *Backend) enter(ctx context.Context, c Call) error {
	b.mu.Lock()
	b.calls = append(b.calls, c)
	var err error
	if q := b.next[c.Method]; len(q) > 0 {
		err, b.next[c.Method] = q[0], q[1:]
	}
	gate := b.gates[c.Method]
	b.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	return errors.Join(err, ctx.Err())
}

// Create implements controlplane.Backend.
func (b *Backend) Create(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	if err := b.enter(ctx, Call{Create, spec.ID, spec}); err != nil {
		return controlplane.Info{}, err
	}
	if err := b.check(spec); err != nil {
		return controlplane.Info{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.planes[spec.ID]
	if p == nil || p.info.PID == 0 {
		p = b.start(spec)
	}
	return p.copy(), nil
}

// start is called with b.mu held.
func (b *Backend) start(spec controlplane.Spec) *plane {
	if b.planes == nil {
		b.planes = map[string]*plane{}
	}
	var clk clock.PassiveClock = clock.RealClock{}
	if b.Clock != nil {
		clk = b.Clock
	}
	b.pid++
	p := &plane{spec: spec, info: controlplane.Info{
		GitVersion: "v" + spec.Version + ".0-eks-fa4e000", PID: b.pid, RSS: 256 << 20, StartedAt: clk.Now(),
		Admin: &rest.Config{
			Host:            "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(spec.Port)),
			TLSClientConfig: rest.TLSClientConfig{CAData: spec.PKI.Bundle()},
		},
	}}
	if n := b.losses[spec.ID]; n > 0 {
		p.info.Data = strconv.Itoa(n)
	}
	if b.Admin != nil {
		p.info.Admin = b.Admin(spec)
	}
	b.planes[spec.ID] = p
	return p
}

func (p *plane) copy() controlplane.Info {
	i := p.info
	i.Admin = rest.CopyConfig(i.Admin)
	return i
}

func (b *Backend) check(spec controlplane.Spec) error {
	if len(spec.ID) != 32 {
		return fmt.Errorf("control plane id %q is not 32 hexadecimal digits", spec.ID)
	}
	if !slices.Contains(b.Versions(), spec.Version) {
		return fmt.Errorf("kubernetes version %q is not one of %v", spec.Version, b.Versions())
	}
	return nil
}

// Get implements controlplane.Backend.
func (b *Backend) Get(ctx context.Context, id string) (controlplane.Info, error) {
	if err := b.enter(ctx, Call{Method: Get, ID: id}); err != nil {
		return controlplane.Info{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.planes[id]
	if p == nil {
		return controlplane.Info{}, fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
	}
	return p.copy(), nil
}

// Upgrade implements controlplane.Backend.
func (b *Backend) Upgrade(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	if err := b.enter(ctx, Call{Upgrade, spec.ID, spec}); err != nil {
		return controlplane.Info{}, err
	}
	if err := b.check(spec); err != nil {
		return controlplane.Info{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.planes[spec.ID]
	if p == nil {
		return controlplane.Info{}, fmt.Errorf("%w: %s", controlplane.ErrNotFound, spec.ID)
	}
	versions := b.Versions()
	switch was, want := slices.Index(versions, p.spec.Version), slices.Index(versions, spec.Version); {
	case want < was && !spec.Rollback:
		return controlplane.Info{}, fmt.Errorf("control plane runs %s already", p.spec.Version)
	case want != was || p.info.PID == 0 || !spec.PKI.Equal(p.spec.PKI):
		p = b.start(spec)
	}
	return p.copy(), nil
}

// Delete implements controlplane.Backend.
func (b *Backend) Delete(ctx context.Context, id string) error {
	if err := b.enter(ctx, Call{Method: Delete, ID: id}); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.planes, id)
	delete(b.logs, id)
	return nil
}

// Logs implements controlplane.Backend.
func (b *Backend) Logs(ctx context.Context, id string, s controlplane.LogStream) (io.ReadCloser, error) {
	if err := b.enter(ctx, Call{Method: Logs, ID: id}); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.planes[id] == nil {
		return nil, fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
	}
	return io.NopCloser(bytes.NewReader(slices.Clone(b.logs[id][s]))), nil
}

// Versions implements controlplane.Backend.
func (b *Backend) Versions() []string {
	if b.Supported != nil {
		return b.Supported
	}
	return []string{"1.33", "1.34", "1.35", "1.36"}
}

// Close implements controlplane.Backend. The backend can be used on, as if the
// emulator had been started again.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.planes = nil
	return nil
}
