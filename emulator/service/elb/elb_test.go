package elb

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"

	elbapi "github.com/ekslocal/ekslocal/api/elb"
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

// TestDescribe: what is in the table is what is described, in pages.
func TestDescribe(t *testing.T) {
	ctx, s := newService(t)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		for _, n := range []string{"a", "b", "c"} {
			r := &loadBalancer{}
			r.Resource.LoadBalancerName = aws.String(n)
			loadBalancers.Put(tx, scope, n, r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.DescribeLoadBalancers(ctx, &elasticloadbalancing.DescribeLoadBalancersInput{PageSize: aws.Int32(2)})
	if err != nil || len(first.LoadBalancerDescriptions) != 2 {
		t.Fatalf("first page %+v %v", first, err)
	}
	rest, err := s.DescribeLoadBalancers(ctx, &elasticloadbalancing.DescribeLoadBalancersInput{PageSize: aws.Int32(2), Marker: first.NextMarker})
	if err != nil || len(rest.LoadBalancerDescriptions) != 1 || rest.NextMarker != nil {
		t.Errorf("second page %+v %v", rest, err)
	}
}

func TestRefusals(t *testing.T) {
	ctx, s := newService(t)
	refusal.Run(ctx, t, elbapi.Model(), s, nil)
}
