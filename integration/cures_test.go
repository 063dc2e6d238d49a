package integration

import (
	"errors"
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

// TestCures takes pods that get no address out of their trouble as AWS's documentation
// says, where new nodes are part of it. Each cure has its own nodes and pods of one
// cluster, whose own subnets are two of 27 addresses.
func TestCures(t *testing.T) {
	t.Parallel() // it waits more than it works
	tool(t, "kubectl")
	w := newWorld(t, start(t))
	small := []string{w.small(t, "10.0.200.0/27", "a"), w.small(t, "10.0.200.32/27", "b")}
	k := w.kube(t, w.cluster(t, "dev", func(in *eks.CreateClusterInput) { in.ResourcesVpcConfig.SubnetIds = small }))
	p := person{w.env(filepath.Join(t.TempDir(), "kubeconfig"))}
	runCLI(t, w.emulator, p.env, "kubeconfig", "dev", "--plugin", "ekslocal")
	w.nodegroup(t, "dev", "system", 1) // CoreDNS is there, and stays
	of := func(name string) *patient { return &patient{w, k, p, name} }

	t.Run("larger instance type", of("type").largerType)
	t.Run("bigger subnets", func(t *testing.T) { of("subnets").biggerSubnets(t, small) })
	t.Run("prefix delegation", of("prefixes").prefixes)
	t.Run("fragmented subnet", of("fragments").fragments)
}

// patient is a Deployment with nodes of its own.
type patient struct {
	*world
	k    *kube
	p    person
	name string
}

// group makes a node group whose nodes are the patient's.
func (c *patient) group(t *testing.T, name string, size int32, change ...func(*eks.CreateNodegroupInput)) {
	t.Helper()
	c.nodegroup(t, "dev", name, size, append(change, func(in *eks.CreateNodegroupInput) {
		in.Labels = map[string]string{"patient": c.name}
	})...)
}

// deploy spreads pods evenly over the patient's nodes.
func (c *patient) deploy(t *testing.T, replicas int32) {
	t.Helper()
	d := deployment(c.name, replicas)
	honor := corev1.NodeInclusionPolicyHonor // else a drained node counts
	d.Spec.Template.Spec.NodeSelector = map[string]string{"patient": c.name}
	d.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		TopologyKey: corev1.LabelHostname, MaxSkew: 1, WhenUnsatisfiable: corev1.DoNotSchedule, NodeTaintsPolicy: &honor, LabelSelector: d.Spec.Selector,
	}}
	must(c.k.AppsV1().Deployments("default").Create(t.Context(), d, metav1.CreateOptions{}))(t)
}

func (c *patient) pods(t *testing.T) []corev1.Pod {
	t.Helper()
	return must(c.k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + c.name}))(t).Items
}

// suffers waits until just run pods of the Deployment run and each other one is as
// waits wants it.
func (c *patient) suffers(t *testing.T, run, all int, waits func(*corev1.Pod) bool) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("%d of %d pods of %s run", run, all, c.name), func() error {
		n := 0
		pods := c.pods(t)
		for _, p := range pods {
			if podRuns(&p) {
				n++
			} else if !waits(&p) {
				return fmt.Errorf("%s does not run, but: %+v", p.Name, p.Status)
			}
		}
		if n != run || len(pods) != all {
			return fmt.Errorf("%d of %d do", n, len(pods))
		}
		return nil
	})
}

// noAddress tells whether a pod waits because the CNI has no address for it.
func (c *patient) noAddress(t *testing.T) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return waitsFor("ContainerCreating")(p) && anyContains(c.k.eventsOf(t, "default", p.Name, "FailedCreatePodSandBox"),
			"failed (add): add cmd: failed to assign an IP address to container")
	}
}

