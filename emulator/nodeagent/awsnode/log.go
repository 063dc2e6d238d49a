//go:build linux

package awsnode

import (
	"io"
	"os"
	"path/filepath"
)

// ipamdLog is where the daemon's log goes: to the file on the node that the settings
// name, or to the container's output.
type ipamdLog struct {
	to   io.Writer
	file *os.File
}

func openLog(cfg Config) *ipamdLog {
	name := cfg.Env["AWS_VPC_K8S_CNI_LOG_FILE"]
	if name == "" {
		name = "/host/var/log/aws-routed-eni/ipamd.log"
	}
	if name == "stdout" || name == "stderr" {
		return &ipamdLog{to: cfg.Out}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return &ipamdLog{to: io.Discard}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // as upstream's
	if err != nil {
		return &ipamdLog{to: io.Discard} // upstream's daemon runs without its log too
	}
	return &ipamdLog{to: f, file: f}
}

func (l *ipamdLog) write(text string) {
	if text != "" {
		_, _ = io.WriteString(l.to, text)
	}
}

func (l *ipamdLog) close() {
	if l.file != nil {
		_ = l.file.Close()
	}
}
