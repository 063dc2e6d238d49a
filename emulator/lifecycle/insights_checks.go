package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/fixtures/addons"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// facts is what the insight checks look at; the checks are pure.
type facts struct {
	version string // the cluster's
	// rollback is the version that the cluster can go back to, empty for none.
	rollback  string
	now       time.Time
	nodes     []nodeFacts
	kubeProxy string // minor version, empty if unknown
	addons    []*ekssvc.Addon
	health    []ekstypes.ClusterIssue
	uses      []*ekssvc.DeprecatedUse
}

type nodeFacts struct{ name, kubelet, osImage string }

// next is the version that an update would lead to, empty for the newest.
func (f facts) next() string {
	for _, v := range eksversions.All() {
		if n, ok := eksversions.Minors(f.version, v.Minor); ok && n == 1 {
			return v.Minor
		}
	}
	return ""
}

// checkAll runs every check. Names, descriptions and reasons are those of the EKS
// user guide ("View cluster insights") where it shows them.
func checkAll(f facts) []ekstypes.Insight {
	out := deprecatedAPIs(f)
	if next := f.next(); next != "" {
		out = append(out, kubeletSkew(f, next), kubeProxySkew(f, next), addonCompatibility(f, next), clusterHealth(f, next), amazonLinux2(f, next))
	}
	if f.rollback != "" {
		out = append(out, kubeletRollback(f), kubeProxyRollback(f), addonRollback(f))
	}
	return out
}

const (
	passing = ekstypes.InsightStatusValuePassing
	warning = ekstypes.InsightStatusValueWarning
	failing = ekstypes.InsightStatusValueError
	unknown = ekstypes.InsightStatusValueUnknown
)

func newInsight(category ekstypes.Category, name, version, description, recommendation string, info map[string]string) ekstypes.Insight {
	return ekstypes.Insight{
		Category: category, Name: &name, KubernetesVersion: &version, Description: &description, Recommendation: &recommendation, AdditionalInfo: info,
		Resources: []ekstypes.InsightResourceDetail{}, InsightStatus: &ekstypes.InsightStatus{},
		CategorySpecificSummary: &ekstypes.InsightCategorySpecificSummary{
			DeprecationDetails: []ekstypes.DeprecationDetail{}, AddonCompatibilityDetails: []ekstypes.AddonCompatibilityDetail{},
		},
	}
}

func set(i *ekstypes.Insight, status ekstypes.InsightStatusValue, reason string) {
	i.InsightStatus = &ekstypes.InsightStatus{Status: status, Reason: &reason}
}

// removal is an API that clusters of these versions serve and a later one does not
// (k8s.io/api, prerelease lifecycle; betaAPIs of the control plane says which are
// on).
type removal struct {
	group, version  string
	resources       []string
	removed         string
	replacement     string // the version that replaces it
	servedSince     string // since when that is served
	servedByCluster string // the cluster version that still serves it
}

var removals = []removal{
	{"storage.k8s.io", "v1beta1", []string{"volumeattributesclasses"}, "1.37", "v1", "1.34", "1.33"},
	{"resource.k8s.io", "v1beta1", []string{"deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"}, "1.38", "v1", "1.34", "1.33"},
}

// deprecatedAPIs is an insight for each coming version that removes something that
// the cluster serves or that its clients have called, and always for the next.
func deprecatedAPIs(f facts) []ekstypes.Insight {
	var versions []string
	add := func(v string) {
		if n, ok := eksversions.Minors(f.version, v); ok && n > 0 && !slices.Contains(versions, v) {
			versions = append(versions, v)
		}
	}
	add(f.next())
	for _, r := range removals {
		if r.servedByCluster == f.version {
			add(r.removed)
		}
	}
	for _, u := range f.uses {
		if u.Recent(f.now) > 0 {
			add(u.RemovedRelease)
		}
	}
	slices.SortFunc(versions, eksversions.Compare)
	var out []ekstypes.Insight
	for _, v := range versions {
		out = append(out, deprecatedAPIsIn(f, v))
	}
	return out
}

func deprecatedAPIsIn(f facts, v string) ekstypes.Insight {
	i := newInsight(ekstypes.CategoryUpgradeReadiness, "Deprecated APIs removed in Kubernetes v"+v, v,
		fmt.Sprintf("Checks for usage of deprecated APIs that are scheduled for removal in Kubernetes v%s. Upgrading your cluster before migrating to the updated APIs supported by v%s could cause application impact.", v, v),
		fmt.Sprintf("Update manifests and API clients to use newer Kubernetes APIs if applicable before upgrading to Kubernetes v%s.", v),
		map[string]string{
			"EKS update cluster documentation":                 "https://docs.aws.amazon.com/eks/latest/userguide/update-cluster.html",
			fmt.Sprintf("Kubernetes v%s deprecation guide", v): "https://kubernetes.io/docs/reference/using-api/deprecation-guide/#v" + strings.ReplaceAll(v, ".", "-"),
		})
	set(&i, passing, "No deprecated API usage detected within the last 30 days.")
	details := deprecationDetails(f, v)
	for _, d := range details {
		if len(d.ClientStats) == 0 {
			continue
		}
		status := warning // N+2 and later
		if v == f.next() {
			status = failing
		}
		set(&i, status, fmt.Sprintf("Deprecated API usage detected within last 30 days and your cluster is on Kubernetes v%s.", f.version))
		i.Resources = append(i.Resources, ekstypes.InsightResourceDetail{
			KubernetesResourceUri: d.Usage, InsightStatus: &ekstypes.InsightStatus{Status: status},
		})
	}
	i.CategorySpecificSummary.DeprecationDetails = details
	return i
}

