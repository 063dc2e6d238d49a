package integration

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// fargatePatience bounds waits in these tests; a slow machine needs some of it.
const fargatePatience = 90 * time.Second

func (w *world) fargateProfile(t *testing.T, cluster, name, role string, selectors ...ekstypes.FargateProfileSelector) {
	t.Helper()
	w.fargateProfileIn(t, w.subnets[:2], cluster, name, role, selectors...)
}

func (w *world) fargateProfileIn(t *testing.T, subnets []string, cluster, name, role string, selectors ...ekstypes.FargateProfileSelector) {
	t.Helper()
	out := must(w.eks.CreateFargateProfile(t.Context(), &eks.CreateFargateProfileInput{
		ClusterName: &cluster, FargateProfileName: &name, PodExecutionRoleArn: &role, Selectors: selectors, Subnets: subnets,
	}))(t)
	if out.FargateProfile.Status != ekstypes.FargateProfileStatusCreating {
		t.Fatalf("a new profile is %s, want CREATING", out.FargateProfile.Status)
	}
	err := eks.NewFargateProfileActiveWaiter(w.eks, func(o *eks.FargateProfileActiveWaiterOptions) {
		o.MinDelay, o.MaxDelay = 200*time.Millisecond, time.Second
	}).
		Wait(t.Context(), &eks.DescribeFargateProfileInput{ClusterName: &cluster, FargateProfileName: &name}, fargatePatience)
	if err != nil {
		t.Fatal(err)
	}
}

func selector(namespace string, labels ...string) ekstypes.FargateProfileSelector {
	s := ekstypes.FargateProfileSelector{Namespace: &namespace, Labels: map[string]string{}}
	for i := 0; i < len(labels); i += 2 {
		s.Labels[labels[i]] = labels[i+1]
	}
	return s
}

func (k *kube) namespace(t *testing.T, name string) {
	t.Helper()
	must(k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))(t)
	eventually(t, fargatePatience, "namespace "+name+" has its service account", func() error {
		_, err := k.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
}

func (k *kube) run(t *testing.T, namespace, name string, change ...func(*corev1.Pod)) {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox", Command: []string{"sh", "-c", "echo hello from " + name + "; sleep 100000"}}}},
	}
	for _, f := range change {
		f(p)
	}
	must(k.CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{}))(t)
}

func (k *kube) podIn(t *testing.T, namespace, name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var p *corev1.Pod
	eventually(t, fargatePatience, "pod "+namespace+"/"+name+" "+what, func() (err error) {
		if p, err = k.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		if !ok(p) {
			return fmt.Errorf("on node %q its status is %+v", p.Spec.NodeName, p.Status)
		}
		return nil
	})
	return p
}

// waitsBecause tells whether Fargate's scheduler gave this reason.
func waitsBecause(part string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		c := podCondition(p, corev1.PodScheduled)
		return c.Status == corev1.ConditionFalse && strings.Contains(c.Message, part)
	}
}

