package kind

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
)

// imageDocker is a docker with an image of 1.36 if the file $PULLED is there, which a
// pull makes. It writes down what it is asked for.
const imageDocker = `echo "$*" >>"$ASKED"
case $1 in
pull) : >"$PULLED" ;;
run) case "$*" in *--pull=never*) ;; *) : >"$PULLED" ;; esac
	if [ -e "$PULLED" ]; then echo v1.36.4; else echo "docker: Error response from daemon: No such image: $IMAGE" >&2; exit 125; fi ;;
image) if [ ! -e "$PULLED" ]; then echo "Error response from daemon: No such image: $IMAGE" >&2; exit 1; fi ;;
esac
`

func imageBackend(t *testing.T, image string) (*Backend, func() string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PULLED", filepath.Join(dir, "pulled"))
	t.Setenv("ASKED", filepath.Join(dir, "asked"))
	t.Setenv("IMAGE", image)
	fakeDocker(t, imageDocker)
	b, err := New(Config{RunDir: t.TempDir(), Authenticator: table{}, NodeImage: image})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, func() string {
		raw, err := os.ReadFile(filepath.Join(dir, "asked"))
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		return string(raw)
	}
}

// TestVersionsDoNotPull: who makes a cluster does not wait for an image.
func TestVersionsDoNotPull(t *testing.T) {
	for image, tagged := range map[string][]string{
		"kindest/node:v1.35.8@sha256:" + strings.Repeat("0", 64): {"1.35"}, "mine:1.36.1": {"1.36"},
		"mine": nil, "mine:test": nil, "mine:v2.0.1": nil,
	} {
		b, asked := imageBackend(t, image)
		if d := cmp.Diff(tagged, b.Versions()); d != "" {
			t.Errorf("%s, not there: %s", image, d)
		}
		if _, err := os.Stat(os.Getenv("PULLED")); err == nil {
			t.Errorf("%s was pulled: %s", image, asked())
		}
		if err := b.haveImage(t.Context(), image); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff([]string{"1.36"}, b.Versions()); d != "" { // what it says itself
			t.Errorf("%s, there: %s", image, d)
		}
	}
}

// TestImageIsForMaking: what is only started again needs no image, whatever version the
// present one has; what is made is refused if it is another.
func TestImageIsForMaking(t *testing.T) {
	b, asked := imageBackend(t, "mine:1.36.1")
	spec := conformance.NewSpec(t, "old", "1.34")
	if err := b.validate(spec); err != nil || asked() != "" {
		t.Errorf("%v, asked: %s", err, asked())
	}
	if _, err := b.imageFor(t.Context(), "1.34"); err == nil || !strings.Contains(err.Error(), "is of Kubernetes 1.36, not 1.34") {
		t.Errorf("another version: %v", err)
	}
	if image, err := b.imageFor(t.Context(), "1.36"); err != nil || image != "mine:1.36.1" {
		t.Errorf("image %q: %v", image, err)
	}
}

func TestUsualNetwork(t *testing.T) {
	for theirs, ok := range map[string]bool{"": true, "kind": true, "mine": false} {
		if err := usualNetwork(theirs); (err == nil) != ok {
			t.Errorf("%q: %v", theirs, err)
		}
	}
}
