package logs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// retentions are the days for which a group can keep its events.
var retentions = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

// PutRetentionPolicy implements the operation.
func (s *Service) PutRetentionPolicy(ctx context.Context, in *cwl.PutRetentionPolicyInput, _ ...func(*cwl.Options)) (*cwl.PutRetentionPolicyOutput, error) {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	c.Null("retentionInDays", in.RetentionInDays == nil)
	if in.RetentionInDays != nil && !slices.Contains(retentions, *in.RetentionInDays) {
		c.Add(fmt.Sprintf("'%d'", *in.RetentionInDays), "retentionInDays", "Member must satisfy enum value set: ["+strings.Trim(strings.ReplaceAll(fmt.Sprint(retentions), " ", ", "), "[]")+"]")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.changeGroup(ctx, *in.LogGroupName, func(g *group) error { g.Retention = *in.RetentionInDays; return nil })
	if err != nil {
		return nil, err
	}
	return &cwl.PutRetentionPolicyOutput{}, nil
}

// DeleteRetentionPolicy implements the operation.
func (s *Service) DeleteRetentionPolicy(ctx context.Context, in *cwl.DeleteRetentionPolicyInput, _ ...func(*cwl.Options)) (*cwl.DeleteRetentionPolicyOutput, error) {
	var c checks
	c.text("logGroupName", in.LogGroupName, groupName, 1)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.changeGroup(ctx, *in.LogGroupName, func(g *group) error { g.Retention = 0; return nil })
	if err != nil {
		return nil, err
	}
	return &cwl.DeleteRetentionPolicyOutput{}, nil
}

// keyedGroup is the group whose key a request is about.
func keyedGroup(ctx context.Context, name, id *string) (string, error) {
	switch {
	case name != nil && id != nil:
		return "", invalid("The logGroupName and resourceIdentifier parameters are mutually exclusive.")
	case name != nil:
		return *name, nil
	case id != nil:
		return identifiedGroup(ctx, *id)
	}
	return "", invalid("Either logGroupName or resourceIdentifier must be specified.")
}

// AssociateKmsKey implements the operation. Query results, which have keys too,
// are not emulated.
func (s *Service) AssociateKmsKey(ctx context.Context, in *cwl.AssociateKmsKeyInput, _ ...func(*cwl.Options)) (*cwl.AssociateKmsKeyOutput, error) {
	var c checks
	c.optional("logGroupName", in.LogGroupName, groupName, 1)
	c.optional("resourceIdentifier", in.ResourceIdentifier, resourceID, 1)
	c.text("kmsKeyId", in.KmsKeyId, keyID, 0)
	if err := c.err(); err != nil {
		return nil, err
	}
	name, err := keyedGroup(ctx, in.LogGroupName, in.ResourceIdentifier)
	if err != nil {
		return nil, err
	}
	if groups.Get(s.store, awsid.CallerFrom(ctx).Scope, name) == nil {
		return nil, noGroup()
	}
	if err := s.checkKey(ctx, name, *in.KmsKeyId); err != nil {
		return nil, err
	}
	if err := s.changeGroup(ctx, name, func(g *group) error { g.KMSKey = *in.KmsKeyId; return nil }); err != nil {
		return nil, err
	}
	return &cwl.AssociateKmsKeyOutput{}, nil
}

// DisassociateKmsKey implements the operation.
func (s *Service) DisassociateKmsKey(ctx context.Context, in *cwl.DisassociateKmsKeyInput, _ ...func(*cwl.Options)) (*cwl.DisassociateKmsKeyOutput, error) {
	var c checks
	c.optional("logGroupName", in.LogGroupName, groupName, 1)
	c.optional("resourceIdentifier", in.ResourceIdentifier, resourceID, 1)
	if err := c.err(); err != nil {
		return nil, err
	}
	name, err := keyedGroup(ctx, in.LogGroupName, in.ResourceIdentifier)
	if err != nil {
		return nil, err
	}
	if err := s.changeGroup(ctx, name, func(g *group) error { g.KMSKey = ""; return nil }); err != nil {
		return nil, err
	}
	return &cwl.DisassociateKmsKeyOutput{}, nil
}
