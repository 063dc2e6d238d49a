package kind

import (
	"strconv"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
)

// The audit log is always whole: kube-apiserver reads its policy once, and a cluster whose
// logging is switched on must not go down for that. The directory is on the container's
// disk, and bounded.
const (
	auditPolicy = filesDir + "/audit-policy.yaml"
	logDir      = "/var/log/ekslocal"
	auditLog    = logDir + "/kube-apiserver-audit.log"
)

// audited has the API server write the audit log that EKS delivers.
func (p *patches) audited() {
	for _, a := range [][2]string{
		{"audit-policy-file", auditPolicy}, {"audit-log-path", auditLog}, {"audit-log-mode", "batch"},
		{"audit-log-maxsize", strconv.Itoa(logfile.MaxBytes >> 20)}, {"audit-log-maxbackup", "1"},
	} {
		p.argument("/apiServer/extraArgs", a[0], a[1])
	}
	p.add("ClusterConfiguration", "/apiServer/extraVolumes/-", map[string]any{
		"name": "ekslocal-logs", "hostPath": logDir, "mountPath": logDir, "pathType": "DirectoryOrCreate",
	})
}

func auditFiles() files { return files{auditPolicy: []byte(controlplane.AuditPolicy)} }
