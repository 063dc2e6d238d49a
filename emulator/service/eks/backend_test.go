package eks

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
)

func TestBackend(t *testing.T) {
	tagged := func(value string) func(*eks.CreateClusterInput) {
		return func(in *eks.CreateClusterInput) { in.Tags = map[string]string{TagBackend: value} }
	}
	for _, c := range []struct {
		name    string
		usual   string
		change  []func(*eks.CreateClusterInput)
		backend string
		version string
		refused string
	}{
		{name: "no tag", version: "1.35"},
		{name: "no tag, kind is the usual one", usual: BackendKind, backend: BackendKind, version: "1.34"},
		{name: "embedded by tag", usual: BackendKind, change: []func(*eks.CreateClusterInput){tagged("embedded")}, version: "1.35"},
		{name: "kind by tag", change: []func(*eks.CreateClusterInput){tagged("kind")}, backend: BackendKind, version: "1.34"},
		{name: "another", change: []func(*eks.CreateClusterInput){tagged("k3s")}, refused: "The tag ekslocal.dev/backend must be one of embedded and kind, not k3s"},
		{name: "a version without an image", change: []func(*eks.CreateClusterInput){tagged("kind"), func(in *eks.CreateClusterInput) { in.Version = aws.String("1.36") }},
			refused: "unsupported Kubernetes version 1.36: the control planes of this emulator serve 1.33 and 1.34"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.backend, w.backends = c.usual, map[string]func() []string{BackendKind: func() []string { return []string{"1.33", "1.34"} }}
			if c.refused != "" {
				_, err := w.CreateCluster(w.ctx, w.input("one", c.change...))
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("error %v, want %q", err, c.refused)
				}
				return
			}
			got := w.create("one", c.change...)
			if *got.Version != c.version {
				t.Errorf("version %s, want %s", *got.Version, c.version)
			}
			if got := Clusters.Get(w.store, w.scope, "one").Backend; got != c.backend {
				t.Errorf("backend %q, want %q", got, c.backend)
			}
		})
	}
}

func TestKindClusterCannot(t *testing.T) {
	w := newWorld(t)
	w.backends = map[string]func() []string{BackendKind: func() []string { return []string{"1.33", "1.34"} }}
	w.active("one", func(in *eks.CreateClusterInput) {
		in.Tags, in.Version = map[string]string{TagBackend: BackendKind}, aws.String("1.34")
	})
	_, err := w.CreateFargateProfile(w.ctx, &eks.CreateFargateProfileInput{
		ClusterName: aws.String("one"), FargateProfileName: aws.String("fp"), PodExecutionRoleArn: aws.String(roleARN("pods")),
		Selectors: []types.FargateProfileSelector{{Namespace: aws.String("default")}},
	})
	if err == nil || !strings.Contains(err.Error(), "have no Fargate") {
		t.Errorf("CreateFargateProfile: %v", err)
	}
	_, err = w.UpdateClusterVersion(w.ctx, &eks.UpdateClusterVersionInput{Name: aws.String("one"), Version: aws.String("1.35")})
	if err == nil || !strings.Contains(err.Error(), "stays at the version of its node image") {
		t.Errorf("UpdateClusterVersion: %v", err)
	}
}
