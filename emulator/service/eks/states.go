package eks

import (
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/fsm"
)

// ClusterStates is the life of a cluster. Status PENDING is of local clusters on
// Outposts, which are not emulated. EKS refuses to delete a cluster that is still
// CREATING; here a creation that never succeeds must not be immortal.
var ClusterStates = &fsm.Machine[ekstypes.ClusterStatus]{
	Name: "eks cluster", Member: "cluster.status",
	Passing: []ekstypes.ClusterStatus{ekstypes.ClusterStatusCreating, ekstypes.ClusterStatusUpdating, ekstypes.ClusterStatusDeleting},
	Transitions: []fsm.Transition[ekstypes.ClusterStatus]{
		{To: ekstypes.ClusterStatusCreating, By: fsm.Call, On: "CreateCluster"},
		{From: ekstypes.ClusterStatusCreating, To: ekstypes.ClusterStatusActive, By: fsm.Work, On: "every step of creation is done"},
		{From: ekstypes.ClusterStatusCreating, To: ekstypes.ClusterStatusFailed, By: fsm.Work, On: "no success for 3 minutes"},
		{From: ekstypes.ClusterStatusCreating, To: ekstypes.ClusterStatusDeleting, By: fsm.Call, On: "DeleteCluster"},
		{From: ekstypes.ClusterStatusActive, To: ekstypes.ClusterStatusUpdating, By: fsm.Call, On: "UpdateClusterConfig, UpdateClusterVersion and what else starts an update"},
		{From: ekstypes.ClusterStatusUpdating, To: ekstypes.ClusterStatusActive, By: fsm.Work, On: "the update is Successful or Failed"},
		{From: ekstypes.ClusterStatusActive, To: ekstypes.ClusterStatusDeleting, By: fsm.Call, On: "DeleteCluster"},
		{From: ekstypes.ClusterStatusFailed, To: ekstypes.ClusterStatusDeleting, By: fsm.Call, On: "DeleteCluster"},
		{From: ekstypes.ClusterStatusUpdating, To: ekstypes.ClusterStatusDeleting, By: fsm.Call, On: "a reset of the emulator: EKS refuses DeleteCluster"},
		{From: ekstypes.ClusterStatusDeleting, By: fsm.Work, On: "nothing of it is left"},
	},
	Waiters: []fsm.Waiter[ekstypes.ClusterStatus]{
		{
			Name: "ClusterActive", Operation: "DescribeCluster", Success: []ekstypes.ClusterStatus{ekstypes.ClusterStatusActive},
			Failure: []ekstypes.ClusterStatus{ekstypes.ClusterStatusDeleting, ekstypes.ClusterStatusFailed},
		},
		{
			Name: "ClusterDeleted", Operation: "DescribeCluster", Gone: true,
			Failure: []ekstypes.ClusterStatus{ekstypes.ClusterStatusActive, ekstypes.ClusterStatusCreating, ekstypes.ClusterStatusPending},
		},
	},
}

