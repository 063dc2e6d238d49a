package eks

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// The tables of cluster insights. The lifecycle computes insights, at first when a
// cluster becomes ACTIVE, then every day and when a refresh is asked for.
const (
	Insights          = store.Table[Insight]("eks-insights")                   // id: ChildID(cluster, insight id)
	InsightsRefreshes = store.Table[InsightsRefresh]("eks-insights-refreshes") // id: cluster
)

// Insight is one check of a cluster and its result.
type Insight struct {
	// Resource is what DescribeInsight shows.
	Resource ekstypes.Insight
	Scope    awsid.Scope
	Cluster  string
}

// InsightsRefresh is a cluster's latest refresh, of which DescribeInsightsRefresh
// shows those that were asked for.
type InsightsRefresh struct {
	Scope   awsid.Scope
	Cluster string
	Status  ekstypes.InsightsRefreshStatus
	Message string
	// OnDemand tells that somebody called StartInsightsRefresh.
	OnDemand           bool
	StartedAt, EndedAt *time.Time
}

// The messages of a refresh ("View cluster insights", of the first).
const (
	refreshRunning = "Insights refresh is in progress"
	refreshDone    = "Insights refresh completed"
)

// Finish ends the refresh at t.
func (r *InsightsRefresh) Finish(t time.Time) {
	r.Status, r.Message, r.EndedAt = ekstypes.InsightsRefreshStatusCompleted, refreshDone, &t
}

// ListInsights implements eks:ListInsights.
func (s *Service) ListInsights(ctx context.Context, in *eks.ListInsightsInput, _ ...func(*eks.Options)) (*eks.ListInsightsOutput, error) {
	scope, a := awsid.CallerFrom(ctx).Scope, about{cluster: aws.ToString(in.ClusterName)}
	if _, err := readCluster(s.store, scope, a.cluster); err != nil {
		return nil, err
	}
	f := in.Filter
	if f == nil {
		f = &ekstypes.InsightsFilter{}
	}
	if err := checkInsightsFilter(a, f); err != nil {
		return nil, err
	}
	var all []ekstypes.InsightSummary
	for _, i := range Insights.ListPrefix(s.store, scope, ClusterPrefix(a.cluster)) {
		r := i.Resource
		if len(f.Categories) > 0 && !slices.Contains(f.Categories, r.Category) ||
			len(f.Statuses) > 0 && !slices.Contains(f.Statuses, r.InsightStatus.Status) ||
			len(f.KubernetesVersions) > 0 && !slices.Contains(f.KubernetesVersions, aws.ToString(r.KubernetesVersion)) {
			continue
		}
		all = append(all, ekstypes.InsightSummary{
			Id: r.Id, Name: r.Name, Category: r.Category, KubernetesVersion: r.KubernetesVersion, Description: r.Description,
			InsightStatus: r.InsightStatus, LastRefreshTime: r.LastRefreshTime, LastTransitionTime: r.LastTransitionTime,
		})
	}
	all, next, err := page("ListInsights", all, func(i ekstypes.InsightSummary) string { return *i.Id }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListInsightsOutput{Insights: all, NextToken: next}, nil
}

func checkInsightsFilter(a about, f *ekstypes.InsightsFilter) error {
	for _, c := range f.Categories {
		if !slices.Contains(c.Values(), c) {
			return a.invalidParameter("Unsupported insight category %s", c)
		}
	}
	for _, st := range f.Statuses {
		if !slices.Contains(st.Values(), st) {
			return a.invalidParameter("Unsupported insight status %s", st)
		}
	}
	return nil
}

// DescribeInsight implements eks:DescribeInsight.
func (s *Service) DescribeInsight(ctx context.Context, in *eks.DescribeInsightInput, _ ...func(*eks.Options)) (*eks.DescribeInsightOutput, error) {
	scope, a := awsid.CallerFrom(ctx).Scope, about{cluster: aws.ToString(in.ClusterName)}
	if _, err := readCluster(s.store, scope, a.cluster); err != nil {
		return nil, err
	}
	i := Insights.Get(s.store, scope, ChildID(a.cluster, aws.ToString(in.Id)))
	if i == nil {
		return nil, a.notFound("No insight found for ID: %s", aws.ToString(in.Id))
	}
	r := i.Resource
	return &eks.DescribeInsightOutput{Insight: &r}, nil
}

// StartInsightsRefresh implements eks:StartInsightsRefresh. One that runs already
// is answered again.
func (s *Service) StartInsightsRefresh(ctx context.Context, in *eks.StartInsightsRefreshInput, _ ...func(*eks.Options)) (*eks.StartInsightsRefreshOutput, error) {
	scope, a := awsid.CallerFrom(ctx).Scope, about{cluster: aws.ToString(in.ClusterName)}
	var r *InsightsRefresh
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readRunningCluster(tx, scope, a); err != nil {
			return err
		}
		if r = InsightsRefreshes.Edit(tx, scope, a.cluster); r != nil && r.Status == ekstypes.InsightsRefreshStatusInProgress && r.OnDemand {
			return nil
		}
		r = &InsightsRefresh{
			Scope: scope, Cluster: a.cluster, OnDemand: true, Status: ekstypes.InsightsRefreshStatusInProgress, Message: refreshRunning, StartedAt: s.now(),
		}
		InsightsRefreshes.Put(tx, scope, a.cluster, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.StartInsightsRefreshOutput{Status: r.Status, Message: &r.Message}, nil
}

// DescribeInsightsRefresh implements eks:DescribeInsightsRefresh.
func (s *Service) DescribeInsightsRefresh(ctx context.Context, in *eks.DescribeInsightsRefreshInput, _ ...func(*eks.Options)) (*eks.DescribeInsightsRefreshOutput, error) {
	scope, a := awsid.CallerFrom(ctx).Scope, about{cluster: aws.ToString(in.ClusterName)}
	if _, err := readCluster(s.store, scope, a.cluster); err != nil {
		return nil, err
	}
	r := InsightsRefreshes.Get(s.store, scope, a.cluster)
	if r == nil || !r.OnDemand {
		return nil, a.notFound("No insights refresh found for cluster: %s.", a.cluster)
	}
	return &eks.DescribeInsightsRefreshOutput{Status: r.Status, Message: ptrOrNil(r.Message), StartedAt: r.StartedAt, EndedAt: r.EndedAt}, nil
}
