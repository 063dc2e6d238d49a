// Package podeni models security groups for pods: which pods the VPC resource
// controller gives a branch network interface, what its webhooks answer, and which
// interfaces of a node's trunk come and go. It is pure: no I/O, no clock.
//
// Source: amazon-vpc-resource-controller-k8s, pkg/utils, pkg/provider/branch and
// webhooks/core, which the comments call upstream.
package podeni

import (
	"encoding/json"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Names that the controller has in clusters and in EC2.
const (
	// Resource is what pods ask for and nodes have, and the annotation that says
	// what a pod was given.
	Resource = "vpc.amazonaws.com/pod-eni"
	// Feature is what ipamd adds to a node's CNINode to ask for a trunk.
	Feature = "SecurityGroupsForPods"
	// Custom is the feature that names the node's ENIConfig.
	Custom = "CustomNetworking"
	// Finalizer keeps the CNINode until the node's interfaces are gone.
	Finalizer = "networking.k8s.aws/resource-cleanup"
	// User is who annotates pods.
	User = "eks:vpc-resource-controller"
	// Component is the source of the controller's events.
	Component = "vpc-resource-controller"

	TrunkDescription  = "aws-k8s-trunk-eni"
	BranchDescription = "aws-k8s-branch-eni"

	TagOwner    = "eks:eni:owner"
	Owner       = "eks-vpc-resource-controller"
	TagInstance = "node.k8s.amazonaws.com/instance_id"
	TagCluster  = "cluster.k8s.amazonaws.com/name"
	TagVLAN     = "vpcresources.k8s.aws/vlan-id"
	TagTrunk    = "vpcresources.k8s.aws/trunk-eni-id"
)

// Details are a branch interface as the pod's annotation tells the CNI of it.
type Details struct {
	ID            string `json:"eniId"`
	MAC           string `json:"ifAddress"`
	IPv4          string `json:"privateIp"`
	IPv6          string `json:"ipv6Addr"`
	VLAN          int    `json:"vlanId"`
	SubnetCIDR    string `json:"subnetCidr"`
	SubnetV6CIDR  string `json:"subnetV6Cidr"`
	AssociationID string `json:"associationID"`
}

// Wants counts the branch interfaces that a pod asks for, over its containers.
func Wants(pod *corev1.Pod) int {
	n := 0
	for i := range pod.Spec.Containers {
		q := pod.Spec.Containers[i].Resources.Requests[Resource]
		n += int(q.Value())
	}
	return n
}

// Given are the interfaces that a pod's annotation names; none without one.
func Given(pod *corev1.Pod) ([]Details, error) {
	text, ok := pod.Annotations[Resource]
	if !ok {
		return nil, nil
	}
	var out []Details
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("podeni: annotation of %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return out, nil
}

// Address is what the CNI makes of a pod's annotation: the first interface's address
// of the cluster's family. It answers the invalid address while the annotation is not
// there or says too little.
func Address(pod *corev1.Pod, v6 bool) netip.Addr {
	given, err := Given(pod)
	if err != nil || len(given) == 0 || given[0].MAC == "" || given[0].VLAN == 0 {
		return netip.Addr{}
	}
	text := given[0].IPv4
	if v6 {
		text = given[0].IPv6
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return ip
}
