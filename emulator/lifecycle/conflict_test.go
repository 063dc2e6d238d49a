package lifecycle

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const deploymentJSON = `{"metadata":{"labels":{"a":"1","a.b/c":"2"}},"spec":{"replicas":2,"template":{"spec":{"containers":[` +
	`{"name":"x","image":"i","ports":[{"containerPort":53,"protocol":"UDP"},{"containerPort":53,"protocol":"TCP"}]},{"name":"y","image":"j"}]}}},"set":["p","q"]}`

func TestDrop(t *testing.T) {
	for _, tc := range []struct{ path, want string }{
		{".spec.replicas", `{"metadata":{"labels":{"a":"1","a.b/c":"2"}},"spec":{"template":{"spec":{"containers":[{"name":"x","image":"i","ports":[{"containerPort":53,"protocol":"UDP"},{"containerPort":53,"protocol":"TCP"}]},{"name":"y","image":"j"}]}}},"set":["p","q"]}`},
		{".metadata.labels.a.b/c", `{"metadata":{"labels":{"a":"1"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"x","image":"i","ports":[{"containerPort":53,"protocol":"UDP"},{"containerPort":53,"protocol":"TCP"}]},{"name":"y","image":"j"}]}}},"set":["p","q"]}`},
		{`.spec.template.spec.containers[name="y"].image`, `{"metadata":{"labels":{"a":"1","a.b/c":"2"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"x","image":"i","ports":[{"containerPort":53,"protocol":"UDP"},{"containerPort":53,"protocol":"TCP"}]},{"name":"y"}]}}},"set":["p","q"]}`},
		{`.spec.template.spec.containers[name="x"].ports[containerPort=53,protocol="TCP"]`, `{"metadata":{"labels":{"a":"1","a.b/c":"2"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"x","image":"i","ports":[{"containerPort":53,"protocol":"UDP"}]},{"name":"y","image":"j"}]}}},"set":["p","q"]}`},
		{`.set[="p"]`, `{"metadata":{"labels":{"a":"1","a.b/c":"2"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"x","image":"i","ports":[{"containerPort":53,"protocol":"UDP"},{"containerPort":53,"protocol":"TCP"}]},{"name":"y","image":"j"}]}}},"set":["q"]}`},
		{`.nothing[name="z"].here`, deploymentJSON},
	} {
		t.Run(tc.path, func(t *testing.T) {
			got, found := drop(decoded(t, deploymentJSON), tc.path)
			if diff := cmp.Diff(decoded(t, tc.want), got); diff != "" || found != (tc.want != deploymentJSON) {
				t.Errorf("found %v: %s", found, diff)
			}
		})
	}
}

func decoded(t *testing.T, s string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func FuzzDrop(f *testing.F) {
	f.Add(deploymentJSON, `.spec.template.spec.containers[name="x"].ports[containerPort=53,protocol="TCP"]`)
	f.Add(`[1,[2]]`, `[=1][=2]`)
	f.Add(`{"a":[{"b":null}]}`, `.a[b=null].b`)
	f.Fuzz(func(t *testing.T, object, path string) {
		var v any
		if json.Unmarshal([]byte(object), &v) != nil {
			return
		}
		before := len(object)
		left, found := drop(v, path)
		b, err := json.Marshal(left)
		if err != nil || found && len(b) > 6*before { // escapes may lengthen it
			t.Errorf("%q without %q is %q, %v", object, path, b, err)
		}
	})
}
