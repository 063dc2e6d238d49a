package ec2

import (
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/fsm"
)

// InstanceStates is the life of an instance.
var InstanceStates = &fsm.Machine[types.InstanceStateName]{
	Name: "ec2 instance", Member: "Reservations[].Instances[].State.Name",
	Passing: []types.InstanceStateName{types.InstanceStateNamePending, types.InstanceStateNameStopping, types.InstanceStateNameShuttingDown},
	Transitions: []fsm.Transition[types.InstanceStateName]{
		{To: types.InstanceStateNamePending, By: fsm.Call, On: "RunInstances"},
		{From: types.InstanceStateNamePending, To: types.InstanceStateNameRunning, By: fsm.Work, On: "booted"},
		{From: types.InstanceStateNamePending, To: types.InstanceStateNameStopping, By: fsm.Call, On: "StopInstances"},
		{From: types.InstanceStateNamePending, To: types.InstanceStateNameShuttingDown, By: fsm.Call, On: "TerminateInstances"},
		{From: types.InstanceStateNameRunning, To: types.InstanceStateNameStopping, By: fsm.Call, On: "StopInstances"},
		{From: types.InstanceStateNameRunning, To: types.InstanceStateNameShuttingDown, By: fsm.Call, On: "TerminateInstances"},
		{From: types.InstanceStateNameStopping, To: types.InstanceStateNameStopped, By: fsm.Work, On: "shut down"},
		{From: types.InstanceStateNameStopping, To: types.InstanceStateNameShuttingDown, By: fsm.Call, On: "TerminateInstances"},
		{From: types.InstanceStateNameStopped, To: types.InstanceStateNamePending, By: fsm.Call, On: "StartInstances"},
		{From: types.InstanceStateNameStopped, To: types.InstanceStateNameShuttingDown, By: fsm.Call, On: "TerminateInstances"},
		{From: types.InstanceStateNameShuttingDown, To: types.InstanceStateNameTerminated, By: fsm.Work, On: "shut down; interfaces and volumes are released"},
		{From: types.InstanceStateNameTerminated, By: fsm.Work, On: "an hour later"},
	},
	Waiters: []fsm.Waiter[types.InstanceStateName]{
		{
			Name: "InstanceRunning", Operation: "DescribeInstances", Success: []types.InstanceStateName{types.InstanceStateNameRunning},
			Failure: []types.InstanceStateName{types.InstanceStateNameShuttingDown, types.InstanceStateNameTerminated, types.InstanceStateNameStopping},
		},
		{
			Name: "InstanceStopped", Operation: "DescribeInstances", Success: []types.InstanceStateName{types.InstanceStateNameStopped},
			Failure: []types.InstanceStateName{types.InstanceStateNamePending, types.InstanceStateNameTerminated},
		},
		{
			Name: "InstanceTerminated", Operation: "DescribeInstances", Success: []types.InstanceStateName{types.InstanceStateNameTerminated},
			Failure: []types.InstanceStateName{types.InstanceStateNamePending, types.InstanceStateNameStopping},
		},
	},
}

// NatGatewayStates is the life of a NAT gateway.
var NatGatewayStates = &fsm.Machine[types.NatGatewayState]{
	Name: "ec2 nat gateway", Member: "NatGateways[].State",
	Passing: []types.NatGatewayState{types.NatGatewayStatePending, types.NatGatewayStateDeleting},
	Transitions: []fsm.Transition[types.NatGatewayState]{
		{To: types.NatGatewayStatePending, By: fsm.Call, On: "CreateNatGateway"},
		{To: types.NatGatewayStateFailed, By: fsm.Call, On: "CreateNatGateway with an Elastic IP or a VPC that does not do"},
		{From: types.NatGatewayStatePending, To: types.NatGatewayStateAvailable, By: fsm.Work, On: "provisioned"},
		{From: types.NatGatewayStatePending, To: types.NatGatewayStateDeleting, By: fsm.Call, On: "DeleteNatGateway"},
		{From: types.NatGatewayStateAvailable, To: types.NatGatewayStateDeleting, By: fsm.Call, On: "DeleteNatGateway"},
		{From: types.NatGatewayStateFailed, To: types.NatGatewayStateDeleting, By: fsm.Call, On: "DeleteNatGateway"},
		{From: types.NatGatewayStateDeleting, To: types.NatGatewayStateDeleted, By: fsm.Work, On: "its interface is released"},
		{From: types.NatGatewayStateDeleted, By: fsm.Work, On: "an hour later"},
		{From: types.NatGatewayStateFailed, By: fsm.Work, On: "an hour later"},
	},
	Waiters: []fsm.Waiter[types.NatGatewayState]{
		{
			Name: "NatGatewayAvailable", Operation: "DescribeNatGateways", Success: []types.NatGatewayState{types.NatGatewayStateAvailable},
			Failure: []types.NatGatewayState{types.NatGatewayStateFailed, types.NatGatewayStateDeleting, types.NatGatewayStateDeleted},
		},
		{Name: "NatGatewayDeleted", Operation: "DescribeNatGateways", Success: []types.NatGatewayState{types.NatGatewayStateDeleted}, Gone: true},
	},
}

