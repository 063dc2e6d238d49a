package enforce_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/gateway/enforce"
)

const (
	eksARN = "arn:aws:eks:" + region + ":" + account + ":"
	ec2ARN = "arn:aws:ec2:" + region + ":" + account + ":"
	iamARN = "arn:aws:iam::" + account + ":"
)

// TestCalls makes calls with policies that are not enough, in the words of each
// service, and with ones that are.
func TestCalls(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	ctx := t.Context()
	w.cluster("dev", map[string]string{"team": "a"}, "ng")
	w.role("node", trustAccount)
	subnets := subnetIDs(t, w.root)
	must(ssm.NewFromConfig(w.root).PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String("/app/db"), Value: aws.String("x"), Type: ssmtypes.ParameterTypeString, Tags: []ssmtypes.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
	}))
	cluster := &eks.CreateClusterInput{
		Name: aws.String("new"), RoleArn: aws.String(iamARN + "role/eks"), ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: subnets}, Tags: map[string]string{"team": "a"},
	}
	nodegroup := &eks.CreateNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng"), NodeRole: aws.String(iamARN + "role/node"), Subnets: subnets}
	entry := &eks.CreateAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: aws.String(iamARN + "role/node")}
	run := &ec2.RunInstancesInput{ImageId: aws.String("ami-0a1b2c3d4e5f60718"), InstanceType: "t3.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), DryRun: aws.Bool(true)}
	createCluster := func(c aws.Config) error {
		_, err := eks.NewFromConfig(c).CreateCluster(ctx, cluster)
		return err
	}
	createEntry := func(c aws.Config) error {
		_, err := eks.NewFromConfig(c).CreateAccessEntry(ctx, entry)
		return err
	}
	tests := []struct {
		name       string
		statements []string
		call       func(aws.Config) error
		code       string // empty: IAM lets it through
		parts      []string
	}{
		{"nothing at all", nil, func(c aws.Config) error {
			_, err := eks.NewFromConfig(c).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})
			return err
		}, "AccessDeniedException", []string{" is not authorized to perform: eks:DescribeCluster on resource: " + eksARN + "cluster/dev because no identity-based policy allows the eks:DescribeCluster action"}},
		{"a cluster that is not there, and may not be asked for", []string{allow("eks:*", eksARN+"cluster/dev")}, func(c aws.Config) error {
			_, err := eks.NewFromConfig(c).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("none")})
			return err
		}, "AccessDeniedException", []string{"cluster/none"}},
		{"the cluster's tag", []string{`{"Effect":"Allow","Action":"eks:DescribeCluster","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"a"}}}`}, func(c aws.Config) error {
			_, err := eks.NewFromConfig(c).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})
			return err
		}, "", nil},
		{"another tag", []string{`{"Effect":"Allow","Action":"eks:DescribeCluster","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"b"}}}`}, func(c aws.Config) error {
			_, err := eks.NewFromConfig(c).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})
			return err
		}, "AccessDeniedException", nil},
		{"an explicit deny", []string{allow("*", "*"), `{"Effect":"Deny","Action":"eks:Delete*","Resource":"*"}`}, func(c aws.Config) error {
			_, err := eks.NewFromConfig(c).DeleteCluster(ctx, &eks.DeleteClusterInput{Name: aws.String("dev")})
			return err
		}, "AccessDeniedException", []string{"with an explicit deny in an identity-based policy"}},
		{"a node group by its id", []string{allow("eks:DescribeNodegroup", eksARN+"nodegroup/dev/ng/11112222-3333-4444-5555-666677778888")}, func(c aws.Config) error {
			_, err := eks.NewFromConfig(c).DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")})
			return err
		}, "", nil},
		{"a cluster without iam:PassRole", []string{allow("eks:CreateCluster", "eks:TagResource", "*")}, createCluster,
			"AccessDeniedException", []string{"iam:PassRole on resource: " + iamARN + "role/eks because no identity-based policy allows the iam:PassRole action"}},
		{"a cluster with its role for others only", []string{allow("eks:*", "*"), `{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"ec2.amazonaws.com"}}}`}, createCluster,
			"AccessDeniedException", []string{"iam:PassRole"}},
		{"a cluster without its tag", []string{`{"Effect":"Allow","Action":"eks:*","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/team":"b"}}}`, allow("iam:PassRole", "*")}, createCluster,
			"AccessDeniedException", []string{"eks:CreateCluster on resource: " + eksARN + "cluster/new"}},
		{"a cluster without permission to tag", []string{allow("eks:CreateCluster", "iam:PassRole", "*")}, createCluster, "AccessDeniedException", []string{"eks:TagResource"}},
		{"a node group without iam:PassRole", []string{allow("eks:CreateNodegroup", "*")}, func(c aws.Config) error {
			_, err := eks.NewFromConfig(c).CreateNodegroup(ctx, nodegroup)
			return err
		}, "AccessDeniedException", []string{"iam:PassRole on resource: " + iamARN + "role/node"}},
		{"an access entry by who may only describe", []string{allow("eks:Describe*", "eks:List*", "*")}, createEntry, "AccessDeniedException", []string{"eks:CreateAccessEntry on resource: " + eksARN + "cluster/dev"}},
		{"an access entry for another principal than allowed", []string{`{"Effect":"Allow","Action":"eks:CreateAccessEntry","Resource":"*","Condition":{"ArnEquals":{"eks:principalArn":"` + iamARN + `role/dev"}}}`}, createEntry, "AccessDeniedException", nil},
		{"an access entry into a group that is denied", []string{allow("eks:*", "*"), `{"Effect":"Deny","Action":"eks:CreateAccessEntry","Resource":"*","Condition":{"ForAnyValue:StringLike":{"eks:kubernetesGroups":"*admin*"}}}`}, func(c aws.Config) error {
			_, err := eks.NewFromConfig(c).CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: entry.ClusterName, PrincipalArn: entry.PrincipalArn, KubernetesGroups: []string{"dev", "team-admins"}})
			return err
		}, "AccessDeniedException", []string{"with an explicit deny"}},
		{"an access entry", []string{allow("eks:CreateAccessEntry", eksARN+"cluster/dev")}, createEntry, "", nil},

		{"EC2, describing", nil, func(c aws.Config) error {
			_, err := ec2.NewFromConfig(c).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
			return err
		}, "UnauthorizedOperation", []string{"You are not authorized to perform this operation. User: ", " is not authorized to perform: ec2:DescribeVpcs because no identity-based policy allows the ec2:DescribeVpcs action"}},
		{"EC2, a dry run that may not be", []string{allow("ec2:Describe*", "*")}, func(c aws.Config) error {
			_, err := ec2.NewFromConfig(c).RunInstances(ctx, run)
			return err
		}, "UnauthorizedOperation", []string{"ec2:RunInstances on resource: " + ec2ARN + "instance/*", "Encoded authorization failure message: "}},
		{"EC2, in another subnet than allowed", []string{`{"Effect":"Allow","Action":"ec2:RunInstances","NotResource":"` + ec2ARN + `subnet/` + subnets[0] + `"}`}, func(c aws.Config) error {
			in := *run
			in.SubnetId = &subnets[0]
			_, err := ec2.NewFromConfig(c).RunInstances(ctx, &in)
			return err
		}, "UnauthorizedOperation", []string{"subnet/" + subnets[0]}},
		{"EC2, another type than allowed", []string{`{"Effect":"Allow","Action":"ec2:RunInstances","Resource":"*","Condition":{"StringEqualsIfExists":{"ec2:InstanceType":["t3.nano"]}}}`}, func(c aws.Config) error {
			_, err := ec2.NewFromConfig(c).RunInstances(ctx, run)
			return err
		}, "UnauthorizedOperation", []string{"instance/*"}},

		{"IAM", nil, func(c aws.Config) error {
			_, err := iam.NewFromConfig(c).GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("node")})
			return err
		}, "AccessDenied", []string{"iam:GetRole on resource: role node"}},
		{"SSM", nil, func(c aws.Config) error {
			_, err := ssm.NewFromConfig(c).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/app/db")})
			return err
		}, "AccessDeniedException", []string{"ssm:GetParameter on resource: arn:aws:ssm:" + region + ":" + account + ":parameter/app/db"}},
		{"SSM by the parameter's tag", []string{`{"Effect":"Allow","Action":"ssm:GetParameter","Resource":"*","Condition":{"StringEquals":{"ssm:ResourceTag/team":"a"}}}`}, func(c aws.Config) error {
			_, err := ssm.NewFromConfig(c).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/app/db")})
			return err
		}, "", nil},
		{"CloudWatch Logs", []string{allow("logs:CreateLogGroup", "arn:aws:logs:"+region+":"+account+":log-group:/a/*")}, func(c aws.Config) error {
			_, err := cloudwatchlogs.NewFromConfig(c).CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("/b")})
			return err
		}, "AccessDeniedException", []string{"logs:CreateLogGroup"}},
		{"SQS", nil, func(c aws.Config) error {
			_, err := sqs.NewFromConfig(c).CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("q")})
			return err
		}, "AccessDenied", []string{"is not authorized to perform: sqs:createqueue on resource: arn:aws:sqs:" + region + ":" + account + ":q because no identity-based policy allows the sqs:createqueue action"}},
		{"who am I needs no permission", nil, func(c aws.Config) error {
			_, err := sts.NewFromConfig(c).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			return err
		}, "", nil},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call(w.session("r"+string(rune('a'+i)), tt.statements...))
			if tt.code != "" {
				refused(t, err, tt.code, tt.parts...)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func subnetIDs(t testing.TB, c aws.Config) []string {
	t.Helper()
	out := must(ec2.NewFromConfig(c).DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{
		Filters: []ec2types.Filter{{Name: aws.String("availability-zone"), Values: []string{"us-east-1a", "us-east-1b"}}},
	}))
	ids := []string{}
	for _, s := range out.Subnets {
		ids = append(ids, *s.SubnetId)
	}
	return ids
}

