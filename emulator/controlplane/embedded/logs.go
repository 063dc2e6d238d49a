package embedded

import "github.com/ekslocal/ekslocal/emulator/controlplane"

// LogFile is the name of a log stream's file below the control plane's directory.
func LogFile(s controlplane.LogStream) string {
	switch s {
	case controlplane.LogControllerManager:
		return "kube-controller-manager.log"
	case controlplane.LogScheduler:
		return "kube-scheduler.log"
	case controlplane.LogAudit:
		return "kube-apiserver-audit.log"
	case controlplane.LogAuthenticator:
		return "authenticator.log"
	default:
		return "kube-apiserver.log"
	}
}
