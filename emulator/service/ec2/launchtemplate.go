package ec2

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

var templateNameForm = regexp.MustCompile(`^[a-zA-Z0-9().\-/_]{3,128}$`)

// versionID keys the record of a version; the digits make ids sort by number.
func versionID(template string, n int64) string { return fmt.Sprintf("%s/%012d", template, n) }

func errNoTemplateName(name string) error {
	return apiError("InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name %s, does not exist.", name)
}

// templateOf finds the template that a request names by id or name.
func templateOf(r store.Reader, sc awsid.Scope, id, name *string) (*LaunchTemplate, error) {
	switch {
	case id != nil && name != nil:
		return nil, errCombination("You may only specify one of launchTemplateName or launchTemplateId.")
	case id != nil:
		return launchTemplateKind.get(r, sc, id)
	case name == nil || *name == "":
		return nil, apiError("MissingParameter", "The request must contain the parameter launchTemplateId or launchTemplateName")
	}
	for _, lt := range LaunchTemplates.List(r, sc) {
		if deref(lt.LaunchTemplateName) == *name {
			return lt, nil
		}
	}
	return nil, errNoTemplateName(*name)
}

// versionOf resolves a version as requests write it: a number, $Latest, $Default,
// or nothing for the default one.
func versionOf(r store.Reader, sc awsid.Scope, lt *LaunchTemplate, version string) (*LaunchTemplateVersion, error) {
	n := aws.ToInt64(lt.DefaultVersionNumber)
	switch version {
	case "", "$Default":
	case "$Latest":
		n = aws.ToInt64(lt.LatestVersionNumber)
	default:
		parsed, err := strconv.ParseInt(version, 10, 64)
		if err != nil || parsed < 1 {
			return nil, errInvalid("Invalid launch template version: either '$Default', '$Latest', or a numeric version are allowed.")
		}
		n = parsed
	}
	if v := LaunchTemplateVersions.Get(r, sc, versionID(*lt.LaunchTemplateId, n)); v != nil {
		return v, nil
	}
	return nil, apiError("InvalidLaunchTemplateId.VersionNotFound", "Could not find launch template version %s for launch template %s", version, *lt.LaunchTemplateId)
}

