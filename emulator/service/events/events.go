// Package events is EventBridge: buses, rules and targets.
package events

import (
	"log/slog"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/service/events/pattern"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Queues are SQS's queues, the targets that events are really delivered to.
type Queues interface {
	// Deliver puts a message into a queue in the sender's transaction: an event is
	// as durable as what it tells of.
	Deliver(tx *store.Tx, queueARN, sender, body, group string) error
}

// Config is what the service is made from.
type Config struct {
	Store  *store.Store
	Clock  clock.PassiveClock
	Log    *slog.Logger
	Queues Queues
}

// Service implements EventBridge's operations with the signatures of the SDK's
// client.
type Service struct {
	store  *store.Store
	clock  clock.PassiveClock
	log    *slog.Logger
	queues Queues

	mu     sync.Mutex
	parsed map[string]*pattern.Pattern // by text: patterns are matched far more often than written
}

// New returns the service.
func New(c Config) *Service {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{store: c.Store, clock: c.Clock, log: c.Log, queues: c.Queues, parsed: map[string]*pattern.Pattern{}}
}

func (s *Service) now() time.Time { return s.clock.Now().UTC() }

// maxParsed bounds the cache of parsed patterns.
const maxParsed = 10000

func (s *Service) parse(text string) (*pattern.Pattern, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.parsed[text]; p != nil {
		return p, nil
	}
	p, err := pattern.Parse(text)
	if err != nil {
		return nil, badPattern(err)
	}
	if len(s.parsed) >= maxParsed {
		clear(s.parsed)
	}
	s.parsed[text] = p
	return p, nil
}
