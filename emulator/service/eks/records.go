// Package eks implements the operations of Amazon EKS: it validates requests,
// writes the desired state and leaves the work to emulator/lifecycle.
package eks

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// The tables of EKS. Records that belong to a cluster have ids that start with
// ClusterPrefix(cluster name).
const (
	Clusters                = store.Table[Cluster]("eks-clusters")                      // id: cluster name
	Nodegroups              = store.Table[Nodegroup]("eks-nodegroups")                  // id: ChildID(cluster, nodegroup)
	Addons                  = store.Table[Addon]("eks-addons")                          // id: ChildID(cluster, addon)
	AccessEntries           = store.Table[AccessEntry]("eks-access-entries")            // id: ChildID(cluster, principal ARN)
	PodIdentityAssociations = store.Table[PodIdentityAssociation]("eks-pod-identities") // id: ChildID(cluster, association id)
	Capabilities            = store.Table[Capability]("eks-capabilities")               // id: ChildID(cluster, capability)
	ConnectedClusters       = store.Table[ConnectedCluster]("eks-connected-clusters")   // id: cluster name
	Subscriptions           = store.Table[Subscription]("eks-anywhere-subscriptions")   // id: subscription id
	Updates                 = store.Table[Update]("eks-updates")                        // id: ChildID(cluster, update id)
)

// ChildID is the table id of a record that belongs to a cluster.
func ChildID(cluster, name string) string { return cluster + "/" + name }

// ClusterPrefix is what the ids of a cluster's records begin with, for
// Table.ListPrefix.
func ClusterPrefix(cluster string) string { return cluster + "/" }

// Request identifies the call that made a record, for its client request token:
// the same token with the same parameters gets the same answer.
type Request struct {
	Token string
	// Hash covers all parameters but the token.
	Hash string
}

// Cluster is an EKS cluster.
//
// Handlers create it CREATING without endpoint, certificate authority, identity,
// cluster security group and PKI, which the lifecycle fills in. A configuration
// change is visible in Resource at once, with Status UPDATING until the lifecycle
// has applied it and calls FinishUpdate. A version change is not: Resource.Version
// stays until the lifecycle, having reached DesiredVersion, sets it.
type Cluster struct {
	// Resource is what DescribeCluster shows.
	Resource ekstypes.Cluster
	Scope    awsid.Scope
	// ID is 32 hexadecimal digits. The control plane is known by it; its upper-case
	// form (OIDCID) ends the OIDC issuer's URL. The lifecycle may change it while
	// it makes the key material: a control plane started ahead brings its own.
	ID string
	// Port is the API server's TCP port, unique over all clusters.
	Port int
	// Backend is what the control plane runs on, one of Backends; empty: the usual
	// one. Chosen when the cluster is made, it stays.
	Backend string `json:",omitempty"`
	// CreatorARN is the IAM principal (role, user or root) that called
	// CreateCluster; CreatorID its unique id.
	CreatorARN string
	CreatorID  string
	// CreatorIsAdmin tells whether the creator has system:masters without an
	// access entry: in mode CONFIG_MAP, when bootstrapping was not declined.
	CreatorIsAdmin bool
	// BootstrapSelfManagedAddons asks for vpc-cni, coredns and kube-proxy
	// without add-on resources.
	BootstrapSelfManagedAddons bool

	// CACert, CAKey (ECDSA) and SAKey (RSA) are PEM, made by the lifecycle. The first
	// two move into Authorities with the cluster's first other certificate authority;
	// Signer and TrustBundle answer for both.
	CACert, CAKey, SAKey []byte
	Authorities          []Authority `json:",omitempty"`
	// SecurityGroupID is the cluster security group, Interfaces the ids of the
	// control plane's network interfaces in the cluster's subnets, both made by
	// the lifecycle.
	SecurityGroupID string
	Interfaces      []string
	// Moving is set while an update makes the interfaces of a control plane that
	// takes over; RetiredInterfaces are those of earlier ones, to be deleted.
	Moving            *InterfaceMove `json:",omitempty"`
	RetiredInterfaces []string       `json:",omitempty"`
	// VpcBefore has the subnets and security groups that an update in progress
	// changes, to go back to.
	VpcBefore *ekstypes.VpcConfigResponse `json:",omitempty"`

	// RunningVersion is the Kubernetes minor version that the control plane runs,
	// empty before it first does; set by the lifecycle. DesiredVersion is the one
	// it should run.
	RunningVersion string
	DesiredVersion string
	// UpgradedFrom is the version from which the cluster was last updated to its
	// present one, and UpgradedAt when; empty if it was made at it. EKS goes back
	// that way for a week.
	UpgradedFrom string
	UpgradedAt   *time.Time
	// RollbackTimeout bounds the nodes' part of a version rollback in progress.
	RollbackTimeout time.Duration
	// Data is where the control plane keeps the cluster's objects (controlplane.Info), and
	// LostAt when another was found there than before, empty; zero when that is long ago
	// or never was. Set by the lifecycle.
	Data   string     `json:",omitempty"`
	LostAt *time.Time `json:",omitempty"`
	// Bootstrapped tells that the objects every new cluster has are in it; set by
	// the lifecycle.
	Bootstrapped bool
	// KeyGranted tells that the grant for the encryption key was made; set by the
	// lifecycle.
	KeyGranted bool
	// AutoNodeRoleID is the unique IAM id of the role of EKS Auto Mode's nodes, empty
	// without built-in node pools. AutoModeApplied tells which configuration of Auto
	// Mode the cluster's objects are those of; set by the lifecycle.
	AutoNodeRoleID  string
	AutoModeApplied string
	// UpdateID is the cluster update in progress, empty if there is none.
	UpdateID string
	// DeletedAt is when deletion began; Resource does not tell.
	DeletedAt *time.Time `json:",omitempty"`
	// Generation grows with every change of the desired state made by a handler.
	Generation int64
	Request    Request
}

