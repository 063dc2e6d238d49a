package enforce_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/gateway/enforce"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// BenchmarkAuthorize is what IAM adds to a call, of the root and of a role with ten of
// AWS's policies.
func BenchmarkAuthorize(b *testing.B) {
	w := newWorld(b, enforce.Enforce)
	w.cluster("dev", map[string]string{"team": "a"})
	admin, name := iam.NewFromConfig(w.root), "ops"
	arn := w.role(name, trustAccount)
	for _, p := range []string{
		"AmazonEKSClusterPolicy", "AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly",
		"service-role/AmazonEBSCSIDriverPolicy", "AmazonSSMManagedInstanceCore", "AmazonEKSServicePolicy", "AmazonEKSVPCResourceController",
		"AmazonEC2ContainerRegistryPullOnly", "CloudWatchAgentServerPolicy",
	} {
		must(admin.AttachRolePolicy(b.Context(), &iam.AttachRolePolicyInput{RoleName: &name, PolicyArn: aws.String("arn:aws:iam::aws:policy/" + p)}))
	}
	session := must(sts.NewFromConfig(w.root).AssumeRole(b.Context(), &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("me")}))
	key, ok := w.sts.Key(b.Context(), "aws", *session.Credentials.AccessKeyId)
	if !ok {
		b.Fatal("the session has no key")
	}
	caller := key.Caller
	caller.Region = region
	root := sigv4.Root("aws", account, "test")
	root.Region = region
	for who, c := range map[string]awsid.Caller{"root": root, "role": caller} {
		call := gateway.Call{Service: "eks", Protocol: wire.RESTJSON, Operation: "DescribeCluster", Caller: c, Input: &eks.DescribeClusterInput{Name: aws.String("dev")}}
		b.Run(who, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := w.gate.Authorize(b.Context(), call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
