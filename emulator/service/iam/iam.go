// Package iam is AWS Identity and Access Management: roles, users, groups,
// policies, instance profiles, identity providers and access keys.
package iam

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Config is what the service is made from.
type Config struct {
	Store *store.Store
	Clock clock.PassiveClock
	Log   *slog.Logger
	// Quotas overrides the default quotas, by their names in fixtures/quotas.
	Quotas map[string]int
	// Thumbprints may be nil: none is looked up then.
	Thumbprints Thumbprints
}

// Thumbprints finds the certificate authority of an OpenID Connect issuer.
type Thumbprints interface {
	// Thumbprint is the SHA-1 of the authority's certificate in hexadecimal digits.
	Thumbprint(ctx context.Context, issuer string) (string, bool)
}

// Service implements IAM's operations with the signatures of the SDK's client.
type Service struct {
	store *store.Store
	clock clock.PassiveClock
	log   *slog.Logger

	quotas      map[string]int
	thumbprints Thumbprints
	parsed      policy.Cache
}

// New returns the service.
func New(c Config) *Service {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{store: c.Store, clock: c.Clock, log: c.Log, quotas: c.Quotas, thumbprints: c.Thumbprints}
}

// All tables live in the account's global scope, which is one of its partition,
// keyed by lower-cased name
// (IAM's names are unique without regard to case), except access keys, which
// are found by id before anybody knows the account.
const (
	roles     store.Table[role]            = "iam-roles"
	users     store.Table[user]            = "iam-users"
	groups    store.Table[group]           = "iam-groups"
	policies  store.Table[customerPolicy]  = "iam-policies"
	profiles  store.Table[instanceProfile] = "iam-instance-profiles"
	providers store.Table[oidcProvider]    = "iam-oidc-providers" // keyed by URL without scheme
	deletions store.Table[deletionTask]    = "iam-service-linked-role-deletions"
	accounts  store.Table[accountSettings] = "iam-account"
	keys      store.Table[accessKey]       = "iam-access-keys"
	devices   store.Table[mfaDevice]       = "iam-mfa-devices" // keyed by ARN
)

// keyScope is where access keys live.
var keyScope = awsid.Scope{}

// entity is what roles, users, groups, policies and instance profiles share.
type entity struct {
	Name, Path, ID, ARN string
	Created             time.Time
	Tags                []tag
}

type tag struct{ Key, Value string }

// grants are the permissions of a role, user or group.
type grants struct {
	Inline   map[string]string // policy name -> document
	Attached []string          // ARNs in the order of attachment
	Boundary string            // not for groups
}

type role struct {
	entity
	grants
	Description   string
	Trust         string
	MaxSession    int32 // seconds
	ServiceLinked string
}

type user struct {
	entity
	grants
	Groups []string // names
	Keys   []string // access key ids in order of creation
}

type group struct {
	entity
	grants
}

type customerPolicy struct {
	entity
	Description string
	Updated     time.Time
	Default     string
	Next        int // number of the version to be created next
	Versions    []policyVersion
}

type policyVersion struct {
	ID, Document string
	Created      time.Time
}

type instanceProfile struct {
	entity
	Role string // empty or a role's name: IAM allows one
}

type oidcProvider struct {
	ARN, URL    string // URL without https://
	ClientIDs   []string
	Thumbprints []string
	Created     time.Time
	Tags        []tag
}

type deletionTask struct {
	ID, Status, Reason string
}

type accountSettings struct {
	Alias string
}

type accessKey struct {
	ID, Secret, Account, User string
	Partition                 string `json:",omitempty"` // empty is aws
	Active                    bool
	Created                   time.Time
	LastUsed                  time.Time
	LastService, LastRegion   string
}

// now is IAM's time: whole seconds.
func (s *Service) now() time.Time { return s.clock.Now().UTC().Truncate(time.Second) }
