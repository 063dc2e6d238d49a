package integration

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestRestart stops and starts an emulator, gently and by kill -9, with a cluster
// in use: clients must not notice more than a pause.
func TestRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	c := w.cluster(t, "dev", func(in *eks.CreateClusterInput) {
		in.Version = aws.String("1.34")
		// The harder way for nodes: who may join is in the cluster, which must be up first.
		in.AccessConfig.AuthenticationMode = ekstypes.AuthenticationModeConfigMap
	})
	w.nodegroup(t, "dev", "ng", 3)
	k, cfg := w.kubernetes(t, c)
	if _, err := k.AppsV1().Deployments("default").Create(t.Context(), deployment("web", 20), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.running(t, k, "web", 20)
	readyNodes(t, k, 3)
	size := int32(20)
	for _, how := range []struct {
		name string
		end  func()
	}{{"stop", w.stop}, {"kill", w.kill}} {
		t.Run(how.name, func(t *testing.T) {
			before := w.look(t, k, c)
			how.end()
			w.run()
			back := time.Now()
			w.backAgain(t, cfg, before)
			t.Logf("all well %v after the endpoint", time.Since(back).Round(10*time.Millisecond))

			size += 4
			scale(t, k, "web", size)
			w.running(t, k, "web", int(size))
			w.heartbeats(t, k)
			w.addresses(t, k)
		})
	}
}

// scene is what a restart must not change.
type scene struct {
	cluster  ekstypes.Cluster
	pods     map[types.UID]string // addresses
	restarts int32
	nodes    map[types.UID]string // names
	enis     []string
	free     int
}

func (w *world) look(t *testing.T, k kubernetes.Interface, c *ekstypes.Cluster) scene {
	t.Helper()
	s := scene{cluster: *c, pods: map[types.UID]string{}, nodes: map[types.UID]string{}, free: w.freeAddresses(t)}
	for _, p := range pods(t, k) {
		s.pods[p.UID] = p.Status.PodIP
		for _, cs := range p.Status.ContainerStatuses {
			s.restarts += cs.RestartCount
		}
	}
	nodes, err := k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Items {
		s.nodes[n.UID] = n.Name
	}
	for _, ni := range w.interfaces(t) {
		s.enis = append(s.enis, *ni.NetworkInterfaceId)
	}
	slices.Sort(s.enis)
	return s
}

