package integration

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestKindVPC is what may change under nodes that run: their VPC gets a second block of
// addresses, pods move to it, prefixes take the place of addresses, and the cluster gets
// another certificate authority. make test-kind-all provides the engine and the node image.
func TestKindVPC(t *testing.T) {
	t.Parallel()
	// kind gives nodes the proxy of their user. Nothing in a cluster is behind it.
	k := newKindPods(t, 1, "HTTP_PROXY=http://192.0.2.1:3128", "HTTPS_PROXY=http://192.0.2.1:3128")
	k.kindWorkload(t, "one", &k.nodes[0])
	k.ok(t, "", "expose", "pod", "one", "--port", "80")
	for _, s := range []struct {
		name string
		do   func(t *testing.T)
	}{{"a second block", k.secondBlock}, {"custom networking", k.customNetworking}, {"prefixes", k.prefixes}, {"another authority", k.anotherAuthority}} {
		if !t.Run(s.name, s.do) {
			return // what follows builds on it
		}
	}
}

// newKindPods makes a kind cluster with so many real nodes in one node group, and kubectl
// for it.
func newKindPods(t *testing.T, size int32, env ...string) *kindPods {
	t.Helper()
	image := nodeImage(t)
	tool(t, "kubectl")
	w := newWorld(t, startWith(t, env, "--no-spare", "--backend", "kind", "--kind-node-image", image))
	c := w.cluster(t, "real")
	t.Cleanup(func() {
		w.stop() // or it would make what is removed
		removeContainers(t, c)
		for _, n := range networksOf(t, w.vpc) {
			docker(t, "network", "rm", n)
		}
	})
	k := &kindPods{world: w, kube: w.kube(t, c), cluster: c, person: person{w.env(filepath.Join(t.TempDir(), "kubeconfig"))}}
	runCLI(t, w.emulator, k.env, "kubeconfig", "real", "--plugin", "ekslocal")
	k.nodes = k.group(t, "ng", size)
	return k
}

// group makes a node group, in as many zones as it has nodes, and waits for its nodes.
func (k *kindPods) group(t *testing.T, name string, size int32) []corev1.Node {
	t.Helper()
	began := time.Now()
	k.startNodegroup(t, "real", name, size, func(in *eks.CreateNodegroupInput) {
		in.InstanceTypes, in.Subnets = []string{"m5.large"}, k.subnets[:size]
	})
	eventually(t, 4*time.Minute, "the node group is ACTIVE", func() error {
		if ng := k.nodegroupNow(t, "real", name); ng.Status != ekstypes.NodegroupStatusActive {
			return fmt.Errorf("it is %s, %+v", ng.Status, ng.Health.Issues)
		}
		return nil
	})
	t.Logf("%d nodes after %s", size, time.Since(began).Round(100*time.Millisecond))
	nodes := k.kube.nodes(t, "eks.amazonaws.com/nodegroup="+name)
	if len(nodes) != int(size) {
		t.Fatalf("%d nodes, want %d", len(nodes), size)
	}
	return nodes
}

// kindWorkload starts a web server on a node and returns its address.
func (k *kindPods) kindWorkload(t *testing.T, name string, on *corev1.Node) netip.Addr {
	t.Helper()
	k.ok(t, fmt.Sprintf(kindWorkload, name, on.Name, false, 80), "apply", "-f", "-")
	ip, err := netip.ParseAddr(k.kindPod(t, name).Status.PodIP)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return ip
}

// reaches: pods reach each other both ways, the control plane reaches both, and kubectl
// comes to the second.
func (k *kindPods) reaches(t *testing.T, one, other string) {
	t.Helper()
	a, b := k.kindPod(t, one).Status.PodIP, k.kindPod(t, other).Status.PodIP
	eventually(t, time.Minute, one+" reaches "+other, func() error { return k.fetch(t, one, b, 80) })
	eventually(t, time.Minute, other+" reaches "+one, func() error { return k.fetch(t, other, a, 80) })
	eventually(t, time.Minute, other+" reaches the service one", func() error { return k.fetch(t, other, "one.default.svc.cluster.local", 80) })
	for _, ip := range []string{a, b} {
		if out, err := dockerOut("exec", containerOf(t, k.cluster, "-control-plane"), "timeout", "5", "bash", "-c", "</dev/tcp/"+ip+"/80"); err != nil {
			t.Errorf("the control plane does not reach %s: %v: %s", ip, err, out)
		}
	}
	if out := k.ok(t, "", "logs", other); !strings.Contains(out, "response:200") {
		t.Errorf("the log of %s: %q", other, out)
	}
}

