package integration

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// startNodegroup asks for a node group and does not wait.
func (w *world) startNodegroup(t *testing.T, cluster, name string, size int32, change ...func(*eks.CreateNodegroupInput)) {
	t.Helper()
	in := &eks.CreateNodegroupInput{
		ClusterName: &cluster, NodegroupName: &name, NodeRole: &w.node, Subnets: w.subnets,
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(0), MaxSize: aws.Int32(max(size, 10)), DesiredSize: &size},
	}
	for _, f := range change {
		f(in)
	}
	must(w.eks.CreateNodegroup(t.Context(), in))(t)
}

// updated waits for the end of an update.
func (w *world) updated(t *testing.T, in *eks.DescribeUpdateInput, want ekstypes.UpdateStatus) *ekstypes.Update {
	t.Helper()
	var out *ekstypes.Update
	eventually(t, time.Minute, "update is "+string(want), func() error {
		d, err := w.eks.DescribeUpdate(t.Context(), in)
		if err != nil {
			return err
		}
		if out = d.Update; out.Status != want {
			return fmt.Errorf("it is %s %+v", out.Status, out.Errors)
		}
		return nil
	})
	return out
}

func (w *world) configure(t *testing.T, in *eks.UpdateNodegroupConfigInput) {
	t.Helper()
	u := must(w.eks.UpdateNodegroupConfig(t.Context(), in))(t).Update
	if s := w.nodegroupNow(t, *in.ClusterName, *in.NodegroupName).Status; s != ekstypes.NodegroupStatusUpdating {
		t.Errorf("right after the call the node group is %s, want UPDATING", s)
	}
	w.updated(t, &eks.DescribeUpdateInput{Name: in.ClusterName, NodegroupName: in.NodegroupName, UpdateId: u.Id}, ekstypes.UpdateStatusSuccessful)
	w.nodegroupIs(t, *in.ClusterName, *in.NodegroupName, ekstypes.NodegroupStatusActive)
}

func (w *world) nodegroupNow(t *testing.T, cluster, name string) *ekstypes.Nodegroup {
	t.Helper()
	return must(w.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: &cluster, NodegroupName: &name}))(t).Nodegroup
}

func (w *world) instances(t *testing.T, nodegroup string) []ec2types.Instance {
	t.Helper()
	out := must(w.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{
		{Name: aws.String("tag:eks:nodegroup-name"), Values: []string{nodegroup}},
		{Name: aws.String("instance-state-name"), Values: []string{"pending", "running"}},
	}}))(t)
	var is []ec2types.Instance
	for _, r := range out.Reservations {
		is = append(is, r.Instances...)
	}
	return is
}

// nodesOf are a node group's nodes.
func nodesOf(t *testing.T, k kubernetes.Interface, nodegroup string) []corev1.Node {
	t.Helper()
	return must(k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: "eks.amazonaws.com/nodegroup=" + nodegroup}))(t).Items
}

func nodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// TestNodegroups changes node groups in one cluster in every way that replaces no
// node on purpose.
func TestNodegroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	k, _ := w.kubernetes(t, w.cluster(t, "dev"))
	noSchedule := ekstypes.Taint{Key: aws.String("gpu"), Value: aws.String("yes"), Effect: ekstypes.TaintEffectPreferNoSchedule}
	w.startNodegroup(t, "dev", "web", 2, func(in *eks.CreateNodegroupInput) {
		in.InstanceTypes, in.DiskSize = []string{"m5.large"}, aws.Int32(50)
		in.Labels, in.Taints = map[string]string{"team": "a", "old": "x"}, []ekstypes.Taint{noSchedule}
	})
	w.startNodegroup(t, "dev", "arm", 1, func(in *eks.CreateNodegroupInput) {
		in.InstanceTypes, in.CapacityType = []string{"m7g.large"}, ekstypes.CapacityTypesSpot
	})
	w.startNodegroup(t, "dev", "none", 0)
	w.startFromTemplate(t, "dev", "own")
	for _, name := range []string{"web", "arm", "none", "own"} {
		w.nodegroupIs(t, "dev", name, ekstypes.NodegroupStatusActive)
	}
	t.Run("x86", func(t *testing.T) { w.checkX86(t, k) })
	t.Run("arm and spot", func(t *testing.T) { w.checkARM(t, k) })
	t.Run("launch template", func(t *testing.T) { w.checkTemplate(t, k) })
	t.Run("no nodes", func(t *testing.T) {
		ng := w.nodegroupNow(t, "dev", "none")
		if len(w.instances(t, "none")) != 0 || *ng.ScalingConfig.DesiredSize != 0 || len(ng.Health.Issues) != 0 || ng.InstanceTypes[0] != "t3.medium" {
			t.Errorf("%+v", ng)
		}
	})
	t.Run("labels and taints", func(t *testing.T) { w.checkMarks(t, k) })
	t.Run("replacement", func(t *testing.T) {
		victim := *w.instances(t, "arm")[0].InstanceId
		must(w.ec2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{victim}}))(t)
		eventually(t, 30*time.Second, "another node takes its place", func() error {
			ns := nodesOf(t, k, "arm")
			if len(ns) != 1 || strings.HasSuffix(ns[0].Spec.ProviderID, victim) || !nodeReady(&ns[0]) {
				return fmt.Errorf("there are %d", len(ns))
			}
			return nil
		})
	})
	t.Run("scaling", func(t *testing.T) { w.checkScaling(t, k) })
	t.Run("deletion", func(t *testing.T) { w.checkDeletion(t, k) })
}

