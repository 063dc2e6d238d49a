package controlplane

// AuditPolicy is for the audit log that EKS delivers. It follows the policy that the EKS
// Best Practices Guide shows under "Auditing and logging".
const AuditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  namespaces: [kube-system]
  verbs: [update, patch, delete]
  resources: [{group: "", resources: [configmaps], resourceNames: [aws-auth]}]
- level: None
  users: ["system:kube-proxy"]
  verbs: [watch]
  resources: [{group: "", resources: [endpoints, services, services/status]}]
- level: None
  users: [kubelet]
  verbs: [get]
  resources: [{group: "", resources: [nodes, nodes/status]}]
- level: None
  userGroups: ["system:nodes"]
  verbs: [get]
  resources: [{group: "", resources: [nodes, nodes/status]}]
- level: None
  users: ["system:kube-controller-manager", "system:kube-scheduler", "system:serviceaccount:kube-system:endpoint-controller"]
  verbs: [get, update]
  namespaces: [kube-system]
  resources: [{group: "", resources: [endpoints]}]
- level: None
  users: ["system:apiserver"]
  verbs: [get]
  resources: [{group: "", resources: [namespaces, namespaces/status, namespaces/finalize]}]
- level: None
  users: ["system:kube-controller-manager"]
  verbs: [get, list]
  resources: [{group: metrics.k8s.io}]
- level: None
  nonResourceURLs: [/healthz*, /version, /swagger*]
- level: None
  resources: [{group: "", resources: [events]}]
- level: Request
  users: [kubelet, "system:node-problem-detector", "system:serviceaccount:kube-system:node-problem-detector"]
  verbs: [update, patch]
  resources: [{group: "", resources: [nodes/status, pods/status]}]
- level: Request
  userGroups: ["system:nodes"]
  verbs: [update, patch]
  resources: [{group: "", resources: [nodes/status, pods/status]}]
- level: Request
  users: ["system:serviceaccount:kube-system:namespace-controller"]
  verbs: [deletecollection]
- level: Metadata
  resources: [{group: "", resources: [secrets, configmaps]}, {group: authentication.k8s.io, resources: [tokenreviews]}]
- level: Request
  resources: [{group: "", resources: [serviceaccounts/token]}]
- level: Request
  verbs: [get, list, watch]
  resources: [` + knownGroups + `]
- level: RequestResponse
  resources: [` + knownGroups + `]
- level: Metadata
`

const knownGroups = `{group: ""}, {group: admissionregistration.k8s.io}, {group: apiextensions.k8s.io}, {group: apiregistration.k8s.io}, {group: apps},
    {group: authentication.k8s.io}, {group: authorization.k8s.io}, {group: autoscaling}, {group: batch}, {group: certificates.k8s.io}, {group: extensions},
    {group: metrics.k8s.io}, {group: networking.k8s.io}, {group: policy}, {group: rbac.authorization.k8s.io}, {group: scheduling.k8s.io},
    {group: settings.k8s.io}, {group: storage.k8s.io}`