// VolumeStates is the life of a volume.
var VolumeStates = &fsm.Machine[types.VolumeState]{
	Name: "ec2 volume", Member: "Volumes[].State",
	Transitions: []fsm.Transition[types.VolumeState]{
		{To: types.VolumeStateInUse, By: fsm.Call, On: "RunInstances"},
		{To: types.VolumeStateAvailable, By: fsm.Call, On: "CreateVolume"},
		{From: types.VolumeStateAvailable, To: types.VolumeStateInUse, By: fsm.Call, On: "AttachVolume"},
		{From: types.VolumeStateInUse, To: types.VolumeStateAvailable, By: fsm.Work, On: "its instance is terminated, or DetachVolume"},
		{From: types.VolumeStateInUse, By: fsm.Work, On: "its instance is terminated, DeleteOnTermination"},
		{From: types.VolumeStateAvailable, By: fsm.Call, On: "DeleteVolume"},
	},
	Waiters: []fsm.Waiter[types.VolumeState]{
		{
			Name: "VolumeAvailable", Operation: "DescribeVolumes", Success: []types.VolumeState{types.VolumeStateAvailable},
			Failure: []types.VolumeState{types.VolumeStateDeleted},
		},
		{Name: "VolumeDeleted", Operation: "DescribeVolumes", Gone: true},
		{Name: "VolumeInUse", Operation: "DescribeVolumes", Success: []types.VolumeState{types.VolumeStateInUse}, Failure: []types.VolumeState{types.VolumeStateDeleted}},
	},
}

// NetworkInterfaceStates is the life of a network interface: in-use while it has
// an attachment, which is attached from its first moment to its last.
var NetworkInterfaceStates = &fsm.Machine[types.NetworkInterfaceStatus]{
	Name: "ec2 network interface", Member: "NetworkInterfaces[].Status",
	Transitions: []fsm.Transition[types.NetworkInterfaceStatus]{
		{To: types.NetworkInterfaceStatusAvailable, By: fsm.Call, On: "CreateNetworkInterface"},
		{To: types.NetworkInterfaceStatusInUse, By: fsm.Call, On: "RunInstances, CreateNatGateway, and services for themselves"},
		{From: types.NetworkInterfaceStatusAvailable, To: types.NetworkInterfaceStatusInUse, By: fsm.Call, On: "AttachNetworkInterface, RunInstances"},
		{From: types.NetworkInterfaceStatusInUse, To: types.NetworkInterfaceStatusAvailable, By: fsm.Call, On: "DetachNetworkInterface, or its instance is terminated"},
		{From: types.NetworkInterfaceStatusAvailable, By: fsm.Call, On: "DeleteNetworkInterface"},
		{From: types.NetworkInterfaceStatusInUse, By: fsm.Work, On: "what it was made with is gone"},
	},
	Waiters: []fsm.Waiter[types.NetworkInterfaceStatus]{
		{Name: "NetworkInterfaceAvailable", Operation: "DescribeNetworkInterfaces", Success: []types.NetworkInterfaceStatus{types.NetworkInterfaceStatusAvailable}},
	},
}

// Machines are the lives of EC2's resources that have more than one state.
func Machines() []fsm.Table {
	return []fsm.Table{InstanceStates.Table(), NatGatewayStates.Table(), VolumeStates.Table(), NetworkInterfaceStates.Table()}
}

// Follows implements the store's check.
func (i *Instance) Follows(old *Instance) error {
	return InstanceStates.Check(old.stateName(), i.stateName())
}

// Follows implements the store's check.
func (n *NatGateway) Follows(old *NatGateway) error {
	return NatGatewayStates.Check(old.stateName(), n.stateName())
}

// Follows implements the store's check.
func (v *Volume) Follows(old *Volume) error {
	return VolumeStates.Check(old.stateName(), v.stateName())
}

// Follows implements the store's check.
func (e *NetworkInterface) Follows(old *NetworkInterface) error {
	return NetworkInterfaceStates.Check(old.stateName(), e.stateName())
}

func (i *Instance) stateName() types.InstanceStateName {
	if i == nil || i.State == nil {
		return ""
	}
	return i.State.Name
}

func (n *NatGateway) stateName() types.NatGatewayState {
	if n == nil {
		return ""
	}
	return n.State
}

func (v *Volume) stateName() types.VolumeState {
	if v == nil {
		return ""
	}
	return v.State
}

func (e *NetworkInterface) stateName() types.NetworkInterfaceStatus {
	if e == nil {
		return ""
	}
	return e.Status
}
