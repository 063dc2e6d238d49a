package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
	"github.com/ekslocal/ekslocal/fixtures/addons"
)

// reconcileAddon does what the status asks for; ekssvc.AddonStates says where
// each leads.
func (l *Lifecycle) reconcileAddon(ctx context.Context, k key) (time.Duration, error) {
	a := ekssvc.Addons.Get(l.Store, k.Scope, k.ID)
	if a == nil {
		return 0, nil
	}
	c := ekssvc.Clusters.Get(l.Store, k.Scope, *a.Resource.ClusterName)
	if c == nil {
		return 0, nil
	}
	rt := l.runtimeOf(c.ID)
	if rt == nil || !c.Bootstrapped {
		if rt != nil {
			return minVisible, nil
		}
		return 0, nil // the runtime's start enqueues the cluster's add-ons
	}
	switch a.Resource.Status {
	case ekstypes.AddonStatusCreating, ekstypes.AddonStatusUpdating:
		return l.installAddon(ctx, c, a, rt)
	case ekstypes.AddonStatusActive, ekstypes.AddonStatusDegraded:
		return 0, l.watchAddon(ctx, c, a, rt)
	case ekstypes.AddonStatusDeleting:
		return l.deleteAddon(ctx, c, a, rt)
	}
	return 0, nil
}

// params is what manifests are made with for a cluster.
func (l *Lifecycle) params(c *ekssvc.Cluster) addons.Params {
	return addons.Params{
		ClusterName: *c.Resource.Name, Region: c.Scope.Region, Account: c.Scope.Account, VPCID: aws.ToString(c.Resource.ResourcesVpcConfig.VpcId),
		ClusterEndpoint: l.Endpoint(c.Port), ServiceCIDR: serviceCIDR(c),
	}
}

func (l *Lifecycle) addonObjects(c *ekssvc.Cluster, a *ekssvc.Addon) ([]unstructured.Unstructured, error) {
	p := l.params(c)
	p.ConfigurationValues = a.Desired.ConfigurationValues
	p.ServiceAccountRoleARN = a.Desired.ServiceAccountRoleARN
	return addons.Manifests(*a.Resource.AddonName, a.Desired.Version, p)
}

func (l *Lifecycle) installAddon(ctx context.Context, c *ekssvc.Cluster, a *ekssvc.Addon, rt *runtime) (time.Duration, error) {
	objs, err := l.addonObjects(c, a)
	if err != nil {
		return 0, err
	}
	if err := applyAddon(ctx, a, rt, objs); len(conflicts(err)) > 0 {
		return 0, l.addonConflict(ctx, a, err)
	} else if err != nil {
		return 0, err
	}
	if err := l.pruneAddon(ctx, c, a, rt, objs); err != nil {
		return 0, err
	}
	phase := timing.AddonCreating
	if a.Resource.Status == ekstypes.AddonStatusUpdating {
		phase = timing.AddonUpdating
	}
	if left := l.left(phase, a.Resource.ModifiedAt); left > 0 {
		return left, nil
	}
	healthy := rt.healthy(objs)
	if left := l.left(timing.PatienceAddonUnhealthy, a.Resource.ModifiedAt); !healthy && left > 0 {
		return left, nil // or sooner, when the workloads change
	}
	return 0, l.editAddon(ctx, a, func(tx *store.Tx, now *ekssvc.Addon) bool {
		if now.Generation != a.Generation || now.Resource.Status == ekstypes.AddonStatusDeleting {
			return false
		}
		now.Applied()
		setAddonHealth(now, healthy)
		if now.UpdateID != "" {
			ekssvc.FinishUpdate(tx, now.Scope, *now.Resource.ClusterName, now.UpdateID)
			now.UpdateID = ""
		}
		return true
	})
}

// applyAddon installs by the add-on's conflict mode. PRESERVE leaves each field
// that a user changed as it is.
func applyAddon(ctx context.Context, a *ekssvc.Addon, rt *runtime, objs []unstructured.Unstructured) error {
	if a.Desired.ResolveConflicts == ekstypes.ResolveConflictsPreserve {
		return rt.applier.preserve(ctx, objs)
	}
	return rt.applier.apply(ctx, objs, a.Desired.ResolveConflicts == ekstypes.ResolveConflictsOverwrite)
}

// pruneAddon removes what the add-on consisted of before an update and does not
// any more.
func (l *Lifecycle) pruneAddon(ctx context.Context, c *ekssvc.Cluster, a *ekssvc.Addon, rt *runtime, objs []unstructured.Unstructured) error {
	if a.Resource.Status != ekstypes.AddonStatusUpdating {
		return nil
	}
	before := *a
	before.Desired.Version, before.Desired.ConfigurationValues = aws.ToString(a.Resource.AddonVersion), aws.ToString(a.Resource.ConfigurationValues)
	old, err := l.addonObjects(c, &before)
	if err != nil {
		return err
	}
	return rt.applier.remove(ctx, slices.DeleteFunc(old, func(o unstructured.Unstructured) bool {
		return slices.ContainsFunc(objs, func(n unstructured.Unstructured) bool {
			return o.GroupVersionKind().GroupKind() == n.GroupVersionKind().GroupKind() && o.GetNamespace() == n.GetNamespace() && o.GetName() == n.GetName()
		})
	}))
}

