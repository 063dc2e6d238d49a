// Package kms is the Key Management Service: keys with real key material, aliases,
// grants, key policies, rotation, and the cryptographic operations on them.
package kms

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Principals tells which IAM principals there are: KMS refuses key policies and
// grants that name others.
type Principals interface {
	// PrincipalExists is asked for the ARNs of users, roles and role sessions.
	PrincipalExists(ctx context.Context, arn string) bool
}

// Access decides about a caller from another account than the key's. In the key's
// own account KMS leaves the decision to whoever authorizes requests.
type Access interface {
	// MayUse answers for one action, such as kms:Decrypt, on the key with that policy.
	MayUse(ctx context.Context, who awsid.Caller, action, keyARN, keyPolicy string) bool
}

// Config is what the service is made from.
type Config struct {
	Store *store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Principals nil takes every principal for existing.
	Principals Principals
	// Access nil lets other accounts do what the key's policy allows them.
	Access Access
}

// Service implements KMS's operations with the signatures of the SDK's client.
type Service struct {
	store      *store.Store
	clock      clock.Clock
	log        *slog.Logger
	principals Principals
	access     Access
	parsed     policy.Cache
}

// New returns the service.
func New(c Config) *Service {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Access == nil {
		c.Access = policyAccess{}
	}
	return &Service{store: c.Store, clock: c.Clock, log: c.Log, principals: c.Principals, access: c.Access}
}

// now has the resolution of KMS's timestamps.
func (s *Service) now() time.Time { return s.clock.Now().UTC().Truncate(time.Millisecond) }
