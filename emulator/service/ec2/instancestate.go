package ec2

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
)

// terminatedFor is how long a terminated instance can still be described.
const terminatedFor = time.Hour

// move changes the state of instances; next says where to, from any state.
func (s *Service) move(ctx context.Context, dryRun *bool, ids []string, next func(*Instance) (types.InstanceStateName, error)) ([]types.InstanceStateChange, error) {
	var changes []types.InstanceStateChange
	err := s.write(ctx, dryRun, func(tx *store.Tx, sc awsid.Scope) error {
		changes = nil
		insts, err := instancesOf(tx, sc, ids)
		if err != nil {
			return err
		}
		for _, inst := range insts {
			to, err := next(inst)
			if err != nil {
				return err
			}
			was := inst.State
			if to != was.Name {
				s.enter(inst, to)
				Instances.Put(tx, sc, *inst.InstanceId, inst)
			}
			changes = append(changes, types.InstanceStateChange{InstanceId: inst.InstanceId, CurrentState: inst.State, PreviousState: was})
		}
		return nil
	})
	return changes, err
}

var instancePhases = map[types.InstanceStateName]timing.Phase{
	types.InstanceStateNamePending:      timing.InstancePending,
	types.InstanceStateNameStopping:     timing.InstanceStopping,
	types.InstanceStateNameShuttingDown: timing.InstanceShuttingDown,
}

// enter puts an instance into a transitional state, which Run ends.
func (s *Service) enter(inst *Instance, to types.InstanceStateName) {
	now := s.now()
	inst.State, inst.Due = state(to), s.due(instancePhases[to])
	switch to {
	case types.InstanceStateNamePending:
		inst.LaunchTime = &now
		inst.StateReason, inst.StateTransitionReason = nil, aws.String("")
	case types.InstanceStateNameShuttingDown, types.InstanceStateNameStopping:
		inst.StateReason = &types.StateReason{
			Code: aws.String("Client.UserInitiatedShutdown"), Message: aws.String("Client.UserInitiatedShutdown: User initiated shutdown"),
		}
		inst.StateTransitionReason = aws.String("User initiated (" + now.Format("2006-01-02 15:04:05") + " GMT)")
	}
}

