package dataplane

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestReservedCPU(t *testing.T) {
	// The values that EKS documents for its AMIs.
	for vcpus, want := range map[int]int64{1: 60, 2: 70, 4: 80, 8: 90, 16: 110, 48: 190, 96: 310} {
		if got := reservedMilliCPU(vcpus); got != want {
			t.Errorf("%d vCPUs: %dm reserved, want %dm", vcpus, got, want)
		}
	}
}

func TestNodeObject(t *testing.T) {
	n := testNode(23)
	n.Resources = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
	got := nodeObject("dev", n, true, epoch)
	if want := "aws:///us-east-1a/i-00000000000000017"; got.Spec.ProviderID != want {
		t.Errorf("provider id %s, want %s", got.Spec.ProviderID, want)
	}
	for k, want := range map[string]string{
		"kubernetes.io/hostname": n.Name, "node.kubernetes.io/instance-type": "m5.large", "topology.kubernetes.io/zone": "us-east-1a",
		"topology.k8s.aws/zone-id": "use1-az6", "eks.amazonaws.com/nodegroup": "ng", "kubernetes.io/arch": "amd64",
	} {
		if got.Labels[k] != want {
			t.Errorf("label %s is %q, want %q", k, got.Labels[k], want)
		}
	}
	var allocatable []string
	for _, r := range []corev1.ResourceName{"cpu", "memory", "pods", "ephemeral-storage", "nvidia.com/gpu"} {
		q := got.Status.Allocatable[r]
		allocatable = append(allocatable, q.String())
	}
	if diff := cmp.Diff([]string{"1930m", "7260980Ki", "29", "18182098534", "1"}, allocatable); diff != "" {
		t.Errorf("allocatable -want +got\n%s", diff)
	}
	if c := got.Status.Conditions[3]; c.Type != corev1.NodeReady || c.Status != corev1.ConditionTrue || c.Reason != "KubeletReady" {
		t.Errorf("ready condition %+v", c)
	}
	if diff := cmp.Diff(corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "10.0.0.23"}, got.Status.Addresses[0]); diff != "" {
		t.Error(diff)
	}
}