var secondBlock = netip.MustParsePrefix("100.64.0.0/16")

// secondBlock: nodes that run route to a block that their VPC gets, and pods keep their
// address there.
func (k *kindPods) secondBlock(t *testing.T) {
	must(k.ec2.AssociateVpcCidrBlock(t.Context(), &ec2.AssociateVpcCidrBlockInput{VpcId: &k.vpc, CidrBlock: aws.String(secondBlock.String())}))(t)
	route := func(container, src string) error {
		out, err := dockerOut("exec", container, "ip", "-o", "route", "show", secondBlock.String())
		if err == nil && !strings.Contains(out, "src "+src) {
			err = errors.New("no route")
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %q", container, err, out)
		}
		return nil
	}
	eventually(t, 30*time.Second, "the node has a route", func() error { return route(k.container(t, 0), nodeIP(&k.nodes[0])) })
	eventually(t, 30*time.Second, "the control plane has a route", func() error { return route(containerOf(t, k.cluster, "-control-plane"), "198.1") })
	eventually(t, 40*time.Second, "the node leaves the addresses of its pods alone", func() error {
		return k.onNode(t, 0, "iptables -t nat -S AWS-SNAT-CHAIN-0 | grep -q -- '-d "+secondBlock.String()+" '")
	})
	// With the next start too.
	eventually(t, time.Second, "the unit's settings have it", func() error {
		return k.onNode(t, 0, "grep -q "+secondBlock.String()+" /etc/ekslocal/network.env")
	})
}

func nodeIP(n *corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}

// setDaemon gives aws-node settings, and waits until all of its containers have them.
func (k *kindPods) setDaemon(t *testing.T, settings ...string) {
	t.Helper()
	k.ok(t, "", append([]string{"set", "env", "daemonset/aws-node", "-n", "kube-system"}, settings...)...)
	k.ok(t, "", "rollout", "status", "daemonset/aws-node", "-n", "kube-system", "--timeout=120s")
}

