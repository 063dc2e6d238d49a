package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// deployOn runs pods on one node group.
func deployOn(t *testing.T, k kubernetes.Interface, nodegroup, name string, replicas int32) {
	t.Helper()
	d := deployment(name, replicas)
	d.Spec.Template.Spec.NodeSelector = map[string]string{"eks.amazonaws.com/nodegroup": nodegroup}
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	must(k.AppsV1().Deployments("default").Create(t.Context(), d, metav1.CreateOptions{}))(t)
}

func protect(t *testing.T, k kubernetes.Interface, app string, least int) {
	t.Helper()
	ctx := t.Context()
	_ = k.PolicyV1().PodDisruptionBudgets("default").Delete(ctx, app, metav1.DeleteOptions{})
	at := intstr.FromInt32(int32(least))
	must(k.PolicyV1().PodDisruptionBudgets("default").Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &at, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
	}, metav1.CreateOptions{}))(t)
	eventually(t, 20*time.Second, "the budget is counted", func() error {
		b, err := k.PolicyV1().PodDisruptionBudgets("default").Get(ctx, app, metav1.GetOptions{})
		if err == nil && (b.Status.ObservedGeneration != b.Generation || b.Status.CurrentHealthy == 0) {
			err = fmt.Errorf("status %+v", b.Status)
		}
		return err
	})
}

// follow feeds every state of the cluster that a watch shows to count, and answers
// the least value that it had.
func follow(t *testing.T, inf cache.SharedIndexInformer, count func(objs []any) int) (least func() int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	lowest := -1
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		if n := count(inf.GetStore().List()); inf.HasSynced() && (lowest < 0 || n < lowest) {
			lowest = n
		}
	}
	must(inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { look() }, UpdateFunc: func(any, any) { look() }, DeleteFunc: func(any) { look() },
	}))(t)
	done := make(chan struct{})
	go func() { defer close(done); inf.RunWithContext(ctx) }()
	if !cache.WaitForCacheSync(ctx.Done(), inf.HasSynced) {
		t.Fatal("no sync")
	}
	look()
	return func() int {
		stop()
		<-done
		mu.Lock()
		defer mu.Unlock()
		return lowest
	}
}

func leastReady(t *testing.T, k kubernetes.Interface, app string) func() int {
	t.Helper()
	f := informers.NewSharedInformerFactoryWithOptions(k, 0, informers.WithNamespace("default"),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "app=" + app }))
	return follow(t, f.Core().V1().Pods().Informer(), func(objs []any) (n int) {
		for _, o := range objs {
			p := o.(*corev1.Pod)
			if p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			}) {
				n++
			}
		}
		return n
	})
}

func leastSchedulable(t *testing.T, k kubernetes.Interface, nodegroup string) func() int {
	t.Helper()
	f := informers.NewSharedInformerFactoryWithOptions(k, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "eks.amazonaws.com/nodegroup=" + nodegroup }))
	return follow(t, f.Core().V1().Nodes().Informer(), func(objs []any) (n int) {
		for _, o := range objs {
			if node := o.(*corev1.Node); nodeReady(node) && !node.Spec.Unschedulable {
				n++
			}
		}
		return n
	})
}

// TestNodegroupRoll replaces all nodes of groups by those of a new version. The
// short patience is for the update that must fail.
func TestNodegroupRoll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, "--drain-timeout", "3s"))
	k, _ := w.kubernetes(t, w.cluster(t, "dev", func(in *eks.CreateClusterInput) { in.Version = aws.String("1.34") }))
	w.nodegroup(t, "dev", "ng", 3)
	w.nodegroup(t, "dev", "one", 1)
	deployOn(t, k, "ng", "steady", 6)
	deployOn(t, k, "one", "stuck", 1)
	w.running(t, k, "steady", 6)
	w.running(t, k, "stuck", 1)
	w.upgradeCluster(t, "dev", "1.35")

	protect(t, k, "steady", 6)
	pods := leastReady(t, k, "steady")
	u := w.updated(t, w.roll(t, "ng", false), ekstypes.UpdateStatusFailed)
	if len(u.Errors) != 1 || u.Errors[0].ErrorCode != ekstypes.ErrorCodePodEvictionFailure || !strings.HasPrefix(*u.Errors[0].ErrorMessage, "Reached max retries while trying to evict pods from nodes in node group") {
		t.Errorf("errors %+v", u.Errors)
	}
	if ng := w.nodegroupIs(t, "dev", "ng", ekstypes.NodegroupStatusActive); *ng.Version != "1.34" {
		t.Errorf("after the failure the group is of version %s", *ng.Version)
	}
	kubelets(t, k, "ng", map[string]int{"v1.34": 3}) // the surge was taken back
	for _, n := range nodesOf(t, k, "ng") {
		if n.Spec.Unschedulable {
			t.Errorf("%s is cordoned", n.Name)
		}
	}
	if n := pods(); n < 6 {
		t.Errorf("only %d pods were ready with a PodDisruptionBudget of 6", n)
	}

	// From here on updates are to succeed: nothing gives up early on a busy machine.
	w.restart("--no-spare")
	w.running(t, k, "steady", 6)

	protect(t, k, "steady", 5)
	protect(t, k, "stuck", 1)
	pods, nodes := leastReady(t, k, "steady"), leastSchedulable(t, k, "ng")
	forced, gentle := w.roll(t, "one", true), w.roll(t, "ng", false)
	w.updated(t, gentle, ekstypes.UpdateStatusSuccessful)
	if n := pods(); n < 5 {
		t.Errorf("only %d pods were ready with a PodDisruptionBudget of 5", n)
	}
	if n := nodes(); n < 2 {
		t.Errorf("only %d of 3 nodes were Ready and schedulable with maxUnavailable 1", n)
	}
	w.updated(t, forced, ekstypes.UpdateStatusSuccessful)
	for name, size := range map[string]int{"ng": 3, "one": 1} {
		if ng := w.nodegroupNow(t, "dev", name); *ng.Version != "1.35" || !strings.HasPrefix(*ng.ReleaseVersion, "1.35.") {
			t.Errorf("%+v", ng)
		}
		kubelets(t, k, name, map[string]int{"v1.35": size})
	}
	w.running(t, k, "steady", 6)
	w.running(t, k, "stuck", 1)
}

