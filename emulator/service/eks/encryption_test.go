package eks

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

// fakeKeys has keys that are called after what is wrong with them.
type fakeKeys struct{ granted *kms.CreateGrantInput }

const keyBase = "arn:aws:kms:us-east-1:000000000000:"

func (fakeKeys) DescribeKey(_ context.Context, in *kms.DescribeKeyInput, _ ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	m := &kmstypes.KeyMetadata{
		Arn: in.KeyId, KeyManager: kmstypes.KeyManagerTypeCustomer, KeySpec: kmstypes.KeySpecSymmetricDefault,
		KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt, KeyState: kmstypes.KeyStateEnabled,
	}
	switch *in.KeyId {
	case keyBase + "alias/dev":
		m.Arn = aws.String(keyBase + "key/good")
	case keyBase + "key/gone":
		return nil, &kmstypes.NotFoundException{}
	case keyBase + "key/denied":
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException"}
	case keyBase + "key/rsa":
		m.KeySpec = kmstypes.KeySpecRsa2048
	case keyBase + "key/disabled":
		m.KeyState = kmstypes.KeyStateDisabled
	case keyBase + "alias/aws/eks":
		m.KeyManager = kmstypes.KeyManagerTypeAws
	}
	return &kms.DescribeKeyOutput{KeyMetadata: m}, nil
}

func (f *fakeKeys) CreateGrant(_ context.Context, in *kms.CreateGrantInput, _ ...func(*kms.Options)) (*kms.CreateGrantOutput, error) {
	f.granted = in
	if *in.KeyId == keyBase+"key/ungranted" {
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException"}
	}
	return nil, &kmstypes.DryRunOperationException{}
}

func TestEncryptionKeyIsChecked(t *testing.T) {
	for arn, want := range map[string][2]string{
		keyBase + "key/good":      {"", keyBase + "key/good"},
		keyBase + "alias/dev":     {"", keyBase + "key/good"},
		"":                        {"InvalidParameterException", "KeyArn is required"},
		"good":                    {"InvalidParameterException", "The keyArn in encryptionConfig provider is invalid"},
		keyBase + "key/gone":      {"InvalidParameterException", "does not exist"},
		keyBase + "key/denied":    {"InvalidRequestException", "User not authorized to perform kms:DescribeKey operation"},
		keyBase + "key/ungranted": {"InvalidRequestException", "User not authorized to perform kms:CreateGrant operation"},
		keyBase + "alias/aws/eks": {"InvalidRequestException", "User not authorized to perform kms:CreateGrant operation"},
		keyBase + "key/rsa":       {"InvalidParameterException", "must be a symmetric key"},
		keyBase + "key/disabled":  {"InvalidParameterException", "is not enabled: its state is Disabled"},
		"arn:aws:kms:eu-west-1:000000000000:key/good": {"InvalidParameterException", "must be in the region of the cluster, us-east-1"},
	} {
		t.Run(arn, func(t *testing.T) {
			w := newWorld(t)
			keys := &fakeKeys{}
			w.keys = keys
			config := []ekstypes.EncryptionConfig{{Resources: []string{"secrets"}, Provider: &ekstypes.Provider{KeyArn: &arn}}}
			out, err := w.CreateCluster(w.ctx, &eks.CreateClusterInput{
				Name: aws.String("dev"), RoleArn: aws.String(roleARN("cluster")), EncryptionConfig: config,
				ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-a", "subnet-b"}},
			})
			w.active("other")
			again, err2 := w.AssociateEncryptionConfig(w.ctx, &eks.AssociateEncryptionConfigInput{ClusterName: aws.String("other"), EncryptionConfig: config})
			if want[0] != "" {
				wantError(t, err, want[0], want[1])
				wantError(t, err2, want[0], want[1])
				return
			}
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			if got := *out.Cluster.EncryptionConfig[0].Provider.KeyArn; got != want[1] {
				t.Errorf("the cluster's key is %s", got)
			}
			if again.Update.Type != ekstypes.UpdateTypeAssociateEncryptionConfig || *Clusters.Get(w.store, w.scope, "other").Resource.EncryptionConfig[0].Provider.KeyArn != want[1] {
				t.Errorf("%+v", again.Update)
			}
			if g := keys.granted; !*g.DryRun || *g.GranteePrincipal != roleARN("cluster") {
				t.Errorf("the grant that was tried: %+v", g)
			}
		})
	}
}
