// Package binaries carries the node agent for each architecture inside ekslocal, so that
// one file is the whole emulator.
package binaries

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// built has what `make agents` makes. The directory holds a file of its own, so that a
// bare clone compiles.
//
//go:embed built
var built embed.FS

// ErrMissing is why there is no agent: this program was compiled without it.
var ErrMissing = errors.New("this ekslocal was compiled without the agents of real nodes: build it with `make build`, or run `make agents` before `go build`")

// Agent is the program for an architecture, as Go names it, that nodes run.
func Agent(arch string) ([]byte, error) {
	raw, err := built.ReadFile("built/ekslocal-node-" + arch + ".gz")
	if errors.Is(err, fs.ErrNotExist) {
		if arch != "amd64" && arch != "arm64" {
			return nil, fmt.Errorf("there is no agent for nodes of architecture %q", arch)
		}
		return nil, ErrMissing
	}
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("the agent for %s: %w", arch, err)
	}
	program, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("the agent for %s: %w", arch, err)
	}
	return program, nil
}
