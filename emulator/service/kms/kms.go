// Package kms is the Key Management Service: keys, aliases, grants, key policies, rotation.
package kms

import (
	"log/slog"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// Config is what the service is made from.
type Config struct {
	Store *store.Store
	Clock clock.PassiveClock
	Log   *slog.Logger
}

// Service implements KMS's operations with the signatures of the SDK's client.
type Service struct {
	store *store.Store
	clock clock.PassiveClock
	log   *slog.Logger
}

// New returns the service.
func New(c Config) *Service {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{store: c.Store, clock: c.Clock, log: c.Log}
}