func (w *world) checkX86(t *testing.T, k kubernetes.Interface) {
	ng := w.nodegroupNow(t, "dev", "web")
	instances := w.instances(t, "web")
	if len(instances) != 2 || *instances[0].SubnetId == *instances[1].SubnetId {
		t.Fatalf("instances %+v are not spread over the subnets", instances)
	}
	for _, n := range nodesOf(t, k, "web") {
		i := instances[slices.IndexFunc(instances, func(i ec2types.Instance) bool { return *i.PrivateDnsName == n.Name })]
		if want := "aws:///" + *i.Placement.AvailabilityZone + "/" + *i.InstanceId; n.Spec.ProviderID != want {
			t.Errorf("provider ID %s, want %s", n.Spec.ProviderID, want)
		}
		for key, want := range map[string]string{
			"team": "a", "old": "x", "eks.amazonaws.com/capacityType": "ON_DEMAND", "eks.amazonaws.com/nodegroup-image": *i.ImageId,
			"node.kubernetes.io/instance-type": "m5.large", "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
			"topology.kubernetes.io/zone": *i.Placement.AvailabilityZone, "topology.kubernetes.io/region": region, "kubernetes.io/hostname": n.Name,
			"topology.k8s.aws/zone-id": *i.Placement.AvailabilityZoneId,
		} {
			if n.Labels[key] != want {
				t.Errorf("label %s=%q, want %q", key, n.Labels[key], want)
			}
		}
		if v, has := n.Labels["eks.amazonaws.com/sourceLaunchTemplateId"]; has {
			t.Errorf("a group without a launch template of the user's names %s", v)
		}
		// What an m5.large with 50 GiB shows on EKS.
		got := n.Status.Allocatable
		if got.Cpu().String() != "1930m" || got.Pods().Value() != 29 || n.Status.Capacity.Cpu().Value() != 2 {
			t.Errorf("allocatable %v", got)
		}
		if disk := n.Status.Capacity.StorageEphemeral().Value() >> 30; disk != 49 {
			t.Errorf("a disk of 50 GiB gives %d", disk)
		}
		if !slices.ContainsFunc(n.Spec.Taints, func(x corev1.Taint) bool { return x.Key == "gpu" && x.Effect == corev1.TaintEffectPreferNoSchedule }) {
			t.Errorf("taints %v", n.Spec.Taints)
		}
		if v := n.Status.NodeInfo.KubeletVersion; !strings.HasPrefix(v, "v"+*ng.Version+".") || !strings.Contains(v, "-eks-") {
			t.Errorf("kubelet %s in a group of %s", v, *ng.Version)
		}
	}
	asg := ng.Resources.AutoScalingGroups
	if len(asg) != 1 || !strings.HasPrefix(*asg[0].Name, "eks-web-") || *ng.DiskSize != 50 || ng.AmiType != ekstypes.AMITypesAl2023X8664Standard {
		t.Errorf("%+v", ng)
	}
}

