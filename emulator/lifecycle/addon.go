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
	ctx, done := rt.during(ctx)
	defer done()
	if a.Reinstall {
		return 0, l.reinstallAddon(ctx, c, a, rt)
	}
	switch a.Resource.Status {
	case ekstypes.AddonStatusCreating, ekstypes.AddonStatusUpdating:
		return l.installAddon(ctx, c, a, rt)
	case ekstypes.AddonStatusActive, ekstypes.AddonStatusDegraded:
		return l.watchAddon(ctx, c, a, rt)
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
		NodesAreContainers: c.Backend == ekssvc.BackendKind,
	}
}

func (l *Lifecycle) addonObjects(c *ekssvc.Cluster, a *ekssvc.Addon) ([]unstructured.Unstructured, error) {
	p := l.params(c)
	p.ConfigurationValues = a.Desired.ConfigurationValues
	p.ServiceAccountRoleARN, p.Namespace = a.Desired.ServiceAccountRoleARN, a.Desired.Namespace
	return addons.Manifests(*a.Resource.AddonName, a.Desired.Version, p)
}

func (l *Lifecycle) installAddon(ctx context.Context, c *ekssvc.Cluster, a *ekssvc.Addon, rt *runtime) (time.Duration, error) {
	objs, err := l.addonObjects(c, a)
	if err != nil {
		return 0, err
	}
	if err := rt.provide(ctx, objs); err != nil {
		return 0, err
	}
	issue, err := applyAddon(ctx, a, rt, objs)
	if err == nil && issue == nil {
		err = l.pruneAddon(ctx, c, a, rt, objs)
	}
	if issue == nil {
		issue = refusalIssue(err, l.Clock.Since(aws.ToTime(a.Resource.ModifiedAt)))
	}
	phase := timing.AddonCreating
	if a.Resource.Status == ekstypes.AddonStatusUpdating {
		phase = timing.AddonUpdating
	}
	left := l.left(phase, a.Resource.ModifiedAt)
	switch {
	case issue == nil && err != nil:
		return 0, err
	case left > 0:
		return left, nil
	case issue != nil:
		return 0, l.settleAddon(ctx, a, addonRefused, *issue)
	case rt.healthy(objs):
		return 0, l.settleAddon(ctx, a, addonHealthy)
	}
	patience := timing.PatienceAddonUnhealthy
	if rt.hasNodes() {
		patience = timing.PatienceAddonStarting
	}
	if left := l.left(patience, a.Resource.ModifiedAt); left > 0 {
		return left, nil // or sooner, when workloads or nodes change
	}
	return 0, l.settleAddon(ctx, a, addonLacking, lackingIssue())
}

// settleAddon is settle on the stored record, if it still is what was looked at.
func (l *Lifecycle) settleAddon(ctx context.Context, a *ekssvc.Addon, e addonEvent, issues ...ekstypes.AddonIssue) error {
	return l.editAddon(ctx, a, func(tx *store.Tx, now *ekssvc.Addon) bool {
		if now.Generation != a.Generation || now.Resource.Status != a.Resource.Status {
			return false
		}
		now.LackingSince = time.Time{}
		return settle(tx, now, e, issues...)
	})
}

// applyAddon installs by the add-on's conflict mode: OVERWRITE takes fields that
// others changed, PRESERVE leaves each of them as it is, NONE changes nothing at
// all if there is one. PRESERVE is NONE for a new add-on.
func applyAddon(ctx context.Context, a *ekssvc.Addon, rt *runtime, objs []unstructured.Unstructured) (*ekstypes.AddonIssue, error) {
	switch mode := a.Desired.ResolveConflicts; {
	case mode == ekstypes.ResolveConflictsOverwrite:
		return nil, rt.applier.apply(ctx, objs, true)
	case mode == ekstypes.ResolveConflictsPreserve && a.Resource.Status == ekstypes.AddonStatusUpdating:
		return nil, rt.applier.preserve(ctx, objs)
	}
	fields, err := rt.applier.wouldConflict(ctx, objs)
	if err != nil {
		return nil, err
	}
	if len(fields) > 0 {
		return conflictIssue(fields), nil
	}
	return nil, rt.applier.apply(ctx, objs, false)
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

// watchAddon moves an installed add-on between ACTIVE and DEGRADED. Replicas that
// are missing for a moment, as while a node joins, do not count.
func (l *Lifecycle) watchAddon(ctx context.Context, c *ekssvc.Cluster, a *ekssvc.Addon, rt *runtime) (time.Duration, error) {
	objs, err := l.addonObjects(c, a)
	if err != nil {
		return 0, err
	}
	if rt.healthy(objs) {
		if a.Resource.Status == ekstypes.AddonStatusActive && a.LackingSince.IsZero() {
			return 0, nil
		}
		return 0, l.editAddon(ctx, a, func(tx *store.Tx, now *ekssvc.Addon) bool {
			if now.Generation != a.Generation || now.Resource.Status != a.Resource.Status {
				return false
			}
			now.LackingSince = time.Time{}
			settle(tx, now, addonHealthy)
			return true
		})
	}
	if a.Resource.Status == ekstypes.AddonStatusDegraded {
		return 0, nil
	}
	if a.LackingSince.IsZero() {
		return l.Timing.Of(timing.PatienceAddonUnhealthy), l.editAddon(ctx, a, func(_ *store.Tx, now *ekssvc.Addon) bool {
			now.LackingSince = l.Clock.Now()
			return now.Generation == a.Generation && now.Resource.Status == a.Resource.Status
		})
	}
	if left := l.left(timing.PatienceAddonUnhealthy, &a.LackingSince); left > 0 {
		return left, nil
	}
	return 0, l.settleAddon(ctx, a, addonLacking, lackingIssue())
}

func (l *Lifecycle) deleteAddon(ctx context.Context, c *ekssvc.Cluster, a *ekssvc.Addon, rt *runtime) (time.Duration, error) {
	if !a.Preserve {
		objs, err := l.addonObjects(c, a)
		if err != nil {
			return 0, err
		}
		// A kind that the cluster does not know has no objects to remove.
		if err := rt.applier.remove(ctx, objs); deniedByAdmission(err) {
			return 0, l.settleAddon(ctx, a, addonRefused, *refusalIssue(err, refusalGrace))
		} else if err != nil {
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
	if err := rt.provide(ctx, objs); err != nil {
		return err
	}
	objs = slices.Concat(objs, l.apiEndpoints(c), vpcResourceWebhooks(), []unstructured.Unstructured{podIdentityWebhook()})
	if err := rt.applier.apply(ctx, objs, true); err != nil {
		return err
	}
	return l.letGroupsIn(ctx, c, rt)
}
