package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/keymutex"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// Config is what a Fleet is made from.
type Config struct {
	// ClusterName is the EKS cluster's name.
	ClusterName string
	// DNSClusterIP is the name server in pods' resolv.conf.
	DNSClusterIP string
	// REST reaches the cluster with full rights (system:masters).
	REST *rest.Config
	// ClientCA is the PEM bundle that signs the API server's kubelet client
	// certificate. Empty: REST's own CA, as in EKS, where one CA does both.
	ClientCA []byte
	// Addresses is the nodes' CNI.
	Addresses Addresses
	// Daemon is the CNI's daemon on each node. nil: it serves always, and nothing in
	// the cluster has a say in it.
	Daemon Daemon
	// Clock drives every life and every heartbeat; nil, or
	// one without tickers (clock.WithTicker), means the real one.
	Clock clock.Clock
	Log   *slog.Logger
	// Region is the region of nodes that do not name theirs.
	Region string
	// AwaitCNI keeps a node NotReady until a CNI's pod (k8s-app: aws-node,
	// cilium, ...) runs on it, as on EKS. Without it nodes are Ready at once.
	AwaitCNI bool
	// NoEvents keeps the nodes from writing Events.
	NoEvents bool
	// Workers is how many pods are worked on at the same time; 0 means 16.
	Workers int
}

// Fleet is all simulated nodes of one cluster. Work on a pod is serialized by the
// queue's key, so that a pod's record belongs to one worker at a time; everything
// else that is shared is under mu.
type Fleet struct {
	cfg    Config
	log    *slog.Logger
	clock  clock.WithTicker
	broken error // why there are no clients; said by Run, Join and Remove
	client kubernetes.Interface
	// beats has a connection of its own: lease renewals must never wait behind a
	// flood of pod updates.
	beats  kubernetes.Interface
	events *eventSink
	refs   *references

	pods   cache.SharedIndexInformer
	queue  workqueue.TypedRateLimitingInterface[string]
	pulse  workqueue.TypedDelayingInterface[beat]
	synced chan struct{} // closed when the pod informer has its first list

	// names holds off a successor's Join while a node of the same name is removed,
	// and the other way round. Taken before mu.
	names keymutex.KeyMutex

	mu       sync.Mutex
	nodes    map[string]*node      // by name
	byIP     map[netip.Addr]*node  // nodes by address
	records  map[string]*podRecord // pods by namespace/name
	starved  map[string]keySet     // node name -> keys of pods without an address
	kubelet  *kubeletServer
	web      *webServer
	watchers watchers
}

// keySet is a set of queue keys.
type keySet map[string]struct{}

// node is a simulated kubelet.
type node struct {
	Node
	uid types.UID
	// networkReady: a CNI runs on it. adopted: addresses that its pods had before
	// a restart are theirs again; until then no pod gets a new one. Both only turn
	// from false to true, under Fleet.mu.
	networkReady, adopted bool
	daemon                daemon
	foreignNetwork        bool // another CNI than the VPC's runs on it
	conditions            []corev1.NodeCondition
	images                map[string]bool // on its disk; guarded by Fleet.mu
	lease                 leaseState
	serving               *servingCert
}

// The pod informer's indexes: by node name, and by address for pods that have
// one of their own.
const (
	nodeIndex = "node"
	ipIndex   = "ip"
)

// NewFleet makes a fleet without nodes. Nothing happens before Run, except what
// Join and Remove do themselves. A REST configuration that no client can be made
// of is what these three then answer.
func NewFleet(cfg Config) *Fleet {
	client, beats, err := clients(cfg.REST)
	if len(cfg.ClientCA) == 0 && cfg.REST != nil {
		cfg.ClientCA = cfg.REST.CAData
	}
	f := newFleet(cfg, client, beats)
	if err != nil {
		f.broken = fmt.Errorf("simulated nodes of cluster %s: %w", cfg.ClusterName, err)
	}
	return f
}

func clients(cfg *rest.Config) (client, beats kubernetes.Interface, err error) {
	if cfg == nil {
		return nil, nil, errors.New("no client configuration")
	}
	base := rest.CopyConfig(cfg)
	base.QPS = -1 // the API server is local and its priority levels do not bind masters
	base.UserAgent = "kubelet/ekslocal"
	base.ContentType = runtime.ContentTypeProtobuf
	base.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if client, err = kubernetes.NewForConfig(base); err != nil {
		return nil, nil, err
	}
	own := rest.CopyConfig(base)
	own.Dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext // not the shared, cached transport
	if beats, err = kubernetes.NewForConfig(own); err != nil {
		return nil, nil, err
	}
	return client, beats, nil
}

