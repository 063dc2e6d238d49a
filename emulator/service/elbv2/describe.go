package elbv2

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// The tables, keyed by ARN. Nothing fills them yet: making load balancers is not
// implemented, and what is described is what is there.
const (
	loadBalancers store.Table[loadBalancer] = "elbv2-load-balancers"
	targetGroups  store.Table[targetGroup]  = "elbv2-target-groups"
	listeners     store.Table[listener]     = "elbv2-listeners"
	rules         store.Table[rule]         = "elbv2-rules"
)

type loadBalancer struct {
	Resource types.LoadBalancer
	Tags     []types.Tag
}

type targetGroup struct {
	Resource types.TargetGroup
	Tags     []types.Tag
	Health   []types.TargetHealthDescription
}

type listener struct {
	Resource types.Listener
	Tags     []types.Tag
}

type rule struct {
	Listener string // its ARN
	Resource types.Rule
	Tags     []types.Tag
}

func validation(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationError", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

func required(member string) error {
	return validation("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
}

// page cuts a page out of all; the marker is how many came before.
func page[T any](all []T, marker *string, size *int32) ([]T, *string, error) {
	n := 400
	if size != nil {
		if n = int(*size); n < 1 || n > 400 {
			return nil, nil, validation("1 validation error detected: Value '%d' at 'pageSize' failed to satisfy constraint: Member must have value between 1 and 400", n)
		}
	}
	from := 0
	if m := aws.ToString(marker); m != "" {
		b, err := base64.StdEncoding.DecodeString(m)
		if err == nil {
			_, err = fmt.Sscanf(string(b), "after %d", &from)
		}
		if err != nil || from < 0 {
			return nil, nil, validation("Invalid marker: %s", m)
		}
	}
	all = all[min(from, len(all)):]
	if len(all) <= n {
		return append([]T{}, all...), nil, nil
	}
	return append([]T{}, all[:n]...), aws.String(base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "after %d", from+n))), nil
}