// InterfaceMove is how far an update is with the interfaces of its control plane.
type InterfaceMove struct {
	Subnets    []string
	Interfaces []string // empty until all are made
}

// OIDCID is the last segment of the cluster's OIDC issuer URL.
func (c *Cluster) OIDCID() string { return strings.ToUpper(c.ID) }

// Nodegroup is a managed node group.
//
// It begins CREATING without Resource.Resources. Scaling, labels, taints and
// update configuration are visible in Resource at once, with Status UPDATING until
// the lifecycle calls FinishUpdate. A version update is kept in Desired: Resource's
// Version, ReleaseVersion and LaunchTemplate follow when the lifecycle is done
// (Applied).
type Nodegroup struct {
	// Resource is what DescribeNodegroup shows.
	Resource ekstypes.Nodegroup
	Scope    awsid.Scope
	// ID is the UUID at the end of the ARN and of AutoScalingGroupName.
	ID string
	// NodeRoleID is the node role's unique IAM id.
	NodeRoleID string
	// Desired is what new nodes boot from.
	Desired NodegroupTemplate
	// Force lets a version update go on when pods cannot be evicted.
	Force bool
	// UpdateID is the update in progress, empty if there is none.
	UpdateID string
	// SecurityGroupIDs are those of the launch template's network settings; empty
	// means the cluster security group.
	SecurityGroupIDs []string
	// RemoteSecurityGroupID is the group through which the nodes can be reached by
	// SSH; set by the lifecycle.
	RemoteSecurityGroupID string
	// ManagedLaunchTemplateID and ManagedLaunchTemplateVersion are the template
	// that EKS makes for the group; set by the lifecycle.
	ManagedLaunchTemplateID      string
	ManagedLaunchTemplateVersion string
	// ManagedTemplateHash tells what was desired when that version was made.
	ManagedTemplateHash string
	// MaxPods is what EKS writes into the user data of the version that is to be made
	// for the hash MaxPodsFor.
	MaxPods    int    `json:",omitempty"`
	MaxPodsFor string `json:",omitempty"`
	// Leaving are instances that are to go next, whatever else is planned: Auto
	// Scaling was told to terminate them.
	Leaving []string `json:",omitempty"`
	// Generation grows with every change of the desired state made by a handler.
	Generation int64
	// RollFailed is the Generation whose roll to new nodes was given up, 0 if none
	// was since the last version update began.
	RollFailed int64
	Request    Request
}

// NodegroupTemplate is what a node group's nodes boot from. Version and
// ReleaseVersion are empty with a custom AMI.
type NodegroupTemplate struct {
	Version        string
	ReleaseVersion string
	LaunchTemplate *ekstypes.LaunchTemplateSpecification
	// ImageID and UserData (base64) come from the user's launch template.
	ImageID  string
	UserData string
}

// AutoScalingGroupName is the name of the group's Auto Scaling group.
func (n *Nodegroup) AutoScalingGroupName() string {
	return "eks-" + aws.ToString(n.Resource.NodegroupName) + "-" + n.ID
}