func newFleet(cfg Config, client, beats kubernetes.Interface) *Fleet {
	ticking, ok := cfg.Clock.(clock.WithTicker)
	if !ok {
		ticking = clock.RealClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 16
	}
	f := &Fleet{
		cfg: cfg, log: cfg.Log.With("cluster", cfg.ClusterName), clock: ticking, client: client, beats: beats,
		synced: make(chan struct{}), names: keymutex.NewHashed(64),
		nodes: map[string]*node{}, byIP: map[netip.Addr]*node{},
		records: map[string]*podRecord{}, starved: map[string]keySet{},
	}
	f.queue = workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[string](50*time.Millisecond, 30*time.Second),
		workqueue.TypedRateLimitingQueueConfig[string]{Clock: f.clock})
	f.pulse = workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[beat]{Clock: f.clock})
	f.events = newEventSink(client, cfg.NoEvents, f.clock)
	f.refs = newReferences(client, f.clock)
	f.pods = f.podInformer()
	f.kubelet = newKubeletServer(f)
	f.web = newWebServer(f)
	return f
}

// podInformer watches the pods that are bound to a node, without what no node
// looks at.
func (f *Fleet) podInformer() cache.SharedIndexInformer {
	bound := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			bound(&o)
			return f.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			bound(&o)
			return f.client.CoreV1().Pods(metav1.NamespaceAll).Watch(ctx, o)
		},
	}
	inf := cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, f.client), &corev1.Pod{}, 0, cache.Indexers{
		nodeIndex: func(o any) ([]string, error) { return []string{o.(*corev1.Pod).Spec.NodeName}, nil },
		ipIndex: func(o any) ([]string, error) {
			if pod := o.(*corev1.Pod); pod.Status.PodIP != "" && !pod.Spec.HostNetwork {
				return []string{pod.Status.PodIP}, nil
			}
			return nil, nil
		},
	})
	// Errors: the informer has not started, which is the only reason for one.
	_ = inf.SetTransform(func(o any) (any, error) {
		p, ok := o.(*corev1.Pod)
		if !ok {
			return o, nil
		}
		slim := *p // a watch may hand the same object to others
		slim.ManagedFields = nil
		slim.Spec.Affinity, slim.Spec.TopologySpreadConstraints = nil, nil
		return &slim, nil
	})
	_, _ = inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    f.enqueue,
		UpdateFunc: func(_, o any) { f.enqueue(o) },
		DeleteFunc: f.enqueue,
	})
	return inf
}

func (f *Fleet) enqueue(o any) {
	if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o); err == nil {
		f.queue.Add(key)
		f.watchers.notify(key)
	}
}

// Run works until ctx ends. It may be called once.
func (f *Fleet) Run(ctx context.Context) error {
	if f.broken != nil {
		return f.broken
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	f.events.start()
	defer f.events.stop()
	wg.Go(func() { f.pods.RunWithContext(ctx) })
	wg.Go(func() { f.kubelet.run(ctx) })
	wg.Go(func() { f.web.run(ctx) })
	for range beatWorkers {
		wg.Go(func() { f.beatWorker(ctx) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), f.pods.HasSynced) {
		f.shutDown()
		wg.Wait()
		return ctx.Err()
	}
	close(f.synced)
	for _, name := range f.nodeNames() {
		f.adopt(ctx, name)
	}
	for range f.cfg.Workers {
		wg.Go(func() { f.podWorker(ctx) })
	}
	<-ctx.Done()
	f.shutDown()
	wg.Wait()
	return ctx.Err()
}

func (f *Fleet) shutDown() {
	f.queue.ShutDown()
	f.pulse.ShutDown()
}

func (f *Fleet) podWorker(ctx context.Context) {
	for {
		key, quit := f.queue.Get()
		if quit {
			return
		}
		again, err := f.syncPod(ctx, key)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				f.log.Warn("pod not synced", "pod", key, "error", err)
			}
			f.queue.AddRateLimited(key)
		default:
			f.queue.Forget(key)
			if again > 0 {
				f.queue.AddAfter(key, again)
			}
		}
		f.queue.Done(key)
	}
}

func (f *Fleet) nodeNames() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make([]string, 0, len(f.nodes))
	for name := range f.nodes {
		names = append(names, name)
	}
	return names
}

// node returns the joined node of that name, or nil.
func (f *Fleet) node(name string) *node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[name]
}

// podsOn lists what the API server has bound to a node.
func (f *Fleet) podsOn(name string) []*corev1.Pod {
	objs, err := f.pods.GetIndexer().ByIndex(nodeIndex, name)
	if err != nil {
		return nil // the index exists; its function cannot fail
	}
	pods := make([]*corev1.Pod, 0, len(objs))
	for _, o := range objs {
		pods = append(pods, o.(*corev1.Pod))
	}
	return pods
}

// Stats counts what the fleet simulates.
type Stats struct {
	Nodes, Ready int
	// Pods counts the pods bound to nodes, by phase.
	Pods map[corev1.PodPhase]int
}

// Snapshot counts nodes and pods as they are now.
func (f *Fleet) Snapshot() Stats {
	s := Stats{Pods: map[corev1.PodPhase]int{}}
	f.mu.Lock()
	for _, n := range f.nodes {
		s.Nodes++
		if n.networkReady {
			s.Ready++
		}
	}
	f.mu.Unlock()
	for _, o := range f.pods.GetStore().List() {
		s.Pods[o.(*corev1.Pod).Status.Phase]++
	}
	return s
}
