package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// agents is the daemon's side of what runs on a cluster's real nodes: which of them have
// an address daemon, and which sandboxes have which addresses. All of it is told anew
// after a restart of the emulator, by the agents and by the API server.
type agents struct {
	l  *Lifecycle
	rt *runtime

	mu      sync.Mutex
	nodes   map[string]*agent     // by instance: those whose daemon's container runs
	held    map[types.UID]*lease  // addresses of pods, by the UID that their sandboxes have
	waiting map[types.UID]*waiter // likewise
	address map[string]string     // where plugins call the daemon, by instance
	ledgers map[string]ledger     // by instance
	logged  map[string][]byte     // what was last told of a daemon's log, by instance
}

// agent is one start of a node's address daemon.
type agent struct {
	node dataplane.Node
	run  string
	end  context.CancelFunc
	// changed has room for one: whoever finds it full has nothing to add.
	changed chan struct{}
	// serving: its plugin is answered. Before, addresses of pods that run may not have
	// been taken back yet.
	serving bool
}

// lease is a pod's address.
type lease struct {
	instance  string
	container string // of the sandbox that has it; empty: not known since the emulator started
	pod       types.NamespacedName
	ip        netip.Addr
	missing   time.Time // since when the pod is gone or finished, zero: it is not
}

// waiter is a pod without an address.
type waiter struct {
	dataplane.WaitingPod
	uid types.UID // of its object
}

func newAgents(l *Lifecycle, rt *runtime) *agents {
	return &agents{
		l: l, rt: rt, nodes: map[string]*agent{}, held: map[types.UID]*lease{}, waiting: map[types.UID]*waiter{},
		address: map[string]string{}, ledgers: map[string]ledger{}, logged: map[string][]byte{},
	}
}

var _ controlplane.NodeAgents = (*Lifecycle)(nil)

// agentsOf finds a running cluster's.
func (l *Lifecycle) agentsOf(clusterID string) (*agents, error) {
	rt := l.runtimeOf(clusterID)
	if rt == nil {
		return nil, fmt.Errorf("%w: its cluster does not run", controlplane.ErrNoAgent)
	}
	return rt.agents, nil
}

// instanceNode is what an instance of the cluster told its kubelet, and the networks of
// its VPC.
func (a *agents) instanceNode(instanceID string) (dataplane.Node, []netip.Prefix, error) {
	none := dataplane.Node{}
	i := ec2svc.Instances.Get(a.l.Store, a.rt.scope, instanceID)
	if i == nil || clusterOf(i) != a.rt.name || i.State == nil || i.State.Name != ec2types.InstanceStateNameRunning {
		return none, nil, fmt.Errorf("%w: instance %s does not run", controlplane.ErrNoAgent, instanceID)
	}
	c := ekssvc.Clusters.Get(a.l.Store, a.rt.scope, a.rt.name)
	ng := ekssvc.Nodegroups.Get(a.l.Store, a.rt.scope, ekssvc.ChildID(a.rt.name, tagOf(i, tagNodegroup)))
	if c == nil || ng == nil {
		return none, nil, fmt.Errorf("%w: instance %s has no node group", controlplane.ErrNoAgent, instanceID)
	}
	n, err := a.l.nodeOf(c, ng, i)
	if err != nil {
		return none, nil, err
	}
	m, err := a.l.machineOf(i, n)
	if err != nil {
		return none, nil, fmt.Errorf("%w: %w", controlplane.ErrNoAgent, err)
	}
	return n, m.VPC.CIDRs, nil
}

// How often a daemon's log and its pods are looked at, how long an agent is left without
// a word, and for how long a pod that never gave its address back must have ended: by then
// its node says that it has the sandbox still, or that it has not.
const (
	agentPace    = time.Second
	agentWord    = 10 * time.Second
	sweepPace    = 20 * time.Second
	missingLimit = time.Minute
)

// phases are the names of a daemon's phases.
var phases = map[dataplane.DaemonPhase]string{
	dataplane.DaemonStarting: "starting", dataplane.DaemonServing: "serving", dataplane.DaemonFailed: "failed", dataplane.DaemonRefused: "refused",
}

// Daemon implements controlplane.NodeAgents.
func (l *Lifecycle) Daemon(ctx context.Context, clusterID, instanceID string, start controlplane.DaemonStart, report func(controlplane.DaemonReport) error) error {
	a, err := l.agentsOf(clusterID)
	if err != nil {
		return err
	}
	node, inside, err := a.instanceNode(instanceID)
	if err != nil {
		return err
	}
	if a.rt.ipv6 {
		return report(controlplane.DaemonReport{Phase: "refused", Reason: "ekslocal: real nodes have no IPv6 pods yet"})
	}
	ctx, cancel := context.WithCancel(asNode(ctx, a.rt.scope))
	defer cancel()
	defer context.AfterFunc(a.rt.life, cancel)()
	me := a.begin(node, start.Run, cancel)
	defer a.finish(me)
	if why := a.rt.cni.Refusal(start.Env); why != "" {
		a.rt.cni.Observe(node, start.Run, start.Env)
		return report(controlplane.DaemonReport{Phase: phases[dataplane.DaemonRefused], Reason: why})
	}
	state, err := a.start(ctx, me, start)
	if err != nil {
		return err
	}
	network := func() controlplane.NodeNetwork {
		if _, now, err := a.instanceNode(instanceID); err == nil {
			inside = now
		}
		return snat(start.Env, inside)
	}
	return a.follow(ctx, me, start.Env, state, network, report)
}

