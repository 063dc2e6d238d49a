package eks

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// EC2 is what EKS asks of EC2, on behalf of the caller in ctx.
type EC2 interface {
	DescribeVpcs(context.Context, *ec2.DescribeVpcsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput, ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error)
	DescribeSecurityGroups(context.Context, *ec2.DescribeSecurityGroupsInput, ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error)
	DescribeRouteTables(context.Context, *ec2.DescribeRouteTablesInput, ...func(*ec2.Options)) (*ec2.DescribeRouteTablesOutput, error)
	DescribeAvailabilityZones(context.Context, *ec2.DescribeAvailabilityZonesInput, ...func(*ec2.Options)) (*ec2.DescribeAvailabilityZonesOutput, error)
	DescribeKeyPairs(context.Context, *ec2.DescribeKeyPairsInput, ...func(*ec2.Options)) (*ec2.DescribeKeyPairsOutput, error)
	DescribeInstanceTypes(context.Context, *ec2.DescribeInstanceTypesInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceTypesOutput, error)
}

// LaunchTemplates is EC2's part that node groups with a launch template need.
type LaunchTemplates interface {
	DescribeLaunchTemplateVersions(context.Context, *ec2.DescribeLaunchTemplateVersionsInput, ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplateVersionsOutput, error)
}

// IAM is what EKS asks of IAM.
type IAM interface {
	// Principal finds the role, user or account root with the ARN. A role is also
	// found by its ARN without the path. ok is false if there is none.
	Principal(ctx context.Context, arn string) (p Principal, ok bool)
}

// LinkedRoles makes the roles by which EKS manages node groups and Fargate.
type LinkedRoles interface {
	EnsureServiceLinkedRole(ctx context.Context, sc awsid.Scope, service string) error
}

// ensureLinked makes the service-linked role of a part of EKS with its first use.
func (s *Service) ensureLinked(ctx context.Context, sc awsid.Scope, service string) error {
	if s.linkedRoles == nil {
		return nil
	}
	return s.linkedRoles.EnsureServiceLinkedRole(ctx, sc, service)
}

// Principal is an IAM principal.
type Principal struct {
	// ARN includes the path.
	ARN string
	// ID is the unique id: AROA..., AIDA..., or the account id for its root.
	ID string
	// TrustsService tells whether a role's trust policy lets the service
	// principal, such as eks.amazonaws.com, assume it. Nil for other principals.
	TrustsService func(service string) bool
}

// InsightsChecker computes a cluster's insights anew, from the cluster itself.
type InsightsChecker interface {
	CheckInsights(ctx context.Context, scope awsid.Scope, cluster string) error
}

// Config is what a Service is made from. All fields but LaunchTemplates, Keys and
// Insights are required.
type Config struct {
	Store *store.Store
	Clock clock.PassiveClock
	Log   *slog.Logger
	EC2   EC2
	// LaunchTemplates is nil while EC2 does not offer them: node groups with a
	// launch template are then refused.
	LaunchTemplates LaunchTemplates
	IAM             IAM
	// LinkedRoles nil makes no service-linked roles.
	LinkedRoles LinkedRoles
	// Keys nil takes every key of an encryption configuration.
	Keys Keys
	// Insights is asked before a version rollback; without it the insights of the
	// latest refresh decide.
	Insights InsightsChecker
	// ClusterPorts is the inclusive range of TCP ports for API servers.
	ClusterPorts [2]int
	// Versions are the Kubernetes minor versions that the control-plane backend
	// serves.
	Versions []string
	// Backends are further backends, each with the versions that it serves, oldest
	// first. Backend is the one of them that makes clusters whose tags do not choose;
	// empty: the usual one.
	Backends map[string]func() []string
	Backend  string
}

// Service is Amazon EKS. It is safe for concurrent use and keeps nothing outside
// the store.
type Service struct {
	store           *store.Store
	clock           clock.PassiveClock
	log             *slog.Logger
	ec2             EC2
	launchTemplates LaunchTemplates
	iam             IAM
	linkedRoles     LinkedRoles
	keys            Keys
	insights        InsightsChecker
	ports           [2]int
	versions        []string // oldest first
	backends        map[string]func() []string
	backend         string
	policies        []accesspolicies.Policy
}

// New returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Clock == nil || cfg.Log == nil || cfg.EC2 == nil || cfg.IAM == nil {
		return nil, fmt.Errorf("eks: incomplete configuration")
	}
	if lo, hi := cfg.ClusterPorts[0], cfg.ClusterPorts[1]; lo < 1 || hi > 65535 || lo > hi {
		return nil, fmt.Errorf("eks: cluster ports %d-%d are not a range within 1-65535", lo, hi)
	}
	if len(cfg.Versions) == 0 {
		return nil, fmt.Errorf("eks: the control-plane backend serves no Kubernetes version")
	}
	versions := slices.Clone(cfg.Versions)
	slices.SortFunc(versions, eksversions.Compare)
	policies, err := accesspolicies.Load()
	if err != nil {
		return nil, fmt.Errorf("eks: %w", err)
	}
	return &Service{
		store: cfg.Store, clock: cfg.Clock, log: cfg.Log, ec2: cfg.EC2, launchTemplates: cfg.LaunchTemplates,
		iam: cfg.IAM, linkedRoles: cfg.LinkedRoles, keys: cfg.Keys, insights: cfg.Insights, ports: cfg.ClusterPorts, versions: versions, policies: policies,
		backends: cfg.Backends, backend: cfg.Backend,
	}, nil
}

// now has the resolution that EKS's timestamps have.
func (s *Service) now() *time.Time { return aws.Time(s.clock.Now().UTC().Truncate(time.Millisecond)) }

// DefaultVersion is the Kubernetes version of a cluster made without one: EKS's
// default, or the newest served before it.
func (s *Service) DefaultVersion() string { return defaultOf(s.versions) }

func defaultOf(versions []string) string {
	best := versions[0]
	for _, v := range versions {
		if eksversions.Compare(v, eksversions.Default()) <= 0 {
			best = v
		}
	}
	return best
}
