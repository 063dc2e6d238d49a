package kind

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
)

// component is the static pod that writes a log, "" for logs that are not of a pod.
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

// containerLogs is the pattern of the names of a component's logs: that of the directory
// ends in the pod's hash, that of the file counts starts.
func containerLogs(component string) string {
	return "/var/log/pods/kube-system_" + component + "-*/" + component + "/*.log"
}

// Logs implements controlplane.Backend: what is kept of the log at this moment.
func (b *Backend) Logs(ctx context.Context, id string, s controlplane.LogStream) (io.ReadCloser, error) {
	if p := b.lookup(id); p == nil || !p.isRunning() {
		return nil, fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
	}
	if s == controlplane.LogAuthenticator {
		return logfile.OpenReader(authenticatorLog(b.cfg, id))
	}
	files := strings.TrimSuffix(auditLog, ".log") + "*.log" // those that were set aside sort before it
	if c := component(s); c != "" {
		files = containerLogs(c)
	}
	out, err := b.engine.run(ctx, nil, "exec", nodeName(id), "sh", "-c", "cat "+files)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", s, err)
	}
	if s != controlplane.LogAudit {
		out = string(unwrapped([]byte(out)))
	}
	return io.NopCloser(strings.NewReader(out)), nil
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
