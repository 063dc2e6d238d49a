package ssm

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	maxVersions = 100
	maxLevels   = 15
	standardMax = 4096
	advancedMax = 8192

	defaultKey = "alias/aws/ssm"
)

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)

// checkName judges the name of a parameter that is to be written.
func checkName(name string) error {
	low := strings.ToLower(strings.TrimPrefix(name, "/"))
	global, path := strings.HasPrefix(low, "aws"), strings.Count(name, "/") > 1
	const reserved = `Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive).`
	switch {
	case !path && (global || strings.HasPrefix(low, "ssm")):
		return validation(reserved)
	case global:
		return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "No access to reserved parameter name: " + name + ".", Fault: smithy.FaultClient}
	}
	const form = `If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`
	if strings.HasPrefix(low, "ssm") {
		return validation(`Parameter name: can't be prefixed with "ssm" (case-insensitive). %s`, form)
	}
	if !namePattern.MatchString(name) || strings.Contains(name, "//") || strings.HasSuffix(name, "/") {
		return validation(reserved+" %s", form)
	}
	if strings.Contains(name, "/") && !strings.HasPrefix(name, "/") {
		return validation("Parameter name must be a fully qualified name.")
	}
	if strings.Count(name, "/") > maxLevels {
		return &types.HierarchyLevelLimitExceededException{Message: aws.String("A hierarchy can have a maximum of 15 levels. For more information, see Requirements and constraints for parameter names in the AWS Systems Manager User Guide.")}
	}
	return nil
}

