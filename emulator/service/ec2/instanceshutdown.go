package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// ShutDown is what becomes of an instance whose operating system shuts down: it stops or
// is terminated, as its shutdown behaviour says. One that does not run is left alone.
func (s *Service) ShutDown(ctx context.Context, sc awsid.Scope, id string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		inst := Instances.Edit(tx, sc, id)
		if inst == nil || inst.State == nil || inst.State.Name != types.InstanceStateNameRunning {
			return nil
		}
		to := types.InstanceStateNameStopping
		// A Spot Instance of a one-time request cannot be started again.
		if inst.ShutdownBehavior == types.ShutdownBehaviorTerminate || inst.InstanceLifecycle == types.InstanceLifecycleTypeSpot {
			to = types.InstanceStateNameShuttingDown
		}
		s.enter(inst, to)
		inst.StateReason = &types.StateReason{
			Code: aws.String("Client.InstanceInitiatedShutdown"), Message: aws.String("Client.InstanceInitiatedShutdown: Instance initiated shutdown"),
		}
		inst.StateTransitionReason = aws.String("")
		Instances.Put(tx, sc, id, inst)
		return nil
	})
}
