package integration

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
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

// What fixtures/scenarios/ip-exhaustion makes.
const (
	scenarioNodes = 14
	scenarioPods  = 168
)

// scenario is one cluster of fixtures/scenarios/ip-exhaustion.
type scenario struct {
	*emulator
	clients
	name string
	env  []string
	k    *kube
}

// TestScenarioIPExhaustion runs the scripts of the scenario as a reader of its README
// does: pods run out of addresses, and each of three ways out makes all of them run.
// The ways are waits more than work, and so at the same time.
func TestScenarioIPExhaustion(t *testing.T) {
	t.Parallel() // it waits more than it works
	tool(t, "aws")
	tool(t, "kubectl")
	e := start(t)
	// Not t.Parallel for each, which would wait for the slots of other tests.
	var wg sync.WaitGroup
	for way, test := range map[string]func(*testing.T, *scenario){
		"way-1-warm-targets":      warmTargets,
		"way-2-more-subnets":      moreSubnets,
		"way-3-custom-networking": customNetworking,
	} {
		wg.Go(func() {
			t.Run(way, func(t *testing.T) {
				s := &scenario{emulator: e, clients: e.clients(), name: way}
				dir := t.TempDir()
				if err := os.Symlink(e.binary, filepath.Join(dir, "ekslocal")); err != nil {
					t.Fatal(err)
				}
				s.env = append(e.env(filepath.Join(dir, "kubeconfig")), "CLUSTER="+way, "PATH="+dir+":"+os.Getenv("PATH"))
				s.runsOut(t)
				test(t, s)
				s.tearDown(t)
			})
		})
	}
	wg.Wait()
	c := e.clients()
	if left := must(c.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{}))(t).NetworkInterfaces; len(left) != 0 {
		t.Errorf("%d interfaces are left, the first is %+v", len(left), left[0])
	}
}

// script runs one of the scenario's and returns what it printed.
func (s *scenario) script(t *testing.T, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience*5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join("..", "fixtures", "scenarios", "ip-exhaustion", name+".sh"))
	cmd.Env = s.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out.String())
	}
	t.Logf("%s took %v", name, time.Since(begin).Round(time.Second))
	return out.String()
}

// runsOut sets the scenario up and looks at the failure as its users do.
func (s *scenario) runsOut(t *testing.T) {
	t.Helper()
	s.script(t, "setup")
	c := must(s.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &s.name}))(t).Cluster
	w := &world{emulator: s.emulator, clients: s.clients}
	s.k = w.kube(t, c)

	// Each subnet has twelve times the ten addresses of an interface, for seven nodes
	// that want three interfaces each: two nodes at least stay with one, of nine
	// addresses for pods, and at most four.
	var stuck []corev1.Pod
	eventually(t, 2*time.Minute, "the addresses are used up", func() error {
		stuck = stuck[:0]
		for _, p := range s.pods(t) {
			if p.Spec.NodeName == "" {
				return fmt.Errorf("%s is not scheduled", p.Name)
			}
			if waitsFor("ContainerCreating")(&p) && anyContains(s.k.eventsOf(t, "default", p.Name, "FailedCreatePodSandBox"),
				`plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container`) {
				stuck = append(stuck, p)
			} else if !podRuns(&p) {
				return fmt.Errorf("%s neither runs nor has it an event: %+v", p.Name, p.Status)
			}
		}
		for _, sub := range s.subnets(t) {
			if n := *sub.AvailableIpAddressCount; n != 2 {
				return fmt.Errorf("%s has %d free addresses", *sub.CidrBlock, n)
			}
		}
		return nil
	})
	on := map[string]int{}
	for _, p := range stuck {
		on[p.Spec.NodeName]++
	}
	if n := len(on); n < 4 || n > 8 {
		t.Errorf("pods wait on %d nodes: %v", n, on)
	}
	for node, n := range on {
		if n < 3 || n > 5 { // twelve pods and perhaps CoreDNS's, on nine addresses
			t.Errorf("%d pods wait on %s", n, node)
		}
	}

	out := s.script(t, "show")
	for _, want := range []string{
		fmt.Sprintf("%d/%d", scenarioPods-len(stuck), scenarioPods), "failed to assign an IP address to container",
		"InsufficientFreeAddressesInSubnet", "Unable to attach IPs/Prefixes for the ENI, subnet doesn't seem to have enough IPs/Prefixes",
		fmt.Sprintf("WAITING FOR AN ADDRESS (%d)", len(stuck)),
	} {
		if !strings.Contains(out, want) {
			t.Errorf("show.sh does not say %q:\n%s", want, out)
		}
	}
	if rows := regexp.MustCompile(`(?m)^\|.*10\.0\.0\.(0|128)/25.*\|\s+2\s+\|`).FindAllString(out, -1); len(rows) != 2 {
		t.Errorf("show.sh has no two subnets with two free addresses:\n%s", out)
	}
}

func (s *scenario) pods(t *testing.T) []corev1.Pod {
	t.Helper()
	return must(s.k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"}))(t).Items
}

func (s *scenario) daemons(t *testing.T) []corev1.Pod {
	t.Helper()
	return must(s.k.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: "k8s-app=aws-node"}))(t).Items
}

