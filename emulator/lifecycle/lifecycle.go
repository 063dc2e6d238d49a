package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eksauth"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	kmssvc "github.com/ekslocal/ekslocal/emulator/service/kms"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
)

// EC2 is what the reconcilers ask of EC2, as its customers do; *ec2.Service
// satisfies it.
type EC2 interface {
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput, ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error)
	DescribeSecurityGroups(context.Context, *ec2.DescribeSecurityGroupsInput, ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error)
	CreateSecurityGroup(context.Context, *ec2.CreateSecurityGroupInput, ...func(*ec2.Options)) (*ec2.CreateSecurityGroupOutput, error)
	AuthorizeSecurityGroupIngress(context.Context, *ec2.AuthorizeSecurityGroupIngressInput, ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupIngressOutput, error)
	DeleteSecurityGroup(context.Context, *ec2.DeleteSecurityGroupInput, ...func(*ec2.Options)) (*ec2.DeleteSecurityGroupOutput, error)
	CreateNetworkInterface(context.Context, *ec2.CreateNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.CreateNetworkInterfaceOutput, error)
	DescribeNetworkInterfaces(context.Context, *ec2.DescribeNetworkInterfacesInput, ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error)
	DeleteNetworkInterface(context.Context, *ec2.DeleteNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.DeleteNetworkInterfaceOutput, error)
	AttachNetworkInterface(context.Context, *ec2.AttachNetworkInterfaceInput, ...func(*ec2.Options)) (*ec2.AttachNetworkInterfaceOutput, error)
	ModifyNetworkInterfaceAttribute(context.Context, *ec2.ModifyNetworkInterfaceAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyNetworkInterfaceAttributeOutput, error)
	AssociateTrunkInterface(context.Context, *ec2.AssociateTrunkInterfaceInput, ...func(*ec2.Options)) (*ec2.AssociateTrunkInterfaceOutput, error)
	DisassociateTrunkInterface(context.Context, *ec2.DisassociateTrunkInterfaceInput, ...func(*ec2.Options)) (*ec2.DisassociateTrunkInterfaceOutput, error)
	DescribeTrunkInterfaceAssociations(context.Context, *ec2.DescribeTrunkInterfaceAssociationsInput, ...func(*ec2.Options)) (*ec2.DescribeTrunkInterfaceAssociationsOutput, error)
	CreateLaunchTemplate(context.Context, *ec2.CreateLaunchTemplateInput, ...func(*ec2.Options)) (*ec2.CreateLaunchTemplateOutput, error)
	CreateLaunchTemplateVersion(context.Context, *ec2.CreateLaunchTemplateVersionInput, ...func(*ec2.Options)) (*ec2.CreateLaunchTemplateVersionOutput, error)
	DescribeLaunchTemplateVersions(context.Context, *ec2.DescribeLaunchTemplateVersionsInput, ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplateVersionsOutput, error)
	DeleteLaunchTemplate(context.Context, *ec2.DeleteLaunchTemplateInput, ...func(*ec2.Options)) (*ec2.DeleteLaunchTemplateOutput, error)
	RunInstances(context.Context, *ec2.RunInstancesInput, ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
}

// IAM is what the reconcilers ask of IAM: the instance profile of each node group.
type IAM interface {
	CreateInstanceProfile(context.Context, *iam.CreateInstanceProfileInput, ...func(*iam.Options)) (*iam.CreateInstanceProfileOutput, error)
	AddRoleToInstanceProfile(context.Context, *iam.AddRoleToInstanceProfileInput, ...func(*iam.Options)) (*iam.AddRoleToInstanceProfileOutput, error)
	RemoveRoleFromInstanceProfile(context.Context, *iam.RemoveRoleFromInstanceProfileInput, ...func(*iam.Options)) (*iam.RemoveRoleFromInstanceProfileOutput, error)
	DeleteInstanceProfile(context.Context, *iam.DeleteInstanceProfileInput, ...func(*iam.Options)) (*iam.DeleteInstanceProfileOutput, error)
}

// AutoScaling keeps the Auto Scaling group behind each node group: what Auto Scaling
// alone remembers of it. Sizes and instances are the node group's and EC2's.
type AutoScaling interface {
	EnsureManaged(ctx context.Context, sc awsid.Scope, group, cluster, nodegroup, id string) error
	RemoveManaged(ctx context.Context, sc awsid.Scope, group string) error
	// LaunchTags are the tags of the group that its new instances get.
	LaunchTags(sc awsid.Scope, group string) map[string]string
	// Suspended tells whether users suspended a process, such as Launch.
	Suspended(sc awsid.Scope, group, process string) bool
	// LaunchFailed makes a failed activity of why EC2 refused a launch in a subnet.
	LaunchFailed(ctx context.Context, sc awsid.Scope, group, subnet string, cause error) error
}