// TestEncodedMessage: what EC2 answers can be decoded by who may.
func TestEncodedMessage(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	c := w.user("alice", allow("sts:DecodeAuthorizationMessage", "*"))
	_, err := ec2.NewFromConfig(c).DeleteVpc(t.Context(), &ec2.DeleteVpcInput{VpcId: aws.String("vpc-1")})
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatal(err)
	}
	_, encoded, ok := strings.Cut(api.ErrorMessage(), "Encoded authorization failure message: ")
	if !ok {
		t.Fatal(api.ErrorMessage())
	}
	out := must(sts.NewFromConfig(c).DecodeAuthorizationMessage(t.Context(), &sts.DecodeAuthorizationMessageInput{EncodedMessage: &encoded}))
	for _, want := range []string{`"allowed":false`, `"explicitDeny":false`, `"action":"ec2:DeleteVpc"`, `"resource":"` + ec2ARN + `vpc/vpc-1"`} {
		if !strings.Contains(*out.DecodedMessage, want) {
			t.Errorf("%s is not in %s", want, *out.DecodedMessage)
		}
	}
}

// TestModes: audit lets through and logs, off does neither.
func TestModes(t *testing.T) {
	for mode, logged := range map[enforce.Mode]bool{enforce.Audit: true, enforce.Off: false} {
		w := newWorld(t, mode)
		c := w.user("alice")
		if _, err := ec2.NewFromConfig(c).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		want := `level=WARN msg="IAM would refuse" caller=` + iamARN + `user/alice operation=ec2:DescribeVpcs action=ec2:DescribeVpcs resource=* reason="because no identity-based policy allows the ec2:DescribeVpcs action"`
		if got := w.log.String(); strings.Contains(got, want) != logged || !logged && got != "" {
			t.Errorf("%s logs %q", mode, got)
		}
		entries, last := w.gate.Decisions(0, 10, func(*enforce.Entry) bool { return true })
		if len(entries) == 0 == logged || last == 0 == logged {
			t.Errorf("%s remembers %d decisions", mode, len(entries))
		}
	}
	if _, err := enforce.ParseMode("on"); err == nil || err.Error() != `--iam can be enforce, audit or off, not "on"` {
		t.Error(err)
	}
}

