package kms

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// managedPrefix begins the aliases of AWS managed keys.
const managedPrefix = "alias/aws/"

// managed are the services whose AWS managed keys come into being when their alias
// is first used, with what the key's description says it protects.
var managed = map[string]string{
	"acm": "ACM private keys", "backup": "Backup data", "dynamodb": "DynamoDB data", "ebs": "EBS volumes", "ecr": "ECR repositories", "eks": "EKS clusters",
	"elasticfilesystem": "EFS filesystems", "elasticache": "ElastiCache data", "es": "Elasticsearch data", "fsx": "FSx data", "kinesis": "Kinesis streams", "lambda": "Lambda functions",
	"logs": "CloudWatch Logs data", "rds": "RDS database volumes", "redshift": "Redshift clusters", "s3": "S3 objects", "secretsmanager": "Secrets Manager secrets",
	"sns": "SNS data", "sqs": "SQS messages", "ssm": "SSM parameters", "xray": "X-Ray data",
}

// ensureManaged makes the AWS managed key that an alias stands for, if there is
// none yet. Other names are none of its business.
func (s *Service) ensureManaged(ctx context.Context, id string) error {
	who := awsid.CallerFrom(ctx)
	n, err := parseName(who.Region, id)
	if err != nil {
		return nil // find will say what is wrong
	}
	service, ok := strings.CutPrefix(n.alias, managedPrefix)
	what, known := managed[service]
	if !ok || !known || n.account != "" && n.account != who.Account || aliases.Get(s.store, who.Scope, n.alias) != nil {
		return nil
	}
	m, err := newMaterial(types.KeySpecSymmetricDefault)
	if err != nil {
		return err
	}
	now := s.now()
	k := &key{
		Scope: who.Scope, ID: awsid.NewUUID(), Description: "Default key that protects my " + what + " when no other key is defined",
		Manager: types.KeyManagerTypeAws, Spec: types.KeySpecSymmetricDefault, Usage: types.KeyUsageTypeEncryptDecrypt, Origin: types.OriginTypeAwsKms,
		State: types.KeyStateEnabled, Created: now, Policy: managedPolicy(who.Scope, service, what), Materials: []material{m},
		RotationDays: defaultRotationDays, NextRotation: now.AddDate(0, 0, defaultRotationDays),
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if aliases.Get(tx, who.Scope, n.alias) != nil {
			return nil // somebody else was first
		}
		keys.Put(tx, k.Scope, k.ID, k)
		aliases.Put(tx, k.Scope, n.alias, &alias{Name: n.alias, Target: k.ID, Created: now, Updated: now})
		return nil
	})
}

// managedPolicy lets everybody of the account use the key through its service and
// read what it is.
func managedPolicy(sc awsid.Scope, service, what string) string {
	via := service
	if service == "ebs" {
		via = "ec2"
	}
	return fmt.Sprintf(`{
  "Version" : "2012-10-17",
  "Id" : "auto-%[1]s-1",
  "Statement" : [ {
    "Sid" : "Allow access to %[2]s for all principals in the account that are authorized to use them",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "*"
    },
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {
      "StringEquals" : {
        "kms:ViaService" : "%[3]s.%[4]s.%[6]s",
        "kms:CallerAccount" : "%[5]s"
      }
    }
  }, {
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "%[7]s"
    },
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant" ],
    "Resource" : "*"
  } ]
}`, service, what, via, sc.Region, sc.Account, sc.DNSSuffix(), sc.RootARN())
}
