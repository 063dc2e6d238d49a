package ec2

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// DescribeLaunchTemplates lists templates.
func (s *Service) DescribeLaunchTemplates(ctx context.Context, in *ec2.DescribeLaunchTemplatesInput, _ ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplatesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	const absent = "At least one of the launch templates specified in the request does not exist."
	ids := slices.Clone(in.LaunchTemplateIds)
	for _, name := range in.LaunchTemplateNames {
		lt, err := templateOf(s.store, sc, nil, &name)
		if err != nil {
			return nil, apiErrorLike(err, "InvalidLaunchTemplateName.NotFoundException", "InvalidLaunchTemplateName.NotFoundException", absent)
		}
		ids = append(ids, *lt.LaunchTemplateId)
	}
	page, next, err := launchTemplateLister.run(s.store, sc, query{ids, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, apiErrorLike(err, "InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.NotFound", absent)
	}
	return &ec2.DescribeLaunchTemplatesOutput{LaunchTemplates: page, NextToken: next}, nil
}

var launchTemplateLister = &lister[LaunchTemplate, types.LaunchTemplate]{
	kind: launchTemplateKind,
	view: func(_ store.Reader, _ awsid.Scope, r *LaunchTemplate) types.LaunchTemplate { return r.LaunchTemplate },
	id:   func(v *types.LaunchTemplate) string { return deref(v.LaunchTemplateId) },
	tags: func(v *types.LaunchTemplate) []types.Tag { return v.Tags },
	filters: fields[types.LaunchTemplate]{
		"create-time":          func(v *types.LaunchTemplate) []string { return instant(v.CreateTime) },
		"launch-template-name": func(v *types.LaunchTemplate) []string { return one(v.LaunchTemplateName) },
	},
	minPage: 1,
}

// DescribeLaunchTemplateVersions lists versions, newest first: of one template,
// or the latest or default one of every template.
func (s *Service) DescribeLaunchTemplateVersions(ctx context.Context, in *ec2.DescribeLaunchTemplateVersionsInput, _ ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	if n := in.MaxResults; n != nil && (*n < 1 || *n > 200) {
		return nil, errInvalid("Maximum results allowed are between 1 and 200")
	}
	match, err := compile(versionFilters, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	recs, err := s.selectVersions(sc, in)
	if err != nil {
		return nil, err
	}
	out := []types.LaunchTemplateVersion{}
	for _, rec := range recs {
		if v := versionView(s.store, sc, rec); match(&v) {
			out = append(out, v)
		}
	}
	// Pages are cut by an ascending key: count downwards.
	key := func(v *types.LaunchTemplateVersion) string {
		return versionID(*v.LaunchTemplateId, 999_999_999_999-*v.VersionNumber)
	}
	slices.SortFunc(out, func(a, b types.LaunchTemplateVersion) int { return strings.Compare(key(&a), key(&b)) })
	page, next, err := paginate(out, key, in.MaxResults, in.NextToken, 1)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeLaunchTemplateVersionsOutput{LaunchTemplateVersions: page, NextToken: next}, nil
}

func (s *Service) selectVersions(sc awsid.Scope, in *ec2.DescribeLaunchTemplateVersionsInput) ([]*LaunchTemplateVersion, error) {
	var out []*LaunchTemplateVersion
	if in.LaunchTemplateId == nil && in.LaunchTemplateName == nil {
		if len(in.Versions) == 0 {
			return nil, apiError("MissingParameter", "The request must contain the parameter launchTemplateId or launchTemplateName")
		}
		for _, want := range in.Versions {
			if want != "$Latest" && want != "$Default" {
				return nil, errInvalid("Without a launch template, versions can only be $Latest or $Default.")
			}
			for _, lt := range LaunchTemplates.List(s.store, sc) {
				if v, err := versionOf(s.store, sc, lt, want); err == nil {
					out = append(out, v)
				}
			}
		}
		return unique(out), nil
	}
	lt, err := templateOf(s.store, sc, in.LaunchTemplateId, in.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	for _, want := range in.Versions {
		v, err := versionOf(s.store, sc, lt, want)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	if len(in.Versions) > 0 {
		return unique(out), nil
	}
	least, err := bound(in.MinVersion, 0)
	if err != nil {
		return nil, err
	}
	most, err := bound(in.MaxVersion, 1<<62)
	if err != nil {
		return nil, err
	}
	for _, v := range LaunchTemplateVersions.ListPrefix(s.store, sc, *lt.LaunchTemplateId+"/") {
		if *v.VersionNumber >= least && *v.VersionNumber <= most {
			out = append(out, v)
		}
	}
	return out, nil
}

func unique(in []*LaunchTemplateVersion) []*LaunchTemplateVersion {
	var out []*LaunchTemplateVersion
	for _, v := range in {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func bound(s *string, def int64) (int64, error) {
	if s == nil {
		return def, nil
	}
	n, err := strconv.ParseInt(*s, 10, 64)
	if err != nil {
		return 0, errInvalid("Invalid launch template version: %s", *s)
	}
	return n, nil
}

var versionFilters = fields[types.LaunchTemplateVersion]{
	"create-time":        func(v *types.LaunchTemplateVersion) []string { return instant(v.CreateTime) },
	"is-default-version": func(v *types.LaunchTemplateVersion) []string { return boolean(v.DefaultVersion) },
	"ebs-optimized":      func(v *types.LaunchTemplateVersion) []string { return boolean(v.LaunchTemplateData.EbsOptimized) },
	"image-id":           func(v *types.LaunchTemplateVersion) []string { return one(v.LaunchTemplateData.ImageId) },
	"instance-type":      func(v *types.LaunchTemplateVersion) []string { return text(v.LaunchTemplateData.InstanceType) },
	"kernel-id":          func(v *types.LaunchTemplateVersion) []string { return one(v.LaunchTemplateData.KernelId) },
	"ram-disk-id":        func(v *types.LaunchTemplateVersion) []string { return one(v.LaunchTemplateData.RamDiskId) },
}.more(versionPaths)