// NodegroupStates is the life of a managed node group.
var NodegroupStates = &fsm.Machine[ekstypes.NodegroupStatus]{
	Name: "eks nodegroup", Member: "nodegroup.status",
	Passing: []ekstypes.NodegroupStatus{ekstypes.NodegroupStatusCreating, ekstypes.NodegroupStatusUpdating, ekstypes.NodegroupStatusDeleting},
	Transitions: []fsm.Transition[ekstypes.NodegroupStatus]{
		{To: ekstypes.NodegroupStatusCreating, By: fsm.Call, On: "CreateNodegroup"},
		{From: ekstypes.NodegroupStatusCreating, To: ekstypes.NodegroupStatusActive, By: fsm.Work, On: "every desired node is Ready"},
		{From: ekstypes.NodegroupStatusCreating, To: ekstypes.NodegroupStatusCreateFailed, By: fsm.Work, On: "instances cannot start, or their nodes do not join"},
		{From: ekstypes.NodegroupStatusActive, To: ekstypes.NodegroupStatusUpdating, By: fsm.Call, On: "UpdateNodegroupConfig, UpdateNodegroupVersion"},
		{From: ekstypes.NodegroupStatusActive, To: ekstypes.NodegroupStatusDegraded, By: fsm.Work, On: "instances cannot start"},
		{From: ekstypes.NodegroupStatusUpdating, To: ekstypes.NodegroupStatusActive, By: fsm.Work, On: "nodes are as desired, or the update failed"},
		{From: ekstypes.NodegroupStatusUpdating, To: ekstypes.NodegroupStatusDegraded, By: fsm.Work, On: "instances cannot start: the update failed"},
		{From: ekstypes.NodegroupStatusDegraded, To: ekstypes.NodegroupStatusActive, By: fsm.Work, On: "nodes are as desired again"},
		{From: ekstypes.NodegroupStatusDegraded, To: ekstypes.NodegroupStatusUpdating, By: fsm.Call, On: "UpdateNodegroupConfig, UpdateNodegroupVersion"},
		{From: ekstypes.NodegroupStatusCreating, To: ekstypes.NodegroupStatusDeleting, By: fsm.Call, On: "DeleteNodegroup"},
		{From: ekstypes.NodegroupStatusCreateFailed, To: ekstypes.NodegroupStatusDeleting, By: fsm.Call, On: "DeleteNodegroup"},
		{From: ekstypes.NodegroupStatusActive, To: ekstypes.NodegroupStatusDeleting, By: fsm.Call, On: "DeleteNodegroup"},
		{From: ekstypes.NodegroupStatusUpdating, To: ekstypes.NodegroupStatusDeleting, By: fsm.Call, On: "DeleteNodegroup: the update failed"},
		{From: ekstypes.NodegroupStatusDegraded, To: ekstypes.NodegroupStatusDeleting, By: fsm.Call, On: "DeleteNodegroup"},
		{From: ekstypes.NodegroupStatusDeleting, By: fsm.Work, On: "no instance is left"},
	},
	Waiters: []fsm.Waiter[ekstypes.NodegroupStatus]{
		{
			Name: "NodegroupActive", Operation: "DescribeNodegroup", Success: []ekstypes.NodegroupStatus{ekstypes.NodegroupStatusActive},
			Failure: []ekstypes.NodegroupStatus{ekstypes.NodegroupStatusCreateFailed},
		},
		{Name: "NodegroupDeleted", Operation: "DescribeNodegroup", Gone: true, Failure: []ekstypes.NodegroupStatus{ekstypes.NodegroupStatusDeleteFailed}},
	},
}

