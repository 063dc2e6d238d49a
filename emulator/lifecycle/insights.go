package lifecycle

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// insightsEvery is how often EKS checks a cluster by itself ("View cluster
// insights").
const insightsEvery = 24 * time.Hour

// reconcileInsights checks a cluster when it is due: first when it is ACTIVE, then
// every day, after a version update and when somebody asked.
func (l *Lifecycle) reconcileInsights(ctx context.Context, k key) (time.Duration, error) {
	c := ekssvc.Clusters.Get(l.Store, k.Scope, k.ID)
	if c == nil || c.Resource.Status != ekstypes.ClusterStatusActive && c.Resource.Status != ekstypes.ClusterStatusUpdating {
		return 0, nil
	}
	rt := l.runtimeOf(c.ID)
	if rt == nil || !c.Bootstrapped {
		return 0, nil // the runtime's start, or the cluster's change, enqueues it
	}
	ctx, done := rt.during(ctx)
	defer done()
	if !rt.nodes.HasSynced() {
		return minVisible / 4, nil
	}
	r := ekssvc.InsightsRefreshes.Get(l.Store, k.Scope, k.ID)
	if wait := l.insightsDue(c, r); wait > 0 {
		return wait, nil
	}
	if err := l.checkInsights(ctx, c, rt); err != nil {
		return 0, err
	}
	return insightsEvery, nil
}

// insightsDue is how long the next check has time.
func (l *Lifecycle) insightsDue(c *ekssvc.Cluster, r *ekssvc.InsightsRefresh) time.Duration {
	switch {
	case r == nil:
		return 0
	case r.Status == ekstypes.InsightsRefreshStatusInProgress:
		return minVisible - l.Clock.Since(aws.ToTime(r.StartedAt))
	case r.EndedAt == nil, c.UpgradedAt != nil && c.UpgradedAt.After(*r.EndedAt):
		return 0
	}
	return insightsEvery - l.Clock.Since(*r.EndedAt)
}

// CheckInsights implements eks.InsightsChecker.
func (l *Lifecycle) CheckInsights(ctx context.Context, scope awsid.Scope, cluster string) error {
	c := ekssvc.Clusters.Get(l.Store, scope, cluster)
	if c == nil {
		return nil
	}
	rt := l.runtimeOf(c.ID)
	if rt == nil || !rt.nodes.HasSynced() {
		return nil // what is known decides
	}
	return l.checkInsights(ctx, c, rt)
}

// checkInsights runs all checks and replaces the cluster's insights. One that stays
// keeps its id, and the time of its status.
func (l *Lifecycle) checkInsights(ctx context.Context, c *ekssvc.Cluster, rt *runtime) error {
	known, err := l.factsOf(ctx, c, rt)
	if err != nil {
		return err
	}
	found := checkAll(known)
	name, now := rt.name, l.Clock.Now().UTC().Truncate(time.Millisecond)
	err = l.Store.Update(ctx, func(tx *store.Tx) error {
		if ekssvc.Clusters.Get(tx, c.Scope, name) == nil {
			return nil
		}
		old := map[string]*ekssvc.Insight{}
		for _, i := range ekssvc.Insights.ListPrefix(tx, c.Scope, ekssvc.ClusterPrefix(name)) {
			old[insightKey(i.Resource)] = i
		}
		for _, r := range found {
			r.Id, r.LastRefreshTime, r.LastTransitionTime = aws.String(awsid.NewUUID()), &now, &now
			if o := old[insightKey(r)]; o != nil {
				r.Id = o.Resource.Id
				if o.Resource.InsightStatus.Status == r.InsightStatus.Status {
					r.LastTransitionTime = o.Resource.LastTransitionTime
				}
				delete(old, insightKey(r))
			}
			ekssvc.Insights.Put(tx, c.Scope, ekssvc.ChildID(name, *r.Id), &ekssvc.Insight{Resource: r, Scope: c.Scope, Cluster: name})
		}
		for _, o := range old {
			ekssvc.Insights.Delete(tx, c.Scope, ekssvc.ChildID(name, *o.Resource.Id))
		}
		r := ekssvc.InsightsRefreshes.Edit(tx, c.Scope, name)
		if r == nil {
			r = &ekssvc.InsightsRefresh{Scope: c.Scope, Cluster: name, StartedAt: &now}
		}
		r.Finish(now)
		ekssvc.InsightsRefreshes.Put(tx, c.Scope, name, r)
		return nil
	})
	if err != nil {
		return fmt.Errorf("insights of cluster %s: %w", name, err)
	}
	return nil
}

func insightKey(i ekstypes.Insight) string {
	return string(i.Category) + "/" + aws.ToString(i.Name) + "/" + aws.ToString(i.KubernetesVersion)
}

// factsOf collects what the checks look at.
func (l *Lifecycle) factsOf(ctx context.Context, c *ekssvc.Cluster, rt *runtime) (facts, error) {
	f := facts{
		version: aws.ToString(c.Resource.Version), rollback: c.RollbackTarget(l.Clock.Now()), now: l.Clock.Now(),
		addons: ekssvc.Addons.ListPrefix(l.Store, c.Scope, ekssvc.ClusterPrefix(rt.name)),
		uses:   ekssvc.DeprecatedUses.ListPrefix(l.Store, c.Scope, ekssvc.ClusterPrefix(rt.name)),
	}
	if c.Resource.Health != nil {
		f.health = c.Resource.Health.Issues
	}
	for _, o := range rt.nodes.GetStore().List() {
		if n, ok := o.(*corev1.Node); ok {
			f.nodes = append(f.nodes, nodeFacts{n.Name, minorOf(n.Status.NodeInfo.KubeletVersion), n.Status.NodeInfo.OSImage})
		}
	}
	// Not from the cache: in a new cluster it may not have what was just installed.
	switch d, err := rt.client.AppsV1().DaemonSets(metav1.NamespaceSystem).Get(ctx, "kube-proxy", metav1.GetOptions{}); {
	case err == nil:
		f.kubeProxy = kubeProxyVersion(d)
	case !apierrors.IsNotFound(err):
		return f, fmt.Errorf("insights: %w", err)
	}
	return f, nil
}

// kubeProxyVersion is the minor version of a DaemonSet's image, empty if the tag
// does not tell.
func kubeProxyVersion(d *appsv1.DaemonSet) string {
	for i := range d.Spec.Template.Spec.Containers {
		image := d.Spec.Template.Spec.Containers[i].Image
		if tag := image[strings.LastIndexByte(image, ':')+1:]; minorOf(tag) != "" {
			return minorOf(tag)
		}
	}
	return ""
}

// minorOf is the minor version of text such as v1.34.2-eks-113cf36.
func minorOf(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[0] + "." + parts[1]
}
