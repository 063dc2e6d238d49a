package emulator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Reset implements admin.Emulator: everything is gone when it returns. After an error, or
// a crash in the middle, all clusters are on their way to be deleted.
func (v adminView) Reset(ctx context.Context) error {
	v.resetting.Lock()
	defer v.resetting.Unlock()
	v.loops.stop()
	defer v.loops.start(v.life)
	if err := wipe(ctx, v.store, v.backend, v.cfg.Clock.Now()); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	v.gate.Forget()
	return nil
}

// wipe deletes all control planes and then all records. A control plane that is deleted
// while its cluster seems to be there would be made again, empty: the clusters are DELETING
// before. One that cannot be deleted keeps none of the others.
func wipe(ctx context.Context, s *store.Store, backend controlplane.Backend, now time.Time) error {
	if err := s.Update(ctx, func(tx *store.Tx) error { return condemn(tx, now) }); err != nil {
		return err
	}
	// Each has a process that takes its time to end.
	clusters := eks.Clusters.ListAll(s)
	errs := make([]error, len(clusters))
	var wg sync.WaitGroup
	for i, c := range clusters {
		wg.Go(func() {
			if err := backend.Delete(ctx, c.ID); err != nil {
				errs[i] = fmt.Errorf("cluster %s: %w", *c.Resource.Name, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.Clear(ctx)
}

// condemn makes all clusters DELETING.
func condemn(tx *store.Tx, now time.Time) error {
	for _, c := range eks.Clusters.ListAll(tx) {
		if c.Resource.Status == ekstypes.ClusterStatusDeleting {
			continue
		}
		name := *c.Resource.Name
		c = eks.Clusters.Edit(tx, c.Scope, name)
		c.Resource.Status, c.DeletedAt = ekstypes.ClusterStatusDeleting, &now
		c.Generation++
		eks.Clusters.Put(tx, c.Scope, name, c)
	}
	return nil
}
