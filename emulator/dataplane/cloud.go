package dataplane

import (
	"crypto/md5"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// What follows is for machines whose kubelet is a real one: the cloud's part of a Node.

// Allocatable is what an instance leaves for pods.
func Allocatable(n Node) corev1.ResourceList {
	_, allocatable := resources(n)
	return allocatable
}

// ProviderID is how Kubernetes names the EC2 instance.
func ProviderID(n Node) string { return providerID(n) }

// CloudAddresses are those that the cloud controller manager gives to a Node.
func CloudAddresses(n Node) []corev1.NodeAddress { return nodeAddresses(n) }

// CloudLabels are the labels that the cloud controller manager gives to a Node.
func CloudLabels(clusterName string, n Node) map[string]string {
	labels := map[string]string{
		corev1.LabelInstanceTypeStable:      n.InstanceType,
		corev1.LabelInstanceType:            n.InstanceType,
		corev1.LabelTopologyRegion:          n.Region,
		corev1.LabelTopologyZone:            n.Zone,
		corev1.LabelFailureDomainBetaRegion: n.Region,
		corev1.LabelFailureDomainBetaZone:   n.Zone,
		"k8s.io/cloud-provider-aws":         fmt.Sprintf("%x", md5.Sum([]byte(clusterName))),
	}
	if n.ZoneID != "" {
		labels["topology.k8s.aws/zone-id"] = n.ZoneID
	}
	return labels
}
