package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/fake"
	"github.com/ekslocal/ekslocal/emulator/pki"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// rotation is a cluster that runs in a fake backend, and EKS.
type rotation struct {
	*network
	backend *fake.Backend
	eks     *ekssvc.Service
	seen    int // calls of the backend that were checked
	last    *controlplane.Spec
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	n := newNetwork(t)
	r := &rotation{network: n, backend: &fake.Backend{Clock: n.Clock}}
	dir := t.TempDir()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // clients wait for it, and do not when they are told to end
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	n.Config.Backend = watched{r.backend, r}
	n.Config.EgressSocket = func(id string) string { return filepath.Join(dir, id[:8]) }
	n.Config.Endpoint = func(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }
	n.Lifecycle = New(n.Config)
	t.Cleanup(func() { r.stopAll() })
	r.eks, err = ekssvc.New(ekssvc.Config{
		Store: n.Store, Clock: n.Clock, Log: slog.New(slog.DiscardHandler), ClusterPorts: [2]int{6500, 6501}, Versions: []string{"1.36"},
		EC2: struct{ ekssvc.EC2 }{}, IAM: struct{ ekssvc.IAM }{}, // not asked about authorities
	})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.NewCA("kubernetes", n.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := n.Clock.Now()
	for _, status := range []ekstypes.ClusterStatus{ekstypes.ClusterStatusCreating, ekstypes.ClusterStatusActive} {
		err = n.Store.Update(t.Context(), func(tx *store.Tx) error {
			c := ekssvc.Clusters.Edit(tx, n.scope, "dev")
			c.CACert, c.CAKey, c.Port = ca.Cert, ca.Key, silent.Addr().(*net.TCPAddr).Port
			c.RunningVersion, c.DesiredVersion, c.Bootstrapped = "1.36", "1.36", true
			c.Resource.Status, c.Resource.Version, c.Resource.CreatedAt = status, aws.String("1.36"), &now
			c.Resource.KubernetesNetworkConfig = &ekstypes.KubernetesNetworkConfigResponse{ServiceIpv4Cidr: aws.String("172.20.0.0/16")}
			ekssvc.Clusters.Put(tx, n.scope, "dev", c)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// watched looks at the daemon's clients when the control plane is about to change.
type watched struct {
	*fake.Backend
	r *rotation
}

func (w watched) Upgrade(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	if rt := w.r.runtimeOf(spec.ID); rt != nil && !bytes.Contains(rt.admin.CAData, spec.PKI.CACert) {
		w.r.t.Error("the daemon's clients do not trust the signer to come")
	}
	return w.Backend.Upgrade(ctx, spec)
}

// restart is a new emulator on the same store.
func (r *rotation) restart() {
	r.stopAll()
	_ = r.backend.Close()
	r.Lifecycle, r.last = New(r.Config), nil
}

// check holds the control planes that were asked for to the order in which nobody loses
// sight of the API server.
func (r *rotation) check() {
	r.t.Helper()
	calls := r.backend.Calls()
	for _, c := range calls[r.seen:] {
		is := c.Spec.PKI
		if !bytes.Contains(is.Bundle(), is.CACert) {
			r.t.Errorf("%s: the signer is not trusted", c.Method)
		}
		if r.last != nil && (!bytes.Contains(r.last.PKI.Bundle(), is.CACert) || !bytes.Contains(is.Bundle(), r.last.PKI.CACert)) {
			r.t.Errorf("%s: the control planes before and after do not trust each other's signer", c.Method)
		}
		r.last = &c.Spec
	}
	r.seen = len(calls)
}

// settle reconciles until nothing is left to do. How tells for each time whether the
// emulator is started anew before, or the backend fails.
func (r *rotation) settle(how int) {
	r.t.Helper()
	clk := r.Clock.(*clocktesting.FakeClock)
	for i := 0; ; i++ {
		fails := how>>i&3 == 2
		if how>>i&1 == 1 {
			r.restart()
		}
		if fails {
			r.backend.NextError(fake.Upgrade, errKilled)
		}
		left, err := r.reconcileCluster(r.ctx, key{r.scope, "dev"})
		if err != nil && !errors.Is(err, errKilled) {
			r.t.Fatal(err)
		}
		r.check()
		clk.Step(left)
		if c := r.cluster(); c.UpdateID == "" && c.Distributing() == nil && i > 6 {
			return
		} else if i > 20 {
			r.t.Fatalf("it does not settle: %+v", c.Resource.Status)
		}
	}
}

// TestRotationSurvivesKills starts the emulator anew, or lets the control plane fail,
// between any two looks at a cluster whose authority is rotated.
func TestRotationSurvivesKills(t *testing.T) {
	for how := range 16 {
		t.Run(fmt.Sprintf("%04b", how), func(t *testing.T) {
			r := newRotation(t)
			name := aws.String("dev")
			r.settle(0)
			first := r.cluster().Signer().ID
			made, err := r.eks.CreateCertificateAuthority(r.ctx, &eks.CreateCertificateAuthorityInput{ClusterName: name})
			if err != nil {
				t.Fatal(err)
			}
			second := made.CertificateAuthority.Id
			r.settle(how)
			if _, err := r.eks.ActivateCertificateAuthority(r.ctx, &eks.ActivateCertificateAuthorityInput{ClusterName: name, CertificateAuthorityId: second}); err != nil {
				t.Fatal(err)
			}
			r.settle(how)
			if _, err := r.eks.DeleteCertificateAuthority(r.ctx, &eks.DeleteCertificateAuthorityInput{ClusterName: name, CertificateAuthorityId: &first}); err != nil {
				t.Fatal(err)
			}
			r.settle(how)
			c := r.cluster()
			if s := c.Signer(); s.ID != *second || !bytes.Equal(c.TrustBundle(), s.Cert) || len(c.Authorities) != 1 {
				t.Errorf("%s signs of %d authorities, want %s", s.ID, len(c.Authorities), *second)
			}
			if got := r.backend.Running()[c.ID].PKI; !got.Equal(r.spec(c, "1.36").PKI) {
				t.Error("the control plane has other authorities than the record")
			}
			if rt := r.runtimeOf(c.ID); !bytes.Equal(rt.admin.CAData, c.TrustBundle()) {
				t.Error("the daemon's clients trust others")
			}
			for _, u := range ekssvc.Updates.List(r.Store, r.scope) {
				if u.Resource.Status != ekstypes.UpdateStatusSuccessful {
					t.Errorf("%+v", u.Resource)
				}
			}
		})
	}
}

// TestDistributionTakesItsTime: a successor is IN_PROGRESS for as long as timing says,
// its update included.
func TestDistributionTakesItsTime(t *testing.T) {
	r := newRotation(t)
	r.settle(0)
	began := r.Clock.Now()
	if _, err := r.eks.CreateCertificateAuthority(r.ctx, &eks.CreateCertificateAuthorityInput{ClusterName: aws.String("dev")}); err != nil {
		t.Fatal(err)
	}
	var updated time.Duration
	for r.cluster().Distributing() != nil {
		left, err := r.reconcileCluster(r.ctx, key{r.scope, "dev"})
		if err != nil {
			t.Fatal(err)
		}
		r.Clock.(*clocktesting.FakeClock).Step(left)
		if r.cluster().UpdateID == "" && updated == 0 {
			updated = r.Clock.Since(began)
		}
	}
	if total := r.Clock.Since(began); updated != time.Second || total != 2*time.Second {
		t.Errorf("updated after %s, distributed after %s", updated, total)
	}
}
