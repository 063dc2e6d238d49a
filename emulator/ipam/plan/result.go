package plan

import (
	"fmt"
	"net/netip"
	"strings"
)

// Kind is what a pod belongs to.
type Kind string

// The kinds of pods.
const (
	KindWorkload  Kind = "workload"
	KindDaemonSet Kind = "daemonset"
	KindSystem    Kind = "system"
	// KindMoved are pods that a rolling update moves.
	KindMoved Kind = "moved"
)

// Phase is what users see of a pod without an address.
type Phase string

// The phases: no node takes the pod, or the node that took it has no address.
const (
	Pending           Phase = "Pending"
	ContainerCreating Phase = "ContainerCreating"
)

// Resource is what ran out.
type Resource string

// The resources.
const (
	SubnetAddresses   Resource = "subnet-addresses"
	PrefixBlocks      Resource = "prefix-blocks"      // free /28s, not free addresses
	InstanceAddresses Resource = "instance-addresses" // ENIs x addresses of the type
	MaxENI            Resource = "max-eni"            // MAX_ENI, below the type's limit
	MaxPods           Resource = "max-pods"
	WarmTargets       Resource = "warm-targets" // they ask for no more than there is
)

// Failure is one that fails, a pod or, in Surge, a node, and why.
type Failure struct {
	Kind  Kind `json:"kind,omitempty"`
	Index int  `json:"index"` // among its kind; with DaemonSets, on its node
	// Node is the index of the pod's node, -1 for a pod that no node takes.
	Node       int           `json:"node"`
	NodeSubnet *netip.Prefix `json:"nodeSubnet,omitempty"`
	Phase      Phase         `json:"phase,omitempty"`
	Resource   Resource      `json:"resource"`
	// Subnet is the one that refused, and Free what it had.
	Subnet *netip.Prefix `json:"subnet,omitempty"`
	Free   int           `json:"free,omitempty"`
	// Message is EC2's or the scheduler's.
	Message string `json:"message,omitempty"`
}

// Result is the answer to a layout.
type Result struct {
	InstanceType string `json:"instanceType"`
	MaxPods      int    `json:"maxPods"`
	ENIs         int    `json:"enis"`
	IPv4PerENI   int    `json:"ipv4PerENI"`

	NodesAsked    int `json:"nodesAsked"`
	NodesLaunched int `json:"nodesLaunched"`
	NodesReady    int `json:"nodesReady"`
	// LaunchError is why the others did not.
	LaunchError string `json:"launchError,omitempty"`

	// The workload's pods; waiting ones have a node but no address, pending ones none.
	PodsAsked     int `json:"podsAsked"`
	PodsAddressed int `json:"podsAddressed"`
	PodsWaiting   int `json:"podsWaiting"`
	PodsPending   int `json:"podsPending"`
	// OtherPods are DaemonSets' and the cluster's own with an address.
	OtherPods       int `json:"otherPods"`
	OtherPodsFailed int `json:"otherPodsFailed"`

	// Refused is how often EC2 refused a pool something, RefusedAtStart how often before
	// the first pod came. The package's comment says what follows from that.
	Refused        int `json:"refused"`
	RefusedAtStart int `json:"refusedAtStart"`
	// OtherOrders is about all pods together, nil if EC2 refused nothing, or left nodes
	// NotReady, which would be others.
	OtherOrders *Range `json:"otherOrders,omitempty"`

	// First is the first pod that fails; without one, Next is the pod beyond the
	// layout's that would.
	First *Failure `json:"firstFailure,omitempty"`
	Next  *Failure `json:"nextFailure,omitempty"`
	Surge *Surge   `json:"surge,omitempty"`

	Subnets []Use    `json:"subnets"`
	Advice  []Advice `json:"advice,omitempty"`
}

// Carries tells whether every node launches and every pod has an address, also while
// a rolling update has its extra nodes.
func (r *Result) Carries() bool {
	return r.NodesReady == r.NodesAsked && r.First == nil && (r.Surge == nil || r.Surge.First == nil)
}

// Surge is a rolling update at its worst.
type Surge struct {
	NodesAsked    int      `json:"nodesAsked"`
	NodesLaunched int      `json:"nodesLaunched"`
	PodsMoved     int      `json:"podsMoved"`
	PodsAddressed int      `json:"podsAddressed"`
	First         *Failure `json:"firstFailure,omitempty"`
}

