package lifecycle

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/ekslocal/ekslocal/emulator/fargate"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// autoNode is the value of the compute type label on EKS Auto Mode's nodes.
const autoNode = "auto"

// rollbackPoll is how often the nodes of a rollback are counted.
const rollbackPoll = 2 * time.Second

// rollBackNodes is the first part of a version rollback in EKS Auto Mode: the
// cluster stays ACTIVE until no Auto Mode node is newer than the version to go back
// to. It can be cancelled, and gives up in the end ("Rollback EKS Auto Mode
// clusters"). Replacing the nodes is Auto Mode's work, which is not emulated:
// whoever makes such nodes takes them away.
func (l *Lifecycle) rollBackNodes(ctx context.Context, c *ekssvc.Cluster) (time.Duration, error) {
	name := *c.Resource.Name
	u := ekssvc.Updates.Get(l.Store, c.Scope, ekssvc.ChildID(name, c.UpdateID))
	if u == nil || u.Resource.Type != ekstypes.UpdateTypeVersionRollback {
		return 0, nil
	}
	age := l.Clock.Since(aws.ToTime(u.Resource.CreatedAt))
	if cancelled := u.Resource.Cancellation; cancelled != nil && cancelled.Status == ekstypes.CancellationStatusInProgress {
		return 0, l.endRollback(ctx, c, func(tx *store.Tx) { ekssvc.FinishCancellation(tx, c.Scope, name, c.UpdateID) })
	}
	switch rt := l.runtimeOf(c.ID); {
	case rt == nil || !rt.nodes.HasSynced():
		return minVisible / 4, nil
	case age < minVisible:
		return minVisible - age, nil // the status can be seen, and the update cancelled
	case len(newerAutoNodes(rt, c.DesiredVersion)) == 0:
		return 0, l.editCluster(ctx, c, func(now *ekssvc.Cluster) bool {
			if now.UpdateID != c.UpdateID || now.Resource.Status != ekstypes.ClusterStatusActive || now.Generation != c.Generation {
				return false // cancelled in this moment
			}
			now.Resource.Status = ekstypes.ClusterStatusUpdating
			return true
		})
	case age > c.RollbackTimeout:
		return 0, l.endRollback(ctx, c, func(tx *store.Tx) {
			ekssvc.FinishUpdate(tx, c.Scope, name, c.UpdateID, ekstypes.ErrorDetail{
				ErrorCode: ekstypes.ErrorCodeUnknown, ErrorMessage: aws.String("The nodes were not rolled back within the timeout."), ResourceIds: newerAutoNodes(rt, c.DesiredVersion),
			})
		})
	}
	return rollbackPoll, nil
}

// endRollback frees the cluster of a rollback whose control plane part has not
// begun.
func (l *Lifecycle) endRollback(ctx context.Context, c *ekssvc.Cluster, finish func(tx *store.Tx)) error {
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		now := ekssvc.Clusters.Edit(tx, c.Scope, *c.Resource.Name)
		if now == nil || now.ID != c.ID || now.UpdateID != c.UpdateID || now.Resource.Status != ekstypes.ClusterStatusActive {
			return nil
		}
		now.DesiredVersion, now.UpdateID = now.RunningVersion, ""
		ekssvc.Clusters.Put(tx, c.Scope, *c.Resource.Name, now)
		finish(tx)
		return nil
	})
}

// newerAutoNodes are the Auto Mode nodes whose kubelets are newer than a version.
func newerAutoNodes(rt *runtime, version string) (names []string) {
	for _, o := range rt.nodes.GetStore().List() {
		n, ok := o.(*corev1.Node)
		if !ok || n.Labels[fargate.ComputeType] != autoNode {
			continue
		}
		if ahead, ok := eksversions.Minors(version, minorOf(n.Status.NodeInfo.KubeletVersion)); ok && ahead > 0 {
			names = append(names, n.Name)
		}
	}
	return names
}
