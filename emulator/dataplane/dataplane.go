// Package dataplane simulates the worker nodes of a cluster and the pods on
// them: a virtual kubelet fleet that joins, heartbeats, runs pods by the clock
// and answers the API server's kubelet calls.
package dataplane

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is what an EC2 instance tells its kubelet at boot.
type Node struct {
	// Name is the EC2 private DNS name, such as ip-10-0-1-23.ec2.internal.
	Name         string
	InstanceID   string
	InstanceType string
	Region       string
	Zone         string // us-east-1a
	ZoneID       string // use1-az6
	PrivateIP    netip.Addr
	AMI          string
	// KubeletVersion such as v1.34.2-eks-113cf36.
	KubeletVersion string
	// Architecture is amd64 or arm64.
	Architecture string
	// VCPUs and MemoryMiB are the instance type's; MaxPods what the AMI computes.
	VCPUs     int
	MemoryMiB int
	MaxPods   int
	// Labels and Taints come on top of those every EKS node has.
	Labels map[string]string
	Taints []corev1.Taint
	// DiskGiB is the root volume's size; 0 means 20, as node groups have it.
	DiskGiB int
	// Resources are extended resources that device plugins would register, such
	// as nvidia.com/gpu.
	Resources corev1.ResourceList
	// Fargate is set for the machine that Fargate gives to a single pod.
	Fargate *Fargate
}

// Fargate is what a node of Fargate has that an instance has not. Such a node runs
// one pod, which has the node's own address; no CNI runs on it.
type Fargate struct {
	ProviderID string
	// MilliCPU and MemoryMiB are the capacity, of which all but what Kubernetes
	// itself takes is the pod's.
	MilliCPU  int64
	MemoryMiB int64
}

// Addresses is the node's CNI: it gives each pod that is not on the host network
// an address out of the node's ENIs.
type Addresses interface {
	// Expect tells which addresses pods of an instance have from before the emulator
	// started: they keep them, whatever else becomes of the instance's addresses. It goes
	// before all that starts the node's CNI.
	Expect(instanceID string, pods map[types.UID]netip.Addr)
	// Assign returns the pod's address, the same one if the pod has one. An
	// error's text becomes the FailedCreatePodSandBox event; the pod is retried.
	// prefer, when valid, is the address that the pod object already shows (after
	// a restart of the emulator); a different pod may hold it by then.
	Assign(ctx context.Context, instanceID string, pod types.UID, name types.NamespacedName, prefer netip.Addr) (netip.Addr, error)
	// Release gives the pod's address back; it may be called for pods without one.
	Release(ctx context.Context, instanceID string, pod types.UID)
}