func (s *scenario) subnets(t *testing.T) []ec2types.Subnet {
	t.Helper()
	return must(s.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{
		Filters: []ec2types.Filter{{Name: aws.String("tag:Name"), Values: []string{s.name}}},
	}))(t).Subnets
}

// lives are the objects that a way may or may not replace, with how often each of
// their containers started anew.
type lives struct{ nodes, daemons, pods map[string]int32 }

func (s *scenario) lives(t *testing.T) lives {
	t.Helper()
	l := lives{map[string]int32{}, podLives(s.daemons(t)), podLives(s.pods(t))}
	for _, n := range s.k.nodes(t, "") {
		l.nodes[string(n.UID)] = 0
	}
	return l
}

func podLives(pods []corev1.Pod) map[string]int32 {
	out := map[string]int32{}
	for _, p := range pods {
		out[string(p.UID)] = 0
		for _, c := range p.Status.ContainerStatuses {
			out[string(p.UID)] += c.RestartCount
		}
	}
	return out
}

// runAll checks that every pod of the Deployment runs, and how many nodes there are.
func (s *scenario) runAll(t *testing.T, nodes int) lives {
	t.Helper()
	for _, p := range s.pods(t) {
		if !podRuns(&p) || p.Status.PodIP == "" {
			t.Errorf("%s: %+v", p.Name, p.Status)
		}
	}
	l := s.lives(t)
	if len(l.pods) != scenarioPods || len(l.nodes) != nodes || len(l.daemons) != nodes {
		t.Errorf("%d pods on %d nodes with %d daemons, want %d on %d", len(l.pods), len(l.nodes), len(l.daemons), scenarioPods, nodes)
	}
	for uid, n := range l.pods {
		if n != 0 {
			t.Errorf("pod %s started %d times anew", uid, n)
		}
	}
	for uid, n := range l.daemons {
		if n != 0 {
			t.Errorf("daemon %s started %d times anew", uid, n)
		}
	}
	return l
}

// warmTargets replaces the daemons, as every change of their environment does.
func warmTargets(t *testing.T, s *scenario) {
	before := s.lives(t)
	s.script(t, s.name)
	after := s.runAll(t, scenarioNodes)
	if !maps.Equal(before.pods, after.pods) || !maps.Equal(before.nodes, after.nodes) {
		t.Errorf("before: %+v, after: %+v", before, after)
	}
	if common(before.daemons, after.daemons) != 0 {
		t.Errorf("daemons: before %v, after %v", before.daemons, after.daemons)
	}
}

// moreSubnets replaces nothing.
func moreSubnets(t *testing.T, s *scenario) {
	before := s.lives(t)
	s.script(t, s.name)
	after := s.runAll(t, scenarioNodes)
	if !maps.Equal(before.pods, after.pods) || !maps.Equal(before.nodes, after.nodes) || !maps.Equal(before.daemons, after.daemons) {
		t.Errorf("before: %+v, after: %+v", before, after)
	}
	elsewhere := 0
	for _, p := range s.pods(t) {
		if strings.HasPrefix(p.Status.PodIP, "10.2.") {
			elsewhere++
		}
	}
	if elsewhere == 0 {
		t.Error("no pod has an address of the new subnets")
	}
}

// customNetworking replaces the nodes, and so everything on them.
func customNetworking(t *testing.T, s *scenario) {
	before := s.lives(t)
	s.script(t, s.name)
	after := s.runAll(t, 12)
	if common(before.nodes, after.nodes)+common(before.daemons, after.daemons)+common(before.pods, after.pods) != 0 {
		t.Errorf("before: %+v, after: %+v", before, after)
	}
	for _, p := range s.pods(t) {
		if !strings.HasPrefix(p.Status.PodIP, "100.64.") {
			t.Errorf("%s has %s", p.Name, p.Status.PodIP)
		}
	}
	for _, n := range s.k.nodes(t, "") {
		if n.Labels["eks.amazonaws.com/nodegroup"] != "custom" {
			t.Errorf("%s is of node group %s", n.Name, n.Labels["eks.amazonaws.com/nodegroup"])
		}
	}
}

func common(a, b map[string]int32) (n int) {
	for uid := range a {
		if _, ok := b[uid]; ok {
			n++
		}
	}
	return n
}

// tearDown ends the scenario and looks whether every address came back.
func (s *scenario) tearDown(t *testing.T) {
	t.Helper()
	subnets := s.subnets(t)
	out := s.script(t, "teardown")
	for _, sub := range subnets {
		size := map[string]int{"18": 16379, "24": 251, "25": 123}[(*sub.CidrBlock)[strings.IndexByte(*sub.CidrBlock, '/')+1:]]
		if want := fmt.Sprintf("\n%s\t%d\n", *sub.CidrBlock, size); !strings.Contains(out, want) {
			t.Errorf("teardown.sh has no %q:\n%s", want, out)
		}
	}
	if left := s.subnets(t); len(left) != 0 {
		t.Errorf("%d subnets are left", len(left))
	}
	if _, err := s.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &s.name}); errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
		t.Errorf("describing the cluster: %v", err)
	}
}
