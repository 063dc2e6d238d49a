package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

var errKilled = errors.New("killed")

// mortal is EC2 in the eyes of an emulator that is killed after its nth change:
// the change is made, and nobody hears of it.
type mortal struct {
	*ec2svc.Service
	left int // changes to live for
}

func change[In, Out any](m *mortal, ctx context.Context, in *In, f func(context.Context, *In, ...func(*ec2.Options)) (*Out, error)) (*Out, error) {
	if m.left == 0 {
		return nil, errKilled
	}
	out, err := f(ctx, in)
	if m.left--; m.left == 0 {
		return nil, errKilled
	}
	return out, err
}

func (m *mortal) CreateSecurityGroup(ctx context.Context, in *ec2.CreateSecurityGroupInput, _ ...func(*ec2.Options)) (*ec2.CreateSecurityGroupOutput, error) {
	return change(m, ctx, in, m.Service.CreateSecurityGroup)
}

func (m *mortal) AuthorizeSecurityGroupIngress(ctx context.Context, in *ec2.AuthorizeSecurityGroupIngressInput, _ ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupIngressOutput, error) {
	return change(m, ctx, in, m.Service.AuthorizeSecurityGroupIngress)
}

func (m *mortal) CreateNetworkInterface(ctx context.Context, in *ec2.CreateNetworkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.CreateNetworkInterfaceOutput, error) {
	return change(m, ctx, in, m.Service.CreateNetworkInterface)
}

func (m *mortal) DeleteNetworkInterface(ctx context.Context, in *ec2.DeleteNetworkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.DeleteNetworkInterfaceOutput, error) {
	return change(m, ctx, in, m.Service.DeleteNetworkInterface)
}

func (m *mortal) DeleteSecurityGroup(ctx context.Context, in *ec2.DeleteSecurityGroupInput, _ ...func(*ec2.Options)) (*ec2.DeleteSecurityGroupOutput, error) {
	return change(m, ctx, in, m.Service.DeleteSecurityGroup)
}

