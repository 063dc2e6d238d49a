package child

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"k8s.io/apiserver/pkg/audit"
	auditpolicy "k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// auditPolicy is for clusters whose audit log nobody asked EKS for: what people look
// for first, without the chatter of nodes and controllers, which would cost more than
// all the rest.
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

// auditSwitch is a policy that can be changed while the API server runs.
type auditSwitch struct {
	short, eks audit.PolicyRuleEvaluator
	full       atomic.Bool
}

func newAuditSwitch(short audit.PolicyRuleEvaluator) (*auditSwitch, error) {
	p, err := auditpolicy.LoadPolicyFromBytes([]byte(controlplane.AuditPolicy))
	if err != nil {
		return nil, fmt.Errorf("audit policy: %w", err)
	}
	return &auditSwitch{short: short, eks: auditpolicy.NewPolicyRuleEvaluator(p)}, nil
}

// EvaluatePolicyRule implements audit.PolicyRuleEvaluator.
func (s *auditSwitch) EvaluatePolicyRule(a authorizer.Attributes) audit.RequestAuditConfig {
	if s.full.Load() {
		return s.eks.EvaluatePolicyRule(a)
	}
	return s.short.EvaluatePolicyRule(a)
}