// TestFargate drives a profile's whole life on a cluster that has EC2 nodes too.
func TestFargate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	role := w.role(t, "fargate", "eks-fargate-pods.amazonaws.com", "AmazonEKSFargatePodExecutionRolePolicy")
	c := w.cluster(t, "fg")
	w.nodegroup(t, "fg", "ng", 1)
	k := w.kube(t, c)
	k.namespace(t, "serverless")
	w.fargateProfile(t, "fg", "fp", role, selector("serverless"), selector("kube-system", "k8s-app", "kube-dns"))

	entry := must(w.eks.DescribeAccessEntry(ctx, &eks.DescribeAccessEntryInput{ClusterName: aws.String("fg"), PrincipalArn: &role}))(t)
	if aws.ToString(entry.AccessEntry.Type) != "FARGATE_LINUX" || !slices.Contains(entry.AccessEntry.KubernetesGroups, "system:node-proxier") {
		t.Errorf("the pod execution role's access entry is %+v", entry.AccessEntry)
	}
	hooks := must(k.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "0500-amazon-eks-fargate-mutation.amazonaws.com", metav1.GetOptions{}))(t)
	if len(hooks.Webhooks) == 0 {
		t.Error("the webhook's configuration is empty")
	}

	k.run(t, "serverless", "one", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("300m"), "memory": resource.MustParse("1Gi")}
	})
	k.run(t, "default", "elsewhere")
	pod := k.podIn(t, "serverless", "one", "runs", podRuns)
	checkFargatePod(t, pod)
	node := checkFargateNode(t, w, k, pod)
	if p := k.podIn(t, "default", "elsewhere", "runs", podRuns); strings.HasPrefix(p.Spec.NodeName, "fargate-") || p.Spec.SchedulerName != "default-scheduler" {
		t.Errorf("a pod that no profile selects is on %s by %s", p.Spec.NodeName, p.Spec.SchedulerName)
	}

	t.Run("kubectl logs", func(t *testing.T) {
		eventually(t, fargatePatience, "the log is there", func() error {
			b, err := k.CoreV1().Pods("serverless").GetLogs("one", &corev1.PodLogOptions{}).DoRaw(ctx)
			if err == nil && !strings.Contains(string(b), "hello from one") {
				err = fmt.Errorf("it says %q", b)
			}
			return err
		})
	})
	t.Run("no DaemonSets", func(t *testing.T) {
		pods := must(k.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node.Name}))(t)
		if len(pods.Items) != 1 {
			t.Errorf("%d pods are on %s, want its one", len(pods.Items), node.Name)
		}
	})
	t.Run("CoreDNS moves when its annotation goes", func(t *testing.T) { corednsOnFargate(t, k) })
	t.Run("what Fargate cannot run", func(t *testing.T) {
		k.run(t, "serverless", "host", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
		k.podIn(t, "serverless", "host", "waits", waitsBecause("Pod not supported on Fargate: fields not supported: HostNetwork"))
	})
	t.Run("refusals", func(t *testing.T) { fargateRefusals(t, w, role) })
	t.Run("a restart keeps it", func(t *testing.T) {
		w.stop()
		w.run()
		w.clusterIs(t, "fg", ekstypes.ClusterStatusActive)
		k := w.kube(t, c)
		again := k.podIn(t, "serverless", "one", "still runs", podRuns)
		if again.UID != pod.UID || again.Status.PodIP != pod.Status.PodIP || again.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("after a restart the pod is %s at %s, before %s at %s", again.UID, again.Status.PodIP, pod.UID, pod.Status.PodIP)
		}
		k.run(t, "serverless", "later")
		k.podIn(t, "serverless", "later", "runs after a restart", podRuns)
	})
	t.Run("deletion takes the pods along", func(t *testing.T) { deleteFargateProfile(t, w, w.kube(t, c), role) })
}

func checkFargatePod(t *testing.T, p *corev1.Pod) {
	t.Helper()
	if p.Spec.SchedulerName != "fargate-scheduler" || p.Labels["eks.amazonaws.com/fargate-profile"] != "fp" {
		t.Errorf("scheduler %s, labels %v", p.Spec.SchedulerName, p.Labels)
	}
	if got := p.Annotations["CapacityProvisioned"]; got != "0.5vCPU 2GB" {
		t.Errorf("CapacityProvisioned is %q", got)
	}
	if got := p.Annotations["Logging"]; got != "LoggingDisabled: LOGGING_CONFIGMAP_NOT_FOUND" {
		t.Errorf("Logging is %q", got)
	}
	if p.Spec.PriorityClassName != "system-node-critical" || *p.Spec.Priority != 2000001000 {
		t.Errorf("priority %s %d", p.Spec.PriorityClassName, *p.Spec.Priority)
	}
}

// checkFargateNode looks at the pod's machine in the cluster and in EC2.
func checkFargateNode(t *testing.T, w *world, k *kube, p *corev1.Pod) *corev1.Node {
	t.Helper()
	n := must(k.CoreV1().Nodes().Get(t.Context(), p.Spec.NodeName, metav1.GetOptions{}))(t)
	if want := "fargate-ip-" + strings.ReplaceAll(p.Status.PodIP, ".", "-") + ".ec2.internal"; n.Name != want {
		t.Errorf("the node is %s, want %s", n.Name, want)
	}
	if n.Labels["eks.amazonaws.com/compute-type"] != "fargate" || len(n.Spec.Taints) != 1 || n.Spec.Taints[0].Key != "eks.amazonaws.com/compute-type" || n.Spec.Taints[0].Effect != corev1.TaintEffectNoSchedule {
		t.Errorf("labels %v, taints %v", n.Labels, n.Spec.Taints)
	}
	if parts := strings.Split(n.Spec.ProviderID, "/"); len(parts) != 6 || parts[0] != "aws:" || !strings.HasPrefix(parts[3], "us-east-1") || parts[5] != n.Name {
		t.Errorf("provider id %s", n.Spec.ProviderID)
	}
	if cpu, memory := n.Status.Capacity.Cpu(), n.Status.Capacity.Memory(); cpu.MilliValue() != 500 || memory.Value() != 2<<30 {
		t.Errorf("capacity %v %v", cpu, memory)
	}
	ip := netip.MustParseAddr(p.Status.PodIP)
	if !w.cidrs[0].Contains(ip) && !w.cidrs[1].Contains(ip) {
		t.Errorf("%s is in none of the profile's subnets", ip)
	}
	ni := w.interfaceAt(t, p.Status.PodIP)
	if ni == nil || ni.Attachment == nil || ni.Attachment.InstanceId != nil || aws.ToString(ni.Attachment.InstanceOwnerId) == "000000000000" || ni.Status != ec2types.NetworkInterfaceStatusInUse {
		t.Errorf("the network interface of %s is %+v", ip, ni)
	}
	return n
}