func (w *world) checkARM(t *testing.T, k kubernetes.Interface) {
	n, i := nodesOf(t, k, "arm")[0], w.instances(t, "arm")[0]
	if n.Labels["eks.amazonaws.com/capacityType"] != "SPOT" || n.Labels["kubernetes.io/arch"] != "arm64" || n.Status.NodeInfo.Architecture != "arm64" {
		t.Errorf("labels %v", n.Labels)
	}
	if i.InstanceLifecycle != ec2types.InstanceLifecycleTypeSpot || i.Architecture != ec2types.ArchitectureValuesArm64 || i.InstanceType != ec2types.InstanceTypeM7gLarge {
		t.Errorf("instance %+v", i)
	}
	if ng := w.nodegroupNow(t, "dev", "arm"); ng.AmiType != ekstypes.AMITypesAl2023Arm64Standard {
		t.Errorf("AMI type %s", ng.AmiType)
	}
}

const script = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"==B==\"\n\n--==B==\nContent-Type: text/x-shellscript\n\n#!/bin/sh\necho mine\n\n--==B==--\n"

// startFromTemplate makes a node group from a launch template of the user's.
func (w *world) startFromTemplate(t *testing.T, cluster, name string) {
	t.Helper()
	sg := must(w.ec2.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("mine"), Description: aws.String("mine"), VpcId: &w.vpc}))(t)
	lt := must(w.ec2.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("mine"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
			InstanceType: ec2types.InstanceTypeC5Xlarge, SecurityGroupIds: []string{*sg.GroupId},
			UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(script))),
			BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMappingRequest{{
				DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: aws.Int32(30)},
			}},
			TagSpecifications: []ec2types.LaunchTemplateTagSpecificationRequest{{
				ResourceType: ec2types.ResourceTypeInstance, Tags: []ec2types.Tag{{Key: aws.String("owner"), Value: aws.String("me")}},
			}},
		},
	}))(t)
	w.startNodegroup(t, cluster, name, 1, func(in *eks.CreateNodegroupInput) {
		in.LaunchTemplate = &ekstypes.LaunchTemplateSpecification{Id: lt.LaunchTemplate.LaunchTemplateId}
	})
}

func (w *world) checkTemplate(t *testing.T, k kubernetes.Interface) {
	n, i, ng := nodesOf(t, k, "own")[0], w.instances(t, "own")[0], w.nodegroupNow(t, "dev", "own")
	if n.Labels["node.kubernetes.io/instance-type"] != "c5.xlarge" || n.Labels["eks.amazonaws.com/sourceLaunchTemplateId"] != *ng.LaunchTemplate.Id ||
		n.Labels["eks.amazonaws.com/sourceLaunchTemplateVersion"] != "1" || len(ng.InstanceTypes) != 0 || ng.DiskSize != nil {
		t.Errorf("labels %v of %+v", n.Labels, ng)
	}
	if len(i.SecurityGroups) != 1 || *i.SecurityGroups[0].GroupName != "mine" {
		t.Errorf("security groups %+v", i.SecurityGroups)
	}
	if disk := n.Status.Capacity.StorageEphemeral().Value() >> 30; disk != 29 {
		t.Errorf("a disk of 30 GiB gives %d", disk)
	}
	tags := map[string]string{}
	for _, x := range i.Tags {
		tags[*x.Key] = *x.Value
	}
	if tags["owner"] != "me" || tags["kubernetes.io/cluster/dev"] != "owned" || tags["eks:nodegroup-name"] != "own" {
		t.Errorf("tags %v", tags)
	}
	out := must(w.ec2.DescribeInstanceAttribute(t.Context(), &ec2.DescribeInstanceAttributeInput{InstanceId: i.InstanceId, Attribute: ec2types.InstanceAttributeNameUserData}))(t)
	data, err := base64.StdEncoding.DecodeString(aws.ToString(out.UserData.Value))
	if err != nil || !strings.Contains(string(data), "echo mine") || !strings.Contains(string(data), "kind: NodeConfig") {
		t.Errorf("user data %q, %v", data, err)
	}
}

