package eks

import (
	"context"
	"errors"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Keys is what EKS asks of KMS on behalf of the caller in ctx; *kms.Service
// satisfies it.
type Keys interface {
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
	CreateGrant(context.Context, *kms.CreateGrantInput, ...func(*kms.Options)) (*kms.CreateGrantOutput, error)
}

var keyARNPattern = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key/[A-Za-z0-9-]+|alias/[A-Za-z0-9/_-]+)$`)

// checkEncryption checks an encryption configuration and answers it with the ARN of
// the key in place of an alias's, which is what EKS stores.
func (s *Service) checkEncryption(ctx context.Context, a about, roleARN string, in []ekstypes.EncryptionConfig) ([]ekstypes.EncryptionConfig, error) {
	if len(in) > 1 {
		return nil, a.invalidParameter("encryptionConfig can have at most 1 item.")
	}
	var out []ekstypes.EncryptionConfig
	for _, e := range in {
		if !slices.Equal(e.Resources, []string{"secrets"}) {
			return nil, a.invalidParameter("The only supported resource for encryption is secrets")
		}
		if e.Provider == nil || aws.ToString(e.Provider.KeyArn) == "" {
			return nil, a.invalidParameter("KeyArn is required")
		}
		arn := *e.Provider.KeyArn
		if !keyARNPattern.MatchString(arn) {
			return nil, a.invalidParameter("The keyArn in encryptionConfig provider is invalid")
		}
		key, err := s.checkKey(ctx, a, arn, roleARN)
		if err != nil {
			return nil, err
		}
		e.Provider = &ekstypes.Provider{KeyArn: &key}
		out = append(out, e)
	}
	return out, nil
}

// checkKey asks KMS what EKS asks it: whether the caller may describe the key and
// make the grant that the cluster needs, and whether the key can encrypt.
func (s *Service) checkKey(ctx context.Context, a about, arn, roleARN string) (string, error) {
	if s.keys == nil {
		return arn, nil
	}
	if p, err := awsid.ParseARN(arn); err != nil || p.Region != awsid.CallerFrom(ctx).Region || p.Partition != awsid.CallerFrom(ctx).Partition() {
		return "", a.invalidParameter("The KMS key %s must be in the region of the cluster, %s", arn, awsid.CallerFrom(ctx).Region)
	}
	d, err := s.keys.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})
	if err != nil {
		return "", a.fromKMS(err, "kms:DescribeKey", arn)
	}
	k := d.KeyMetadata
	switch {
	case k.KeyManager == kmstypes.KeyManagerTypeAws:
		// The policies of AWS's own keys allow nobody to grant them to EKS.
		return "", a.invalidRequest("User not authorized to perform kms:CreateGrant operation")
	case k.KeySpec != kmstypes.KeySpecSymmetricDefault || k.KeyUsage != kmstypes.KeyUsageTypeEncryptDecrypt:
		return "", a.invalidParameter("The KMS key %s must be a symmetric key that can encrypt and decrypt data", *k.Arn)
	case k.KeyState != kmstypes.KeyStateEnabled:
		return "", a.invalidParameter("The KMS key %s is not enabled: its state is %s", *k.Arn, k.KeyState)
	}
	grant := EncryptionGrant(*k.Arn, a.cluster, roleARN, awsid.CallerFrom(ctx).Scope)
	grant.DryRun = aws.Bool(true)
	var fine *kmstypes.DryRunOperationException
	if _, err := s.keys.CreateGrant(ctx, grant); err != nil && !errors.As(err, &fine) {
		return "", a.fromKMS(err, "kms:CreateGrant", arn)
	}
	return *k.Arn, nil
}

// EncryptionGrant is the grant by which a cluster uses its key, which the lifecycle
// makes. Its name makes it one for a cluster however often it is asked for.
func EncryptionGrant(keyARN, cluster, roleARN string, sc awsid.Scope) *kms.CreateGrantInput {
	return &kms.CreateGrantInput{
		KeyId: &keyARN, GranteePrincipal: &roleARN, Name: aws.String("eks/" + sc.Account + "/" + cluster),
		Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDescribeKey, kmstypes.GrantOperationEncrypt, kmstypes.GrantOperationDecrypt},
	}
}

// fromKMS turns an answer of KMS into EKS's.
func (a about) fromKMS(err error, action, arn string) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch api.ErrorCode() {
	case "AccessDeniedException":
		return a.invalidRequest("User not authorized to perform %s operation", action)
	case "NotFoundException":
		return a.invalidParameter("The KMS key %s does not exist", arn)
	}
	return a.invalidParameter("%s", api.ErrorMessage())
}
