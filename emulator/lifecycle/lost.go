package lifecycle

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// On EKS nobody can remove a control plane's data; the container of a kind cluster
// anybody can. Its cluster then gets a control plane of the same keys with nothing in it.
// What EKS has put into the one before is put there once more, and its nodes join again;
// what users had there is lost, which the cluster's health says for an hour.

// lossShown is how long a cluster's health shows that its objects were lost.
const lossShown = time.Hour

// ControlPlaneLost makes a cluster's control plane anew, whose data somebody removed. That
// may be while the cluster has no runtime, or is about to get one of what is gone.
func (l *Lifecycle) ControlPlaneLost(clusterID string) {
	l.lost.Store(clusterID, true)
	for _, c := range ekssvc.Clusters.ListAll(l.Store) {
		if c.ID == clusterID {
			l.clusters.queue.Add(key{c.Scope, *c.Resource.Name})
		}
	}
}

// heardOfLoss tells whether a control plane was lost since it was last asked.
func (l *Lifecycle) heardOfLoss(clusterID string) bool {
	_, lost := l.lost.LoadAndDelete(clusterID)
	return lost
}

// inNewData makes a cluster one whose control plane keeps its objects in another place
// than before, where there are none. All of it is remembered at once: what is to be put
// there again is, whenever the emulator is killed.
func (l *Lifecycle) inNewData(ctx context.Context, c *ekssvc.Cluster, data string) error {
	l.stopRuntime(c.ID)                                                                   // it knows the objects that are gone
	lost := c.RunningVersion != "" && c.Resource.Status != ekstypes.ClusterStatusCreating // before that nobody had anything in it
	if lost {
		l.Log.Error("a cluster's control plane was made anew, since its data are gone: what users had in the cluster is lost", "cluster", *c.Resource.Name)
		l.forgetPods(c.Scope, *c.Resource.Name)
	}
	now := l.Clock.Now()
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		name := *c.Resource.Name
		stored := ekssvc.Clusters.Edit(tx, c.Scope, name)
		if stored == nil || stored.ID != c.ID {
			return nil
		}
		stored.Data = data
		if lost {
			stored.Bootstrapped, stored.AutoModeApplied, stored.LostAt = false, "", &now
			reinstall(tx, c.Scope, name)
		}
		ekssvc.Clusters.Put(tx, c.Scope, name, stored)
		return nil
	})
}

// forgetPods gives back the addresses of pods that are gone with their machines.
func (l *Lifecycle) forgetPods(sc awsid.Scope, cluster string) {
	for _, i := range ec2svc.Instances.List(l.Store, sc) {
		if clusterOf(i) == cluster {
			l.Addresses.Forget(*i.InstanceId)
		}
	}
}

// settled are the states in which an add-on's objects are in the cluster, and nobody
// is about to put them there or to take them away.
var settled = []ekstypes.AddonStatus{
	ekstypes.AddonStatusActive, ekstypes.AddonStatusDegraded, ekstypes.AddonStatusUpdateFailed, ekstypes.AddonStatusDeleteFailed,
}

// reinstall marks what the cluster's objects do not have any more.
func reinstall(tx *store.Tx, sc awsid.Scope, cluster string) {
	for _, a := range ekssvc.Addons.ListPrefix(tx, sc, ekssvc.ClusterPrefix(cluster)) {
		if id := ekssvc.ChildID(cluster, *a.Resource.AddonName); slices.Contains(settled, a.Resource.Status) {
			a = ekssvc.Addons.Edit(tx, sc, id)
			a.Reinstall = true
			ekssvc.Addons.Put(tx, sc, id, a)
		}
	}
	for _, p := range ekssvc.Capabilities.ListPrefix(tx, sc, ekssvc.ClusterPrefix(cluster)) {
		if id := ekssvc.ChildID(cluster, *p.Resource.CapabilityName); p.Resource.Status == ekstypes.CapabilityStatusActive {
			p = ekssvc.Capabilities.Edit(tx, sc, id)
			p.Reinstall = true
			ekssvc.Capabilities.Put(tx, sc, id, p)
		}
	}
}

// reinstallAddon installs what an add-on consisted of last. Nobody else has fields of
// its objects: they are new.
func (l *Lifecycle) reinstallAddon(ctx context.Context, c *ekssvc.Cluster, a *ekssvc.Addon, rt *runtime) error {
	if slices.Contains(settled, a.Resource.Status) {
		last := *a
		last.Desired.Version, last.Desired.ConfigurationValues = aws.ToString(a.Resource.AddonVersion), aws.ToString(a.Resource.ConfigurationValues)
		objs, err := l.addonObjects(c, &last)
		if err != nil {
			return err
		}
		if err := rt.provide(ctx, objs); err != nil {
			return err
		}
		if err := rt.applier.apply(ctx, objs, true); err != nil {
			return err
		}
	}
	return l.editAddon(ctx, a, func(_ *store.Tx, now *ekssvc.Addon) bool { now.Reinstall = false; return true })
}

// showLoss shows in the cluster's health that its objects were lost, and that it can be
// reached. It answers when to look again, 0 for never.
func (l *Lifecycle) showLoss(ctx context.Context, c *ekssvc.Cluster) (time.Duration, error) {
	if c.LostAt == nil && !shows(c, ofLoss) {
		return 0, nil
	}
	var issues []ekstypes.ClusterIssue
	left := time.Duration(0)
	if c.LostAt != nil {
		if left = lossShown - l.Clock.Since(*c.LostAt); left > 0 {
			issues = append(issues, lossIssue(c))
		}
	}
	return max(left, 0), l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool {
		over := c.LostAt != nil && len(issues) == 0
		if over {
			c.LostAt = nil
		}
		return setIssues(c, ofLoss, issues) || over
	})
}

// showUnreachable shows in the health of a cluster that was made why its control plane
// does not run.
func (l *Lifecycle) showUnreachable(ctx context.Context, c *ekssvc.Cluster, cause error) error {
	if ctx.Err() != nil {
		return nil // the emulator stops: not the cluster's fault
	}
	issue := ekstypes.ClusterIssue{Code: ekstypes.ClusterIssueCodeClusterUnreachable, Message: aws.String(cause.Error()), ResourceIds: []string{*c.Resource.Arn}}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { return setIssues(c, ofLoss, []ekstypes.ClusterIssue{issue}) })
}

// ofLoss are the codes of both issues: of a cluster that cannot be reached nothing else
// is known.
func ofLoss(code ekstypes.ClusterIssueCode) bool {
	return code == ekstypes.ClusterIssueCodeInternalFailure || code == ekstypes.ClusterIssueCodeClusterUnreachable
}

func shows(c *ekssvc.Cluster, kind func(ekstypes.ClusterIssueCode) bool) bool {
	h := c.Resource.Health
	return h != nil && slices.ContainsFunc(h.Issues, func(i ekstypes.ClusterIssue) bool { return kind(i.Code) })
}

func lossIssue(c *ekssvc.Cluster) ekstypes.ClusterIssue {
	return ekstypes.ClusterIssue{
		Code: ekstypes.ClusterIssueCodeInternalFailure, ResourceIds: []string{*c.Resource.Arn},
		Message: aws.String("The container of the cluster's control plane was removed on the engine, and everything in the cluster with it. At " +
			c.LostAt.UTC().Format(time.RFC3339) + " it was made anew: EKS's own objects and add-ons are installed again and the nodes join again; what was applied to the cluster has to be applied again."),
	}
}