// Addresses gives pods their addresses and forgets instances that are gone.
type Addresses interface {
	dataplane.Addresses
	// Pods tells which pods have which addresses of an instance.
	Pods(instanceID string) map[types.UID]netip.Addr
	// Start fills a node's pool before its first pod asks: its daemon has started.
	Start(ctx context.Context, instanceID string)
	// Configure tells a node's pool what the cluster says of it.
	Configure(instanceID string, c ipamd.NodeConfig)
	View(instanceID string) (ipamd.View, bool)
	Log(instanceID string) []byte
	// Note writes a line of a node's ipamd.log.
	Note(instanceID, level, format string, args ...any)
	Forget(instanceID string)
}

// PodRoles gives pods the roles of EKS Pod Identity; *eksauth.Service satisfies it.
type PodRoles interface {
	AssumeRoleForPodIdentity(context.Context, *eksauth.AssumeRoleForPodIdentityInput, ...func(*eksauth.Options)) (*eksauth.AssumeRoleForPodIdentityOutput, error)
}

// NodeIdentity tells whether an instance role may join a cluster as a node: it
// must map to group system:nodes by access entry or aws-auth, as on EKS.
type NodeIdentity interface {
	MayJoin(ctx context.Context, clusterID, instanceProfileRoleARN string) bool
}

// Config is what the reconcilers work with. All fields but Patience, Timing, KMS, Logs
// and PodRoles are required.
type Config struct {
	Store   *store.Store
	Clock   clock.WithTicker
	Log     *slog.Logger
	Backend controlplane.Backend
	EC2     EC2
	IAM     IAM
	// KMS nil leaves encryption keys alone, Logs nil delivers none.
	KMS  KMS
	Logs Logs
	// PodRoles nil: real nodes' pods get none.
	PodRoles PodRoles
	// AutoScaling has the groups behind node groups.
	AutoScaling AutoScaling
	// Nodes decides who may join as a node.
	Nodes     NodeIdentity
	Addresses Addresses
	// IssuerBase is the emulator's https address, the beginning of OIDC issuers.
	IssuerBase string
	// Endpoint is the URL of the API server that listens on a port.
	Endpoint func(port int) string
	// PodEndpoint is the URL at which pods on a backend reach AWS's APIs, empty where they
	// run no code; nil: nowhere.
	PodEndpoint func(backend string) string
	// EgressSocket is where a cluster's API server looks for its nodes.
	EgressSocket func(clusterID string) string
	Patience     Patience
	// Timing is how long states that pass last.
	Timing timing.Timing
}

// minVisible is how long to wait for what has no phase of its own in timing.
const minVisible = time.Second

// Lifecycle runs all reconcilers.
type Lifecycle struct {
	Config
	clusters, nodegroups, addons, instances *controller
	capabilities, fargates, fargatePods     *controller
	insights, cnis, podENIs, nodes          *controller

	mu       sync.Mutex
	runtimes map[string]*runtime // by cluster ID: control planes that run

	lost sync.Map // cluster IDs of ControlPlaneLost, which must not wait for mu
	keys signingKeys
}

// New builds the reconcilers; Run starts them.
func New(cfg Config) *Lifecycle {
	cfg.Patience = cfg.Patience.withDefaults(cfg.Timing)
	l := &Lifecycle{Config: cfg, runtimes: map[string]*runtime{}}
	l.clusters = newController("cluster", 4, cfg.Clock, cfg.Log, l.reconcileCluster)
	l.nodegroups = newController("nodegroup", 4, cfg.Clock, cfg.Log, l.reconcileNodegroup)
	l.addons = newController("addon", 4, cfg.Clock, cfg.Log, l.reconcileAddon)
	l.fargates = newController("fargate profile", 2, cfg.Clock, cfg.Log, l.reconcileFargate)
	l.fargatePods = newController("fargate pod", 8, cfg.Clock, cfg.Log, l.reconcileFargatePod)
	l.insights = newController("insights", 2, cfg.Clock, cfg.Log, l.reconcileInsights)
	l.capabilities = newController("capability", 2, cfg.Clock, cfg.Log, l.reconcileCapability)
	l.cnis = newController("cni", 4, cfg.Clock, cfg.Log, l.reconcileCNI)
	l.podENIs = newController("pod eni", 8, cfg.Clock, cfg.Log, l.reconcilePodENIs)
	l.nodes = newController("node", 8, cfg.Clock, cfg.Log, l.reconcileNode)
	l.instances = newController("instance", 16, cfg.Clock, cfg.Log, l.reconcileInstance)
	return l
}