// moves empties and deletes a node group as AWS says, and waits until all pods run.
func (c *patient) moves(t *testing.T, from string, all int) {
	t.Helper()
	group := "eks.amazonaws.com/nodegroup=" + from
	c.p.ok(t, "", "cordon", "-l", group)
	c.p.ok(t, "", "drain", "-l", group, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=100s")
	c.deleteNodegroup(t, "dev", from)
	eventually(t, time.Minute, "all pods of "+c.name+" run", func() error {
		run := 0
		for _, p := range c.pods(t) {
			if podRuns(&p) {
				run++
			}
		}
		if run != all {
			return fmt.Errorf("%d of %d do", run, all)
		}
		return nil
	})
	for _, p := range c.pods(t) {
		if n := p.Status.ContainerStatuses[0].RestartCount; n != 0 {
			t.Errorf("%s started %d times anew", p.Name, n)
		}
	}
}

// decided waits until ipamd of some node of a group has logged something.
func (c *patient) decided(t *testing.T, group, want string) {
	t.Helper()
	eventually(t, 30*time.Second, "ipamd says "+want, func() error {
		for _, n := range c.k.nodes(t, "eks.amazonaws.com/nodegroup="+group) {
			daemon := must(c.k.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{
				LabelSelector: "k8s-app=aws-node", FieldSelector: "spec.nodeName=" + n.Name,
			}))(t).Items
			if len(daemon) != 1 {
				continue
			}
			if out := c.p.ok(t, "", "exec", "-n", "kube-system", daemon[0].Name, "-c", "aws-node", "--", "cat", "/host/var/log/aws-routed-eni/ipamd.log"); strings.Contains(out, want) {
				return nil
			}
		}
		return errors.New("none does")
	})
}

// largerType is the shortage that no subnet cures: a t3.small has nine addresses for
// pods, and so EKS lets it take no more (nine and two of the host's network).
func (c *patient) largerType(t *testing.T) {
	const all = 20
	c.group(t, "t3-small", 1, func(in *eks.CreateNodegroupInput) { in.InstanceTypes = []string{"t3.small"} })
	c.deploy(t, all)
	c.suffers(t, 9, all, func(p *corev1.Pod) bool {
		return strings.Contains(podCondition(p, corev1.PodScheduled).Message, "Too many pods")
	})
	c.group(t, "m5-large", 1)
	c.moves(t, "t3-small", all)
}

// biggerSubnets moves the cluster and its nodes: a subnet cannot grow.
func (c *patient) biggerSubnets(t *testing.T, small []string) {
	const all = 45
	c.group(t, "cramped", 3, func(in *eks.CreateNodegroupInput) { in.Subnets = small })
	c.deploy(t, all)
	// Of 26 addresses beside the control plane's a subnet gives two interfaces with nine
	// for pods each: one node has 18, two have nine each, for fifteen pods on every node.
	c.suffers(t, 33, all, c.noAddress(t))
	c.decided(t, "cramped", "InsufficientFreeAddressesInSubnet")

	big := []string{c.small(t, "10.0.64.0/22", "a"), c.small(t, "10.0.68.0/22", "b")}
	u := must(c.eks.UpdateClusterConfig(t.Context(), &eks.UpdateClusterConfigInput{
		Name: aws.String("dev"), ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: big},
	}))(t).Update
	c.updated(t, &eks.DescribeUpdateInput{Name: aws.String("dev"), UpdateId: u.Id}, ekstypes.UpdateStatusSuccessful)
	c.group(t, "roomy", 3, func(in *eks.CreateNodegroupInput) { in.Subnets = big })
	c.moves(t, "cramped", all)
	c.freeIn(t, map[string]int{small[0]: 27, small[1]: 27})
	for _, s := range small {
		must(c.ec2.DeleteSubnet(t.Context(), &ec2.DeleteSubnetInput{SubnetId: &s}))(t)
	}
}