func (l *Lifecycle) addonConflict(ctx context.Context, a *ekssvc.Addon, conflict error) error {
	msg := "Conflicts found when trying to apply. Will not continue due to resolve conflicts mode. Conflicts:\n" + conflict.Error()
	return l.editAddon(ctx, a, func(tx *store.Tx, now *ekssvc.Addon) bool {
		if now.Generation != a.Generation {
			return false
		}
		now.Resource.Health = &ekstypes.AddonHealth{Issues: []ekstypes.AddonIssue{{Code: ekstypes.AddonIssueCodeConfigurationConflict, Message: &msg}}}
		switch now.Resource.Status {
		case ekstypes.AddonStatusCreating:
			now.Resource.Status = ekstypes.AddonStatusCreateFailed
		case ekstypes.AddonStatusUpdating:
			now.Resource.Status = ekstypes.AddonStatusUpdateFailed
			ekssvc.FinishUpdate(tx, now.Scope, *now.Resource.ClusterName, now.UpdateID, ekstypes.ErrorDetail{
				ErrorCode: ekstypes.ErrorCodeConfigurationConflict, ErrorMessage: &msg, ResourceIds: []string{*now.Resource.AddonName},
			})
			now.UpdateID = ""
		default:
			return false
		}
		return true
	})
}

// watchAddon moves an installed add-on between ACTIVE and DEGRADED.
func (l *Lifecycle) watchAddon(ctx context.Context, c *ekssvc.Cluster, a *ekssvc.Addon, rt *runtime) error {
	objs, err := l.addonObjects(c, a)
	if err != nil {
		return err
	}
	healthy := rt.healthy(objs)
	if healthy == (a.Resource.Status == ekstypes.AddonStatusActive) {
		return nil
	}
	return l.editAddon(ctx, a, func(_ *store.Tx, now *ekssvc.Addon) bool {
		if now.Generation != a.Generation || now.Resource.Status != a.Resource.Status {
			return false
		}
		setAddonHealth(now, healthy)
		return true
	})
}

func setAddonHealth(a *ekssvc.Addon, healthy bool) {
	if healthy {
		a.Resource.Status, a.Resource.Health = ekstypes.AddonStatusActive, &ekstypes.AddonHealth{Issues: []ekstypes.AddonIssue{}}
		return
	}
	a.Resource.Status = ekstypes.AddonStatusDegraded
	a.Resource.Health = &ekstypes.AddonHealth{Issues: []ekstypes.AddonIssue{{
		Code:    ekstypes.AddonIssueCodeInsufficientNumberOfReplicas,
		Message: aws.String("The add-on is unhealthy because it doesn't have the desired number of replicas."),
	}}}
}

func (l *Lifecycle) deleteAddon(ctx context.Context, c *ekssvc.Cluster, a *ekssvc.Addon, rt *runtime) (time.Duration, error) {
	if !a.Preserve {
		objs, err := l.addonObjects(c, a)
		if err != nil {
			return 0, err
		}
		if err := rt.applier.remove(ctx, objs); err != nil {
			return 0, err
		}
	}
	if left := l.left(timing.AddonDeleting, a.Resource.ModifiedAt); left > 0 {
		return left, nil
	}
	return 0, l.Store.Update(ctx, func(tx *store.Tx) error {
		id := ekssvc.ChildID(*a.Resource.ClusterName, *a.Resource.AddonName)
		if now := ekssvc.Addons.Get(tx, a.Scope, id); now == nil || now.ID != a.ID {
			return nil
		}
		ekssvc.Addons.Delete(tx, a.Scope, id)
		return nil
	})
}

// editAddon changes an add-on's record unless it is gone or was made again under
// its name. f answers false to leave it alone.
func (l *Lifecycle) editAddon(ctx context.Context, a *ekssvc.Addon, f func(tx *store.Tx, a *ekssvc.Addon) bool) error {
	id := ekssvc.ChildID(*a.Resource.ClusterName, *a.Resource.AddonName)
	err := l.Store.Update(ctx, func(tx *store.Tx) error {
		now := ekssvc.Addons.Edit(tx, a.Scope, id)
		if now == nil || now.ID != a.ID || !f(tx, now) {
			return nil
		}
		ekssvc.Addons.Put(tx, a.Scope, id, now)
		return nil
	})
	if err != nil {
		return fmt.Errorf("add-on %s: %w", id, err)
	}
	return nil
}

// bootstrap puts into a new cluster what every EKS cluster has and, unless
// declined, vpc-cni, kube-proxy and coredns as self-managed add-ons at their
// default versions.
func (l *Lifecycle) bootstrap(ctx context.Context, c *ekssvc.Cluster, rt *runtime) error {
	p := l.params(c)
	objs, err := addons.ClusterObjects(p)
	if err != nil {
		return err
	}
	if c.BootstrapSelfManagedAddons {
		for _, a := range addons.SelfManaged() {
			more, err := addons.Manifests(a.Name, a.Default(c.RunningVersion), p)
			if err != nil {
				return err
			}
			objs = append(objs, more...)
		}
	}
	return rt.applier.apply(ctx, append(objs, l.apiEndpoints(c)...), true)
}
