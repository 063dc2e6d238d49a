//go:build linux

package awsnode

import (
	"io"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/nodelog"
)

// writeLog adds to the daemon's log: the file on the node that the settings name, or the
// container's output. Upstream's daemon runs without its log too.
func writeLog(cfg Config, text string) {
	if text == "" {
		return
	}
	switch name := cfg.Env["AWS_VPC_K8S_CNI_LOG_FILE"]; name {
	case "stdout", "stderr":
		_, _ = io.WriteString(cfg.Out, text)
	case "":
		_ = nodelog.Append("/host/var/log/aws-routed-eni/ipamd.log", []byte(text))
	default:
		_ = nodelog.Append(name, []byte(text))
	}
}
