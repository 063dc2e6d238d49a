// Package registry serves the images of AWS's own parts to a node's container runtime: an
// image is the agent itself under the names that the parts have there. Nothing of AWS's is
// in them, and no registry is asked.
package registry

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
)

// part is one image of AWS's.
type part struct {
	// suffix is how the repository's name ends.
	suffix     string
	entrypoint []string
}

// parts are the images that EKS's manifests name, the longer name first.
var parts = []part{
	{"amazon-k8s-cni-init", []string{"/init/aws-vpc-cni-init"}},
	{"amazon-k8s-cni", []string{"/app/aws-vpc-cni"}},
	{"aws-network-policy-agent", []string{"/controller"}},
	{"eks-pod-identity-agent", []string{"/eks-pod-identity-agent"}},
}

// programs are the names of the one binary in the images.
var programs = []string{
	"app/aws-vpc-cni", "app/aws-cni", "app/egress-cni", "app/grpc-health-probe", "init/aws-vpc-cni-init", "controller", "eks-pod-identity-agent", "go-runner",
}

// Provides tells whether the image of a repository, such as
// 602401143452.dkr.ecr.us-east-1.amazonaws.com/amazon-k8s-cni, is one of these.
func Provides(repository string) bool { return partOf(repository) != nil }

func partOf(repository string) *part {
	for i := range parts {
		if repository == parts[i].suffix || strings.HasSuffix(repository, "/"+parts[i].suffix) {
			return &parts[i]
		}
	}
	return nil
}

// Binary opens the agent's program, and says how large it is.
type Binary func() (io.ReadCloser, int64, error)

// Images are what a node serves. They depend on nothing but the binary, whose layer is
// made anew for whoever wants it: that is seldom, and each node would hold ten megabytes.
type Images struct {
	binary    Binary
	layer     descriptor
	manifests map[string][]byte // by the part's suffix
	blobs     map[string][]byte // by digest
}

// FromFile makes the images of a binary.
func FromFile(path string) (*Images, error) {
	return New(func() (io.ReadCloser, int64, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, 0, fmt.Errorf("the agent's binary: %w", err)
		}
		st, err := f.Stat()
		if err != nil {
			return nil, 0, errors.Join(fmt.Errorf("the agent's binary: %w", err), f.Close())
		}
		return f, st.Size(), nil
	}, runtime.GOARCH)
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// The media types of OCI's image specification.
const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// New makes the images for an architecture.
func New(binary Binary, arch string) (*Images, error) {
	im := &Images{binary: binary, manifests: map[string][]byte{}, blobs: map[string][]byte{}}
	sum := sha256.New()
	size, err := im.writeLayer(sum)
	if err != nil {
		return nil, err
	}
	l := descriptor{MediaType: typeLayer, Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil)), Size: size}
	im.layer = l
	for _, p := range parts {
		config, err := json.Marshal(map[string]any{
			"architecture": arch, "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{l.Digest}},
			"config": map[string]any{"Entrypoint": p.entrypoint, "WorkingDir": "/", "Env": []string{"PATH=/app:/"}},
		})
		if err != nil {
			return nil, err
		}
		manifest, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": typeManifest, "config": im.add(typeConfig, config), "layers": []descriptor{l},
		})
		if err != nil {
			return nil, err
		}
		im.manifests[p.suffix] = manifest
	}
	return im, nil
}

func (im *Images) add(mediaType string, blob []byte) descriptor {
	d := descriptor{MediaType: mediaType, Digest: digest(blob), Size: int64(len(blob))}
	im.blobs[d.Digest] = blob
	return d
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// writeLayer writes the binary once, under all its names, and a directory for temporary
// files.
func (im *Images) writeLayer(to io.Writer) (size int64, err error) {
	program, length, err := im.binary()
	if err != nil {
		return 0, err
	}
	defer program.Close()
	count := &counter{to: to}
	w := tar.NewWriter(count)
	entries := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "app/", Mode: 0o755}, {Typeflag: tar.TypeDir, Name: "init/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777},
		{Typeflag: tar.TypeReg, Name: "ekslocal-node", Mode: 0o755, Size: length},
	}
	for _, name := range programs {
		entries = append(entries, tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: "ekslocal-node", Mode: 0o755})
	}
	for i := range entries {
		if err := w.WriteHeader(&entries[i]); err != nil {
			return 0, err
		}
		if entries[i].Typeflag == tar.TypeReg {
			if _, err := io.Copy(w, program); err != nil {
				return 0, err
			}
		}
	}
	err = w.Close()
	return count.n, err
}

// counter counts what it passes on.
type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// Handler serves the images as the distribution specification has it, reading only.
// Whatever it does not have is 404: then the runtime asks the registry itself.
func (im *Images) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "images can only be read", http.StatusMethodNotAllowed)
			return
		}
		if r.URL.Path == "/v2/" {
			return
		}
		name, ok := strings.CutPrefix(r.URL.Path, "/v2/")
		if !ok {
			http.NotFound(w, r)
			return
		}
		if repository, ref, ok := strings.Cut(name, "/manifests/"); ok {
			if p := partOf(repository); p != nil {
				m := im.manifests[p.suffix]
				if !strings.HasPrefix(ref, "sha256:") || ref == digest(m) {
					send(w, r, typeManifest, m)
					return
				}
			}
		} else if _, ref, ok := strings.Cut(name, "/blobs/"); ok {
			if b, ok := im.blobs[ref]; ok {
				send(w, r, "application/octet-stream", b)
				return
			}
			if ref == im.layer.Digest {
				im.sendLayer(w, r)
				return
			}
		}
		http.NotFound(w, r)
	})
}

// sendLayer breaks off if the binary is another one by now: then the service is about to
// start anew, and who pulls comes again.
func (im *Images) sendLayer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", fmt.Sprint(im.layer.Size))
	w.Header().Set("Docker-Content-Digest", im.layer.Digest)
	if r.Method == http.MethodGet {
		_, _ = im.writeLayer(w)
	}
}

func send(w http.ResponseWriter, r *http.Request, mediaType string, b []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	w.Header().Set("Docker-Content-Digest", digest(b))
	if r.Method == http.MethodGet {
		_, _ = w.Write(b) // a runtime that went away comes again
	}
}
