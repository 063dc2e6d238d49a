package integration

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// slack is how much later than its time a change may be seen on a busy machine.
const slack = 20 * time.Second

// TestRealisticTiming: a cluster takes a hundredth of AWS's 9 minutes, although
// the emulator is killed in the middle; so does what else passes.
func TestRealisticTiming(t *testing.T) {
	w := newWorld(t, start(t, "--timing", "realistic", "--time-scale", "100"))
	const creating = 5400 * time.Millisecond
	name := aws.String("dev")
	c := must(w.eks.CreateCluster(t.Context(), &eks.CreateClusterInput{
		Name: name, RoleArn: &w.clusterRole, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: w.subnets},
	}))(t).Cluster
	nat := must(w.ec2.CreateNatGateway(t.Context(), &ec2.CreateNatGatewayInput{SubnetId: &w.subnets[0], ConnectivityType: ec2types.ConnectivityTypePrivate}))(t)
	w.natIs(t, *nat.NatGateway.NatGatewayId, ec2types.NatGatewayStatePending)
	time.Sleep(time.Until(c.CreatedAt.Add(creating / 3))) // real time is what is tested
	w.kill()
	w.run()
	if got := must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: name}))(t).Cluster.Status; got != ekstypes.ClusterStatusCreating && time.Since(*c.CreatedAt) < creating {
		t.Errorf("after %s of %s the cluster is %s", time.Since(*c.CreatedAt), creating, got)
	}
	w.clusterIs(t, "dev", ekstypes.ClusterStatusActive)
	within(t, "a cluster's creation", time.Since(*c.CreatedAt), creating)
	w.natIs(t, *nat.NatGateway.NatGatewayId, ec2types.NatGatewayStateAvailable)

	began := time.Now()
	w.nodegroup(t, "dev", "ng", 1)
	within(t, "a node group's creation", time.Since(began), 1200*time.Millisecond)
	began = time.Now()
	must(w.eks.DeleteNodegroup(t.Context(), &eks.DeleteNodegroupInput{ClusterName: name, NodegroupName: aws.String("ng")}))(t)
	w.gone(t, func() error {
		_, err := w.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: name, NodegroupName: aws.String("ng")})
		return err
	})
	within(t, "a node group's deletion", time.Since(began), 2100*time.Millisecond)
	cli := newAWS(t, w.env(filepath.Join(t.TempDir(), "kubeconfig")))
	cli.ok(t, "eks", "list-clusters") // its first command takes long
	began = time.Now()
	must(w.eks.DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: name}))(t)
	// Nobody is held: while the cluster is there, this waiter fails as on AWS.
	cli.waitFails(t, terminal+`"cluster.status" we matched expected path: "DELETING"`, "eks", "cluster-active", "--name", "dev")
	w.gone(t, func() error {
		_, err := w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: name})
		return err
	})
	within(t, "a cluster's deletion", time.Since(began), 1500*time.Millisecond)
}

func within(t *testing.T, what string, took, want time.Duration) {
	t.Helper()
	t.Logf("%s took %s", what, took.Round(10*time.Millisecond))
	// Time stamps are cut to milliseconds.
	if took < want-2*time.Millisecond || took > want+slack {
		t.Errorf("%s took %s, want %s", what, took, want)
	}
}

func (w *world) gone(t *testing.T, describe func() error) {
	t.Helper()
	eventually(t, time.Minute, "it is gone", func() error {
		err := describe()
		var absent *ekstypes.ResourceNotFoundException
		if errors.As(err, &absent) {
			return nil
		}
		return errors.Join(err, errors.New("it is there"))
	})
}

func (w *world) natIs(t *testing.T, id string, want ec2types.NatGatewayState) {
	t.Helper()
	out := must(w.ec2.DescribeNatGateways(t.Context(), &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{id}}))(t)
	if got := out.NatGateways[0].State; got != want {
		t.Errorf("NAT gateway is %s, want %s", got, want)
	}
}
