package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
)

// images are node images of kind's releases, by digest as its release notes ask for.
// Oldest first. v0.33.0 was released with those from 1.34 on, and one of 1.37, which EKS
// does not have; that of 1.33 is v0.32.0's.
var images = []struct{ minor, image string }{
	{"1.33", "kindest/node:v1.33.12@sha256:3f5c8443c620245e4d355cfe09e96a91ead32ceaa569d3f1ca9edf0cb2fe2ff4"},
	{"1.34", "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d"},
	{"1.35", "kindest/node:v1.35.8@sha256:07b2536e30b803ed61d1677a79df6115f798ce64c80f9e22f6ed45afd09323c0"},
	{"1.36", "kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed"},
}

// versionPatience bounds how long somebody who makes a cluster waits for the version of a
// node image, which takes the engine a second.
const versionPatience = 10 * time.Second

// versions are the minor versions of the images; with an image of the user's own that
// one's, or none while the engine cannot tell. An image that is not there is not pulled
// for that: of it only the tag is known.
func (b *Backend) versions() []string {
	if b.cfg.NodeImage == "" {
		out := make([]string, len(images))
		for i, m := range images {
			out[i] = m.minor
		}
		return out
	}
	ctx, cancel := context.WithTimeout(b.life, versionPatience)
	defer cancel()
	v, err := b.nodeImageVersion(ctx)
	if err == nil {
		return []string{v}
	}
	if v := taggedMinor(b.cfg.NodeImage); absent(err) && v != "" {
		return []string{v}
	}
	b.cfg.Log.Warn("the version of the node image is not known", "image", b.cfg.NodeImage, "error", err)
	return nil
}

// taggedMinor is the minor version that an image's tag names, as those of kindest/node do;
// empty if it names none that there is.
func taggedMinor(image string) string {
	n, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	tagged, ok := n.(reference.Tagged)
	if !ok {
		return ""
	}
	minor := minorOf(tagged.Tag())
	if !slices.ContainsFunc(images, func(m struct{ minor, image string }) bool { return m.minor == minor }) {
		return ""
	}
	return minor
}

// imageFor is the node image of a minor version, which is on the engine then. Only what is
// made anew needs one: containers go on without theirs.
func (b *Backend) imageFor(ctx context.Context, minor string) (string, error) {
	if b.cfg.NodeImage != "" {
		if err := b.haveImage(ctx, b.cfg.NodeImage); err != nil {
			return "", err
		}
		v, err := b.nodeImageVersion(ctx)
		if err != nil {
			return "", err
		}
		if v != minor {
			return "", fmt.Errorf("the node image %s is of Kubernetes %s, not %s", b.cfg.NodeImage, v, minor)
		}
		return b.cfg.NodeImage, nil
	}
	i := slices.IndexFunc(images, func(m struct{ minor, image string }) bool { return m.minor == minor })
	if i < 0 {
		return "", fmt.Errorf("kind has no node image of Kubernetes %s (%s to %s)", minor, images[0].minor, images[len(images)-1].minor)
	}
	return images[i].image, b.haveImage(ctx, images[i].image)
}

// imageVersion remembers what one image said of itself.
type imageVersion struct {
	mu    sync.Mutex
	minor string
}

// nodeImageVersion reads the version out of the image, as kind does out of a node. Its
// error is absent's if the image is not there.
func (b *Backend) nodeImageVersion(ctx context.Context) (string, error) {
	b.nodeImage.mu.Lock()
	defer b.nodeImage.mu.Unlock()
	if b.nodeImage.minor != "" {
		return b.nodeImage.minor, nil
	}
	out, err := b.engine.run(ctx, nil, "run", "--rm", "--pull=never", "--entrypoint", "cat", b.cfg.NodeImage, "/kind/version")
	if err != nil {
		return "", fmt.Errorf("version of the node image: %w", err)
	}
	parts := strings.Split(strings.TrimPrefix(strings.TrimSpace(out), "v"), ".")
	if len(parts) < 3 {
		return "", fmt.Errorf("the node image %s says that it is of version %q", b.cfg.NodeImage, out)
	}
	b.nodeImage.minor = parts[0] + "." + parts[1]
	return b.nodeImage.minor, nil
}

// pullPatience bounds the pull of a node image, a gigabyte.
const pullPatience = time.Hour

// haveImage pulls an image that is not there.
func (b *Backend) haveImage(ctx context.Context, image string) error {
	if _, err := b.engine.run(ctx, nil, "image", "inspect", "--format", "{{.Id}}", image); err == nil || errors.Is(err, ErrNoEngine) || ctx.Err() != nil {
		return err
	}
	b.cfg.Log.Info("pulling the node image", "image", image)
	ctx, cancel := context.WithTimeout(ctx, pullPatience)
	defer cancel()
	if _, err := b.engine.run(ctx, nil, "pull", "--quiet", image); err != nil {
		return fmt.Errorf("the node image %s is not there and cannot be pulled: %w (offline: `docker load` it, or name another with --kind-node-image)", image, err)
	}
	return nil
}
