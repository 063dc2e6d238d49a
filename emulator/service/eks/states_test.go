package eks

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/fsm"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func TestMachines(t *testing.T) {
	for _, m := range Machines() {
		for _, p := range m.Problems() {
			t.Error(p)
		}
	}
}

// TestIllegalStep: no transaction can write a step that no cluster takes.
func TestIllegalStep(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	err := w.store.Update(t.Context(), func(tx *store.Tx) error {
		c := Clusters.Edit(tx, w.scope, "dev")
		c.Resource.Status = ekstypes.ClusterStatusCreating
		Clusters.Put(tx, w.scope, "dev", c)
		return nil
	})
	var illegal *fsm.Error
	if !errors.As(err, &illegal) || illegal.From != "ACTIVE" || illegal.To != "CREATING" {
		t.Errorf("writing ACTIVE -> CREATING: %v", err)
	}
	err = w.store.Update(t.Context(), func(tx *store.Tx) error { Clusters.Delete(tx, w.scope, "dev"); return nil })
	if !errors.As(err, &illegal) || illegal.To != "" {
		t.Errorf("deleting an ACTIVE cluster's record: %v", err)
	}
	got := must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})).Cluster.Status
	if got != ekstypes.ClusterStatusActive {
		t.Errorf("the record is %s", got)
	}
}
