package eks

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"
)

func TestConnectedCluster(t *testing.T) {
	w := newWorld(t)
	w.create("dev")
	in := &eks.RegisterClusterInput{
		Name: aws.String("far"), ClientRequestToken: aws.String("t"), Tags: map[string]string{"a": "1"},
		ConnectorConfig: &ekstypes.ConnectorConfigRequest{Provider: "GKE", RoleArn: aws.String(roleARN("agent"))},
	}
	c := must(w.RegisterCluster(w.ctx, in)).Cluster
	cfg := c.ConnectorConfig
	if c.Status != "PENDING" || *cfg.Provider != "GKE" || *cfg.ActivationId == "" || len(*cfg.ActivationCode) != 20 || cfg.ActivationExpiry.Sub(*c.CreatedAt) != 72*time.Hour {
		t.Errorf("%+v %+v", c, cfg)
	}
	again := must(w.RegisterCluster(w.ctx, in)).Cluster
	shown := must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: in.Name})).Cluster
	if *again.ConnectorConfig.ActivationCode != *cfg.ActivationCode || *shown.ConnectorConfig.ActivationId != *cfg.ActivationId || shown.Endpoint != nil {
		t.Errorf("%+v %+v", again, shown)
	}
	if diff := cmp.Diff([]string{"dev"}, must(w.ListClusters(w.ctx, &eks.ListClustersInput{})).Clusters); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"dev", "far"}, must(w.ListClusters(w.ctx, &eks.ListClustersInput{Include: []string{"all"}})).Clusters); diff != "" {
		t.Error(diff)
	}
	must(w.TagResource(w.ctx, &eks.TagResourceInput{ResourceArn: c.Arn, Tags: map[string]string{"b": "2"}}))
	if tags := must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: in.Name})).Cluster.Tags; len(tags) != 2 {
		t.Errorf("tags %v", tags)
	}
	_, err := w.CreateCluster(w.ctx, &eks.CreateClusterInput{
		Name: in.Name, RoleArn: aws.String(roleARN("cluster")), ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-a", "subnet-b"}},
	})
	wantError(t, err, "ResourceInUseException", "Cluster already exists with name: far")
	_, err = w.DeregisterCluster(w.ctx, &eks.DeregisterClusterInput{Name: aws.String("dev")})
	wantError(t, err, "InvalidRequestException", "not a connected cluster")
	if d := must(w.DeregisterCluster(w.ctx, &eks.DeregisterClusterInput{Name: in.Name})).Cluster; d.Status != "DELETING" {
		t.Errorf("%+v", d)
	}
	_, err = w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: in.Name})
	wantError(t, err, "ResourceNotFoundException", "No cluster found for name: far.")
}

// TestSubscription lets years pass.
func TestSubscription(t *testing.T) {
	w := newWorld(t)
	in := &eks.CreateEksAnywhereSubscriptionInput{
		Name: aws.String("sub"), ClientRequestToken: aws.String("t"), AutoRenew: true, LicenseQuantity: 3,
		Term: &ekstypes.EksAnywhereSubscriptionTerm{Duration: 12, Unit: "MONTHS"},
	}
	sub := must(w.CreateEksAnywhereSubscription(w.ctx, in)).Subscription
	if *sub.Status != "CREATING" || sub.LicenseQuantity != 3 || sub.LicenseType != "Cluster" || sub.ExpirationDate.Sub(*sub.EffectiveDate) != 365*24*time.Hour {
		t.Errorf("%+v", sub)
	}
	if again := must(w.CreateEksAnywhereSubscription(w.ctx, in)).Subscription; *again.Id != *sub.Id {
		t.Error("the same request made another subscription")
	}
	describe := func() *ekstypes.EksAnywhereSubscription {
		return must(w.DescribeEksAnywhereSubscription(w.ctx, &eks.DescribeEksAnywhereSubscriptionInput{Id: sub.Id})).Subscription
	}
	pass := func(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }
	pass(time.Minute)
	if s := describe(); *s.Status != "ACTIVE" {
		t.Errorf("%s", *s.Status)
	}
	_, err := w.DeleteEksAnywhereSubscription(w.ctx, &eks.DeleteEksAnywhereSubscriptionInput{Id: sub.Id})
	wantError(t, err, "InvalidRequestException", "only expired or inactive")
	pass(400 * 24 * time.Hour) // renewed once
	if s := describe(); *s.Status != "ACTIVE" || s.ExpirationDate.Year() != 2028 {
		t.Errorf("%s until %s", *s.Status, s.ExpirationDate)
	}
	must(w.UpdateEksAnywhereSubscription(w.ctx, &eks.UpdateEksAnywhereSubscriptionInput{Id: sub.Id, AutoRenew: false}))
	pass(400 * 24 * time.Hour)
	if s := describe(); *s.Status != "EXPIRED" || s.ExpirationDate.Year() != 2028 || s.AutoRenew {
		t.Errorf("%+v", s)
	}
	expired := must(w.ListEksAnywhereSubscriptions(w.ctx, &eks.ListEksAnywhereSubscriptionsInput{IncludeStatus: []ekstypes.EksAnywhereSubscriptionStatus{"EXPIRED"}})).Subscriptions
	active := must(w.ListEksAnywhereSubscriptions(w.ctx, &eks.ListEksAnywhereSubscriptionsInput{IncludeStatus: []ekstypes.EksAnywhereSubscriptionStatus{"ACTIVE"}})).Subscriptions
	if len(expired) != 1 || len(active) != 0 {
		t.Errorf("%d expired, %d active", len(expired), len(active))
	}
	must(w.DeleteEksAnywhereSubscription(w.ctx, &eks.DeleteEksAnywhereSubscriptionInput{Id: sub.Id}))
	_, err = w.DescribeEksAnywhereSubscription(w.ctx, &eks.DescribeEksAnywhereSubscriptionInput{Id: sub.Id})
	wantError(t, err, "ResourceNotFoundException", "No subscription found")
}
