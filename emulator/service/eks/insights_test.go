package eks

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func TestListInsightsFilters(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	w.insight("dev", ekstypes.CategoryUpgradeReadiness, "a", ekstypes.InsightStatusValuePassing)
	w.insight("dev", ekstypes.CategoryUpgradeReadiness, "b", ekstypes.InsightStatusValueError)
	w.insight("dev", ekstypes.CategoryRollbackReadiness, "c", ekstypes.InsightStatusValueError)
	for _, tc := range []struct {
		filter *ekstypes.InsightsFilter
		want   []string
	}{
		{nil, []string{"a", "b", "c"}},
		{&ekstypes.InsightsFilter{Statuses: []ekstypes.InsightStatusValue{"ERROR"}}, []string{"b", "c"}},
		{&ekstypes.InsightsFilter{Statuses: []ekstypes.InsightStatusValue{"ERROR"}, Categories: []ekstypes.Category{"UPGRADE_READINESS"}}, []string{"b"}},
		{&ekstypes.InsightsFilter{KubernetesVersions: []string{"1.35"}}, []string{"a", "b", "c"}},
		{&ekstypes.InsightsFilter{KubernetesVersions: []string{"1.36"}}, nil},
	} {
		var got []string
		in := &eks.ListInsightsInput{ClusterName: aws.String("dev"), Filter: tc.filter, MaxResults: aws.Int32(1)}
		for {
			out := must(w.ListInsights(w.ctx, in))
			for _, i := range out.Insights {
				got = append(got, *i.Name)
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				break
			}
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%+v: %s", tc.filter, d)
		}
	}
}

func TestInsightsRefresh(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	cluster := aws.String("dev")
	for range 2 {
		if out := must(w.StartInsightsRefresh(w.ctx, &eks.StartInsightsRefreshInput{ClusterName: cluster})); out.Status != ekstypes.InsightsRefreshStatusInProgress {
			t.Errorf("it is %s", out.Status)
		}
	}
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	w.edit(func(tx *store.Tx) {
		r := InsightsRefreshes.Edit(tx, w.scope, "dev")
		r.Finish(w.clock.Now())
		InsightsRefreshes.Put(tx, w.scope, "dev", r)
	})
	out := must(w.DescribeInsightsRefresh(w.ctx, &eks.DescribeInsightsRefreshInput{ClusterName: cluster}))
	if out.Status != ekstypes.InsightsRefreshStatusCompleted || out.EndedAt.Sub(*out.StartedAt) != time.Minute {
		t.Errorf("it ended as %+v", out)
	}
}

