package logs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// maxMetricFilters is how many a group can have.
const maxMetricFilters = 100

// PutMetricFilter implements the operation. Filters are kept; there are no metrics
// that they could feed.
func (s *Service) PutMetricFilter(ctx context.Context, in *cwl.PutMetricFilterInput, _ ...func(*cwl.Options)) (*cwl.PutMetricFilterOutput, error) {
	if err := checkMetricFilter(in); err != nil {
		return nil, err
	}
	if _, err := compile(*in.FilterPattern); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if groups.Get(tx, sc, *in.LogGroupName) == nil {
			return noGroup()
		}
		key := filterKey(*in.LogGroupName, *in.FilterName)
		f := metricFilters.Edit(tx, sc, key)
		if f == nil {
			if len(metricFilters.ListPrefix(tx, sc, filterKey(*in.LogGroupName, ""))) >= maxMetricFilters {
				return limitExceeded()
			}
			f = &metricFilter{Group: *in.LogGroupName}
			f.Filter.CreationTime = aws.Int64(s.millis())
		}
		f.Filter.FilterName, f.Filter.LogGroupName, f.Filter.FilterPattern = in.FilterName, in.LogGroupName, in.FilterPattern
		f.Filter.ApplyOnTransformedLogs = in.ApplyOnTransformedLogs
		f.Filter.MetricTransformations = in.MetricTransformations
		metricFilters.Put(tx, sc, key, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cwl.PutMetricFilterOutput{}, nil
}

func checkMetricFilter(in *cwl.PutMetricFilterInput) error {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	c.text("filterName", in.FilterName, filterName, 1)
	c.text("filterPattern", in.FilterPattern, filterText, 0)
	c.Null("metricTransformations", in.MetricTransformations == nil)
	for i, t := range in.MetricTransformations {
		at := fmt.Sprintf("metricTransformations.%d.member.", i+1)
		c.text(at+"metricName", t.MetricName, metricName, 0)
		c.text(at+"metricNamespace", t.MetricNamespace, metricName, 0)
		c.text(at+"metricValue", t.MetricValue, newPattern(`(?s).*`, 100), 0)
		oneOf(&c, at+"unit", t.Unit, t.Unit.Values())
		if t.DefaultValue != nil && len(t.Dimensions) > 0 {
			return invalid("Invalid metric transformation: dimensions and default value are mutually exclusive properties.")
		}
		if len(t.Dimensions) > 3 {
			return invalid("Invalid metric transformation: a maximum of 3 dimensions is allowed.")
		}
	}
	if err := c.err(); err != nil {
		return err
	}
	if n := len(in.MetricTransformations); n != 1 {
		shown := make([]string, n)
		for i, t := range in.MetricTransformations {
			shown[i] = transformation(t)
		}
		limit := "Member must have length less than or equal to 1"
		if n == 0 {
			limit = "Member must have length greater than or equal to 1"
		}
		c.Add("'["+strings.Join(shown, ", ")+"]'", "metricTransformations", limit)
	}
	return c.err()
}

// transformation is how AWS shows one in an error.
func transformation(t types.MetricTransformation) string {
	def, unit, dims := "null", "null", "null"
	if t.DefaultValue != nil {
		def = fmt.Sprint(*t.DefaultValue)
	}
	if t.Unit != "" {
		unit = string(t.Unit)
	}
	if t.Dimensions != nil {
		dims = fmt.Sprint(t.Dimensions)
	}
	return fmt.Sprintf("MetricTransformation(metricName=%s, metricNamespace=%s, metricValue=%s, defaultValue=%s, unit=%s, dimensions=%s)",
		*t.MetricName, *t.MetricNamespace, *t.MetricValue, def, unit, dims)
}

// DescribeMetricFilters implements the operation.
func (s *Service) DescribeMetricFilters(ctx context.Context, in *cwl.DescribeMetricFiltersInput, _ ...func(*cwl.Options)) (*cwl.DescribeMetricFiltersOutput, error) {
	var c checks
	c.optional("logGroupName", in.LogGroupName, groupName, 1)
	c.optional("filterNamePrefix", in.FilterNamePrefix, filterName, 1)
	c.optional("metricName", in.MetricName, metricName, 0)
	c.optional("metricNamespace", in.MetricNamespace, metricName, 0)
	c.Span("limit", in.Limit, 1, 50)
	if err := c.err(); err != nil {
		return nil, err
	}
	if (in.MetricName == nil) != (in.MetricNamespace == nil) {
		return nil, invalid("If you include the metricName parameter in your request, you must also include the metricNamespace parameter.")
	}
	sc := awsid.CallerFrom(ctx).Scope
	prefix := ""
	if in.LogGroupName != nil {
		if groups.Get(s.store, sc, *in.LogGroupName) == nil {
			return nil, noGroup()
		}
		prefix = filterKey(*in.LogGroupName, "")
	}
	var all []*metricFilter
	for _, f := range metricFilters.ListPrefix(s.store, sc, prefix) {
		feeds := in.MetricName == nil || slices.ContainsFunc(f.Filter.MetricTransformations, func(t types.MetricTransformation) bool {
			return *t.MetricName == *in.MetricName && *t.MetricNamespace == *in.MetricNamespace
		})
		if feeds && strings.HasPrefix(*f.Filter.FilterName, aws.ToString(in.FilterNamePrefix)) {
			all = append(all, f)
		}
	}
	key := func(f *metricFilter) string { return *f.Filter.FilterName + ":" + f.Group }
	all, next, err := page(all, key, in.NextToken, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &cwl.DescribeMetricFiltersOutput{MetricFilters: make([]types.MetricFilter, len(all)), NextToken: next}
	for i, f := range all {
		out.MetricFilters[i] = f.Filter
	}
	return out, nil
}

// DeleteMetricFilter implements the operation.
func (s *Service) DeleteMetricFilter(ctx context.Context, in *cwl.DeleteMetricFilterInput, _ ...func(*cwl.Options)) (*cwl.DeleteMetricFilterOutput, error) {
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
		if metricFilters.Get(tx, sc, key) == nil {
			return notFound("The specified metric filter does not exist.")
		}
		metricFilters.Delete(tx, sc, key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cwl.DeleteMetricFilterOutput{}, nil
}

// TestMetricFilter implements the operation. Extracted values are not told.
func (s *Service) TestMetricFilter(_ context.Context, in *cwl.TestMetricFilterInput, _ ...func(*cwl.Options)) (*cwl.TestMetricFilterOutput, error) {
	var c checks
	c.text("filterPattern", in.FilterPattern, filterText, 0)
	c.Null("logEventMessages", in.LogEventMessages == nil)
	for i, m := range in.LogEventMessages {
		c.text(fmt.Sprintf("logEventMessages.%d.member", i+1), &m, anyText, 1)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	match, err := compile(*in.FilterPattern)
	if err != nil {
		return nil, err
	}
	out := &cwl.TestMetricFilterOutput{Matches: []types.MetricFilterMatchRecord{}}
	for i, m := range in.LogEventMessages {
		if match(m) {
			out.Matches = append(out.Matches, types.MetricFilterMatchRecord{EventNumber: int64(i + 1), EventMessage: &m, ExtractedValues: map[string]string{}})
		}
	}
	return out, nil
}