func checkPut(in *ssm.PutParameterInput) error {
	var c checks
	c.Required("name", in.Name, 1, 2048)
	c.Required("value", in.Value, 1, 1<<20)
	c.Length("description", in.Description, 0, 1024)
	c.Length("allowedPattern", in.AllowedPattern, 0, 1024)
	c.OneOf("type", string(in.Type), typeSecure, typeList, typeString)
	c.OneOf("tier", string(in.Tier), tierStandard, tierAdvanced, tierIntelligent)
	c.tags(in.Tags)
	if err := c.err(); err != nil {
		return err
	}
	if err := checkName(*in.Name); err != nil {
		return err
	}
	if aws.ToBool(in.Overwrite) && len(in.Tags) > 0 {
		return validation("Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	}
	switch aws.ToString(in.DataType) {
	case "", "text", "aws:ec2:image", "aws:ssm:integration":
	default:
		return validation("The following data type is not supported: %s (Data type names are all lowercase.)", *in.DataType)
	}
	if in.AllowedPattern != nil && *in.AllowedPattern != "" {
		re, err := regexp.Compile("^(?:" + *in.AllowedPattern + ")$")
		if err != nil {
			return &types.InvalidAllowedPatternException{Message: aws.String("The request does not meet the regular expression requirement.")}
		}
		if !re.MatchString(*in.Value) {
			return &types.ParameterPatternMismatchException{Message: aws.String("Parameter value, cannot be validated against allowedPattern: " + *in.AllowedPattern)}
		}
	}
	return nil
}

// tierOf picks the tier for a value and tells whether the value fits it.
func tierOf(asked, before string, n int) (string, error) {
	tier := asked
	if tier == "" {
		tier = before
	}
	if tier == "" {
		tier = tierStandard
	}
	if tier == tierIntelligent {
		tier = tierStandard
		if n > standardMax || before == tierAdvanced {
			tier = tierAdvanced
		}
	}
	switch {
	case before == tierAdvanced && tier == tierStandard:
		return "", validation("This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the advanced parameter and recreate it as a standard parameter.")
	case tier == tierStandard && n > standardMax:
		return "", validation("Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html")
	case n > advancedMax:
		return "", validation("Advanced tier parameters support a maximum parameter value of 8192 characters.")
	}
	return tier, nil
}

func versionKey(name string, n int64) string { return fmt.Sprintf("%s:%010d", name, n) }

// PutParameter implements the operation.
func (s *Service) PutParameter(ctx context.Context, in *ssm.PutParameterInput, _ ...func(*ssm.Options)) (*ssm.PutParameterOutput, error) {
	if err := checkPut(in); err != nil {
		return nil, err
	}
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	if err := s.checkKey(ctx, sc, in); err != nil {
		return nil, err
	}
	out := &ssm.PutParameterOutput{}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		p := parameters.Edit(tx, sc, *in.Name)
		switch {
		case p == nil && in.Type == "":
			return validation("A parameter type is required when you create a parameter.")
		case p == nil:
			p = &parameter{Tags: tags, Oldest: 1}
			p.Name, p.Type, p.DataType = *in.Name, string(in.Type), "text"
			p.ARN = parameterARN(sc, *in.Name)
		case !aws.ToBool(in.Overwrite):
			return &types.ParameterAlreadyExists{Message: aws.String("The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")}
		case in.Type != "" && string(in.Type) != p.Type:
			return &types.HierarchyTypeMismatchException{Message: aws.String("Parameter Store does not support changing a parameter type in a hierarchy. For example, you can't change a parameter from a String type to a SecureString type. You must create a new, unique parameter.")}
		}
		if err := p.next(ctx, in); err != nil {
			return err
		}
		if err := p.trim(tx, sc); err != nil {
			return err
		}
		p.Modified = s.clock.Now().UTC()
		versions.Put(tx, sc, versionKey(p.Name, p.Number), &p.version)
		parameters.Put(tx, sc, p.Name, p)
		out.Version, out.Tier = p.Number, types.ParameterTier(p.Tier)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func parameterARN(sc awsid.Scope, name string) string {
	return sc.ARN("ssm", "parameter/"+strings.TrimPrefix(name, "/"))
}

// checkKey tells whether KMS would encrypt the value, if it is to be a secret.
func (s *Service) checkKey(ctx context.Context, sc awsid.Scope, in *ssm.PutParameterInput) error {
	kind, key := string(in.Type), aws.ToString(in.KeyId)
	if p := parameters.Get(s.store, sc, *in.Name); p != nil {
		if !aws.ToBool(in.Overwrite) {
			return nil // it is refused for that
		}
		kind = p.Type
		if key == "" {
			key = p.KeyID
		}
	}
	if s.keys == nil || kind != typeSecure {
		return nil
	}
	if key == "" {
		key = defaultKey
	}
	_, err := s.keys.Encrypt(ctx, &kms.EncryptInput{
		KeyId: &key, Plaintext: []byte(*in.Value)[:min(len(*in.Value), standardMax)], EncryptionContext: map[string]string{"PARAMETER_ARN": parameterARN(sc, *in.Name)},
	})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() == "AccessDeniedException" {
		return err
	}
	return &types.InvalidKeyId{Message: aws.String(fmt.Sprintf("%s (Service: AWSKMS; Status Code: 400; Error Code: %s; Request ID: %s; Proxy: null)",
		api.ErrorMessage(), api.ErrorCode(), awsid.CallerFrom(ctx).RequestID))}
}

// next makes the parameter its next version.
func (p *parameter) next(ctx context.Context, in *ssm.PutParameterInput) error {
	tier, err := tierOf(string(in.Tier), p.Tier, len(*in.Value))
	if err != nil {
		return err
	}
	p.Number, p.Tier, p.Value, p.User = p.Number+1, tier, *in.Value, awsid.CallerFrom(ctx).ARN
	if in.Description != nil {
		p.Description = *in.Description
	}
	if in.AllowedPattern != nil {
		p.Pattern = *in.AllowedPattern
	}
	if in.DataType != nil && *in.DataType != "" {
		p.DataType = *in.DataType
	}
	if in.Policies != nil {
		if tier != tierAdvanced && strings.TrimSpace(*in.Policies) != "" && *in.Policies != "[]" {
			return validation("Parameter policies are only supported for parameters in the advanced-parameter tier.")
		}
		p.Policies = *in.Policies
	}
	if p.Type == typeSecure {
		if in.KeyId != nil {
			p.KeyID = *in.KeyId
		} else if p.KeyID == "" {
			p.KeyID = defaultKey
		}
	} else if in.KeyId != nil {
		return validation("KeyId is required for SecureString type parameter only.")
	}
	return nil
}

// trim drops the oldest version when there would be too many. One that has a
// label is not dropped: then nothing new can be written.
func (p *parameter) trim(tx *store.Tx, sc awsid.Scope) error {
	for p.Number-p.Oldest >= maxVersions {
		old := versions.Get(tx, sc, versionKey(p.Name, p.Oldest))
		if old != nil && len(old.Labels) > 0 {
			return &types.ParameterMaxVersionLimitExceeded{Message: aws.String(fmt.Sprintf("You attempted to create a new version of %s by calling the PutParameter API with the overwrite flag. Version %d, the oldest version, can't be deleted because it has a label associated with it. Move the label to another version of the parameter, and try again.", p.Name, p.Oldest))}
		}
		versions.Delete(tx, sc, versionKey(p.Name, p.Oldest))
		p.Oldest++
	}
	return nil
}

// DeleteParameter implements the operation.
func (s *Service) DeleteParameter(ctx context.Context, in *ssm.DeleteParameterInput, _ ...func(*ssm.Options)) (*ssm.DeleteParameterOutput, error) {
	var c checks
	c.Required("name", in.Name, 1, 2048)
	if err := c.err(); err != nil {
		return nil, err
	}
	gone, err := s.remove(ctx, []string{*in.Name})
	if err != nil {
		return nil, err
	}
	if len(gone) == 0 {
		return nil, notFound()
	}
	return &ssm.DeleteParameterOutput{}, nil
}

// DeleteParameters implements the operation.
func (s *Service) DeleteParameters(ctx context.Context, in *ssm.DeleteParametersInput, _ ...func(*ssm.Options)) (*ssm.DeleteParametersOutput, error) {
	var c checks
	c.list("names", in.Names, 1, 10)
	if err := c.err(); err != nil {
		return nil, err
	}
	gone, err := s.remove(ctx, in.Names)
	if err != nil {
		return nil, err
	}
	out := &ssm.DeleteParametersOutput{DeletedParameters: []string{}, InvalidParameters: []string{}}
	for _, n := range in.Names {
		if gone[n] {
			out.DeletedParameters = append(out.DeletedParameters, n)
		} else {
			out.InvalidParameters = append(out.InvalidParameters, n)
		}
	}
	return out, nil
}

// remove deletes parameters with their versions, each in a transaction of its
// own: ten with a hundred versions each would be too much for one.
func (s *Service) remove(ctx context.Context, names []string) (gone map[string]bool, err error) {
	sc := awsid.CallerFrom(ctx).Scope
	gone = map[string]bool{}
	for _, n := range names {
		found := false
		err := s.store.Update(ctx, func(tx *store.Tx) error {
			p := parameters.Get(tx, sc, n)
			found = p != nil
			if !found {
				return nil
			}
			for _, v := range versions.ListPrefix(tx, sc, n+":") {
				versions.Delete(tx, sc, versionKey(n, v.Number))
			}
			parameters.Delete(tx, sc, n)
			return nil
		})
		if err != nil {
			return nil, err
		}
		if found {
			gone[n] = true
		}
	}
	return gone, nil
}
