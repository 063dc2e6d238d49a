// Package lifecycle drives resources to the state their records ask for: it
// watches the store and makes control planes, nodes, add-ons and updates happen.
//
// Every reconciler is a list of named steps, each idempotent; nothing is
// remembered outside the store, so that any of them can be killed at any line and
// goes on after the next start.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// key names one record of the table a controller watches.
type key struct {
	Scope awsid.Scope
	ID    string
}

func (k key) String() string { return k.Scope.Account + "/" + k.Scope.Region + "/" + k.ID }

// reconcileFunc brings the record at k one pass nearer to its desired state. It
// answers when to look again without being asked: 0 for never.
type reconcileFunc func(ctx context.Context, k key) (again time.Duration, err error)

// controller calls a reconcileFunc for every record of a table at start and after
// each change, never twice at once for the same record.
type controller struct {
	name      string
	reconcile reconcileFunc
	workers   int
	log       *slog.Logger
	queue     workqueue.TypedRateLimitingInterface[key]
}

// maxBackoff bounds how long a failing record waits for its next try.
const maxBackoff = 15 * time.Second

func newController(name string, workers int, clk clock.WithTicker, log *slog.Logger, f reconcileFunc) *controller {
	return &controller{
		name: name, reconcile: f, workers: workers, log: log.With("controller", name),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[key](50*time.Millisecond, maxBackoff),
			workqueue.TypedRateLimitingQueueConfig[key]{Name: name, Clock: clk}),
	}
}

// watch enqueues the records of a table until cancel. to maps a record to the keys
// that depend on it; nil means the record itself.
func (c *controller) watch(s *store.Store, table string, to func(k key) []key) (cancel func()) {
	return s.Subscribe(table, func(ch store.Change) {
		k := key{ch.Scope, ch.ID}
		if to == nil {
			c.queue.Add(k)
			return
		}
		for _, k := range to(k) {
			c.queue.Add(k)
		}
	})
}

// run works until ctx ends and every reconcile under way has returned.
func (c *controller) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, c.queue.ShutDown)
	defer stop()
	var wg sync.WaitGroup
	for range c.workers {
		wg.Go(func() {
			for c.next(ctx) {
			}
		})
	}
	wg.Wait()
}

func (c *controller) next(ctx context.Context) bool {
	k, quit := c.queue.Get()
	if quit {
		return false
	}
	defer c.queue.Done(k)
	if ctx.Err() != nil {
		return true
	}
	again, err := c.try(ctx, k)
	switch {
	case err != nil:
		if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			c.log.Warn("reconcile failed, will try again", "key", k.String(), "error", err, "tries", c.queue.NumRequeues(k)+1)
		}
		c.queue.AddRateLimited(k)
	case again > 0:
		c.queue.Forget(k)
		c.queue.AddAfter(k, again)
	default:
		c.queue.Forget(k)
	}
	return true
}

// try turns a panic into an error: one bad record must not end the emulator.
func (c *controller) try(ctx context.Context, k key) (again time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("reconcile panicked", "key", k.String(), "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.reconcile(ctx, k)
}