// AddonStates is the life of an add-on. It ends in any state with its cluster.
var AddonStates = &fsm.Machine[ekstypes.AddonStatus]{
	Name: "eks addon", Member: "addon.status",
	Passing: []ekstypes.AddonStatus{ekstypes.AddonStatusCreating, ekstypes.AddonStatusUpdating, ekstypes.AddonStatusDeleting},
	Transitions: append([]fsm.Transition[ekstypes.AddonStatus]{
		{To: ekstypes.AddonStatusCreating, By: fsm.Call, On: "CreateAddon"},
		{From: ekstypes.AddonStatusCreating, To: ekstypes.AddonStatusActive, By: fsm.Work, On: "installed and healthy"},
		{From: ekstypes.AddonStatusCreating, To: ekstypes.AddonStatusDegraded, By: fsm.Work, On: "installed, and its workloads lack replicas"},
		{From: ekstypes.AddonStatusCreating, To: ekstypes.AddonStatusCreateFailed, By: fsm.Work, On: "conflicts with resolveConflicts NONE"},
		{From: ekstypes.AddonStatusActive, To: ekstypes.AddonStatusDegraded, By: fsm.Work, On: "its workloads lack replicas"},
		{From: ekstypes.AddonStatusDegraded, To: ekstypes.AddonStatusActive, By: fsm.Work, On: "its workloads have all replicas"},
		{From: ekstypes.AddonStatusActive, To: ekstypes.AddonStatusUpdating, By: fsm.Call, On: "UpdateAddon"},
		{From: ekstypes.AddonStatusDegraded, To: ekstypes.AddonStatusUpdating, By: fsm.Call, On: "UpdateAddon"},
		{From: ekstypes.AddonStatusCreateFailed, To: ekstypes.AddonStatusUpdating, By: fsm.Call, On: "UpdateAddon"},
		{From: ekstypes.AddonStatusUpdateFailed, To: ekstypes.AddonStatusUpdating, By: fsm.Call, On: "UpdateAddon"},
		{From: ekstypes.AddonStatusDeleteFailed, To: ekstypes.AddonStatusUpdating, By: fsm.Call, On: "UpdateAddon"},
		{From: ekstypes.AddonStatusUpdating, To: ekstypes.AddonStatusActive, By: fsm.Work, On: "installed and healthy"},
		{From: ekstypes.AddonStatusUpdating, To: ekstypes.AddonStatusDegraded, By: fsm.Work, On: "installed, and its workloads lack replicas"},
		{From: ekstypes.AddonStatusUpdating, To: ekstypes.AddonStatusUpdateFailed, By: fsm.Work, On: "conflicts with resolveConflicts NONE"},
		{From: ekstypes.AddonStatusDeleting, To: ekstypes.AddonStatusDeleteFailed, By: fsm.Work, On: "its objects cannot be removed"},
		{From: ekstypes.AddonStatusDeleting, By: fsm.Work, On: "its objects are removed, or preserved"},
	}, addonEnds()...),
	Waiters: []fsm.Waiter[ekstypes.AddonStatus]{
		{
			Name: "AddonActive", Operation: "DescribeAddon", Success: []ekstypes.AddonStatus{ekstypes.AddonStatusActive},
			Failure: []ekstypes.AddonStatus{ekstypes.AddonStatusCreateFailed, ekstypes.AddonStatusDegraded},
		},
		{Name: "AddonDeleted", Operation: "DescribeAddon", Gone: true, Failure: []ekstypes.AddonStatus{ekstypes.AddonStatusDeleteFailed}},
	},
}

func addonEnds() (out []fsm.Transition[ekstypes.AddonStatus]) {
	for _, s := range ekstypes.AddonStatus("").Values() {
		if s == ekstypes.AddonStatusDeleting {
			continue
		}
		out = append(out,
			fsm.Transition[ekstypes.AddonStatus]{From: s, To: ekstypes.AddonStatusDeleting, By: fsm.Call, On: "DeleteAddon"},
			fsm.Transition[ekstypes.AddonStatus]{From: s, By: fsm.Work, On: "its cluster is deleted"})
	}
	return out
}