func (w *world) interfaceAt(t *testing.T, ip string) *ec2types.NetworkInterface {
	t.Helper()
	out := must(w.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{
		Filters: []ec2types.Filter{{Name: aws.String("private-ip-address"), Values: []string{ip}}, {Name: aws.String("vpc-id"), Values: []string{w.vpc}}},
	}))(t)
	if len(out.NetworkInterfaces) == 0 {
		return nil
	}
	return &out.NetworkInterfaces[0]
}

// corednsOnFargate does what the user guide tells owners of Fargate-only clusters.
func corednsOnFargate(t *testing.T, k *kube) {
	t.Helper()
	onFargate := func() (n int, err error) {
		pods, err := k.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
		if err != nil {
			return 0, err
		}
		for _, p := range pods.Items {
			if strings.HasPrefix(p.Spec.NodeName, "fargate-") && podRuns(&p) {
				n++
			}
		}
		return n, nil
	}
	if n, err := onFargate(); n != 0 || err != nil {
		t.Errorf("%d of CoreDNS's pods are on Fargate in spite of the annotation (%v)", n, err)
	}
	patch := `[{"op": "remove", "path": "/spec/template/metadata/annotations/eks.amazonaws.com~1compute-type"}]`
	must(k.AppsV1().Deployments("kube-system").Patch(t.Context(), "coredns", types.JSONPatchType, []byte(patch), metav1.PatchOptions{}))(t)
	eventually(t, fargatePatience, "CoreDNS is on Fargate", func() error {
		n, err := onFargate()
		if err == nil && n != 2 {
			err = fmt.Errorf("%d pods are", n)
		}
		return err
	})
}

// fargateRefusals are those that take a real cluster and subnets.
func fargateRefusals(t *testing.T, w *world, role string) {
	ctx := t.Context()
	for name, tc := range map[string]struct {
		change func(*eks.CreateFargateProfileInput)
		want   string
	}{
		"a public subnet": {func(in *eks.CreateFargateProfileInput) { in.Subnets = []string{w.publicSubnet(t)} }, "provided in Fargate Profile is not a private subnet"},
		"another role":    {func(in *eks.CreateFargateProfileInput) { in.PodExecutionRoleArn = &w.node }, "Misconfigured PodExecutionRole Trust Policy"},
		"no selector":     {func(in *eks.CreateFargateProfileInput) { in.Selectors = nil }, "Fargate Profile requires at least one selector."},
	} {
		in := &eks.CreateFargateProfileInput{
			ClusterName: aws.String("fg"), FargateProfileName: aws.String("no"), PodExecutionRoleArn: &role, Subnets: w.subnets[:1],
			Selectors: []ekstypes.FargateProfileSelector{selector("x")},
		}
		tc.change(in)
		_, err := w.eks.CreateFargateProfile(ctx, in)
		if errorAs[*ekstypes.InvalidParameterException](err) == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.eks.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: aws.String("fg")}); errorAs[*ekstypes.ResourceInUseException](err) == nil {
		t.Errorf("deleting a cluster with a profile: %v", err)
	}
}

// publicSubnet makes one with a route to an internet gateway.
func (w *world) publicSubnet(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	s := must(w.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: aws.String("10.0.100.0/24"), AvailabilityZone: aws.String(region + "a")}))(t)
	g := must(w.ec2.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{}))(t)
	must(w.ec2.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: g.InternetGateway.InternetGatewayId, VpcId: &w.vpc}))(t)
	r := must(w.ec2.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: &w.vpc}))(t)
	must(w.ec2.CreateRoute(ctx, &ec2.CreateRouteInput{RouteTableId: r.RouteTable.RouteTableId, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: g.InternetGateway.InternetGatewayId}))(t)
	must(w.ec2.AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: r.RouteTable.RouteTableId, SubnetId: s.Subnet.SubnetId}))(t)
	return *s.Subnet.SubnetId
}