func pods(t *testing.T, k kubernetes.Interface) []corev1.Pod {
	t.Helper()
	list, err := k.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// backAgain waits until everything is as it was. It uses the kubeconfig of before:
// same address, same CA, same token.
func (w *world) backAgain(t *testing.T, cfg *rest.Config, before scene) {
	t.Helper()
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "the API server answers", func() error {
		_, err := k.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	v, err := k.Discovery().ServerVersion()
	if err != nil || v.Major+"."+v.Minor != *before.cluster.Version {
		t.Errorf("the API server is %v, %v, want %s", v, err, *before.cluster.Version)
	}
	eventually(t, 10*time.Second, "status counts nodes and pods", func() error {
		s := w.status()
		if len(s.Clusters) != 1 {
			return fmt.Errorf("%d clusters", len(s.Clusters))
		}
		got := s.Clusters[0]
		if got.Nodes.Ready != len(before.nodes) || got.Nodes.Total != len(before.nodes) || got.Pods.Ready != len(before.pods) {
			return fmt.Errorf("nodes %+v of %d, pods %+v of %d", got.Nodes, len(before.nodes), got.Pods, len(before.pods))
		}
		return nil
	})
	readyNodes(t, k, len(before.nodes))
	c := w.clusterIs(t, *before.cluster.Name, ekstypes.ClusterStatusActive)
	if *c.Endpoint != *before.cluster.Endpoint || *c.CertificateAuthority.Data != *before.cluster.CertificateAuthority.Data ||
		*c.Version != *before.cluster.Version || *c.Identity.Oidc.Issuer != *before.cluster.Identity.Oidc.Issuer {
		t.Errorf("the cluster changed: %+v, was %+v", c, before.cluster)
	}
	w.nodegroupIs(t, *before.cluster.Name, "ng", ekstypes.NodegroupStatusActive)
	after := w.look(t, k, c)
	if !maps.Equal(after.pods, before.pods) || after.restarts != before.restarts {
		t.Errorf("pods are %v with %d restarts, were %v with %d", after.pods, after.restarts, before.pods, before.restarts)
	}
	if !maps.Equal(after.nodes, before.nodes) {
		t.Errorf("nodes are %v, were %v", after.nodes, before.nodes)
	}
	if !slices.Equal(after.enis, before.enis) || after.free != before.free {
		t.Errorf("interfaces are %v (%d addresses free), were %v (%d)", after.enis, after.free, before.enis, before.free)
	}
}

func scale(t *testing.T, k kubernetes.Interface, name string, n int32) {
	t.Helper()
	deployments := k.AppsV1().Deployments("default")
	s, err := deployments.GetScale(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Spec.Replicas = n
	if _, err := deployments.UpdateScale(t.Context(), name, s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// heartbeats waits until every node has renewed its lease once more.
func (w *world) heartbeats(t *testing.T, k kubernetes.Interface) {
	t.Helper()
	renewed := func() (map[string]time.Time, error) {
		list, err := k.CoordinationV1().Leases(corev1.NamespaceNodeLease).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		at := map[string]time.Time{}
		for _, l := range list.Items {
			at[l.Name] = l.Spec.RenewTime.Time
		}
		return at, nil
	}
	first, err := renewed()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "every node renews its lease", func() error {
		now, err := renewed()
		if err != nil {
			return err
		}
		for name, was := range first {
			if !now[name].After(was) {
				return fmt.Errorf("node %s has not since %v", name, was)
			}
		}
		return nil
	})
}

// addresses checks that EC2 and the cluster tell the same about addresses.
func (w *world) addresses(t *testing.T, k kubernetes.Interface) {
	t.Helper()
	known, perSubnet := w.ledger(t)
	holder := map[string]string{}
	for _, p := range pods(t, k) {
		ip := p.Status.PodIP
		if p.Spec.HostNetwork || ip == "" || p.Status.Phase != corev1.PodRunning {
			continue
		}
		if other := holder[ip]; other != "" {
			t.Errorf("pods %s and %s share %s", other, p.Name, ip)
		}
		if holder[ip] = p.Name; !known[ip] {
			t.Errorf("pod %s has %s, which no network interface has", p.Name, ip)
		}
	}
	w.freeMatches(t, perSubnet)
}

// ledger is every private address that DescribeNetworkInterfaces shows, and how
// many each subnet has; no address may be there twice.
func (w *world) ledger(t *testing.T) (known map[string]bool, perSubnet map[string]int) {
	t.Helper()
	known, perSubnet = map[string]bool{}, map[string]int{}
	for _, ni := range w.interfaces(t) {
		for _, a := range ni.PrivateIpAddresses {
			if known[*a.PrivateIpAddress] {
				t.Errorf("two network interfaces have %s", *a.PrivateIpAddress)
			}
			known[*a.PrivateIpAddress] = true
			perSubnet[*ni.SubnetId]++
		}
	}
	return known, perSubnet
}

// freeMatches checks AvailableIpAddressCount of every subnet of the VPC.
func (w *world) freeMatches(t *testing.T, used map[string]int) {
	t.Helper()
	out := must(w.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: w.subnets}))(t)
	for i, s := range out.Subnets {
		// Five of a subnet's addresses are AWS's own.
		all := 1<<(32-w.cidrs[slices.Index(w.subnets, *s.SubnetId)].Bits()) - 5
		if got, want := int(*s.AvailableIpAddressCount), all-used[*s.SubnetId]; got != want {
			t.Errorf("subnet %d has %d addresses free, want %d: interfaces have %d", i, got, want, used[*s.SubnetId])
		}
	}
}
