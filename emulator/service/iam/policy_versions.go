package iam

import (
	"context"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func (p *customerPolicy) version(id *string) (int, error) {
	var c checks
	c.Null("versionId", id == nil)
	c.Pattern("versionId", id, versionPattern, `v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`)
	if err := c.err(); err != nil {
		return 0, err
	}
	i := slices.IndexFunc(p.Versions, func(v policyVersion) bool { return v.ID == *id })
	if i < 0 {
		return 0, noSuchEntity("Policy " + p.ARN + " version " + *id + " does not exist or is not attachable.")
	}
	return i, nil
}

func (p *customerPolicy) describe(v policyVersion) types.PolicyVersion {
	return types.PolicyVersion{VersionId: &v.ID, IsDefaultVersion: v.ID == p.Default, CreateDate: &v.Created}
}

// CreatePolicyVersion implements the operation.
func (s *Service) CreatePolicyVersion(ctx context.Context, in *iam.CreatePolicyVersionInput, _ ...func(*iam.Options)) (*iam.CreatePolicyVersionOutput, error) {
	var c checks
	c.arn("policyArn", in.PolicyArn)
	c.document("policyDocument", in.PolicyDocument)
	if err := c.err(); err != nil {
		return nil, err
	}
	out := &iam.CreatePolicyVersionOutput{}
	err := s.updatePolicy(ctx, in.PolicyArn, func(p *customerPolicy) error {
		doc, err := managedDocument(ctx, *in.PolicyDocument)
		if err != nil {
			return err
		}
		if len(p.Versions) >= maxVersions {
			return limitExceeded("A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
		}
		v := policyVersion{ID: "v" + strconv.Itoa(p.Next), Document: doc, Created: s.now()}
		p.Next++
		p.Versions = append(p.Versions, v)
		p.Updated = v.Created
		if in.SetAsDefault {
			p.Default = v.ID
		}
		d := p.describe(v)
		out.PolicyVersion = &d
		return nil
	})
	return answer(out, err)
}

// GetPolicyVersion implements the operation.
func (s *Service) GetPolicyVersion(ctx context.Context, in *iam.GetPolicyVersionInput, _ ...func(*iam.Options)) (*iam.GetPolicyVersionOutput, error) {
	p, err := s.managed(ctx, s.store, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	i, err := p.version(in.VersionId)
	if err != nil {
		return nil, err
	}
	d := p.describe(p.Versions[i])
	d.Document = encodeDocument(p.Versions[i].Document)
	return &iam.GetPolicyVersionOutput{PolicyVersion: &d}, nil
}

// ListPolicyVersions implements the operation: newest first, as IAM does.
func (s *Service) ListPolicyVersions(ctx context.Context, in *iam.ListPolicyVersionsInput, _ ...func(*iam.Options)) (*iam.ListPolicyVersionsOutput, error) {
	var c checks
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	p, err := s.managed(ctx, s.store, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	newestFirst := func(v policyVersion) string {
		n, _ := strconv.Atoi(v.ID[1:])
		return strconv.Itoa(1<<40 - n)
	}
	all, more, next, err := page(slices.Clone(p.Versions), newestFirst, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := make([]types.PolicyVersion, len(all))
	for i, v := range all {
		out[i] = p.describe(v)
	}
	return &iam.ListPolicyVersionsOutput{Versions: out, IsTruncated: more, Marker: next}, nil
}

// SetDefaultPolicyVersion implements the operation.
func (s *Service) SetDefaultPolicyVersion(ctx context.Context, in *iam.SetDefaultPolicyVersionInput, _ ...func(*iam.Options)) (*iam.SetDefaultPolicyVersionOutput, error) {
	err := s.updatePolicy(ctx, in.PolicyArn, func(p *customerPolicy) error {
		i, err := p.version(in.VersionId)
		if err != nil {
			return err
		}
		p.Default, p.Updated = p.Versions[i].ID, s.now()
		return nil
	})
	return answer(&iam.SetDefaultPolicyVersionOutput{}, err)
}

// DeletePolicyVersion implements the operation.
func (s *Service) DeletePolicyVersion(ctx context.Context, in *iam.DeletePolicyVersionInput, _ ...func(*iam.Options)) (*iam.DeletePolicyVersionOutput, error) {
	err := s.updatePolicy(ctx, in.PolicyArn, func(p *customerPolicy) error {
		i, err := p.version(in.VersionId)
		if err != nil {
			return err
		}
		if p.Versions[i].ID == p.Default {
			return &types.DeleteConflictException{Message: aws.String("Cannot delete the default version of a policy.")}
		}
		p.Versions = slices.Delete(p.Versions, i, i+1)
		p.Updated = s.now()
		return nil
	})
	return answer(&iam.DeletePolicyVersionOutput{}, err)
}
