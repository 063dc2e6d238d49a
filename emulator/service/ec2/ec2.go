// Package ec2 implements the EC2 API: VPCs and what is in them, network
// interfaces and instances. It is the ledger of every private address.
package ec2

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// Config is what a Service needs.
type Config struct {
	Store *store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Profiles answers which instance profiles exist; nil takes any name.
	Profiles Profiles
	// Quotas overrides the default quotas, by their names in fixtures/quotas.
	Quotas map[string]int
	// Timing is how long states that pass last.
	Timing timing.Timing
}

// Profiles is the part of IAM that RunInstances asks.
type Profiles interface {
	GetInstanceProfile(context.Context, *iam.GetInstanceProfileInput, ...func(*iam.Options)) (*iam.GetInstanceProfileOutput, error)
}

// Service answers EC2's operations. It is safe for concurrent use.
type Service struct {
	store    *store.Store
	clock    clock.Clock
	log      *slog.Logger
	profiles Profiles
	quotas   map[string]int
	timing   timing.Timing
}

// New returns a Service. Instances change state only while its Run runs.
func New(c Config) *Service {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{store: c.Store, clock: c.Clock, log: c.Log, profiles: c.Profiles, quotas: c.Quotas, timing: c.Timing}
}

// read begins an operation that changes nothing: it makes sure that the region
// has been set up and answers DryRun.
func (s *Service) read(ctx context.Context, dryRun *bool) (awsid.Scope, error) {
	sc := awsid.CallerFrom(ctx).Scope
	if err := s.ensureRegion(ctx, sc); err != nil {
		return sc, err
	}
	if dryRun != nil && *dryRun {
		return sc, errDryRun
	}
	return sc, nil
}

// write runs an operation that changes something as one transaction. f validates
// and writes; a dry run goes all the way and then drops the writes, so that it
// fails where the real call would. f may run more than once.
func (s *Service) write(ctx context.Context, dryRun *bool, f func(tx *store.Tx, sc awsid.Scope) error) error {
	sc := awsid.CallerFrom(ctx).Scope
	if err := s.ensureRegion(ctx, sc); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if err := f(tx, sc); err != nil {
			return err
		}
		if dryRun != nil && *dryRun {
			return errDryRun
		}
		return nil
	})
}

// ensureRegion gives an account its default VPC on its first call in a region.
// The region's record stays, so that a default VPC that the user deletes is gone.
func (s *Service) ensureRegion(ctx context.Context, sc awsid.Scope) error {
	if regionStates.Get(s.store, sc, regionStateID) != nil {
		return nil
	}
	region, ok := regions.Get(sc.Region)
	if !ok {
		return apiError("InvalidRegion", "The region '%s' does not exist. Regions are named like us-east-1; see DescribeRegions.", sc.Region)
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if regionStates.Get(tx, sc, regionStateID) != nil {
			return nil
		}
		regionStates.Put(tx, sc, regionStateID, &RegionState{Scope: sc, Created: s.now()})
		return s.putDefaultVpc(tx, sc, region)
	})
}

// now returns the time with the precision that EC2 shows.
func (s *Service) now() time.Time { return s.clock.Now().UTC().Truncate(time.Second) }

// due returns when a phase that begins now is over.
func (s *Service) due(p timing.Phase) *time.Time { return s.after(s.timing.Of(p)) }

// after returns when something that takes d is done.
func (s *Service) after(d time.Duration) *time.Time {
	t := s.clock.Now().UTC().Add(d)
	return &t
}

// Locate finds the account and region of an instance, for callers that know no
// more than its id.
func (s *Service) Locate(instanceID string) (awsid.Scope, bool) {
	for _, i := range Instances.ListAll(s.store) {
		if *i.InstanceId == instanceID {
			return i.Scope, true
		}
	}
	return awsid.Scope{}, false
}

// Scopes returns every account and region in which something was ever asked.
func (s *Service) Scopes() []awsid.Scope {
	var out []awsid.Scope
	for _, r := range regionStates.ListAll(s.store) {
		out = append(out, r.Scope)
	}
	return out
}