// TerminateInstances begins the end of instances.
func (s *Service) TerminateInstances(ctx context.Context, in *ec2.TerminateInstancesInput, _ ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error) {
	changes, err := s.move(ctx, in.DryRun, in.InstanceIds, func(inst *Instance) (types.InstanceStateName, error) {
		switch {
		case inst.State.Name == types.InstanceStateNameTerminated:
			return types.InstanceStateNameTerminated, nil
		case inst.DisableApiTermination && !fromService(ctx):
			return "", apiError("OperationNotPermitted", "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", *inst.InstanceId)
		}
		return types.InstanceStateNameShuttingDown, nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.TerminateInstancesOutput{TerminatingInstances: changes}, nil
}

// StopInstances stops instances.
func (s *Service) StopInstances(ctx context.Context, in *ec2.StopInstancesInput, _ ...func(*ec2.Options)) (*ec2.StopInstancesOutput, error) {
	changes, err := s.move(ctx, in.DryRun, in.InstanceIds, func(inst *Instance) (types.InstanceStateName, error) {
		switch {
		case inst.State.Name == types.InstanceStateNameStopped, inst.State.Name == types.InstanceStateNameStopping:
			return inst.State.Name, nil
		case inst.State.Name != types.InstanceStateNameRunning && inst.State.Name != types.InstanceStateNamePending:
			return "", apiError("IncorrectInstanceState", "This instance '%s' is not in a state from which it can be stopped.", *inst.InstanceId)
		case inst.InstanceLifecycle == types.InstanceLifecycleTypeSpot:
			return "", apiError("UnsupportedOperation", "You can't stop the Spot Instance '%s' because it is associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.", *inst.InstanceId)
		case inst.DisableApiStop:
			return "", apiError("OperationNotPermitted", "The instance '%s' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.", *inst.InstanceId)
		}
		return types.InstanceStateNameStopping, nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.StopInstancesOutput{StoppingInstances: changes}, nil
}

// StartInstances starts stopped instances.
func (s *Service) StartInstances(ctx context.Context, in *ec2.StartInstancesInput, _ ...func(*ec2.Options)) (*ec2.StartInstancesOutput, error) {
	changes, err := s.move(ctx, in.DryRun, in.InstanceIds, func(inst *Instance) (types.InstanceStateName, error) {
		switch inst.State.Name {
		case types.InstanceStateNameRunning, types.InstanceStateNamePending:
			return inst.State.Name, nil
		case types.InstanceStateNameStopped:
			return types.InstanceStateNamePending, nil
		}
		return "", apiError("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be started.", *inst.InstanceId)
	})
	if err != nil {
		return nil, err
	}
	return &ec2.StartInstancesOutput{StartingInstances: changes}, nil
}

// RebootInstances accepts a reboot, which changes nothing that EC2 shows.
func (s *Service) RebootInstances(ctx context.Context, in *ec2.RebootInstancesInput, _ ...func(*ec2.Options)) (*ec2.RebootInstancesOutput, error) {
	_, err := s.move(ctx, in.DryRun, in.InstanceIds, func(inst *Instance) (types.InstanceStateName, error) {
		switch inst.State.Name {
		case types.InstanceStateNameRunning, types.InstanceStateNamePending:
			return inst.State.Name, nil
		}
		return "", apiError("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be rebooted.", *inst.InstanceId)
	})
	if err != nil {
		return nil, err
	}
	return &ec2.RebootInstancesOutput{}, nil
}

// arrive ends an instance's transitional state. It returns false for one that
// vanishes.
func (s *Service) arrive(l *ledger, inst *Instance) bool {
	inst.Due = nil
	switch inst.State.Name {
	case types.InstanceStateNamePending:
		inst.State = state(types.InstanceStateNameRunning)
		inst.MetadataOptions.State = types.InstanceMetadataOptionsStateApplied
		if inst.Monitoring.State == types.MonitoringStatePending {
			inst.Monitoring.State = types.MonitoringStateEnabled
		}
		s.givePublicIP(l, inst)
	case types.InstanceStateNameStopping:
		inst.State = state(types.InstanceStateNameStopped)
		s.dropPublicIP(l, inst)
	case types.InstanceStateNameShuttingDown:
		s.releaseInstance(l, inst)
		inst.State = state(types.InstanceStateNameTerminated)
		inst.Due = s.after(terminatedFor)
	case types.InstanceStateNameTerminated:
		return false
	}
	return true
}

// releaseInstance deletes the interfaces and volumes that go with an instance and
// frees the others.
func (s *Service) releaseInstance(l *ledger, inst *Instance) {
	for _, id := range inst.Interfaces {
		eni := NetworkInterfaces.Edit(l.tx, l.sc, id)
		switch {
		case eni == nil:
		case eni.Attachment == nil || aws.ToBool(eni.Attachment.DeleteOnTermination):
			l.dropInterface(eni)
		default:
			detach(eni)
			NetworkInterfaces.Put(l.tx, l.sc, id, eni)
		}
	}
	inst.Interfaces = nil
	for _, m := range inst.BlockDeviceMappings {
		v := Volumes.Edit(l.tx, l.sc, deref(m.Ebs.VolumeId))
		switch {
		case v == nil:
		case aws.ToBool(m.Ebs.DeleteOnTermination):
			Volumes.Delete(l.tx, l.sc, *v.VolumeId)
		default:
			v.Attachments, v.State = nil, types.VolumeStateAvailable
			Volumes.Put(l.tx, l.sc, *v.VolumeId, v)
		}
	}
}

// givePublicIP gives a started instance the public address that it lost when it
// stopped; a new one has its own from launch.
func (s *Service) givePublicIP(l *ledger, inst *Instance) {
	if !inst.PublicIP || len(inst.Interfaces) == 0 {
		return
	}
	eni := NetworkInterfaces.Edit(l.tx, l.sc, inst.Interfaces[0])
	if eni == nil || len(eni.PrivateIpAddresses) == 0 || eni.PrivateIpAddresses[0].Association != nil {
		return
	}
	ip := takePublicIP(l.tx, l.sc, *eni.NetworkInterfaceId)
	eni.PrivateIpAddresses[0].Association = &types.NetworkInterfaceAssociation{PublicIp: &ip, IpOwnerId: aws.String("amazon")}
	NetworkInterfaces.Put(l.tx, l.sc, *eni.NetworkInterfaceId, eni)
}

func (s *Service) dropPublicIP(l *ledger, inst *Instance) {
	if len(inst.Interfaces) == 0 {
		return
	}
	eni := NetworkInterfaces.Edit(l.tx, l.sc, inst.Interfaces[0])
	if eni == nil || len(eni.PrivateIpAddresses) == 0 {
		return
	}
	if a := eni.PrivateIpAddresses[0].Association; a != nil && a.AllocationId == nil {
		dropAssociation(l.tx, l.sc, eni, 0)
		NetworkInterfaces.Put(l.tx, l.sc, *eni.NetworkInterfaceId, eni)
		inst.PublicIP = true
	}
}
