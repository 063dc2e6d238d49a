package sqs

import (
	"strings"
	"sync"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// polls wakes receivers that wait for messages, by queue id.
type polls struct {
	mu      sync.Mutex
	waiting map[string]*poll
}

type poll struct {
	wake chan struct{} // closed by the next change of the queue's messages
	n    int
}

func newPolls() *polls { return &polls{waiting: map[string]*poll{}} }

// wait returns what the next change closes. It is to be asked for before looking
// for messages: what comes in between must not be missed.
func (p *polls) wait(queueID string) (wake <-chan struct{}, done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.waiting[queueID]
	if w == nil {
		w = &poll{wake: make(chan struct{})}
		p.waiting[queueID] = w
	}
	w.n++
	return w.wake, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if w.n--; w.n == 0 && p.waiting[queueID] == w {
			delete(p.waiting, queueID)
		}
	}
}

func (p *polls) changed(c store.Change) {
	id, _, _ := strings.Cut(c.ID, "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.waiting[id]; w != nil {
		close(w.wake)
		delete(p.waiting, id)
	}
}
