// Package eksauth is the EKS Auth API: it gives the agent on a node the credentials of
// a pod whose service account has a pod identity association.
package eksauth

import (
	"context"
	"crypto"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eksauth/types"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Cluster is what the service has to know of a cluster.
type Cluster struct {
	ARN    string
	Issuer string // of its service-account tokens
}

// Association gives a service account a role.
type Association struct {
	ARN, ID string
	RoleARN string
	// TargetRoleARN is assumed by RoleARN's session, with ExternalID, if there is one.
	TargetRoleARN, ExternalID string
	// Policy narrows the session down.
	Policy string
	// NoTags leaves out the session tags.
	NoTags bool
}

// Clusters finds clusters and their associations.
type Clusters interface {
	Cluster(ctx context.Context, sc awsid.Scope, name string) (Cluster, bool)
	Association(ctx context.Context, sc awsid.Scope, cluster, namespace, serviceAccount string) (Association, bool)
}

// KeySource finds the public keys that an issuer signs with, by their ids.
type KeySource interface {
	SigningKeys(ctx context.Context, issuer string) (map[string]crypto.PublicKey, error)
}

// SessionRequest is what a pod's credentials are to be.
type SessionRequest struct {
	Association
	Name       string // of the session
	Life       time.Duration
	Tags       map[string]string // all transitive
	ClusterARN string
	Subject    string // system:serviceaccount:NAMESPACE:NAME

	Namespace, ServiceAccount string
}

// Sessions hands out credentials of roles that trust EKS Pod Identity.
type Sessions interface {
	PodSession(ctx context.Context, r SessionRequest) (types.Credentials, types.AssumedRoleUser, error)
}

// Config is what the service is made from.
type Config struct {
	Clock    clock.PassiveClock
	Log      *slog.Logger
	Clusters Clusters
	Keys     KeySource
	Sessions Sessions
}

// Service implements EKS Auth's operations with the signatures of the SDK's client.
type Service struct {
	clock    clock.PassiveClock
	log      *slog.Logger
	clusters Clusters
	keys     KeySource
	sessions Sessions
}

// New returns the service.
func New(c Config) *Service {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{clock: c.Clock, log: c.Log, clusters: c.Clusters, keys: c.Keys, sessions: c.Sessions}
}
