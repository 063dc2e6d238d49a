package ipamd

import (
	"net/netip"
	"time"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// Settings are ipamd's knobs.
type Settings = warmpool.Settings

// ParseSettings reads the environment of aws-node; see warmpool.ParseSettings.
func ParseSettings(env map[string]string) (Settings, []string) { return warmpool.ParseSettings(env) }

// ENIConfig is the custom networking of one node.
type ENIConfig struct {
	Name           string
	Subnet         string
	SecurityGroups []string
}

// NodeConfig is what the cluster tells one node's ipamd.
type NodeConfig struct {
	Settings
	// MaxPods is the node's capacity for pods; 0 means what the AMI computes for
	// the instance type.
	MaxPods int
	// ENIConfigName is what the node's annotation or label asks for.
	ENIConfigName string
	// ENIConfig is nil if the node names none that exists.
	ENIConfig *ENIConfig
	// Unschedulable is set on a cordoned node.
	Unschedulable bool
}

// View is one node's pool for people and metrics.
type View struct {
	InstanceID   string
	Cluster      string
	InstanceType string
	MaxENIs      int // awscni_eni_max
	MaxIPs       int // awscni_ip_max
	IPv4PerENI   int
	ENIs         []ENIView
	// Total, Assigned and Cooling count the addresses for pods; with prefix
	// delegation those of prefixes, else secondary ones.
	Total, Assigned, Cooling int
	// Prefixes counts the /28 (or, with IPv6, /80) prefixes, used or not.
	Prefixes int
	// RetryAt and LastError say why and until when the pool does not grow.
	RetryAt   time.Time
	LastError string
	Settings  Settings
	Counters  Counters
}

// ENIView is one interface of a node.
type ENIView struct {
	ID        string
	Device    int
	Subnet    string
	Primary   netip.Addr // the interface's own address
	Addresses []netip.Addr
	Prefixes  []netip.Prefix
	Trunk     bool
	Excluded  bool // gives no addresses to pods
	Assigned  int
	Cooling   int
}

// Counters are what ipamd's awscni_* metrics count.
type Counters = warmpool.Counters
