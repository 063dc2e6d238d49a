package integration

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/ipam/plan"
)

// planned is a layout that is planned and then made.
type planned struct {
	name         string
	subnets      []string // in the zones a and b
	instanceType string
	nodes, pods  int // pods on each node
	env          map[string]string
	flags        []string
	want         plan.Resource // that runs out
	// inOrder has pods come one after the other, where the plan says that it matters.
	inOrder bool

	ids []string // of subnets
}

// TestIPsPlan plans three layouts and makes each: what the plan says of the first pod
// that fails, of how many fail and of what the subnets have left is so.
func TestIPsPlan(t *testing.T) {
	t.Parallel() // it waits more than it works
	w := newWorld(t, start(t))
	layouts := []*planned{
		{
			name: "addresses", subnets: []string{"10.0.64.0/27", "10.0.65.0/27"}, instanceType: "t3.medium", nodes: 4, pods: 12,
			flags: []string{"--control-plane-enis", "2"}, want: plan.SubnetAddresses, inOrder: true,
		},
		{
			name: "max-eni", subnets: []string{"10.0.66.0/25", "10.0.67.0/25"}, instanceType: "m5.large", nodes: 2, pods: 14,
			env: map[string]string{"MAX_ENI": "1"}, flags: []string{"--max-eni", "1", "--control-plane-enis", "0"}, want: plan.MaxENI,
		},
		{
			name: "blocks", subnets: []string{"10.0.68.0/26", "10.0.69.0/26"}, instanceType: "m5.large", nodes: 2, pods: 40,
			env: map[string]string{"ENABLE_PREFIX_DELEGATION": "true"}, flags: []string{"--prefix-delegation", "--control-plane-enis", "0"}, want: plan.PrefixBlocks,
		},
	}
	for _, l := range layouts {
		for i, cidr := range l.subnets {
			s := must(w.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: &cidr, AvailabilityZone: aws.String(region + "ab"[i:i+1])}))(t)
			l.ids = append(l.ids, *s.Subnet.SubnetId)
		}
	}
	k := w.kube(t, w.cluster(t, "dev", func(in *eks.CreateClusterInput) { in.ResourcesVpcConfig.SubnetIds = layouts[0].ids }))
	// CoreDNS's pods would be anywhere.
	eventually(t, 20*time.Second, "CoreDNS has no pods", func() error {
		_, err := k.AppsV1().Deployments(metav1.NamespaceSystem).UpdateScale(t.Context(), "coredns",
			&autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: metav1.NamespaceSystem}}, metav1.UpdateOptions{})
		return err
	})
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) { l.make(t, w, k) })
	}
}

func (l *planned) make(t *testing.T, w *world, k *kube) {
	args := append([]string{
		"ips", "plan", "-o", "json", "--subnets", strings.Join(l.subnets, ","), "--instance-type", l.instanceType,
		"--nodes", strconv.Itoa(l.nodes), "--pods-per-node", strconv.Itoa(l.pods), "--system-pods", "0",
	}, l.flags...)
	out, err := runTool(t, nil, "", w.binary, args...)
	if err != nil {
		t.Fatal(err)
	}
	var p plan.Result
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatal(err)
	}
	if p.First == nil || p.First.Resource != l.want || p.PodsWaiting == 0 || p.RefusedAtStart > 0 {
		t.Fatalf("not the plan that this test is about: %s", out)
	}

	k.setCNI(t, l.env)
	w.nodegroup(t, "dev", l.name, int32(l.nodes), func(in *eks.CreateNodegroupInput) {
		in.Subnets, in.InstanceTypes = l.ids, []string{l.instanceType}
		in.Taints = []ekstypes.Taint{{Key: aws.String("layout"), Value: &l.name, Effect: ekstypes.TaintEffectNoSchedule}}
	})
	if l.inOrder {
		l.inTurn(t, w, k, &p)
	} else {
		l.atOnce(t, k)
	}
	eventually(t, time.Minute, "pods and subnets are as planned", func() error {
		running, waiting := k.planned(t, l.name)
		if running != p.PodsAddressed || waiting != p.PodsWaiting {
			return fmt.Errorf("%d pods run and %d wait, planned were %d and %d", running, waiting, p.PodsAddressed, p.PodsWaiting)
		}
		for i, free := range w.freeOf(t, l.ids) {
			if free != p.Subnets[i].Free {
				return fmt.Errorf("%s has %d free, planned were %+v", l.subnets[i], free, p.Subnets[i])
			}
		}
		return nil
	})
}

// setCNI sets variables of aws-node, and takes those of other layouts away.
func (k *kube) setCNI(t *testing.T, env map[string]string) {
	t.Helper()
	all := map[string]any{"MAX_ENI": nil, "ENABLE_PREFIX_DELEGATION": "false"}
	for name, v := range env {
		all[name] = v
	}
	var list []map[string]any
	for name, v := range all {
		e := map[string]any{"name": name, "value": v}
		if v == nil {
			e = map[string]any{"name": name, "$patch": "delete"}
		}
		list = append(list, e)
	}
	patch := must(json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
		"containers": []map[string]any{{"name": "aws-node", "env": list}},
	}}}}))(t)
	must(k.AppsV1().DaemonSets(metav1.NamespaceSystem).Patch(t.Context(), "aws-node", types.StrategicMergePatchType, patch, metav1.PatchOptions{}))(t)
}

