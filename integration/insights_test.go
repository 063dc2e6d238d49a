package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func (w *world) insights(t *testing.T, cluster string, f *ekstypes.InsightsFilter) map[string]ekstypes.InsightSummary {
	t.Helper()
	out := map[string]ekstypes.InsightSummary{}
	p := eks.NewListInsightsPaginator(w.eks, &eks.ListInsightsInput{ClusterName: &cluster, Filter: f, MaxResults: aws.Int32(2)})
	for p.HasMorePages() {
		page := must(p.NextPage(t.Context()))(t)
		for _, i := range page.Insights {
			out[*i.Name] = i
		}
	}
	return out
}

// refresh asks for a refresh and waits for its end.
func (w *world) refresh(t *testing.T, cluster string) {
	t.Helper()
	r := must(w.eks.StartInsightsRefresh(t.Context(), &eks.StartInsightsRefreshInput{ClusterName: &cluster}))(t)
	if r.Status != ekstypes.InsightsRefreshStatusInProgress || aws.ToString(r.Message) != "Insights refresh is in progress" {
		t.Errorf("a new refresh is %s: %s", r.Status, aws.ToString(r.Message))
	}
	eventually(t, fargatePatience, "the refresh has ended", func() error {
		d, err := w.eks.DescribeInsightsRefresh(t.Context(), &eks.DescribeInsightsRefreshInput{ClusterName: &cluster})
		if err != nil {
			return err
		}
		if d.Status != ekstypes.InsightsRefreshStatusCompleted || d.EndedAt == nil || d.EndedAt.Before(*d.StartedAt) {
			return fmt.Errorf("it is %+v", d)
		}
		return nil
	})
}

// agent is a client with a user agent of its own.
func (k *kube) agent(t *testing.T, name string) *kubernetes.Clientset {
	t.Helper()
	c := rest.CopyConfig(k.cfg)
	c.UserAgent, c.WarningHandler = name, rest.NoWarnings{}
	return must(kubernetes.NewForConfig(c))(t)
}

const deprecatedIn137 = "Deprecated APIs removed in Kubernetes v1.37"

// TestInsights: Kubernetes 1.33 as EKS runs it serves a beta API that 1.37 removes;
// whoever calls it shows up, also after a crash.
func TestInsights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	c := w.cluster(t, "up", func(in *eks.CreateClusterInput) { in.Version = aws.String("1.33") })
	k := w.kube(t, c)
	eventually(t, fargatePatience, "a new cluster is checked by itself", func() error {
		out, err := w.eks.ListInsights(ctx, &eks.ListInsightsInput{ClusterName: aws.String("up")})
		if err == nil && len(out.Insights) == 0 {
			err = fmt.Errorf("there is no insight")
		}
		return err
	})
	_, err := w.eks.DescribeInsightsRefresh(ctx, &eks.DescribeInsightsRefreshInput{ClusterName: aws.String("up")})
	if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
		t.Errorf("a refresh that nobody asked for: %v", err)
	}
	all := w.insights(t, "up", nil)
	for name, want := range map[string]ekstypes.InsightStatusValue{
		"Deprecated APIs removed in Kubernetes v1.34": ekstypes.InsightStatusValuePassing,
		deprecatedIn137:                    ekstypes.InsightStatusValuePassing,
		"Kubelet version skew":             ekstypes.InsightStatusValueUnknown, // no nodes
		"kube-proxy version skew":          ekstypes.InsightStatusValuePassing,
		"EKS add-on version compatibility": ekstypes.InsightStatusValuePassing,
		"Cluster health issues":            ekstypes.InsightStatusValuePassing,
		"Amazon Linux 2 compatibility":     ekstypes.InsightStatusValuePassing,
	} {
		if got := all[name]; got.InsightStatus == nil || got.InsightStatus.Status != want || got.Category != ekstypes.CategoryUpgradeReadiness {
			t.Errorf("%s: %+v, want %s", name, got.InsightStatus, want)
		}
	}

	for range 3 {
		must(k.agent(t, "old-tool/v1.2").StorageV1beta1().VolumeAttributesClasses().List(ctx, metav1.ListOptions{}))(t)
	}
	must(k.agent(t, "other/v3").StorageV1beta1().VolumeAttributesClasses().List(ctx, metav1.ListOptions{}))(t)
	must(k.agent(t, "modern/v1").StorageV1().StorageClasses().List(ctx, metav1.ListOptions{}))(t)
	detail := w.awaitUse(t, "up", "old-tool/v1.2", 3)
	if *detail.Usage != "/apis/storage.k8s.io/v1beta1/volumeattributesclasses" || *detail.ReplacedWith != "/apis/storage.k8s.io/v1/volumeattributesclasses" ||
		*detail.StopServingVersion != "1.37" || *detail.StartServingReplacementVersion != "1.34" {
		t.Errorf("the detail is %+v", detail)
	}
	for _, s := range detail.ClientStats {
		if strings.HasPrefix(*s.UserAgent, "modern") || s.LastRequestTime == nil || time.Since(*s.LastRequestTime).Abs() > 10*time.Minute {
			t.Errorf("a client is %s at %v", *s.UserAgent, s.LastRequestTime)
		}
	}
	if got := w.insights(t, "up", &ekstypes.InsightsFilter{Statuses: []ekstypes.InsightStatusValue{ekstypes.InsightStatusValueWarning}}); len(got) != 1 || got[deprecatedIn137].Id == nil {
		t.Errorf("warnings: %v", got)
	}
	if got := w.insights(t, "up", &ekstypes.InsightsFilter{KubernetesVersions: []string{"1.37"}}); len(got) != 1 {
		t.Errorf("of 1.37: %v", got)
	}
	if got := w.insights(t, "up", &ekstypes.InsightsFilter{Categories: []ekstypes.Category{ekstypes.CategoryMisconfiguration}}); len(got) != 0 {
		t.Errorf("misconfigurations without hybrid nodes: %v", got)
	}

	w.kill()
	w.run()
	w.clusterIs(t, "up", ekstypes.ClusterStatusActive)
	w.awaitUse(t, "up", "old-tool/v1.2", 3)
}