// Run works until ctx ends, then stops what it started for the clusters (not the
// control planes: they are the backend's).
func (l *Lifecycle) Run(ctx context.Context) error {
	defer l.clusters.watch(l.Store, ekssvc.Clusters.Name(), nil)()
	defer l.nodegroups.watch(l.Store, ekssvc.Nodegroups.Name(), nil)()
	defer l.addons.watch(l.Store, ekssvc.Addons.Name(), nil)()
	defer l.fargates.watch(l.Store, ekssvc.FargateProfiles.Name(), nil)()
	defer l.insights.watch(l.Store, ekssvc.Clusters.Name(), nil)()
	defer l.insights.watch(l.Store, ekssvc.InsightsRefreshes.Name(), nil)()
	defer l.capabilities.watch(l.Store, ekssvc.Capabilities.Name(), nil)()
	defer l.instances.watch(l.Store, ec2svc.Instances.Name(), nil)()
	// A node group follows its instances: one that an outsider terminates is
	// replaced.
	defer l.nodegroups.watch(l.Store, ec2svc.Instances.Name(), l.nodegroupOf)()

	// So do nodes whose role gets an access entry.
	defer l.instances.watch(l.Store, ekssvc.AccessEntries.Name(), l.instancesOf)()

	// Real nodes route to all addresses of their VPC.
	defer l.instances.watch(l.Store, ec2svc.Vpcs.Name(), l.instancesOfVPC)()

	// A cluster's health shows what becomes of its encryption key.
	defer l.clusters.watch(l.Store, kmssvc.KeysTable, l.clustersOfKey)()
	defer l.clusters.watch(l.Store, kmssvc.GrantsTable, l.clustersOfKey)()

	// What waits for addresses goes on when there are some.
	defer l.clusters.watch(l.Store, ec2svc.SubnetAddresses.Name(), l.clustersOfSubnet)()
	defer l.nodegroups.watch(l.Store, ec2svc.SubnetAddresses.Name(), l.nodegroupsOfSubnet)()
	defer l.fargatePods.watch(l.Store, ec2svc.SubnetAddresses.Name(), l.fargatePodsOfSubnet)()

	var wg sync.WaitGroup
	for _, c := range []*controller{l.clusters, l.nodegroups, l.addons, l.instances, l.capabilities, l.fargates, l.fargatePods, l.insights, l.cnis, l.podENIs, l.nodes} {
		wg.Go(func() { c.run(ctx) })
	}
	wg.Go(func() { l.keys.fill(ctx, l.Log) })
	wg.Wait()
	l.stopAll()
	return nil
}

// as returns a context in which calls to other services are made by EKS in the
// account of the record at hand.
func as(ctx context.Context, s awsid.Scope) context.Context {
	return awsid.WithCaller(ctx, awsid.ServiceCaller(s, "eks"))
}

// asNode returns a context in which the nodes' address pools call EC2: as their
// instances, not as EKS, whose network interfaces belong to another account.
func asNode(ctx context.Context, s awsid.Scope) context.Context {
	return awsid.WithCaller(ctx, awsid.ServiceCaller(s, "vpc-cni"))
}

// asResourceController returns a context in which the VPC resource controller calls
// EC2: by a role of its own, in the cluster's account.
func asResourceController(ctx context.Context, s awsid.Scope) context.Context {
	return awsid.WithCaller(ctx, awsid.ServiceCaller(s, "vpc-resource-controller"))
}

// asFargate returns a context in which Fargate calls EC2: its network interfaces
// belong to an account of AWS's.
func asFargate(ctx context.Context, s awsid.Scope) context.Context {
	return awsid.WithCaller(ctx, awsid.ServiceCaller(s, "eks-fargate"))
}

// left is how much of a phase that began at since is left.
func (l *Lifecycle) left(p timing.Phase, since *time.Time) time.Duration {
	return l.Timing.Left(p, aws.ToTime(since), l.Clock.Now())
}

// editCluster changes a cluster's record. f answers false to leave it alone; it
// is not called for a cluster that is gone or was made again under its name.
func (l *Lifecycle) editCluster(ctx context.Context, c *ekssvc.Cluster, f func(c *ekssvc.Cluster) bool) error {
	err := l.Store.Update(ctx, func(tx *store.Tx) error {
		name := *c.Resource.Name
		now := ekssvc.Clusters.Edit(tx, c.Scope, name)
		if now == nil || now.ID != c.ID || !f(now) {
			return nil
		}
		ekssvc.Clusters.Put(tx, c.Scope, name, now)
		return nil
	})
	if err != nil {
		return fmt.Errorf("cluster %s: %w", *c.Resource.Name, err)
	}
	return nil
}