func (w *world) freeOf(t *testing.T, ids []string) []int {
	t.Helper()
	free := make([]int, len(ids))
	for _, s := range must(w.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: ids}))(t).Subnets {
		for i, id := range ids {
			if id == *s.SubnetId {
				free[i] = int(*s.AvailableIpAddressCount)
			}
		}
	}
	return free
}

// planned counts a layout's pods with an address, and those that have only a node.
func (k *kube) planned(t *testing.T, layout string) (running, waiting int) {
	t.Helper()
	for _, p := range must(k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "layout=" + layout}))(t).Items {
		switch {
		case p.Status.Phase == corev1.PodRunning:
			running++
		case p.Spec.NodeName != "" && waitsFor("ContainerCreating")(&p):
			waiting++
		}
	}
	return running, waiting
}

func (l *planned) spec() corev1.PodSpec {
	return corev1.PodSpec{
		Containers:   []corev1.Container{{Name: "web", Image: "nginx"}},
		NodeSelector: map[string]string{"eks.amazonaws.com/nodegroup": l.name},
		Tolerations:  []corev1.Toleration{{Key: "layout", Operator: corev1.TolerationOpExists}},
	}
}

// inTurn makes pods as the plan orders them: node after node, the next when the last
// has its address and EC2 is at rest.
func (l *planned) inTurn(t *testing.T, w *world, k *kube, p *plan.Result) {
	nodes := l.inOrderOfSubnets(t, w, k)
	l.settle(t, w)
	first := -1
	for i := range l.nodes * l.pods {
		name := fmt.Sprintf("%s-%d", l.name, i)
		spec := l.spec()
		spec.NodeName = nodes[i%len(nodes)]
		must(k.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"layout": l.name}}, Spec: spec,
		}, metav1.CreateOptions{}))(t)
		if !k.hasAddress(t, name) && first < 0 {
			first = i
			if i != p.First.Index || i%len(nodes) != p.First.Node {
				t.Errorf("pod %d on node %d is the first that fails, planned was %+v", i, i%len(nodes), p.First)
			}
			if free := w.freeOf(t, l.ids)[p.First.Node%len(l.ids)]; free != p.First.Free {
				t.Errorf("%d are free then, planned was %+v", free, p.First)
			}
		}
		l.settle(t, w)
	}
}

// hasAddress waits until the pod runs, or is refused an address.
func (k *kube) hasAddress(t *testing.T, name string) (ok bool) {
	t.Helper()
	eventually(t, 20*time.Second, "pod "+name+" has or is refused an address", func() error {
		pod, err := k.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ok = podRuns(pod); ok {
			return nil
		}
		events, err := k.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name + ",reason=FailedCreatePodSandBox"})
		if err != nil {
			return err
		}
		if len(events.Items) == 0 {
			return fmt.Errorf("its status is %+v", pod.Status)
		}
		return nil
	})
	return ok
}

// settle waits until the subnets stay as they are.
func (l *planned) settle(t *testing.T, w *world) {
	t.Helper()
	last := ""
	eventually(t, 20*time.Second, "the subnets settle", func() error {
		now := fmt.Sprint(w.freeOf(t, l.ids))
		if now != last {
			last = now
			return fmt.Errorf("%s are free", now)
		}
		return nil
	})
}

// inOrderOfSubnets are the group's nodes as a plan counts them: of each subnet in turn.
func (l *planned) inOrderOfSubnets(t *testing.T, w *world, k *kube) []string {
	t.Helper()
	per := make([][]string, len(l.ids))
	for _, n := range k.nodes(t, "eks.amazonaws.com/nodegroup="+l.name) {
		id := n.Spec.ProviderID[strings.LastIndexByte(n.Spec.ProviderID, '/')+1:]
		got := must(w.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}}))(t)
		for i, subnet := range l.ids {
			if subnet == *got.Reservations[0].Instances[0].SubnetId {
				per[i] = append(per[i], n.Name)
			}
		}
	}
	var out []string
	for i := range l.nodes {
		list := per[i%len(per)]
		if i/len(per) >= len(list) {
			t.Fatalf("%d nodes are not spread evenly: %v", l.nodes, per)
		}
		out = append(out, list[i/len(per)])
	}
	return out
}

// atOnce makes all pods in a Deployment, the same number on each node.
func (l *planned) atOnce(t *testing.T, k *kube) {
	labels := map[string]string{"layout": l.name}
	spec := l.spec()
	spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{MatchLabels: labels},
	}}
	must(k.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: l.name},
		Spec: appsv1.DeploymentSpec{
			Replicas: aws.Int32(int32(l.nodes * l.pods)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}, metav1.CreateOptions{}))(t)
}
