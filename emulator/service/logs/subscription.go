package logs

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// maxSubscriptions is how many subscription filters a group can have.
const maxSubscriptions = 2

// PutSubscriptionFilter implements the operation. Filters are kept; nothing is sent
// to their destinations, which are not emulated.
func (s *Service) PutSubscriptionFilter(ctx context.Context, in *cwl.PutSubscriptionFilterInput, _ ...func(*cwl.Options)) (*cwl.PutSubscriptionFilterOutput, error) {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	c.text("filterName", in.FilterName, filterName, 1)
	c.text("filterPattern", in.FilterPattern, filterText, 0)
	c.text("destinationArn", in.DestinationArn, anyText, 1)
	c.optional("roleArn", in.RoleArn, anyText, 1)
	oneOf(&c, "distribution", in.Distribution, in.Distribution.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	a, err := awsid.ParseARN(*in.DestinationArn)
	if err != nil {
		return nil, invalid("Invalid destinationArn: %s", *in.DestinationArn)
	}
	if (a.Service == "kinesis" || a.Service == "firehose") && in.RoleArn == nil {
		return nil, invalid("destinationArn for vendor %s cannot be used without roleArn", a.Service)
	}
	if _, err := compile(*in.FilterPattern); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if groups.Get(tx, sc, *in.LogGroupName) == nil {
			return noGroup()
		}
		key := filterKey(*in.LogGroupName, *in.FilterName)
		f := subscriptions.Edit(tx, sc, key)
		if f == nil {
			if len(subscriptions.ListPrefix(tx, sc, filterKey(*in.LogGroupName, ""))) >= maxSubscriptions {
				return limitExceeded()
			}
			f = &subscriptionFilter{Group: *in.LogGroupName}
			f.Filter.CreationTime = aws.Int64(s.millis())
		}
		f.Filter.FilterName, f.Filter.LogGroupName, f.Filter.FilterPattern = in.FilterName, in.LogGroupName, in.FilterPattern
		f.Filter.DestinationArn, f.Filter.RoleArn, f.Filter.Distribution = in.DestinationArn, in.RoleArn, in.Distribution
		f.Filter.ApplyOnTransformedLogs = in.ApplyOnTransformedLogs
		if f.Filter.Distribution == "" {
			f.Filter.Distribution = types.DistributionByLogStream
		}
		subscriptions.Put(tx, sc, key, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cwl.PutSubscriptionFilterOutput{}, nil
}

// DescribeSubscriptionFilters implements the operation.
func (s *Service) DescribeSubscriptionFilters(ctx context.Context, in *cwl.DescribeSubscriptionFiltersInput, _ ...func(*cwl.Options)) (*cwl.DescribeSubscriptionFiltersOutput, error) {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	c.optional("filterNamePrefix", in.FilterNamePrefix, filterName, 1)
	c.Span("limit", in.Limit, 1, 50)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	if groups.Get(s.store, sc, *in.LogGroupName) == nil {
		return nil, noGroup()
	}
	var all []*subscriptionFilter
	for _, f := range subscriptions.ListPrefix(s.store, sc, filterKey(*in.LogGroupName, "")) {
		if strings.HasPrefix(*f.Filter.FilterName, aws.ToString(in.FilterNamePrefix)) {
			all = append(all, f)
		}
	}
	all, next, err := page(all, func(f *subscriptionFilter) string { return *f.Filter.FilterName }, in.NextToken, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &cwl.DescribeSubscriptionFiltersOutput{SubscriptionFilters: make([]types.SubscriptionFilter, len(all)), NextToken: next}
	for i, f := range all {
		out.SubscriptionFilters[i] = f.Filter
	}
	return out, nil
}

// DeleteSubscriptionFilter implements the operation.
func (s *Service) DeleteSubscriptionFilter(ctx context.Context, in *cwl.DeleteSubscriptionFilterInput, _ ...func(*cwl.Options)) (*cwl.DeleteSubscriptionFilterOutput, error) {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	c.text("filterName", in.FilterName, filterName, 1)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if groups.Get(tx, sc, *in.LogGroupName) == nil {
			return noGroup()
		}
		key := filterKey(*in.LogGroupName, *in.FilterName)
		if subscriptions.Get(tx, sc, key) == nil {
			return notFound("The specified subscription filter does not exist.")
		}
		subscriptions.Delete(tx, sc, key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cwl.DeleteSubscriptionFilterOutput{}, nil
}
