package lifecycle

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/fixtures/addons"
)

// runtime is what the daemon keeps going for one cluster whose control plane
// runs: its nodes, clients, and the aws-auth ConfigMap as it is now.
type runtime struct {
	id      string
	name    string
	backend string // that runs the control plane, as the cluster's record has it
	scope   awsid.Scope
	admin   *rest.Config // what client and all else here was made from
	client  kubernetes.Interface
	applier *applier
	fleet   *dataplane.Fleet
	cni     *cni
	podENIs *podENIs
	agents  *agents // of real nodes
	hosted  *hosted // the cluster's nodes are real machines; nil: they are the fleet's
	// ipv6: pods and services have IPv6 addresses, and no others.
	ipv6 bool

	// auth is held while aws-auth, or what else is shared, is edited for one group or
	// profile: whether another needs a row must not change between look and edit.
	auth sync.Mutex

	nodes     cache.SharedIndexInformer
	accounts  cache.SharedIndexInformer // service accounts
	workloads workloads
	fargate   *fargateRuntime

	life   context.Context // ends with cancel
	cancel context.CancelFunc
	done   chan struct{}

	logging sync.Mutex // held while the delivery of logs is changed
	courier *courier   // nil: no log is delivered
	logged  bool       // the delivery was made what the record says

	mu      sync.Mutex
	awsAuth map[string]string // nil: no such ConfigMap
}

// during is ctx for what is done in the cluster: it ends with the runtime. The port of
// a cluster that is gone may be another's the next moment.
func (rt *runtime) during(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(rt.life, cancel)
	return ctx, func() { stop(); cancel() }
}

func (l *Lifecycle) runtimeOf(clusterID string) *runtime {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runtimes[clusterID]
}

// ensureRuntime starts the daemon's side of a cluster once. It outlives the
// reconcile that asked for it and ends by stopRuntime or stopAll.
func (l *Lifecycle) ensureRuntime(c *ekssvc.Cluster, info controlplane.Info) (*runtime, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rt := l.runtimes[c.ID]; rt != nil {
		return rt, nil
	}
	rt, err := l.newRuntime(c, info)
	if err != nil {
		return nil, err
	}
	l.runtimes[c.ID] = rt
	// Node groups, add-ons and instances of this cluster were waiting for it.
	for _, ng := range ekssvc.Nodegroups.ListPrefix(l.Store, c.Scope, ekssvc.ClusterPrefix(rt.name)) {
		l.nodegroups.queue.Add(key{c.Scope, ekssvc.ChildID(rt.name, *ng.Resource.NodegroupName)})
	}
	for _, a := range ekssvc.Addons.ListPrefix(l.Store, c.Scope, ekssvc.ClusterPrefix(rt.name)) {
		l.addons.queue.Add(key{c.Scope, ekssvc.ChildID(rt.name, *a.Resource.AddonName)})
	}
	for _, p := range ekssvc.FargateProfiles.ListPrefix(l.Store, c.Scope, ekssvc.ClusterPrefix(rt.name)) {
		l.fargates.queue.Add(key{c.Scope, ekssvc.ChildID(rt.name, *p.Resource.FargateProfileName)})
	}
	l.insights.queue.Add(key{c.Scope, rt.name})
	for _, p := range ekssvc.Capabilities.ListPrefix(l.Store, c.Scope, ekssvc.ClusterPrefix(rt.name)) {
		l.capabilities.queue.Add(key{c.Scope, ekssvc.ChildID(rt.name, *p.Resource.CapabilityName)})
	}
	l.wakeInstances(rt)
	return rt, nil
}

// wakeInstances looks again at the cluster's instances: they were waiting for it,
// or for their role to be mapped.
func (l *Lifecycle) wakeInstances(rt *runtime) {
	for _, i := range ec2svc.Instances.List(l.Store, rt.scope) {
		if clusterOf(i) == rt.name {
			l.instances.queue.Add(key{rt.scope, *i.InstanceId})
		}
	}
}

