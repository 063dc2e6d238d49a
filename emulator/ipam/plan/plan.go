// Package plan answers, without an emulator, how far a layout of subnets carries a
// node group and its pods, and what breaks first. It drives the same machine of the
// address daemon that the emulator's nodes run, over a ledger of its own that gives
// and refuses as the emulator's EC2 does.
//
// A layout is played in a stated order, which is the emulator's when pods come one
// after the other:
//
//  1. The control plane's interfaces, one in each of the subnets with the most free
//     addresses.
//  2. All nodes, spread over the subnets as a node group spreads them: each takes a
//     primary address. A full subnet is passed over while another has addresses.
//  3. Each node's daemon, node by node, until its pool is warm.
//     With custom networking, a node that got no interface for pods is not Ready.
//  4. DaemonSets' pods node by node, then the cluster's own, then the workload's by
//     index. A pod goes to the node with the fewest pods, of several to the first;
//     the next comes when that node's pool has grown as far as it can.
//
// Nothing is given back, and no time passes: pools shrink only when pods go, and a
// subnet that refused once has not more a minute later.
//
// Until EC2 first refuses something, the order is of no importance: what a node holds
// follows from its own pods alone, and the subnets' sums decide. So:
//
//   - A plan in which EC2 refuses no pool anything (Result.Refused is 0) holds in any
//     order, however much nodes and pods do side by side.
//   - One in which it refuses, but not while nodes start (RefusedAtStart is 0), holds
//     however nodes start, as long as pods come one after the other.
//   - Otherwise who asks first has more than its share and the last goes without. Which
//     subnets run out is the same in any order; how many pods wait is not, and a plan
//     says what some other orders come to (OtherOrders).
package plan

