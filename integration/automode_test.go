package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// TestAutoMode switches EKS Auto Mode and its built-in node pools, and looks at
// what a cluster's own API shows of them.
func TestAutoMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	role := w.role(t, "auto-node", "ec2.amazonaws.com")
	auto := func(on bool, pools ...string) (*ekstypes.ComputeConfigRequest, *ekstypes.StorageConfigRequest, *ekstypes.KubernetesNetworkConfigRequest) {
		c := &ekstypes.ComputeConfigRequest{Enabled: &on, NodePools: pools}
		if len(pools) > 0 {
			c.NodeRoleArn = &role
		}
		return c, &ekstypes.StorageConfigRequest{BlockStorage: &ekstypes.BlockStorage{Enabled: &on}},
			&ekstypes.KubernetesNetworkConfigRequest{ElasticLoadBalancing: &ekstypes.ElasticLoadBalancing{Enabled: &on}}
	}
	c := w.cluster(t, "auto", func(in *eks.CreateClusterInput) {
		in.AccessConfig = &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApi}
		in.BootstrapSelfManagedAddons = aws.Bool(false)
		in.ComputeConfig, in.StorageConfig, in.KubernetesNetworkConfig = auto(true, "general-purpose", "system")
	})
	_, cfg := w.kubernetes(t, c)
	dyn := must(dynamic.NewForConfig(cfg))(t)
	pools := dyn.Resource(schema.GroupVersionResource{Group: "karpenter.sh", Version: "v1", Resource: "nodepools"})
	classes := dyn.Resource(schema.GroupVersionResource{Group: "eks.amazonaws.com", Version: "v1", Resource: "nodeclasses"})
	names := func(r dynamic.ResourceInterface) (out []string, err error) {
		l, err := r.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for _, o := range l.Items {
			out = append(out, o.GetName())
		}
		return out, nil
	}
	wait := func(what string, wantClasses, wantPools []string) {
		t.Helper()
		eventually(t, 2*time.Minute, what, func() error {
			c, err := names(classes)
			if err != nil {
				return err
			}
			p, err := names(pools)
			if err != nil {
				return err
			}
			if diff := cmp.Diff([][]string{wantClasses, wantPools}, [][]string{c, p}); diff != "" {
				return fmt.Errorf("%s", diff)
			}
			return nil
		})
	}
	update := func(on bool, names ...string) {
		t.Helper()
		in := &eks.UpdateClusterConfigInput{Name: aws.String("auto")}
		in.ComputeConfig, in.StorageConfig, in.KubernetesNetworkConfig = auto(on, names...)
		u := must(w.eks.UpdateClusterConfig(t.Context(), in))(t).Update
		if u.Type != ekstypes.UpdateTypeAutoModeUpdate {
			t.Errorf("the update is a %s", u.Type)
		}
		w.updated(t, &eks.DescribeUpdateInput{Name: in.Name, UpdateId: u.Id}, ekstypes.UpdateStatusSuccessful)
	}

	wait("both pools are there", []string{"default"}, []string{"general-purpose", "system"})
	class := must(classes.Get(t.Context(), "default", metav1.GetOptions{}))(t)
	if r, _, _ := unstructured.NestedString(class.Object, "spec", "role"); r != "auto-node" {
		t.Errorf("the NodeClass has role %s", r)
	}
	entry := must(w.eks.DescribeAccessEntry(t.Context(), &eks.DescribeAccessEntryInput{ClusterName: aws.String("auto"), PrincipalArn: &role}))(t).AccessEntry
	if *entry.Type != "EC2" {
		t.Errorf("access entry %+v", entry)
	}
	update(true, "system") // done when the update is
	wait("one pool is left", []string{"default"}, []string{"system"})
	update(true)
	wait("no pool is left", nil, nil)
	mine := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "eks.amazonaws.com/v1", "kind": "NodeClass", "metadata": map[string]any{"name": "mine"}}}
	must(classes.Create(t.Context(), mine, metav1.CreateOptions{}))(t)
	update(true, "system", "general-purpose")
	update(false)
	wait("only the user's are left", []string{"mine"}, nil)
}