// FargateProfileStates is the life of a Fargate profile. It ends in any state with
// its cluster.
var FargateProfileStates = &fsm.Machine[ekstypes.FargateProfileStatus]{
	Name: "eks fargate profile", Member: "fargateProfile.status",
	Passing: []ekstypes.FargateProfileStatus{ekstypes.FargateProfileStatusCreating, ekstypes.FargateProfileStatusDeleting},
	Transitions: []fsm.Transition[ekstypes.FargateProfileStatus]{
		{To: ekstypes.FargateProfileStatusCreating, By: fsm.Call, On: "CreateFargateProfile"},
		{From: ekstypes.FargateProfileStatusCreating, To: ekstypes.FargateProfileStatusActive, By: fsm.Work, On: "its role is mapped and the webhook there"},
		{From: ekstypes.FargateProfileStatusCreating, To: ekstypes.FargateProfileStatusCreateFailed, By: fsm.Work, On: "its role is in use by other nodes"},
		{From: ekstypes.FargateProfileStatusActive, To: ekstypes.FargateProfileStatusDeleting, By: fsm.Call, On: "DeleteFargateProfile"},
		{From: ekstypes.FargateProfileStatusCreateFailed, To: ekstypes.FargateProfileStatusDeleting, By: fsm.Call, On: "DeleteFargateProfile"},
		{From: ekstypes.FargateProfileStatusDeleteFailed, To: ekstypes.FargateProfileStatusDeleting, By: fsm.Call, On: "DeleteFargateProfile"},
		{From: ekstypes.FargateProfileStatusDeleting, To: ekstypes.FargateProfileStatusDeleteFailed, By: fsm.Work, On: "its pods do not go"},
		{From: ekstypes.FargateProfileStatusDeleting, By: fsm.Work, On: "its pods and their machines are gone"},
		{From: ekstypes.FargateProfileStatusCreating, By: fsm.Work, On: "its cluster is deleted"},
		{From: ekstypes.FargateProfileStatusActive, By: fsm.Work, On: "its cluster is deleted"},
		{From: ekstypes.FargateProfileStatusCreateFailed, By: fsm.Work, On: "its cluster is deleted"},
		{From: ekstypes.FargateProfileStatusDeleteFailed, By: fsm.Work, On: "its cluster is deleted"},
	},
	Waiters: []fsm.Waiter[ekstypes.FargateProfileStatus]{
		{
			Name: "FargateProfileActive", Operation: "DescribeFargateProfile", Success: []ekstypes.FargateProfileStatus{ekstypes.FargateProfileStatusActive},
			Failure: []ekstypes.FargateProfileStatus{ekstypes.FargateProfileStatusCreateFailed},
		},
		{
			Name: "FargateProfileDeleted", Operation: "DescribeFargateProfile", Gone: true,
			Failure: []ekstypes.FargateProfileStatus{ekstypes.FargateProfileStatusDeleteFailed},
		},
	},
}

// UpdateStates is the life of an update. It is forgotten with its cluster, or when
// the cluster has had many others.
var UpdateStates = &fsm.Machine[ekstypes.UpdateStatus]{
	Name: "eks update", Member: "update.status",
	Passing: []ekstypes.UpdateStatus{ekstypes.UpdateStatusInProgress},
	Transitions: []fsm.Transition[ekstypes.UpdateStatus]{
		{To: ekstypes.UpdateStatusInProgress, By: fsm.Call, On: "any operation that answers with an update"},
		{From: ekstypes.UpdateStatusInProgress, To: ekstypes.UpdateStatusSuccessful, By: fsm.Work, On: "applied"},
		{From: ekstypes.UpdateStatusInProgress, To: ekstypes.UpdateStatusFailed, By: fsm.Work, On: "given up"},
		{From: ekstypes.UpdateStatusInProgress, To: ekstypes.UpdateStatusCancelled, By: fsm.Call, On: "CancelUpdate"},
		{From: ekstypes.UpdateStatusInProgress, By: fsm.Work, On: "its cluster is deleted"},
		{From: ekstypes.UpdateStatusSuccessful, By: fsm.Work, On: "forgotten"},
		{From: ekstypes.UpdateStatusFailed, By: fsm.Work, On: "forgotten"},
		{From: ekstypes.UpdateStatusCancelled, By: fsm.Work, On: "forgotten"},
	},
}

// AuthoritySigning is what a certificate authority is to its cluster. It ends in any
// state with its cluster.
var AuthoritySigning = &fsm.Machine[ekstypes.CertificateAuthoritySigningStatus]{
	Name: "eks certificate authority signing", Member: "certificateAuthority.signingStatus",
	Passing: []ekstypes.CertificateAuthoritySigningStatus{ekstypes.CertificateAuthoritySigningStatusActivating},
	Transitions: []fsm.Transition[ekstypes.CertificateAuthoritySigningStatus]{
		{To: ekstypes.CertificateAuthoritySigningStatusInUse, By: fsm.Work, On: "a new cluster's first"},
		{To: ekstypes.CertificateAuthoritySigningStatusNotUsed, By: fsm.Call, On: "CreateCertificateAuthority"},
		{From: ekstypes.CertificateAuthoritySigningStatusNotUsed, To: ekstypes.CertificateAuthoritySigningStatusActivating, By: fsm.Call, On: "ActivateCertificateAuthority"},
		{From: ekstypes.CertificateAuthoritySigningStatusActivating, To: ekstypes.CertificateAuthoritySigningStatusInUse, By: fsm.Work, On: "the control plane signs with it"},
		{From: ekstypes.CertificateAuthoritySigningStatusInUse, To: ekstypes.CertificateAuthoritySigningStatusNotUsed, By: fsm.Work, On: "another one is IN_USE"},
		{From: ekstypes.CertificateAuthoritySigningStatusNotUsed, By: fsm.Work, On: "nothing trusts it any more"},
	},
}

