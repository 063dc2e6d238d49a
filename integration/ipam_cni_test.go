package integration

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// podInterfaces are a node's interfaces: the secondary addresses of each, the primary
// interface first.
func (w *world) podInterfaces(t *testing.T, node *corev1.Node) (out []ec2types.NetworkInterface) {
	t.Helper()
	id := node.Spec.ProviderID[strings.LastIndexByte(node.Spec.ProviderID, '/')+1:]
	got := must(w.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{
		Filters: []ec2types.Filter{{Name: aws.String("attachment.instance-id"), Values: []string{id}}},
	}))(t).NetworkInterfaces
	slices.SortFunc(got, func(a, b ec2types.NetworkInterface) int {
		return int(*a.Attachment.DeviceIndex) - int(*b.Attachment.DeviceIndex)
	})
	return got
}

// secondary counts the addresses for pods on a node's interfaces.
func secondary(enis []ec2types.NetworkInterface) (n int) {
	for _, e := range enis {
		n += len(e.PrivateIpAddresses) - 1
	}
	return n
}

func (k *kube) nodes(t *testing.T, selector string) []corev1.Node {
	t.Helper()
	return must(k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: selector}))(t).Items
}

// podsWithAddresses counts the pods on a node that need an address of its pool.
func (k *kube) podsWithAddresses(t *testing.T, node string) (n int) {
	t.Helper()
	for _, p := range must(k.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + node}))(t).Items {
		if !p.Spec.HostNetwork && p.Status.PodIP != "" {
			n++
		}
	}
	return n
}

// TestCNIKnobs changes the settings of aws-node as its users do, and looks at what EC2
// says then.
func TestCNIKnobs(t *testing.T) {
	t.Parallel() // it waits more than it works
	tool(t, "kubectl")
	w := newWorld(t, start(t))
	k := w.kube(t, w.cluster(t, "dev"))
	w.nodegroup(t, "dev", "ng", 2)
	p := person{w.env(filepath.Join(t.TempDir(), "kubeconfig"))}
	runCLI(t, w.emulator, p.env, "kubeconfig", "dev", "--plugin", "ekslocal")
	const ds = "daemonset/aws-node"

	// Each node keeps a whole interface's addresses free.
	for _, n := range k.nodes(t, "") {
		eventually(t, 30*time.Second, "the default pool", func() error {
			used := k.podsWithAddresses(t, n.Name) // CoreDNS comes up beside the node group
			enis := w.podInterfaces(t, &n)
			if want := 9 * (1 + (used+8)/9); secondary(enis) != want {
				return fmt.Errorf("%s has %d addresses, want %d", n.Name, secondary(enis), want)
			}
			return nil
		})
	}

	p.ok(t, "", "set", "env", ds, "-n", "kube-system", "WARM_IP_TARGET=12")
	p.ok(t, "", "rollout", "status", ds, "-n", "kube-system", "--timeout=90s")
	for _, n := range k.nodes(t, "") {
		eventually(t, 90*time.Second, "WARM_IP_TARGET", func() error {
			enis := w.podInterfaces(t, &n)
			if want := k.podsWithAddresses(t, n.Name) + 12; secondary(enis) != want {
				return fmt.Errorf("%s has %d addresses, want %d", n.Name, secondary(enis), want)
			}
			return nil
		})
	}

	t.Run("log", func(t *testing.T) {
		out := p.ok(t, "", "exec", "-n", "kube-system", ds, "-c", "aws-node", "--", "grep", "Using WARM_IP_TARGET", "/var/log/aws-routed-eni/ipamd.log")
		if !regexp.MustCompile(`"level":"debug","ts":"[^"]+","caller":"ipamd/ipamd.go","msg":"Using WARM_IP_TARGET 12"`).MatchString(out) {
			t.Errorf("ipamd.log: %s", out)
		}
		if out := p.ok(t, "", "logs", "-n", "kube-system", ds, "-c", "aws-node"); !strings.Contains(out, `msg="Starting IPAM daemon... "`) || strings.Contains(out, "WARM_IP_TARGET") {
			t.Errorf("logs: %s", out)
		}
	})

	// The add-on's values do the same.
	w.addon(t, "dev", "vpc-cni", func(in *eks.CreateAddonInput) {
		in.ResolveConflicts = ekstypes.ResolveConflictsOverwrite
		in.ConfigurationValues = aws.String(`{"env":{"WARM_IP_TARGET":"3","MINIMUM_IP_TARGET":"8","AWS_VPC_K8S_CNI_LOG_FILE":"stdout"}}`)
	})
	w.addonIs(t, "dev", "vpc-cni", ekstypes.AddonStatusActive)
	p.ok(t, "", "rollout", "status", ds, "-n", "kube-system", "--timeout=90s")
	for _, n := range k.nodes(t, "") {
		eventually(t, 3*time.Minute, "MINIMUM_IP_TARGET", func() error {
			enis := w.podInterfaces(t, &n)
			if want := max(k.podsWithAddresses(t, n.Name)+3, 8); secondary(enis) != want || len(enis) != 1 {
				return fmt.Errorf("%s has %d addresses on %d interfaces, want %d on one", n.Name, secondary(enis), len(enis), want)
			}
			return nil
		})
	}
	t.Run("log on standard output", func(t *testing.T) {
		if out := p.ok(t, "", "logs", "-n", "kube-system", ds, "-c", "aws-node"); !strings.Contains(out, "Using MINIMUM_IP_TARGET 8") {
			t.Errorf("logs: %s", out)
		}
		p.refused(t, "No such file", "exec", "-n", "kube-system", ds, "-c", "aws-node", "--", "cat", "/var/log/aws-routed-eni/ipamd.log")
	})

	t.Run("refused", func(t *testing.T) {
		p.ok(t, "", "set", "env", ds, "-n", "kube-system", "IP_COOLDOWN_PERIOD=30s")
		var crashed corev1.Pod
		eventually(t, time.Minute, "an aws-node pod crashes", func() error {
			for _, pod := range must(k.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: "k8s-app=aws-node"}))(t).Items {
				for _, s := range pod.Status.ContainerStatuses {
					if s.Name == "aws-node" && s.RestartCount > 0 && s.LastTerminationState.Terminated != nil && s.LastTerminationState.Terminated.ExitCode == 1 {
						crashed = pod
						return nil
					}
				}
			}
			return fmt.Errorf("none has")
		})
		if out := p.ok(t, "", "logs", "-n", "kube-system", crashed.Name, "-c", "aws-node", "--previous"); !strings.Contains(out, "IP_COOLDOWN_PERIOD MUST be a valid positive integer. 30s is invalid") {
			t.Errorf("logs: %s", out)
		}
		// A pod that comes to this node waits, and runs without anybody's help when the
		// setting is gone.
		pin := fmt.Sprintf(`{"spec":{"nodeName":%q}}`, crashed.Spec.NodeName)
		p.ok(t, "", "run", "late", "--image=nginx:1.29", "--overrides="+pin)
		eventually(t, 30*time.Second, "the pod has no sandbox", func() error {
			if m := k.podEvents(t, "late", "FailedCreatePodSandBox"); !anyContains(m, "failed (add): add cmd: Error received from AddNetwork gRPC call: rpc error: code = Unavailable") {
				return fmt.Errorf("events %q", m)
			}
			return nil
		})
		p.ok(t, "", "set", "env", ds, "-n", "kube-system", "IP_COOLDOWN_PERIOD-")
		k.pod(t, "late", "runs", podRuns)
	})
}

