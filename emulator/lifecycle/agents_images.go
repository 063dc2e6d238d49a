package lifecycle

import (
	"context"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// provide tells the machines of real nodes of the images that an add-on's pods will ask
// for, before they do.
func (rt *runtime) provide(ctx context.Context, objs []unstructured.Unstructured) error {
	if rt.hosted == nil {
		return nil
	}
	images := map[string]bool{}
	for i := range objs {
		for _, list := range []string{"initContainers", "containers"} {
			// Errors: objects that have no such field.
			containers, _, _ := unstructured.NestedSlice(objs[i].Object, "spec", "template", "spec", list)
			for _, c := range containers {
				if m, ok := c.(map[string]any); ok {
					if image, ok := m["image"].(string); ok {
						images[image] = true
					}
				}
			}
		}
	}
	if len(images) == 0 {
		return nil
	}
	return rt.hosted.hoster.Provide(ctx, rt.id, slices.Sorted(maps.Keys(images)))
}
