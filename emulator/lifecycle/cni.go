package lifecycle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

var eniConfigs = schema.GroupVersionResource{Group: "crd.k8s.amazonaws.com", Version: "v1alpha1", Resource: "eniconfigs"}

// cni is one cluster's VPC CNI: it tells each node's address pool what the cluster
// says of it, and the nodes how their daemons do. It implements dataplane.Daemon.
//
// A daemon lives as long as its container. What it is told is read anew after a
// restart of the emulator: from the environment of the pods that run, the nodes and
// the ENIConfigs.
type cni struct {
	l  *Lifecycle
	rt *runtime

	mu    sync.Mutex
	nodes map[string]*cniNode // by instance ID
	// watching ENIConfigs has begun: with the first node that asks for them, since
	// clusters without this CNI have no such kind.
	watching bool
}

// cniNode is the daemon of one node: of a real one, also while its container is out of
// touch. That comes again with the same run, or another one takes its place.
type cniNode struct {
	node   dataplane.Node
	run    string
	config ipamd.NodeConfig
	state  dataplane.DaemonState
	// started: its pool has, with custom networking after a look for its ENIConfig.
	started bool
}

func newCNI(l *Lifecycle, rt *runtime) *cni { return &cni{l: l, rt: rt, nodes: map[string]*cniNode{}} }

// Observe implements dataplane.Daemon.
func (c *cni) Observe(n dataplane.Node, run string, env map[string]string) dataplane.DaemonState {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.nodes[n.InstanceID]
	if d != nil && d.run == run {
		return d.state
	}
	d = &cniNode{node: n, run: run, state: dataplane.DaemonState{Since: c.l.Clock.Now(), Address: ipamd.PluginAddress(env["VPC_CNI_VERSION"])}}
	c.nodes[n.InstanceID] = d
	if c.Refusal(env) != "" {
		d.state.Phase = dataplane.DaemonRefused
		return d.state
	}
	d.config.MaxPods, d.config.Unschedulable = n.MaxPods, cordoned(c.rt.node(n.Name))
	d.config.Settings, _ = ipamd.ParseSettings(env)
	d.config.Invalid = withoutPrefixes(d.config.Settings, n.InstanceType)
	switch {
	case d.config.Invalid != "":
		c.l.Addresses.Configure(n.InstanceID, d.config) // which logs why
		d.state.Phase = dataplane.DaemonFailed
	case d.config.CustomNetworking:
		// Pods that run already get their addresses back before the ENIConfig is known;
		// until then no interface may come. (With PodENI the CNINode names it too.)
		still := d.config
		still.DisableProvisioning = true
		c.l.Addresses.Configure(n.InstanceID, still)
		c.l.cnis.queue.Add(key{c.rt.scope, n.InstanceID})
	default:
		// All is known here, and nodes that come in numbers need not wait for each
		// other.
		c.start(d)
		d.state.Phase = dataplane.DaemonServing
		if d.config.PodENI {
			c.l.cnis.queue.Add(key{c.rt.scope, n.InstanceID})
		}
	}
	return d.state
}

// withoutPrefixes is ipamd's word about settings that an instance type cannot have,
// or what was wrong with them before: IPv6 addresses come in prefixes only, which
// interfaces before Nitro do not take. Source: amazon-vpc-cni-k8s, pkg/ipamd/ipamd.go
// (isConfigValid).
func withoutPrefixes(s ipamd.Settings, instanceType string) string {
	t, ok := instancetypes.Lookup(instanceType)
	if s.Invalid == "" && s.IPv6 && ok && t.Hypervisor != "nitro" && !t.BareMetal {
		return fmt.Sprintf("Prefix Delegation is not supported on non-nitro instance %s. IPv6 is only supported in Prefix delegation Mode. ", instanceType)
	}
	return s.Invalid
}

