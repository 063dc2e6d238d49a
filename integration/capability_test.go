package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// TestCapabilities creates one of each type and uses the kinds that they bring,
// which stay when the capability goes.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	role := w.role(t, "capability", "capabilities.eks.amazonaws.com")
	k, cfg := w.kubernetes(t, w.cluster(t, "dev", func(in *eks.CreateClusterInput) {
		in.AccessConfig = &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApi}
	}))
	status := func(name string, want ekstypes.CapabilityStatus) {
		t.Helper()
		eventually(t, 2*time.Minute, name+" is "+string(want), func() error {
			d, err := w.eks.DescribeCapability(ctx, &eks.DescribeCapabilityInput{ClusterName: aws.String("dev"), CapabilityName: &name})
			if err != nil {
				return err
			}
			if d.Capability.Status != want {
				return fmt.Errorf("it is %s", d.Capability.Status)
			}
			return nil
		})
	}
	for _, kind := range ekstypes.CapabilityType("").Values() {
		in := &eks.CreateCapabilityInput{
			ClusterName: aws.String("dev"), CapabilityName: aws.String(strings.ToLower(string(kind))), Type: kind, RoleArn: &role,
			DeletePropagationPolicy: ekstypes.CapabilityDeletePropagationPolicyRetain,
		}
		if kind == ekstypes.CapabilityTypeArgocd {
			in.Configuration = &ekstypes.CapabilityConfigurationRequest{ArgoCd: &ekstypes.ArgoCdConfigRequest{
				Namespace: aws.String("gitops"), AwsIdc: &ekstypes.ArgoCdAwsIdcConfigRequest{IdcInstanceArn: aws.String("arn:aws:sso:::instance/ssoins-1234567890abcdef")},
			}}
		}
		if c := must(w.eks.CreateCapability(ctx, in))(t).Capability; c.Status != ekstypes.CapabilityStatusCreating {
			t.Errorf("a new capability is %s", c.Status)
		}
	}
	for _, name := range []string{"ack", "argocd", "kro"} {
		status(name, ekstypes.CapabilityStatusActive)
	}
	must(k.CoreV1().Namespaces().Get(ctx, "gitops", metav1.GetOptions{}))(t)
	apps := must(dynamic.NewForConfig(cfg))(t).Resource(schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}).Namespace("gitops")
	app := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": map[string]any{"name": "web"}, "spec": map[string]any{"project": "default"},
	}}
	must(apps.Create(ctx, app, metav1.CreateOptions{}))(t)

	must(w.eks.DeleteCapability(ctx, &eks.DeleteCapabilityInput{ClusterName: aws.String("dev"), CapabilityName: aws.String("argocd")}))(t)
	eventually(t, 2*time.Minute, "the capability is gone", func() error {
		_, err := w.eks.DescribeCapability(ctx, &eks.DescribeCapabilityInput{ClusterName: aws.String("dev"), CapabilityName: aws.String("argocd")})
		if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
	must(apps.Get(ctx, "web", metav1.GetOptions{}))(t)
}
