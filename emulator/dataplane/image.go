package dataplane

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"k8s.io/apimachinery/pkg/types"
)

// imageNames are what containerd reports of an image: its full reference, and
// its digest (made up from the name, so that the same image has the same one on
// every node).
func imageNames(image string) (name, id string) {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return image, ""
	}
	digest := "sha256:" + hexDigest(reference.TrimNamed(named).Name()+":"+named.String())
	if d, ok := named.(reference.Digested); ok {
		digest = d.Digest().String()
	}
	return named.String(), named.Name() + "@" + digest
}

// invalidImage is kubelet's complaint about a malformed image reference, or empty.
func invalidImage(image string) string {
	if image == "" {
		return ""
	}
	if _, err := reference.ParseNormalizedNamed(image); err != nil {
		return fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", image, image, err)
	}
	return ""
}

// pullTime and imageSize are made up for the Pulled event.
func pullTime(pod types.UID, container string) time.Duration {
	return time.Duration(60+number(string(pod)+container)%120) * time.Millisecond
}

func imageSize(image string) uint32 { return 5_000_000 + number(image)%150_000_000 }

func number(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32()
}

// containerID is the id of the container's nth run.
func containerID(pod types.UID, container string, restart int32) string {
	return hexDigest(fmt.Sprintf("%s/%s/%d", pod, container, restart))
}

func hexDigest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}
