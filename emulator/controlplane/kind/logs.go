package kind

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// component is the static pod that writes a log; "" for logs that this backend does
// not keep.
func component(s controlplane.LogStream) string {
	switch s {
	case controlplane.LogAPI:
		return apiServer
	case controlplane.LogControllerManager:
		return "kube-controller-manager"
	case controlplane.LogScheduler:
		return "kube-scheduler"
	}
	return ""
}

// Logs implements controlplane.Backend: what the kubelet has kept of the component's
// containers. There is no audit log and none of the authenticator.
func (b *Backend) Logs(ctx context.Context, id string, s controlplane.LogStream) (io.ReadCloser, error) {
	if p := b.lookup(id); p == nil || !p.isRunning() {
		return nil, fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
	}
	c := component(s)
	if c == "" {
		return io.NopCloser(strings.NewReader("")), nil
	}
	// The name of the directory ends in the pod's hash, that of the file counts starts.
	out, err := b.engine.run(ctx, nil, "exec", nodeName(id), "sh", "-c", "cat /var/log/pods/kube-system_"+c+"-*/"+c+"/*.log")
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", c, err)
	}
	return io.NopCloser(bytes.NewReader(unwrapped([]byte(out)))), nil
}

// unwrapped takes off what the container runtime puts before each line: a time, the
// stream, and P for a part whose rest follows.
func unwrapped(in []byte) []byte {
	var out bytes.Buffer
	lines := bufio.NewReader(bytes.NewReader(in))
	for {
		line, err := lines.ReadString('\n')
		if f := strings.SplitN(line, " ", 4); len(f) == 4 {
			text := f[3]
			if f[2] == "P" {
				text = strings.TrimSuffix(text, "\n")
			}
			out.WriteString(text)
		}
		if err != nil {
			return out.Bytes()
		}
	}
}
