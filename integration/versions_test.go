package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestVersions brings up a cluster of each Kubernetes version side by side and
// looks at what tells them apart: the served resources, and fields of pods.
func TestVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	minors := []string{"1.33", "1.34", "1.35", "1.36"}
	create := func(minor string) error {
		_, err := w.eks.CreateCluster(t.Context(), &eks.CreateClusterInput{
			Name: aws.String("v" + strings.ReplaceAll(minor, ".", "-")), Version: &minor, RoleArn: &w.clusterRole,
			ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: w.subnets},
		})
		return err
	}
	for _, minor := range minors {
		if err := create(minor); err != nil {
			t.Fatal(err)
		}
	}
	for _, minor := range []string{"1.32", "1.37", "2"} {
		if err := create(minor); errorAs[*ekstypes.InvalidParameterException](err) == nil || !strings.Contains(err.Error(), "unsupported Kubernetes version") {
			t.Errorf("creating a %s cluster: %v", minor, err)
		}
	}
	for i, minor := range minors {
		c := w.clusterIs(t, "v"+strings.ReplaceAll(minor, ".", "-"), ekstypes.ClusterStatusActive)
		t.Run(minor, func(t *testing.T) {
			k := w.kube(t, c)
			if *c.Version != minor {
				t.Errorf("DescribeCluster says %s", *c.Version)
			}
			v := must(k.Discovery().ServerVersion())(t)
			if v.Major+"."+v.Minor != minor || !strings.HasPrefix(v.GitVersion, "v"+minor+".") || !strings.Contains(v.GitVersion, "-eks-") {
				t.Errorf("the API server says %+v", v)
			}
			for _, c := range []struct {
				groupVersion, resource string
				since                  int // index into minors
			}{
				{"admissionregistration.k8s.io/v1", "validatingadmissionpolicies", 0},
				{"resource.k8s.io/v1", "resourceclaims", 1},
				{"storage.k8s.io/v1", "volumeattributesclasses", 1},
				{"admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", 3},
				{"admissionregistration.k8s.io/v1beta1", "mutatingadmissionpolicies", 99}, // EKS leaves beta APIs off
			} {
				if got, want := k.serves(t, c.groupVersion, c.resource), i >= c.since; got != want {
					t.Errorf("%s of %s is served: %v, want %v", c.resource, c.groupVersion, got, want)
				}
			}
			if got, want := k.keepsRestartRules(t), i >= 2; got != want {
				t.Errorf("restart rules of containers are kept: %v, want %v", got, want)
			}
		})
		t.Run(minor+" kubectl", func(t *testing.T) {
			if out, err := w.kube(t, c).kubectl(t, "", "version"); err != nil || !strings.Contains(out, "Server Version: v"+minor+".") {
				t.Errorf("kubectl version: %q, %v", out, err)
			}
		})
	}
}

func (k *kube) serves(t *testing.T, groupVersion, resource string) bool {
	t.Helper()
	list, err := k.Discovery().ServerResourcesForGroupVersion(groupVersion)
	if err != nil {
		return false
	}
	for _, r := range list.APIResources {
		if r.Name == resource {
			return true
		}
	}
	return false
}

// keepsRestartRules asks, with a dry run, whether a field that is on by default
// since 1.35 survives.
func (k *kube) keepsRestartRules(t *testing.T) bool {
	t.Helper()
	never := corev1.ContainerRestartPolicyNever
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "dry"},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{
			Name: "web", Image: "nginx:1.29", RestartPolicy: &never,
			RestartPolicyRules: []corev1.ContainerRestartRule{{
				Action:    corev1.ContainerRestartRuleActionRestart,
				ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
			}},
		}}},
	}
	var got *corev1.Pod
	eventually(t, 20*time.Second, "a pod is let in", func() (err error) {
		if got, err = k.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			return fmt.Errorf("dry run: %w", err)
		}
		return nil
	})
	return len(got.Spec.Containers[0].RestartPolicyRules) > 0
}