// network is a VPC with three subnets and a cluster's record.
type network struct {
	*Lifecycle
	t     *testing.T
	ec2   *ec2svc.Service
	ctx   context.Context
	scope awsid.Scope
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	clk := clocktesting.NewFakeClock(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	n := &network{t: t, scope: awsid.Scope{Account: awsid.DefaultAccount, Region: "us-east-1"}}
	n.ec2 = ec2svc.New(ec2svc.Config{Store: st, Clock: clk})
	n.Lifecycle = New(Config{Store: st, Clock: clk, Log: slog.New(slog.DiscardHandler), EC2: n.ec2})
	n.ctx = awsid.WithCaller(t.Context(), awsid.Caller{Scope: n.scope, ARN: "arn:aws:iam::000000000000:root", UserID: awsid.DefaultAccount})
	vpc, err := n.ec2.CreateVpc(n.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	config := &ekstypes.VpcConfigResponse{VpcId: vpc.Vpc.VpcId}
	for i, az := range []string{"a", "b", "c"} {
		s, err := n.ec2.CreateSubnet(n.ctx, &ec2.CreateSubnetInput{
			VpcId: vpc.Vpc.VpcId, CidrBlock: aws.String(fmt.Sprintf("10.0.%d.0/24", i)), AvailabilityZone: aws.String("us-east-1" + az),
		})
		if err != nil {
			t.Fatal(err)
		}
		config.SubnetIds = append(config.SubnetIds, *s.Subnet.SubnetId)
	}
	err = st.Update(t.Context(), func(tx *store.Tx) error {
		ekssvc.Clusters.Put(tx, n.scope, "dev", &ekssvc.Cluster{
			ID: "0123456789abcdef0123456789abcdef", Scope: n.scope,
			Resource: ekstypes.Cluster{Name: aws.String("dev"), Status: ekstypes.ClusterStatusCreating, ResourcesVpcConfig: config},
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *network) cluster() *ekssvc.Cluster { return ekssvc.Clusters.Get(n.Store, n.scope, "dev") }

// create runs the steps of a cluster's creation that make something in EC2.
func (n *network) create() error {
	for _, do := range []func(context.Context, *ekssvc.Cluster) error{n.makeSecurityGroup, n.makeInterfaces} {
		if err := do(n.t.Context(), n.cluster()); err != nil {
			return err
		}
	}
	return nil
}

// left counts interfaces, and security groups beside the default one.
func (n *network) left() (enis, groups int) {
	n.t.Helper()
	i, err := n.ec2.DescribeNetworkInterfaces(n.ctx, &ec2.DescribeNetworkInterfacesInput{})
	if err != nil {
		n.t.Fatal(err)
	}
	g, err := n.ec2.DescribeSecurityGroups(n.ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{
		{Name: aws.String("vpc-id"), Values: []string{*n.cluster().Resource.ResourcesVpcConfig.VpcId}},
	}})
	if err != nil {
		n.t.Fatal(err)
	}
	return len(i.NetworkInterfaces), len(g.SecurityGroups) - 1
}

func (n *network) delete() {
	n.t.Helper()
	if again, err := n.removeNetwork(n.t.Context(), n.cluster()); err != nil || again != 0 {
		n.t.Errorf("removeNetwork: %v, %v", again, err)
	}
	if enis, groups := n.left(); enis != 0 || groups != 0 {
		n.t.Errorf("%d interfaces and %d groups are left", enis, groups)
	}
}

// TestNetworkSurvivesKills kills the emulator after each change that a cluster's
// creation and deletion make in EC2.
func TestNetworkSurvivesKills(t *testing.T) {
	for changes := 1; ; changes++ {
		killed := false
		t.Run(fmt.Sprintf("creation goes on after %d", changes), func(t *testing.T) {
			n := newNetwork(t)
			n.EC2 = &mortal{n.ec2, changes}
			killed = errors.Is(n.create(), errKilled)
			n.EC2 = n.ec2
			if err := n.create(); err != nil {
				t.Fatal(err)
			}
			enis, groups := n.left()
			if enis != 2 || groups != 1 || len(n.cluster().Interfaces) != 2 || n.cluster().SecurityGroupID == "" {
				t.Errorf("%d interfaces, %d groups, record %v %s", enis, groups, n.cluster().Interfaces, n.cluster().SecurityGroupID)
			}
			n.delete()
		})
		t.Run(fmt.Sprintf("deletion after %d", changes), func(t *testing.T) {
			n := newNetwork(t)
			n.EC2 = &mortal{n.ec2, changes}
			_ = n.create()
			n.EC2 = n.ec2
			n.delete()
		})
		t.Run(fmt.Sprintf("deletion goes on after %d", changes), func(t *testing.T) {
			n := newNetwork(t)
			if err := n.create(); err != nil {
				t.Fatal(err)
			}
			n.EC2 = &mortal{n.ec2, changes}
			_, _ = n.removeNetwork(t.Context(), n.cluster())
			n.EC2 = n.ec2
			n.delete()
		})
		if !killed {
			return
		}
	}
}

// TestGroupWaitsForNodes: interfaces of nodes that are gone hold the cluster's
// security group only until they are deleted; a user's hold it for good.
func TestGroupWaitsForNodes(t *testing.T) {
	for name, tags := range map[string]map[string]string{"node": {tagNodeInstance: "i-0123456789abcdef0"}, "user": {"Name": "mine"}} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			if err := n.create(); err != nil {
				t.Fatal(err)
			}
			_, err := n.ec2.CreateNetworkInterface(n.ctx, &ec2.CreateNetworkInterfaceInput{
				SubnetId: &n.cluster().Resource.ResourcesVpcConfig.SubnetIds[0], Groups: []string{n.cluster().SecurityGroupID},
				TagSpecifications: tagged(ec2types.ResourceTypeNetworkInterface, tags),
			})
			if err != nil {
				t.Fatal(err)
			}
			again, err := n.removeNetwork(t.Context(), n.cluster())
			if err != nil || (again > 0) != (name == "node") {
				t.Fatalf("removeNetwork: %v, %v", again, err)
			}
			if name == "node" {
				n.delete()
			} else if enis, groups := n.left(); enis != 1 || groups != 1 {
				t.Errorf("%d interfaces and %d groups, want the user's", enis, groups)
			}
		})
	}
}
