package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestFullSubnets takes a cluster and its nodes through subnets of eleven addresses:
// what EKS refuses, what fails later, and how it recovers.
func TestFullSubnets(t *testing.T) {
	t.Parallel() // it waits more than it works
	w := newWorld(t, start(t))
	ctx := t.Context()
	a, b := w.small(t, "10.0.64.0/28", "a"), w.small(t, "10.0.64.16/28", "b")
	var c *ekstypes.Cluster

	t.Run("CreateCluster", func(t *testing.T) {
		filler := w.fill(t, a, 4)
		_, err := w.eks.CreateCluster(ctx, &eks.CreateClusterInput{Name: aws.String("dev"), RoleArn: &w.clusterRole, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{a, b}}})
		want := "Provided subnets " + a + " Free IPs: 4 , need at least 5 IPs in each subnet to be free for this operation"
		if e := errorAs[*ekstypes.InvalidParameterException](err); e == nil || !strings.Contains(e.Error(), want) {
			t.Errorf("error %v", err)
		}
		w.deleteInterface(t, filler)
		c = w.cluster(t, "dev", func(in *eks.CreateClusterInput) {
			in.Version, in.ResourcesVpcConfig.SubnetIds = aws.String("1.34"), []string{a, b}
		})
		w.freeIn(t, map[string]int{a: 10, b: 10})
	})
	t.Run("UpdateClusterVersion", func(t *testing.T) {
		before := w.controlPlane(t, "dev")
		filler := w.fill(t, b, 3)
		_, err := w.eks.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: aws.String("dev"), Version: aws.String("1.35")})
		if e := errorAs[*ekstypes.InvalidRequestException](err); e == nil || !strings.Contains(e.Error(), "Provided subnets "+b+" Free IPs: 3 ,") {
			t.Errorf("error %v", err)
		}
		w.healthIs(t, "dev", b)
		w.deleteInterface(t, filler)
		w.healthIs(t, "dev")
		w.upgradeCluster(t, "dev", "1.35")
		w.moved(t, c, before)
		w.freeIn(t, map[string]int{a: 10, b: 10})
	})
	t.Run("UpdateClusterConfig", func(t *testing.T) {
		before := w.controlPlane(t, "dev")
		u := must(w.eks.UpdateClusterConfig(ctx, &eks.UpdateClusterConfigInput{
			Name: aws.String("dev"), ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: w.subnets[:2]},
		}))(t).Update
		w.updated(t, &eks.DescribeUpdateInput{Name: aws.String("dev"), UpdateId: u.Id}, ekstypes.UpdateStatusSuccessful)
		w.moved(t, c, before)
		w.freeIn(t, map[string]int{a: 11, b: 11})
	})
	t.Run("a node group passes over a full subnet", func(t *testing.T) {
		filler := w.fill(t, a, 0)
		w.nodegroup(t, "dev", "over", 1, func(in *eks.CreateNodegroupInput) {
			in.Subnets, in.InstanceTypes = []string{a, b}, []string{"t3.micro"}
		})
		if got := aws.ToString(w.instances(t, "over")[0].SubnetId); got != b {
			t.Errorf("the node is in %s, want %s", got, b)
		}
		w.launchRefused(t, "over", a)
		w.deleteInterface(t, filler)
		w.deleteNodegroup(t, "dev", "over")
		w.freeIn(t, map[string]int{a: 11, b: 11})
	})
	t.Run("a node group waits for addresses", func(t *testing.T) {
		// A t3.micro has two interfaces of two addresses: it cannot take what comes back.
		w.nodegroup(t, "dev", "ng", 1, func(in *eks.CreateNodegroupInput) { in.Subnets, in.InstanceTypes = []string{b}, []string{"t3.micro"} })
		filler := w.fill(t, b, 0)
		u := must(w.eks.UpdateNodegroupConfig(ctx, &eks.UpdateNodegroupConfigInput{
			ClusterName: aws.String("dev"), NodegroupName: aws.String("ng"), ScalingConfig: &ekstypes.NodegroupScalingConfig{DesiredSize: aws.Int32(2)},
		}))(t).Update
		w.failed(t, "dev", "ng", ekstypes.NodegroupStatusDegraded, ekstypes.NodegroupIssueCodeInsufficientFreeAddresses, "not enough free addresses in the subnet associated with your AutoScaling group(s).")
		if is := w.nodegroupNow(t, "dev", "ng").Health.Issues; !slices.Equal(is[0].ResourceIds, []string{b}) {
			t.Errorf("the issue names %v, want %s", is[0].ResourceIds, b)
		}
		w.updated(t, &eks.DescribeUpdateInput{Name: aws.String("dev"), NodegroupName: aws.String("ng"), UpdateId: u.Id}, ekstypes.UpdateStatusFailed)
		w.launchRefused(t, "ng", b)
		w.deleteInterface(t, filler)
		ng := w.nodegroupIs(t, "dev", "ng", ekstypes.NodegroupStatusActive)
		if n := len(w.instances(t, "ng")); n != 2 || len(ng.Health.Issues) != 0 {
			t.Errorf("%d instances, health %+v", n, ng.Health)
		}
	})
	t.Run("a pod on Fargate waits for an address", func(t *testing.T) {
		role := w.role(t, "fargate", "eks-fargate-pods.amazonaws.com", "AmazonEKSFargatePodExecutionRolePolicy")
		filler := w.fill(t, a, 0)
		w.fargateProfileIn(t, []string{a}, "dev", "fp", role, selector("serverless"))
		k := w.kube(t, c)
		k.namespace(t, "serverless")
		k.run(t, "serverless", "one")
		k.podIn(t, "serverless", "one", "waits", waitsBecause("InsufficientFreeAddressesInSubnet"))
		w.deleteInterface(t, filler)
		k.podIn(t, "serverless", "one", "runs", podRuns)
		must(w.eks.DeleteFargateProfile(ctx, &eks.DeleteFargateProfileInput{ClusterName: aws.String("dev"), FargateProfileName: aws.String("fp")}))(t)
		eventually(t, time.Minute, "the profile is gone", func() error {
			_, err := w.eks.DescribeFargateProfile(ctx, &eks.DescribeFargateProfileInput{ClusterName: aws.String("dev"), FargateProfileName: aws.String("fp")})
			if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
				return fmt.Errorf("describing it: %w", err)
			}
			return nil
		})
		w.freeIn(t, map[string]int{a: 11})
	})
	t.Run("everything is given back", func(t *testing.T) {
		w.deleteNodegroup(t, "dev", "ng")
		must(w.eks.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: aws.String("dev")}))(t)
		eventually(t, time.Minute, "the cluster is gone", func() error {
			_, err := w.eks.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})
			if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
				return fmt.Errorf("describing it: %w", err)
			}
			return nil
		})
		if left := w.interfaces(t); len(left) != 0 {
			t.Errorf("%d interfaces are left, the first is %+v", len(left), left[0])
		}
		w.freeIn(t, map[string]int{a: 11, b: 11})
		for _, s := range append(slices.Clone(w.subnets), a, b) {
			must(w.ec2.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: &s}))(t)
		}
		must(w.ec2.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &w.vpc}))(t)
	})
}