// awaitUse refreshes until the insight counts the client's requests.
func (w *world) awaitUse(t *testing.T, cluster, agent string, n int32) ekstypes.DeprecationDetail {
	t.Helper()
	var found ekstypes.DeprecationDetail
	eventually(t, fargatePatience, agent+" is counted", func() error {
		w.refresh(t, cluster)
		i := w.insights(t, cluster, nil)[deprecatedIn137]
		d := must(w.eks.DescribeInsight(t.Context(), &eks.DescribeInsightInput{ClusterName: &cluster, Id: i.Id}))(t)
		for _, detail := range d.Insight.CategorySpecificSummary.DeprecationDetails {
			for _, s := range detail.ClientStats {
				if *s.UserAgent == agent && s.NumberOfRequestsLast30Days == n && d.Insight.InsightStatus.Status == ekstypes.InsightStatusValueWarning {
					found = detail
					return nil
				}
			}
		}
		return fmt.Errorf("the insight is %+v: %+v", d.Insight.InsightStatus, d.Insight.CategorySpecificSummary.DeprecationDetails)
	})
	return found
}

// TestRollback updates a cluster, finds out by insights what is in the way back, and
// goes back.
func TestRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	cluster := aws.String("back")
	c := w.cluster(t, "back", func(in *eks.CreateClusterInput) { in.Version = aws.String("1.34") })
	update := func(version string, change ...func(*eks.UpdateClusterVersionInput)) (*ekstypes.Update, error) {
		in := &eks.UpdateClusterVersionInput{Name: cluster, Version: &version}
		for _, f := range change {
			f(in)
		}
		out, err := w.eks.UpdateClusterVersion(ctx, in)
		if err != nil {
			return nil, err
		}
		return out.Update, nil
	}
	ends := func(u *ekstypes.Update, want ekstypes.UpdateStatus) *ekstypes.Update {
		t.Helper()
		var last *ekstypes.Update
		eventually(t, fargatePatience, "the update is "+string(want), func() error {
			d, err := w.eks.DescribeUpdate(ctx, &eks.DescribeUpdateInput{Name: cluster, UpdateId: u.Id})
			if err != nil {
				return err
			}
			if last = d.Update; last.Status != want {
				return fmt.Errorf("it is %+v", last)
			}
			return nil
		})
		return last
	}
	if _, err := update("1.33"); errorAs[*ekstypes.InvalidParameterException](err) == nil {
		t.Errorf("back from the version that it was made at: %v", err)
	}
	up := must(update("1.35"))(t)
	if _, err := w.eks.CancelUpdate(ctx, &eks.CancelUpdateInput{Name: cluster, UpdateId: up.Id}); errorAs[*ekstypes.InvalidRequestException](err) == nil {
		t.Errorf("cancelling an update: %v", err)
	}
	ends(up, ekstypes.UpdateStatusSuccessful)

	// A kubelet as new as the control plane is in the way.
	k := w.kube(t, c)
	node := must(k.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "mine", Labels: map[string]string{"eks.amazonaws.com/compute-type": "auto"}},
		Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.35.0-eks-1"}},
	}, metav1.CreateOptions{}))(t)
	eventually(t, fargatePatience, "the rollback is refused", func() error {
		_, err := update("1.34")
		if errorAs[*ekstypes.InvalidStateException](err) == nil || !strings.Contains(err.Error(), "Kubelet version rollback compatibility") {
			t.Fatalf("back with a new kubelet: %v", err)
		}
		return nil
	})
	got := w.insights(t, "back", &ekstypes.InsightsFilter{Categories: []ekstypes.Category{ekstypes.CategoryRollbackReadiness}})
	if i := got["Kubelet version rollback compatibility"]; i.InsightStatus == nil || i.InsightStatus.Status != ekstypes.InsightStatusValueError ||
		*i.InsightStatus.Reason != "At least one node kubelet version matches the cluster control plane version." || *i.KubernetesVersion != "1.34" {
		t.Errorf("the insight is %+v", i.InsightStatus)
	}

	t.Run("Auto Mode waits for its nodes, and can be cancelled", func(t *testing.T) {
		on := true
		must(w.eks.UpdateClusterConfig(ctx, &eks.UpdateClusterConfigInput{
			Name: cluster, ComputeConfig: &ekstypes.ComputeConfigRequest{Enabled: &on},
			StorageConfig:           &ekstypes.StorageConfigRequest{BlockStorage: &ekstypes.BlockStorage{Enabled: &on}},
			KubernetesNetworkConfig: &ekstypes.KubernetesNetworkConfigRequest{ElasticLoadBalancing: &ekstypes.ElasticLoadBalancing{Enabled: &on}},
		}))(t)
		w.clusterIs(t, "back", ekstypes.ClusterStatusActive)
		u := must(update("1.34", func(in *eks.UpdateClusterVersionInput) { in.Force = true }))(t)
		if u.Type != ekstypes.UpdateTypeVersionRollback {
			t.Errorf("the update is a %s", u.Type)
		}
		if now := w.clusterIs(t, "back", ekstypes.ClusterStatusActive); *now.Version != "1.35" {
			t.Errorf("while nodes go the cluster is at %s", *now.Version)
		}
		if _, err := update("1.36"); errorAs[*ekstypes.ResourceInUseException](err) == nil {
			t.Errorf("another update meanwhile: %v", err)
		}
		out := must(w.eks.CancelUpdate(ctx, &eks.CancelUpdateInput{Name: cluster, UpdateId: u.Id}))(t)
		if out.Update.Cancellation == nil {
			t.Errorf("the answer is %+v", out.Update)
		}
		if u := ends(u, ekstypes.UpdateStatusCancelled); u.Cancellation == nil || u.Cancellation.Status != ekstypes.CancellationStatusSuccessful {
			t.Errorf("the cancellation is %+v", u.Cancellation)
		}
		if v := must(k.Discovery().ServerVersion())(t); v.Minor != "35" {
			t.Errorf("the API server is at %s", v.GitVersion)
		}
	})

	if err := k.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	must(k.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "stays"}}, metav1.CreateOptions{}))(t)
	// kube-proxy is still of the older version: bootstrapped with the cluster.
	var back *ekstypes.Update
	eventually(t, fargatePatience, "the rollback starts", func() (err error) {
		back, err = update("1.34") // the watch may show the node for a moment
		return err
	})
	ends(back, ekstypes.UpdateStatusSuccessful)
	if now := w.clusterIs(t, "back", ekstypes.ClusterStatusActive); *now.Version != "1.34" {
		t.Errorf("the cluster is at %s", *now.Version)
	}
	eventually(t, fargatePatience, "the API server is at 1.34", func() error {
		v, err := k.Discovery().ServerVersion() // the old one still drains this connection
		if err == nil && v.Minor != "34" {
			err = errors.New(v.GitVersion)
		}
		return err
	})
	must(k.CoreV1().Namespaces().Get(ctx, "stays", metav1.GetOptions{}))(t)
	if _, err := update("1.33"); errorAs[*ekstypes.InvalidParameterException](err) == nil {
		t.Errorf("two versions back: %v", err)
	}
}
