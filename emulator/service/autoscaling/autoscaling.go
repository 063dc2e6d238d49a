// Package autoscaling is Auto Scaling: the groups behind node groups and those of
// self-managed nodes.
package autoscaling

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// EC2 is what Auto Scaling asks of EC2.
type EC2 interface {
	RunInstances(context.Context, *ec2.RunInstancesInput, ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput, ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error)
	DescribeLaunchTemplateVersions(context.Context, *ec2.DescribeLaunchTemplateVersionsInput, ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplateVersionsOutput, error)
	DeleteTags(context.Context, *ec2.DeleteTagsInput, ...func(*ec2.Options)) (*ec2.DeleteTagsOutput, error)
}

// Fleet shows EC2's instances without the cost of describing them. An instance
// belongs to the group that its tag aws:autoscaling:groupName names.
type Fleet interface {
	// Grouped returns the instances of a scope that belong to groups, by group.
	Grouped(r store.Reader, sc awsid.Scope) map[string][]ec2types.Instance
	// Watch calls f with the group of every instance that changes; f must not block.
	Watch(f func(sc awsid.Scope, group string)) (cancel func())
}

// Nodegroups are EKS's managed node groups, which are the masters of their groups'
// sizes, subnets and template (docs/adr/0009-one-master-of-node-groups.md).
type Nodegroups interface {
	Managed(r store.Reader, sc awsid.Scope, cluster, nodegroup string) *Managed
	// Resize stores sizes and Leaving of m.
	Resize(tx *store.Tx, sc awsid.Scope, m *Managed)
}

// Managed is a managed node group as its Auto Scaling group shows it.
type Managed struct {
	Cluster, Nodegroup, ID string
	Min, Max, Desired      int32
	Subnets, Zones         []string
	LaunchTemplateID       string
	LaunchTemplateVersion  string
	InstanceTypes          []string
	Spot                   bool
	Deleting               bool
	// Leaving are instances that are to be drained and terminated next.
	Leaving []string
}

// Events takes what Auto Scaling tells EventBridge, in the transaction in which it
// happens.
type Events interface {
	Emit(tx *store.Tx, sc awsid.Scope, source, detailType string, resources []string, detail any) error
}

// Config is what the service is made from. All but Log and Clock is required for
// operations that need it.
type Config struct {
	Store      *store.Store
	Clock      clock.Clock
	Log        *slog.Logger
	EC2        EC2
	Fleet      Fleet
	Nodegroups Nodegroups
	Events     Events
}

// Service implements Auto Scaling's operations with the signatures of the SDK's
// client. Groups change only while its Run runs.
type Service struct {
	Config
	store *store.Store
	clock clock.Clock
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
	return &Service{Config: c, store: c.Store, clock: c.Clock, log: c.Log}
}

// now returns the time with the precision that Auto Scaling shows.
func (s *Service) now() time.Time { return s.clock.Now().UTC().Truncate(time.Millisecond) }

// as returns a context in which Auto Scaling calls other services.
func as(ctx context.Context, sc awsid.Scope) context.Context {
	return awsid.WithCaller(ctx, awsid.ServiceCaller(sc, "autoscaling"))
}
