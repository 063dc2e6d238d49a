package controlplane

import (
	"context"
	"errors"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Machine is what a real node is made from: an instance of a cluster that has booted.
type Machine struct {
	InstanceID string
	// NodeName is the instance's private DNS name, ProviderID how Kubernetes names it.
	NodeName   string
	ProviderID string
	// PrivateIP is the instance's own address in the VPC, the node's InternalIP.
	PrivateIP netip.Addr
	// VPC is the network in which machines and their pods reach each other; machines
	// of different ones must not.
	VPC VPC
	// Labels and Taints are the kubelet's, MaxPods is how many pods it takes.
	Labels  map[string]string
	Taints  []corev1.Taint
	MaxPods int
	// Allocatable is what the instance type leaves for pods. A machine that has less
	// offers what it has.
	Allocatable corev1.ResourceList
}

// VPC is a virtual network, and the addresses that are inside it.
type VPC struct {
	ID    string
	CIDRs []netip.Prefix
}

// MachineState is a machine as it was last seen.
type MachineState struct {
	InstanceID string
	Running    bool
}

// Hoster is a Backend whose clusters have real nodes: it runs a machine for each
// instance. All methods are idempotent and may be called again after the emulator was
// killed in the middle of an earlier call.
type Hoster interface {
	// Join makes the instance's machine run and be a node of the control plane: a new
	// one, or one that was halted. It returns when the API server has its Node, Ready or
	// not. Of a machine that has joined, only the VPC's CIDRs may change.
	Join(ctx context.Context, id string, m Machine) error
	// Halt stops a machine and keeps its disk.
	Halt(ctx context.Context, id, instanceID string) error
	// Leave removes a machine and what it kept; it does not delete the Node.
	Leave(ctx context.Context, id, instanceID string) error
	// Machines lists the machines of a control plane, those of crashed joins too.
	Machines(ctx context.Context, id string) ([]MachineState, error)
	// Provide makes images known to the machines, those of later joins too, whose
	// names only AWS's registries resolve: the parts of EKS's default add-ons. What the
	// backend has nothing for is left for the machines to pull.
	Provide(ctx context.Context, id string, images []string) error
}

// ErrHopeless is in errors of Join that another try does not mend: somebody has to
// change something.
var ErrHopeless = errors.New("cannot join")

// ErrNoAgent is what NodeAgents answers for a node that is not there, or has no daemon
// that serves: who asked tries again.
var ErrNoAgent = errors.New("the node is not known")

// Sandbox is a pod's network namespace that the container runtime has made.
type Sandbox struct {
	ContainerID string
	Pod         types.NamespacedName
	// UID is empty where the container runtime does not tell it.
	UID types.UID
	// IP is what the sandbox has, where that is known.
	IP netip.Addr
}

// NodeNetwork says which traffic of pods leaves a node under the node's address.
type NodeNetwork struct {
	// Inside are the networks to which a pod's traffic keeps the pod's address: those of
	// the VPC, and those that AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS adds.
	Inside []netip.Prefix
	// ExternalSNAT leaves the pod's address as it is to everywhere.
	ExternalSNAT bool
}

// DaemonStart is a start of aws-node's container, or that it has found the emulator again.
type DaemonStart struct {
	// Run tells one start of the container from the next.
	Run string
	// Env is the container's environment, which is all of the daemon's settings.
	Env map[string]string
	// Sandboxes are those of the node that have a network at this moment.
	Sandboxes []Sandbox
}

// DaemonReport is how the address daemon of a node does, for the process that stands
// for it there.
type DaemonReport struct {
	// Phase is starting, serving, failed or refused, as dataplane.DaemonPhase has them.
	Phase string
	// Reason is why the settings are refused.
	Reason string
	// Log is what the daemon has written since the last report.
	Log string
	// Network is set in the first report and in those of a change.
	Network *NodeNetwork
}

// PodCredentials are what a pod's service account may be.
type PodCredentials struct {
	AccessKeyID, SecretAccessKey, Token, AccountID string
	Expiration                                     time.Time
}

// NodeAgents answers what runs on real nodes in AWS's place: the CNI plugin and its
// daemon, and the pod identity agent. A node is named by its instance.
type NodeAgents interface {
	// AddPod gives a sandbox its address, the same again for the same pod. The error's
	// text is the plugin's word on AWS.
	AddPod(ctx context.Context, clusterID, instanceID string, s Sandbox) (netip.Addr, error)
	// DelPod gives it back; of a sandbox that has none it does nothing.
	DelPod(ctx context.Context, clusterID, instanceID string, s Sandbox) error
	// Daemon is the life of one start of aws-node's container, as far as the emulator sees
	// it: it reports until ctx ends, which is when the container does.
	Daemon(ctx context.Context, clusterID, instanceID string, start DaemonStart, report func(DaemonReport) error) error
	// Sandboxes are those of a node that have a network at this moment, told now and then
	// while Daemon runs: what is not among them has ended.
	Sandboxes(ctx context.Context, clusterID, instanceID string, all []Sandbox) error
	// PodCredentials are those of the role that EKS Pod Identity gives to the pod whose
	// token it is. Its errors are AWS's.
	PodCredentials(ctx context.Context, clusterID, instanceID, token string) (PodCredentials, error)
}
