package lifecycle

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/ekslocal/ekslocal/emulator/podeni"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

var (
	cniNodes      = schema.GroupVersionResource{Group: "vpcresources.k8s.aws", Version: "v1alpha1", Resource: "cninodes"}
	groupPolicies = schema.GroupVersionResource{Group: "vpcresources.k8s.aws", Version: "v1beta1", Resource: "securitygrouppolicies"}
)

// podENIs is one cluster's VPC resource controller, which EKS runs beside the control
// plane: it keeps a CNINode for each node, gives nodes whose ipamd asks for it a trunk
// interface, and pods that a SecurityGroupPolicy selects a branch interface of their
// own. Package podeni decides.
//
// What it must know after a restart is in EC2, by the interfaces' tags, and in the
// pods' annotations; only the cooldowns of branches begin anew.
type podENIs struct {
	l  *Lifecycle
	rt *runtime
	// self acts as the controller, whom alone the webhook lets annotate pods.
	self kubernetes.Interface
	// podsOn lists the pods on a node.
	podsOn func(nodeName string) []*corev1.Pod
	events record.EventBroadcaster
	tell   record.EventRecorder

	policies, nodes cache.SharedIndexInformer // SecurityGroupPolicies, CNINodes
	begin           chan struct{}
	once            sync.Once

	mu     sync.Mutex
	trunks map[string]*podeni.Trunk // by instance
	told   map[string]bool          // what was said of an instance once
}

func newPodENIs(l *Lifecycle, rt *runtime, cfg *rest.Config) (*podENIs, error) {
	own := rest.CopyConfig(cfg)
	own.Impersonate = rest.ImpersonationConfig{UserName: podeni.User, Groups: []string{"system:masters"}}
	self, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("client of the VPC resource controller: %w", err)
	}
	f := dynamicinformer.NewDynamicSharedInformerFactory(rt.applier.dyn, 0)
	p := &podENIs{
		l: l, rt: rt, self: self, podsOn: rt.fleet.PodsOn, events: record.NewBroadcaster(),
		policies: f.ForResource(groupPolicies).Informer(), nodes: f.ForResource(cniNodes).Informer(),
		begin: make(chan struct{}), trunks: map[string]*podeni.Trunk{}, told: map[string]bool{},
	}
	p.tell = p.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: podeni.Component})
	wake := func(o any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o); err == nil {
			p.wake(key)
		}
	}
	_, err = p.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }, DeleteFunc: wake})
	if err != nil {
		return nil, fmt.Errorf("CNINode informer: %w", err)
	}
	rt.fleet.OnPods(p.podChanged)
	return p, nil
}

// start lets run begin; the cluster has the kinds that it watches. It may be called
// again.
func (p *podENIs) start() { p.once.Do(func() { close(p.begin) }) }

func (p *podENIs) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-p.begin:
	}
	p.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: p.self.CoreV1().Events("")})
	defer p.events.Shutdown()
	var wg sync.WaitGroup
	wg.Go(func() { p.policies.RunWithContext(ctx) })
	wg.Go(func() { p.nodes.RunWithContext(ctx) })
	if cache.WaitForCacheSync(ctx.Done(), p.nodes.HasSynced, p.rt.nodes.HasSynced) {
		for _, name := range p.rt.nodes.GetStore().ListKeys() {
			p.wake(name)
		}
	}
	wg.Wait()
}

// wake looks again at a node.
func (p *podENIs) wake(nodeName string) {
	select {
	case <-p.begin:
		p.l.podENIs.queue.Add(key{p.rt.scope, p.rt.name + "/" + nodeName})
	default:
	}
}

// podChanged hears of every pod on a node.
func (p *podENIs) podChanged(pod *corev1.Pod) {
	if podeni.Wants(pod) > 0 {
		p.wake(pod.Spec.NodeName)
	}
}

// reconcilePodENIs does what the controller has to do about one node.
func (l *Lifecycle) reconcilePodENIs(ctx context.Context, k key) (time.Duration, error) {
	cluster, name, _ := strings.Cut(k.ID, "/")
	c := ekssvc.Clusters.Get(l.Store, k.Scope, cluster)
	if c == nil {
		return 0, nil
	}
	rt := l.runtimeOf(c.ID)
	if rt == nil {
		return 0, nil
	}
	ctx, done := rt.during(ctx)
	defer done()
	if p := rt.podENIs; p.nodes.HasSynced() && rt.nodes.HasSynced() {
		return p.reconcile(asResourceController(ctx, k.Scope), name)
	}
	return 0, nil // run looks at all nodes when it has them
}

