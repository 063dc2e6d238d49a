package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// AddressUse is the answer of GET /_ekslocal/ips: who holds the IPv4 addresses of
// the subnets, what the nodes' pools look like, and which pods wait for one.
type AddressUse struct {
	// Time is the emulator's own.
	Time    time.Time    `json:"time"`
	Subnets []SubnetUse  `json:"subnets"`
	Nodes   []NodePool   `json:"nodes"`
	Waiting []WaitingPod `json:"waiting"`
}

// AddressQuery chooses what AddressUse shows; empty fields choose everything.
type AddressQuery struct {
	// Cluster chooses the subnets of the cluster's VPC, its nodes and its pods.
	Cluster string
	Region  string
	Account string
}

// Holder is a kind of owner of addresses.
type Holder string

// The kinds. An address is of exactly one, or free.
const (
	// HeldReserved are the first four addresses of a subnet and its last.
	HeldReserved     Holder = "reserved"
	HeldControlPlane Holder = "control-plane"
	// HeldNodePrimary are the own addresses of nodes' interfaces.
	HeldNodePrimary Holder = "node-primary"
	// HeldPodAssigned, HeldPodCooling and HeldPodWarm are the nodes' addresses for
	// pods, those in prefixes included: with a pod, released less than the cooldown
	// ago, and free for the next pod.
	HeldPodAssigned  Holder = "pod-assigned"
	HeldPodCooling   Holder = "pod-cooling"
	HeldPodWarm      Holder = "pod-warm"
	HeldBranch       Holder = "branch" // of pods with security groups of their own
	HeldFargate      Holder = "fargate"
	HeldNATGateway   Holder = "nat-gateway"
	HeldEndpoint     Holder = "endpoint"
	HeldLoadBalancer Holder = "load-balancer"
	// HeldOther are those of interfaces that belong to no node and no service.
	HeldOther Holder = "other"
)

// Holders are all kinds, in the order in which they are shown.
func Holders() []Holder {
	return []Holder{
		HeldReserved, HeldControlPlane, HeldNodePrimary, HeldPodAssigned, HeldPodWarm, HeldPodCooling, HeldBranch,
		HeldFargate, HeldNATGateway, HeldEndpoint, HeldLoadBalancer, HeldOther,
	}
}

// SubnetUse is who holds the addresses of one subnet.
type SubnetUse struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	VPC     string `json:"vpcId"`
	ID      string `json:"subnetId"`
	Zone    string `json:"availabilityZone"`
	CIDR    string `json:"cidrBlock"`
	// Clusters are those whose configuration, node groups or Fargate profiles name
	// the subnet, or whose nodes have an interface in it.
	Clusters []string `json:"clusters"`
	// Size is how many addresses the block has: all of Held and Free.
	Size int            `json:"size"`
	Held map[Holder]int `json:"held"`
	Free int            `json:"free"`
	// Available is what DescribeSubnets says: as many as are free.
	Available int `json:"availableIpAddressCount"`
	// Prefixes counts the /28 blocks that interfaces hold, FreePrefixes those that
	// are wholly free and aligned. Few of the latter in a subnet with many free
	// addresses is fragmentation.
	Prefixes     int `json:"prefixes"`
	FreePrefixes int `json:"freePrefixes"`
	// FreeRuns are the largest runs of neighbouring free /28 blocks, at most three.
	FreeRuns     []FreeRun         `json:"freeRuns"`
	Reservations []CIDRReservation `json:"reservations,omitempty"`
}

// FreeRun is a run of free /28 blocks.
type FreeRun struct {
	First  string `json:"first"` // 10.0.0.32/28
	Blocks int    `json:"blocks"`
}

// CIDRReservation is a block that automatic choice leaves alone, or takes prefixes
// from. Its addresses are free or held like others.
type CIDRReservation struct {
	CIDR string `json:"cidr"`
	Type string `json:"type"` // prefix or explicit
}