func TestRecordDeprecatedUse(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	c := Clusters.Get(w.store, w.scope, "dev")
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	record := func(at time.Time, agent string, n int32) {
		t.Helper()
		err := RecordDeprecatedUse(w.ctx, w.store, c, at, []DeprecatedUse{{
			Group: "g", Version: "v1beta1", Resource: "things", RemovedRelease: "1.37", UserAgent: agent, Days: map[string]int32{at.Format(time.DateOnly): n}, Last: at,
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	record(now.AddDate(0, 0, -40), "old", 5)
	record(now.AddDate(0, 0, -20), "old", 2)
	record(now, "old", 1)
	record(now, "other", 7)
	got := map[string]int32{}
	for _, u := range DeprecatedUses.ListPrefix(w.store, w.scope, ClusterPrefix("dev")) {
		got[u.UserAgent] = u.Recent(now)
		if u.UserAgent == "old" && (len(u.Days) != 2 || !u.Last.Equal(now)) {
			t.Errorf("it keeps days %v, last %v", u.Days, u.Last)
		}
	}
	if d := cmp.Diff(map[string]int32{"old": 3, "other": 7}, got); d != "" {
		t.Error(d)
	}
	for i := range maxDeprecatedUses + 5 {
		record(now, "agent"+sortable(int64(i)), 1)
	}
	if n := len(DeprecatedUses.ListAll(w.store)); n != maxDeprecatedUses {
		t.Errorf("%d clients are remembered, want %d", n, maxDeprecatedUses)
	}
}

// checker is an InsightsChecker that writes what the test says.
type checker func()

func (c checker) CheckInsights(context.Context, awsid.Scope, string) error { c(); return nil }

func TestRollback(t *testing.T) {
	w := newWorld(t)
	at134 := func(in *eks.CreateClusterInput) { in.Version = aws.String("1.34") }
	w.active("dev", at134)
	back := &eks.UpdateClusterVersionInput{Name: aws.String("dev"), Version: aws.String("1.33")}
	_, err := w.UpdateClusterVersion(w.ctx, back)
	wantError(t, err, "InvalidParameterException", "from 1.34 to 1.33")
	w.upgraded("dev", "1.33", time.Hour)

	checked := 0
	w.insights = checker(func() {
		if checked++; checked == 1 {
			w.insight("dev", ekstypes.CategoryRollbackReadiness, "Kubelet version rollback compatibility", ekstypes.InsightStatusValueUnknown)
		}
	})
	_, err = w.UpdateClusterVersion(w.ctx, back)
	wantError(t, err, "InvalidStateException", "Kubelet version rollback compatibility")
	back.Force = true
	u := must(w.UpdateClusterVersion(w.ctx, back)).Update
	if u.Type != ekstypes.UpdateTypeVersionRollback || checked != 1 {
		t.Errorf("a %s after %d checks", u.Type, checked)
	}
	if c := must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})).Cluster; c.Status != ekstypes.ClusterStatusUpdating || *c.Version != "1.34" {
		t.Errorf("the cluster is %s at %s", c.Status, *c.Version)
	}
	_, err = w.CancelUpdate(w.ctx, &eks.CancelUpdateInput{Name: aws.String("dev"), UpdateId: u.Id})
	wantError(t, err, "InvalidRequestException", "the control plane rollback has begun")
}

func TestCancelAutoModeRollback(t *testing.T) {
	w := newWorld(t)
	w.active("dev", func(in *eks.CreateClusterInput) { in.Version = aws.String("1.34") })
	w.upgraded("dev", "1.33", time.Hour)
	w.edit(func(tx *store.Tx) {
		c := Clusters.Edit(tx, w.scope, "dev")
		c.Resource.ComputeConfig = &ekstypes.ComputeConfigResponse{Enabled: aws.Bool(true)}
		Clusters.Put(tx, w.scope, "dev", c)
	})
	u := must(w.UpdateClusterVersion(w.ctx, &eks.UpdateClusterVersionInput{
		Name: aws.String("dev"), Version: aws.String("1.33"), RollbackConfig: &ekstypes.RollbackConfig{TimeoutMinutes: aws.Int32(180)},
	})).Update
	c := Clusters.Get(w.store, w.scope, "dev")
	if c.Resource.Status != ekstypes.ClusterStatusActive || c.DesiredVersion != "1.33" || c.RollbackTimeout != 3*time.Hour {
		t.Errorf("while nodes go back the cluster is %s, to %s, for %v", c.Resource.Status, c.DesiredVersion, c.RollbackTimeout)
	}
	for range 2 { // the second time the first's answer
		out := must(w.CancelUpdate(w.ctx, &eks.CancelUpdateInput{Name: aws.String("dev"), UpdateId: u.Id}))
		if out.Update.Cancellation.Status != ekstypes.CancellationStatusInProgress {
			t.Errorf("the cancellation is %+v", out.Update.Cancellation)
		}
	}
	w.edit(func(tx *store.Tx) { FinishCancellation(tx, w.scope, "dev", *u.Id) })
	d := must(w.DescribeUpdate(w.ctx, &eks.DescribeUpdateInput{Name: aws.String("dev"), UpdateId: u.Id})).Update
	if d.Status != ekstypes.UpdateStatusCancelled || d.Cancellation.Status != ekstypes.CancellationStatusSuccessful {
		t.Errorf("it ends as %+v %+v", d.Status, d.Cancellation)
	}
}
