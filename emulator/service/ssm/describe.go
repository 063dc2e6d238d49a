package ssm

import (
	"context"
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// policies are the parameter's policies (expiration and notices) as written.
// Nothing acts on them.
func (v *version) policies() []types.ParameterInlinePolicy {
	out := []types.ParameterInlinePolicy{}
	var list []json.RawMessage
	if json.Unmarshal([]byte(v.Policies), &list) != nil {
		return out
	}
	for _, raw := range list {
		var p struct{ Type string }
		if json.Unmarshal(raw, &p) == nil {
			out = append(out, types.ParameterInlinePolicy{PolicyText: aws.String(string(raw)), PolicyType: optional(p.Type), PolicyStatus: aws.String("Pending")})
		}
	}
	return out
}

// DescribeParameters implements the operation. Public parameters are not in it.
func (s *Service) DescribeParameters(ctx context.Context, in *ssm.DescribeParametersInput, _ ...func(*ssm.Options)) (*ssm.DescribeParametersOutput, error) {
	var c checks
	c.Span("maxResults", in.MaxResults, 1, 50)
	c.filters(in.ParameterFilters)
	if err := c.err(); err != nil {
		return nil, err
	}
	if len(in.Filters) > 0 && len(in.ParameterFilters) > 0 {
		return nil, validation("You can use either Filters or ParameterFilters in a single request.")
	}
	sc := awsid.CallerFrom(ctx).Scope
	filters := in.ParameterFilters
	for _, f := range in.Filters {
		option := "BeginsWith"
		if f.Key != types.ParametersFilterKeyName {
			option = "Equals"
		}
		filters = append(filters, types.ParameterStringFilter{Key: aws.String(string(f.Key)), Option: &option, Values: f.Values})
	}
	keep, err := s.filters(sc, filters, "[Path, Name, Type, KeyId, Tier]", "Path", "Name", "Type", "KeyId", "Tier", "DataType")
	if err != nil {
		return nil, err
	}
	var all []*version
	if !aws.ToBool(in.Shared) {
		for _, v := range s.own(sc) {
			if keep(v) {
				all = append(all, v)
			}
		}
	}
	all, next, err := page(all, func(v *version) string { return v.Name }, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeParametersOutput{Parameters: make([]types.ParameterMetadata, len(all)), NextToken: next}
	for i, v := range all {
		out.Parameters[i] = types.ParameterMetadata{
			Name: &v.Name, ARN: &v.ARN, Type: types.ParameterType(v.Type), KeyId: optional(v.KeyID), LastModifiedDate: &v.Modified,
			LastModifiedUser: &v.User, Description: optional(v.Description), AllowedPattern: optional(v.Pattern), Version: v.Number,
			Tier: types.ParameterTier(v.Tier), Policies: v.policies(), DataType: &v.DataType,
		}
	}
	return out, nil
}
