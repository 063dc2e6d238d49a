package child

import (
	"os"
	"path/filepath"
)

// auditPolicy records what people look for in EKS's audit log and leaves out the
// chatter of nodes and controllers, which would cost more than all the rest.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  namespaces: [kube-system]
  verbs: [update, patch, delete]
  resources: [{group: "", resources: [configmaps], resourceNames: [aws-auth]}]
- level: None
  nonResourceURLs: [/healthz*, /livez*, /readyz*, /version, /swagger*, /openapi/*]
- level: None
  resources: [{group: "", resources: [events]}, {group: events.k8s.io, resources: [events]}, {group: coordination.k8s.io, resources: [leases]}]
- level: None
  users: ["system:apiserver", "system:kube-scheduler", "system:kube-controller-manager"]
  verbs: [get, list, watch]
- level: None
  userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
  verbs: [get, list, watch]
- level: None
  userGroups: ["system:nodes"]
  resources: [{group: "", resources: [nodes/status, pods/status]}]
- level: Metadata
  resources: [{group: "", resources: [secrets, configmaps, serviceaccounts/token]}, {group: authentication.k8s.io, resources: [tokenreviews]}]
- level: Metadata
`

func writeAuditPolicy(dir string) (string, error) {
	path := filepath.Join(dir, "audit-policy.yaml")
	return path, os.WriteFile(path, []byte(auditPolicy), 0o600)
}
