package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/timing"
)

// Certificate authorities are rotated in the order in which nobody loses sight of the
// API server: its trust in the successor first, then that of the daemon's clients and
// nodes, then the successor's signatures, and at last the end of the trust in the
// outgoing one. What each step should reach is in the record, and what runs is made
// from it: nothing is remembered of how far a step has come.

// applyAuthorities gives the control plane the cluster's signer and trust.
func (l *Lifecycle) applyAuthorities(ctx context.Context, c *ekssvc.Cluster) error {
	info, err := l.Backend.Upgrade(ctx, l.spec(c, c.RunningVersion))
	if err != nil {
		return fmt.Errorf("certificate authorities: %w", err)
	}
	if c.Distributing() != nil {
		return nil // the nodes' turn comes with the distribution
	}
	return l.renewRuntime(c, info)
}

// distributeAuthority makes the daemon's clients and the cluster's nodes trust a
// successor that the control plane trusts already.
func (l *Lifecycle) distributeAuthority(ctx context.Context, c *ekssvc.Cluster) (time.Duration, error) {
	a := c.Distributing()
	if a == nil {
		return 0, nil
	}
	info, err := l.Backend.Upgrade(ctx, l.spec(c, c.RunningVersion))
	if err != nil {
		return 0, fmt.Errorf("distribute a certificate authority: %w", err)
	}
	if err := l.renewRuntime(c, info); err != nil {
		return 0, fmt.Errorf("distribute a certificate authority: %w", err)
	}
	if left := l.left(timing.AuthorityInProgress, a.CreatedAt); left > 0 {
		return left, nil
	}
	return 0, l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { return c.Distributed(a.ID) })
}

// renewRuntime replaces the daemon's side of a cluster whose administrator has other
// credentials than it was made with. Its nodes come back with serving certificates of
// the present signer; nodes, pods and addresses stay, as when the emulator is
// restarted.
func (l *Lifecycle) renewRuntime(c *ekssvc.Cluster, info controlplane.Info) error {
	if rt := l.runtimeOf(c.ID); rt != nil {
		was, is := rt.admin.TLSClientConfig, info.Admin.TLSClientConfig
		if bytes.Equal(was.CAData, is.CAData) && bytes.Equal(was.CertData, is.CertData) {
			return nil
		}
		l.stopRuntime(c.ID)
	}
	_, err := l.ensureRuntime(c, info)
	return err
}