// NodePool is the interfaces of a node and the addresses for pods on them.
type NodePool struct {
	Account      string `json:"account"`
	Region       string `json:"region"`
	Cluster      string `json:"cluster"`
	Name         string `json:"name"`
	InstanceID   string `json:"instanceId"`
	InstanceType string `json:"instanceType"`
	// Started tells whether the address daemon runs and has looked at the node's
	// interfaces; before its first start all below but Interfaces is empty.
	Started    bool        `json:"started"`
	Interfaces []Interface `json:"interfaces"`
	// MaxInterfaces and MaxAddresses are what instance type and settings allow.
	MaxInterfaces int `json:"maxInterfaces"`
	MaxAddresses  int `json:"maxAddresses"`
	// Total is Assigned, Cooling and Warm. Warm are free for the next pod.
	Total    int `json:"total"`
	Assigned int `json:"assigned"`
	Cooling  int `json:"cooling"`
	Warm     int `json:"warm"`
	Prefixes int `json:"prefixes"`
	// Settings are the knobs of aws-node that are in force: the warm targets, and
	// what else differs from its default.
	Settings []string `json:"settings"`
	// RetryAt and LastError say until when the pool does not grow, and why.
	RetryAt   *time.Time `json:"retryAt,omitempty"`
	LastError string     `json:"lastError,omitempty"`
}

// Interface is one interface of a node.
type Interface struct {
	ID      string `json:"networkInterfaceId"`
	Subnet  string `json:"subnetId"`
	Address string `json:"privateIpAddress"` // its own
	// Addresses counts those for pods, the ones in Prefixes included.
	Addresses int      `json:"addresses"`
	Assigned  int      `json:"assigned"`
	Cooling   int      `json:"cooling"`
	Prefixes  []string `json:"prefixes,omitempty"`
	// Use is "trunk" for one that carries branch interfaces, "excluded" for one that
	// gives pods no addresses, else empty.
	Use string `json:"use,omitempty"`
}

// WaitingPod is a pod whose sandbox cannot be made for want of an address.
type WaitingPod struct {
	Account   string    `json:"account"`
	Region    string    `json:"region"`
	Cluster   string    `json:"cluster"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Node      string    `json:"node"`
	Since     time.Time `json:"since"`
	RetryAt   time.Time `json:"retryAt"`
	// Message is the text of its last FailedCreatePodSandBox event.
	Message string `json:"message"`
}

// AddressUse asks who holds the addresses.
func (c *Client) AddressUse(ctx context.Context, q AddressQuery) (*AddressUse, error) {
	v := url.Values{}
	for name, value := range map[string]string{"cluster": q.Cluster, "region": q.Region, "account": q.Account} {
		if value != "" {
			v.Set(name, value)
		}
	}
	path := "/ips"
	if len(v) > 0 {
		path += "?" + v.Encode()
	}
	var u AddressUse
	err := c.do(ctx, http.MethodGet, path, &u)
	return &u, err
}

// SubnetHoldings is the answer of GET /_ekslocal/ips/SUBNET: every address of a subnet
// that is not free, in order. Each has one owner.
type SubnetHoldings struct {
	SubnetUse
	Holdings []Holding `json:"holdings"`
}

// Holding is one address that somebody holds.
type Holding struct {
	Address string `json:"address"`
	// Owner is the ledger's word: reserved-router, eni-primary, eni-secondary,
	// prefix, control-plane, nat-gateway and so on.
	Owner       string `json:"owner"`
	Prefix      string `json:"prefix,omitempty"` // that the address is in
	InterfaceID string `json:"networkInterfaceId,omitempty"`
	InstanceID  string `json:"instanceId,omitempty"`
	Description string `json:"description,omitempty"` // the interface's
	// Pod has the address: namespace/name.
	Pod string `json:"pod,omitempty"`
}

// SubnetHoldings asks who holds each address of a subnet.
func (c *Client) SubnetHoldings(ctx context.Context, subnet string) (*SubnetHoldings, error) {
	var h SubnetHoldings
	err := c.do(ctx, http.MethodGet, "/ips/"+url.PathEscape(subnet), &h)
	return &h, err
}