// checkMarks changes labels and taints and looks at the nodes that exist.
func (w *world) checkMarks(t *testing.T, k kubernetes.Interface) {
	before := nodesOf(t, k, "web")
	patch := []byte(`{"metadata":{"labels":{"users":"own"}}}`)
	must(k.CoreV1().Nodes().Patch(t.Context(), before[0].Name, "application/merge-patch+json", patch, metav1.PatchOptions{}))(t)
	w.configure(t, &eks.UpdateNodegroupConfigInput{
		ClusterName: aws.String("dev"), NodegroupName: aws.String("web"),
		Labels: &ekstypes.UpdateLabelsPayload{AddOrUpdateLabels: map[string]string{"team": "b", "new": "y"}, RemoveLabels: []string{"old"}},
		Taints: &ekstypes.UpdateTaintsPayload{
			AddOrUpdateTaints: []ekstypes.Taint{{Key: aws.String("dedicated"), Value: aws.String("z"), Effect: ekstypes.TaintEffectPreferNoSchedule}},
			RemoveTaints:      []ekstypes.Taint{{Key: aws.String("gpu"), Value: aws.String("yes"), Effect: ekstypes.TaintEffectPreferNoSchedule}},
		},
	})
	after := nodesOf(t, k, "web")
	for i, n := range after {
		if n.UID != before[i].UID {
			t.Errorf("node %s was replaced", before[i].Name)
		}
		_, old := n.Labels["old"]
		if n.Labels["team"] != "b" || n.Labels["new"] != "y" || old {
			t.Errorf("labels %v", n.Labels)
		}
		var taints []string
		for _, x := range n.Spec.Taints {
			if !strings.HasPrefix(x.Key, "node.kubernetes.io/") { // those are the node controller's
				taints = append(taints, x.Key+"="+x.Value)
			}
		}
		if !slices.Equal(taints, []string{"dedicated=z"}) {
			t.Errorf("taints %v", taints)
		}
	}
	if after[0].Labels["users"] != "own" {
		t.Errorf("the user's label is gone: %v", after[0].Labels)
	}
}

// checkScaling scales up and down: pods move, and never are fewer than their
// PodDisruptionBudget allows.
func (w *world) checkScaling(t *testing.T, k *kubernetes.Clientset) {
	scale := func(n int32) {
		t.Helper()
		w.configure(t, &eks.UpdateNodegroupConfigInput{
			ClusterName: aws.String("dev"), NodegroupName: aws.String("web"), ScalingConfig: &ekstypes.NodegroupScalingConfig{DesiredSize: &n},
		})
		eventually(t, 30*time.Second, fmt.Sprintf("there are %d nodes", n), func() error {
			if got := len(nodesOf(t, k, "web")); got != int(n) {
				return fmt.Errorf("there are %d", got)
			}
			return nil
		})
	}
	scale(5)
	deployOn(t, k, "web", "moving", 10)
	w.running(t, k, "moving", 10)
	protect(t, k, "moving", 8)
	least := leastReady(t, k, "moving")
	scale(2)
	on := map[string]bool{}
	for _, p := range w.running(t, k, "moving", 10) {
		on[p.Spec.NodeName] = true
	}
	if n := least(); n < 8 {
		t.Errorf("only %d pods were ready with a PodDisruptionBudget of 8", n)
	}
	for _, n := range nodesOf(t, k, "web") {
		delete(on, n.Name)
	}
	if len(on) > 0 {
		t.Errorf("pods are on nodes that are gone: %v", on)
	}
	subnets := map[string]bool{}
	for _, i := range w.instances(t, "web") {
		subnets[*i.SubnetId] = true
	}
	if len(subnets) != 2 {
		t.Errorf("the two that are left are in %v", subnets)
	}
}

// checkDeletion deletes a group whose pods have nowhere to go and a
// PodDisruptionBudget that would keep them.
func (w *world) checkDeletion(t *testing.T, k *kubernetes.Clientset) {
	protect(t, k, "moving", 10)
	must(w.eks.DeleteNodegroup(t.Context(), &eks.DeleteNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("web")}))(t)
	eventually(t, time.Minute, "the node group is gone", func() error {
		_, err := w.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("web")})
		if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
	if left := nodesOf(t, k, "web"); len(left) != 0 {
		t.Errorf("%d nodes are left", len(left))
	}
	if ng := w.nodegroupNow(t, "dev", "arm"); ng.Status != ekstypes.NodegroupStatusActive || len(nodesOf(t, k, "arm")) != 1 {
		t.Errorf("the other group: %+v", ng)
	}
	// The role is still needed by the other groups.
	e := must(w.eks.DescribeAccessEntry(t.Context(), &eks.DescribeAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: &w.node}))(t)
	if *e.AccessEntry.Type != "EC2_LINUX" {
		t.Errorf("access entry %+v", e.AccessEntry)
	}
}