const eniConfig = `
apiVersion: crd.k8s.amazonaws.com/v1alpha1
kind: ENIConfig
metadata: {name: %s}
spec:
  securityGroups: [%s]
  subnet: %s
`

// TestCustomNetworking goes through AWS's own tutorial ("Customize the secondary
// network interface in Amazon EKS nodes"): pods get addresses of a second CIDR block.
func TestCustomNetworking(t *testing.T) {
	t.Parallel() // it waits more than it works
	tool(t, "kubectl")
	w := newWorld(t, start(t))
	c := w.cluster(t, "dev")
	k := w.kube(t, c)
	p := person{w.env(filepath.Join(t.TempDir(), "kubeconfig"))}
	runCLI(t, w.emulator, p.env, "kubeconfig", "dev", "--plugin", "ekslocal")
	ctx := t.Context()

	w.nodegroup(t, "dev", "before", 1)
	must(w.ec2.AssociateVpcCidrBlock(ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: &w.vpc, CidrBlock: aws.String("100.64.0.0/16")}))(t)
	subnets := map[string]string{}
	for i, az := range []string{"a", "b", "c"} {
		cidr := fmt.Sprintf("100.64.%d.0/24", i)
		eventually(t, 30*time.Second, "a subnet of the second block", func() error {
			s, err := w.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: &cidr, AvailabilityZone: aws.String(region + az)})
			if err == nil {
				subnets[region+az] = *s.Subnet.SubnetId
			}
			return err
		})
	}
	p.ok(t, "", "set", "env", "daemonset", "aws-node", "-n", "kube-system", "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true", "ENI_CONFIG_LABEL_DEF=topology.kubernetes.io/zone")
	p.ok(t, "", "rollout", "status", "daemonset/aws-node", "-n", "kube-system", "--timeout=90s")

	// Without an ENIConfig that can be used a new node does not become Ready: nobody
	// knows where its interfaces go.
	group := *c.ResourcesVpcConfig.ClusterSecurityGroupId
	p.ok(t, fmt.Sprintf(eniConfig, region+"b", group, "subnet-0123456789abcdef0"), "apply", "-f", "-")
	p.ok(t, fmt.Sprintf(eniConfig, region+"c", "sg-0123456789abcdef0", subnets[region+"c"]), "apply", "-f", "-")
	size := int32(3)
	must(w.eks.CreateNodegroup(ctx, &eks.CreateNodegroupInput{
		ClusterName: aws.String("dev"), NodegroupName: aws.String("after"), NodeRole: &w.node, Subnets: w.subnets, InstanceTypes: []string{"m5.large"},
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: &size, MaxSize: &size, DesiredSize: &size},
	}))(t)
	const after = "eks.amazonaws.com/nodegroup=after"
	var waiting []corev1.Pod
	zones := map[string]string{} // of the pods that wait
	eventually(t, time.Minute, "the daemons of new nodes have given up", func() error {
		waiting = nil
		for _, n := range k.nodes(t, after) {
			for _, pod := range must(k.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=aws-node", FieldSelector: "spec.nodeName=" + n.Name}))(t).Items {
				if m := k.eventsOf(t, "kube-system", pod.Name, "Unhealthy"); anyContains(m, `failed to connect service \":50051\" within 5s`) {
					waiting = append(waiting, pod)
					zones[pod.Name] = n.Labels[corev1.LabelTopologyZone]
				}
			}
			if nodeIsReady(&n) {
				t.Fatalf("%s is Ready without an ENIConfig", n.Name)
			}
		}
		if len(waiting) != 3 {
			return fmt.Errorf("%d of 3", len(waiting))
		}
		return nil
	})
	why := map[string]string{
		region + "a": "eniconfig: eniconfig is not available",
		region + "b": "InvalidSubnetID.NotFound",
		region + "c": "InvalidGroup.NotFound",
	}
	for _, pod := range waiting {
		out := p.ok(t, "", "exec", "-n", "kube-system", pod.Name, "-c", "aws-node", "--", "tail", "-n", "30", "/host/var/log/aws-routed-eni/ipamd.log")
		if zone := zones[pod.Name]; !strings.Contains(out, why[zone]) || !strings.Contains(out, "Found ENI Config Name: "+zone) {
			t.Errorf("ipamd.log in %s, want %q: %s", zone, why[zone], out)
		}
	}

	for az, id := range subnets {
		p.ok(t, fmt.Sprintf(eniConfig, az, group, id), "apply", "-f", "-")
	}
	p.refused(t, "spec.subnet: Required value", "create", "-f", writeFile(t, strings.Replace(fmt.Sprintf(eniConfig, "bad", group, "x"), "  subnet: x\n", "", 1)))
	// Containers would be started again by their liveness probes; deleting them is faster.
	for _, pod := range waiting {
		p.ok(t, "", "delete", "pod", "-n", "kube-system", pod.Name, "--wait=false")
	}
	w.nodegroupIs(t, "dev", "after", ekstypes.NodegroupStatusActive)

	pods := netip.MustParsePrefix("100.64.0.0/16")
	for _, n := range k.nodes(t, after) {
		if got := n.Status.Capacity.Pods().Value(); got != 20 {
			t.Errorf("%s takes %d pods, want 20: its primary interface has none", n.Name, got)
		}
		enis := w.podInterfaces(t, &n)
		if len(enis) < 2 || len(enis[0].PrivateIpAddresses) != 1 {
			t.Errorf("%s has %d interfaces, and %d addresses on the first", n.Name, len(enis), len(enis[0].PrivateIpAddresses))
			continue
		}
		for _, e := range enis[1:] {
			if *e.SubnetId != subnets[n.Labels[corev1.LabelTopologyZone]] || *e.Groups[0].GroupId != group {
				t.Errorf("%s in %s has %s in %s", n.Name, n.Labels[corev1.LabelTopologyZone], *e.NetworkInterfaceId, *e.SubnetId)
			}
		}
	}
	p.ok(t, "", "cordon", k.nodes(t, "eks.amazonaws.com/nodegroup=before")[0].Name)
	p.ok(t, "", "create", "deployment", "web", "--image=nginx:1.29", "--replicas=30")
	p.ok(t, "", "rollout", "status", "deployment/web", "--timeout=90s")
	for _, pod := range must(k.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"}))(t).Items {
		if ip, err := netip.ParseAddr(pod.Status.PodIP); err != nil || !pods.Contains(ip) {
			t.Errorf("%s has %q, %v", pod.Name, pod.Status.PodIP, err)
		}
	}

	// All of it is there after a restart.
	w.restart("--no-spare")
	p.ok(t, "", "scale", "deployment", "web", "--replicas=45")
	p.ok(t, "", "rollout", "status", "deployment/web", "--timeout=90s")
	for _, pod := range must(k.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"}))(t).Items {
		if ip, err := netip.ParseAddr(pod.Status.PodIP); err != nil || !pods.Contains(ip) {
			t.Errorf("after a restart %s has %q, %v", pod.Name, pod.Status.PodIP, err)
		}
	}
}

func nodeIsReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// TestMaxPods makes node groups of which user data or the CNI decides how many pods
// their nodes take.
func TestMaxPods(t *testing.T) {
	t.Parallel() // it waits more than it works
	tool(t, "kubectl")
	w := newWorld(t, start(t))
	k := w.kube(t, w.cluster(t, "dev"))
	p := person{w.env(filepath.Join(t.TempDir(), "kubeconfig"))}
	runCLI(t, w.emulator, p.env, "kubeconfig", "dev", "--plugin", "ekslocal")
	takes := func(t *testing.T, group string, want int64) {
		t.Helper()
		for _, n := range k.nodes(t, "eks.amazonaws.com/nodegroup="+group) {
			if got := n.Status.Capacity.Pods().Value(); got != want {
				t.Errorf("%s: a node takes %d pods, want %d", group, got, want)
			}
		}
	}
	w.nodegroup(t, "dev", "plain", 1)
	takes(t, "plain", 29)
	w.nodegroup(t, "dev", "large", 1, func(in *eks.CreateNodegroupInput) { in.InstanceTypes = []string{"c5.4xlarge"} })
	takes(t, "large", 110)
	p.ok(t, "", "set", "env", "daemonset", "aws-node", "-n", "kube-system", "ENABLE_PREFIX_DELEGATION=true")
	w.nodegroup(t, "dev", "prefixes", 1)
	takes(t, "prefixes", 110)
	takes(t, "plain", 29) // until its next update
	w.nodegroup(t, "dev", "mixed", 1, func(in *eks.CreateNodegroupInput) {
		in.InstanceTypes, in.CapacityType = []string{"m5.large", "t2.medium"}, ekstypes.CapacityTypesSpot
	})
	takes(t, "mixed", 17) // the smallest of its types, which has no prefixes

	t.Run("user data", func(t *testing.T) {
		for _, tc := range []struct {
			name, data string
			custom     bool
			want       int64
		}{
			{"nodeadm", "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  kubelet:\n    config: {maxPods: 37}\n", true, 37},
			{"expression", "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  kubelet:\n    maxPodsExpression: max_pods - 9\n", true, 20},
			{"bootstrap", "#!/bin/bash\n/etc/eks/bootstrap.sh dev --use-max-pods false --kubelet-extra-args '--max-pods=111'\n", true, 111},
			{"nothing", "#!/bin/bash\n/etc/eks/bootstrap.sh dev\n", true, 29},
			{"eks-wins", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"x\"\n\n--x\nContent-Type: application/node.eks.aws\n\n---\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  kubelet:\n    config: {maxPods: 200}\n\n--x--\n", false, 110},
		} {
			lt := w.launchTemplate(t, tc.name, tc.data, tc.custom)
			w.nodegroup(t, "dev", tc.name, 1, func(in *eks.CreateNodegroupInput) {
				in.LaunchTemplate = lt
				in.InstanceTypes = []string{"m5.large"}
			})
			takes(t, tc.name, tc.want)
		}
	})
}

// launchTemplate makes one with user data; custom gives it an image too, so that EKS
// adds nothing of its own.
func (w *world) launchTemplate(t *testing.T, name, data string, custom bool) *ekstypes.LaunchTemplateSpecification {
	t.Helper()
	d := &ec2types.RequestLaunchTemplateData{UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(data)))}
	if custom {
		p := must(w.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{
			Name: aws.String("/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id"),
		}))(t)
		d.ImageId = p.Parameter.Value
	}
	lt := must(w.ec2.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: &name, LaunchTemplateData: d}))(t)
	return &ekstypes.LaunchTemplateSpecification{Id: lt.LaunchTemplate.LaunchTemplateId}
}

// eventsOf are the messages that an object has for a reason, if any yet.
func (k *kube) eventsOf(t *testing.T, namespace, name, reason string) (out []string) {
	t.Helper()
	for _, e := range must(k.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name}))(t).Items {
		if e.Reason == reason {
			out = append(out, e.Message)
		}
	}
	return out
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