func (l *Lifecycle) newRuntime(c *ekssvc.Cluster, info controlplane.Info) (_ *runtime, err error) {
	cfg := rest.CopyConfig(info.Admin)
	cfg.QPS = -1 // the API server's own fairness is the limit
	cfg.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	apply, err := newApplier(cfg)
	if err != nil {
		return nil, err
	}
	log := l.Log.With("cluster", *c.Resource.Name)
	socket := l.EgressSocket(c.ID)
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("egress socket: %w", err)
	}
	egress, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("egress socket: %w", err)
	}
	rt := &runtime{
		id: c.ID, name: *c.Resource.Name, scope: c.Scope, admin: info.Admin, client: client, applier: apply, done: make(chan struct{}),
		backend: c.Backend, ipv6: ekssvc.IsIPv6(c),
	}
	rt.life, rt.cancel = context.WithCancel(asNode(context.Background(), c.Scope))
	defer func() {
		if err != nil { // closed before the next try listens: closing removes the socket's file
			rt.cancel()
			egress.Close()
		}
	}()
	rt.cni, rt.agents = newCNI(l, rt), newAgents(l, rt)
	if rt.hosted, err = l.newHosted(c); err != nil {
		return nil, err
	}
	dns, err := addons.DNSAddress(serviceCIDR(c))
	if err != nil {
		return nil, err
	}
	rt.fleet = dataplane.NewFleet(dataplane.Config{
		ClusterName: *c.Resource.Name, DNSClusterIP: dns, REST: cfg, Addresses: l.Addresses, Daemon: rt.cni, Clock: l.Clock, Log: log, AwaitCNI: true,
	})
	if rt.nodes, err = l.nodeInformer(rt); err != nil {
		return nil, err
	}
	rt.accounts = accountInformer(rt.client)
	if rt.podENIs, err = newPodENIs(l, rt, cfg); err != nil {
		return nil, err
	}
	if rt.workloads, err = l.watchWorkloads(rt); err != nil {
		return nil, err
	}
	if rt.fargate, err = l.newFargateRuntime(rt); err != nil {
		return nil, err
	}
	ctx := rt.life
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := rt.fleet.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("simulated nodes stopped", "error", err)
		}
	})
	wg.Go(func() {
		if err := rt.fleet.ServeEgress(egress); err != nil && ctx.Err() == nil {
			log.Error("egress proxy stopped", "error", err)
		}
	})
	wg.Go(func() { rt.followAWSAuth(ctx, func() { l.wakeInstances(rt) }) })
	wg.Go(func() { rt.nodes.RunWithContext(ctx) })
	wg.Go(func() { rt.accounts.RunWithContext(ctx) })
	wg.Go(func() { rt.workloads.run(ctx) })
	wg.Go(func() { rt.fargate.run(ctx) })
	wg.Go(func() { rt.podENIs.run(ctx) })
	context.AfterFunc(ctx, func() { egress.Close() })
	go func() { wg.Wait(); close(rt.done) }()
	return rt, nil
}

// stop ends the runtime; nodes and pods stay as they are in the cluster.
func (rt *runtime) stop() {
	rt.logging.Lock()
	if rt.courier != nil {
		rt.courier.stop()
		rt.courier = nil
	}
	rt.logging.Unlock()
	rt.cancel()
	select {
	case <-rt.done:
	case <-time.After(5 * time.Second): // a client stuck on a dead API server must not block deletion
	}
}

func (l *Lifecycle) stopRuntime(clusterID string) {
	l.mu.Lock()
	rt := l.runtimes[clusterID]
	delete(l.runtimes, clusterID)
	l.mu.Unlock()
	if rt != nil {
		rt.stop()
	}
}

func (l *Lifecycle) stopAll() {
	l.mu.Lock()
	all := l.runtimes
	l.runtimes = map[string]*runtime{}
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, rt := range all {
		wg.Go(rt.stop)
	}
	wg.Wait()
}

const awsAuthName = "aws-auth"

// followAWSAuth keeps the runtime's copy of kube-system/aws-auth up to date: a
// changed mapping takes effect with the next token, and with nodes that wait to
// be let in.
func (rt *runtime) followAWSAuth(ctx context.Context, changed func()) {
	f := informers.NewSharedInformerFactoryWithOptions(rt.client, 0, informers.WithNamespace(metav1.NamespaceSystem),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, awsAuthName).String()
		}))
	set := func(o any) {
		if cm, ok := o.(*corev1.ConfigMap); ok {
			rt.setAWSAuth(cm.Data)
			changed()
		}
	}
	inf := f.Core().V1().ConfigMaps().Informer()
	_, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: set, UpdateFunc: func(_, o any) { set(o) }, DeleteFunc: func(any) { rt.setAWSAuth(nil) },
	})
	if err != nil {
		return // only a stopped informer refuses handlers
	}
	f.Start(ctx.Done())
	<-ctx.Done()
	f.Shutdown()
}

