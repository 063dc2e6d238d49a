package lifecycle

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// workloads watches what add-ons consist of, in whatever namespace.
type workloads struct {
	factory                 informers.SharedInformerFactory
	deployments, daemonSets cache.SharedIndexInformer
}

// watchWorkloads wakes the cluster's add-ons when a workload in their namespace
// changes.
func (l *Lifecycle) watchWorkloads(rt *runtime) (workloads, error) {
	f := informers.NewSharedInformerFactoryWithOptions(rt.client, 0, informers.WithTransform(slimWorkload))
	w := workloads{f, f.Apps().V1().Deployments().Informer(), f.Apps().V1().DaemonSets().Informer()}
	wake := func(o any) {
		if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		if m, err := meta.Accessor(o); err == nil {
			l.wakeAddons(rt, m.GetNamespace())
		}
	}
	for _, inf := range []cache.SharedIndexInformer{w.deployments, w.daemonSets} {
		_, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }, DeleteFunc: wake})
		if err != nil {
			return w, fmt.Errorf("workload informer: %w", err)
		}
	}
	return w, nil
}

// wakeAddons looks again at the cluster's add-ons in a namespace.
func (l *Lifecycle) wakeAddons(rt *runtime, namespace string) {
	for _, a := range ekssvc.Addons.ListPrefix(l.Store, rt.scope, ekssvc.ClusterPrefix(rt.name)) {
		if a.Desired.Namespace == namespace {
			l.addons.queue.Add(key{rt.scope, ekssvc.ChildID(rt.name, *a.Resource.AddonName)})
		}
	}
}

// slimWorkload keeps what health is read from: users may have many workloads.
func slimWorkload(o any) (any, error) {
	slim := func(m metav1.ObjectMeta) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, Generation: m.Generation, ResourceVersion: m.ResourceVersion}
	}
	switch w := o.(type) {
	case *appsv1.Deployment:
		return &appsv1.Deployment{ObjectMeta: slim(w.ObjectMeta), Spec: appsv1.DeploymentSpec{Replicas: w.Spec.Replicas}, Status: w.Status}, nil
	case *appsv1.DaemonSet:
		return &appsv1.DaemonSet{ObjectMeta: slim(w.ObjectMeta), Status: w.Status}, nil
	}
	return o, nil
}

// hasNodes tells whether pods could run.
func (rt *runtime) hasNodes() bool { return len(rt.nodes.GetStore().ListKeys()) > 0 }

func (w workloads) run(ctx context.Context) {
	w.factory.Start(ctx.Done())
	<-ctx.Done()
	w.factory.Shutdown()
}

// healthy tells whether every workload among objs has its replicas. One that the
// watch has not shown yet has not.
func (rt *runtime) healthy(objs []unstructured.Unstructured) bool {
	for _, o := range objs {
		name := o.GetNamespace() + "/" + o.GetName()
		switch o.GetKind() {
		case "Deployment":
			v, ok, err := rt.workloads.deployments.GetStore().GetByKey(name)
			if err != nil || !ok || !deploymentHealthy(v.(*appsv1.Deployment)) {
				return false
			}
		case "DaemonSet":
			v, ok, err := rt.workloads.daemonSets.GetStore().GetByKey(name)
			if err != nil || !ok || !daemonSetHealthy(v.(*appsv1.DaemonSet)) {
				return false
			}
		}
	}
	return true
}

func deploymentHealthy(d *appsv1.Deployment) bool {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas >= want && d.Status.AvailableReplicas >= want
}

func daemonSetHealthy(d *appsv1.DaemonSet) bool {
	s := d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedNumberScheduled >= s.DesiredNumberScheduled && s.NumberAvailable >= s.DesiredNumberScheduled
}
