package lifecycle

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ekslocal/ekslocal/emulator/podeni"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// TestNodesGone: a node group is not gone before what its instances left in the
// cluster and in the subnets is.
func TestNodesGone(t *testing.T) {
	tests := map[string]struct {
		provider string // of the Node of the instance's name, "" for none
		// successor is the cluster of a live instance with the same address, "" for none.
		successor string
		want      bool
	}{
		"no node":                        {want: true},
		"its node":                       {provider: "i-ended"},
		"the successor's node":           {provider: "i-next", successor: "dev", want: true},
		"its node, which another takes":  {provider: "i-ended", successor: "dev", want: true},
		"its node, another cluster next": {provider: "i-ended", successor: "other"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			ng := &ekssvc.Nodegroup{Scope: n.scope, Resource: ekstypes.Nodegroup{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")}}
			put := func(id, cluster, group string, state ec2types.InstanceStateName) {
				err := n.Store.Update(t.Context(), func(tx *store.Tx) error {
					ec2svc.Instances.Put(tx, n.scope, id, &ec2svc.Instance{Scope: n.scope, Instance: ec2types.Instance{
						InstanceId: &id, PrivateDnsName: aws.String(guardedName), State: &ec2types.InstanceState{Name: state},
						Tags: []ec2types.Tag{{Key: aws.String(tagCluster), Value: &cluster}, {Key: aws.String(tagNodegroup), Value: &group}},
					}})
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			put("i-ended", "dev", "ng", ec2types.InstanceStateNameTerminated)
			if tc.successor != "" {
				put("i-next", tc.successor, "next", ec2types.InstanceStateNameRunning)
			}
			rt := &runtime{nodes: storeOf(t, &corev1.Node{})}
			if tc.provider != "" {
				rt.nodes = storeOf(t, &corev1.Node{}, &corev1.Node{
					ObjectMeta: metav1.ObjectMeta{Name: guardedName}, Spec: corev1.NodeSpec{ProviderID: "aws:///us-east-1a/" + tc.provider},
				})
			}
			branch, err := n.ec2.CreateNetworkInterface(n.ctx, &ec2.CreateNetworkInterfaceInput{
				SubnetId:          &n.cluster().Resource.ResourcesVpcConfig.SubnetIds[0],
				TagSpecifications: tagged(ec2types.ResourceTypeNetworkInterface, map[string]string{podeni.TagOwner: podeni.Owner, podeni.TagInstance: "i-ended"}),
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := n.nodesGone(n.ctx, ng, rt)
			if err != nil || got != tc.want {
				t.Errorf("gone: %v, %v, want %v", got, err, tc.want)
			}
			if left := ec2svc.NetworkInterfaces.Get(n.Store, n.scope, *branch.NetworkInterface.NetworkInterfaceId); got && left != nil {
				t.Error("the group is gone and its pods' interface is not")
			}
		})
	}
}