// TestGone: the session of a role that is no more, or that was made again, is nobody's.
func TestGone(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	c := w.session("ops", allow("*", "*"))
	admin := iam.NewFromConfig(w.root)
	must(ec2.NewFromConfig(c).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}))
	remove := func() {
		must(admin.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: aws.String("ops"), PolicyName: aws.String("p")}))
		must(admin.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("ops")}))
	}
	dead := func() {
		t.Helper()
		_, err := eks.NewFromConfig(c).ListClusters(t.Context(), &eks.ListClustersInput{})
		refused(t, err, "UnrecognizedClientException", "The security token included in the request is invalid.")
		_, err = sts.NewFromConfig(c).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		refused(t, err, "InvalidClientTokenId", "The security token included in the request is invalid.")
		_, err = ec2.NewFromConfig(c).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
		refused(t, err, "AuthFailure")
	}
	remove()
	dead()
	w.role("ops", trustAccount, allow("*", "*"))
	dead()
}

// TestBoundaries: what limits a user limits it here, in AWS's words.
func TestBoundaries(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	ctx, admin := t.Context(), iam.NewFromConfig(w.root)
	limit := must(admin.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("limit"), PolicyDocument: document(allow("ec2:*", "iam:*", "*"))})).Policy.Arn
	c := w.user("alice", allow("*", "*"))
	must(admin.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{UserName: aws.String("alice"), PermissionsBoundary: limit}))
	must(ec2.NewFromConfig(c).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{}))
	_, err := eks.NewFromConfig(c).ListClusters(ctx, &eks.ListClustersInput{})
	refused(t, err, "AccessDeniedException", "because no permissions boundary allows the eks:ListClusters action")

	// Delegated administration: roles only within the boundary.
	boss := iam.NewFromConfig(w.user("boss", `{"Effect":"Allow","Action":["iam:CreateRole","iam:PutRolePolicy"],"Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"`+*limit+`"}}}`))
	make := func(name string, boundary *string) error {
		_, err := boss.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: document(trustAccount), PermissionsBoundary: boundary})
		return err
	}
	put := func(name string) error {
		_, err := boss.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("p"), PolicyDocument: document(allow("*", "*"))})
		return err
	}
	refused(t, make("free", nil), "AccessDenied", "iam:CreateRole on resource: "+iamARN+"role/free")
	if err := errors.Join(make("bound", limit), put("bound")); err != nil {
		t.Error(err)
	}
	w.role("free", trustAccount)
	refused(t, put("free"), "AccessDenied")

	// A session's own policy takes away.
	out := must(sts.NewFromConfig(w.root).AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: aws.String(w.role("dev", trustAccount, allow("*", "*"))), RoleSessionName: aws.String("me"), Policy: document(allow("ec2:*", "*")),
	}))
	s := w.as(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	must(ec2.NewFromConfig(s).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{}))
	_, err = eks.NewFromConfig(s).ListClusters(ctx, &eks.ListClustersInput{})
	refused(t, err, "AccessDeniedException", "because no session policy allows the eks:ListClusters action")
}