// DescribeLoadBalancers implements the operation.
func (s *Service) DescribeLoadBalancers(ctx context.Context, in *elasticloadbalancingv2.DescribeLoadBalancersInput, _ ...func(*elasticloadbalancingv2.Options)) (*elasticloadbalancingv2.DescribeLoadBalancersOutput, error) {
	if len(in.LoadBalancerArns) > 0 && len(in.Names) > 0 {
		return nil, validation("You cannot specify names and load balancer ARNs at the same time")
	}
	var all []types.LoadBalancer
	for _, r := range loadBalancers.List(s.store, awsid.CallerFrom(ctx).Scope) {
		all = append(all, r.Resource)
	}
	all, ok := choose(all, in.LoadBalancerArns, func(v types.LoadBalancer) *string { return v.LoadBalancerArn })
	if ok {
		all, ok = choose(all, in.Names, func(v types.LoadBalancer) *string { return v.LoadBalancerName })
	}
	if !ok {
		return nil, &types.LoadBalancerNotFoundException{Message: aws.String("One or more load balancers not found")}
	}
	out, next, err := page(all, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.DescribeLoadBalancersOutput{LoadBalancers: out, NextMarker: next}, nil
}

// choose keeps those that are asked for, and tells whether all of them are there.
func choose[T any](all []T, wanted []string, key func(T) *string) ([]T, bool) {
	if len(wanted) == 0 {
		return all, true
	}
	var out []T
	for _, v := range all {
		if slices.Contains(wanted, aws.ToString(key(v))) {
			out = append(out, v)
		}
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(out, func(v T) bool { return aws.ToString(key(v)) == w }) {
			return nil, false
		}
	}
	return out, true
}

func noBalancer(arn string) error {
	return &types.LoadBalancerNotFoundException{Message: aws.String("Load balancer '" + arn + "' not found")}
}

func noTargetGroups() error {
	return &types.TargetGroupNotFoundException{Message: aws.String("One or more target groups not found")}
}

// DescribeTargetGroups implements the operation.
func (s *Service) DescribeTargetGroups(ctx context.Context, in *elasticloadbalancingv2.DescribeTargetGroupsInput, _ ...func(*elasticloadbalancingv2.Options)) (*elasticloadbalancingv2.DescribeTargetGroupsOutput, error) {
	sc := awsid.CallerFrom(ctx).Scope
	if lb := in.LoadBalancerArn; lb != nil && loadBalancers.Get(s.store, sc, *lb) == nil {
		return nil, noBalancer(*lb)
	}
	var all []types.TargetGroup
	for _, r := range targetGroups.List(s.store, sc) {
		if in.LoadBalancerArn == nil || slices.Contains(r.Resource.LoadBalancerArns, *in.LoadBalancerArn) {
			all = append(all, r.Resource)
		}
	}
	all, ok := choose(all, in.TargetGroupArns, func(v types.TargetGroup) *string { return v.TargetGroupArn })
	if ok {
		all, ok = choose(all, in.Names, func(v types.TargetGroup) *string { return v.TargetGroupName })
	}
	if !ok {
		return nil, noTargetGroups()
	}
	out, next, err := page(all, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.DescribeTargetGroupsOutput{TargetGroups: out, NextMarker: next}, nil
}

// DescribeListeners implements the operation.
func (s *Service) DescribeListeners(ctx context.Context, in *elasticloadbalancingv2.DescribeListenersInput, _ ...func(*elasticloadbalancingv2.Options)) (*elasticloadbalancingv2.DescribeListenersOutput, error) {
	sc := awsid.CallerFrom(ctx).Scope
	if in.LoadBalancerArn == nil && len(in.ListenerArns) == 0 {
		return nil, validation("You must specify either listener ARNs or a load balancer ARN")
	}
	if lb := in.LoadBalancerArn; lb != nil && loadBalancers.Get(s.store, sc, *lb) == nil {
		return nil, noBalancer(*lb)
	}
	var all []types.Listener
	for _, r := range listeners.List(s.store, sc) {
		if in.LoadBalancerArn == nil || aws.ToString(r.Resource.LoadBalancerArn) == *in.LoadBalancerArn {
			all = append(all, r.Resource)
		}
	}
	all, ok := choose(all, in.ListenerArns, func(v types.Listener) *string { return v.ListenerArn })
	if !ok {
		return nil, &types.ListenerNotFoundException{Message: aws.String("One or more listeners not found")}
	}
	out, next, err := page(all, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.DescribeListenersOutput{Listeners: out, NextMarker: next}, nil
}

// DescribeRules implements the operation.
func (s *Service) DescribeRules(ctx context.Context, in *elasticloadbalancingv2.DescribeRulesInput, _ ...func(*elasticloadbalancingv2.Options)) (*elasticloadbalancingv2.DescribeRulesOutput, error) {
	sc := awsid.CallerFrom(ctx).Scope
	switch {
	case in.ListenerArn == nil && len(in.RuleArns) == 0:
		return nil, validation("You must specify either listener rule ARNs or a listener ARN")
	case in.ListenerArn != nil && len(in.RuleArns) > 0:
		return nil, validation("Listener rule ARNs and a listener ARN cannot be specified at the same time")
	case in.ListenerArn != nil && listeners.Get(s.store, sc, *in.ListenerArn) == nil:
		return nil, &types.ListenerNotFoundException{Message: aws.String("One or more listeners not found")}
	}
	var all []types.Rule
	for _, r := range rules.List(s.store, sc) {
		if in.ListenerArn == nil || r.Listener == *in.ListenerArn {
			all = append(all, r.Resource)
		}
	}
	all, ok := choose(all, in.RuleArns, func(v types.Rule) *string { return v.RuleArn })
	if !ok {
		return nil, &types.RuleNotFoundException{Message: aws.String("One or more rules not found")}
	}
	out, next, err := page(all, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.DescribeRulesOutput{Rules: out, NextMarker: next}, nil
}

// DescribeTargetHealth implements the operation.
func (s *Service) DescribeTargetHealth(ctx context.Context, in *elasticloadbalancingv2.DescribeTargetHealthInput, _ ...func(*elasticloadbalancingv2.Options)) (*elasticloadbalancingv2.DescribeTargetHealthOutput, error) {
	if in.TargetGroupArn == nil {
		return nil, required("targetGroupArn")
	}
	g := targetGroups.Get(s.store, awsid.CallerFrom(ctx).Scope, *in.TargetGroupArn)
	if g == nil {
		return nil, noTargetGroups()
	}
	out := &elasticloadbalancingv2.DescribeTargetHealthOutput{TargetHealthDescriptions: []types.TargetHealthDescription{}}
	for _, h := range g.Health {
		asked := len(in.Targets) == 0 || slices.ContainsFunc(in.Targets, func(t types.TargetDescription) bool {
			return aws.ToString(t.Id) == aws.ToString(h.Target.Id) && (t.Port == nil || *t.Port == aws.ToInt32(h.Target.Port))
		})
		if asked {
			out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, h)
		}
	}
	return out, nil
}

// DescribeTags implements the operation.
func (s *Service) DescribeTags(ctx context.Context, in *elasticloadbalancingv2.DescribeTagsInput, _ ...func(*elasticloadbalancingv2.Options)) (*elasticloadbalancingv2.DescribeTagsOutput, error) {
	switch n := len(in.ResourceArns); {
	case n == 0:
		return nil, required("resourceArns")
	case n > 20:
		return nil, validation("1 validation error detected: Value '%v' at 'resourceArns' failed to satisfy constraint: Member must have length less than or equal to 20", in.ResourceArns)
	}
	sc := awsid.CallerFrom(ctx).Scope
	out := &elasticloadbalancingv2.DescribeTagsOutput{}
	for _, arn := range in.ResourceArns {
		tags, err := s.tagsOf(sc, arn)
		if err != nil {
			return nil, err
		}
		out.TagDescriptions = append(out.TagDescriptions, types.TagDescription{ResourceArn: &arn, Tags: tags})
	}
	return out, nil
}

func (s *Service) tagsOf(sc awsid.Scope, arn string) ([]types.Tag, error) {
	a, err := awsid.ParseARN(arn)
	if err != nil || a.Service != "elasticloadbalancing" {
		return nil, validation("'%s' is not a valid ARN", arn)
	}
	kind, _, _ := strings.Cut(a.Resource, "/")
	switch kind {
	case "loadbalancer":
		if r := loadBalancers.Get(s.store, sc, arn); r != nil {
			return append([]types.Tag{}, r.Tags...), nil
		}
		return nil, noBalancer(arn)
	case "targetgroup":
		if r := targetGroups.Get(s.store, sc, arn); r != nil {
			return append([]types.Tag{}, r.Tags...), nil
		}
		return nil, noTargetGroups()
	case "listener":
		if r := listeners.Get(s.store, sc, arn); r != nil {
			return append([]types.Tag{}, r.Tags...), nil
		}
		return nil, &types.ListenerNotFoundException{Message: aws.String("One or more listeners not found")}
	case "listener-rule":
		if r := rules.Get(s.store, sc, arn); r != nil {
			return append([]types.Tag{}, r.Tags...), nil
		}
		return nil, &types.RuleNotFoundException{Message: aws.String("One or more rules not found")}
	}
	return nil, validation("'%s' is not a valid ARN", arn)
}

// limits are the default quotas of an account: ELB User Guides, "Quotas".
var limits = [][2]string{
	{"target-groups", "3000"}, {"targets-per-application-load-balancer", "1000"}, {"listeners-per-application-load-balancer", "50"},
	{"rules-per-application-load-balancer", "100"}, {"application-load-balancers", "50"}, {"network-load-balancers", "50"},
	{"targets-per-network-load-balancer", "3000"}, {"targets-per-availability-zone-per-network-load-balancer", "500"}, {"listeners-per-network-load-balancer", "50"},
	{"condition-values-per-alb-rule", "5"}, {"condition-wildcards-per-alb-rule", "6"}, {"target-groups-per-action-on-application-load-balancer", "5"},
	{"target-groups-per-action-on-network-load-balancer", "1"}, {"certificates-per-application-load-balancer", "25"}, {"certificates-per-network-load-balancer", "25"},
	{"targets-per-target-group", "1000"}, {"target-id-registrations-per-application-load-balancer", "1000"}, {"gateway-load-balancers", "100"},
	{"gateway-load-balancers-per-vpc", "100"}, {"geneve-target-groups", "100"}, {"targets-per-availability-zone-per-gateway-load-balancer", "300"},
}

// DescribeAccountLimits implements the operation.
func (s *Service) DescribeAccountLimits(_ context.Context, in *elasticloadbalancingv2.DescribeAccountLimitsInput, _ ...func(*elasticloadbalancingv2.Options)) (*elasticloadbalancingv2.DescribeAccountLimitsOutput, error) {
	var all []types.Limit
	for _, l := range limits {
		all = append(all, types.Limit{Name: aws.String(l[0]), Max: aws.String(l[1])})
	}
	out, next, err := page(all, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.DescribeAccountLimitsOutput{Limits: out, NextMarker: next}, nil
}