// AuthorityDistribution is how far the trust in a certificate authority has come.
// Status FAILED is not met with: distribution is tried until it succeeds.
var AuthorityDistribution = &fsm.Machine[ekstypes.CertificateAuthorityDistributionStatus]{
	Name: "eks certificate authority distribution", Member: "certificateAuthority.distributionStatus",
	Passing: []ekstypes.CertificateAuthorityDistributionStatus{ekstypes.CertificateAuthorityDistributionStatusInProgress, ekstypes.CertificateAuthorityDistributionStatusDeleting},
	Transitions: []fsm.Transition[ekstypes.CertificateAuthorityDistributionStatus]{
		{To: ekstypes.CertificateAuthorityDistributionStatusComplete, By: fsm.Work, On: "a new cluster's first"},
		{To: ekstypes.CertificateAuthorityDistributionStatusInProgress, By: fsm.Call, On: "CreateCertificateAuthority"},
		{From: ekstypes.CertificateAuthorityDistributionStatusInProgress, To: ekstypes.CertificateAuthorityDistributionStatusComplete, By: fsm.Work, On: "the update is Successful, and the cluster's nodes trust it"},
		{From: ekstypes.CertificateAuthorityDistributionStatusInProgress, To: ekstypes.CertificateAuthorityDistributionStatusDeleting, By: fsm.Call, On: "DeleteCertificateAuthority"},
		{From: ekstypes.CertificateAuthorityDistributionStatusComplete, To: ekstypes.CertificateAuthorityDistributionStatusDeleting, By: fsm.Call, On: "DeleteCertificateAuthority"},
		{From: ekstypes.CertificateAuthorityDistributionStatusDeleting, By: fsm.Work, On: "nothing trusts it any more"},
	},
}

// Machines are the lives of EKS's resources.
func Machines() []fsm.Table {
	return []fsm.Table{
		ClusterStates.Table(), NodegroupStates.Table(), AddonStates.Table(), FargateProfileStates.Table(), UpdateStates.Table(),
		AuthoritySigning.Table(), AuthorityDistribution.Table(),
	}
}

// The records' steps are checked by the store.

// Follows implements the store's check.
func (c *Cluster) Follows(old *Cluster) error {
	if err := ClusterStates.Check(old.status(), c.status()); err != nil {
		return err
	}
	return c.authoritiesFollow(old)
}

// Follows implements the store's check.
func (n *Nodegroup) Follows(old *Nodegroup) error {
	return NodegroupStates.Check(old.status(), n.status())
}

// Follows implements the store's check.
func (a *Addon) Follows(old *Addon) error { return AddonStates.Check(old.status(), a.status()) }

// Follows implements the store's check.
func (p *FargateProfile) Follows(old *FargateProfile) error {
	return FargateProfileStates.Check(old.status(), p.status())
}

// Follows implements the store's check.
func (u *Update) Follows(old *Update) error { return UpdateStates.Check(old.status(), u.status()) }

func (c *Cluster) status() ekstypes.ClusterStatus {
	if c == nil {
		return ""
	}
	return c.Resource.Status
}

func (n *Nodegroup) status() ekstypes.NodegroupStatus {
	if n == nil {
		return ""
	}
	return n.Resource.Status
}

func (a *Addon) status() ekstypes.AddonStatus {
	if a == nil {
		return ""
	}
	return a.Resource.Status
}

func (p *FargateProfile) status() ekstypes.FargateProfileStatus {
	if p == nil {
		return ""
	}
	return p.Resource.Status
}

func (u *Update) status() ekstypes.UpdateStatus {
	if u == nil {
		return ""
	}
	return u.Resource.Status
}