func deleteFargateProfile(t *testing.T, w *world, k *kube, role string) {
	ctx, cluster, name := t.Context(), aws.String("fg"), aws.String("fp")
	address := k.podIn(t, "serverless", "one", "runs", podRuns).Status.PodIP
	out := must(w.eks.DeleteFargateProfile(ctx, &eks.DeleteFargateProfileInput{ClusterName: cluster, FargateProfileName: name}))(t)
	if out.FargateProfile.Status != ekstypes.FargateProfileStatusDeleting {
		t.Errorf("it is %s, want DELETING", out.FargateProfile.Status)
	}
	_, err := w.eks.CreateFargateProfile(ctx, &eks.CreateFargateProfileInput{
		ClusterName: cluster, FargateProfileName: aws.String("other"), PodExecutionRoleArn: &role, Subnets: w.subnets[:1], Selectors: []ekstypes.FargateProfileSelector{selector("x")},
	})
	if errorAs[*ekstypes.ResourceInUseException](err) == nil || !strings.Contains(err.Error(), "currently has Fargate profile fp in status DELETING") {
		t.Errorf("another change meanwhile: %v", err)
	}
	err = eks.NewFargateProfileDeletedWaiter(w.eks, func(o *eks.FargateProfileDeletedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 200*time.Millisecond, time.Second
	}).
		Wait(ctx, &eks.DescribeFargateProfileInput{ClusterName: cluster, FargateProfileName: name}, fargatePatience)
	if err != nil {
		t.Fatal(err)
	}
	pods := must(k.CoreV1().Pods("serverless").List(ctx, metav1.ListOptions{}))(t)
	for _, p := range pods.Items {
		t.Errorf("pod %s is still there", p.Name)
	}
	eventually(t, fargatePatience, "Fargate's nodes are gone", func() error {
		nodes, err := k.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "eks.amazonaws.com/compute-type=fargate"})
		if err == nil && len(nodes.Items) > 0 {
			err = fmt.Errorf("%d are left", len(nodes.Items))
		}
		return err
	})
	if ni := w.interfaceAt(t, address); ni != nil {
		t.Errorf("the interface of %s is still there", address)
	}
	_, err = w.eks.DescribeAccessEntry(ctx, &eks.DescribeAccessEntryInput{ClusterName: cluster, PrincipalArn: &role})
	if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
		t.Errorf("the access entry of the pod execution role: %v", err)
	}
	k.run(t, "serverless", "after")
	if p := k.podIn(t, "serverless", "after", "runs", podRuns); strings.HasPrefix(p.Spec.NodeName, "fargate-") {
		t.Error("a pod runs on Fargate without a profile")
	}
}

// TestFargateByConfigMap: where access entries do not count, the pod execution role
// gets a row in aws-auth. The aws CLI waits for the profile's states.
func TestFargateByConfigMap(t *testing.T) {
	t.Parallel()
	cli := tool(t, "aws")
	w := newWorld(t, start(t))
	role := w.role(t, "fargate", "eks-fargate-pods.amazonaws.com")
	c := w.cluster(t, "cm", func(in *eks.CreateClusterInput) {
		in.AccessConfig = &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeConfigMap}
	})
	k := w.kube(t, c)
	env := w.env(k.kubeconfig(t))
	aws := func(args ...string) string {
		t.Helper()
		return must(runTool(t, env, "", cli, append([]string{"eks"}, args...)...))(t)
	}
	name := []string{"--cluster-name", "cm", "--fargate-profile-name", "fp"}
	aws(append([]string{"create-fargate-profile", "--pod-execution-role-arn", role, "--selectors", "namespace=default", "--subnets", w.subnets[0]}, name...)...)
	eventually(t, fargatePatience, "it is ACTIVE", func() error {
		if s := aws(append([]string{"describe-fargate-profile", "--query", "fargateProfile.status", "--output", "text"}, name...)...); strings.TrimSpace(s) != "ACTIVE" {
			return errors.New(s)
		}
		return nil
	})
	aws(append([]string{"wait", "fargate-profile-active"}, name...)...)
	row := func(ctx context.Context) (string, error) {
		cm, err := k.CoreV1().ConfigMaps("kube-system").Get(ctx, "aws-auth", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		return cm.Data["mapRoles"], nil
	}
	if got := must(row(t.Context()))(t); !strings.Contains(got, role) || !strings.Contains(got, "system:node:{{SessionName}}") || !strings.Contains(got, "system:node-proxier") {
		t.Errorf("mapRoles is %s", got)
	}
	k.run(t, "default", "p")
	k.podIn(t, "default", "p", "runs on Fargate", func(p *corev1.Pod) bool { return podRuns(p) && strings.HasPrefix(p.Spec.NodeName, "fargate-") })
	aws(append([]string{"delete-fargate-profile"}, name...)...)
	eventually(t, fargatePatience, "it is gone", func() error {
		if s := aws("list-fargate-profiles", "--cluster-name", "cm", "--output", "text"); strings.TrimSpace(s) != "" {
			return errors.New(s)
		}
		return nil
	})
	aws(append([]string{"wait", "fargate-profile-deleted"}, name...)...)
	if got := must(row(t.Context()))(t); strings.Contains(got, role) {
		t.Errorf("mapRoles is still %s", got)
	}
}