// Applied makes the resource show the desired template.
func (n *Nodegroup) Applied() {
	n.Resource.Version = ptrOrNil(n.Desired.Version)
	n.Resource.ReleaseVersion = ptrOrNil(n.Desired.ReleaseVersion)
	if n.Desired.LaunchTemplate != nil {
		lt := *n.Desired.LaunchTemplate
		n.Resource.LaunchTemplate = &lt
	}
}

// Addon is an EKS add-on of a cluster. The lifecycle installs Desired; when done
// it calls Applied and, for an update, FinishUpdate.
type Addon struct {
	// Resource is what DescribeAddon shows.
	Resource ekstypes.Addon
	Scope    awsid.Scope
	// ID is the UUID at the end of the ARN.
	ID      string
	Desired AddonSpec
	// Preserve leaves the add-on's objects in the cluster when it is deleted.
	Preserve bool
	// Reinstall: the cluster has lost the add-on's objects, which it should have all the
	// same; kept by the lifecycle.
	Reinstall bool `json:",omitempty"`
	// LackingSince is when an ACTIVE add-on began to lack replicas, zero if it has
	// all; kept by the lifecycle.
	LackingSince time.Time
	// UpdateID is the update in progress, empty if there is none.
	UpdateID   string
	Generation int64
	Request    Request
}

// AddonSpec is what an add-on should be.
type AddonSpec struct {
	Version               string
	ConfigurationValues   string
	ServiceAccountRoleARN string
	// PodIdentityAssociationARNs are associations that the add-on owns.
	PodIdentityAssociationARNs []string
	ResolveConflicts           ekstypes.ResolveConflicts
	Namespace                  string
}

// Applied makes the resource show the desired state.
func (a *Addon) Applied() {
	a.Resource.AddonVersion = ptrOrNil(a.Desired.Version)
	a.Resource.ConfigurationValues = ptrOrNil(a.Desired.ConfigurationValues)
	a.Resource.ServiceAccountRoleArn = ptrOrNil(a.Desired.ServiceAccountRoleARN)
	a.Resource.PodIdentityAssociations = a.Desired.PodIdentityAssociationARNs
}

// Capability is a managed capability of a cluster. A configuration change is
// visible at once, with Status UPDATING until the lifecycle calls FinishUpdate.
type Capability struct {
	// Resource is what DescribeCapability shows.
	Resource ekstypes.Capability
	Scope    awsid.Scope
	// ID is the UUID at the end of the ARN.
	ID string
	// Reinstall: the cluster has lost the capability's kinds; kept by the lifecycle.
	Reinstall bool `json:",omitempty"`
	// UpdateID is the update in progress, empty if there is none.
	UpdateID   string
	Generation int64
	Request    Request
}

// ConnectedCluster is a Kubernetes cluster outside of EKS that was registered.
type ConnectedCluster struct {
	// Resource is what DescribeCluster shows.
	Resource ekstypes.Cluster
	Scope    awsid.Scope
	Request  Request
}

// Subscription is an EKS Anywhere subscription. Its Status, and its ExpirationDate
// while it renews, follow from the time.
type Subscription struct {
	Resource ekstypes.EksAnywhereSubscription
	Scope    awsid.Scope
	Name     string
	Request  Request
}

// AccessEntry maps an IAM principal into a cluster. It is complete when written:
// nothing is left to the lifecycle.
type AccessEntry struct {
	// Resource is what DescribeAccessEntry shows.
	Resource ekstypes.AccessEntry
	Scope    awsid.Scope
	// PrincipalID is the principal's unique IAM id when the entry was made, empty
	// if it is in another account: a principal made again under the same name has
	// another id and does not match.
	PrincipalID string
	// Policies are the associated access policies, ordered by ARN.
	Policies []ekstypes.AssociatedAccessPolicy
	Request  Request
}

// PodIdentityAssociation gives a Kubernetes service account an IAM role.
type PodIdentityAssociation struct {
	// Resource is what DescribePodIdentityAssociation shows.
	Resource ekstypes.PodIdentityAssociation
	Scope    awsid.Scope
	Request  Request
}

// Update is an asynchronous change of a cluster, node group or add-on.
type Update struct {
	// Resource is what DescribeUpdate shows.
	Resource ekstypes.Update
	Scope    awsid.Scope
	Cluster  string
	// Nodegroup, Addon or Capability is set if the update is not of the cluster itself.
	Nodegroup  string
	Addon      string
	Capability string
	Request    Request
}
