package emulator

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/lifecycle"
)

// nodeAgents answers real nodes with the reconcilers that run at the time.
type nodeAgents struct{ e *Emulator }

var _ controlplane.NodeAgents = nodeAgents{}

func (n nodeAgents) now() (*lifecycle.Lifecycle, error) {
	if lc := n.e.loops.lifecycle(); lc != nil {
		return lc, nil
	}
	return nil, fmt.Errorf("%w: the emulator is starting", controlplane.ErrNoAgent)
}

// AddPod implements controlplane.NodeAgents.
func (n nodeAgents) AddPod(ctx context.Context, clusterID, instanceID string, s controlplane.Sandbox) (netip.Addr, error) {
	lc, err := n.now()
	if err != nil {
		return netip.Addr{}, err
	}
	return lc.AddPod(ctx, clusterID, instanceID, s)
}

// DelPod implements controlplane.NodeAgents.
func (n nodeAgents) DelPod(ctx context.Context, clusterID, instanceID string, s controlplane.Sandbox) error {
	lc, err := n.now()
	if err != nil {
		return err
	}
	return lc.DelPod(ctx, clusterID, instanceID, s)
}

// Daemon implements controlplane.NodeAgents.
func (n nodeAgents) Daemon(ctx context.Context, clusterID, instanceID string, start controlplane.DaemonStart, report func(controlplane.DaemonReport) error) error {
	lc, err := n.now()
	if err != nil {
		return err
	}
	return lc.Daemon(ctx, clusterID, instanceID, start, report)
}

// Sandboxes implements controlplane.NodeAgents.
func (n nodeAgents) Sandboxes(ctx context.Context, clusterID, instanceID string, all []controlplane.Sandbox) error {
	lc, err := n.now()
	if err != nil {
		return err
	}
	return lc.Sandboxes(ctx, clusterID, instanceID, all)
}

// PodCredentials implements controlplane.NodeAgents.
func (n nodeAgents) PodCredentials(ctx context.Context, clusterID, instanceID, token string) (controlplane.PodCredentials, error) {
	lc, err := n.now()
	if err != nil {
		return controlplane.PodCredentials{}, err
	}
	return lc.PodCredentials(ctx, clusterID, instanceID, token)
}
