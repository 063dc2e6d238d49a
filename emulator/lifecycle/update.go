package lifecycle

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// updateCluster applies the update in progress and ends it when its time is over,
// even where there is nothing to do but to have written the record.
func (l *Lifecycle) updateCluster(ctx context.Context, c *ekssvc.Cluster) (time.Duration, error) {
	u := ekssvc.Updates.Get(l.Store, c.Scope, ekssvc.ChildID(*c.Resource.Name, c.UpdateID))
	if u == nil { // nothing to wait for: a record of an older emulator
		return 0, l.finishClusterUpdate(ctx, c)
	}
	if err := l.nextInterfaces(ctx, c, u); err != nil {
		if why, ok := refusedMove(c, err); ok {
			return 0, l.moveRefused(ctx, c, u, why)
		}
		return 0, err
	}
	back := u.Resource.Type == ekstypes.UpdateTypeVersionRollback
	if (back || u.Resource.Type == ekstypes.UpdateTypeVersionUpdate) && c.RunningVersion != c.DesiredVersion {
		spec := l.spec(c, c.DesiredVersion)
		spec.Rollback = back
		info, err := l.Backend.Upgrade(ctx, spec)
		if err != nil {
			return 0, fmt.Errorf("update to %s: %w", c.DesiredVersion, err)
		}
		l.Log.Info("cluster updated", "cluster", *c.Resource.Name, "version", info.GitVersion)
		return 0, l.editCluster(ctx, c, func(n *ekssvc.Cluster) bool { n.RunningVersion = c.DesiredVersion; return true })
	}
	phase := timing.ClusterUpdating
	switch u.Resource.Type {
	case ekstypes.UpdateTypeVersionUpdate:
		phase = timing.ClusterUpdatingVersion
	case ekstypes.UpdateTypeCertificateAuthorityUpdate:
		phase = timing.ClusterUpdatingCA
		if err := l.applyAuthorities(ctx, c); err != nil {
			return 0, err
		}
	}
	if left := l.left(phase, u.Resource.CreatedAt); left > 0 {
		return left, nil
	}
	return 0, l.finishClusterUpdate(ctx, c)
}

func (l *Lifecycle) finishClusterUpdate(ctx context.Context, c *ekssvc.Cluster) error {
	name := *c.Resource.Name
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		now := ekssvc.Clusters.Edit(tx, c.Scope, name)
		if now == nil || now.ID != c.ID || now.UpdateID != c.UpdateID || now.Resource.Status != ekstypes.ClusterStatusUpdating {
			return nil
		}
		if now.RunningVersion != "" && now.RunningVersion != aws.ToString(now.Resource.Version) {
			noteVersion(now, l.Clock.Now())
			if v, ok := eksversions.Get(now.RunningVersion); ok {
				now.Resource.PlatformVersion = aws.String(v.PlatformVersion)
			}
		}
		if u := ekssvc.Updates.Get(tx, c.Scope, ekssvc.ChildID(name, c.UpdateID)); u != nil && u.Resource.Type == ekstypes.UpdateTypeCertificateAuthorityUpdate {
			now.AuthoritiesApplied(l.Clock.Now())
		}
		changeInterfaces(now)
		now.Resource.Status, now.UpdateID = ekstypes.ClusterStatusActive, ""
		ekssvc.Clusters.Put(tx, c.Scope, name, now)
		ekssvc.FinishUpdate(tx, c.Scope, name, c.UpdateID)
		ekssvc.FinishIdentityProvider(tx, c.Scope, name)
		return nil
	})
}

// noteVersion shows the version that runs, and remembers the way back from an
// update.
func noteVersion(c *ekssvc.Cluster, now time.Time) {
	from, to := aws.ToString(c.Resource.Version), c.RunningVersion
	c.UpgradedFrom, c.UpgradedAt = "", nil
	if eksversions.Compare(from, to) < 0 {
		c.UpgradedFrom, c.UpgradedAt = from, &now
	}
	c.Resource.Version = &to
}