// TestAssume: the trust policy and the caller's own decide together.
func TestAssume(t *testing.T) {
	trust := func(principal string) string {
		return `{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"sts:AssumeRole"}`
	}
	for _, tt := range []struct {
		name, trust, own string
		allowed          bool
	}{
		{"the account trusted, nothing of its own", account, "", false},
		{"the account trusted, and its own", account, allow("sts:AssumeRole", iamARN+"role/r"), true},
		{"the account trusted, its own for another role", account, allow("sts:AssumeRole", iamARN+"role/x"), false},
		{"itself trusted, nothing of its own", iamARN + "user/alice", "", true},
		{"itself trusted, and denied", iamARN + "user/alice", `{"Effect":"Deny","Action":"sts:*","Resource":"*"}`, false},
		{"another trusted, everything of its own", iamARN + "user/bob", allow("*", "*"), false},
		{"another account trusted", other, allow("*", "*"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, enforce.Enforce)
			var own []string
			if tt.own != "" {
				own = append(own, tt.own)
			}
			w.user("bob")
			alice := w.user("alice", own...)
			arn := w.role("r", trust(tt.trust))
			_, err := w.assume(alice, arn)
			if tt.allowed && err != nil {
				t.Error(err)
			}
			if !tt.allowed {
				refused(t, err, "AccessDenied", "User: "+iamARN+"user/alice is not authorized to perform: sts:AssumeRole on resource: "+arn)
			}
		})
	}
	for _, mode := range []enforce.Mode{enforce.Audit, enforce.Off} {
		w := newWorld(t, mode)
		alice := w.user("alice")
		if _, err := w.assume(alice, w.role("r", trust(account))); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if _, err := w.assume(alice, w.role("foreign", trust(other))); err == nil {
			t.Errorf("%s: a role that does not trust its account was assumed", mode)
		}
	}
}

// TestLinkedRoles: the first node group of an account makes a role for EKS, which its
// creator has to be allowed to.
func TestLinkedRoles(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	w.cluster("dev", nil)
	create := func(c aws.Config, name string) error {
		_, err := eks.NewFromConfig(c).CreateNodegroup(t.Context(), &eks.CreateNodegroupInput{
			ClusterName: aws.String("dev"), NodegroupName: &name, NodeRole: aws.String(iamARN + "role/node"), Subnets: subnetIDs(t, w.root),
		})
		return err
	}
	dev := w.session("dev", allow("eks:CreateNodegroup", "iam:PassRole", "*"))
	refused(t, create(dev, "first"), "InvalidRequestException", "Failed to create service linked role: AWSServiceRoleForAmazonEKSNodegroup due to missing permissions for 'iam:CreateServiceLinkedRole'")
	lead := w.session("lead", allow("eks:CreateNodegroup", "iam:PassRole", "*"),
		`{"Effect":"Allow","Action":"iam:CreateServiceLinkedRole","Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":"eks-nodegroup.amazonaws.com"}}}`)
	for i, c := range []aws.Config{lead, dev} {
		if err := create(c, string(rune('a'+i))); err != nil {
			t.Error(err)
		}
	}
	role := must(iam.NewFromConfig(w.root).GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("AWSServiceRoleForAmazonEKSNodegroup")})).Role
	if *role.Path != "/aws-service-role/eks-nodegroup.amazonaws.com/" {
		t.Error(*role.Path)
	}
}
