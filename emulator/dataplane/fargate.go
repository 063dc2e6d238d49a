package dataplane

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// fargateDiskGiB is a Fargate pod's disk unless it asks for more.
	fargateDiskGiB = 20
	// fargateOverheadMiB is what kubelet, kube-proxy and containerd take.
	fargateOverheadMiB = 256
)

// fargateLabels are those of Fargate's nodes: there is no instance type, and the
// host name lacks the node name's prefix.
func fargateLabels(n Node) map[string]string {
	labels := map[string]string{
		corev1.LabelHostname:                strings.TrimPrefix(n.Name, "fargate-"),
		corev1.LabelOSStable:                "linux",
		corev1.LabelArchStable:              n.Architecture,
		"beta.kubernetes.io/os":             "linux",
		"beta.kubernetes.io/arch":           n.Architecture,
		corev1.LabelTopologyRegion:          n.Region,
		corev1.LabelTopologyZone:            n.Zone,
		corev1.LabelFailureDomainBetaRegion: n.Region,
		corev1.LabelFailureDomainBetaZone:   n.Zone,
	}
	for k, v := range n.Labels {
		labels[k] = v
	}
	return labels
}

func fargateResources(f *Fargate) (capacity, allocatable corev1.ResourceList) {
	disk := resource.NewQuantity(fargateDiskGiB<<30, resource.BinarySI)
	capacity = corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewMilliQuantity(f.MilliCPU, resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(f.MemoryMiB<<20, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *disk,
		corev1.ResourcePods:             *resource.NewQuantity(1, resource.DecimalSI),
		"hugepages-1Gi":                 *resource.NewQuantity(0, resource.DecimalSI),
		"hugepages-2Mi":                 *resource.NewQuantity(0, resource.DecimalSI),
	}
	allocatable = capacity.DeepCopy()
	allocatable[corev1.ResourceMemory] = *resource.NewQuantity((f.MemoryMiB-fargateOverheadMiB)<<20, resource.BinarySI)
	return capacity, allocatable
}

// ownAddress is the address that a pod of the node has without asking the CNI.
func (n *node) ownAddress(pod *corev1.Pod) (netip.Addr, bool) {
	return n.PrivateIP, pod.Spec.HostNetwork || n.Fargate != nil
}
