package eks

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// DescribeCluster implements eks:DescribeCluster.
func (s *Service) DescribeCluster(ctx context.Context, in *eks.DescribeClusterInput, _ ...func(*eks.Options)) (*eks.DescribeClusterOutput, error) {
	scope, name := awsid.CallerFrom(ctx).Scope, aws.ToString(in.Name)
	if c := ConnectedClusters.Get(s.store, scope, name); c != nil {
		r := c.Resource
		return &eks.DescribeClusterOutput{Cluster: &r}, nil
	}
	c, err := readCluster(s.store, scope, name)
	if err != nil {
		return nil, err
	}
	return &eks.DescribeClusterOutput{Cluster: c.shown()}, nil
}

func readCluster(r store.Reader, scope awsid.Scope, name string) (*Cluster, error) {
	if c := Clusters.Get(r, scope, name); c != nil {
		return c, nil
	}
	return nil, about{cluster: name}.noCluster()
}

func editCluster(tx *store.Tx, scope awsid.Scope, name string) (*Cluster, error) {
	if c := Clusters.Edit(tx, scope, name); c != nil {
		return c, nil
	}
	return nil, about{cluster: name}.noCluster()
}

// readRunningCluster returns a cluster that can be given node groups and the
// like: one that exists as a whole.
func readRunningCluster(r store.Reader, scope awsid.Scope, a about) (*Cluster, error) {
	c, err := readCluster(r, scope, a.cluster)
	if err != nil {
		return nil, err
	}
	switch c.Resource.Status {
	case ekstypes.ClusterStatusActive, ekstypes.ClusterStatusUpdating:
		return c, nil
	}
	return nil, a.invalidRequest("Cluster '%s' is not in ACTIVE status", a.cluster)
}

// ListClusters implements eks:ListClusters: with include "all" also connected ones.
func (s *Service) ListClusters(ctx context.Context, in *eks.ListClustersInput, _ ...func(*eks.Options)) (*eks.ListClustersOutput, error) {
	var names []string
	for _, c := range Clusters.List(s.store, awsid.CallerFrom(ctx).Scope) {
		names = append(names, *c.Resource.Name)
	}
	for _, include := range in.Include {
		if include != "all" {
			return nil, about{}.invalidParameter("Unsupported value %s for include: it must be all", include)
		}
		for _, c := range ConnectedClusters.List(s.store, awsid.CallerFrom(ctx).Scope) {
			names = append(names, *c.Resource.Name)
		}
	}
	names, next, err := page("ListClusters", names, itself, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListClustersOutput{Clusters: names, NextToken: next}, nil
}

func itself(s string) string { return s }

// DeleteCluster implements eks:DeleteCluster. A cluster that is still being made
// can be deleted too (EKS makes one wait): creation that never succeeds must not
// leave an immortal cluster.
func (s *Service) DeleteCluster(ctx context.Context, in *eks.DeleteClusterInput, _ ...func(*eks.Options)) (*eks.DeleteClusterOutput, error) {
	scope, name := awsid.CallerFrom(ctx).Scope, aws.ToString(in.Name)
	a := about{cluster: name}
	var c *Cluster
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		var err error
		if c, err = editCluster(tx, scope, name); err != nil {
			return err
		}
		if c.Resource.Status == ekstypes.ClusterStatusDeleting {
			return nil
		}
		if aws.ToBool(c.Resource.DeletionProtection) {
			return a.invalidRequest("Cluster %s cannot be deleted because deletion protection is enabled. Disable deletion protection and try again.", name)
		}
		if len(Nodegroups.ListPrefix(tx, scope, ClusterPrefix(name))) > 0 {
			return a.inUse("Cluster has nodegroups attached")
		}
		if profiles := FargateProfiles.ListPrefix(tx, scope, ClusterPrefix(name)); len(profiles) > 0 {
			if p := profiles[0]; p.Resource.Status == ekstypes.FargateProfileStatusDeleting {
				return a.inUse("Cannot delete because cluster %s currently has Fargate profile %s in status DELETING", name, *p.Resource.FargateProfileName)
			}
			return a.inUse("Cluster has Fargate Profiles in ACTIVE/CREATING state")
		}
		if c.UpdateID != "" {
			return a.inUse("Cannot delete because cluster %s currently has an update in progress", name)
		}
		c.Resource.Status, c.DeletedAt = ekstypes.ClusterStatusDeleting, s.now()
		c.Generation++
		Clusters.Put(tx, scope, name, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.DeleteClusterOutput{Cluster: &c.Resource}, nil
}

// DeleteClusterRecords removes a cluster and everything of it. The lifecycle
// calls it when nothing of the cluster is left outside the store.
func DeleteClusterRecords(tx *store.Tx, scope awsid.Scope, name string) {
	prefix := ClusterPrefix(name)
	for _, n := range Nodegroups.ListPrefix(tx, scope, prefix) {
		Nodegroups.Delete(tx, scope, ChildID(name, *n.Resource.NodegroupName))
	}
	for _, d := range Addons.ListPrefix(tx, scope, prefix) {
		Addons.Delete(tx, scope, ChildID(name, *d.Resource.AddonName))
	}
	for _, e := range AccessEntries.ListPrefix(tx, scope, prefix) {
		AccessEntries.Delete(tx, scope, ChildID(name, *e.Resource.PrincipalArn))
	}
	for _, p := range PodIdentityAssociations.ListPrefix(tx, scope, prefix) {
		PodIdentityAssociations.Delete(tx, scope, ChildID(name, *p.Resource.AssociationId))
	}
	for _, c := range Capabilities.ListPrefix(tx, scope, prefix) {
		Capabilities.Delete(tx, scope, ChildID(name, *c.Resource.CapabilityName))
	}
	for _, u := range Updates.ListPrefix(tx, scope, prefix) {
		Updates.Delete(tx, scope, ChildID(name, *u.Resource.Id))
	}
	deleteWithin(tx, FargateProfiles, scope, prefix)
	deleteWithin(tx, FargateNodes, scope, prefix)
	deleteWithin(tx, IdentityProviders, scope, prefix)
	deleteWithin(tx, Insights, scope, prefix)
	deleteWithin(tx, DeprecatedUses, scope, prefix)
	InsightsRefreshes.Delete(tx, scope, name)
	Clusters.Delete(tx, scope, name)
}

func deleteWithin[T any](tx *store.Tx, t store.Table[T], scope awsid.Scope, prefix string) {
	for k := range t.All(tx) {
		if k.Scope == scope && strings.HasPrefix(k.ID, prefix) {
			t.Delete(tx, scope, k.ID)
		}
	}
}
