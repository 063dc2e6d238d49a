package ssm

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

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
	keep, err := s.filters(sc, filters, "Name", "Type", "KeyId", "Path", "Label", "Tier", "DataType")
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

// filters turns a request's filters into one test. keys are those that the
// operation takes, besides tag:<key> where Name is one of them.
func (s *Service) filters(sc awsid.Scope, list []types.ParameterStringFilter, keys ...string) (func(*version) bool, error) {
	var tests []func(*version) bool
	for _, f := range list {
		key := aws.ToString(f.Key)
		tag, isTag := strings.CutPrefix(key, "tag:")
		if isTag = isTag && slices.Contains(keys, "Name"); !isTag && !slices.Contains(keys, key) {
			return nil, &types.InvalidFilterKey{Message: aws.String("The following filter key is not valid: " + key + ". Valid filter keys include: [" + strings.Join(keys, ", ") + "].")}
		}
		match, err := matcher(key, aws.ToString(f.Option), f.Values)
		if err != nil {
			return nil, err
		}
		switch {
		case isTag:
			tests = append(tests, func(v *version) bool {
				p := parameters.Get(s.store, sc, v.Name)
				val, ok := "", false
				if p != nil {
					val, ok = p.Tags[tag]
				}
				return ok && (len(f.Values) == 0 || match(val))
			})
		case key == "Label":
			tests = append(tests, func(v *version) bool {
				return slices.ContainsFunc(versions.ListPrefix(s.store, sc, v.Name+":"), func(o *version) bool { return slices.ContainsFunc(o.Labels, match) })
			})
		default:
			field := map[string]func(*version) string{
				"Name": func(v *version) string { return v.Name }, "Path": func(v *version) string { return v.Name },
				"Type": func(v *version) string { return v.Type }, "KeyId": func(v *version) string { return v.KeyID },
				"Tier": func(v *version) string { return v.Tier }, "DataType": func(v *version) string { return v.DataType },
			}[key]
			tests = append(tests, func(v *version) bool { return match(field(v)) })
		}
	}
	return func(v *version) bool {
		return !slices.ContainsFunc(tests, func(t func(*version) bool) bool { return !t(v) })
	}, nil
}

// matcher compares a value with a filter's values by the filter's option.
func matcher(key, option string, values []string) (func(string) bool, error) {
	compare := map[string]func(have, want string) bool{
		"Equals": func(h, w string) bool { return h == w }, "BeginsWith": strings.HasPrefix, "Contains": strings.Contains,
	}
	valid := []string{"BeginsWith", "Equals"}
	switch {
	case key == "Path":
		valid = []string{"OneLevel", "Recursive"}
		compare["Recursive"] = func(h, w string) bool { return strings.HasPrefix(h, strings.TrimSuffix(w, "/")+"/") }
		compare["OneLevel"] = func(h, w string) bool {
			rest, ok := strings.CutPrefix(h, strings.TrimSuffix(w, "/")+"/")
			return ok && !strings.Contains(rest, "/")
		}
		if option == "" {
			option = "OneLevel"
		}
	case key == "Name":
		valid = append(valid, "Contains")
	}
	if option == "" {
		option = "Equals"
	}
	if !slices.Contains(valid, option) {
		return nil, &types.InvalidFilterOption{Message: aws.String("The following filter option is not valid: " + option + ". Valid options include: [" + strings.Join(valid, ", ") + "].")}
	}
	if len(values) == 0 && !strings.HasPrefix(key, "tag:") {
		return nil, &types.InvalidFilterValue{Message: aws.String("The following filter values are missing : null for filter key " + key)}
	}
	test := compare[option]
	return func(have string) bool {
		return slices.ContainsFunc(values, func(w string) bool { return test(have, w) })
	}, nil
}
