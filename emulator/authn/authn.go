// Package authn turns the bearer tokens of `aws eks get-token`, and those of
// clusters' OIDC identity providers, into Kubernetes users, and answers what EKS
// access policies allow them.
//
// It plays both parts that EKS splits between aws-iam-authenticator and its
// authorization webhook. Tokens are presigned STS requests; they are verified
// here, by the secret of the key that signed them, instead of being sent to STS.
package authn

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// Authentication modes of a cluster, as EKS spells them.
const (
	ModeAPI             = "API"
	ModeAPIAndConfigMap = "API_AND_CONFIG_MAP"
	ModeConfigMap       = "CONFIG_MAP"
)

// Cluster is what authentication needs to know of a cluster.
type Cluster struct {
	Scope awsid.Scope
	Name  string
	// AuthenticationMode is one of the Mode constants.
	AuthenticationMode string
	// CreatorARN made the cluster, as sts:GetCallerIdentity shows it. With
	// CreatorIsAdmin it is an administrator that nothing lists in ModeConfigMap;
	// in the other modes EKS makes an ordinary access entry for it instead.
	CreatorARN     string
	CreatorIsAdmin bool
}

// Clusters finds clusters by the id of their control plane.
type Clusters interface {
	Cluster(ctx context.Context, clusterID string) (Cluster, bool)
}

// Entry is an access entry with what is associated to it.
type Entry struct {
	PrincipalARN string
	// PrincipalID is the unique id (AROA..., AIDA...) of the principal when the
	// entry was made: a role made again under the same name does not match. Empty
	// matches every id.
	PrincipalID string
	Username    string
	Groups      []string
	Type        string
	Policies    []PolicyAssociation
}

// PolicyAssociation gives an entry the permissions of an access policy.
type PolicyAssociation struct {
	PolicyARN string
	// ScopeType is "cluster" or "namespace"; Namespaces may hold * wildcards.
	ScopeType  string
	Namespaces []string
}

// Entries finds access entries.
type Entries interface {
	// AccessEntry finds the entry whose principal's canonical ARN (see
	// CanonicalARN: role ARNs without their path) is principalARN.
	AccessEntry(ctx context.Context, scope awsid.Scope, cluster, principalARN string) (Entry, bool)
}

// ConfigMaps reads the data of kube-system/aws-auth.
type ConfigMaps interface {
	AWSAuth(ctx context.Context, clusterID string) (map[string]string, bool)
}

// Instances resolves {{EC2PrivateDNSName}}.
type Instances interface {
	PrivateDNSName(ctx context.Context, scope awsid.Scope, instanceID string) (string, bool)
}

// Config is what an Authenticator needs. Clusters, Entries, Keys, Clock and Log
// must be set.
type Config struct {
	Clusters Clusters
	Entries  Entries
	// ConfigMaps nil is clusters without aws-auth.
	ConfigMaps ConfigMaps
	// Instances nil resolves no instance.
	Instances Instances
	// Providers nil is clusters without OIDC identity providers.
	Providers Providers
	// Hosts are the names of the emulator's endpoint, for which clients sign.
	Hosts []string
	Keys  sigv4.Keys
	Clock clock.PassiveClock
	Log   *slog.Logger
}

// Authenticator implements controlplane.Authenticator.
type Authenticator struct {
	Config
	verifier *sigv4.Verifier
	policies map[string]accesspolicies.Policy // by ARN
	// providers verify the tokens of the clusters' OIDC identity providers.
	providers providers
}

var _ controlplane.Authenticator = (*Authenticator)(nil)

// New returns an authenticator for all clusters.
func New(c Config) (*Authenticator, error) {
	all, err := accesspolicies.Load()
	if err != nil {
		return nil, fmt.Errorf("authn: %w", err)
	}
	a := &Authenticator{Config: c, verifier: sigv4.New(c.Keys, c.Clock), policies: make(map[string]accesspolicies.Policy, len(all))}
	for _, p := range all {
		for _, partition := range regions.Partitions() {
			a.policies[p.ARN(partition.Name)] = p
		}
	}
	return a, nil
}

// Authenticate implements controlplane.Authenticator. Every rejection of a token
// that claims to be EKS's is logged with its reason and told as a *Denied.
func (a *Authenticator) Authenticate(ctx context.Context, clusterID, token string) (controlplane.Identity, bool, error) {
	if !isEKSToken(token) {
		return a.authenticateProvider(ctx, clusterID, token)
	}
	log := a.Log.With("cluster_id", clusterID)
	c, ok := a.Clusters.Cluster(ctx, clusterID)
	if !ok {
		return deny(log, "no such cluster", nil)
	}
	log = log.With("cluster", c.Name)
	p, err := a.verify(ctx, c, token)
	if err != nil {
		return deny(log, err.Error(), nil)
	}
	log = log.With("arn", p.ARN)
	m, err := a.mapPrincipal(ctx, log, clusterID, c, p)
	if err != nil {
		return deny(log, err.Error(), extra(p))
	}
	log.Debug("access granted", "username", m.username, "groups", m.groups, "by", m.source)
	return identity(p, m), true, nil
}

func deny(log *slog.Logger, reason string, extra map[string][]string) (controlplane.Identity, bool, error) {
	log.Warn("access denied", "reason", reason)
	return controlplane.Identity{}, false, &controlplane.Denied{Reason: reason, Extra: extra}
}

// Keys of Identity.Extra, as aws-iam-authenticator has them.
const (
	extraARN          = "arn"
	extraCanonicalARN = "canonicalArn"
	extraPrincipalID  = "principalId"
	extraSessionName  = "sessionName"
	extraAccessKeyID  = "accessKeyId"
	extraQualifiedID  = "sigs.k8s.io/aws-iam-authenticator/principalId"
)

func identity(p principal, m mapping) controlplane.Identity {
	return controlplane.Identity{
		Username: m.username,
		UID:      "aws-iam-authenticator:" + p.Account + ":" + p.ID,
		Groups:   m.groups,
		Extra:    extra(p),
	}
}

func extra(p principal) map[string][]string {
	return map[string][]string{
		extraARN:          {p.ARN},
		extraCanonicalARN: {p.Canonical},
		extraPrincipalID:  {p.ID},
		extraSessionName:  {p.Session},
		extraAccessKeyID:  {p.AccessKeyID},
		extraQualifiedID:  {p.ID},
	}
}
