package dataplane

import (
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestFargateNodeObject(t *testing.T) {
	n := Node{
		Name: "fargate-ip-10-0-1-23.ec2.internal", InstanceID: "eni-1", Region: "us-east-1", Zone: "us-east-1a", PrivateIP: netip.MustParseAddr("10.0.1.23"),
		KubeletVersion: "v1.34.2-eks-x", Architecture: "amd64", MaxPods: 1, Labels: map[string]string{"eks.amazonaws.com/compute-type": "fargate"},
		Fargate: &Fargate{ProviderID: "aws:///us-east-1a/x/fargate-ip-10-0-1-23.ec2.internal", MilliCPU: 250, MemoryMiB: 512},
	}
	o := nodeObject("dev", n, true, time.Now())
	for key, want := range map[string]string{
		corev1.LabelHostname: "ip-10-0-1-23.ec2.internal", corev1.LabelTopologyZone: "us-east-1a", "eks.amazonaws.com/compute-type": "fargate", corev1.LabelInstanceTypeStable: "",
	} {
		if got := o.Labels[key]; got != want {
			t.Errorf("label %s is %q, want %q", key, got, want)
		}
	}
	c, a := o.Status.Capacity, o.Status.Allocatable
	if o.Spec.ProviderID != n.Fargate.ProviderID || c.Cpu().MilliValue() != 250 || c.Memory().Value() != 512<<20 || a.Memory().Value() != 256<<20 || c.Pods().Value() != 1 {
		t.Errorf("provider id %s, capacity %v, allocatable %v", o.Spec.ProviderID, c, a)
	}
}