func (rt *runtime) setAWSAuth(data map[string]string) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.awsAuth = maps.Clone(data)
}

// AWSAuth returns the data of a running cluster's aws-auth ConfigMap.
func (l *Lifecycle) AWSAuth(_ context.Context, clusterID string) (map[string]string, bool) {
	rt := l.runtimeOf(clusterID)
	if rt == nil {
		return nil, false
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.awsAuth, rt.awsAuth != nil
}

// Stats counts a running cluster's nodes and pods.
func (l *Lifecycle) Stats(clusterID string) (dataplane.Stats, bool) {
	rt := l.runtimeOf(clusterID)
	if rt == nil {
		return dataplane.Stats{}, false
	}
	return rt.stats(), true
}

const nodegroupIndex, nodegroupLabel = "nodegroup", "eks.amazonaws.com/nodegroup"

// nodeInformer watches the cluster's nodes and wakes their node groups.
func (l *Lifecycle) nodeInformer(rt *runtime) (cache.SharedIndexInformer, error) {
	f := informers.NewSharedInformerFactoryWithOptions(rt.client, 0, informers.WithTransform(func(o any) (any, error) {
		n, ok := o.(*corev1.Node)
		if !ok {
			return o, nil
		}
		slim := *n
		slim.ManagedFields, slim.Status.Images = nil, nil
		return &slim, nil
	}))
	inf := f.Core().V1().Nodes().Informer()
	err := inf.AddIndexers(cache.Indexers{nodegroupIndex: func(o any) ([]string, error) {
		return []string{o.(*corev1.Node).Labels[nodegroupLabel]}, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("node informer: %w", err)
	}
	wake := func(o any) {
		if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		if n, ok := o.(*corev1.Node); ok && n.Labels[nodegroupLabel] != "" {
			l.nodegroups.queue.Add(key{rt.scope, ekssvc.ChildID(rt.name, n.Labels[nodegroupLabel])})
		}
	}
	comeAndGo := func(o any) {
		wake(o)
		l.initialize(rt, o)
		if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o); err == nil {
			rt.podENIs.wake(name)
		}
	}
	_, err = inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: comeAndGo, DeleteFunc: comeAndGo,
		UpdateFunc: func(was, o any) {
			wake(o)
			l.initialize(rt, o)
			rt.cni.nodeChanged(was.(*corev1.Node), o.(*corev1.Node))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("node informer: %w", err)
	}
	return inf, nil
}

func (rt *runtime) node(name string) *corev1.Node {
	o, ok, err := rt.nodes.GetStore().GetByKey(name)
	if err != nil || !ok {
		return nil
	}
	return o.(*corev1.Node)
}

// takesPods tells whether a node is Ready, initialized by the cloud controller manager,
// and the node controller has seen that it is Ready: on EKS its taint is gone long before a node group is ACTIVE, and who deploys right
// after that finds all nodes open to the scheduler. The NoExecute taint beside it
// goes up to five seconds later, and every pod tolerates it for minutes.
func takesPods(n *corev1.Node) bool {
	return isReady(n) && !uninitialized(n) && !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool {
		return t.Key == corev1.TaintNodeNotReady && t.Effect == corev1.TaintEffectNoSchedule
	})
}

func isReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// owns tells whether the cluster's node of that name is the instance: addresses,
// and with them names, are used again.
func (rt *runtime) owns(name, instanceID string) bool {
	n := rt.node(name)
	return n == nil || strings.HasSuffix(n.Spec.ProviderID, "/"+instanceID)
}

// nodesOf lists a node group's nodes.
func (rt *runtime) nodesOf(nodegroup string) []*corev1.Node {
	objs, err := rt.nodes.GetIndexer().ByIndex(nodegroupIndex, nodegroup)
	if err != nil {
		return nil // the index exists; its function cannot fail
	}
	out := make([]*corev1.Node, 0, len(objs))
	for _, o := range objs {
		out = append(out, o.(*corev1.Node))
	}
	return out
}
