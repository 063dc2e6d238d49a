package lifecycle

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

// TestRetireCordonsFirst: the pods of nodes that go together have none of these to
// move to.
func TestRetireCordonsFirst(t *testing.T) {
	n := newNetwork(t)
	n.Lifecycle.Config.Patience.ScaleIn = time.Minute
	im, ok := images.EKSImage("us-east-1", "1.34", images.AL2023, images.X86)
	if !ok {
		t.Fatal("no image")
	}
	out, err := n.ec2.RunInstances(n.ctx, &ec2.RunInstancesInput{
		ImageId: &im.ID, InstanceType: "m5.large", SubnetId: &n.cluster().Resource.ResourcesVpcConfig.SubnetIds[0], MinCount: aws.Int32(3), MaxCount: aws.Int32(3),
	})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	var objs, nodes []kruntime.Object
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: *i.PrivateDnsName}}
		nodes = append(nodes, node)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: *i.InstanceId}, Spec: corev1.PodSpec{NodeName: node.Name}}
		objs = append(objs, node, pod)
	}
	client := fake.NewClientset(objs...)
	rt := &runtime{client: client, nodes: storeOf(t, &corev1.Node{}, nodes...)}
	again, err := n.retire(n.ctx, &ekssvc.Nodegroup{Scope: n.scope}, rt, ids, false)
	if err != nil || again == 0 {
		t.Fatalf("it looks again in %v, %v", again, err)
	}
	var did []string
	for _, a := range client.Actions() {
		if v := a.GetVerb(); v != "get" && v != "list" {
			did = append(did, v+" "+a.GetResource().Resource+" "+a.GetSubresource())
		}
	}
	// How many evictions follow is the fake's affair: it knows no field selectors.
	want := []string{"patch nodes ", "patch nodes ", "patch nodes ", "create pods eviction"}
	if d := cmp.Diff(want, append(did[:3:3], slices.Compact(did[3:])...)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, id := range ids {
		if s := ec2svc.Instances.Get(n.Store, n.scope, id).State.Name; s != ec2types.InstanceStateNamePending && s != ec2types.InstanceStateNameRunning {
			t.Errorf("%s is %s while its pod is there", id, s)
		}
	}
}