// deprecationDetails lists the APIs that a version removes, with their clients.
func deprecationDetails(f facts, v string) []ekstypes.DeprecationDetail {
	out := []ekstypes.DeprecationDetail{}
	byUsage := map[string]int{}
	add := func(d ekstypes.DeprecationDetail) int {
		d.ClientStats = []ekstypes.ClientStat{}
		d.StopServingVersion = aws.String(v)
		out = append(out, d)
		byUsage[*d.Usage] = len(out) - 1
		return len(out) - 1
	}
	for _, r := range removals {
		if r.removed != v || r.servedByCluster != f.version {
			continue
		}
		for _, resource := range r.resources {
			add(ekstypes.DeprecationDetail{
				Usage: aws.String(apiPath(r.group, r.version, resource)), ReplacedWith: aws.String(apiPath(r.group, r.replacement, resource)),
				StartServingReplacementVersion: aws.String(r.servedSince),
			})
		}
	}
	for _, u := range f.uses {
		n := u.Recent(f.now)
		if n == 0 || u.RemovedRelease != v {
			continue
		}
		usage := apiPath(u.Group, u.Version, u.Resource)
		at, ok := byUsage[usage]
		if !ok {
			at = add(ekstypes.DeprecationDetail{Usage: &usage})
		}
		last := u.Last.UTC().Truncate(time.Second)
		out[at].ClientStats = append(out[at].ClientStats, ekstypes.ClientStat{UserAgent: aws.String(u.UserAgent), NumberOfRequestsLast30Days: n, LastRequestTime: &last})
	}
	for i := range out {
		slices.SortFunc(out[i].ClientStats, func(a, b ekstypes.ClientStat) int { return b.LastRequestTime.Compare(*a.LastRequestTime) })
	}
	return out
}

func apiPath(group, version, resource string) string {
	if group == "" {
		return "/api/" + version + "/" + resource
	}
	return "/apis/" + group + "/" + version + "/" + resource
}

// maxKubeletSkew is how many minor versions a kubelet may be behind its API server
// (Kubernetes, "Version Skew Policy").
const maxKubeletSkew = 3

func kubeletSkew(f facts, next string) ekstypes.Insight {
	i := newInsight(ekstypes.CategoryUpgradeReadiness, "Kubelet version skew", next,
		"Checks for kubelet versions of worker nodes in the cluster to see if upgrade would cause non compliance with supported Kubernetes kubelet version skew policy.",
		"Upgrade your worker nodes to match the Kubernetes version of your cluster control plane.",
		map[string]string{
			"Kubelet version skew policy":   "https://kubernetes.io/releases/version-skew-policy/#kubelet",
			"Updating a managed node group": "https://docs.aws.amazon.com/eks/latest/userguide/update-managed-node-group.html",
		})
	status, reason := passing, "Node kubelet versions match the cluster control plane version."
	known := 0
	for _, n := range f.nodes {
		behind, ok := eksversions.Minors(n.kubelet, f.version)
		if !ok {
			continue
		}
		known++
		switch {
		case behind >= maxKubeletSkew: // one more after the update
			status, reason = failing, "Node kubelet versions would violate the kubelet version skew policy after an upgrade."
			i.Resources = append(i.Resources, nodeResource(n, failing))
		case behind > 0:
			if status == passing {
				status, reason = warning, "Node kubelet versions are behind the cluster control plane version."
			}
			i.Resources = append(i.Resources, nodeResource(n, warning))
		}
	}
	if known == 0 {
		status, reason = unknown, "Unable to determine status of node kubelet versions."
	}
	set(&i, status, reason)
	return i
}

func nodeResource(n nodeFacts, status ekstypes.InsightStatusValue) ekstypes.InsightResourceDetail {
	return ekstypes.InsightResourceDetail{
		KubernetesResourceUri: aws.String("/api/v1/nodes/" + n.name),
		InsightStatus:         &ekstypes.InsightStatus{Status: status, Reason: aws.String("The kubelet version is " + n.kubelet + ".")},
	}
}

