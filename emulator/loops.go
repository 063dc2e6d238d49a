package emulator

import (
	"context"
	"sync"

	"github.com/ekslocal/ekslocal/emulator/lifecycle"
)

// loops are the reconcilers and whatever else works in the background. They can be
// stopped and started again, which is how a reset gets the state to itself.
type loops struct {
	make func() *lifecycle.Lifecycle
	also []func(context.Context) error

	mu      sync.Mutex
	current *lifecycle.Lifecycle
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

func (l *loops) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	lc := l.make()
	l.mu.Lock()
	l.current, l.cancel = lc, cancel
	l.mu.Unlock()
	for _, f := range append([]func(context.Context) error{lc.Run}, l.also...) {
		l.wg.Go(func() { _ = f(ctx) }) // each ends with ctx only, and logs its own troubles
	}
}

func (l *loops) stop() {
	l.mu.Lock()
	cancel := l.cancel
	l.cancel = nil
	l.mu.Unlock()
	if cancel != nil {
		cancel()
		l.wg.Wait()
	}
}

// lifecycle returns the reconcilers that run now, nil before the first start.
func (l *loops) lifecycle() *lifecycle.Lifecycle {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}
