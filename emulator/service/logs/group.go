package logs

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// CreateLogGroup implements the operation.
func (s *Service) CreateLogGroup(ctx context.Context, in *cwl.CreateLogGroupInput, _ ...func(*cwl.Options)) (*cwl.CreateLogGroupOutput, error) {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	c.optional("kmsKeyId", in.KmsKeyId, keyID, 0)
	oneOf(&c, "logGroupClass", in.LogGroupClass, in.LogGroupClass.Values())
	c.tags("tags", in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	if strings.HasPrefix(strings.ToLower(*in.LogGroupName), "aws/") && awsid.CallerFrom(ctx).Service == "" {
		return nil, invalid("Log groups starting with AWS/ are reserved for AWS.")
	}
	g := newGroup(awsid.CallerFrom(ctx).Scope, *in.LogGroupName, s.millis())
	if in.LogGroupClass != "" {
		g.Class = in.LogGroupClass
	}
	g.KMSKey, g.Protected = aws.ToString(in.KmsKeyId), aws.ToBool(in.DeletionProtectionEnabled)
	var err error
	if g.Tags, err = addTags(ctx, nil, in.Tags); err != nil {
		return nil, err
	}
	if err := s.checkKey(ctx, g.Name, g.KMSKey); err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if groups.Get(tx, g.Scope, g.Name) != nil {
			return &types.ResourceAlreadyExistsException{Message: aws.String("The specified log group already exists")}
		}
		groups.Put(tx, g.Scope, g.Name, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cwl.CreateLogGroupOutput{}, nil
}

func newGroup(sc awsid.Scope, name string, now int64) *group {
	return &group{Scope: sc, Name: name, Created: now, Class: types.LogGroupClassStandard, Tags: map[string]string{}}
}

// checkKey refuses a KMS key that CloudWatch Logs could not use.
func (s *Service) checkKey(ctx context.Context, group, key string) error {
	if key == "" || s.keys == nil {
		return nil
	}
	sc := awsid.CallerFrom(ctx).Scope
	arn := groupARN(sc, group)
	// In China key policies name the service with or without .cn.
	may := func(suffix string) bool {
		return s.keys.ServiceMayUse(ctx, "logs."+sc.Region+"."+suffix, key, map[string]string{"aws:logs:arn": arn})
	}
	if !may("amazonaws.com") && !may(sc.DNSSuffix()) {
		return &types.AccessDeniedException{Message: aws.String("The specified KMS key does not exist or is not allowed to be used with Arn '" + arn + "'")}
	}
	return nil
}

// DeleteLogGroup implements the operation: streams and events go too.
func (s *Service) DeleteLogGroup(ctx context.Context, in *cwl.DeleteLogGroupInput, _ ...func(*cwl.Options)) (*cwl.DeleteLogGroupOutput, error) {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, name := awsid.CallerFrom(ctx).Scope, *in.LogGroupName
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		g := groups.Get(tx, sc, name)
		if g == nil {
			return noGroup()
		}
		if g.Protected {
			return &types.ValidationException{Message: aws.String("The specified log group is protected from deletion. Disable deletion protection and try again.")}
		}
		groups.Delete(tx, sc, name)
		for _, st := range streams.ListPrefix(tx, sc, name+":") {
			deleteStream(tx, sc, st)
		}
		for _, f := range metricFilters.ListPrefix(tx, sc, name+":") {
			metricFilters.Delete(tx, sc, filterKey(name, *f.Filter.FilterName))
		}
		for _, f := range subscriptions.ListPrefix(tx, sc, name+":") {
			subscriptions.Delete(tx, sc, filterKey(name, *f.Filter.FilterName))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cwl.DeleteLogGroupOutput{}, nil
}

// stored is what a group's events count for.
func (s *Service) stored(g *group) *int64 {
	var n int64
	for _, st := range streams.ListPrefix(s.store, g.Scope, g.Name+":") {
		n += st.Stored
	}
	return &n
}

func (s *Service) describe(g *group) types.LogGroup {
	out := types.LogGroup{
		LogGroupName: &g.Name, Arn: aws.String(g.arn() + ":*"), LogGroupArn: aws.String(g.arn()), CreationTime: &g.Created, LogGroupClass: g.Class,
		KmsKeyId: optional(g.KMSKey), StoredBytes: s.stored(g), DeletionProtectionEnabled: &g.Protected,
		MetricFilterCount: aws.Int32(int32(len(metricFilters.ListPrefix(s.store, g.Scope, g.Name+":")))),
	}
	if g.Retention > 0 {
		out.RetentionInDays = &g.Retention
	}
	return out
}

// DescribeLogGroups implements the operation.
func (s *Service) DescribeLogGroups(ctx context.Context, in *cwl.DescribeLogGroupsInput, _ ...func(*cwl.Options)) (*cwl.DescribeLogGroupsOutput, error) {
	var c checks
	c.optional("logGroupNamePrefix", in.LogGroupNamePrefix, groupName, 1)
	c.optional("logGroupNamePattern", in.LogGroupNamePattern, namePattern, 0)
	c.Span("limit", in.Limit, 1, 50)
	oneOf(&c, "logGroupClass", in.LogGroupClass, in.LogGroupClass.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	if in.LogGroupNamePrefix != nil && in.LogGroupNamePattern != nil {
		return nil, invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	var wanted []string
	for _, id := range in.LogGroupIdentifiers {
		name, err := identifiedGroup(ctx, id)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, name)
	}
	var all []*group
	for _, g := range groups.ListPrefix(s.store, awsid.CallerFrom(ctx).Scope, aws.ToString(in.LogGroupNamePrefix)) {
		// The pattern does not look at case, as AWS's does not.
		if strings.Contains(strings.ToLower(g.Name), strings.ToLower(aws.ToString(in.LogGroupNamePattern))) &&
			(in.LogGroupClass == "" || g.Class == in.LogGroupClass) && (wanted == nil || slices.Contains(wanted, g.Name)) {
			all = append(all, g)
		}
	}
	all, next, err := page(all, func(g *group) string { return g.Name }, in.NextToken, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &cwl.DescribeLogGroupsOutput{LogGroups: make([]types.LogGroup, len(all)), NextToken: next}
	for i, g := range all {
		out.LogGroups[i] = s.describe(g)
	}
	return out, nil
}

// ListLogGroups implements the operation.
func (s *Service) ListLogGroups(ctx context.Context, in *cwl.ListLogGroupsInput, _ ...func(*cwl.Options)) (*cwl.ListLogGroupsOutput, error) {
	var c checks
	c.optional("logGroupNamePattern", in.LogGroupNamePattern, listGroupText, 3)
	c.Span("limit", in.Limit, 1, 1000)
	oneOf(&c, "logGroupClass", in.LogGroupClass, in.LogGroupClass.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	var all []*group
	for _, g := range groups.List(s.store, awsid.CallerFrom(ctx).Scope) {
		if matchesAny(g.Name, aws.ToString(in.LogGroupNamePattern)) && (in.LogGroupClass == "" || g.Class == in.LogGroupClass) {
			all = append(all, g)
		}
	}
	all, next, err := page(all, func(g *group) string { return g.Name }, in.NextToken, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &cwl.ListLogGroupsOutput{LogGroups: make([]types.LogGroupSummary, len(all)), NextToken: next}
	for i, g := range all {
		out.LogGroups[i] = types.LogGroupSummary{LogGroupName: &g.Name, LogGroupArn: aws.String(g.arn()), LogGroupClass: g.Class}
	}
	return out, nil
}

// matchesAny reads ListLogGroups's patterns: substrings, or prefixes after ^, any
// of several between bars.
func matchesAny(name, patterns string) bool {
	for _, p := range strings.Split(patterns, "|") {
		if prefix, ok := strings.CutPrefix(p, "^"); ok && strings.HasPrefix(name, prefix) || !ok && strings.Contains(name, p) {
			return true
		}
	}
	return false
}

// changeGroup finds a group and writes what f makes of it.
func (s *Service) changeGroup(ctx context.Context, name string, f func(g *group) error) error {
	sc := awsid.CallerFrom(ctx).Scope
	return s.store.Update(ctx, func(tx *store.Tx) error {
		g := groups.Edit(tx, sc, name)
		if g == nil {
			return noGroup()
		}
		if err := f(g); err != nil {
			return err
		}
		groups.Put(tx, sc, name, g)
		return nil
	})
}

// identifiedGroup is the group that a name or ARN stands for.
func identifiedGroup(ctx context.Context, id string) (string, error) {
	if !strings.HasPrefix(id, "arn:") {
		return id, nil
	}
	who := awsid.CallerFrom(ctx)
	a, err := awsid.ParseARN(id)
	name, ok := strings.CutPrefix(a.Resource, "log-group:")
	if err != nil || !ok || a.Service != "logs" {
		return "", invalid("The specified ARN %s is not the ARN of a log group.", id)
	}
	if a.Partition != who.Partition() || a.Account != who.Account || a.Region != who.Region {
		return "", noGroup()
	}
	return strings.TrimSuffix(name, ":*"), nil
}

// chosenGroup is the group of a request that takes a name or an identifier.
func chosenGroup(ctx context.Context, name, id *string) (string, error) {
	var c checks
	c.optional("logGroupName", name, groupName, 1)
	c.optional("logGroupIdentifier", id, groupID, 1)
	if err := c.err(); err != nil {
		return "", err
	}
	switch {
	case name != nil && id != nil:
		return "", &types.ValidationException{Message: aws.String("LogGroup name and LogGroup ARN are mutually exclusive parameters.")}
	case name != nil:
		return *name, nil
	case id != nil:
		return identifiedGroup(ctx, *id)
	}
	return "", &types.ValidationException{Message: aws.String("Either LogGroup name or LogGroup ARN must be specified.")}
}

// PutLogGroupDeletionProtection implements the operation.
func (s *Service) PutLogGroupDeletionProtection(ctx context.Context, in *cwl.PutLogGroupDeletionProtectionInput, _ ...func(*cwl.Options)) (*cwl.PutLogGroupDeletionProtectionOutput, error) {
	var c checks
	c.text("logGroupIdentifier", in.LogGroupIdentifier, groupID, 1)
	c.Null("deletionProtectionEnabled", in.DeletionProtectionEnabled == nil)
	if err := c.err(); err != nil {
		return nil, err
	}
	name, err := identifiedGroup(ctx, *in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	err = s.changeGroup(ctx, name, func(g *group) error { g.Protected = *in.DeletionProtectionEnabled; return nil })
	if err != nil {
		return nil, err
	}
	return &cwl.PutLogGroupDeletionProtectionOutput{}, nil
}
