// Package fargate models what AWS Fargate does with the pods of an EKS cluster:
// which of them it takes, how large a machine each gets and what it refuses. It is
// pure: no I/O, no clock.
package fargate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names that Fargate puts into clusters.
const (
	SchedulerName = "fargate-scheduler"
	// ProfileLabel is on every pod that runs on Fargate, and on those of users who
	// choose among several profiles that match.
	ProfileLabel = "eks.amazonaws.com/fargate-profile"
	// ComputeType is the key of the nodes' label and taint, and of the annotation that
	// keeps a pod (CoreDNS's, by default) on EC2.
	ComputeType = "eks.amazonaws.com/compute-type"
	// Fargate is ComputeType's value on nodes; onEC2 the annotation's.
	Fargate = "fargate"
	onEC2   = "ec2"
	// CapacityAnnotation says what a pod pays for.
	CapacityAnnotation = "CapacityProvisioned"
	// LoggingAnnotation tells whether the pod's logs are routed.
	LoggingAnnotation = "Logging"
	LoggingDisabled   = "LoggingDisabled: LOGGING_CONFIGMAP_NOT_FOUND"

	// Pods on Fargate have this priority class, so that nothing evicts them.
	priorityClass = "system-node-critical"
	priority      = 2000001000
)

// Profile is a Fargate profile as far as choosing pods goes.
type Profile struct {
	Name      string
	Selectors []Selector
}

// Selector matches pods of a namespace that have all of the labels. Namespace, keys
// and values may hold the wildcards * and ?.
type Selector struct {
	Namespace string
	Labels    map[string]string
}

// Choose returns the profile by which Fargate takes a new pod. Among several that
// match it is the one that the pod names, or the first by name.
func Choose(profiles []Profile, pod *corev1.Pod) (Profile, bool) {
	if strings.EqualFold(pod.Annotations[ComputeType], onEC2) || ofDaemonSet(pod) {
		return Profile{}, false
	}
	profiles = slices.Clone(profiles)
	slices.SortFunc(profiles, func(a, b Profile) int { return strings.Compare(a.Name, b.Name) })
	named, isNamed := pod.Labels[ProfileLabel]
	for _, p := range profiles {
		if isNamed && p.Name != named {
			continue
		}
		if slices.ContainsFunc(p.Selectors, func(s Selector) bool { return s.matches(pod.Namespace, pod.Labels) }) {
			return p, true
		}
	}
	return Profile{}, false
}

// ofDaemonSet tells whether the pod is a DaemonSet's: Fargate does not run those.
func ofDaemonSet(pod *corev1.Pod) bool {
	o := metav1.GetControllerOf(pod)
	return o != nil && o.Kind == "DaemonSet"
}

func (s Selector) matches(namespace string, labels map[string]string) bool {
	if !glob(s.Namespace, namespace) {
		return false
	}
	for key, value := range s.Labels {
		found := false
		for k, v := range labels {
			found = found || glob(key, k) && glob(value, v)
		}
		if !found {
			return false
		}
	}
	return true
}

// glob matches s against a pattern in which * stands for any text and ? for one
// character.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*': // before the literal case: s may hold a star too
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// Size is the capacity of a pod's machine.
type Size struct {
	MilliCPU  int64
	MemoryMiB int64
}

// String is the value of CapacityAnnotation.
func (s Size) String() string {
	return trimmed(float64(s.MilliCPU)/1000) + "vCPU " + trimmed(float64(s.MemoryMiB)/1024) + "GB"
}

func trimmed(f float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", f), "0"), ".")
}

// sizes are Fargate's combinations ("Understand Fargate Pod configuration
// details"): for each CPU, the memory from, to and in steps of, in MiB.
var sizes = []struct{ milliCPU, from, to, step int64 }{
	{250, 512, 512, 512}, {250, 1024, 2048, 1024},
	{500, 1024, 4096, 1024},
	{1000, 2048, 8192, 1024},
	{2000, 4096, 16384, 1024},
	{4000, 8192, 30720, 1024},
	{8000, 16384, 61440, 4096},
	{16000, 32768, 122880, 8192},
}

