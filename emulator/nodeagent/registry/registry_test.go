package registry

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProvides(t *testing.T) {
	for repository, want := range map[string]bool{
		"602401143452.dkr.ecr.us-east-1.amazonaws.com/amazon-k8s-cni":                  true,
		"602401143452.dkr.ecr.us-east-1.amazonaws.com/amazon-k8s-cni-init":             true,
		"602401143452.dkr.ecr.eu-west-1.amazonaws.com/amazon/aws-network-policy-agent": true,
		"602401143452.dkr.ecr.eu-west-1.amazonaws.com/eks/eks-pod-identity-agent":      true,
		"602401143452.dkr.ecr.eu-west-1.amazonaws.com/eks/coredns":                     false,
		"example.com/my-amazon-k8s-cni":                                                false,
		"docker.io/library/nginx":                                                      false,
	} {
		if got := Provides(repository); got != want {
			t.Errorf("%s: %v", repository, got)
		}
	}
}

func of(binary []byte) Binary {
	return func() (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(binary)), int64(len(binary)), nil
	}
}

// TestPull does what a container runtime does.
func TestPull(t *testing.T) {
	binary := []byte("\x7fELF and so on")
	im, err := New(of(binary), "arm64")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(im.Handler())
	defer srv.Close()
	get := func(path string, status int) (*http.Response, []byte) {
		t.Helper()
		resp, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status {
			t.Fatalf("%s: %s, %v", path, resp.Status, err)
		}
		return resp, body
	}
	get("/v2/", http.StatusOK)
	resp, raw := get("/v2/amazon-k8s-cni/manifests/v1.21.1-eksbuild.3?ns=602401143452.dkr.ecr.us-east-1.amazonaws.com", http.StatusOK)
	if got := resp.Header.Get("Docker-Content-Digest"); got != digest(raw) || resp.Header.Get("Content-Type") != typeManifest {
		t.Errorf("headers %v", resp.Header)
	}
	_, again := get("/v2/amazon-k8s-cni/manifests/"+digest(raw), http.StatusOK)
	if !bytes.Equal(raw, again) {
		t.Error("another manifest by its digest")
	}
	var m struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal(raw, &m); err != nil || len(m.Layers) != 1 {
		t.Fatalf("%s: %v", raw, err)
	}
	_, config := get("/v2/amazon-k8s-cni/blobs/"+m.Config.Digest, http.StatusOK)
	_, layer := get("/v2/amazon-k8s-cni/blobs/"+m.Layers[0].Digest, http.StatusOK)
	if digest(config) != m.Config.Digest || digest(layer) != m.Layers[0].Digest || int64(len(layer)) != m.Layers[0].Size {
		t.Error("blobs are not what the manifest says")
	}
	var c struct {
		Architecture string
		Config       struct{ Entrypoint []string }
		RootFS       struct {
			Diffs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	if c.Architecture != "arm64" || !slices.Equal(c.Config.Entrypoint, []string{"/app/aws-vpc-cni"}) || !slices.Equal(c.RootFS.Diffs, []string{digest(layer)}) {
		t.Errorf("%s", config)
	}
	var programs []string
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeLink {
			programs = append(programs, h.Name+" -> "+h.Linkname)
		}
		if h.Typeflag == tar.TypeReg {
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, binary) {
				t.Errorf("%s: %v", h.Name, err)
			}
		}
	}
	for _, want := range []string{"app/aws-vpc-cni", "app/grpc-health-probe", "init/aws-vpc-cni-init", "eks-pod-identity-agent", "go-runner", "controller"} {
		if !slices.Contains(programs, want+" -> ekslocal-node") {
			t.Errorf("no program %s in %v", want, programs)
		}
	}

	get("/v2/eks/coredns/manifests/v1", http.StatusNotFound)
	get("/v2/amazon-k8s-cni/manifests/sha256:"+strings.Repeat("0", 64), http.StatusNotFound)
	get("/v2/amazon-k8s-cni/blobs/sha256:"+strings.Repeat("0", 64), http.StatusNotFound)
	get("/", http.StatusNotFound)
	if resp, err := http.Post(srv.URL+"/v2/amazon-k8s-cni/blobs/uploads/", "", nil); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("an upload: %v, %v", resp, err)
	}
}

// TestSame: the images depend on the binary alone, or nodes would pull them again.
func TestSame(t *testing.T) {
	build := func(binary string) string {
		im, err := New(of([]byte(binary)), "amd64")
		if err != nil {
			t.Fatal(err)
		}
		return im.layer.Digest
	}
	if diff := cmp.Diff(build("a"), build("a")); diff != "" {
		t.Error(diff)
	}
	if build("a") == build("b") {
		t.Error("two binaries make one image")
	}
}
