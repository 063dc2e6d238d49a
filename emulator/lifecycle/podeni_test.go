package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/podeni"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

func (m *mortal) AttachNetworkInterface(ctx context.Context, in *ec2.AttachNetworkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.AttachNetworkInterfaceOutput, error) {
	return change(m, ctx, in, m.Service.AttachNetworkInterface)
}

func (m *mortal) ModifyNetworkInterfaceAttribute(ctx context.Context, in *ec2.ModifyNetworkInterfaceAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifyNetworkInterfaceAttributeOutput, error) {
	return change(m, ctx, in, m.Service.ModifyNetworkInterfaceAttribute)
}

func (m *mortal) AssociateTrunkInterface(ctx context.Context, in *ec2.AssociateTrunkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.AssociateTrunkInterfaceOutput, error) {
	return change(m, ctx, in, m.Service.AssociateTrunkInterface)
}

func (m *mortal) DisassociateTrunkInterface(ctx context.Context, in *ec2.DisassociateTrunkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.DisassociateTrunkInterfaceOutput, error) {
	return change(m, ctx, in, m.Service.DisassociateTrunkInterface)
}

// guardedNode is a node with a CNINode that asks for a trunk, and its controller.
type guardedNode struct {
	*network
	*podENIs
	instance string
	client   *fake.Clientset
}

const guardedName = "ip-10-0-0-4.ec2.internal"

func newGuardedNode(t *testing.T, instanceType string) *guardedNode {
	t.Helper()
	n := newNetwork(t)
	im, ok := images.EKSImage("us-east-1", "1.34", images.AL2023, images.X86)
	if !ok {
		t.Fatal("no image")
	}
	out, err := n.ec2.RunInstances(n.ctx, &ec2.RunInstancesInput{
		ImageId: &im.ID, InstanceType: ec2types.InstanceType(instanceType), SubnetId: &n.cluster().Resource.ResourcesVpcConfig.SubnetIds[0],
		MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
	})
	if err != nil {
		t.Fatal(err)
	}
	g := &guardedNode{network: n, instance: *out.Instances[0].InstanceId, client: fake.NewClientset()}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: guardedName, UID: "node-uid", Labels: map[string]string{corev1.LabelOSStable: "linux"}},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///us-east-1a/" + g.instance},
	}
	if _, err := g.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	g.restart(node)
	return g
}

func storeOf(t *testing.T, o kruntime.Object, in ...kruntime.Object) cache.SharedIndexInformer {
	t.Helper()
	inf := cache.NewSharedIndexInformer(nil, o, 0, cache.Indexers{})
	for _, i := range in {
		if err := inf.GetStore().Add(i); err != nil {
			t.Fatal(err)
		}
	}
	return inf
}

// restart is another process: all that it knows is EC2's and the cluster's.
func (g *guardedNode) restart(node *corev1.Node) {
	g.t.Helper()
	rt := &runtime{name: "dev", scope: g.scope, client: g.client, nodes: storeOf(g.t, &corev1.Node{}, node)}
	g.podENIs = &podENIs{l: g.Lifecycle, rt: rt, self: g.client, tell: record.NewFakeRecorder(10000), trunks: map[string]*podeni.Trunk{}, told: map[string]bool{}}
	cn := g.newCNINode(node, g.instance)
	if err := unstructured.SetNestedSlice(cn.Object, []any{map[string]any{"name": podeni.Feature}}, "spec", "features"); err != nil {
		g.t.Fatal(err)
	}
	g.podENIs.nodes = storeOf(g.t, &unstructured.Unstructured{}, cn)
	g.policies = storeOf(g.t, &unstructured.Unstructured{})
	g.podsOn = func(string) []*corev1.Pod {
		all, err := g.client.CoreV1().Pods("default").List(g.t.Context(), metav1.ListOptions{})
		if err != nil {
			g.t.Fatal(err)
		}
		var out []*corev1.Pod
		for i := range all.Items {
			out = append(out, &all.Items[i])
		}
		return out
	}
}

func (g *guardedNode) node() *corev1.Node { return g.podENIs.rt.node(guardedName) }

func (g *guardedNode) pod(name string) {
	g.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{NodeName: guardedName, Containers: []corev1.Container{{
			Name: "web", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{podeni.Resource: resource.MustParse("1")}},
		}}},
	}
	if _, err := g.client.CoreV1().Pods("default").Create(g.t.Context(), p, metav1.CreateOptions{}); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guardedNode) sync() error {
	_, err := g.podENIs.reconcile(asResourceController(g.t.Context(), g.scope), guardedName)
	return err
}

// branches are the branch interfaces in EC2, sorted; trunks counts the trunks.
func (g *guardedNode) branches() (ids []string, trunks int) {
	g.t.Helper()
	all, err := g.controllersInterfaces(g.ctx, g.instance)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, e := range all {
		if e.InterfaceType == ec2types.NetworkInterfaceTypeTrunk {
			trunks++
			if e.Attachment == nil {
				g.t.Errorf("trunk %s is not attached", *e.NetworkInterfaceId)
			}
			continue
		}
		ids = append(ids, *e.NetworkInterfaceId)
	}
	slices.Sort(ids)
	return ids, trunks
}

// given are the interfaces that the pods' annotations name, sorted.
func (g *guardedNode) given() (ids []string) {
	g.t.Helper()
	for _, p := range g.podsOn(guardedName) {
		d, err := podeni.Given(p)
		if err != nil || len(d) != 1 {
			g.t.Fatalf("%s: %v %v", p.Name, p.Annotations, err)
		}
		ids = append(ids, d[0].ID)
	}
	slices.Sort(ids)
	return ids
}

func (g *guardedNode) pass(d time.Duration) { g.Clock.(*clocktesting.FakeClock).Step(d) }