// start hands a node's pool what is known, and lets it fill.
func (c *cni) start(d *cniNode) {
	d.started = true
	c.l.Addresses.Configure(d.node.InstanceID, d.config)
	c.l.Addresses.Start(asNode(context.Background(), c.rt.scope), d.node.InstanceID)
}

// Refusal implements dataplane.Daemon.
func (c *cni) Refusal(env map[string]string) string { return ipamd.Refusal(env) }

// Gone implements dataplane.Daemon.
func (c *cni) Gone(instanceID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, instanceID)
}

// The files of the daemon on a node's disk.
const ipamdLog = "/var/log/aws-routed-eni/ipamd.log"

// File implements dataplane.Daemon.
func (c *cni) File(instanceID, path string) ([]byte, bool) {
	if path != ipamdLog || c.toStdout(instanceID) {
		return nil, false
	}
	return c.l.Addresses.Log(instanceID), true
}

// Output implements dataplane.Daemon.
func (c *cni) Output(instanceID string) []byte {
	if !c.toStdout(instanceID) {
		return nil
	}
	return c.l.Addresses.Log(instanceID)
}

func (c *cni) toStdout(instanceID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.nodes[instanceID]
	return d != nil && d.config.LogToStdout
}

// reconcileCNI tells a node with custom networking which subnet and security groups
// its ENIConfig names, and finds out whether its daemon got through its start.
func (l *Lifecycle) reconcileCNI(ctx context.Context, k key) (time.Duration, error) {
	i := ec2svc.Instances.Get(l.Store, k.Scope, k.ID)
	if i == nil {
		return 0, nil
	}
	cl := ekssvc.Clusters.Get(l.Store, k.Scope, clusterOf(i))
	if cl == nil {
		return 0, nil
	}
	rt := l.runtimeOf(cl.ID)
	if rt == nil {
		return 0, nil
	}
	ctx, done := rt.during(ctx)
	defer done()
	return rt.cni.reconcile(ctx, k.ID)
}

func (c *cni) reconcile(ctx context.Context, instanceID string) (time.Duration, error) {
	c.mu.Lock()
	d := c.nodes[instanceID]
	if d == nil || d.config.Invalid != "" {
		c.mu.Unlock()
		return 0, nil
	}
	name, settings, wanted := d.node.Name, d.config.Settings, ""
	c.mu.Unlock()
	if settings.CustomNetworking {
		var err error
		if wanted, err = c.customize(ctx, d, name, settings); err != nil {
			return 0, err
		}
	}
	if !settings.PodENI {
		return 0, nil
	}
	return c.askForTrunk(ctx, instanceID, name, settings, wanted)
}

// customize tells a node's pool about its ENIConfig, whose name it returns.
func (c *cni) customize(ctx context.Context, d *cniNode, name string, settings ipamd.Settings) (string, error) {
	instanceID := d.node.InstanceID
	c.watch()
	node, err := c.node(ctx, name)
	if err != nil {
		return "", err
	}
	wanted := eniConfigName(node, settings)
	eni, err := c.eniConfig(ctx, wanted)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes[instanceID] != d {
		return wanted, nil // its container has ended meanwhile
	}
	d.config.ENIConfigName, d.config.ENIConfig = wanted, eni
	if d.started {
		c.l.Addresses.Configure(instanceID, d.config)
		return wanted, nil
	}
	c.start(d)
	return wanted, nil
}

// poolChanged hears of instances whose pool did what it could for now. The daemon of
// a node with custom networking that has no address after its first try gives up, and
// a node that was never Ready is not until it has (amazon-vpc-cni-k8s, nodeInit).
func (c *cni) poolChanged(instanceID string) {
	c.mu.Lock()
	d := c.nodes[instanceID]
	if d == nil || !d.started || d.state.Phase != dataplane.DaemonStarting {
		c.mu.Unlock()
		return // or it only looked for the addresses of pods that run
	}
	v, ok := c.l.Addresses.View(instanceID)
	if !ok {
		c.mu.Unlock()
		return
	}
	d.state.Phase, d.state.Since = dataplane.DaemonServing, c.l.Clock.Now()
	if v.Total == 0 {
		d.state.Phase = dataplane.DaemonFailed
	}
	name := d.node.Name
	c.mu.Unlock()
	c.rt.fleet.DaemonChanged(name)
	c.rt.agents.changed(instanceID)
}