// prefixes is for nodes whose kubelet takes more pods than their interfaces have
// addresses. Interfaces that are full of addresses have no place for a prefix, and so
// there are new nodes.
func (c *patient) prefixes(t *testing.T) {
	const all = 40
	dense := c.launchTemplate(t, "dense", "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  kubelet:\n    config: {maxPods: 110}\n", true)
	c.group(t, "addresses", 1, func(in *eks.CreateNodegroupInput) { in.LaunchTemplate = dense })
	c.deploy(t, all)
	c.suffers(t, 27, all, c.noAddress(t)) // an m5.large has three interfaces of nine
	c.decided(t, "addresses", "Skipping ENI allocation as the max ENI limit is already reached")

	c.p.ok(t, "", "set", "env", "daemonset", "aws-node", "-n", "kube-system", "ENABLE_PREFIX_DELEGATION=true", "WARM_PREFIX_TARGET=1")
	c.p.ok(t, "", "rollout", "status", "daemonset/aws-node", "-n", "kube-system", "--timeout=100s")
	c.suffers(t, 27, all, c.noAddress(t))
	c.group(t, "prefixes", 1)
	c.moves(t, "addresses", all)
	node := c.k.nodes(t, "eks.amazonaws.com/nodegroup=prefixes")[0]
	enis := c.podInterfaces(t, &node)
	if n := len(enis[0].Ipv4Prefixes); len(enis) != 1 || n != 4 { // three for 40 pods, one warm
		t.Errorf("%d interfaces, the first with %d prefixes", len(enis), n)
	}
	if got := node.Status.Capacity.Pods().Value(); got != 110 {
		t.Errorf("the node takes %d pods", got)
	}
}

// fragments is a subnet with free addresses but no sixteen of them in a row that a
// prefix could be. New subnets, and a reservation that keeps single addresses away
// from prefixes, are what AWS says.
func (c *patient) fragments(t *testing.T) {
	const all = 20
	torn := c.small(t, "10.0.96.0/26", "a")
	must(c.ec2.CreateNetworkInterface(t.Context(), &ec2.CreateNetworkInterfaceInput{
		SubnetId: &torn, PrivateIpAddresses: []ec2types.PrivateIpAddressSpecification{
			{PrivateIpAddress: aws.String("10.0.96.20"), Primary: aws.Bool(true)}, {PrivateIpAddress: aws.String("10.0.96.40")},
		},
	}))(t)
	c.group(t, "torn", 1, func(in *eks.CreateNodegroupInput) { in.Subnets = []string{torn} })
	c.deploy(t, all)
	c.suffers(t, 0, all, c.noAddress(t))
	c.decided(t, "torn", "InsufficientCidrBlocks")
	if n := *c.subnet(t, torn).AvailableIpAddressCount; n != 56 {
		t.Errorf("%d of 59 addresses are free, want all but three", n)
	}

	whole := c.small(t, "10.0.97.0/24", "a")
	reserved := netip.MustParsePrefix("10.0.97.128/25")
	must(c.ec2.CreateSubnetCidrReservation(t.Context(), &ec2.CreateSubnetCidrReservationInput{
		SubnetId: &whole, Cidr: aws.String(reserved.String()), ReservationType: ec2types.SubnetCidrReservationTypePrefix,
	}))(t)
	c.group(t, "whole", 1, func(in *eks.CreateNodegroupInput) { in.Subnets = []string{whole} })
	c.moves(t, "torn", all)
	for _, p := range c.pods(t) {
		if ip, err := netip.ParseAddr(p.Status.PodIP); err != nil || !reserved.Contains(ip) {
			t.Errorf("%s has %q, which is not reserved for prefixes", p.Name, p.Status.PodIP)
		}
	}
	for _, n := range c.k.nodes(t, "eks.amazonaws.com/nodegroup=whole") {
		if slices.ContainsFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool {
			ip, err := netip.ParseAddr(a.Address)
			return err == nil && reserved.Contains(ip)
		}) {
			t.Errorf("the node's own address is reserved for prefixes: %v", n.Status.Addresses)
		}
	}
}

func (w *world) subnet(t *testing.T, id string) ec2types.Subnet {
	t.Helper()
	return must(w.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: []string{id}}))(t).Subnets[0]
}
