package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// conflicts are the paths of the fields that a server-side apply would have to
// take away from another manager, such as
// .spec.template.spec.containers[name="coredns"].image.
func conflicts(err error) (paths []string) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	for _, c := range status.Status().Details.Causes {
		if c.Type == metav1.CauseTypeFieldManagerConflict {
			paths = append(paths, c.Field)
		}
	}
	return paths
}

// wouldConflict tells which fields of objs others have taken, as "Deployment.apps
// coredns - .spec.replicas". Nothing is changed; what is not there yet, or has no
// kind or namespace yet, cannot conflict.
func (a *applier) wouldConflict(ctx context.Context, objs []unstructured.Unstructured) (fields []string, err error) {
	for i := range objs {
		o := &objs[i]
		ri, err := a.resource(o)
		if meta.IsNoMatchError(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		if _, err := ri.Get(ctx, o.GetName(), metav1.GetOptions{}); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("read %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
		_, err = ri.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, DryRun: []string{metav1.DryRunAll}})
		for _, path := range conflicts(err) {
			fields = append(fields, o.GroupVersionKind().GroupKind().String()+" "+o.GetName()+" - "+path)
		}
		if err != nil && !apierrors.IsConflict(err) {
			return nil, fmt.Errorf("apply %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
	}
	return fields, nil
}

// preserve applies objs but for the fields that others have changed.
func (a *applier) preserve(ctx context.Context, objs []unstructured.Unstructured) error {
	for i := range objs {
		err := a.apply(ctx, objs[i:i+1], false)
		if paths := conflicts(err); len(paths) > 0 {
			ours := objs[i].DeepCopy()
			for _, p := range paths {
				drop(ours.Object, p)
			}
			err = a.apply(ctx, []unstructured.Unstructured{*ours}, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// drop removes the field at path from v, a decoded JSON value, and answers what is
// left of v and whether the field was there. A path is read along the value, since
// names may have dots in them.
func drop(v any, path string) (left any, found bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			rest, ok := strings.CutPrefix(path, "."+name)
			if !ok {
				continue
			}
			if rest == "" {
				delete(v, name)
				return v, true
			}
			if now, ok := drop(child, rest); ok {
				v[name] = now
				return v, true
			}
		}
	case []any:
		for i, item := range v {
			rest, ok := cutElement(item, path)
			if !ok {
				continue
			}
			if rest == "" {
				return slices.Delete(v, i, i+1), true
			}
			if now, ok := drop(item, rest); ok {
				v[i] = now
				return v, true
			}
		}
	}
	return v, false
}

// cutElement removes the selector of a list element from the beginning of path if
// it selects item: [name="x",port=1] by keys, [="x"] by value.
func cutElement(item any, path string) (rest string, ok bool) {
	if !strings.HasPrefix(path, "[") {
		return path, false
	}
	rest = path[1:]
	for {
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			return path, false
		}
		d := json.NewDecoder(strings.NewReader(after))
		d.UseNumber()
		var want any
		if d.Decode(&want) != nil {
			return path, false
		}
		rest = after[d.InputOffset():]
		got := item
		if m, isMap := item.(map[string]any); isMap && key != "" {
			got = m[key]
		}
		if !equalJSON(got, want) {
			return path, false
		}
		switch {
		case strings.HasPrefix(rest, "]"):
			return rest[1:], true
		case strings.HasPrefix(rest, ","):
			rest = rest[1:]
		default:
			return path, false
		}
	}
}

func equalJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
