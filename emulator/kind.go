package emulator

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	kindbackend "github.com/ekslocal/ekslocal/emulator/controlplane/kind"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
)

// lateHandler is one that is there after those who have it: control planes of an earlier
// run ask before the endpoint is served.
type lateHandler struct{ h atomic.Pointer[http.Handler] }

func (l *lateHandler) set(h http.Handler) { l.h.Store(&h) }

// ServeHTTP implements http.Handler.
func (l *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := l.h.Load()
	if h == nil {
		http.Error(w, "ekslocal is starting", http.StatusServiceUnavailable)
		return
	}
	(*h).ServeHTTP(w, r)
}

// podEndpoint is where pods reach the emulator, if they are on the kind backend.
func (e *Emulator) podEndpoint(backend string) string {
	if backend != eks.BackendKind {
		return ""
	}
	return e.containers.Endpoint()
}

// kindBackend is there whatever runs clusters by default: a cluster's tag may ask for
// it. It needs no Docker before that.
func (e *Emulator) kindBackend() (*kindbackend.Backend, error) {
	return kindbackend.New(kindbackend.Config{
		RunDir: filepath.Join(e.cfg.DataDir, "kind"), NodeImage: e.cfg.KindNodeImage, HostResources: e.cfg.KindNodeResources == "host", Ended: e.machineEnded, Lost: e.controlPlaneLost,
		Ephemeral: e.cfg.Ephemeral, ListenHost: e.cfg.listenHost(), CertHosts: e.cfg.certHosts(),
		Authenticator: e.authn, Admitter: admission{e}, Usage: usage{e}, AWS: &e.aws, Agents: nodeAgents{e}, Log: e.log, Clock: e.cfg.Clock,
	})
}

// kindVersions are those of the node images. While Docker does not answer they are not
// known: then a cluster is made, and its health says why it does not come up.
func kindVersions(containers *kindbackend.Backend, usual controlplane.Backend) func() []string {
	return func() []string {
		if v := containers.Versions(); len(v) > 0 {
			return v
		}
		return usual.Versions()
	}
}

// defaultBackend is what runs clusters that do not choose, as their records have it.
func (e *Emulator) defaultBackend(ctx context.Context, containers *kindbackend.Backend) string {
	switch e.cfg.Backend {
	case eks.BackendKind:
		return eks.BackendKind
	case "auto":
		err := containers.Usable(ctx)
		if err == nil {
			e.log.Info("clusters are made with kind", "backend", e.cfg.Backend)
			return eks.BackendKind
		}
		e.log.Info("clusters are made without Docker", "backend", e.cfg.Backend, "because", err.Error())
	}
	return ""
}

// controlPlaneLost has the reconcilers make a cluster's control plane anew. Those that are
// not there at the moment do so when they start.
func (e *Emulator) controlPlaneLost(_ context.Context, clusterID string) {
	if lc := e.loops.lifecycle(); lc != nil {
		lc.ControlPlaneLost(clusterID)
	}
}

// machineEnded tells EC2 of an instance whose machine has stopped by itself. What becomes
// of it there the reconcilers see.
func (e *Emulator) machineEnded(ctx context.Context, clusterID, instanceID string) error {
	c := (records{e.store}).find(clusterID)
	if c == nil {
		return nil // deleted meanwhile
	}
	if err := e.ec2.ShutDown(ctx, c.Scope, instanceID); err != nil {
		return fmt.Errorf("telling EC2 that the instance shut down: %w", err)
	}
	return nil
}
