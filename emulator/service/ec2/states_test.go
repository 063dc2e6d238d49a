package ec2

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

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

// TestIllegalStep: no transaction can raise an instance from the dead.
func TestIllegalStep(t *testing.T) {
	f := newFixture(t)
	sub := f.subnet(f.vpc("10.0.0.0/16"), "10.0.0.0/24", "us-east-1a")
	id := *f.run(sub, "t3.small", 1)[0].InstanceId
	set := func(to types.InstanceStateName) error {
		return f.store.Update(t.Context(), func(tx *store.Tx) error {
			i := Instances.Edit(tx, f.sc, id)
			i.State = state(to)
			Instances.Put(tx, f.sc, id, i)
			return nil
		})
	}
	var illegal *fsm.Error
	if err := set(types.InstanceStateNameStopped); !errors.As(err, &illegal) {
		t.Errorf("pending to stopped: %v", err)
	}
	for _, to := range []types.InstanceStateName{types.InstanceStateNameShuttingDown, types.InstanceStateNameTerminated} {
		if err := set(to); err != nil {
			t.Fatal(err)
		}
	}
	if err := set(types.InstanceStateNameRunning); !errors.As(err, &illegal) {
		t.Errorf("terminated to running: %v", err)
	}
}