// roll starts an update of a node group to the cluster's version.
func (w *world) roll(t *testing.T, nodegroup string, force bool) *eks.DescribeUpdateInput {
	t.Helper()
	in := &eks.UpdateNodegroupVersionInput{ClusterName: aws.String("dev"), NodegroupName: &nodegroup, Version: aws.String("1.35"), Force: force}
	u := must(w.eks.UpdateNodegroupVersion(t.Context(), in))(t).Update
	if u.Type != ekstypes.UpdateTypeVersionUpdate || u.Status != ekstypes.UpdateStatusInProgress {
		t.Errorf("update %+v", u)
	}
	return &eks.DescribeUpdateInput{Name: in.ClusterName, NodegroupName: in.NodegroupName, UpdateId: u.Id}
}

// kubelets waits until a group's nodes are of these versions.
func kubelets(t *testing.T, k kubernetes.Interface, nodegroup string, want map[string]int) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("nodes of %s are %v", nodegroup, want), func() error {
		got := map[string]int{}
		for _, n := range nodesOf(t, k, nodegroup) {
			got[n.Status.NodeInfo.KubeletVersion[:5]]++
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("they are %v", got)
		}
		return nil
	})
}

// failed waits until a node group is in trouble and looks at what it says.
func (w *world) failed(t *testing.T, cluster, name string, want ekstypes.NodegroupStatus, code ekstypes.NodegroupIssueCode, message string) {
	t.Helper()
	ng := w.nodegroupIs(t, cluster, name, want)
	if is := ng.Health.Issues; len(is) != 1 || is[0].Code != code || !strings.Contains(*is[0].Message, message) || len(is[0].ResourceIds) == 0 {
		t.Errorf("health %+v, want %s: %s", ng.Health, code, message)
	}
}

// TestNodegroupNeverJoins has a node role that nobody let in: an access entry that
// exists is left alone, and one of type STANDARD lets nobody in as a node.
func TestNodegroupNeverJoins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, "--join-timeout", "3s"))
	w.cluster(t, "api", func(in *eks.CreateClusterInput) { in.AccessConfig.AuthenticationMode = ekstypes.AuthenticationModeApi })
	stranger := w.role(t, "stranger", "ec2.amazonaws.com", "AmazonEKSWorkerNodePolicy")
	must(w.eks.CreateAccessEntry(t.Context(), &eks.CreateAccessEntryInput{ClusterName: aws.String("api"), PrincipalArn: &stranger}))(t)
	w.startNodegroup(t, "api", "outside", 1, func(in *eks.CreateNodegroupInput) { in.NodeRole = &stranger })
	w.failed(t, "api", "outside", ekstypes.NodegroupStatusCreateFailed, ekstypes.NodegroupIssueCodeNodeCreationFailure, "Instances failed to join the kubernetes cluster")
}