// customNetworking is AWS's tutorial ("Customize the secondary network interface in
// Amazon EKS nodes"): new nodes' pods have addresses of the second block.
func (k *kindPods) customNetworking(t *testing.T) {
	zone := k.nodes[0].Labels[corev1.LabelTopologyZone]
	cidr := netip.PrefixFrom(secondBlock.Addr(), 24)
	subnet := k.small(t, cidr.String(), strings.TrimPrefix(zone, region))
	k.ok(t, fmt.Sprintf(eniConfig, zone, *k.cluster.ResourcesVpcConfig.ClusterSecurityGroupId, subnet), "apply", "-f", "-")
	k.setDaemon(t, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true", "ENI_CONFIG_LABEL_DEF=topology.kubernetes.io/zone")
	node := &k.group(t, "custom", 1)[0]
	if ip := k.kindWorkload(t, "custom", node); !cidr.Contains(ip) {
		t.Errorf("a pod has %s, which is not of the second block", ip)
	}
	k.reaches(t, "one", "custom")
	for _, e := range k.podInterfaces(t, node)[1:] {
		if *e.SubnetId != subnet {
			t.Errorf("interface %s is in %s", *e.NetworkInterfaceId, *e.SubnetId)
		}
	}
}

// prefixes: nodes have blocks of sixteen addresses, and pods theirs out of these.
func (k *kindPods) prefixes(t *testing.T) {
	k.setDaemon(t, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=false", "ENABLE_PREFIX_DELEGATION=true", "WARM_PREFIX_TARGET=1")
	node := &k.group(t, "prefixed", 1)[0]
	if got := node.Status.Capacity.Pods().Value(); got != 110 {
		t.Errorf("the node takes %d pods, want 110", got)
	}
	ip := k.kindWorkload(t, "prefixed", node)
	in := false
	for _, e := range k.podInterfaces(t, node) {
		for _, p := range e.Ipv4Prefixes {
			in = in || netip.MustParsePrefix(*p.Ipv4Prefix).Contains(ip)
		}
		if n := len(e.PrivateIpAddresses); n != 1 {
			t.Errorf("interface %s has %d addresses beside its prefixes", *e.NetworkInterfaceId, n-1)
		}
	}
	if !in {
		t.Errorf("the pod has %s, which is of no prefix", ip)
	}
	k.reaches(t, "one", "prefixed")
	k.reaches(t, "custom", "prefixed")
}

// anotherAuthority: nodes and pods live through a rotation, with what AWS asks of who
// rotates: workloads that talk to the API server are started again before the first
// authority is gone.
func (k *kindPods) anotherAuthority(t *testing.T) {
	ctx := t.Context()
	r := &rotation{k.world, t, k.cluster.Name, map[string][]byte{}}
	first := *k.cluster.CertificateAuthority.Active.Id
	r.sees(first)
	made := must(k.eks.CreateCertificateAuthority(ctx, &eks.CreateCertificateAuthorityInput{ClusterName: r.name}))(t)
	second := *made.CertificateAuthority.Id
	r.done(made.Update)
	r.publishes(r.client(first, second), first, second)
	k.renew(t)
	k.ok(t, "", "rollout", "restart", "daemonset/kube-proxy", "deployment/coredns", "-n", "kube-system")
	for _, what := range []string{"daemonset/kube-proxy", "deployment/coredns"} {
		k.ok(t, "", "rollout", "status", what, "-n", "kube-system", "--timeout=120s")
	}
	r.done(must(k.eks.ActivateCertificateAuthority(ctx, &eks.ActivateCertificateAuthorityInput{ClusterName: r.name, CertificateAuthorityId: &second}))(t).Update)
	r.sees(second, first)
	k.renew(t)
	k.alive(t)
	r.done(must(k.eks.DeleteCertificateAuthority(ctx, &eks.DeleteCertificateAuthorityInput{ClusterName: r.name, CertificateAuthorityId: &first}))(t).Update)
	r.sees(second)
	k.renew(t)
	k.alive(t)
	for i := range k.nodes {
		if err := k.onNode(t, i, "test -L /var/lib/kubelet/pki/kubelet-client-current.pem"); err != nil {
			t.Errorf("the kubelet could not renew its certificate: %v", err)
		}
	}
	for _, name := range []string{"one", "custom", "prefixed"} {
		if p := k.kindPod(t, name); p.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("%s was started again", name)
		}
		k.kindWorkload(t, "late-"+name, k.nodeOf(t, name))
		k.reaches(t, "one", "late-"+name)
	}
	// Programs on the nodes hear of what is new.
	k.ok(t, "", "expose", "pod", "prefixed", "--port", "80")
	eventually(t, time.Minute, "a service of afterwards is reached", func() error { return k.fetch(t, "custom", "prefixed.default.svc.cluster.local", 80) })
}

// renew writes anew what clients know of the cluster.
func (k *kindPods) renew(t *testing.T) {
	t.Helper()
	k.cluster = k.clusterIs(t, "real", ekstypes.ClusterStatusActive)
	k.kube = k.world.kube(t, k.cluster)
	runCLI(t, k.emulator, k.env, "kubeconfig", "real", "--plugin", "ekslocal")
}

func (k *kindPods) nodeOf(t *testing.T, pod string) *corev1.Node {
	t.Helper()
	return must(k.CoreV1().Nodes().Get(t.Context(), k.kindPod(t, pod).Spec.NodeName, metav1.GetOptions{}))(t)
}

// alive waits until every node has said so since now.
func (k *kindPods) alive(t *testing.T) {
	t.Helper()
	since := time.Now()
	eventually(t, time.Minute, "all nodes renew their leases", func() error {
		leases, err := k.CoordinationV1().Leases("kube-node-lease").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, l := range leases.Items {
			if l.Spec.RenewTime == nil || l.Spec.RenewTime.Time.Before(since) {
				return fmt.Errorf("%s: %v", l.Name, l.Spec.RenewTime)
			}
		}
		return nil
	})
	for _, n := range k.kube.nodes(t, "") {
		if !nodeIsReady(&n) {
			t.Errorf("%s is not Ready: %+v", n.Name, n.Status.Conditions)
		}
	}
}