import (
	"container/heap"
	"fmt"
	"time"

	"github.com/ekslocal/ekslocal/emulator/userdata"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// Evaluate plays a layout. The error is about the layout itself.
func Evaluate(l Layout) (*Result, error) {
	t, err := l.check()
	if err != nil {
		return nil, err
	}
	w := newWorld(&l, t)
	w.play()
	r := w.result()
	if r.Refused > 0 && r.NodesReady == r.NodesLaunched {
		r.OtherOrders = otherOrders(&l, w)
	}
	if r.First == nil {
		r.Next = w.further()
	}
	if l.Surge > 0 {
		w := newWorld(&l, t)
		w.play()
		r.Surge = w.surge()
	}
	return r, nil
}

// world is a layout being played. It has at least one node: the smallest subnet holds
// more than the control plane's interfaces.
type world struct {
	layout  *Layout
	typ     *instancetypes.Type
	maxPods int
	now     time.Time
	subnets []*subnet // of nodes
	pods    []*subnet // of pods with custom networking, one for each of subnets
	nodes   []*node
	ready   loads // the nodes that take pods
	enis    int   // made so far

	controlPlane int
	refusals     int      // of what daemons asked EC2 for
	atStart      int      // refusals of the nodes' first pools
	launchError  *refusal // why not all nodes launched
	impatient    bool     // ends with the first failure
	workload     tally
	others       tally // DaemonSets' and the cluster's own
	first        *Failure
}

// tally counts pods.
type tally struct{ asked, addressed, waiting, pending int }

func newWorld(l *Layout, t *instancetypes.Type) *world {
	w := &world{layout: l, typ: t, maxPods: maxPods(l, t), now: time.Unix(0, 0)}
	for _, p := range l.Subnets {
		w.subnets = append(w.subnets, newSubnet(p))
	}
	for _, p := range l.PodSubnets {
		w.pods = append(w.pods, newSubnet(p))
	}
	return w
}

// maxPods is what EKS writes into the user data of a managed node group's nodes,
// unless the layout says otherwise.
func maxPods(l *Layout, t *instancetypes.Type) int {
	if l.MaxPods > 0 {
		return l.MaxPods
	}
	limits := userdata.Limits{ENIs: t.DefaultCardENIs, AddressesPerENI: t.IPv4PerENI, VCPUs: t.VCPUs}
	return userdata.Recommended(limits, t.Hypervisor == nitro,
		userdata.CNI{PrefixDelegation: l.Settings.PrefixDelegation, CustomNetworking: l.Settings.CustomNetworking})
}

const nitro = "nitro"

func (w *world) play() {
	w.connectControlPlane()
	w.launch(w.layout.Nodes)
	if w.impatient && w.launchError != nil {
		return
	}
	w.boot(w.nodes)
	for i := range w.layout.SystemPods {
		w.schedule(KindSystem, i, &w.others)
	}
	for i := range w.layout.Nodes * w.layout.PodsPerNode {
		if !w.schedule(KindWorkload, i, &w.workload) && w.impatient {
			return
		}
	}
}

// boot starts nodes' daemons, then the pods of DaemonSets, and lets pods in.
func (w *world) boot(nodes []*node) {
	for _, n := range nodes {
		n.held = w.layout.HostNetworkPods
		n.grow()
	}
	w.atStart = w.refusals
	for _, n := range nodes {
		for i := range w.layout.DaemonSetPods {
			w.others.asked++
			if n.held >= w.maxPods {
				w.fail(&w.others, Failure{Kind: KindDaemonSet, Index: i, Node: n.index, NodeSubnet: &n.subnet.cidr, Phase: Pending, Resource: MaxPods, Message: "Too many pods"})
				continue
			}
			w.place(n, KindDaemonSet, i, &w.others)
		}
	}
	for _, n := range nodes {
		if n.ready() {
			heap.Push(&w.ready, n)
		}
	}
}

// schedule finds a node for a pod as the scheduler would with nothing but numbers to
// go by, and the pod an address there.
func (w *world) schedule(k Kind, index int, t *tally) bool {
	t.asked++
	if len(w.ready) == 0 || w.ready[0].held >= w.maxPods {
		w.fail(t, w.unschedulable(k, index))
		return false
	}
	n := w.ready[0]
	ok := w.place(n, k, index, t)
	heap.Fix(&w.ready, 0)
	return ok
}

// unschedulable is a pod that no node takes.
func (w *world) unschedulable(k Kind, index int) Failure {
	f := Failure{Kind: k, Index: index, Node: -1, Phase: Pending, Resource: MaxPods}
	if len(w.ready) == 0 {
		w.nodes[0].explain(&f)
	}
	all, full := len(w.nodes), len(w.ready)
	f.Message = fmt.Sprintf("0/%d nodes are available:", all)
	if full > 0 {
		f.Message += fmt.Sprintf(" %d Too many pods", full)
	}
	if full > 0 && all > full {
		f.Message += ","
	}
	if all > full {
		f.Message += fmt.Sprintf(" %d node(s) had untolerated taint {node.kubernetes.io/not-ready: }", all-full)
	}
	f.Message += "."
	return f
}

// place gives a pod of the node an address, or lets it wait there.
func (w *world) place(n *node, k Kind, index int, t *tally) bool {
	n.held++
	if k == KindWorkload {
		n.workload++
	}
	if n.assign() {
		t.addressed++
		return true
	}
	f := Failure{Kind: k, Index: index, Node: n.index, NodeSubnet: &n.subnet.cidr, Phase: ContainerCreating}
	if w.first == nil {
		n.explain(&f)
	}
	w.fail(t, f)
	return false
}

func (w *world) fail(t *tally, f Failure) {
	if f.Phase == Pending {
		t.pending++
	} else {
		t.waiting++
	}
	if w.first == nil {
		w.first = &f
	}
}

// further plays on with pods until the first fails: how much more the layout carries.
func (w *world) further() *Failure {
	for i := w.workload.asked; w.first == nil; i++ {
		w.schedule(KindWorkload, i, &w.workload)
	}
	return w.first
}

// surge is the worst moment of a rolling update: the extra nodes are there, the nodes
// that they replace still hold everything, and their pods have moved.
func (w *world) surge() *Surge {
	asked := min(w.layout.Surge, len(w.nodes))
	leaving := w.victims(asked)
	before := len(w.nodes)
	w.first, w.launchError = nil, nil
	w.workload, w.others = tally{}, tally{}
	w.launch(asked)
	moved := 0
	for _, n := range leaving {
		moved += n.workload
		n.leaving = true
	}
	w.ready.remove(func(n *node) bool { return n.leaving })
	w.boot(w.nodes[before:])
	for i := range moved {
		w.schedule(KindMoved, i, &w.workload)
	}
	s := &Surge{NodesAsked: asked, NodesLaunched: len(w.nodes) - before, PodsMoved: moved, PodsAddressed: w.workload.addressed, First: w.first}
	if w.launchError != nil { // it comes before any pod moves
		s.First = w.launchError.failure(len(w.nodes))
	}
	return s
}
