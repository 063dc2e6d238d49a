package lifecycle

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/fixtures/addons"
)

var checkedAt = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func installed(name, version string) *ekssvc.Addon {
	return &ekssvc.Addon{Resource: ekstypes.Addon{AddonName: &name, AddonVersion: &version, AddonArn: aws.String("arn:" + name)}}
}

func used(release, agent string, n int32) *ekssvc.DeprecatedUse {
	return &ekssvc.DeprecatedUse{
		Group: "policy", Version: "v1beta1", Resource: "things", RemovedRelease: release, UserAgent: agent,
		Days: map[string]int32{checkedAt.Format(time.DateOnly): n}, Last: checkedAt,
	}
}

// TestInsightStatuses: for each fact the status of the check that it decides.
func TestInsightStatuses(t *testing.T) {
	coredns, _ := addons.Get("coredns")
	for _, tc := range []struct {
		name, insight string
		change        func(*facts)
		want          ekstypes.InsightStatusValue
	}{
		{"no nodes", "Kubelet version skew", func(*facts) {}, unknown},
		{"nodes as new as the cluster", "Kubelet version skew", func(f *facts) { f.nodes = []nodeFacts{{"n", "1.34", ""}} }, passing},
		{"a node one behind", "Kubelet version skew", func(f *facts) { f.nodes = []nodeFacts{{"n", "1.34", ""}, {"m", "1.33", ""}} }, warning},
		{"a node three behind", "Kubelet version skew", func(f *facts) { f.nodes = []nodeFacts{{"n", "1.33", ""}, {"m", "1.31", ""}} }, failing},
		{"no kube-proxy", "kube-proxy version skew", func(*facts) {}, unknown},
		{"kube-proxy", "kube-proxy version skew", func(f *facts) { f.kubeProxy = "1.34" }, passing},
		{"kube-proxy behind", "kube-proxy version skew", func(f *facts) { f.kubeProxy = "1.32" }, warning},
		{"kube-proxy far behind", "kube-proxy version skew", func(f *facts) { f.kubeProxy = "1.31" }, failing},
		{"no add-ons", "EKS add-on version compatibility", func(*facts) {}, passing},
		{"an add-on that goes on", "EKS add-on version compatibility", func(f *facts) { f.addons = []*ekssvc.Addon{installed("coredns", coredns.Default("1.35"))} }, passing},
		{"an add-on that does not", "EKS add-on version compatibility", func(f *facts) { f.addons = []*ekssvc.Addon{installed("coredns", "v0.0.1")} }, failing},
		{"healthy", "Cluster health issues", func(*facts) {}, passing},
		{"ill", "Cluster health issues", func(f *facts) { f.health = []ekstypes.ClusterIssue{{Code: "X", Message: aws.String("m")}} }, failing},
		{"Amazon Linux 2023", "Amazon Linux 2 compatibility", func(f *facts) { f.nodes = []nodeFacts{{"n", "1.34", "Amazon Linux 2023.9"}} }, passing},
		{"Amazon Linux 2", "Amazon Linux 2 compatibility", func(f *facts) { f.nodes = []nodeFacts{{"n", "1.34", "Amazon Linux 2"}} }, failing},
		{"nothing deprecated", "Deprecated APIs removed in Kubernetes v1.35", func(*facts) {}, passing},
		{"removed by the next version", "Deprecated APIs removed in Kubernetes v1.35", func(f *facts) { f.uses = []*ekssvc.DeprecatedUse{used("1.35", "a", 1)} }, failing},
		{"removed later", "Deprecated APIs removed in Kubernetes v1.38", func(f *facts) { f.uses = []*ekssvc.DeprecatedUse{used("1.38", "a", 1)} }, warning},
		{"long ago", "Deprecated APIs removed in Kubernetes v1.35", func(f *facts) {
			f.uses, f.now = []*ekssvc.DeprecatedUse{used("1.35", "a", 1)}, checkedAt.AddDate(0, 0, 31)
		}, passing},
		{"new kubelets", "Kubelet version rollback compatibility", func(f *facts) { f.rollback, f.nodes = "1.33", []nodeFacts{{"n", "1.34", ""}} }, failing},
		{"old kubelets", "Kubelet version rollback compatibility", func(f *facts) { f.rollback, f.nodes = "1.33", []nodeFacts{{"n", "1.33", ""}} }, passing},
		{"new kube-proxy", "kube-proxy version rollback compatibility", func(f *facts) { f.rollback, f.kubeProxy = "1.33", "1.34" }, failing},
		{"an add-on that cannot go back", "EKS add-on version rollback compatibility", func(f *facts) {
			f.rollback, f.addons = "1.33", []*ekssvc.Addon{installed("coredns", "v9.9.9")}
		}, failing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := facts{version: "1.34", now: checkedAt}
			tc.change(&f)
			found := false
			for _, i := range checkAll(f) {
				if *i.Name != tc.insight {
					continue
				}
				found = true
				if i.InsightStatus.Status != tc.want || aws.ToString(i.InsightStatus.Reason) == "" {
					t.Errorf("it is %s: %s", i.InsightStatus.Status, aws.ToString(i.InsightStatus.Reason))
				}
				if bad := i.InsightStatus.Status == failing || i.InsightStatus.Status == warning; bad && len(i.Resources) == 0 && i.CategorySpecificSummary != nil && tc.insight != "kube-proxy version skew" && tc.insight != "kube-proxy version rollback compatibility" {
					t.Error("it names no resource")
				}
			}
			if !found {
				t.Error("there is no such insight")
			}
		})
	}
}

func TestInsightsOfNewestVersion(t *testing.T) {
	var names []string
	for _, i := range checkAll(facts{version: "1.36", now: checkedAt, uses: []*ekssvc.DeprecatedUse{used("1.42", "a", 1), used("", "b", 9)}}) {
		names = append(names, *i.Name)
	}
	if d := cmp.Diff([]string{"Deprecated APIs removed in Kubernetes v1.42"}, names); d != "" {
		t.Error(d)
	}
}

func TestDeprecationDetails(t *testing.T) {
	later := used("1.37", "new", 2)
	later.Last = checkedAt.Add(time.Hour)
	f := facts{version: "1.33", now: checkedAt.Add(2 * time.Hour), uses: []*ekssvc.DeprecatedUse{used("1.37", "old", 1), later}}
	got := deprecationDetails(f, "1.37")
	if len(got) != 2 || *got[0].Usage != "/apis/storage.k8s.io/v1beta1/volumeattributesclasses" || len(got[0].ClientStats) != 0 {
		t.Fatalf("got %+v", got)
	}
	if s := got[1].ClientStats; *got[1].Usage != "/apis/policy/v1beta1/things" || len(s) != 2 || *s[0].UserAgent != "new" || s[0].NumberOfRequestsLast30Days != 2 || !s[1].LastRequestTime.Equal(checkedAt) {
		t.Errorf("clients are %+v", s)
	}
}
