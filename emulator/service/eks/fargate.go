package eks

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// The tables of Fargate.
const (
	FargateProfiles = store.Table[FargateProfile]("eks-fargate-profiles") // id: ChildID(cluster, profile)
	FargateNodes    = store.Table[FargateNode]("eks-fargate-nodes")       // id: ChildID(cluster, pod's UID)
)

// FargateProfile says which pods of a cluster run on Fargate, and how.
type FargateProfile struct {
	// Resource is what DescribeFargateProfile shows.
	Resource ekstypes.FargateProfile
	Scope    awsid.Scope
	// ID is the UUID at the end of the ARN.
	ID string
	// RoleID is the pod execution role's unique IAM id.
	RoleID string
	// DeletingSince is when the present deletion was asked for.
	DeletingSince *time.Time
	Request       Request
}

// Move brings the profile into another state, with the issue that explains it if
// there is one. It answers false, and changes nothing, for a move that is not in
// the table.
func (p *FargateProfile) Move(to ekstypes.FargateProfileStatus, issues ...ekstypes.FargateProfileIssue) bool {
	if to == p.Resource.Status || FargateProfileStates.Check(p.Resource.Status, to) != nil {
		return false
	}
	p.Resource.Status = to
	p.Resource.Health = &ekstypes.FargateProfileHealth{Issues: append([]ekstypes.FargateProfileIssue{}, issues...)}
	return true
}

// changing tells whether the profile is on its way into or out of the cluster.
func (p *FargateProfile) changing() bool {
	return p.Resource.Status == ekstypes.FargateProfileStatusCreating || p.Resource.Status == ekstypes.FargateProfileStatusDeleting
}

// FargateNode is the machine that Fargate gives to one pod; written by the
// lifecycle, which finds by it what a killed emulator had made.
type FargateNode struct {
	Scope   awsid.Scope
	Cluster string
	Profile string
	// Namespace, Pod and PodUID say whose it is.
	Namespace, Pod, PodUID string
	// Name is the Kubernetes node's, such as fargate-ip-10-0-1-23.ec2.internal.
	Name string
	// InterfaceID is the network interface, Address its primary address, which node
	// and pod share.
	InterfaceID, Address string
	SubnetID             string
	Zone, ZoneID         string
	ProviderID           string
	MilliCPU             int64
	MemoryMiB            int64
}

const (
	fargateService     = "eks-fargate-pods.amazonaws.com"
	maxFargateProfiles = 10 // a cluster's, "Amazon EKS service quotas"
)