func (p *podENIs) reconcile(ctx context.Context, name string) (time.Duration, error) {
	node, cn := p.rt.node(name), p.cniNode(name)
	if node == nil {
		return 0, p.retire(ctx, cn)
	}
	id := node.Spec.ProviderID[strings.LastIndexByte(node.Spec.ProviderID, '/')+1:]
	switch {
	case !strings.HasPrefix(id, "i-"):
		return 0, nil // Fargate's
	case cn == nil:
		return 0, p.createCNINode(ctx, p.newCNINode(node, id))
	case cn.GetDeletionTimestamp() != nil:
		return 0, p.replaceCNINode(ctx, node, id, cn)
	case !hasFeature(cn, podeni.Feature):
		return 0, nil
	}
	return p.serve(ctx, node, cn, id)
}

// cniNode returns a CNINode, nil if there is none. It is shared.
func (p *podENIs) cniNode(name string) *unstructured.Unstructured {
	o, ok, err := p.nodes.GetStore().GetByKey(name)
	if err != nil || !ok {
		return nil
	}
	return o.(*unstructured.Unstructured)
}

// newCNINode is what the controller makes for every node.
func (p *podENIs) newCNINode(node *corev1.Node, instanceID string) *unstructured.Unstructured {
	yes := true
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": cniNodes.GroupVersion().String(), "kind": "CNINode",
		"spec": map[string]any{"tags": map[string]any{podeni.TagCluster: p.rt.name, podeni.TagInstance: instanceID}},
	}}
	o.SetName(node.Name)
	o.SetFinalizers([]string{podeni.Finalizer})
	o.SetLabels(map[string]string{corev1.LabelOSStable: node.Labels[corev1.LabelOSStable]})
	o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &yes}})
	return o
}

func (p *podENIs) createCNINode(ctx context.Context, o *unstructured.Unstructured) error {
	_, err := p.rt.applier.dyn.Resource(cniNodes).Create(ctx, o, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) { // somebody deleted the kind
		return fmt.Errorf("CNINode %s: %w", o.GetName(), err)
	}
	return nil
}

// replaceCNINode makes one anew that somebody deleted while its node is there.
func (p *podENIs) replaceCNINode(ctx context.Context, node *corev1.Node, instanceID string, cn *unstructured.Unstructured) error {
	if err := p.release(ctx, cn); err != nil {
		return err
	}
	o := p.newCNINode(node, instanceID)
	o.Object["spec"] = cn.DeepCopy().Object["spec"]
	return p.createCNINode(ctx, o)
}

// release takes the finalizer off a CNINode.
func (p *podENIs) release(ctx context.Context, cn *unstructured.Unstructured) error {
	o := cn.DeepCopy()
	var rest []string
	for _, f := range o.GetFinalizers() {
		if f != podeni.Finalizer {
			rest = append(rest, f)
		}
	}
	o.SetFinalizers(rest)
	_, err := p.rt.applier.dyn.Resource(cniNodes).Update(ctx, o, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("CNINode %s: %w", o.GetName(), err)
	}
	return nil
}

// retire cleans up after a node that is gone: its CNINode says which instance it was.
func (p *podENIs) retire(ctx context.Context, cn *unstructured.Unstructured) error {
	if cn == nil {
		return nil
	}
	// Errors: a tag that is no string is none.
	id, _, _ := unstructured.NestedString(cn.Object, "spec", "tags", podeni.TagInstance)
	if id != "" {
		p.forget(id)
		if err := p.l.removeBranches(ctx, p.rt.scope, id); err != nil {
			return err
		}
	}
	if cn.GetDeletionTimestamp() == nil {
		return nil // the garbage collector will delete it, and then the finalizer goes
	}
	return p.release(ctx, cn)
}

func (p *podENIs) forget(instanceID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.trunks, instanceID)
	delete(p.told, instanceID)
}

// first tells whether something is said of an instance for the first time.
func (p *podENIs) first(instanceID string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	said := p.told[instanceID]
	p.told[instanceID] = true
	return !said
}

// feature returns the value of a CNINode's feature.
func feature(cn *unstructured.Unstructured, name string) (string, bool) {
	// Errors: what is no list of objects has no features.
	all, _, _ := unstructured.NestedSlice(cn.Object, "spec", "features")
	for _, f := range all {
		if m, ok := f.(map[string]any); ok && m["name"] == name {
			value, _ := m["value"].(string)
			return value, true
		}
	}
	return "", false
}

func hasFeature(cn *unstructured.Unstructured, name string) bool {
	_, ok := feature(cn, name)
	return ok
}

// nodeEvent says something about a node, where kubectl describe looks for it.
func (p *podENIs) nodeEvent(node *corev1.Node, kind, reason, message string) {
	ref := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: node.Name, UID: types.UID(node.Name)}
	p.tell.Event(ref, kind, reason, message)
}
