package ssm

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// splitSelector takes a version or label off a name: name:3, name:prod. The name
// may be an ARN, whose own colons are not selectors.
func splitSelector(sc awsid.Scope, name string) (string, string) {
	if a, err := awsid.ParseARN(name); err == nil && a.Service == "ssm" {
		rest, ok := strings.CutPrefix(a.Resource, "parameter")
		if !ok || a.Partition != sc.Partition() || a.Region != sc.Region || a.Account != sc.Account && a.Account != "" {
			return name, ""
		}
		bare, sel, _ := strings.Cut(rest, ":")
		// The ARN of a name without slash has one all the same.
		if strings.Count(bare, "/") == 1 {
			bare = bare[1:]
		}
		return bare, sel
	}
	bare, sel, _ := strings.Cut(name, ":")
	return bare, sel
}

// find returns the version of a parameter that a name with an optional selector
// stands for.
func (s *Service) find(sc awsid.Scope, name string) (*version, string, error) {
	bare, sel := splitSelector(sc, name)
	newest := s.newest(sc, bare)
	if newest == nil && strings.HasPrefix(name, "arn:") {
		newest = s.newest(sc, "/"+bare)
	}
	if newest == nil || strings.Contains(sel, ":") {
		return nil, "", notFound()
	}
	if sel == "" {
		return newest, "", nil
	}
	if n, err := strconv.ParseInt(sel, 10, 64); err == nil {
		if v := s.numbered(sc, newest, n); v != nil {
			return v, ":" + sel, nil
		}
		return nil, "", &types.ParameterVersionNotFound{Message: aws.String(fmt.Sprintf("Systems Manager could not find version %s of %s. Verify the version and try again.", sel, bare))}
	}
	for _, v := range versions.ListPrefix(s.store, sc, newest.Name+":") {
		if slices.Contains(v.Labels, sel) {
			return v, ":" + sel, nil
		}
	}
	return nil, "", &types.ParameterVersionNotFound{Message: aws.String(fmt.Sprintf("Systems Manager could not find version label %s of %s. Verify the label and try again.", sel, bare))}
}

func (s *Service) newest(sc awsid.Scope, name string) *version {
	if strings.HasPrefix(name, publicPrefix) {
		return publicByName(sc.Region, name)
	}
	if p := parameters.Get(s.store, sc, name); p != nil {
		return &p.version
	}
	return nil
}

func (s *Service) numbered(sc awsid.Scope, newest *version, n int64) *version {
	if n == newest.Number {
		return newest
	}
	return versions.Get(s.store, sc, versionKey(newest.Name, n))
}

// shown is the value as the caller sees it. What stands for KMS's ciphertext is
// the value itself in base64: the emulator keeps no secret from its user.
func (v *version) shown(decrypt *bool) *string {
	if v.Type == typeSecure && !aws.ToBool(decrypt) {
		return aws.String(base64.StdEncoding.EncodeToString([]byte("\x01\x02\x02\x00" + v.KeyID + "\x00" + v.Value)))
	}
	return &v.Value
}

func (v *version) describe(selector string, decrypt *bool) types.Parameter {
	return types.Parameter{
		Name: &v.Name, ARN: &v.ARN, Type: types.ParameterType(v.Type), Value: v.shown(decrypt), Version: v.Number,
		LastModifiedDate: &v.Modified, DataType: &v.DataType, Selector: optional(selector),
	}
}

// GetParameter implements the operation.
func (s *Service) GetParameter(ctx context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	var c checks
	c.Required("name", in.Name, 1, 2048)
	if err := c.err(); err != nil {
		return nil, err
	}
	v, sel, err := s.find(awsid.CallerFrom(ctx).Scope, *in.Name)
	if err != nil {
		return nil, err
	}
	p := v.describe(sel, in.WithDecryption)
	return &ssm.GetParameterOutput{Parameter: &p}, nil
}