func kubeProxySkew(f facts, next string) ekstypes.Insight {
	i := newInsight(ekstypes.CategoryUpgradeReadiness, "kube-proxy version skew", next,
		"Checks version of kube-proxy in cluster to see if upgrade would cause non compliance with supported Kubernetes kube-proxy version skew policy.",
		"Upgrade kube-proxy to match the Kubernetes version of your cluster control plane.",
		map[string]string{
			"kube-proxy version skew policy": "https://kubernetes.io/releases/version-skew-policy/#kube-proxy",
			"Updating kube-proxy":            "https://docs.aws.amazon.com/eks/latest/userguide/managing-kube-proxy.html",
		})
	behind, ok := eksversions.Minors(f.kubeProxy, f.version)
	switch {
	case !ok:
		set(&i, unknown, "Unable to determine status of kube-proxy versions.")
	case behind >= maxKubeletSkew:
		set(&i, failing, "The kube-proxy version would violate the kube-proxy version skew policy after an upgrade.")
	case behind > 0:
		set(&i, warning, "The kube-proxy version is behind the cluster control plane version.")
	default:
		set(&i, passing, "kube-proxy versions match the cluster control plane version.")
	}
	return i
}

func addonCompatibility(f facts, next string) ekstypes.Insight {
	i := newInsight(ekstypes.CategoryUpgradeReadiness, "EKS add-on version compatibility", next,
		"Checks version of installed EKS add-ons to ensure they are compatible with the next version of Kubernetes. ",
		"Upgrade your EKS add-ons to a version that is compatible with the next version of Kubernetes.",
		map[string]string{"Updating an Amazon EKS add-on": "https://docs.aws.amazon.com/eks/latest/userguide/updating-an-add-on.html"})
	checkAddons(&i, f, next, "next")
	return i
}

// checkAddons sets the status by the installed add-ons' versions.
func checkAddons(i *ekstypes.Insight, f facts, version, which string) {
	set(i, passing, "All installed EKS add-on versions are compatible with "+which+" Kubernetes version.")
	for _, a := range f.addons {
		name := aws.ToString(a.Resource.AddonName)
		d, ok := addons.Get(name)
		if !ok {
			continue
		}
		if which == "next" {
			i.CategorySpecificSummary.AddonCompatibilityDetails = append(i.CategorySpecificSummary.AddonCompatibilityDetails, ekstypes.AddonCompatibilityDetail{
				Name: &name, CompatibleVersions: compatible(d, version),
			})
		}
		if d.Supports(aws.ToString(a.Resource.AddonVersion), version) {
			continue
		}
		set(i, failing, "At least one installed EKS add-on version is not compatible with "+which+" Kubernetes version.")
		i.Resources = append(i.Resources, ekstypes.InsightResourceDetail{
			Arn: a.Resource.AddonArn, InsightStatus: &ekstypes.InsightStatus{Status: failing, Reason: aws.String(
				fmt.Sprintf("Version %s of add-on %s is not compatible with Kubernetes %s.", aws.ToString(a.Resource.AddonVersion), name, version))},
		})
	}
}

func compatible(d addons.Addon, version string) []string {
	out := []string{}
	for _, v := range d.Versions {
		if slices.Contains(v.Kubernetes, version) {
			out = append(out, v.Version)
		}
	}
	return out
}

func clusterHealth(f facts, next string) ekstypes.Insight {
	i := newInsight(ekstypes.CategoryUpgradeReadiness, "Cluster health issues", next,
		"Checks for any cluster health issues that prevent successful upgrade to the next Kubernetes version on EKS.",
		"Resolve the cluster health issues before you upgrade the cluster.",
		map[string]string{"Cluster health FAQs and error codes": "https://docs.aws.amazon.com/eks/latest/userguide/troubleshooting.html#cluster-health-status"})
	set(&i, passing, "No cluster health issues detected.")
	for _, h := range f.health {
		set(&i, failing, "Cluster health issues detected.")
		i.Resources = append(i.Resources, ekstypes.InsightResourceDetail{
			InsightStatus: &ekstypes.InsightStatus{Status: failing, Reason: aws.String(string(h.Code) + ": " + aws.ToString(h.Message))},
		})
	}
	return i
}

func amazonLinux2(f facts, next string) ekstypes.Insight {
	i := newInsight(ekstypes.CategoryUpgradeReadiness, "Amazon Linux 2 compatibility", next,
		"Checks for worker nodes that run Amazon Linux 2, for which EKS publishes no AMIs from Kubernetes v1.33 on.",
		"Migrate your worker nodes to Amazon Linux 2023 or Bottlerocket.",
		map[string]string{"EKS AL2 AMI deprecation": "https://docs.aws.amazon.com/eks/latest/userguide/eks-ami-deprecation-faqs.html"})
	set(&i, passing, "No Amazon Linux 2 nodes detected.")
	for _, n := range f.nodes {
		if n.osImage == "Amazon Linux 2" || strings.HasPrefix(n.osImage, "Amazon Linux 2 ") {
			set(&i, failing, "Amazon Linux 2 nodes detected.")
			i.Resources = append(i.Resources, ekstypes.InsightResourceDetail{
				KubernetesResourceUri: aws.String("/api/v1/nodes/" + n.name), InsightStatus: &ekstypes.InsightStatus{Status: failing, Reason: aws.String(n.osImage)},
			})
		}
	}
	return i
}
