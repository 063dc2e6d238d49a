// Package hold keeps the answers of describe operations back for a moment, from
// clients that wait for a resource to leave a state that passes.
//
// A waiter looks once and then each 10 to 30 s, as suits AWS. Here a cluster takes
// a second, and most waits would be for the second look. docs/adr/0007-waiters.md
// has who is held, and why nobody else is.
package hold

import (
	"context"
	"time"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Most is how long an answer is held at most: under the read time-outs of the
// SDKs, of which 30 s (Java's) is the shortest that is known.
const Most = 20 * time.Second

// Holder implements gateway.Caller.
type Holder struct {
	store *store.Store
	clock clock.Clock
	stop  <-chan struct{}
	looks map[string]look
}

// New returns a Holder that lets everybody go when stop is closed.
func New(s *store.Store, clk clock.Clock, stop <-chan struct{}) *Holder {
	return &Holder{store: s, clock: clk, stop: stop, looks: looks()}
}

// Call calls the operation, and again whenever what it shows has changed, until
// nothing that it shows is in a state that the client waits through.
func (h *Holder) Call(ctx context.Context, c gateway.Call, call func() (any, error)) (any, error) {
	l, ok := h.looks[c.Service+"."+c.Operation]
	if !ok {
		return call()
	}
	who := clientOf(c.Caller.UserAgent)
	if !who.waits {
		return call()
	}
	out, err := call()
	if err != nil || !l.waiting(who, out) {
		return out, err
	}
	changed := make(chan struct{}, 1)
	for _, table := range l.tables {
		defer h.store.Subscribe(table, func(ch store.Change) {
			if ch.Scope != c.Caller.Scope {
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		})()
	}
	timer := h.clock.NewTimer(Most)
	defer timer.Stop()
	for {
		select {
		case <-changed: // at once the first time: it may have changed before the subscription
			if out, err = call(); err != nil || !l.waiting(who, out) {
				return out, err
			}
		case <-timer.C():
			return out, nil
		case <-h.stop:
			return out, nil
		case <-ctx.Done():
			return out, nil
		}
	}
}