// GetParameters implements the operation. What is not found is listed, not
// an error.
func (s *Service) GetParameters(ctx context.Context, in *ssm.GetParametersInput, _ ...func(*ssm.Options)) (*ssm.GetParametersOutput, error) {
	var c checks
	c.list("names", in.Names, 1, 10)
	if err := c.err(); err != nil {
		return nil, err
	}
	out := &ssm.GetParametersOutput{Parameters: []types.Parameter{}, InvalidParameters: []string{}}
	seen := map[string]bool{}
	for _, n := range in.Names {
		if seen[n] {
			return nil, validation("Duplicate parameter names: %s", n)
		}
		seen[n] = true
		v, sel, err := s.find(awsid.CallerFrom(ctx).Scope, n)
		if err != nil {
			out.InvalidParameters = append(out.InvalidParameters, n)
			continue
		}
		out.Parameters = append(out.Parameters, v.describe(sel, in.WithDecryption))
	}
	return out, nil
}

// GetParametersByPath implements the operation.
func (s *Service) GetParametersByPath(ctx context.Context, in *ssm.GetParametersByPathInput, _ ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error) {
	var c checks
	c.Required("path", in.Path, 1, 2048)
	c.Span("maxResults", in.MaxResults, 1, 10)
	c.filters(in.ParameterFilters)
	if err := c.err(); err != nil {
		return nil, err
	}
	if !isPath(*in.Path) {
		return nil, validation(badPath)
	}
	keep, err := s.filters(awsid.CallerFrom(ctx).Scope, in.ParameterFilters, "[Type, KeyId]", "Type", "KeyId", "Label")
	if err != nil {
		return nil, err
	}
	var all []*version
	for _, v := range s.under(awsid.CallerFrom(ctx).Scope, *in.Path, aws.ToBool(in.Recursive)) {
		if keep(v) {
			all = append(all, v)
		}
	}
	all, next, err := page(all, func(v *version) string { return v.Name }, in.NextToken, in.MaxResults, 10)
	if err != nil {
		return nil, err
	}
	out := &ssm.GetParametersByPathOutput{Parameters: make([]types.Parameter, len(all)), NextToken: next}
	for i, v := range all {
		out.Parameters[i] = v.describe("", in.WithDecryption)
	}
	return out, nil
}

// under lists the newest versions below a path, ordered by name.
func (s *Service) under(sc awsid.Scope, path string, recursive bool) []*version {
	dir := strings.TrimSuffix(path, "/") + "/"
	all := s.own(sc)
	if strings.HasPrefix(dir, publicPrefix) {
		all = public(sc.Region)
	}
	var out []*version
	for _, v := range all {
		rest, ok := strings.CutPrefix(v.Name, dir)
		if ok && (recursive || !strings.Contains(rest, "/")) {
			out = append(out, v)
		}
	}
	return out
}

// own lists the newest versions of the account's parameters, ordered by name.
func (s *Service) own(sc awsid.Scope) []*version {
	list := parameters.List(s.store, sc)
	out := make([]*version, len(list))
	for i, p := range list {
		out[i] = &p.version
	}
	slices.SortFunc(out, func(a, b *version) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// GetParameterHistory implements the operation: oldest version first.
func (s *Service) GetParameterHistory(ctx context.Context, in *ssm.GetParameterHistoryInput, _ ...func(*ssm.Options)) (*ssm.GetParameterHistoryOutput, error) {
	var c checks
	c.Required("name", in.Name, 1, 2048)
	c.Span("maxResults", in.MaxResults, 1, 50)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	all := versions.ListPrefix(s.store, sc, *in.Name+":")
	if len(all) == 0 {
		return nil, notFound()
	}
	all, next, err := page(all, func(v *version) string { return versionKey("", v.Number) }, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	out := &ssm.GetParameterHistoryOutput{Parameters: make([]types.ParameterHistory, len(all)), NextToken: next}
	for i, v := range all {
		labels := v.Labels
		if labels == nil {
			labels = []string{}
		}
		out.Parameters[i] = types.ParameterHistory{
			Name: &v.Name, Type: types.ParameterType(v.Type), KeyId: optional(v.KeyID), LastModifiedDate: &v.Modified, LastModifiedUser: &v.User,
			Description: optional(v.Description), Value: v.shown(in.WithDecryption), AllowedPattern: optional(v.Pattern), Version: v.Number,
			Labels: labels, Tier: types.ParameterTier(v.Tier), Policies: v.policies(), DataType: &v.DataType,
		}
	}
	return out, nil
}