// overheadMiB is for kubelet, kube-proxy and containerd on the pod's machine.
const overheadMiB = 256

// SizeOf is the smallest combination that holds the pod's requests: the sum of its
// containers', or the largest init container's, and 256 MiB for Kubernetes itself.
// ok is false if none does.
func SizeOf(pod *corev1.Pod) (s Size, ok bool) {
	var cpu, memory resource.Quantity
	for i := range pod.Spec.Containers {
		cpu.Add(*pod.Spec.Containers[i].Resources.Requests.Cpu())
		memory.Add(*pod.Spec.Containers[i].Resources.Requests.Memory())
	}
	for i := range pod.Spec.InitContainers {
		r := pod.Spec.InitContainers[i].Resources.Requests
		if always := pod.Spec.InitContainers[i].RestartPolicy; always != nil && *always == corev1.ContainerRestartPolicyAlways {
			cpu.Add(*r.Cpu()) // a sidecar
			memory.Add(*r.Memory())
			continue
		}
		if r.Cpu().Cmp(cpu) > 0 {
			cpu = *r.Cpu()
		}
		if r.Memory().Cmp(memory) > 0 {
			memory = *r.Memory()
		}
	}
	const mib = 1 << 20
	needCPU, needMemory := cpu.MilliValue(), (memory.Value()+mib-1)/mib+overheadMiB
	for _, c := range sizes {
		if c.milliCPU < needCPU || c.to < needMemory {
			continue
		}
		s = Size{c.milliCPU, c.from}
		if over := needMemory - c.from; over > 0 {
			s.MemoryMiB += (over + c.step - 1) / c.step * c.step
		}
		return s, true
	}
	return Size{}, false
}

// Unsupported says, in the words of Fargate's scheduler, why it cannot run the pod;
// empty if it can.
func Unsupported(pod *corev1.Pod) string {
	var parts []string
	if f := unsupportedFields(pod); len(f) > 0 {
		parts = append(parts, "fields not supported: "+strings.Join(f, ", "))
	}
	if f := unsupportedSecurity(pod); len(f) > 0 {
		parts = append(parts, "invalid SecurityContext fields: "+strings.Join(f, ","))
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; !supportedVolume(v) {
			parts = append(parts, fmt.Sprintf("volumes not supported: %s is of an unsupported volume Type", v.Name))
		}
	}
	if len(parts) > 0 {
		return "Pod not supported on Fargate: " + strings.Join(parts, ", ")
	}
	if _, ok := SizeOf(pod); !ok {
		return "Your pod's cpu/memory requirements exceed the max Fargate configuration"
	}
	return ""
}

func unsupportedFields(pod *corev1.Pod) (out []string) {
	for name, set := range map[string]bool{"HostNetwork": pod.Spec.HostNetwork, "HostPID": pod.Spec.HostPID, "HostIPC": pod.Spec.HostIPC} {
		if set {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostIP != "" || p.HostPort != 0 {
				return append(out, "port contains HostIP or HostPort")
			}
		}
	}
	return out
}

func unsupportedSecurity(pod *corev1.Pod) (out []string) {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if s := list[i].SecurityContext; s != nil && s.Privileged != nil && *s.Privileged {
				out = append(out, "Privileged")
			}
		}
	}
	return out
}

// supportedVolume knows what Fargate mounts: its own disk, what comes from the API,
// and EFS by claim.
func supportedVolume(v *corev1.Volume) bool {
	s := v.VolumeSource
	return s.EmptyDir != nil || s.ConfigMap != nil || s.Secret != nil || s.DownwardAPI != nil || s.Projected != nil ||
		s.PersistentVolumeClaim != nil || s.NFS != nil
}
