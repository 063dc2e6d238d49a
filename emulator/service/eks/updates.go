package eks

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// keptUpdates is how many finished updates of a cluster are remembered.
const keptUpdates = 500

// newUpdate makes an update in progress.
func (s *Service) newUpdate(scope awsid.Scope, a about, t ekstypes.UpdateType, params []ekstypes.UpdateParam, req Request) *Update {
	if params == nil {
		params = []ekstypes.UpdateParam{}
	}
	return &Update{
		Scope: scope, Cluster: a.cluster, Nodegroup: a.nodegroup, Addon: a.addon, Request: req,
		Resource: ekstypes.Update{
			Id: aws.String(awsid.NewUUID()), Status: ekstypes.UpdateStatusInProgress, Type: t, Params: params,
			CreatedAt: s.now(), Errors: []ekstypes.ErrorDetail{},
		},
	}
}

// putUpdate writes a new update and forgets the oldest finished one when there
// are too many.
func putUpdate(tx *store.Tx, u *Update) {
	all := Updates.ListPrefix(tx, u.Scope, ClusterPrefix(u.Cluster))
	if len(all) >= keptUpdates {
		var oldest *Update
		for _, o := range all {
			if o.Resource.Status != ekstypes.UpdateStatusInProgress && (oldest == nil || o.Resource.CreatedAt.Before(*oldest.Resource.CreatedAt)) {
				oldest = o
			}
		}
		if oldest != nil {
			Updates.Delete(tx, u.Scope, ChildID(u.Cluster, *oldest.Resource.Id))
		}
	}
	Updates.Put(tx, u.Scope, ChildID(u.Cluster, *u.Resource.Id), u)
}

// earlierUpdate returns the update that an earlier, equal call started.
func earlierUpdate(r store.Reader, scope awsid.Scope, a about, req Request) (*Update, error) {
	for _, u := range Updates.ListPrefix(r, scope, ClusterPrefix(a.cluster)) {
		if same, err := req.repeats(a, u.Request); err != nil || same {
			return u, err
		}
	}
	return nil, nil
}

// FinishUpdate marks an update Successful or, with errors, Failed. The lifecycle
// calls it in the transaction that ends the UPDATING status.
func FinishUpdate(tx *store.Tx, scope awsid.Scope, cluster, updateID string, errs ...ekstypes.ErrorDetail) {
	u := Updates.Edit(tx, scope, ChildID(cluster, updateID))
	if u == nil || u.Resource.Status != ekstypes.UpdateStatusInProgress {
		return
	}
	u.Resource.Status = ekstypes.UpdateStatusSuccessful
	if len(errs) > 0 {
		u.Resource.Status, u.Resource.Errors = ekstypes.UpdateStatusFailed, errs
	}
	Updates.Put(tx, scope, ChildID(cluster, updateID), u)
}

// updateTarget resolves the optional names in ListUpdates and DescribeUpdate.
func (s *Service) updateTarget(scope awsid.Scope, cluster, nodegroup, addon *string) (about, error) {
	a := about{cluster: aws.ToString(cluster), nodegroup: aws.ToString(nodegroup), addon: aws.ToString(addon)}
	if _, err := readCluster(s.store, scope, a.cluster); err != nil {
		return a, err
	}
	if a.nodegroup != "" && a.addon != "" {
		return a, a.invalidParameter("Only one of nodegroupName and addonName can be specified.")
	}
	if a.nodegroup != "" {
		if _, err := readNodegroup(s.store, scope, a); err != nil {
			return a, err
		}
	}
	if a.addon != "" {
		if _, err := readAddon(s.store, scope, a); err != nil {
			return a, err
		}
	}
	return a, nil
}

// ListUpdates implements eks:ListUpdates: newest first.
func (s *Service) ListUpdates(ctx context.Context, in *eks.ListUpdatesInput, _ ...func(*eks.Options)) (*eks.ListUpdatesOutput, error) {
	scope := awsid.CallerFrom(ctx).Scope
	a, err := s.updateTarget(scope, in.Name, in.NodegroupName, in.AddonName)
	if err != nil {
		return nil, err
	}
	if in.CapabilityName != nil {
		if _, err := readCapability(s.store, scope, in.Name, in.CapabilityName); err != nil {
			return nil, err
		}
	}
	var of []*Update
	for _, u := range Updates.ListPrefix(s.store, scope, ClusterPrefix(a.cluster)) {
		if u.Nodegroup == a.nodegroup && u.Addon == a.addon && u.Capability == aws.ToString(in.CapabilityName) {
			of = append(of, u)
		}
	}
	of, next, err := page("ListUpdates", of, newestFirst, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(of))
	for _, u := range of {
		ids = append(ids, *u.Resource.Id)
	}
	return &eks.ListUpdatesOutput{UpdateIds: ids, NextToken: next}, nil
}

// newestFirst is a sort key.
func newestFirst(u *Update) string {
	const past = 1 << 62
	return sortable(past-u.Resource.CreatedAt.UnixMilli()) + *u.Resource.Id
}

// DescribeUpdate implements eks:DescribeUpdate.
func (s *Service) DescribeUpdate(ctx context.Context, in *eks.DescribeUpdateInput, _ ...func(*eks.Options)) (*eks.DescribeUpdateOutput, error) {
	scope := awsid.CallerFrom(ctx).Scope
	a, err := s.updateTarget(scope, in.Name, in.NodegroupName, in.AddonName)
	if err != nil {
		return nil, err
	}
	if in.CapabilityName != nil {
		if _, err := readCapability(s.store, scope, in.Name, in.CapabilityName); err != nil {
			return nil, err
		}
	}
	id := aws.ToString(in.UpdateId)
	u := Updates.Get(s.store, scope, ChildID(a.cluster, id))
	if u == nil || u.Nodegroup != a.nodegroup || u.Addon != a.addon || u.Capability != aws.ToString(in.CapabilityName) {
		return nil, a.notFound("No update found for ID: %s", id)
	}
	r := u.Resource
	return &eks.DescribeUpdateOutput{Update: &r}, nil
}
