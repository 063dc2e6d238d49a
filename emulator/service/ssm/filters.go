package ssm

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// filters turns a request's filters into one test. keys are those that the
// operation takes, besides tag:<key> where Name is one of them; shown are those that
// it says it takes.
func (s *Service) filters(sc awsid.Scope, list []types.ParameterStringFilter, shown string, keys ...string) (func(*version) bool, error) {
	var tests []func(*version) bool
	for i, f := range list {
		key := aws.ToString(f.Key)
		tag, isTag := strings.CutPrefix(key, "tag:")
		if isTag = isTag && slices.Contains(keys, "Name"); !isTag && !slices.Contains(keys, key) {
			return nil, &types.InvalidFilterKey{Message: aws.String("The following filter key is not valid: " + key + ". Valid filter keys include: " + shown + ".")}
		}
		if slices.ContainsFunc(list[:i], func(o types.ParameterStringFilter) bool { return aws.ToString(o.Key) == key }) {
			return nil, &types.InvalidFilterKey{Message: aws.String("The following filter is duplicated in the request: " + key + ". A request can contain only one occurrence of a specific filter.")}
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
	if len(values) == 0 && !strings.HasPrefix(key, "tag:") {
		return nil, &types.InvalidFilterValue{Message: aws.String("The following filter values are missing : null for filter key " + key + ".")}
	}
	if err := checkValues(key, values); err != nil {
		return nil, err
	}
	compare := map[string]func(have, want string) bool{
		"Equals": func(h, w string) bool { return h == w }, "BeginsWith": strings.HasPrefix, "Contains": strings.Contains,
	}
	valid := []string{"BeginsWith", "Equals"}
	switch {
	case key == "Path":
		valid = []string{"Recursive", "OneLevel"}
		compare["Recursive"] = func(h, w string) bool { return strings.HasPrefix(h, strings.TrimSuffix(w, "/")+"/") }
		compare["OneLevel"] = func(h, w string) bool {
			rest, ok := strings.CutPrefix(h, strings.TrimSuffix(w, "/")+"/")
			return ok && !strings.Contains(rest, "/")
		}
		if option == "" {
			option = "OneLevel"
		}
	case option == "":
		option = "Equals"
	}
	if !slices.Contains(valid, option) && (key != "Name" || option != "Contains") {
		return nil, &types.InvalidFilterOption{Message: aws.String("The following filter option is not valid: " + option + ". Valid options include: [" + strings.Join(valid, ", ") + "].")}
	}
	test := compare[option]
	return func(have string) bool {
		return slices.ContainsFunc(values, func(w string) bool { return test(have, w) })
	}, nil
}

// checkValues judges the values of a filter that takes not just any.
func checkValues(key string, values []string) error {
	valid := map[string][]string{"Tier": {tierStandard, tierAdvanced, tierIntelligent}, "Type": {typeString, typeList, typeSecure}}[key]
	for _, v := range values {
		low := strings.ToLower(v)
		switch {
		case valid != nil && !slices.Contains(valid, v):
			return &types.InvalidFilterOption{Message: aws.String("The following filter value is not valid: " + v + ". Valid values include: [" + strings.Join(valid, ", ") + "].")}
		case key != "Path":
		case strings.HasPrefix(low, "/aws"), strings.HasPrefix(low, "/ssm"):
			return validation(`Filters for common parameters can't be prefixed with "aws" or "ssm" (case-insensitive). When using global parameters, please specify within a global namespace.`)
		case !isPath(v):
			return validation(badPath)
		}
	}
	return nil
}

const badPath = `The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "/". It can't be prefixed with "aws" or "ssm" (case-insensitive). It must use only letters, numbers, or the following symbols: . (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if specified, must use the forward slash symbol "/". Valid example: /get/parameters2-/by1./path0_.`

func isPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.Contains(s, "//") && namePattern.MatchString(s)
}

var filterKey = regexp.MustCompile(`^(tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType)$`)

// filters checks the filters of a request.
func (c *checks) filters(list []types.ParameterStringFilter) {
	for i, f := range list {
		member := fmt.Sprintf("parameterFilters.%d.member.", i+1)
		c.Required(member+"key", f.Key, 1, 132)
		c.Pattern(member+"key", f.Key, filterKey, "tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType")
		c.Length(member+"option", f.Option, 1, 10)
		if f.Values != nil {
			c.Count(member+"values", f.Values, 1, 50)
			c.members(member+"values", f.Values, 1, 1024)
		}
	}
}
