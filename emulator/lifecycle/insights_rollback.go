package lifecycle

import (
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// The rollback readiness checks exist for a week after an update ("Rollback cluster
// to previous Kubernetes version"). The one of incompatible API usage is not made:
// it takes field-level knowledge of every version's API.

func kubeletRollback(f facts) ekstypes.Insight {
	i := newInsight(ekstypes.CategoryRollbackReadiness, "Kubelet version rollback compatibility", f.rollback,
		"Checks for kubelet versions of worker nodes in the cluster to see if rollback would cause non compliance with supported Kubernetes kubelet version skew policy.",
		"Roll back your worker nodes to the previous Kubernetes version before you roll back the cluster.",
		map[string]string{"Rollback cluster to previous Kubernetes version": rollbackGuide})
	set(&i, passing, "Node kubelet versions are compatible with the previous Kubernetes version.")
	for _, n := range f.nodes {
		if ahead, ok := eksversions.Minors(f.rollback, n.kubelet); ok && ahead > 0 {
			set(&i, failing, "At least one node kubelet version matches the cluster control plane version.")
			i.Resources = append(i.Resources, nodeResource(n, failing))
		}
	}
	return i
}

func kubeProxyRollback(f facts) ekstypes.Insight {
	i := newInsight(ekstypes.CategoryRollbackReadiness, "kube-proxy version rollback compatibility", f.rollback,
		"Checks version of kube-proxy in cluster to see if rollback would cause non compliance with supported Kubernetes kube-proxy version skew policy.",
		"Roll back kube-proxy to the previous Kubernetes version before you roll back the cluster.",
		map[string]string{"Rollback cluster to previous Kubernetes version": rollbackGuide})
	set(&i, passing, "kube-proxy versions are compatible with the previous Kubernetes version.")
	if ahead, ok := eksversions.Minors(f.rollback, f.kubeProxy); ok && ahead > 0 {
		set(&i, failing, "The kube-proxy version matches the cluster control plane version.")
	}
	return i
}

func addonRollback(f facts) ekstypes.Insight {
	i := newInsight(ekstypes.CategoryRollbackReadiness, "EKS add-on version rollback compatibility", f.rollback,
		"Checks version of installed EKS add-ons to ensure they are compatible with the previous version of Kubernetes.",
		"Downgrade your EKS add-ons to a version that is compatible with the previous version of Kubernetes.",
		map[string]string{"Rollback cluster to previous Kubernetes version": rollbackGuide})
	checkAddons(&i, f, f.rollback, "previous")
	return i
}

const rollbackGuide = "https://docs.aws.amazon.com/eks/latest/userguide/rollback-cluster.html"
