package emulator

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane/fake"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// stubborn is a backend that does not delete one control plane.
type stubborn struct {
	*fake.Backend
	t    *testing.T
	ctx  context.Context // of whoever resets
	keep string
	s    *store.Store
}

func (b *stubborn) Delete(ctx context.Context, id string) error {
	if ctx != b.ctx {
		b.t.Errorf("the failure of another deletion would end that of %s", id)
	}
	for _, c := range eks.Clusters.ListAll(b.s) {
		if c.Resource.Status != ekstypes.ClusterStatusDeleting || c.DeletedAt == nil {
			b.t.Errorf("%s is %s while %s is deleted", c.ID, c.Resource.Status, id)
		}
	}
	if id == b.keep {
		return errors.New("no engine")
	}
	return b.Backend.Delete(ctx, id)
}

// TestWipe: one control plane that cannot be deleted keeps the state, in which all clusters
// are deleted, and none of the others.
func TestWipe(t *testing.T) {
	s, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	sc := awsid.Scope{Account: awsid.DefaultAccount, Region: "us-east-1"}
	b := &stubborn{Backend: &fake.Backend{}, t: t, ctx: t.Context(), keep: "active", s: s}
	for name, states := range map[string][]ekstypes.ClusterStatus{
		"creating": {ekstypes.ClusterStatusCreating}, "active": {ekstypes.ClusterStatusCreating, ekstypes.ClusterStatusActive},
		"failed":   {ekstypes.ClusterStatusCreating, ekstypes.ClusterStatusFailed},
		"updating": {ekstypes.ClusterStatusCreating, ekstypes.ClusterStatusActive, ekstypes.ClusterStatusUpdating},
	} {
		for _, status := range states {
			err := s.Update(t.Context(), func(tx *store.Tx) error {
				eks.Clusters.Put(tx, sc, name, &eks.Cluster{ID: name, Scope: sc, Resource: ekstypes.Cluster{Name: aws.String(name), Status: status}})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := wipe(b.ctx, s, b, time.Now()); err == nil || !strings.Contains(err.Error(), "cluster active: no engine") {
		t.Errorf("wipe: %v", err)
	}
	if n := len(b.Calls()); n != 3 {
		t.Errorf("%d control planes of 3 were deleted", n)
	}
	if n := len(eks.Clusters.ListAll(s)); n != 4 {
		t.Errorf("%d records of 4 are left", n)
	}
	b.keep = ""
	if err := wipe(b.ctx, s, b, time.Now()); err != nil || len(eks.Clusters.ListAll(s)) > 0 {
		t.Errorf("wipe again: %v, %d records", err, len(eks.Clusters.ListAll(s)))
	}
}
