package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// fieldManager owns the fields of what EKS installs, as on EKS: conflicts with
// fields that a user changed are told apart by it.
const fieldManager = "eks"

// applier applies manifests to one cluster by server-side apply.
type applier struct {
	dyn    dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
	mu     sync.Mutex // one Reset at a time
}

func newApplier(cfg *rest.Config) (*applier, error) {
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("dynamic client: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("discovery client: %w", err)
	}
	return &applier{dyn: dyn, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))}, nil
}

// ranks orders kinds so that what others need comes first; kinds of one rank are
// applied at the same time.
var ranks = map[string]int{"Namespace": 0, "CustomResourceDefinition": 0, "ServiceAccount": 1, "ClusterRole": 1, "Role": 1, "ConfigMap": 1, "Secret": 1, "StorageClass": 1, "PriorityClass": 1}

func rank(o *unstructured.Unstructured) int {
	if r, ok := ranks[o.GetKind()]; ok {
		return r
	}
	return 2
}

// apply makes the cluster hold objs. With force, fields that others changed are
// taken over; without, a conflict is an error (apierrors.IsConflict).
func (a *applier) apply(ctx context.Context, objs []unstructured.Unstructured, force bool) error {
	for r := range 3 {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(8)
		for i := range objs {
			if o := &objs[i]; rank(o) == r {
				g.Go(func() error { return a.applyOne(ctx, o, force) })
			}
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) applyOne(ctx context.Context, o *unstructured.Unstructured, force bool) error {
	ri, err := a.resource(o)
	if err != nil {
		return err
	}
	_, err = ri.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: force})
	if err != nil {
		return fmt.Errorf("apply %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
	}
	return nil
}

// remove deletes objs, last applied first. CRDs stay: deleting one would take the
// user's objects with it, which EKS does not do either.
func (a *applier) remove(ctx context.Context, objs []unstructured.Unstructured) error {
	for _, o := range slices.Backward(objs) {
		if o.GetKind() == "CustomResourceDefinition" || o.GetKind() == "Namespace" {
			continue
		}
		ri, err := a.resource(&o)
		if meta.IsNoMatchError(err) {
			continue // nothing can be there of a kind that is not
		} else if err != nil {
			return err
		}
		policy := metav1.DeletePropagationBackground
		err = ri.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
	}
	return nil
}

func (a *applier) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	m, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		a.mu.Lock()
		a.mapper.Reset() // a CRD of the same manifest may have come since
		a.mu.Unlock()
		m, err = a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", gvk, err)
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return a.dyn.Resource(m.Resource).Namespace(o.GetNamespace()), nil
	}
	return a.dyn.Resource(m.Resource), nil
}
