package child_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
)

// checkOpenAPIv3 reads documents as kubectl does: the index, then a group version
// by the address that the index gives.
func checkOpenAPIv3(ctx context.Context, t *testing.T, c kubernetes.Interface) {
	t.Helper()
	var index struct {
		Paths map[string]struct {
			ServerRelativeURL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	raw, err := c.Discovery().RESTClient().Get().AbsPath("/openapi/v3").DoRaw(ctx)
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil {
		t.Fatal(err)
	}
	for gv, want := range map[string]string{
		"api/v1": "io.k8s.api.core.v1.Pod", "apis/apps/v1": "io.k8s.api.apps.v1.Deployment",
		"apis/apiextensions.k8s.io/v1": "CustomResourceDefinition", "apis/apiregistration.k8s.io/v1": "APIService",
	} {
		url := index.Paths[gv].ServerRelativeURL
		path, query, _ := strings.Cut(url, "?")
		hash, ok := strings.CutPrefix(query, "hash=")
		if !ok || path != "/openapi/v3/"+gv {
			t.Errorf("the index has %q for %s", url, gv)
			continue
		}
		for _, hash := range []string{hash, "0123", ""} { // of now, of another version: redirected, none
			doc, err := c.Discovery().RESTClient().Get().AbsPath(path).Param("hash", hash).SetHeader("Accept", "application/json").DoRaw(ctx)
			if err != nil {
				t.Errorf("%s?hash=%s: %v", path, hash, err)
				continue
			}
			var spec struct {
				OpenAPI    string         `json:"openapi"`
				Paths      map[string]any `json:"paths"`
				Components struct {
					Schemas map[string]any `json:"schemas"`
				} `json:"components"`
			}
			if err := json.Unmarshal(doc, &spec); err != nil || !strings.HasPrefix(spec.OpenAPI, "3.") || len(spec.Paths) == 0 {
				t.Errorf("%s: %v, OpenAPI %q with %d paths", path, err, spec.OpenAPI, len(spec.Paths))
			}
			if !strings.Contains(string(doc), want) {
				t.Errorf("%s has no %s", path, want)
			}
		}
	}
	if _, err := c.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/none/v1").DoRaw(ctx); err == nil {
		t.Error("a group that does not exist has a document")
	}
}
