package controlplane

// BetaAPIs are those that EKS serves although Kubernetes leaves beta APIs off, for the API
// server's argument runtime-config ("Review release notes for Kubernetes versions on
// standard support": dynamic resource allocation in 1.33, volume attributes classes until
// 1.33); "" for versions without any. They are the only APIs of these versions that a
// later one removes.
func BetaAPIs(version string) string {
	if version == "1.33" {
		return "resource.k8s.io/v1beta1=true,storage.k8s.io/v1beta1=true"
	}
	return ""
}
