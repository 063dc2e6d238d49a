// Package protocol is what the agent on a real node and the emulator say to each other:
// JSON over HTTP, between binaries that may be of different releases.
package protocol

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
)

// Where things are on a node.
const (
	// ConfigFile says whom the node's agent asks. The emulator writes it.
	ConfigFile = "/etc/ekslocal/node.json"
	// Program is the agent itself.
	Program = "/opt/ekslocal/ekslocal-node"
	// Socket is where the node's processes reach its host agent. It is abstract: it
	// belongs to the network namespace, so that pods on the host network reach it without
	// a mount, which EKS's manifests do not have, and no others do.
	Socket = "@ekslocal-node"
	// RegistryAddress is where the host agent serves the images of AWS's own parts.
	RegistryAddress = "127.0.0.1:21365"
	// SandboxDir has a file for each sandbox with a network. It goes with the node's
	// namespaces when the node is started anew.
	SandboxDir = "/run/ekslocal/sandboxes"
)

// Config is a node's ConfigFile.
type Config struct {
	// URL is where the emulator answers this node: questions come below it.
	URL string `json:"url"`
	// PrivateIP is the node's own address in the VPC.
	PrivateIP netip.Addr `json:"privateIP"`
	// Relay are addresses of this node's loopback, and where connections to them go: the
	// cluster's endpoint, which EKS's kube-proxy calls by the name that the world has for it.
	Relay map[string]string `json:"relay,omitempty"`
}

// ReadConfig reads a node's ConfigFile.
func ReadConfig(path string) (Config, error) {
	var c Config
	raw, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("this is not a node of ekslocal: %w", err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	if c.URL == "" {
		return c, fmt.Errorf("%s: no url", path)
	}
	return c, nil
}

// The questions of a node, below its URL. Each is a POST with a JSON body.
const (
	AddPod      = "add"         // Sandbox -> PodNetwork
	DelPod      = "del"         // Sandbox -> nothing
	Daemon      = "daemon"      // DaemonStart -> a stream of DaemonReport, a line each
	Sandboxes   = "sandboxes"   // SandboxList -> nothing; only the host agent asks it
	Credentials = "credentials" // CredentialsRequest -> PodCredentials
	Network     = "network"     // NodeNetwork -> nothing; answered by the host agent itself
)

// Sandbox is a pod's network namespace.
type Sandbox struct {
	ContainerID string `json:"containerID"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	// UID is empty from container runtimes that do not tell it.
	UID string `json:"uid,omitempty"`
	// IP is what the sandbox has, where that is known.
	IP netip.Addr `json:"ip,omitzero"`
}

// SandboxList is all sandboxes of a node that have a network. The host agent says it while
// it passes a daemon's stream on.
type SandboxList struct {
	Sandboxes []Sandbox `json:"sandboxes"`
}

// PodNetwork is what a sandbox gets.
type PodNetwork struct {
	IP netip.Addr `json:"ip"`
}

// NodeNetwork says which traffic of pods leaves the node under the node's address.
type NodeNetwork struct {
	// Inside are the networks to which a pod's traffic keeps the pod's address.
	Inside []netip.Prefix `json:"inside"`
	// ExternalSNAT leaves the pod's address as it is to everywhere.
	ExternalSNAT bool `json:"externalSNAT,omitempty"`
	// Random is AWS_VPC_K8S_CNI_RANDOMIZESNAT: how source ports are chosen.
	Random string `json:"random,omitempty"`
}

// DaemonStart says that aws-node's container has started, or that its agent lost the
// emulator and comes again.
type DaemonStart struct {
	// Run tells one start of the container from the next.
	Run string            `json:"run"`
	Env map[string]string `json:"env"`
	// Sandboxes are those of the node that have a network.
	Sandboxes []Sandbox `json:"sandboxes"`
}

// The phases of a daemon.
const (
	PhaseStarting = "starting"
	PhaseServing  = "serving"
	PhaseFailed   = "failed"
	PhaseRefused  = "refused"
)

// DaemonReport is how the address daemon does.
type DaemonReport struct {
	Phase string `json:"phase"`
	// Reason is why settings are refused.
	Reason string `json:"reason,omitempty"`
	// Log is what ipamd.log got since the last report.
	Log string `json:"log,omitempty"`
	// Network is set with the first report, and when it changes.
	Network *NodeNetwork `json:"network,omitempty"`
}

// CredentialsRequest is a pod's question to the pod identity agent.
type CredentialsRequest struct {
	Token string `json:"token"`
}

// PodCredentials are the answer as SDKs read it.
type PodCredentials struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string `json:"SecretAccessKey"`
	Token           string `json:"Token"`
	AccountID       string `json:"AccountId"`
	Expiration      string `json:"Expiration"`
}

// Failure is the body of every answer that is not 200.
type Failure struct {
	// Message is for people: what the plugin says, as EKS's does.
	Message string `json:"message"`
	// Code is AWS's, where the failure is one of AWS's.
	Code string `json:"code,omitempty"`
}
