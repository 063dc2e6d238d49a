package iam

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// TestPartitions: the same twelve digits are another account in each partition.
func TestPartitions(t *testing.T) {
	ctx, s, _ := newService(t)
	gov := awsid.WithCaller(ctx, awsid.Caller{Scope: awsid.Scope{Account: account, Region: "us-gov-west-1"}, ARN: "arn:aws-us-gov:iam::" + account + ":root", UserID: account})
	createRole(t, ctx, s, "same")
	if _, err := s.GetRole(gov, &iam.GetRoleInput{RoleName: aws.String("same")}); err == nil {
		t.Error("GovCloud has the role of aws")
	}
	r := createRole(t, gov, s, "same")
	if *r.Arn != "arn:aws-us-gov:iam::111122223333:role/same" {
		t.Errorf("the role is %s", *r.Arn)
	}
	if _, ok := s.RoleByARN(ctx, awsid.Scope{Account: account}, *r.Arn); ok {
		t.Error("aws has the role of GovCloud")
	}
	if got, ok := s.RoleByARN(ctx, awsid.Scope{Account: account, Region: "us-gov-east-1"}, *r.Arn); !ok || got.ID != *r.RoleId {
		t.Errorf("RoleByARN = %+v, %v", got, ok)
	}

	attach := func(arn string) error {
		_, err := s.AttachRolePolicy(gov, &iam.AttachRolePolicyInput{RoleName: aws.String("same"), PolicyArn: &arn})
		return err
	}
	wantError(t, attach(clusterP), "ValidationError", "Invalid ARN partition")
	if err := attach("arn:aws-us-gov:iam::aws:policy/AmazonEKSClusterPolicy"); err != nil {
		t.Error(err)
	}
	list := must[iam.ListPoliciesOutput](t)(s.ListPolicies(gov, &iam.ListPoliciesInput{MaxItems: aws.Int32(1)})).Policies
	if a, err := awsid.ParseARN(*list[0].Arn); err != nil || a.Partition != awsid.PartitionGov {
		t.Errorf("GovCloud lists %s", *list[0].Arn)
	}
	_, err := s.PutRolePolicy(gov, &iam.PutRolePolicyInput{RoleName: aws.String("same"), PolicyName: aws.String("p"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b"}]}`)})
	wantError(t, err, "MalformedPolicyDocument", `Partition "aws" is not valid for resource "arn:aws:s3:::b".`)

	must[iam.CreateUserOutput](t)(s.CreateUser(gov, &iam.CreateUserInput{UserName: aws.String("alice")}))
	k := must[iam.CreateAccessKeyOutput](t)(s.CreateAccessKey(gov, &iam.CreateAccessKeyInput{UserName: aws.String("alice")})).AccessKey
	if _, ok := s.Key(ctx, awsid.PartitionAWS, *k.AccessKeyId); ok {
		t.Error("aws takes the key of GovCloud")
	}
	if got, ok := s.Key(ctx, awsid.PartitionGov, *k.AccessKeyId); !ok || got.Caller.ARN != "arn:aws-us-gov:iam::111122223333:user/alice" {
		t.Errorf("Key = %+v, %v", got, ok)
	}
	if _, err := s.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: k.AccessKeyId}); err == nil {
		t.Error("the account of aws reads about the key of GovCloud")
	}
}
