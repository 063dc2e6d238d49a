package lifecycle

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/ekslocal/ekslocal/fixtures/addons"
)

// TestServed: a capability is not ACTIVE while the API server answers 404 for one of
// its kinds.
func TestServed(t *testing.T) {
	objs, err := addons.CapabilityObjects("ARGOCD", "gitops")
	if err != nil {
		t.Fatal(err)
	}
	lists := map[schema.GroupVersionResource]string{}
	var kinds []string
	for i := range objs {
		for _, r := range kindsOf(&objs[i]) {
			lists[r] = r.Resource + "List"
			kinds = append(kinds, r.String())
		}
	}
	want := []string{
		"argoproj.io/v1alpha1, Resource=applications", "argoproj.io/v1alpha1, Resource=applicationsets", "argoproj.io/v1alpha1, Resource=appprojects",
	}
	if d := cmp.Diff(want, kinds); d != "" {
		t.Fatalf("kinds (-want +got)\n%s", d)
	}
	dyn := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(kruntime.NewScheme(), lists)
	late := true
	dyn.PrependReactor("list", "appprojects", func(clienttesting.Action) (bool, kruntime.Object, error) {
		return late, nil, apierrors.NewNotFound(schema.GroupResource{Group: "argoproj.io", Resource: "appprojects"}, "")
	})
	a := &applier{dyn: dyn}
	for _, is := range []bool{false, true} {
		late = !is
		if got, err := a.served(t.Context(), objs); got != is || err != nil {
			t.Errorf("served: %v, %v, want %v", got, err, is)
		}
	}
	if got, err := a.served(t.Context(), []unstructured.Unstructured{{Object: map[string]any{"kind": "ConfigMap"}}}); !got || err != nil {
		t.Errorf("without CRDs: %v, %v", got, err)
	}
}
