// Package timing says how long the emulator's state changes take: as long as the
// work (fast), or as on AWS divided by a scale (realistic), so that users can test
// their time-outs.
//
// Nothing sleeps for it. A duration counts from a time stamp of the record that
// changes, or is written into the record as the time when it is due: a restart
// neither shortens nor lengthens it.
package timing

import (
	"fmt"
	"time"
)

// Phase is a stay in a state that passes, or how long something is waited for.
type Phase string

// The phases. Each has a row in the table.
const (
	ClusterCreating        Phase = "eks cluster CREATING"
	ClusterUpdating        Phase = "eks cluster UPDATING"
	ClusterUpdatingVersion Phase = "eks cluster UPDATING, version"
	ClusterUpdatingCA      Phase = "eks cluster UPDATING, certificate authority"
	ClusterDeleting        Phase = "eks cluster DELETING"
	AuthorityInProgress    Phase = "eks certificate authority distribution IN_PROGRESS, its update included"
	NodegroupCreating      Phase = "eks nodegroup CREATING"
	NodegroupUpdating      Phase = "eks nodegroup UPDATING"
	NodegroupUpdatingNodes Phase = "eks nodegroup UPDATING, version"
	NodegroupDeleting      Phase = "eks nodegroup DELETING"
	AddonCreating          Phase = "eks addon CREATING"
	AddonUpdating          Phase = "eks addon UPDATING"
	AddonDeleting          Phase = "eks addon DELETING"
	FargateCreating        Phase = "eks fargate profile CREATING"
	FargateDeleting        Phase = "eks fargate profile DELETING"
	InstancePending        Phase = "ec2 instance pending"
	InstanceStopping       Phase = "ec2 instance stopping"
	InstanceShuttingDown   Phase = "ec2 instance shutting-down"
	NatGatewayPending      Phase = "ec2 nat gateway pending"
	NatGatewayDeleting     Phase = "ec2 nat gateway deleting"
	PatienceCreateCluster  Phase = "patience: a cluster's creation that fails"
	PatienceJoin           Phase = "patience: an instance to become a Ready node"
	PatienceDrain          Phase = "patience: pods of a node that an update replaces"
	PatienceScaleIn        Phase = "patience: pods of a node that is scaled in or deleted"
	PatienceAddonUnhealthy Phase = "patience: an add-on's workloads"
	PatienceAddonStarting  Phase = "patience: an add-on's workloads while it comes up in a cluster with nodes"
)

// Row is what is known of a phase.
type Row struct {
	Phase Phase
	// Fast is how long it lasts at least however short the work is, Realistic how
	// long on AWS.
	Fast, Realistic time.Duration
	// Source shows Realistic, or is Unverified.
	Source string
}

// Unverified is the source of a duration that no public text confirms.
const Unverified = "unverified"

// Clients look for UPDATING right after their call (CAPA does) and must find it:
// hence a second for updates in fast timing.
var table = []Row{
	{ClusterCreating, 0, 9 * time.Minute, "Terraform logs: 8m33s (DevopsArtFactory/terraform-provisioning#46), 9m43s (terraform-aws-modules/terraform-aws-eks#2203), 10m6s (#3218)"},
	{ClusterUpdating, time.Second, 90 * time.Second, Unverified},
	{ClusterUpdatingVersion, time.Second, 10 * time.Minute, Unverified},
	{ClusterUpdatingCA, time.Second, 5 * time.Minute, Unverified},
	{AuthorityInProgress, 2 * time.Second, 10 * time.Minute, Unverified},
	{ClusterDeleting, 0, 150 * time.Second, "Terraform logs in public repositories: 2m26s, 2m31s"},
	{NodegroupCreating, 0, 2 * time.Minute, "Terraform logs: 1m48s, 1m59s (DevopsArtFactory/terraform-provisioning#46); others 1m28s to 3m21s"},
	{NodegroupUpdating, time.Second, 30 * time.Second, Unverified},
	{NodegroupUpdatingNodes, time.Second, 5 * time.Minute, Unverified},
	{NodegroupDeleting, 0, 210 * time.Second, Unverified},
	{AddonCreating, time.Second, 25 * time.Second, "Terraform logs in public repositories: coredns 14s to 56s, kube-proxy 24s, eks-pod-identity-agent 25s"},
	{AddonUpdating, time.Second, 30 * time.Second, Unverified},
	{AddonDeleting, 0, 9 * time.Second, "a Terraform log in a public repository: aws-ebs-csi-driver 9s"},
	{FargateCreating, time.Second, 90 * time.Second, Unverified},
	{FargateDeleting, time.Second, 2 * time.Minute, Unverified},
	{InstancePending, 0, 15 * time.Second, Unverified},
	{InstanceStopping, 0, 30 * time.Second, Unverified},
	{InstanceShuttingDown, 0, 30 * time.Second, Unverified},
	{NatGatewayPending, 0, 95 * time.Second, "Terraform logs in public repositories: 1m23s to 1m52s"},
	{NatGatewayDeleting, 0, 52 * time.Second, "Terraform logs in public repositories: 50s, 52s, 56s"},
	{PatienceCreateCluster, 3 * time.Minute, 15 * time.Minute, Unverified},
	{PatienceJoin, 5 * time.Minute, 25 * time.Minute, Unverified},
	{PatienceDrain, 15 * time.Minute, 15 * time.Minute, Unverified},
	{PatienceScaleIn, 5 * time.Second, 5 * time.Minute, Unverified},
	{PatienceAddonUnhealthy, 5 * time.Second, 2 * time.Minute, Unverified},
	{PatienceAddonStarting, time.Minute, 20 * time.Minute, Unverified},
}

// Table returns every phase's row.
func Table() []Row { return append([]Row{}, table...) }

// Timing answers how long phases last. The zero value is fast.
type Timing struct {
	scale float64 // 0: fast
}

// Fast and Realistic are the modes' names.
const (
	Fast      = "fast"
	Realistic = "realistic"
)

// New returns the timing of a mode; "" is fast. Realistic durations are divided by
// scale, 0 for 1.
func New(mode string, scale float64) (Timing, error) {
	switch {
	case mode != "" && mode != Fast && mode != Realistic:
		return Timing{}, fmt.Errorf("--timing can be fast or realistic, not %q", mode)
	case !(scale >= 0 && scale <= 1e6):
		return Timing{}, fmt.Errorf("--time-scale divides AWS's durations: it must be over 0 and at most 1000000, not %v", scale)
	case mode != Realistic && scale != 0:
		return Timing{}, fmt.Errorf("--time-scale %v has no meaning without --timing realistic", scale)
	case mode != Realistic:
		return Timing{}, nil
	case scale == 0:
		scale = 1
	}
	return Timing{scale}, nil
}

// Realistic tells whether durations are AWS's.
func (t Timing) Realistic() bool { return t.scale > 0 }

// Of is how long a phase lasts. A scale makes nothing shorter than fast is: below
// that there is work to do.
func (t Timing) Of(p Phase) time.Duration {
	for _, r := range table {
		if r.Phase != p {
			continue
		}
		if !t.Realistic() {
			return r.Fast
		}
		return max(r.Fast, time.Duration(float64(r.Realistic)/t.scale))
	}
	return 0
}

// Left is how much of a phase that began at since is left at now.
func (t Timing) Left(p Phase, since, now time.Time) time.Duration {
	return max(0, t.Of(p)-now.Sub(since))
}
