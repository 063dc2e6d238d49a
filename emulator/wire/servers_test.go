package wire_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// The handlers below stand for the emulator's services: a few operations with
// the SDK client's signatures.
type eksServer struct{}

func (eksServer) DescribeCluster(_ context.Context, in *eks.DescribeClusterInput, _ ...func(*eks.Options)) (*eks.DescribeClusterOutput, error) {
	if aws.ToString(in.Name) != "dev" {
		return nil, &ekstypes.ResourceNotFoundException{Message: aws.String("No cluster found for name: " + aws.ToString(in.Name) + "."), ClusterName: in.Name}
	}
	return describeCluster, nil
}

func (eksServer) CreateCluster(context.Context, *eks.CreateClusterInput, ...func(*eks.Options)) (*eks.CreateClusterOutput, error) {
	return nil, errors.New("the store is closed")
}

func (eksServer) ListClusters(context.Context, *eks.ListClustersInput, ...func(*eks.Options)) (*eks.ListClustersOutput, error) {
	return &eks.ListClustersOutput{Clusters: []string{}}, nil
}

func (eksServer) TagResource(context.Context, *eks.TagResourceInput, ...func(*eks.Options)) (*eks.TagResourceOutput, error) {
	return nil, nil
}

func (eksServer) DeleteAddon(context.Context, *eks.DeleteAddonInput, ...func(*eks.Options)) (*eks.DeleteAddonOutput, error) {
	return nil, nil
}

// Helper is no operation: Bind must leave it alone.
func (eksServer) Helper(int) {}

type ec2Server struct{}

func (ec2Server) DescribeVpcs(context.Context, *ec2.DescribeVpcsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error) {
	return nil, nil
}

func (ec2Server) RunInstances(context.Context, *ec2.RunInstancesInput, ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error) {
	return nil, nil
}

func (ec2Server) DeleteVpc(context.Context, *ec2.DeleteVpcInput, ...func(*ec2.Options)) (*ec2.DeleteVpcOutput, error) {
	return nil, nil
}

type iamServer struct{}

func (iamServer) GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	return nil, nil
}

func (iamServer) CreateRole(context.Context, *iam.CreateRoleInput, ...func(*iam.Options)) (*iam.CreateRoleOutput, error) {
	return nil, nil
}

func (iamServer) DeleteRole(context.Context, *iam.DeleteRoleInput, ...func(*iam.Options)) (*iam.DeleteRoleOutput, error) {
	return nil, nil
}

func (iamServer) GetContextKeysForPrincipalPolicy(context.Context, *iam.GetContextKeysForPrincipalPolicyInput, ...func(*iam.Options)) (*iam.GetContextKeysForPrincipalPolicyOutput, error) {
	return nil, nil
}

type stsServer struct{}

func (stsServer) GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
	return nil, nil
}

func (stsServer) AssumeRole(context.Context, *sts.AssumeRoleInput, ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	return nil, nil
}

type ssmServer struct{}

func (ssmServer) GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	return nil, nil
}

func (ssmServer) GetInventory(context.Context, *ssm.GetInventoryInput, ...func(*ssm.Options)) (*ssm.GetInventoryOutput, error) {
	return nil, nil
}

func bind(t testing.TB, m *wire.Model, impl any) *wire.Service {
	t.Helper()
	s, err := wire.Bind(m, impl)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	created         = time.Date(2026, 11, 23, 4, 19, 35, 123e6, time.UTC)
	describeCluster = &eks.DescribeClusterOutput{Cluster: &ekstypes.Cluster{
		Name: aws.String("dev"), Arn: aws.String("arn:aws:eks:us-east-1:000000000000:cluster/dev"), CreatedAt: &created,
		Version: aws.String("1.36"), Status: ekstypes.ClusterStatusActive, Endpoint: aws.String("https://127.0.0.1:40001"),
		RoleArn:              aws.String("arn:aws:iam::000000000000:role/eks"),
		CertificateAuthority: &ekstypes.Certificate{Data: aws.String(strings.Repeat("LS0t", 350))},
		ResourcesVpcConfig: &ekstypes.VpcConfigResponse{SubnetIds: []string{"subnet-1", "subnet-2"}, SecurityGroupIds: []string{},
			EndpointPublicAccess: true, PublicAccessCidrs: []string{"0.0.0.0/0"}, VpcId: aws.String("vpc-1")},
		KubernetesNetworkConfig: &ekstypes.KubernetesNetworkConfigResponse{ServiceIpv4Cidr: aws.String("10.100.0.0/16"), IpFamily: ekstypes.IpFamilyIpv4},
		Identity:                &ekstypes.Identity{Oidc: &ekstypes.OIDC{Issuer: aws.String("https://oidc.local/id/1")}},
		Logging: &ekstypes.Logging{ClusterLogging: []ekstypes.LogSetup{{Enabled: aws.Bool(true), Types: []ekstypes.LogType{ekstypes.LogTypeApi, ekstypes.LogTypeAudit}},
			{Enabled: aws.Bool(false), Types: []ekstypes.LogType{ekstypes.LogTypeScheduler}}}},
		AccessConfig: &ekstypes.AccessConfigResponse{AuthenticationMode: ekstypes.AuthenticationModeApi},
		Tags:         map[string]string{"env": "dev", "team": "a <b> & \"c\"\n"}, PlatformVersion: aws.String("eks.1"), Health: &ekstypes.ClusterHealth{Issues: []ekstypes.ClusterIssue{}},
	}}
)
