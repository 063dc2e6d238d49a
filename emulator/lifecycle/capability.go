package lifecycle

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/addons"
)

// A capability's states and what ends each:
//
//	CREATING  its kinds are in the cluster and served -> ACTIVE
//	ACTIVE    a handler's update -> UPDATING, or deletion -> DELETING
//	UPDATING  as CREATING
//	DELETING  no record; its kinds stay (RETAIN)
func (l *Lifecycle) reconcileCapability(ctx context.Context, k key) (time.Duration, error) {
	p := ekssvc.Capabilities.Get(l.Store, k.Scope, k.ID)
	if p == nil {
		return 0, nil
	}
	c := ekssvc.Clusters.Get(l.Store, k.Scope, *p.Resource.ClusterName)
	if c == nil {
		return 0, nil
	}
	rt := l.runtimeOf(c.ID)
	if rt == nil {
		return 0, nil // the runtime's start enqueues the cluster's capabilities
	}
	ctx, done := rt.during(ctx)
	defer done()
	if left := minVisible - l.Clock.Since(aws.ToTime(p.Resource.ModifiedAt)); left > 0 {
		return left, nil
	}
	switch {
	case p.Reinstall, p.Resource.Status == ekstypes.CapabilityStatusCreating, p.Resource.Status == ekstypes.CapabilityStatusUpdating:
		objs, err := addons.CapabilityObjects(string(p.Resource.Type), argoNamespace(p))
		if err != nil {
			return 0, err
		}
		if err := rt.applier.apply(ctx, objs, true); err != nil {
			return 0, fmt.Errorf("install capability %s: %w", k.ID, err)
		}
		if served, err := rt.applier.served(ctx, objs); err != nil || !served {
			return servedAgain, err
		}
	case p.Resource.Status == ekstypes.CapabilityStatusDeleting:
	default:
		return 0, nil
	}
	return 0, l.Store.Update(ctx, func(tx *store.Tx) error { return finishCapability(tx, k, p) })
}

func argoNamespace(p *ekssvc.Capability) string {
	if cfg := p.Resource.Configuration; cfg != nil && cfg.ArgoCd != nil {
		return aws.ToString(cfg.ArgoCd.Namespace)
	}
	return ""
}

// finishCapability ends the state that was worked on, if it still is the
// capability's.
func finishCapability(tx *store.Tx, k key, p *ekssvc.Capability) error {
	now := ekssvc.Capabilities.Edit(tx, k.Scope, k.ID)
	if now == nil || now.ID != p.ID || now.Generation != p.Generation {
		return nil
	}
	if now.Resource.Status == ekstypes.CapabilityStatusDeleting {
		ekssvc.Capabilities.Delete(tx, k.Scope, k.ID)
		return nil
	}
	now.Resource.Status, now.Reinstall = ekstypes.CapabilityStatusActive, false
	if now.UpdateID != "" {
		ekssvc.FinishUpdate(tx, k.Scope, *now.Resource.ClusterName, now.UpdateID)
		now.UpdateID = ""
	}
	ekssvc.Capabilities.Put(tx, k.Scope, k.ID, now)
	return nil
}
