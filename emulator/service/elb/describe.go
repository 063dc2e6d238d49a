package elb

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// loadBalancers is keyed by name. Nothing fills it yet: making load balancers is
// not implemented, and what is described is what is there.
const loadBalancers store.Table[loadBalancer] = "elb-load-balancers"

type loadBalancer struct {
	Resource   types.LoadBalancerDescription
	Attributes types.LoadBalancerAttributes
	Tags       []types.Tag
}

func validation(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationError", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

func required(member string) error {
	return validation("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
}

// find returns a load balancer, in AWS's words for one that is not there.
func (s *Service) find(ctx context.Context, name string) (*loadBalancer, error) {
	if r := loadBalancers.Get(s.store, awsid.CallerFrom(ctx).Scope, name); r != nil {
		return r, nil
	}
	return nil, &types.AccessPointNotFoundException{Message: aws.String("There is no ACTIVE Load Balancer named '" + name + "'")}
}

// DescribeLoadBalancers implements the operation. The marker is the name of the
// last one of the page before.
func (s *Service) DescribeLoadBalancers(ctx context.Context, in *elasticloadbalancing.DescribeLoadBalancersInput, _ ...func(*elasticloadbalancing.Options)) (*elasticloadbalancing.DescribeLoadBalancersOutput, error) {
	n := 400
	if in.PageSize != nil {
		if n = int(*in.PageSize); n < 1 || n > 400 {
			return nil, validation("1 validation error detected: Value '%d' at 'pageSize' failed to satisfy constraint: Member must have value between 1 and 400", n)
		}
	}
	out := &elasticloadbalancing.DescribeLoadBalancersOutput{LoadBalancerDescriptions: []types.LoadBalancerDescription{}}
	for _, name := range in.LoadBalancerNames {
		r, err := s.find(ctx, name)
		if err != nil {
			return nil, err
		}
		out.LoadBalancerDescriptions = append(out.LoadBalancerDescriptions, r.Resource)
	}
	if len(in.LoadBalancerNames) > 0 {
		return out, nil
	}
	for _, r := range loadBalancers.List(s.store, awsid.CallerFrom(ctx).Scope) {
		if aws.ToString(r.Resource.LoadBalancerName) <= aws.ToString(in.Marker) {
			continue
		}
		if len(out.LoadBalancerDescriptions) == n {
			out.NextMarker = out.LoadBalancerDescriptions[n-1].LoadBalancerName
			break
		}
		out.LoadBalancerDescriptions = append(out.LoadBalancerDescriptions, r.Resource)
	}
	return out, nil
}

// DescribeLoadBalancerAttributes implements the operation.
func (s *Service) DescribeLoadBalancerAttributes(ctx context.Context, in *elasticloadbalancing.DescribeLoadBalancerAttributesInput, _ ...func(*elasticloadbalancing.Options)) (*elasticloadbalancing.DescribeLoadBalancerAttributesOutput, error) {
	if in.LoadBalancerName == nil {
		return nil, required("loadBalancerName")
	}
	r, err := s.find(ctx, *in.LoadBalancerName)
	if err != nil {
		return nil, err
	}
	return &elasticloadbalancing.DescribeLoadBalancerAttributesOutput{LoadBalancerAttributes: &r.Attributes}, nil
}

// DescribeTags implements the operation.
func (s *Service) DescribeTags(ctx context.Context, in *elasticloadbalancing.DescribeTagsInput, _ ...func(*elasticloadbalancing.Options)) (*elasticloadbalancing.DescribeTagsOutput, error) {
	switch n := len(in.LoadBalancerNames); {
	case n == 0:
		return nil, required("loadBalancerNames")
	case n > 20:
		return nil, validation("1 validation error detected: Value '%v' at 'loadBalancerNames' failed to satisfy constraint: Member must have length less than or equal to 20", in.LoadBalancerNames)
	}
	out := &elasticloadbalancing.DescribeTagsOutput{}
	for _, name := range in.LoadBalancerNames {
		r, err := s.find(ctx, name)
		if err != nil {
			return nil, err
		}
		out.TagDescriptions = append(out.TagDescriptions, types.TagDescription{LoadBalancerName: &name, Tags: append([]types.Tag{}, r.Tags...)})
	}
	return out, nil
}

// DescribeAccountLimits implements the operation with AWS's default quotas.
func (s *Service) DescribeAccountLimits(context.Context, *elasticloadbalancing.DescribeAccountLimitsInput, ...func(*elasticloadbalancing.Options)) (*elasticloadbalancing.DescribeAccountLimitsOutput, error) {
	return &elasticloadbalancing.DescribeAccountLimitsOutput{Limits: []types.Limit{
		{Name: aws.String("classic-load-balancers"), Max: aws.String("20")},
		{Name: aws.String("classic-listeners"), Max: aws.String("100")},
		{Name: aws.String("classic-registered-instances"), Max: aws.String("1000")},
	}}, nil
}