// TestPodENIsSurviveKills kills the controller after each change that it makes in
// EC2: every pod has one branch in the end, and nothing else is left.
func TestPodENIsSurviveKills(t *testing.T) {
	for changes := 1; ; changes++ {
		killed := false
		t.Run(fmt.Sprintf("after %d changes", changes), func(t *testing.T) {
			g := newGuardedNode(t, "m5.large")
			g.pod("a")
			g.pod("b")
			m := &mortal{g.ec2, changes}
			g.EC2 = m
			_ = g.sync() // an error is said in events, and the trunk is tried again
			killed = m.left == 0
			g.EC2 = g.ec2
			g.restart(g.node())
			for range 2 { // a branch that no pod was told of rests first
				if err := g.sync(); err != nil {
					t.Fatal(err)
				}
				g.pass(podeni.Cooldown)
			}
			if err := g.sync(); err != nil {
				t.Fatal(err)
			}
			branches, trunks := g.branches()
			if given := g.given(); !slices.Equal(given, branches) || len(given) != 2 || trunks != 1 {
				t.Errorf("%d trunks, branches %v, given %v", trunks, branches, given)
			}

			// The same when the pods go.
			if err := g.client.CoreV1().Pods("default").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := g.sync(); err != nil {
				t.Fatal(err)
			}
			g.pass(podeni.Cooldown)
			m = &mortal{g.ec2, changes}
			g.EC2 = m
			if err := g.sync(); err != nil && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			g.EC2 = g.ec2
			g.restart(g.node())
			for range 2 {
				if err := g.sync(); err != nil {
					t.Fatal(err)
				}
				g.pass(podeni.Cooldown)
			}
			if branches, _ := g.branches(); !slices.Equal(g.given(), branches) || len(branches) != 1 {
				t.Errorf("after deletion: branches %v, given %v", branches, g.given())
			}
		})
		if !killed {
			return
		}
	}
}

func (g *guardedNode) said() (all []string) {
	for {
		select {
		case e := <-g.tell.(*record.FakeRecorder).Events:
			all = append(all, e)
		default:
			return all
		}
	}
}

func (g *guardedNode) hears(part string) {
	g.t.Helper()
	if all := g.said(); !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, part) }) {
		g.t.Errorf("events %q, want %q", all, part)
	}
}

// TestPodENIsRefused: what EC2 refuses is an event, and the next pod is served.
func TestPodENIsRefused(t *testing.T) {
	t.Run("the type", func(t *testing.T) {
		g := newGuardedNode(t, "t3.medium")
		if err := g.sync(); err != nil {
			t.Fatal(err)
		}
		g.hears("Warning Unsupported The instance type t3.medium is not supported for trunk interface (Security Group for Pods)")
		if err := g.sync(); err != nil || len(g.said()) > 0 {
			t.Errorf("it is said again, or %v", err)
		}
	})
	t.Run("no room for a trunk", func(t *testing.T) {
		g := newGuardedNode(t, "m5.large")
		subnet := g.cluster().Resource.ResourcesVpcConfig.SubnetIds[0]
		for device := int32(1); device < 3; device++ {
			eni, err := g.ec2.CreateNetworkInterface(g.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.ec2.AttachNetworkInterface(g.ctx, &ec2.AttachNetworkInterfaceInput{InstanceId: &g.instance, NetworkInterfaceId: eni.NetworkInterface.NetworkInterfaceId, DeviceIndex: &device}); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.sync(); err != nil {
			t.Fatal(err)
		}
		g.hears("Normal NodeTrunkFailedInit The node failed initializing trunk interface")
		if _, trunks := g.branches(); trunks != 0 {
			t.Error("there is a trunk")
		}
	})
	t.Run("the subnet is full", func(t *testing.T) {
		g := newGuardedNode(t, "m5.large")
		if err := g.sync(); err != nil {
			t.Fatal(err)
		}
		g.hears("Normal NodeTrunkInitiated")
		subnet := g.cluster().Resource.ResourcesVpcConfig.SubnetIds[0]
		var filler *string
		for {
			eni, err := g.ec2.CreateNetworkInterface(g.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet})
			if isCode(err, "InsufficientFreeAddressesInSubnet") {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			filler = eni.NetworkInterface.NetworkInterfaceId
		}
		g.pod("a")
		if err := g.sync(); !isCode(err, "InsufficientFreeAddressesInSubnet") {
			t.Errorf("error %v", err)
		}
		g.hears("Warning BranchAllocationFailed failed to allocate branch ENI to pod: creating network interface, operation error EC2: CreateNetworkInterface, https response error StatusCode: 400, RequestID: ")
		if _, err := g.ec2.DeleteNetworkInterface(g.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: filler}); err != nil {
			t.Fatal(err)
		}
		if err := g.sync(); err != nil || len(g.given()) != 1 {
			t.Errorf("with room again: %v", err)
		}
		g.hears("Normal ResourceAllocated Allocated [{")
	})
}

// TestPodENIsOfInstancesThatAreGone: the branches go with them, whether there is a
// cluster or not.
func TestPodENIsOfInstancesThatAreGone(t *testing.T) {
	g := newGuardedNode(t, "m5.large")
	g.pod("a")
	if err := g.sync(); err != nil {
		t.Fatal(err)
	}
	if ids, _ := g.branches(); len(ids) != 1 {
		t.Fatalf("branches %v", ids)
	}
	if _, err := g.ec2.TerminateInstances(g.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{g.instance}}); err != nil {
		t.Fatal(err)
	}
	if err := g.removeBranches(t.Context(), g.scope, g.instance); err != nil {
		t.Fatal(err)
	}
	if ids, _ := g.branches(); len(ids) > 0 {
		t.Errorf("left: %v", ids)
	}
}