func (w *world) small(t *testing.T, cidr, zone string) string {
	t.Helper()
	return *must(w.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: &cidr, AvailabilityZone: aws.String(region + zone)}))(t).Subnet.SubnetId
}

// fill takes all of a subnet's free addresses but some. Nodes may take some meanwhile.
func (w *world) fill(t *testing.T, subnet string, but int32) (eni string) {
	t.Helper()
	eventually(t, 20*time.Second, "the subnet is filled", func() error {
		s := must(w.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: []string{subnet}}))(t).Subnets[0]
		out, err := w.ec2.CreateNetworkInterface(t.Context(), &ec2.CreateNetworkInterfaceInput{
			SubnetId: &subnet, Description: aws.String("filler"), SecondaryPrivateIpAddressCount: aws.Int32(*s.AvailableIpAddressCount - 1 - but),
		})
		if err == nil {
			eni = *out.NetworkInterface.NetworkInterfaceId
		}
		return err
	})
	return eni
}

func (w *world) deleteInterface(t *testing.T, id string) {
	t.Helper()
	must(w.ec2.DeleteNetworkInterface(t.Context(), &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id}))(t)
}

// freeIn waits until DescribeSubnets says so.
func (w *world) freeIn(t *testing.T, want map[string]int) {
	t.Helper()
	for id, n := range want {
		eventually(t, 30*time.Second, fmt.Sprintf("%s has %d free addresses", id, n), func() error {
			s := must(w.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: []string{id}}))(t).Subnets[0]
			if got := int(*s.AvailableIpAddressCount); got != n {
				return fmt.Errorf("it has %d", got)
			}
			return nil
		})
	}
}

