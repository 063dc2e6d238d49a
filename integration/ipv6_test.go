package integration

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
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
)

// crowdManifest is more pods than two /27 subnets have IPv4 addresses for.
const crowdManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: crowd}
spec:
  replicas: 46
  selector: {matchLabels: {app: crowd}}
  template:
    metadata: {labels: {app: crowd}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "public.ecr.aws/nginx/nginx:1.29", ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: crowd}
spec: {selector: {app: crowd}, ports: [{port: 80}]}
`

const crowdSize = 46

// shrink moves the world into two small subnets with IPv6 networks.
func (w *world) shrink(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	must(w.ec2.AssociateVpcCidrBlock(ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: &w.vpc, AmazonProvidedIpv6CidrBlock: aws.Bool(true)}))(t)
	var v6 [16]byte
	eventually(t, 30*time.Second, "the VPC's IPv6 network", func() error {
		a := must(w.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{w.vpc}}))(t).Vpcs[0].Ipv6CidrBlockAssociationSet
		p, err := netip.ParsePrefix(aws.ToString(a[0].Ipv6CidrBlock))
		v6 = p.Addr().As16()
		return err
	})
	w.subnets, w.cidrs = nil, nil
	for i, az := range []string{"a", "b"} {
		v4, six := fmt.Sprintf("10.0.240.%d/27", i*32), v6
		six[7] = byte(i)
		s := must(w.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{
			VpcId: &w.vpc, CidrBlock: &v4, Ipv6CidrBlock: aws.String(netip.PrefixFrom(netip.AddrFrom16(six), 64).String()), AvailabilityZone: aws.String(region + az),
		}))(t)
		w.subnets = append(w.subnets, *s.Subnet.SubnetId)
		w.cidrs = append(w.cidrs, netip.MustParsePrefix(v4))
	}
}

// TestIPv6 runs into the end of two small subnets with an IPv4 cluster, and then does
// what the EKS user guide says under "Learn about IPv6 addresses to clusters, pods, and
// services": the same pods in a new cluster of the IPv6 family.
func TestIPv6(t *testing.T) {
	t.Parallel() // it waits more than it works
	tool(t, "kubectl")
	w := newWorld(t, start(t))
	w.shrink(t)
	dir := t.TempDir()
	w.starves(t, person{w.env(filepath.Join(dir, "four"))})

	six := func(in *eks.CreateClusterInput) {
		in.KubernetesNetworkConfig = &ekstypes.KubernetesNetworkConfigRequest{IpFamily: ekstypes.IpFamilyIpv6}
	}
	c := w.cluster(t, "six", six)
	services := netip.MustParsePrefix(aws.ToString(c.KubernetesNetworkConfig.ServiceIpv6Cidr))
	w.wantsAssignment(t)
	w.nodegroup(t, "six", "ng", 2)
	p := person{w.env(filepath.Join(dir, "six"))}
	runCLI(t, w.emulator, p.env, "kubeconfig", "six", "--plugin", "ekslocal")
	p.ok(t, crowdManifest, "apply", "-f", "-")
	p.ok(t, "", "rollout", "status", "deployment/crowd", "--timeout=90s")
	k := w.kube(t, c)

	was := w.inPrefixes(t, k)
	t.Run("services", func(t *testing.T) { k.sixServices(t, services) })
	t.Run("nodes", func(t *testing.T) { k.sixNodes(t) })
	t.Run("exec", func(t *testing.T) {
		// By way of the node's IPv6 address.
		if out := p.ok(t, "", "exec", "deployment/crowd", "--", "cat", "/etc/resolv.conf"); !strings.Contains(out, "nameserver "+tenth(services)) {
			t.Errorf("resolv.conf: %s", out)
		}
	})
	t.Run("kill", func(t *testing.T) {
		w.kill()
		w.run()
		eventually(t, time.Minute, "the pods run on", func() error { // with their addresses
			pods, err := k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=crowd"})
			if err != nil {
				return err // the control plane comes back after the endpoint
			}
			now := map[string]string{}
			for _, p := range pods.Items {
				now[p.Name] = p.Status.PodIP
			}
			for name, ip := range was {
				if now[name] != ip {
					return fmt.Errorf("%s has %s, had %s", name, now[name], ip)
				}
			}
			return nil
		})
		p.ok(t, "", "delete", "pod", "-l", "app=crowd", "--wait=false")
		p.ok(t, "", "rollout", "status", "deployment/crowd", "--timeout=90s")
		w.inPrefixes(t, k)
	})
	t.Run("security groups", func(t *testing.T) { w.sixGuarded(t, k, p) })
	w.leave(t, "six")
	for _, s := range w.subnets {
		if _, err := w.ec2.DeleteSubnet(t.Context(), &ec2.DeleteSubnetInput{SubnetId: &s}); err != nil {
			t.Errorf("what is left of the cluster: %v: %s", err, w.interfacesIn(t, s))
		}
	}
}

// interfacesIn says what holds a subnet.
func (w *world) interfacesIn(t *testing.T, subnet string) string {
	enis := must(w.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{
		Filters: []ec2types.Filter{{Name: aws.String("subnet-id"), Values: []string{subnet}}},
	}))(t).NetworkInterfaces
	text, err := json.Marshal(enis)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// starves shows what an IPv4 cluster comes to in these subnets.
func (w *world) starves(t *testing.T, p person) {
	c := w.cluster(t, "four")
	w.nodegroup(t, "four", "ng", 2)
	runCLI(t, w.emulator, p.env, "kubeconfig", "four", "--plugin", "ekslocal")
	p.ok(t, crowdManifest, "apply", "-f", "-")
	k := w.kube(t, c)
	eventually(t, time.Minute, "pods wait for addresses", func() error {
		out := p.ok(t, "", "get", "events", "--field-selector", "reason=FailedCreatePodSandBox", "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(out, "add cmd: failed to assign an IP address to container") {
			return fmt.Errorf("events: %s", out)
		}
		return nil
	})
	if n := len(k.running(t)); n == 0 || n >= crowdSize {
		t.Errorf("%d of %d pods run with IPv4", n, crowdSize)
	}
	w.leave(t, "four")
}

func (k *kube) running(t *testing.T) []corev1.Pod {
	t.Helper()
	pods := must(k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=crowd"}))(t).Items
	return slices.DeleteFunc(pods, func(p corev1.Pod) bool { return !podRuns(&p) || p.DeletionTimestamp != nil })
}

// leave deletes a cluster and its node group.
func (w *world) leave(t *testing.T, cluster string) {
	t.Helper()
	must(w.eks.DeleteNodegroup(t.Context(), &eks.DeleteNodegroupInput{ClusterName: &cluster, NodegroupName: aws.String("ng")}))(t)
	waiter := eks.NewNodegroupDeletedWaiter(w.eks)
	if err := waiter.Wait(t.Context(), &eks.DescribeNodegroupInput{ClusterName: &cluster, NodegroupName: aws.String("ng")}, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	must(w.eks.DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: &cluster}))(t)
	gone := eks.NewClusterDeletedWaiter(w.eks)
	if err := gone.Wait(t.Context(), &eks.DescribeClusterInput{Name: &cluster}, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
}

// wantsAssignment has a node group fail in subnets that give no IPv6 addresses to
// instances, and lets them.
func (w *world) wantsAssignment(t *testing.T) {
	must(w.eks.CreateNodegroup(t.Context(), &eks.CreateNodegroupInput{
		ClusterName: aws.String("six"), NodegroupName: aws.String("early"), NodeRole: &w.node, Subnets: w.subnets, InstanceTypes: []string{"m5.large"},
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(0), MaxSize: aws.Int32(2), DesiredSize: aws.Int32(2)},
	}))(t)
	ng := w.nodegroupIs(t, "six", "early", ekstypes.NodegroupStatusCreateFailed)
	issues := ng.Health.Issues
	if len(issues) != 1 || issues[0].Code != ekstypes.NodegroupIssueCodeEc2SubnetMissingIpv6Assignment || !slices.Equal(issues[0].ResourceIds, w.subnets) {
		t.Errorf("issues %+v", issues)
	}
	must(w.eks.DeleteNodegroup(t.Context(), &eks.DeleteNodegroupInput{ClusterName: aws.String("six"), NodegroupName: aws.String("early")}))(t)
	for _, s := range w.subnets {
		must(w.ec2.ModifySubnetAttribute(t.Context(), &ec2.ModifySubnetAttributeInput{
			SubnetId: &s, AssignIpv6AddressOnCreation: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)},
		}))(t)
	}
}

// inPrefixes checks that every pod's only address is in the one /80 prefix of its
// node, and returns the addresses.
func (w *world) inPrefixes(t *testing.T, k *kube) map[string]string {
	t.Helper()
	prefixes := map[string]netip.Prefix{}
	for _, n := range k.nodes(t, "") {
		enis := w.podInterfaces(t, &n)
		if len(enis) != 1 || len(enis[0].Ipv6Prefixes) != 1 || len(enis[0].PrivateIpAddresses) != 1 || len(enis[0].Ipv6Addresses) != 1 {
			b, _ := json.Marshal(enis)
			t.Fatalf("interfaces of %s: %s", n.Name, b)
		}
		prefixes[n.Name] = netip.MustParsePrefix(*enis[0].Ipv6Prefixes[0].Ipv6Prefix)
		if b := prefixes[n.Name].Bits(); b != 80 {
			t.Errorf("a prefix of /%d", b)
		}
	}
	pods, owner := k.running(t), map[string]string{}
	if len(pods) != crowdSize {
		t.Errorf("%d pods run, want %d", len(pods), crowdSize)
	}
	out := map[string]string{}
	for _, p := range pods {
		ip, err := netip.ParseAddr(p.Status.PodIP)
		if err != nil || !prefixes[p.Spec.NodeName].Contains(ip) || len(p.Status.PodIPs) != 1 || owner[p.Status.PodIP] != "" {
			t.Errorf("%s on %s has %v (%s has it too), the prefix is %s", p.Name, p.Spec.NodeName, p.Status.PodIPs, owner[p.Status.PodIP], prefixes[p.Spec.NodeName])
		}
		owner[p.Status.PodIP], out[p.Name] = p.Name, p.Status.PodIP
	}
	return out
}

// tenth is the DNS service's address.
func tenth(services netip.Prefix) string {
	a := services.Addr().As16()
	a[15] = 10
	return netip.AddrFrom16(a).String()
}

// sixServices looks at services and endpoints, all of them of one family.
func (k *kube) sixServices(t *testing.T, services netip.Prefix) {
	for _, want := range []struct{ namespace, name, ip string }{
		{"default", "kubernetes", services.Addr().Next().String()}, {"kube-system", "kube-dns", tenth(services)}, {"default", "crowd", ""},
	} {
		s := must(k.CoreV1().Services(want.namespace).Get(t.Context(), want.name, metav1.GetOptions{}))(t)
		ip, err := netip.ParseAddr(s.Spec.ClusterIP)
		if err != nil || !services.Contains(ip) || want.ip != "" && ip.String() != want.ip || !slices.Equal(s.Spec.IPFamilies, []corev1.IPFamily{corev1.IPv6Protocol}) {
			t.Errorf("service %s: %s %v in %s", want.name, s.Spec.ClusterIP, s.Spec.IPFamilies, services)
		}
		eventually(t, time.Minute, "endpoints of "+want.name, func() error { // a Deployment is rolled out before they are there
			slices := must(k.DiscoveryV1().EndpointSlices(want.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + want.name}))(t).Items
			n := 0
			for _, e := range slices {
				n += len(e.Endpoints)
				if e.AddressType != "IPv6" {
					t.Errorf("endpoints of %s: %s", want.name, e.AddressType)
				}
			}
			if n == 0 || want.name == "crowd" && n != crowdSize {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
	}
}

// sixNodes: a node has its IPv6 address only, though its name is made of the other.
func (k *kube) sixNodes(t *testing.T) {
	for _, n := range k.nodes(t, "") {
		var ips []string
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
				ips = append(ips, a.Address)
			}
		}
		if len(ips) != 1 || !netip.MustParseAddr(ips[0]).Is6() || !strings.HasPrefix(n.Name, "ip-10-0-240-") || n.Status.Capacity.Pods().Value() != 110 {
			t.Errorf("%s: %v, %s pods", n.Name, ips, n.Status.Capacity.Pods())
		}
	}
}

// sixGuarded gives a pod of an IPv6 cluster security groups of its own, by a branch
// interface, and one on Fargate, whose machine has an IPv6 address too.
func (w *world) sixGuarded(t *testing.T, k *kube, p person) {
	group := *must(w.ec2.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("pods"), Description: aws.String("pods"), VpcId: &w.vpc}))(t).GroupId
	p.ok(t, "", "create", "namespace", "serverless")
	for _, ns := range []string{"default", "serverless"} {
		p.ok(t, fmt.Sprintf(policyManifest, "guard", "podSelector", group), "apply", "-n", ns, "-f", "-")
	}
	p.ok(t, "", "set", "env", "daemonset/aws-node", "-n", "kube-system", "ENABLE_POD_ENI=true")
	p.ok(t, "", "rollout", "status", "daemonset/aws-node", "-n", "kube-system", "--timeout=90s")
	w.fargateProfile(t, "six", "serverless", w.role(t, "fargate", "eks-fargate-pods.amazonaws.com", "AmazonEKSFargatePodExecutionRolePolicy"), selector("serverless"))
	for _, ns := range []string{"default", "serverless"} {
		p.ok(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"guarded","labels":{"role":"my-role"}},"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"web","image":"x"}]}}`, "apply", "-n", ns, "-f", "-")
		p.ok(t, "", "wait", "-n", ns, "--for=condition=Ready", "pod/guarded", "--timeout=90s")
		pod := must(k.CoreV1().Pods(ns).Get(t.Context(), "guarded", metav1.GetOptions{}))(t)
		enis := must(w.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{
			Filters: []ec2types.Filter{{Name: aws.String("ipv6-addresses.ipv6-address"), Values: []string{pod.Status.PodIP}}},
		}))(t).NetworkInterfaces
		if len(enis) != 1 || len(enis[0].Groups) != 1 || *enis[0].Groups[0].GroupId != group {
			t.Errorf("%s has %s: %+v", ns, pod.Status.PodIP, enis)
		}
		p.ok(t, "", "delete", "pod", "guarded", "-n", ns, "--timeout=30s")
	}
	must(w.eks.DeleteFargateProfile(t.Context(), &eks.DeleteFargateProfileInput{ClusterName: aws.String("six"), FargateProfileName: aws.String("serverless")}))(t)
	if err := eks.NewFargateProfileDeletedWaiter(w.eks).Wait(t.Context(), &eks.DescribeFargateProfileInput{ClusterName: aws.String("six"), FargateProfileName: aws.String("serverless")}, fargatePatience); err != nil {
		t.Fatal(err)
	}
}