// CreateLaunchTemplate creates a template with its first version.
func (s *Service) CreateLaunchTemplate(ctx context.Context, in *ec2.CreateLaunchTemplateInput, _ ...func(*ec2.Options)) (*ec2.CreateLaunchTemplateOutput, error) {
	switch {
	case in.LaunchTemplateName == nil:
		return nil, errMissing("LaunchTemplateName")
	case !templateNameForm.MatchString(*in.LaunchTemplateName):
		return nil, apiError("InvalidLaunchTemplateName.MalformedException", "Launch template names must be between 3 and 128 characters long, and may contain letters, numbers, and the following characters: - ( ) . / _")
	case in.LaunchTemplateData == nil:
		return nil, errMissing("LaunchTemplateData")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeLaunchTemplate)
	if err != nil {
		return nil, err
	}
	if err := checkTemplateData(in.LaunchTemplateData); err != nil {
		return nil, err
	}
	var lt *LaunchTemplate
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rp, err := s.replayOf(tx, sc, "CreateLaunchTemplate", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if lt = LaunchTemplates.Get(tx, sc, rp.ids[0]); lt != nil {
				return nil
			}
		}
		for _, other := range LaunchTemplates.List(tx, sc) {
			if deref(other.LaunchTemplateName) == *in.LaunchTemplateName {
				return apiError("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
			}
		}
		now := s.now()
		lt = &LaunchTemplate{types.LaunchTemplate{
			LaunchTemplateId: aws.String(awsid.NewID("lt")), LaunchTemplateName: in.LaunchTemplateName, Tags: tags,
			CreateTime: &now, CreatedBy: aws.String(awsid.CallerFrom(ctx).ARN), DefaultVersionNumber: aws.Int64(1), LatestVersionNumber: aws.Int64(1),
		}}
		LaunchTemplates.Put(tx, sc, *lt.LaunchTemplateId, lt)
		s.remember(tx, sc, rp, *lt.LaunchTemplateId)
		_, err = s.putVersion(ctx, tx, sc, lt, 1, in.VersionDescription, in.LaunchTemplateData)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateLaunchTemplateOutput{LaunchTemplate: &lt.LaunchTemplate}, nil
}

// putVersion writes a version of a template.
func (s *Service) putVersion(ctx context.Context, tx *store.Tx, sc awsid.Scope, lt *LaunchTemplate, n int64, description *string, data *types.RequestLaunchTemplateData) (*LaunchTemplateVersion, error) {
	shown := new(types.ResponseLaunchTemplateData)
	if err := convert(data, shown); err != nil {
		return nil, err
	}
	now := s.now()
	v := &LaunchTemplateVersion{Request: *data, LaunchTemplateVersion: types.LaunchTemplateVersion{
		LaunchTemplateId: lt.LaunchTemplateId, LaunchTemplateName: lt.LaunchTemplateName, VersionNumber: &n, VersionDescription: description,
		CreateTime: &now, CreatedBy: aws.String(awsid.CallerFrom(ctx).ARN), LaunchTemplateData: shown,
	}}
	LaunchTemplateVersions.Put(tx, sc, versionID(*lt.LaunchTemplateId, n), v)
	return v, nil
}

// CreateLaunchTemplateVersion adds a version, if asked on top of an earlier one.
func (s *Service) CreateLaunchTemplateVersion(ctx context.Context, in *ec2.CreateLaunchTemplateVersionInput, _ ...func(*ec2.Options)) (*ec2.CreateLaunchTemplateVersionOutput, error) {
	if in.LaunchTemplateData == nil {
		return nil, errMissing("LaunchTemplateData")
	}
	if err := checkTemplateData(in.LaunchTemplateData); err != nil {
		return nil, err
	}
	var out types.LaunchTemplateVersion
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		found, err := templateOf(tx, sc, in.LaunchTemplateId, in.LaunchTemplateName)
		if err != nil {
			return err
		}
		lt := LaunchTemplates.Edit(tx, sc, *found.LaunchTemplateId)
		rp, err := s.replayOf(tx, sc, "CreateLaunchTemplateVersion", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if v := LaunchTemplateVersions.Get(tx, sc, rp.ids[0]); v != nil {
				out = versionView(tx, sc, v)
				return nil
			}
		}
		data := in.LaunchTemplateData
		if in.SourceVersion != nil {
			source, err := versionOf(tx, sc, lt, *in.SourceVersion)
			if err != nil {
				return err
			}
			data = overlayData(source.Request, *data)
		}
		n := aws.ToInt64(lt.LatestVersionNumber) + 1
		lt.LatestVersionNumber = &n
		LaunchTemplates.Put(tx, sc, *lt.LaunchTemplateId, lt)
		v, err := s.putVersion(ctx, tx, sc, lt, n, in.VersionDescription, data)
		if err != nil {
			return err
		}
		s.remember(tx, sc, rp, versionID(*lt.LaunchTemplateId, n))
		out = versionView(tx, sc, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateLaunchTemplateVersionOutput{LaunchTemplateVersion: &out}, nil
}

func versionView(r store.Reader, sc awsid.Scope, rec *LaunchTemplateVersion) types.LaunchTemplateVersion {
	v := rec.LaunchTemplateVersion
	lt := LaunchTemplates.Get(r, sc, *v.LaunchTemplateId)
	v.DefaultVersion = aws.Bool(lt != nil && aws.ToInt64(lt.DefaultVersionNumber) == *v.VersionNumber)
	return v
}

// ModifyLaunchTemplate chooses the default version.
func (s *Service) ModifyLaunchTemplate(ctx context.Context, in *ec2.ModifyLaunchTemplateInput, _ ...func(*ec2.Options)) (*ec2.ModifyLaunchTemplateOutput, error) {
	var lt *LaunchTemplate
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		found, err := templateOf(tx, sc, in.LaunchTemplateId, in.LaunchTemplateName)
		if err != nil {
			return err
		}
		lt = LaunchTemplates.Edit(tx, sc, *found.LaunchTemplateId)
		if in.DefaultVersion == nil {
			return errMissing("SetDefaultVersion")
		}
		v, err := versionOf(tx, sc, lt, *in.DefaultVersion)
		if err != nil {
			return err
		}
		lt.DefaultVersionNumber = v.VersionNumber
		LaunchTemplates.Put(tx, sc, *lt.LaunchTemplateId, lt)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifyLaunchTemplateOutput{LaunchTemplate: &lt.LaunchTemplate}, nil
}

// DeleteLaunchTemplate deletes a template with all its versions.
func (s *Service) DeleteLaunchTemplate(ctx context.Context, in *ec2.DeleteLaunchTemplateInput, _ ...func(*ec2.Options)) (*ec2.DeleteLaunchTemplateOutput, error) {
	var lt *LaunchTemplate
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		var err error
		if lt, err = templateOf(tx, sc, in.LaunchTemplateId, in.LaunchTemplateName); err != nil {
			return err
		}
		for _, v := range LaunchTemplateVersions.ListPrefix(tx, sc, *lt.LaunchTemplateId+"/") {
			LaunchTemplateVersions.Delete(tx, sc, versionID(*lt.LaunchTemplateId, *v.VersionNumber))
		}
		LaunchTemplates.Delete(tx, sc, *lt.LaunchTemplateId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteLaunchTemplateOutput{LaunchTemplate: &lt.LaunchTemplate}, nil
}

// DeleteLaunchTemplateVersions deletes versions other than the default one, each
// with a result of its own.
func (s *Service) DeleteLaunchTemplateVersions(ctx context.Context, in *ec2.DeleteLaunchTemplateVersionsInput, _ ...func(*ec2.Options)) (*ec2.DeleteLaunchTemplateVersionsOutput, error) {
	if len(in.Versions) == 0 {
		return nil, errMissing("LaunchTemplateVersion")
	}
	var out *ec2.DeleteLaunchTemplateVersionsOutput
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		out = &ec2.DeleteLaunchTemplateVersionsOutput{}
		lt, err := templateOf(tx, sc, in.LaunchTemplateId, in.LaunchTemplateName)
		if err != nil {
			return err
		}
		fail := func(n int64, code types.LaunchTemplateErrorCode, message string) {
			out.UnsuccessfullyDeletedLaunchTemplateVersions = append(out.UnsuccessfullyDeletedLaunchTemplateVersions, types.DeleteLaunchTemplateVersionsResponseErrorItem{
				LaunchTemplateId: lt.LaunchTemplateId, LaunchTemplateName: lt.LaunchTemplateName, VersionNumber: &n,
				ResponseError: &types.ResponseError{Code: code, Message: &message},
			})
		}
		for _, want := range in.Versions {
			n, err := strconv.ParseInt(want, 10, 64)
			switch {
			case err != nil:
				return errInvalid("Invalid launch template version: %s", want)
			case n == aws.ToInt64(lt.DefaultVersionNumber):
				fail(n, types.LaunchTemplateErrorCodeUnexpectedError, "You cannot delete the default version of a launch template")
			case LaunchTemplateVersions.Get(tx, sc, versionID(*lt.LaunchTemplateId, n)) == nil:
				fail(n, types.LaunchTemplateErrorCodeLaunchTemplateVersionDoesNotExist, "Launch template version does not exist")
			default:
				LaunchTemplateVersions.Delete(tx, sc, versionID(*lt.LaunchTemplateId, n))
				out.SuccessfullyDeletedLaunchTemplateVersions = append(out.SuccessfullyDeletedLaunchTemplateVersions, types.DeleteLaunchTemplateVersionsResponseSuccessItem{
					LaunchTemplateId: lt.LaunchTemplateId, LaunchTemplateName: lt.LaunchTemplateName, VersionNumber: &n,
				})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
