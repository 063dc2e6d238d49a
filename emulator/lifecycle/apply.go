package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// servedAgain is how soon to ask again whether new kinds are served: nothing that can
// be watched tells, since the API server follows a CRD's Established condition itself.
const servedAgain = 20 * time.Millisecond

// served tells whether the API server knows the kinds of all CRDs among objs.
func (a *applier) served(ctx context.Context, objs []unstructured.Unstructured) (bool, error) {
	for i := range objs {
		for _, r := range kindsOf(&objs[i]) {
			_, err := a.dyn.Resource(r).List(ctx, metav1.ListOptions{Limit: 1})
			if apierrors.IsNotFound(err) {
				return false, nil
			}
			if err != nil {
				return false, fmt.Errorf("list %s: %w", r.GroupResource(), err)
			}
		}
	}
	return true, nil
}

// kindsOf lists the resources that a CRD defines, none for other objects.
func kindsOf(o *unstructured.Unstructured) (out []schema.GroupVersionResource) {
	if o.GetKind() != "CustomResourceDefinition" {
		return nil
	}
	// Errors: fields of other types, which the API server has refused by now.
	group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(o.Object, "spec", "names", "plural")
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	for _, v := range versions {
		if v, ok := v.(map[string]any); ok && v["served"] == true {
			name, _, _ := unstructured.NestedString(v, "name")
			out = append(out, schema.GroupVersionResource{Group: group, Version: name, Resource: plural})
		}
	}
	return out
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