// Use is who holds the addresses of a subnet.
type Use struct {
	CIDR         netip.Prefix `json:"cidr"`
	ForPods      bool         `json:"forPods,omitempty"` // with custom networking
	Total        int          `json:"total"`             // without AWS's own five
	ControlPlane int          `json:"controlPlane"`
	Nodes        int          `json:"nodes"`      // primary addresses of instances
	Interfaces   int          `json:"interfaces"` // primary addresses of further interfaces
	Addresses    int          `json:"addresses"`  // secondary ones
	Prefixes     int          `json:"prefixes"`   // of 16 addresses each
	// Free is AvailableIpAddressCount, FreeBlocks how many /28s are wholly free.
	Free       int `json:"free"`
	FreeBlocks int `json:"freeBlocks"`
}

func (u *Use) add(g grant) {
	u.Addresses += len(g.ips)
	u.Prefixes += len(g.prefixes)
}

func (w *world) result() *Result {
	r := &Result{
		InstanceType: w.typ.Name, MaxPods: w.maxPods, ENIs: w.typ.DefaultCardENIs, IPv4PerENI: w.typ.IPv4PerENI,
		NodesAsked: w.layout.Nodes, NodesLaunched: len(w.nodes), NodesReady: len(w.ready),
		PodsAsked: w.workload.asked, PodsAddressed: w.workload.addressed, PodsWaiting: w.workload.waiting, PodsPending: w.workload.pending,
		OtherPods: w.others.addressed, OtherPodsFailed: w.others.waiting + w.others.pending,
		Refused: w.refusals, RefusedAtStart: w.atStart, First: w.first,
	}
	if w.launchError != nil {
		r.LaunchError = w.launchError.Error()
	}
	for _, s := range w.subnets {
		r.Subnets = append(r.Subnets, s.summary(false))
	}
	for _, s := range w.pods {
		r.Subnets = append(r.Subnets, s.summary(true))
	}
	return r
}

func (s *subnet) summary(forPods bool) Use {
	u := s.use
	u.CIDR, u.ForPods, u.Total, u.Free = s.cidr, forPods, total(s.cidr), s.pool.Free()
	for _, run := range s.pool.FreeRuns(prefixBits) {
		u.FreeBlocks += run.Blocks
	}
	return u
}

// explain says why a pod of the node has no address.
func (n *node) explain(f *Failure) {
	l := n.world.layout
	switch {
	case n.refused != nil:
		f.Subnet, f.Free, f.Message = &n.refused.subnet.cidr, n.refused.subnet.pool.Free(), n.refused.Error()
		f.Resource = SubnetAddresses
		if n.refused.code == insufficientBlocks {
			f.Resource = PrefixBlocks
		}
	case !n.full():
		f.Resource = WarmTargets
	case l.Settings.MaxENI > 0 && l.Settings.MaxENI < n.world.typ.DefaultCardENIs:
		f.Resource = MaxENI
	default:
		f.Resource = InstanceAddresses
	}
}

// full tells whether the node's interfaces hold all that its type, or MAX_ENI, lets.
func (n *node) full() bool {
	s := n.machine.State(n.world.now)
	for _, e := range s.ENIs {
		slots := len(e.IPs) + len(e.Prefixes)
		if slots < s.Limits.IPv4PerENI-1 && !(e.Primary && s.Settings.CustomNetworking) {
			return false
		}
	}
	return len(s.ENIs) == s.MaxENIs
}

// failure is that of the instance that did not start.
func (r *refusal) failure(node int) *Failure {
	return &Failure{Node: node, NodeSubnet: &r.subnet.cidr, Resource: SubnetAddresses, Subnet: &r.subnet.cidr, Free: r.subnet.pool.Free(), Message: r.Error()}
}

// String names a failure as the plan's readers would.
func (f *Failure) String() string {
	if f.Kind == "" {
		return fmt.Sprintf("node %d", f.Node)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s pod %d", f.Kind, f.Index)
	if f.Node >= 0 {
		fmt.Fprintf(&b, " on node %d", f.Node)
	}
	return b.String()
}