// CreateFargateProfile implements eks:CreateFargateProfile.
func (s *Service) CreateFargateProfile(ctx context.Context, in *eks.CreateFargateProfileInput, _ ...func(*eks.Options)) (*eks.CreateFargateProfileOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName), fargate: aws.ToString(in.FargateProfileName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	if _, err := readCluster(s.store, scope, a.cluster); err != nil {
		return nil, err
	}
	if err := checkFargateName(a); err != nil {
		return nil, err
	}
	if old, err := earlierFargateProfile(s.store, scope, a, req); err != nil || old != nil {
		return createdFargateProfile(old), err
	}
	c, err := readRunningCluster(s.store, scope, a)
	if err != nil {
		return nil, err
	}
	if err := takesFargate(a, c); err != nil {
		return nil, err
	}
	p, err := s.newFargateProfile(ctx, a, c, in)
	if err != nil {
		return nil, err
	}
	p.Request = req
	if err := s.ensureLinked(ctx, scope, "eks-fargate.amazonaws.com"); err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if old, err := earlierFargateProfile(tx, scope, a, req); err != nil || old != nil {
			p = old
			return err
		}
		if _, err := readRunningCluster(tx, scope, a); err != nil {
			return err
		}
		if err := oneFargateChange(tx, scope, a, "create"); err != nil {
			return err
		}
		if len(FargateProfiles.ListPrefix(tx, scope, ClusterPrefix(a.cluster))) >= maxFargateProfiles {
			return a.limitExceeded("Cannot have more than %d Fargate Profiles in cluster %s.", maxFargateProfiles, a.cluster)
		}
		FargateProfiles.Put(tx, scope, ChildID(a.cluster, a.fargate), p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return createdFargateProfile(p), nil
}

func createdFargateProfile(p *FargateProfile) *eks.CreateFargateProfileOutput {
	if p == nil {
		return nil
	}
	r := p.Resource
	return &eks.CreateFargateProfileOutput{FargateProfile: &r}
}

func earlierFargateProfile(r store.Reader, scope awsid.Scope, a about, req Request) (*FargateProfile, error) {
	old := FargateProfiles.Get(r, scope, ChildID(a.cluster, a.fargate))
	if old == nil || old.Request == req {
		return old, nil
	}
	return nil, a.inUse("A Fargate Profile already exists with this name in this cluster.")
}

// oneFargateChange refuses a change while another profile of the cluster, or this
// one, is being made or deleted, or the cluster is updated: EKS makes clients take
// turns.
func oneFargateChange(tx *store.Tx, scope awsid.Scope, a about, verb string) error {
	if c := Clusters.Get(tx, scope, a.cluster); c.UpdateID != "" {
		return a.inUse("Cannot %s Fargate Profile %s because cluster %s currently has an update in progress", verb, a.fargate, a.cluster)
	}
	for _, p := range FargateProfiles.ListPrefix(tx, scope, ClusterPrefix(a.cluster)) {
		if p.changing() {
			return a.inUse("Cannot %s Fargate Profile %s because cluster %s currently has Fargate profile %s in status %s",
				verb, a.fargate, a.cluster, *p.Resource.FargateProfileName, p.Resource.Status)
		}
	}
	return nil
}

// readFargateProfile returns the profile a names, in a cluster that exists.
func readFargateProfile(r store.Reader, scope awsid.Scope, a about) (*FargateProfile, error) {
	if _, err := readCluster(r, scope, a.cluster); err != nil {
		return nil, err
	}
	if p := FargateProfiles.Get(r, scope, ChildID(a.cluster, a.fargate)); p != nil {
		return p, nil
	}
	return nil, a.notFound("No Fargate Profile found with name: %s.", a.fargate)
}

// DescribeFargateProfile implements eks:DescribeFargateProfile.
func (s *Service) DescribeFargateProfile(ctx context.Context, in *eks.DescribeFargateProfileInput, _ ...func(*eks.Options)) (*eks.DescribeFargateProfileOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName), fargate: aws.ToString(in.FargateProfileName)}
	p, err := readFargateProfile(s.store, awsid.CallerFrom(ctx).Scope, a)
	if err != nil {
		return nil, err
	}
	r := p.Resource
	return &eks.DescribeFargateProfileOutput{FargateProfile: &r}, nil
}

// ListFargateProfiles implements eks:ListFargateProfiles.
func (s *Service) ListFargateProfiles(ctx context.Context, in *eks.ListFargateProfilesInput, _ ...func(*eks.Options)) (*eks.ListFargateProfilesOutput, error) {
	scope, cluster := awsid.CallerFrom(ctx).Scope, aws.ToString(in.ClusterName)
	if _, err := readCluster(s.store, scope, cluster); err != nil {
		return nil, err
	}
	var names []string
	for _, p := range FargateProfiles.ListPrefix(s.store, scope, ClusterPrefix(cluster)) {
		names = append(names, *p.Resource.FargateProfileName)
	}
	names, next, err := page("ListFargateProfiles", names, itself, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListFargateProfilesOutput{FargateProfileNames: names, NextToken: next}, nil
}

// DeleteFargateProfile implements eks:DeleteFargateProfile.
func (s *Service) DeleteFargateProfile(ctx context.Context, in *eks.DeleteFargateProfileInput, _ ...func(*eks.Options)) (*eks.DeleteFargateProfileOutput, error) {
	scope := awsid.CallerFrom(ctx).Scope
	a := about{cluster: aws.ToString(in.ClusterName), fargate: aws.ToString(in.FargateProfileName)}
	var p *FargateProfile
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readFargateProfile(tx, scope, a); err != nil {
			return err
		}
		p = FargateProfiles.Edit(tx, scope, ChildID(a.cluster, a.fargate))
		if p.Resource.Status == ekstypes.FargateProfileStatusDeleting {
			return nil // the SDKs repeat what they got no answer to
		}
		if err := oneFargateChange(tx, scope, a, "Delete"); err != nil {
			return err
		}
		p.Move(ekstypes.FargateProfileStatusDeleting)
		p.DeletingSince = s.now()
		FargateProfiles.Put(tx, scope, ChildID(a.cluster, a.fargate), p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.DeleteFargateProfileOutput{FargateProfile: &p.Resource}, nil
}
