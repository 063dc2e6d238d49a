package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// TestNodeIdentity acts with the credentials of a node's instance, whose role is
// mapped by an access entry or by aws-auth: the node may do what a kubelet must, and
// nothing with what is another node's.
func TestNodeIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	must(w.iam.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: roleNameOf(w.node), PolicyDocument: trustAccount("ec2.amazonaws.com")}))(t)
	for name, mode := range map[string]ekstypes.AuthenticationMode{"entry": ekstypes.AuthenticationModeApi, "aws-auth": ekstypes.AuthenticationModeConfigMap} {
		t.Run(name, func(t *testing.T) {
			c := w.cluster(t, name, func(in *eks.CreateClusterInput) {
				in.AccessConfig = &ekstypes.CreateAccessConfigRequest{AuthenticationMode: mode}
			})
			w.nodegroup(t, name, "ng", 2)
			nodeIdentity(t, w, c)
		})
	}
}

func roleNameOf(arn string) *string {
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	return &name
}

func nodeIdentity(t *testing.T, w *world, c *ekstypes.Cluster) {
	ctx := t.Context()
	admin, _ := w.kubernetes(t, c)
	var nodes []corev1.Node
	eventually(t, 30*time.Second, "two nodes are there", func() error {
		list, err := admin.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 2 {
			return fmt.Errorf("there are %d, %w", len(list.Items), err)
		}
		nodes = list.Items
		return nil
	})
	mine, other := nodes[0], nodes[1]
	instance := mine.Spec.ProviderID[strings.LastIndexByte(mine.Spec.ProviderID, '/')+1:]
	token := w.assume(t, w.node, instance).token(t, *c.Name)
	me := bearer(t, c, token)
	u, err := whoAmI(ctx, me)
	if err != nil || u.Username != "system:node:"+mine.Name || !slices.Contains(u.Groups, "system:nodes") || u.Extra["sessionName"][0] != instance {
		t.Fatalf("the node is %+v, %v", u, err)
	}

	secrets := func(node corev1.Node) string {
		name := "of-" + strings.Split(node.Name, ".")[0]
		must(admin.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"k": []byte("v")}}, metav1.CreateOptions{}))(t)
		must(admin.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			NodeName: node.Name, Containers: []corev1.Container{{Name: "c", Image: "busybox"}},
			Volumes: []corev1.Volume{{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}}},
		}}, metav1.CreateOptions{}))(t)
		return name
	}
	own, foreign := secrets(mine), secrets(other)
	eventually(t, 15*time.Second, "the node reads the secret of its pod", func() error { // the authorizer learns of pods by a watch
		_, err := me.CoreV1().Secrets("default").Get(ctx, own, metav1.GetOptions{})
		return err
	})
	label := func(node, key string) func() error {
		return func() error {
			_, err := me.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"`+key+`":"x"}}}`), metav1.PatchOptions{})
			return err
		}
	}
	for _, tc := range []struct {
		what string
		do   func() error
		ok   bool
	}{
		{"reads its node", func() error { _, err := me.CoreV1().Nodes().Get(ctx, mine.Name, metav1.GetOptions{}); return err }, true},
		{"labels its node", label(mine.Name, "example.com/mine"), true},
		{"labels its node with what is reserved", label(mine.Name, "node-restriction.kubernetes.io/mine"), false},
		{"labels its node with a kubernetes.io label of its choice", label(mine.Name, "kubernetes.io/mine"), false},
		{"labels another node", label(other.Name, "example.com/mine"), false},
		{"makes a node of another name", func() error {
			_, err := me.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "ip-10-9-9-9.ec2.internal"}}, metav1.CreateOptions{})
			return err
		}, false},
		{"deletes another node", func() error { return me.CoreV1().Nodes().Delete(ctx, other.Name, metav1.DeleteOptions{}) }, false},
		{"reads the secret of another node's pod", func() error {
			_, err := me.CoreV1().Secrets("default").Get(ctx, foreign, metav1.GetOptions{})
			return err
		}, false},
		{"lists secrets", func() error {
			_, err := me.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{})
			return err
		}, false},
		{"deletes another node's pod", func() error {
			return me.CoreV1().Pods("default").Delete(ctx, foreign, metav1.DeleteOptions{})
		}, false},
		{"makes a pod", func() error {
			_, err := me.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox"}}}}, metav1.CreateOptions{})
			return err
		}, false},
		{"renews another node's lease", func() error {
			return renewLease(t, me, other.Name)
		}, false},
		{"renews its lease", func() error { return renewLease(t, me, mine.Name) }, true},
		{"deletes its pod", func() error {
			return me.CoreV1().Pods("default").Delete(ctx, own, metav1.DeleteOptions{})
		}, true},
	} {
		if err := tc.do(); (err == nil) != tc.ok || err != nil && !apierrors.IsForbidden(err) {
			t.Errorf("the node %s: %v, want success %v", tc.what, err, tc.ok)
		}
	}

	// The same role under a name that is no instance's is nobody.
	now(t, "the node role's other sessions", bearer(t, c, w.assume(t, w.node, "somebody").token(t, *c.Name)), isRefused)
	now(t, "an instance that is not there", bearer(t, c, w.assume(t, w.node, "i-0123456789abcdef0").token(t, *c.Name)), isRefused)
}

func renewLease(t *testing.T, k kubernetes.Interface, node string) error {
	_, err := k.CoordinationV1().Leases("kube-node-lease").Patch(t.Context(), node, types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}}}`), metav1.PatchOptions{})
	return err
}
