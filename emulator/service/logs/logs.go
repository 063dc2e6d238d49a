// Package logs is CloudWatch Logs: log groups, streams, events and their search.
//
// Events are kept in the store, compressed, in chunks of a stream. A stream keeps
// at most MaxStreamBytes of them (as storedBytes counts) and then forgets its oldest.
package logs

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// Keys is what CloudWatch Logs asks of KMS.
type Keys interface {
	// ServiceMayUse tells whether the key is there, enabled, symmetric, and lets the
	// service principal encrypt with that encryption context.
	ServiceMayUse(ctx context.Context, service, keyARN string, encryptionContext map[string]string) bool
}

// Config is what the service is made from.
type Config struct {
	Store *store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Keys nil takes every key.
	Keys Keys
}

// Service implements CloudWatch Logs's operations with the signatures of the SDK's client.
type Service struct {
	store *store.Store
	clock clock.Clock
	log   *slog.Logger
	keys  Keys
}

// New returns the service.
func New(c Config) *Service {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{store: c.Store, clock: c.Clock, log: c.Log, keys: c.Keys}
}

// millis is the time as CloudWatch Logs counts it.
func (s *Service) millis() int64 { return s.clock.Now().UnixMilli() }

const day = 24 * time.Hour