// serves tells whether an instance's daemon answers its plugin.
func (c *cni) serves(instanceID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.nodes[instanceID]
	return d != nil && d.state.Phase == dataplane.DaemonServing
}

// node is the cluster's Node, an empty one if there is none.
func (c *cni) node(ctx context.Context, name string) (*corev1.Node, error) {
	if n := c.rt.node(name); n != nil {
		return n, nil
	}
	n, err := c.rt.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &corev1.Node{}, nil
	}
	return n, err
}

const (
	// externalENIConfig is the label that wins over all others.
	externalENIConfig = "vpc.amazonaws.com/externalEniConfig"
	defaultENIConfig  = "default"
)

// eniConfigName is the ENIConfig that a node asks for. Source: amazon-vpc-cni-k8s,
// pkg/eniconfig.
func eniConfigName(n *corev1.Node, s ipamd.Settings) string {
	if name, ok := n.Labels[externalENIConfig]; ok {
		return name
	}
	if name, ok := n.Annotations[s.ENIConfigAnnotation]; ok {
		return name
	}
	if name, ok := n.Labels[s.ENIConfigLabel]; ok {
		return name
	}
	return defaultENIConfig
}

// eniConfig reads an ENIConfig: nil if there is none of that name, or no such kind.
func (c *cni) eniConfig(ctx context.Context, name string) (*ipamd.ENIConfig, error) {
	if name == "" {
		return nil, nil
	}
	o, err := c.rt.applier.dyn.Resource(eniConfigs).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ENIConfig %s: %w", name, err)
	}
	cfg := &ipamd.ENIConfig{Name: name}
	// Errors: fields of other kinds than the CRD's schema lets in; they count as empty.
	cfg.Subnet, _, _ = unstructured.NestedString(o.Object, "spec", "subnet")
	cfg.SecurityGroups, _, _ = unstructured.NestedStringSlice(o.Object, "spec", "securityGroups")
	return cfg, nil
}

// watch looks again at the nodes with custom networking whenever an ENIConfig
// changes.
func (c *cni) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watching {
		return
	}
	c.watching = true
	inf := dynamicinformer.NewDynamicSharedInformerFactory(c.rt.applier.dyn, 0).ForResource(eniConfigs).Informer()
	wake := func(any) { c.wake("") }
	_, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }, DeleteFunc: wake})
	if err != nil {
		return // only a stopped informer refuses handlers
	}
	go inf.RunWithContext(c.rt.life)
}

// wake looks again at the nodes with custom networking: at all, or at one.
func (c *cni) wake(nodeName string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, d := range c.nodes {
		if d.config.CustomNetworking && (nodeName == "" || d.node.Name == nodeName) {
			c.l.cnis.queue.Add(key{c.rt.scope, id})
		}
	}
}

// nodeChanged looks at a node whose labels or annotations may name another ENIConfig,
// or that is cordoned: then it gets and loses no interfaces.
func (c *cni) nodeChanged(was, now *corev1.Node) {
	if !maps.Equal(was.Labels, now.Labels) || !maps.Equal(was.Annotations, now.Annotations) {
		c.wake(now.Name)
	}
	if cordoned(was) == cordoned(now) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, d := range c.nodes {
		if d.node.Name == now.Name {
			d.config.Unschedulable = cordoned(now)
			if d.started {
				c.l.Addresses.Configure(id, d.config)
			}
		}
	}
}

// cordoned is what ipamd takes for a node that gets no pods.
func cordoned(n *corev1.Node) bool {
	return n != nil && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool {
		return t.Key == corev1.TaintNodeUnschedulable && t.Effect == corev1.TaintEffectNoSchedule
	})
}