// controlPlane are the cluster's cross-account interfaces by id, with their addresses.
func (w *world) controlPlane(t *testing.T, cluster string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, ni := range w.interfaces(t) {
		if aws.ToString(ni.Description) != "Amazon EKS "+cluster {
			continue
		}
		out[*ni.NetworkInterfaceId] = *ni.PrivateIpAddress
		at := ni.Attachment
		if at == nil || at.InstanceId != nil || aws.ToString(at.InstanceOwnerId) == *ni.OwnerId || aws.ToBool(ni.RequesterManaged) || ni.Status != ec2types.NetworkInterfaceStatusInUse {
			t.Errorf("interface %+v", ni)
		}
	}
	return out
}

// moved waits until a cluster has two interfaces, none of those before, and the
// service kubernetes points to them.
func (w *world) moved(t *testing.T, c *ekstypes.Cluster, before map[string]string) {
	t.Helper()
	var now map[string]string
	eventually(t, 30*time.Second, "the control plane has other interfaces", func() error {
		now = w.controlPlane(t, *c.Name)
		for id := range now {
			if before[id] != "" {
				return fmt.Errorf("%s is still there", id)
			}
		}
		if len(now) != 2 {
			return fmt.Errorf("there are %d", len(now))
		}
		return nil
	})
	k, _ := w.kubernetes(t, c)
	w.pointsTo(t, k, now)
}

func (w *world) pointsTo(t *testing.T, k kubernetes.Interface, interfaces map[string]string) {
	t.Helper()
	slice := must(k.DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{}))(t)
	var got, want []string
	for _, e := range slice.Endpoints {
		got = append(got, e.Addresses...)
	}
	for _, ip := range interfaces {
		want = append(want, ip)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the endpoints of kubernetes are %v, want %v", got, want)
	}
}

// healthIs waits until a cluster's health names these full subnets and nothing else.
func (w *world) healthIs(t *testing.T, cluster string, full ...string) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("the health of %s names %v", cluster, full), func() error {
		h := must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &cluster}))(t).Cluster.Health
		if len(full) == 0 && len(h.Issues) == 0 {
			return nil
		}
		if len(h.Issues) == 1 && h.Issues[0].Code == ekstypes.ClusterIssueCodeInsufficientFreeAddresses && slices.Equal(h.Issues[0].ResourceIds, full) {
			return nil
		}
		return fmt.Errorf("it is %+v", h.Issues)
	})
}

// launchRefused looks for the failed activity of a node group's Auto Scaling group.
func (w *world) launchRefused(t *testing.T, nodegroup, subnet string) {
	t.Helper()
	name := w.nodegroupNow(t, "dev", nodegroup).Resources.AutoScalingGroups[0].Name
	want := "There are not enough free addresses in subnet '" + subnet + "' to satisfy the requested number of instances. Launching EC2 instance failed."
	all := must(autoscaling.NewFromConfig(w.config()).DescribeScalingActivities(t.Context(), &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: name}))(t).Activities
	for _, a := range all {
		if aws.ToString(a.StatusMessage) == want && strings.Contains(aws.ToString(a.Details), subnet) {
			return
		}
	}
	t.Errorf("no activity says %q: %+v", want, all)
}

func (w *world) deleteNodegroup(t *testing.T, cluster, name string) {
	t.Helper()
	must(w.eks.DeleteNodegroup(t.Context(), &eks.DeleteNodegroupInput{ClusterName: &cluster, NodegroupName: &name}))(t)
	eventually(t, time.Minute, "node group "+name+" is gone", func() error {
		d, err := w.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: &cluster, NodegroupName: &name})
		if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
			return fmt.Errorf("%+v, %w", d, err)
		}
		return nil
	})
}
