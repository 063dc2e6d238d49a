package eks

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// readNodegroup returns the node group a names, in a cluster that exists.
func readNodegroup(r store.Reader, scope awsid.Scope, a about) (*Nodegroup, error) {
	if _, err := readCluster(r, scope, a.cluster); err != nil {
		return nil, err
	}
	if n := Nodegroups.Get(r, scope, ChildID(a.cluster, a.nodegroup)); n != nil {
		return n, nil
	}
	return nil, a.notFound("No node group found for name: %s.", a.nodegroup)
}

// DescribeNodegroup implements eks:DescribeNodegroup.
func (s *Service) DescribeNodegroup(ctx context.Context, in *eks.DescribeNodegroupInput, _ ...func(*eks.Options)) (*eks.DescribeNodegroupOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName), nodegroup: aws.ToString(in.NodegroupName)}
	n, err := readNodegroup(s.store, awsid.CallerFrom(ctx).Scope, a)
	if err != nil {
		return nil, err
	}
	r := n.Resource
	return &eks.DescribeNodegroupOutput{Nodegroup: &r}, nil
}

// ListNodegroups implements eks:ListNodegroups.
func (s *Service) ListNodegroups(ctx context.Context, in *eks.ListNodegroupsInput, _ ...func(*eks.Options)) (*eks.ListNodegroupsOutput, error) {
	scope, cluster := awsid.CallerFrom(ctx).Scope, aws.ToString(in.ClusterName)
	if _, err := readCluster(s.store, scope, cluster); err != nil {
		return nil, err
	}
	var names []string
	for _, n := range Nodegroups.ListPrefix(s.store, scope, ClusterPrefix(cluster)) {
		names = append(names, *n.Resource.NodegroupName)
	}
	names, next, err := page("ListNodegroups", names, itself, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListNodegroupsOutput{Nodegroups: names, NextToken: next}, nil
}

// DeleteNodegroup implements eks:DeleteNodegroup. A group can be deleted in any
// state; an update under way fails.
func (s *Service) DeleteNodegroup(ctx context.Context, in *eks.DeleteNodegroupInput, _ ...func(*eks.Options)) (*eks.DeleteNodegroupOutput, error) {
	scope := awsid.CallerFrom(ctx).Scope
	a := about{cluster: aws.ToString(in.ClusterName), nodegroup: aws.ToString(in.NodegroupName)}
	var n *Nodegroup
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readNodegroup(tx, scope, a); err != nil {
			return err
		}
		n = Nodegroups.Edit(tx, scope, ChildID(a.cluster, a.nodegroup))
		if n.Resource.Status == ekstypes.NodegroupStatusDeleting {
			return nil
		}
		if n.UpdateID != "" {
			FinishUpdate(tx, scope, a.cluster, n.UpdateID, ekstypes.ErrorDetail{
				ErrorCode: ekstypes.ErrorCodeOperationNotPermitted, ErrorMessage: aws.String("The node group is being deleted."), ResourceIds: []string{a.nodegroup},
			})
			n.UpdateID = ""
		}
		n.Resource.Status = ekstypes.NodegroupStatusDeleting
		n.Resource.ModifiedAt = s.now()
		n.Generation++
		Nodegroups.Put(tx, scope, ChildID(a.cluster, a.nodegroup), n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.DeleteNodegroupOutput{Nodegroup: &n.Resource}, nil
}
