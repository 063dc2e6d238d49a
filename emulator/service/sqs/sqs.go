// Package sqs is the Simple Queue Service: queues and their messages.
package sqs

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/utils/clock"

	iampolicy "github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Config is what the service is made from.
type Config struct {
	Store *store.Store
	Clock clock.Clock
	Log   *slog.Logger
}

// Service implements SQS's operations with the signatures of the SDK's client.
type Service struct {
	store *store.Store
	clock clock.Clock
	log   *slog.Logger
	polls *polls

	parsed iampolicy.Cache
}

// New returns the service.
func New(c Config) *Service {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{store: c.Store, clock: c.Clock, log: c.Log, polls: newPolls()}
	// For the store's life, which is the service's.
	c.Store.Subscribe(messages.Name(), s.polls.changed)
	return s
}

// sweepEvery is how often what nobody will receive any more is removed.
const sweepEvery = 10 * time.Minute

// Run removes expired and purged messages, those of deleted queues and old
// deduplication ids until ctx ends. Operations do not see these anyway.
func (s *Service) Run(ctx context.Context) error {
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("sqs: old messages stay for a while", "error", err)
		}
		timer := s.clock.NewTimer(sweepEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C():
		}
	}
}

func (s *Service) sweep(ctx context.Context) error {
	live := map[string]*queue{}
	for _, q := range queues.ListAll(s.store) {
		live[q.ID] = q
	}
	now := s.clock.Now()
	var old []store.Key
	for k, m := range messages.All(s.store) {
		if q := live[m.QueueID]; q == nil || q.gone(m, now) {
			old = append(old, k)
		}
	}
	if err := s.removeMessages(ctx, old); err != nil {
		return err
	}
	var seen []store.Key
	for k, d := range dedups.All(s.store) {
		if live[d.QueueID] == nil || now.Sub(d.At) >= dedupFor {
			seen = append(seen, k)
		}
	}
	return removeBatches(ctx, s.store, seen, dedups.Delete)
}
