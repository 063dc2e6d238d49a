package dataplane

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kubeletPort is where the API server looks for a node's kubelet.
const kubeletPort = 10250

// What an EKS optimized Amazon Linux 2023 AMI reports about itself.
const (
	osImage          = "Amazon Linux 2023.9.20251014"
	kernelVersion    = "6.12.46-66.121.amzn2023"
	containerRuntime = "containerd://2.1.4"
)

const (
	reasonReady    = "KubeletReady"
	messageReady   = "kubelet is posting ready status"
	reasonNotReady = "KubeletNotReady"
	// messageNoCNI is what users see while aws-node has not run on the node.
	messageNoCNI = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"
)

// nodeObject is the Node that a kubelet on n registers, status included.
func nodeObject(clusterName string, n Node, networkReady bool, now time.Time) *corev1.Node {
	capacity, allocatable := resources(n)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:   n.Name,
			Labels: nodeLabels(clusterName, n),
			Annotations: map[string]string{
				"alpha.kubernetes.io/provided-node-ip":                   n.PrivateIP.String(),
				"node.alpha.kubernetes.io/ttl":                           "0",
				"volumes.kubernetes.io/controller-managed-attach-detach": "true",
			},
		},
		Spec: corev1.NodeSpec{ProviderID: providerID(n), Taints: n.Taints},
		Status: corev1.NodeStatus{
			Capacity:        capacity,
			Allocatable:     allocatable,
			Conditions:      nodeConditions(nil, networkReady, now),
			Addresses:       nodeAddresses(n),
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: kubeletPort}},
			NodeInfo:        nodeInfo(n),
		},
	}
}

// providerID is how Kubernetes names the EC2 instance.
func providerID(n Node) string {
	if n.Fargate != nil {
		return n.Fargate.ProviderID
	}
	return "aws:///" + n.Zone + "/" + n.InstanceID
}

func nodeAddresses(n Node) []corev1.NodeAddress {
	return []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: n.PrivateIP.String()},
		{Type: corev1.NodeInternalDNS, Address: n.Name},
		{Type: corev1.NodeHostName, Address: n.Name},
	}
}

// nodeLabels are those of kubelet, of the cloud controller manager and the
// node's own; the latter win, as with --node-labels, except where Kubernetes
// would correct them.
func nodeLabels(clusterName string, n Node) map[string]string {
	if n.Fargate != nil {
		return fargateLabels(n)
	}
	labels := map[string]string{}
	maps.Copy(labels, n.Labels)
	maps.Copy(labels, map[string]string{
		corev1.LabelHostname:      n.Name,
		corev1.LabelOSStable:      "linux",
		corev1.LabelArchStable:    n.Architecture,
		"beta.kubernetes.io/os":   "linux",
		"beta.kubernetes.io/arch": n.Architecture,
	})
	maps.Copy(labels, CloudLabels(clusterName, n))
	return labels
}

// resources computes capacity and allocatable as an EKS AMI configures them:
// nodeadm's kube-reserved (CPU in tiers, 11 MiB a pod + 255 MiB, 1 GiB of disk)
// and eviction thresholds of 100 MiB memory and 10 % disk.
func resources(n Node) (capacity, allocatable corev1.ResourceList) {
	if n.Fargate != nil {
		return fargateResources(n.Fargate)
	}
	disk := n.DiskGiB
	if disk == 0 {
		disk = 20
	}
	// The file system takes about 0.37 % of the volume.
	diskBytes := int64(disk)<<30 - int64(disk)<<30*37/10000
	diskBytes &^= 1<<12 - 1
	memory := visibleMemoryKiB(n.MemoryMiB)
	reservedMemory := int64(11*n.MaxPods+255+100) << 10
	capacity = corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(n.VCPUs), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(memory<<10, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(diskBytes, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(int64(n.MaxPods), resource.DecimalSI),
		"hugepages-1Gi":                 *resource.NewQuantity(0, resource.DecimalSI),
		"hugepages-2Mi":                 *resource.NewQuantity(0, resource.DecimalSI),
	}
	allocatable = capacity.DeepCopy()
	allocatable[corev1.ResourceCPU] = *resource.NewMilliQuantity(int64(n.VCPUs)*1000-reservedMilliCPU(n.VCPUs), resource.DecimalSI)
	allocatable[corev1.ResourceMemory] = *resource.NewQuantity(max(memory-reservedMemory, 0)<<10, resource.BinarySI)
	allocatable[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(max(diskBytes*9/10-1<<30, 0), resource.DecimalSI)
	for name, q := range n.Resources {
		capacity[name], allocatable[name] = q, q
	}
	return capacity, allocatable
}

// reservedMilliCPU is 6 % of the first core, 1 % of the second, 0.5 % of the
// next two and 0.25 % of each further one.
func reservedMilliCPU(vcpus int) int64 {
	hundredths := 0 // of a millicore
	for core := range vcpus {
		switch {
		case core == 0:
			hundredths += 6000
		case core == 1:
			hundredths += 1000
		case core < 4:
			hundredths += 500
		default:
			hundredths += 250
		}
	}
	return int64(hundredths / 100)
}

// visibleMemoryKiB is what Linux shows of the instance type's memory: firmware,
// kernel and page structures take about 120 MiB and 3.75 % (fitted to t3.medium,
// m5.large, m5.xlarge and m5.4xlarge nodes).
func visibleMemoryKiB(mib int) int64 {
	kib := int64(mib) << 10
	return max(kib-120<<10-kib*375/10000, 0) &^ 3
}

func nodeInfo(n Node) corev1.NodeSystemInfo {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[n.Architecture]
	id := fmt.Sprintf("%x", sha256.Sum256([]byte(n.InstanceID)))
	return corev1.NodeSystemInfo{
		MachineID:               "ec2" + id[3:32],
		SystemUUID:              uuidOf("ec2" + id[3:32]),
		BootID:                  uuidOf(id[32:]),
		KernelVersion:           kernelVersion + "." + arch,
		OSImage:                 osImage,
		ContainerRuntimeVersion: containerRuntime,
		KubeletVersion:          n.KubeletVersion,
		OperatingSystem:         "linux",
		Architecture:            n.Architecture,
	}
}

func uuidOf(hex32 string) string {
	return strings.Join([]string{hex32[:8], hex32[8:12], hex32[12:16], hex32[16:20], hex32[20:32]}, "-")
}

// nodeConditions renews a node's conditions; a condition whose status does not
// change keeps its transition time.
func nodeConditions(old []corev1.NodeCondition, networkReady bool, now time.Time) []corev1.NodeCondition {
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: reasonReady, Message: messageReady}
	if !networkReady {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, reasonNotReady, messageNoCNI
	}
	conditions := []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
		ready,
	}
	for i := range conditions {
		c := &conditions[i]
		c.LastHeartbeatTime, c.LastTransitionTime = metav1.NewTime(now), metav1.NewTime(now)
		for _, o := range old {
			if o.Type == c.Type && o.Status == c.Status {
				c.LastTransitionTime = o.LastTransitionTime
			}
		}
	}
	return conditions
}
