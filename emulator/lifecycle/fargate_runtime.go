package lifecycle

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/ekslocal/ekslocal/emulator/fargate"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// fargateRuntime watches a cluster's pods that have Fargate's scheduler. It begins
// with the first profile: most clusters have none.
type fargateRuntime struct {
	pods  cache.SharedIndexInformer
	begin chan struct{}
	once  sync.Once
	// synced is called when the first list of pods is there.
	synced func()
}

const fargateProfileIndex = "fargate-profile"

func (l *Lifecycle) newFargateRuntime(rt *runtime) (*fargateRuntime, error) {
	f := informers.NewSharedInformerFactoryWithOptions(rt.client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.schedulerName", fargate.SchedulerName).String()
		}),
		informers.WithTransform(func(o any) (any, error) {
			p, ok := o.(*corev1.Pod)
			if !ok {
				return o, nil
			}
			slim := *p
			slim.ManagedFields = nil
			return &slim, nil
		}))
	fr := &fargateRuntime{pods: f.Core().V1().Pods().Informer(), begin: make(chan struct{})}
	fr.synced = func() {
		// Machines whose pods went while nobody watched.
		for _, m := range ekssvc.FargateNodes.ListPrefix(l.Store, rt.scope, ekssvc.ClusterPrefix(rt.name)) {
			l.fargatePods.queue.Add(podKey(rt, m.Namespace, m.Pod))
		}
	}
	err := fr.pods.AddIndexers(cache.Indexers{fargateProfileIndex: func(o any) ([]string, error) {
		return []string{o.(*corev1.Pod).Labels[fargate.ProfileLabel]}, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("fargate informer: %w", err)
	}
	wake := func(o any) {
		if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		if p, ok := o.(*corev1.Pod); ok {
			l.fargatePods.queue.Add(podKey(rt, p.Namespace, p.Name))
		}
	}
	_, err = fr.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }, DeleteFunc: wake})
	if err != nil {
		return nil, fmt.Errorf("fargate informer: %w", err)
	}
	return fr, nil
}

// podKey is fargatePods' key of a pod.
func podKey(rt *runtime, namespace, name string) key {
	return key{rt.scope, rt.name + "/" + namespace + "/" + name}
}

// start lets run begin; it may be called again.
func (f *fargateRuntime) start() { f.once.Do(func() { close(f.begin) }) }

func (f *fargateRuntime) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-f.begin:
	}
	var wg sync.WaitGroup
	wg.Go(func() { f.pods.RunWithContext(ctx) })
	if cache.WaitForCacheSync(ctx.Done(), f.pods.HasSynced) {
		f.synced()
	}
	wg.Wait()
}

// pod returns a pod, nil if there is none.
func (f *fargateRuntime) pod(namespace, name string) *corev1.Pod {
	o, ok, err := f.pods.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return nil
	}
	return o.(*corev1.Pod)
}

// podsOf lists a profile's pods.
func (f *fargateRuntime) podsOf(profile string) []*corev1.Pod {
	objs, err := f.pods.GetIndexer().ByIndex(fargateProfileIndex, profile)
	if err != nil {
		return nil // the index exists; its function cannot fail
	}
	out := make([]*corev1.Pod, 0, len(objs))
	for _, o := range objs {
		out = append(out, o.(*corev1.Pod))
	}
	return out
}