// begin notes the start of a daemon. An earlier one of the node has ended, whether or not
// its connection has.
func (a *agents) begin(node dataplane.Node, run string, end context.CancelFunc) *agent {
	me := &agent{node: node, run: run, end: end, changed: make(chan struct{}, 1)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if was := a.nodes[node.InstanceID]; was != nil {
		was.end()
	}
	a.nodes[node.InstanceID] = me
	return me
}

// start lets a daemon's pool begin, and then its plugin be answered. What pods have comes
// first: the pool would give back what its settings do not want and no pod has.
func (a *agents) start(ctx context.Context, me *agent, start controlplane.DaemonStart) (dataplane.DaemonState, error) {
	a.tell(me.node.InstanceID, start.Sandboxes)
	c, err := a.claims(ctx, me.node, start.Sandboxes)
	if err != nil {
		return dataplane.DaemonState{}, err
	}
	a.l.Addresses.Expect(me.node.InstanceID, c.expected())
	state := a.rt.cni.Observe(me.node, start.Run, start.Env)
	if state.Phase != dataplane.DaemonFailed { // its pool does not begin
		if err := a.adopt(ctx, me.node, c); err != nil {
			return state, err
		}
	}
	a.open(me, state.Address)
	return state, nil
}

func (a *agents) open(me *agent, address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	me.serving, a.address[me.node.InstanceID] = true, address
}

// finish notes the end of a daemon's container, or of its connection only: of which, shows
// when it comes again. So the daemon stays what it is until there is another run, or the
// instance ends.
func (a *agents) finish(me *agent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.nodes[me.node.InstanceID] == me {
		delete(a.nodes, me.node.InstanceID)
	}
}

// changed lets a node's daemon be asked anew how it does.
func (a *agents) changed(instanceID string) {
	a.mu.Lock()
	me := a.nodes[instanceID]
	a.mu.Unlock()
	if me != nil {
		select {
		case me.changed <- struct{}{}:
		default:
		}
	}
}

// follow reports until ctx ends. The node's network may change with the VPC: upstream's
// daemon looks at that at its own pace too (amazon-vpc-cni-k8s, pkg/ipamd).
func (a *agents) follow(ctx context.Context, me *agent, env map[string]string, state dataplane.DaemonState, network func() controlplane.NodeNetwork, report func(controlplane.DaemonReport) error) error {
	n := network()
	r := controlplane.DaemonReport{Phase: phases[state.Phase], Network: &n}
	told, word, swept := "", time.Time{}, a.l.Clock.Now()
	pace := a.l.Clock.NewTicker(agentPace)
	defer pace.Stop()
	for {
		log := a.l.Addresses.Log(me.node.InstanceID)
		r.Log = string(a.untold(me.node.InstanceID, log))
		now := a.l.Clock.Now()
		if r.Log != "" || r.Phase != told || r.Network != nil || now.Sub(word) >= agentWord {
			if err := report(r); err != nil {
				return err
			}
			a.told(me.node.InstanceID, log)
			told, word, r.Network = r.Phase, now, nil
		}
		if now.Sub(swept) >= sweepPace {
			swept = now
			if now := network(); !slices.Equal(now.Inside, n.Inside) {
				n, r.Network = now, &now // told in the next round
			}
			if err := a.sweep(ctx, me.node); err != nil && ctx.Err() == nil {
				a.l.Log.Debug("pods of a node are not looked at", "instance", me.node.InstanceID, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-me.changed:
		case <-pace.C():
		}
		r.Phase = phases[a.rt.cni.Observe(me.node, me.run, env).Phase]
	}
}

// untold is what of a log the node has not been told, by whichever connection.
func (a *agents) untold(instanceID string, log []byte) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return appended(a.logged[instanceID], log)
}

func (a *agents) told(instanceID string, log []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logged[instanceID] = log
}

// appended is what a log got since it was last looked at; a log forgets its beginning.
func appended(was, now []byte) []byte {
	if bytes.HasPrefix(now, was) {
		return now[len(was):]
	}
	last := was[bytes.LastIndexByte(bytes.TrimSuffix(was, []byte{'\n'}), '\n')+1:]
	if i := bytes.LastIndex(now, last); i >= 0 && len(last) > 0 {
		return now[i+len(last):]
	}
	return now
}

// snat is which of the pods' traffic keeps its address, by the settings of aws-node.
func snat(env map[string]string, vpc []netip.Prefix) controlplane.NodeNetwork {
	n := controlplane.NodeNetwork{Inside: slices.Clone(vpc), ExternalSNAT: strings.EqualFold(env["AWS_VPC_K8S_CNI_EXTERNALSNAT"], "true")}
	for s := range strings.SplitSeq(env["AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"], ",") {
		if p, err := netip.ParsePrefix(strings.TrimSpace(s)); err == nil && p.Addr().Is4() {
			n.Inside = append(n.Inside, p)
		}
	}
	return n
}