// TestNodegroupFailures looks at what a user sees when no instance comes.
func TestNodegroupFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	k, _ := w.kubernetes(t, w.cluster(t, "dev", func(in *eks.CreateClusterInput) {
		in.AccessConfig.AuthenticationMode = ekstypes.AuthenticationModeConfigMap
	}))
	w.cluster(t, "api", func(in *eks.CreateClusterInput) { in.AccessConfig.AuthenticationMode = ekstypes.AuthenticationModeApi })
	small := must(w.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: aws.String("10.0.64.0/28"), AvailabilityZone: aws.String(region + "a")}))(t)
	in := func(in *eks.CreateNodegroupInput) { in.Subnets = []string{*small.Subnet.SubnetId} }
	w.startNodegroup(t, "dev", "full", 12, in)
	w.failed(t, "dev", "full", ekstypes.NodegroupStatusCreateFailed, ekstypes.NodegroupIssueCodeInsufficientFreeAddresses, "not enough free addresses")
	must(w.eks.DeleteNodegroup(ctx, &eks.DeleteNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("full")}))(t)

	var image string
	t.Run("degraded and back", func(t *testing.T) {
		eventually(t, 30*time.Second, "the subnet is free again", func() error {
			s := must(w.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{*small.Subnet.SubnetId}}))(t).Subnets[0]
			if *s.AvailableIpAddressCount != 11 {
				return fmt.Errorf("%d addresses", *s.AvailableIpAddressCount)
			}
			return nil
		})
		w.startNodegroup(t, "dev", "grows", 1, in, func(in *eks.CreateNodegroupInput) { in.ScalingConfig.MaxSize = aws.Int32(20) })
		w.nodegroupIs(t, "dev", "grows", ekstypes.NodegroupStatusActive)
		image = *w.instances(t, "grows")[0].ImageId
		scale := func(n int32) *ekstypes.Update {
			return must(w.eks.UpdateNodegroupConfig(ctx, &eks.UpdateNodegroupConfigInput{
				ClusterName: aws.String("dev"), NodegroupName: aws.String("grows"), ScalingConfig: &ekstypes.NodegroupScalingConfig{DesiredSize: &n},
			}))(t).Update
		}
		u := scale(20)
		w.failed(t, "dev", "grows", ekstypes.NodegroupStatusDegraded, ekstypes.NodegroupIssueCodeInsufficientFreeAddresses, "not enough free addresses")
		id := &eks.DescribeUpdateInput{Name: aws.String("dev"), NodegroupName: aws.String("grows"), UpdateId: u.Id}
		if u = w.updated(t, id, ekstypes.UpdateStatusFailed); u.Errors[0].ErrorCode != ekstypes.ErrorCodeInsufficientFreeAddresses {
			t.Errorf("errors %+v", u.Errors)
		}
		id.UpdateId = scale(1).Id
		w.updated(t, id, ekstypes.UpdateStatusSuccessful)
		if ng := w.nodegroupIs(t, "dev", "grows", ekstypes.NodegroupStatusActive); len(ng.Health.Issues) != 0 {
			t.Errorf("health %+v", ng.Health)
		}
	})
	t.Run("aws-auth", func(t *testing.T) {
		cm := must(k.CoreV1().ConfigMaps("kube-system").Get(ctx, "aws-auth", metav1.GetOptions{}))(t)
		if rows := cm.Data["mapRoles"]; !strings.Contains(rows, "rolearn: "+w.node) || !strings.Contains(rows, "system:node:{{EC2PrivateDNSName}}") {
			t.Errorf("mapRoles: %s", rows)
		}
		must(w.eks.DeleteNodegroup(ctx, &eks.DeleteNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("grows")}))(t)
		eventually(t, 30*time.Second, "the role's row is gone with its last group", func() error {
			cm, err := k.CoreV1().ConfigMaps("kube-system").Get(ctx, "aws-auth", metav1.GetOptions{})
			if err == nil && strings.Contains(cm.Data["mapRoles"], w.node) {
				err = fmt.Errorf("mapRoles: %s", cm.Data["mapRoles"])
			}
			return err
		})
	})
	t.Run("custom image", func(t *testing.T) {
		lt := must(w.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("custom"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: &image, UserData: aws.String("IyEvYmluL3No")},
		}))(t)
		w.startNodegroup(t, "api", "custom", 1, func(in *eks.CreateNodegroupInput) {
			in.LaunchTemplate = &ekstypes.LaunchTemplateSpecification{Name: lt.LaunchTemplate.LaunchTemplateName}
		})
		ng := w.nodegroupIs(t, "api", "custom", ekstypes.NodegroupStatusActive)
		i := w.instances(t, "custom")[0]
		out := must(w.ec2.DescribeInstanceAttribute(ctx, &ec2.DescribeInstanceAttributeInput{InstanceId: i.InstanceId, Attribute: ec2types.InstanceAttributeNameUserData}))(t)
		if ng.AmiType != ekstypes.AMITypesCustom || *i.ImageId != image || *out.UserData.Value != "IyEvYmluL3No" {
			t.Errorf("%+v from %s with %s", ng, *i.ImageId, *out.UserData.Value)
		}
	})
	t.Run("user data that is no archive", func(t *testing.T) {
		lt := must(w.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("bare"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{UserData: aws.String("IyEvYmluL3No")},
		}))(t)
		w.startNodegroup(t, "api", "bare", 1, func(in *eks.CreateNodegroupInput) {
			in.LaunchTemplate = &ekstypes.LaunchTemplateSpecification{Name: lt.LaunchTemplate.LaunchTemplateName}
		})
		w.failed(t, "api", "bare", ekstypes.NodegroupStatusCreateFailed, ekstypes.NodegroupIssueCodeEc2LaunchTemplateInvalidConfiguration, "MIME multipart")
	})
}
