package eks

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// RollbackWindow is how long after an update a cluster can go back ("Rollback
// cluster to previous Kubernetes version", prerequisites).
const RollbackWindow = 7 * 24 * time.Hour

// Bounds of RollbackConfig.TimeoutMinutes.
const (
	minRollbackTimeout = 120
	maxRollbackTimeout = 10080
)

// DefaultRollbackTimeout bounds the nodes' part of a rollback that names no other.
const DefaultRollbackTimeout = 720 * time.Minute

// AutoMode tells whether EKS runs the cluster's nodes.
func (c *Cluster) AutoMode() bool {
	return c.Resource.ComputeConfig != nil && aws.ToBool(c.Resource.ComputeConfig.Enabled)
}

// RollbackTarget is the version to which the cluster could go back at t, empty if
// there is none.
func (c *Cluster) RollbackTarget(t time.Time) string {
	if c.UpgradedAt == nil || t.Sub(*c.UpgradedAt) > RollbackWindow {
		return ""
	}
	return c.UpgradedFrom
}

// rollbackChange takes the control plane back to the version before. The checks
// that force cannot bypass come first.
func (s *Service) rollbackChange(ctx context.Context, a about, now *Cluster, v eksversions.Version, in *eks.UpdateClusterVersionInput) (clusterChange, error) {
	if r := in.RollbackConfig; r != nil && r.TimeoutMinutes != nil && (*r.TimeoutMinutes < minRollbackTimeout || *r.TimeoutMinutes > maxRollbackTimeout) {
		return clusterChange{}, a.invalidParameter("timeoutMinutes must be between %d and %d", minRollbackTimeout, maxRollbackTimeout)
	}
	if err := s.mayRollBack(a, now, v); err != nil {
		return clusterChange{}, err
	}
	if !in.Force {
		if err := s.checkReadiness(ctx, a, now); err != nil {
			return clusterChange{}, err
		}
	}
	return clusterChange{
		kind:   ekstypes.UpdateTypeVersionRollback,
		active: now.AutoMode(),
		params: []ekstypes.UpdateParam{
			param(ekstypes.UpdateParamTypeVersion, v.Minor), param(ekstypes.UpdateParamTypePlatformVersion, v.PlatformVersion),
		},
		apply: func(_ *store.Tx, c *Cluster) error {
			if err := s.mayRollBack(a, c, v); err != nil {
				return err
			}
			c.DesiredVersion = v.Minor
			c.RollbackTimeout = DefaultRollbackTimeout
			if r := in.RollbackConfig; r != nil && r.TimeoutMinutes != nil {
				c.RollbackTimeout = time.Duration(*r.TimeoutMinutes) * time.Minute
			}
			return nil
		},
	}, nil
}

func (s *Service) mayRollBack(a about, c *Cluster, v eksversions.Version) error {
	from := aws.ToString(c.Resource.Version)
	switch {
	case c.UpgradedFrom != v.Minor:
		return noVersionPath(a, from, v.Minor) // made at its version, or rolled back already
	case c.RollbackTarget(s.clock.Now()) == "":
		return a.invalidRequest("Cluster %s cannot be rolled back from %s to %s: more than 7 days have passed since it was updated", a.cluster, from, v.Minor)
	}
	extended := c.Resource.UpgradePolicy != nil && c.Resource.UpgradePolicy.SupportType == ekstypes.SupportTypeExtended
	if v.Support(s.clock.Now()) == eksversions.Extended && !extended {
		return a.invalidRequest("Kubernetes version %s is in extended support: change the upgrade policy of cluster %s to EXTENDED before rolling back to it", v.Minor, a.cluster)
	}
	return nil
}

// checkReadiness refuses a rollback that an insight blocks.
func (s *Service) checkReadiness(ctx context.Context, a about, c *Cluster) error {
	if s.insights != nil {
		if err := s.insights.CheckInsights(ctx, c.Scope, a.cluster); err != nil {
			return fmt.Errorf("eks: check rollback readiness: %w", err)
		}
	}
	var blocking []string
	for _, i := range Insights.ListPrefix(s.store, c.Scope, ClusterPrefix(a.cluster)) {
		st := i.Resource.InsightStatus.Status
		if i.Resource.Category == ekstypes.CategoryRollbackReadiness && (st == ekstypes.InsightStatusValueError || st == ekstypes.InsightStatusValueUnknown) {
			blocking = append(blocking, *i.Resource.Name)
		}
	}
	if len(blocking) == 0 {
		return nil
	}
	return &ekstypes.InvalidStateException{ClusterName: &a.cluster, Message: aws.String(fmt.Sprintf(
		"Amazon EKS detected rollback readiness issues: %s. Call the ListInsights API to view them. Set force to true to override the checks.", strings.Join(blocking, ", ")))}
}

// CancelUpdate implements eks:CancelUpdate. What EKS cancels is the nodes' part of
// a version rollback in EKS Auto Mode; the lifecycle ends it ("Rollback EKS Auto
// Mode clusters", cancelling a rollback).
func (s *Service) CancelUpdate(ctx context.Context, in *eks.CancelUpdateInput, _ ...func(*eks.Options)) (*eks.CancelUpdateOutput, error) {
	a := about{cluster: aws.ToString(in.Name)}
	bare := *in
	bare.ClientRequestToken = nil
	if _, err := newRequest(in.ClientRequestToken, bare); err != nil {
		return nil, err
	}
	scope, id := awsid.CallerFrom(ctx).Scope, aws.ToString(in.UpdateId)
	var u *Update
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		c, err := editCluster(tx, scope, a.cluster)
		if err != nil {
			return err
		}
		if u = Updates.Edit(tx, scope, ChildID(a.cluster, id)); u == nil || u.Nodegroup != "" || u.Addon != "" {
			return a.notFound("No update found for ID: %s", id)
		}
		if u.Resource.Cancellation != nil {
			return nil // asked for before
		}
		switch r := &u.Resource; {
		case r.Status != ekstypes.UpdateStatusInProgress:
			return a.invalidRequest("Update %s cannot be cancelled because it is in status %s", id, r.Status)
		case r.Type != ekstypes.UpdateTypeVersionRollback:
			return a.invalidRequest("Update %s of type %s cannot be cancelled", id, r.Type)
		case !c.AutoMode() || c.Resource.Status != ekstypes.ClusterStatusActive:
			return a.invalidRequest("Update %s cannot be cancelled because the control plane rollback has begun", id)
		}
		u.Resource.Cancellation = &ekstypes.Cancellation{Status: ekstypes.CancellationStatusInProgress}
		Updates.Put(tx, scope, ChildID(a.cluster, id), u)
		c.Generation++ // wakes the lifecycle
		Clusters.Put(tx, scope, a.cluster, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := u.Resource
	return &eks.CancelUpdateOutput{Update: &r}, nil
}

// FinishCancellation ends a cancelled update, in the transaction that frees the
// cluster of it.
func FinishCancellation(tx *store.Tx, scope awsid.Scope, cluster, updateID string) {
	u := Updates.Edit(tx, scope, ChildID(cluster, updateID))
	if u == nil || u.Resource.Status != ekstypes.UpdateStatusInProgress {
		return
	}
	u.Resource.Status = ekstypes.UpdateStatusCancelled
	u.Resource.Cancellation = &ekstypes.Cancellation{
		Status: ekstypes.CancellationStatusSuccessful, Reason: aws.String("The node rollback was stopped on request."),
	}
	Updates.Put(tx, scope, ChildID(cluster, updateID), u)
}
