package elbv2

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	elbv2api "github.com/ekslocal/ekslocal/api/elbv2"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

var scope = awsid.Scope{Account: "111122223333", Region: "eu-west-1"}

func newService(t *testing.T) (context.Context, *Service) {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return awsid.WithCaller(t.Context(), awsid.Caller{Scope: scope}), New(Config{Store: st})
}

func balancer(name string) string {
	return scope.ARN("elasticloadbalancing", "loadbalancer/app/"+name+"/1")
}

func (s *Service) add(t *testing.T, names ...string) {
	t.Helper()
	err := s.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, n := range names {
			r := &loadBalancer{Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String(n)}}}
			r.Resource.LoadBalancerArn, r.Resource.LoadBalancerName = aws.String(balancer(n)), aws.String(n)
			loadBalancers.Put(tx, scope, balancer(n), r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDescribe: what is in the tables is what is described, in pages.
func TestDescribe(t *testing.T) {
	ctx, s := newService(t)
	out, err := s.DescribeLoadBalancers(ctx, &elasticloadbalancingv2.DescribeLoadBalancersInput{})
	if err != nil || out.LoadBalancers == nil || len(out.LoadBalancers) != 0 {
		t.Fatalf("of none: %+v %v", out, err)
	}
	s.add(t, "a", "b", "c")
	first, err := s.DescribeLoadBalancers(ctx, &elasticloadbalancingv2.DescribeLoadBalancersInput{PageSize: aws.Int32(2)})
	if err != nil || len(first.LoadBalancers) != 2 || first.NextMarker == nil {
		t.Fatalf("first page %+v %v", first, err)
	}
	rest, err := s.DescribeLoadBalancers(ctx, &elasticloadbalancingv2.DescribeLoadBalancersInput{PageSize: aws.Int32(2), Marker: first.NextMarker})
	if err != nil || len(rest.LoadBalancers) != 1 || *rest.LoadBalancers[0].LoadBalancerName != "c" || rest.NextMarker != nil {
		t.Fatalf("second page %+v %v", rest, err)
	}
	tags, err := s.DescribeTags(ctx, &elasticloadbalancingv2.DescribeTagsInput{ResourceArns: []string{balancer("b")}})
	if err != nil || *tags.TagDescriptions[0].Tags[0].Value != "b" {
		t.Errorf("tags %+v %v", tags, err)
	}
}

func TestRefusals(t *testing.T) {
	ctx, s := newService(t)
	s.add(t, "a")
	refusal.Run(ctx, t, elbv2api.Model(), s, map[string]string{"lb": balancer("a"), "none": balancer("none")})
}
