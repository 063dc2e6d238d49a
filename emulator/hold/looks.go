package hold

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/fsm"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// look is an operation that shows resources with a life.
type look struct {
	// tables hold what it shows.
	tables []string
	// waiting tells whether the client waits through a state that out shows.
	waiting func(who client, out any) bool
}

// looks are the operations that are held, by service and name.
func looks() map[string]look {
	return map[string]look{
		"eks.DescribeCluster": lookAt(ekssvc.ClusterStates, ekssvc.Clusters.Name(), func(o *eks.DescribeClusterOutput) []ekstypes.ClusterStatus {
			return []ekstypes.ClusterStatus{o.Cluster.Status}
		}),
		"eks.DescribeNodegroup": lookAt(ekssvc.NodegroupStates, ekssvc.Nodegroups.Name(), func(o *eks.DescribeNodegroupOutput) []ekstypes.NodegroupStatus {
			return []ekstypes.NodegroupStatus{o.Nodegroup.Status}
		}),
		"eks.DescribeAddon": lookAt(ekssvc.AddonStates, ekssvc.Addons.Name(), func(o *eks.DescribeAddonOutput) []ekstypes.AddonStatus {
			return []ekstypes.AddonStatus{o.Addon.Status}
		}),
		"eks.DescribeFargateProfile": lookAt(ekssvc.FargateProfileStates, ekssvc.FargateProfiles.Name(), func(o *eks.DescribeFargateProfileOutput) []ekstypes.FargateProfileStatus {
			return []ekstypes.FargateProfileStatus{o.FargateProfile.Status}
		}),
		"eks.DescribeUpdate": lookAt(ekssvc.UpdateStates, ekssvc.Updates.Name(), func(o *eks.DescribeUpdateOutput) []ekstypes.UpdateStatus {
			return []ekstypes.UpdateStatus{o.Update.Status}
		}),
		"ec2.DescribeInstances": lookAt(ec2svc.InstanceStates, ec2svc.Instances.Name(), func(o *ec2.DescribeInstancesOutput) (out []ec2types.InstanceStateName) {
			for _, r := range o.Reservations {
				for _, i := range r.Instances {
					out = append(out, i.State.Name)
				}
			}
			return out
		}),
		"ec2.DescribeNatGateways": lookAt(ec2svc.NatGatewayStates, ec2svc.NatGateways.Name(), func(o *ec2.DescribeNatGatewaysOutput) (out []ec2types.NatGatewayState) {
			for _, n := range o.NatGateways {
				out = append(out, n.State)
			}
			return out
		}),
	}
}

// lookAt is a look whose answers' states are in machine's.
func lookAt[Out any, S ~string](machine *fsm.Machine[S], table string, states func(*Out) []S) look {
	return look{[]string{table}, func(who client, out any) bool {
		o, ok := out.(*Out)
		return ok && slices.ContainsFunc(states(o), func(s S) bool {
			return machine.Passes(s) && through(who, machine.Waiters, s)
		})
	}}
}

// through tells whether the client waits through s. A waiter that says its name is
// told at once what ends it, with its failures in AWS's words; of one that does
// not, it is not known whether s is what it fails with.
func through[S ~string](who client, waiters []fsm.Waiter[S], s S) bool {
	for _, w := range waiters {
		if who.waiter != "" && w.Name == who.waiter {
			return w.Waits(s)
		}
	}
	return true
}
