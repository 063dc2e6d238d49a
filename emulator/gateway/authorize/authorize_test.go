package authorize

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/eksauth"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// clients have the operations of each service with their inputs, under the service's
// heading in docs/coverage.md.
var clients = map[string]struct {
	heading string
	client  reflect.Type
}{
	"eks":         {"EKS", reflect.TypeFor[*eks.Client]()},
	"eksauth":     {"EKS Auth", reflect.TypeFor[*eksauth.Client]()},
	"ec2":         {"EC2", reflect.TypeFor[*ec2.Client]()},
	"iam":         {"IAM", reflect.TypeFor[*iam.Client]()},
	"sts":         {"STS", reflect.TypeFor[*sts.Client]()},
	"ssm":         {"SSM", reflect.TypeFor[*ssm.Client]()},
	"kms":         {"KMS", reflect.TypeFor[*kms.Client]()},
	"logs":        {"CloudWatch Logs", reflect.TypeFor[*cloudwatchlogs.Client]()},
	"autoscaling": {"Auto Scaling", reflect.TypeFor[*autoscaling.Client]()},
	"elb":         {"Elastic Load Balancing", reflect.TypeFor[*elasticloadbalancing.Client]()},
	"elbv2":       {"Elastic Load Balancing v2", reflect.TypeFor[*elasticloadbalancingv2.Client]()},
	"sqs":         {"SQS", reflect.TypeFor[*sqs.Client]()},
	"events":      {"EventBridge", reflect.TypeFor[*eventbridge.Client]()},
}

// TestCatalogue holds every row to the SDK: its operation and all members exist.
func TestCatalogue(t *testing.T) {
	member := regexp.MustCompile(`\{([A-Za-z0-9.]+)`)
	for service, rows := range catalogue() {
		for op, r := range rows {
			m, ok := clients[service].client.MethodByName(op)
			if !ok {
				t.Errorf("%s has no operation %s", service, op)
				continue
			}
			in := m.Type.In(2)
			for _, r := range append(r.more, r) {
				var paths []string
				for _, res := range r.resources {
					for _, p := range member.FindAllStringSubmatch(res, -1) {
						paths = append(paths, p[1])
					}
				}
				for _, k := range r.keys {
					paths = append(paths, strings.TrimSuffix(k.path, "|keys"))
				}
				for _, p := range r.passed {
					paths = append(paths, p.path)
					if p.when != "" {
						paths = append(paths, p.when)
					}
				}
				for _, p := range append(paths, r.tags...) {
					if !has(in, strings.Split(p, ".")) {
						t.Errorf("%s:%s has no member %s", service, op, p)
					}
				}
				if !r.free && len(r.resources) == 0 {
					t.Errorf("%s:%s is about nothing", service, op)
				}
			}
		}
	}
}

func has(t reflect.Type, path []string) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if len(path) == 0 {
		return true
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	f, ok := t.FieldByName(path[0])
	return ok && has(f.Type, path[1:])
}

// TestComplete holds the catalogue to what is emulated: a new operation needs a row.
func TestComplete(t *testing.T) {
	text, err := os.ReadFile("../../../docs/coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	for service, c := range clients {
		_, section, ok := strings.Cut(string(text), "\n## "+c.heading+"\n")
		if !ok {
			t.Errorf("docs/coverage.md has no %s", c.heading)
			continue
		}
		line, _, _ := strings.Cut(section, "\n")
		ops := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "Emulated: "), "."), ", ")
		for _, op := range ops {
			if _, ok := catalogue()[service][op]; !ok {
				t.Errorf("%s:%s is not in the catalogue", service, op)
			}
		}
	}
}

// names knows one role with a path, the profile that it is in, and an alias.
type names struct{}

func (names) ARN(_ awsid.Scope, service, resource string) string {
	switch service + " " + resource {
	case "iam role/ops", "iam instance-profile/ops/role":
		return "arn:aws:iam::111122223333:role/team/ops"
	case "kms key/alias/a": // by its name, or by its ARN
		return "arn:aws:kms:us-east-1:111122223333:key/1"
	}
	return ""
}

func TestChecks(t *testing.T) {
	caller := awsid.Caller{Scope: awsid.Scope{Account: "111122223333", Region: "us-east-1"}, ARN: "arn:aws:iam::111122223333:user/alice"}
	const eksARN, ec2ARN = "arn:aws:eks:us-east-1:111122223333:", "arn:aws:ec2:us-east-1:111122223333:"
	type keys = map[string][]string
	tag := keys{"aws:requesttag/team": {"a"}, "aws:tagkeys": {"team"}}
	with := func(base keys, more keys) keys {
		out := keys{}
		for _, m := range []keys{base, more} {
			for k, v := range m {
				out[k] = v
			}
		}
		return out
	}
	pass := func(arn, service string) Check {
		return Check{"iam:PassRole", arn, keys{"iam:passedtoservice": {service}}}
	}
	tests := []struct {
		service, operation string
		input              any
		want               []Check
	}{
		{"eks", "DescribeCluster", &eks.DescribeClusterInput{Name: aws.String("dev")}, []Check{{"eks:DescribeCluster", eksARN + "cluster/dev", keys{}}}},
		{"eks", "ListClusters", &eks.ListClustersInput{}, []Check{{"eks:ListClusters", eksARN + "cluster/*", keys{}}}},
		{"eks", "CreateCluster", &eks.CreateClusterInput{
			Name: aws.String("dev"), RoleArn: aws.String("arn:aws:iam::111122223333:role/eks"), Tags: map[string]string{"team": "a"},
			AccessConfig:       &ekstypes.CreateAccessConfigRequest{AuthenticationMode: "API"},
			ResourcesVpcConfig: &ekstypes.VpcConfigRequest{EndpointPublicAccess: aws.Bool(false)},
		}, []Check{
			{"eks:CreateCluster", eksARN + "cluster/dev", with(tag, keys{"eks:authenticationmode": {"API"}, "eks:endpointpublicaccess": {"false"}})},
			{"eks:TagResource", eksARN + "cluster/dev", with(tag, keys{"eks:authenticationmode": {"API"}, "eks:endpointpublicaccess": {"false"}})},
			pass("arn:aws:iam::111122223333:role/eks", "eks.amazonaws.com"),
		}},
		{"eks", "AssociateEncryptionConfig", &eks.AssociateEncryptionConfigInput{ClusterName: aws.String("dev"), EncryptionConfig: []ekstypes.EncryptionConfig{{Provider: &ekstypes.Provider{KeyArn: aws.String("arn:aws:kms:us-east-1:111122223333:key/1")}}}}, []Check{
			{"eks:AssociateEncryptionConfig", eksARN + "cluster/dev", keys{"eks:encryptionconfigproviderkeyarns": {"arn:aws:kms:us-east-1:111122223333:key/1"}}},
			{"kms:DescribeKey", "arn:aws:kms:us-east-1:111122223333:key/1", keys{}}, {"kms:CreateGrant", "arn:aws:kms:us-east-1:111122223333:key/1", keys{}},
		}},
		{"eks", "CreateAccessEntry", &eks.CreateAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: aws.String("arn:aws:iam::111122223333:role/node"), Type: aws.String("EC2")}, []Check{
			{"eks:CreateAccessEntry", eksARN + "cluster/dev", keys{"eks:accessentrytype": {"EC2"}, "eks:principalarn": {"arn:aws:iam::111122223333:role/node"}}},
			pass("arn:aws:iam::111122223333:role/node", "ec2.amazonaws.com"),
		}},
		{"eks", "CreateAccessEntry", &eks.CreateAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: aws.String("arn:aws:iam::111122223333:role/ops")}, []Check{
			{"eks:CreateAccessEntry", eksARN + "cluster/dev", keys{"eks:principalarn": {"arn:aws:iam::111122223333:role/ops"}}},
		}},
		{"eks", "DeleteNodegroup", &eks.DeleteNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")}, []Check{{"eks:DeleteNodegroup", eksARN + "nodegroup/dev/ng/*", keys{}}}},
		{"eks", "DescribeAccessEntry", &eks.DescribeAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: aws.String("arn:aws:iam::111122223333:role/team/ops")}, []Check{
			{"eks:DescribeAccessEntry", eksARN + "access-entry/dev/role/111122223333/ops/*", keys{"eks:clustername": {"dev"}, "eks:principalarn": {"arn:aws:iam::111122223333:role/team/ops"}}},
		}},
		{"ec2", "RunInstances", &ec2.RunInstancesInput{
			ImageId: aws.String("ami-1"), InstanceType: "t3.micro", SubnetId: aws.String("subnet-1"), SecurityGroupIds: []string{"sg-1", "sg-2"},
			IamInstanceProfile: &ec2types.IamInstanceProfileSpecification{Name: aws.String("ops")},
		}, []Check{
			{"ec2:RunInstances", ec2ARN + "instance/*", keys{"ec2:instancetype": {"t3.micro"}}},
			{"ec2:RunInstances", "arn:aws:ec2:us-east-1::image/ami-1", keys{}},
			{"ec2:RunInstances", ec2ARN + "network-interface/*", keys{}},
			{"ec2:RunInstances", ec2ARN + "volume/*", keys{}},
			{"ec2:RunInstances", ec2ARN + "subnet/subnet-1", keys{}},
			{"ec2:RunInstances", ec2ARN + "security-group/sg-1", keys{}},
			{"ec2:RunInstances", ec2ARN + "security-group/sg-2", keys{}},
			pass("arn:aws:iam::111122223333:role/team/ops", "ec2.amazonaws.com"),
		}},
		{"ec2", "CreateVolume", &ec2.CreateVolumeInput{
			AvailabilityZone:  aws.String("us-east-1a"),
			TagSpecifications: []ec2types.TagSpecification{{Tags: []ec2types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}}},
		}, []Check{
			{"ec2:CreateVolume", ec2ARN + "volume/*", with(tag, keys{"ec2:availabilityzone": {"us-east-1a"}})},
			{"ec2:CreateTags", ec2ARN + "volume/*", with(tag, keys{"ec2:availabilityzone": {"us-east-1a"}, "ec2:createaction": {"CreateVolume"}})},
		}},
		{"ec2", "CreateTags", &ec2.CreateTagsInput{Resources: []string{"i-1", "vol-1", "snap-1"}, Tags: []ec2types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}}, []Check{
			{"ec2:CreateTags", ec2ARN + "instance/i-1", tag}, {"ec2:CreateTags", ec2ARN + "volume/vol-1", tag},
			{"ec2:CreateTags", "arn:aws:ec2:us-east-1::snapshot/snap-1", tag},
		}},
		{"ec2", "DescribeInstances", &ec2.DescribeInstancesInput{InstanceIds: []string{"i-1"}}, []Check{{"ec2:DescribeInstances", "*", keys{}}}},
		{"iam", "GetRole", &iam.GetRoleInput{RoleName: aws.String("ops")}, []Check{{"iam:GetRole", "arn:aws:iam::111122223333:role/team/ops", keys{}}}},
		{"iam", "CreateRole", &iam.CreateRoleInput{RoleName: aws.String("new"), Path: aws.String("/p/")}, []Check{{"iam:CreateRole", "arn:aws:iam::111122223333:role/p/new", keys{}}}},
		{"iam", "ListRoles", &iam.ListRolesInput{}, []Check{{"iam:ListRoles", "arn:aws:iam::111122223333:role/", keys{}}}},
		{"iam", "GetUser", &iam.GetUserInput{}, []Check{{"iam:GetUser", caller.ARN, keys{}}}},
		{"iam", "AddRoleToInstanceProfile", &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("p"), RoleName: aws.String("ops")}, []Check{
			{"iam:AddRoleToInstanceProfile", "arn:aws:iam::111122223333:instance-profile/p", keys{}}, pass("arn:aws:iam::111122223333:role/team/ops", "ec2.amazonaws.com"),
		}},
		{"sts", "GetCallerIdentity", &sts.GetCallerIdentityInput{}, nil},
		{"sts", "AssumeRole", &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::444455556666:role/x"), RoleSessionName: aws.String("me"), Tags: []ststypes.Tag{{Key: aws.String("team"), Value: aws.String("a")}}}, []Check{
			{"sts:AssumeRole", "arn:aws:iam::444455556666:role/x", with(tag, keys{"sts:rolesessionname": {"me"}})},
			{"sts:TagSession", "arn:aws:iam::444455556666:role/x", with(tag, keys{"sts:rolesessionname": {"me"}})},
		}},
		{"ssm", "GetParameters", &ssm.GetParametersInput{Names: []string{"/a/b:3", "c"}}, []Check{
			{"ssm:GetParameters", "arn:aws:ssm:us-east-1:111122223333:parameter/a/b", keys{}}, {"ssm:GetParameters", "arn:aws:ssm:us-east-1:111122223333:parameter/c", keys{}},
		}},
		{"ssm", "AddTagsToResource", &ssm.AddTagsToResourceInput{ResourceId: aws.String("c"), Tags: []ssmtypes.Tag{{Key: aws.String("team"), Value: aws.String("a")}}}, []Check{{"ssm:AddTagsToResource", "arn:aws:ssm:us-east-1:111122223333:parameter/c", tag}}},
		{"kms", "Encrypt", &kms.EncryptInput{KeyId: aws.String("alias/a"), EncryptionContext: map[string]string{"Team": "a"}}, []Check{{"kms:Encrypt", "arn:aws:kms:us-east-1:111122223333:key/1", keys{"kms:encryptioncontext:team": {"a"}, "kms:encryptioncontextkeys": {"Team"}}}}},
		{"kms", "ReEncrypt", &kms.ReEncryptInput{
			SourceKeyId: aws.String("arn:aws:kms:us-east-1:111122223333:alias/a"), SourceEncryptionContext: map[string]string{"from": "x"},
			DestinationKeyId: aws.String("2"), DestinationEncryptionContext: map[string]string{"to": "y"},
		}, []Check{
			{"kms:ReEncryptTo", "arn:aws:kms:us-east-1:111122223333:key/2", keys{"kms:encryptioncontext:to": {"y"}, "kms:encryptioncontextkeys": {"to"}}},
			{"kms:ReEncryptFrom", "arn:aws:kms:us-east-1:111122223333:key/1", keys{"kms:encryptioncontext:from": {"x"}, "kms:encryptioncontextkeys": {"from"}}},
		}},
		{"kms", "ReEncrypt", &kms.ReEncryptInput{DestinationKeyId: aws.String("2")}, []Check{
			{"kms:ReEncryptTo", "arn:aws:kms:us-east-1:111122223333:key/2", keys{}}, {"kms:ReEncryptFrom", "*", keys{}},
		}},
		{"sqs", "SendMessageBatch", &sqs.SendMessageBatchInput{QueueUrl: aws.String("http://127.0.0.1:4566/111122223333/q")}, []Check{{"sqs:SendMessage", "arn:aws:sqs:us-east-1:111122223333:q", keys{}}}},
		{"sqs", "SendMessage", &sqs.SendMessageInput{QueueUrl: aws.String("http://127.0.0.1:4566/444455556666/q")}, []Check{{"sqs:SendMessage", "arn:aws:sqs:us-east-1:444455556666:q", keys{}}}},
		{"sqs", "SendMessage", &sqs.SendMessageInput{QueueUrl: aws.String("q")}, []Check{{"sqs:SendMessage", "arn:aws:sqs:us-east-1:111122223333:q", keys{}}}},
		{"logs", "PutLogEvents", &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String("/g"), LogStreamName: aws.String("s")}, []Check{{"logs:PutLogEvents", "arn:aws:logs:us-east-1:111122223333:log-group:/g:log-stream:s", keys{}}}},
		{"events", "DescribeRule", &eventbridge.DescribeRuleInput{Name: aws.String("r"), EventBusName: aws.String("bus")}, []Check{{"events:DescribeRule", "arn:aws:events:us-east-1:111122223333:rule/bus/r", keys{}}}},
		{"events", "DescribeRule", &eventbridge.DescribeRuleInput{Name: aws.String("r")}, []Check{{"events:DescribeRule", "arn:aws:events:us-east-1:111122223333:rule/r", keys{}}}},
		{"elbv2", "DescribeTags", &elasticloadbalancingv2.DescribeTagsInput{}, []Check{{"elasticloadbalancing:DescribeTags", "*", keys{}}}},
		{"ec2", "InventedOperation", nil, []Check{{"ec2:InventedOperation", "*", keys{}}}},
	}
	for _, tt := range tests {
		t.Run(tt.service+"/"+tt.operation, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Checks(tt.service, tt.operation, caller, tt.input, names{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEmptyInputs asks about requests that say nothing: every operation that is not
// free is still a question, with a resource.
func TestEmptyInputs(t *testing.T) {
	caller := awsid.Caller{Scope: awsid.Scope{Account: "111122223333", Region: "us-east-1"}, ARN: "arn:aws:iam::111122223333:user/alice"}
	for service, rows := range catalogue() {
		for op, r := range rows {
			m, _ := clients[service].client.MethodByName(op)
			checks := Checks(service, op, caller, reflect.New(m.Type.In(2).Elem()).Interface(), names{})
			if len(checks) == 0 != r.free {
				t.Errorf("%s:%s: %d questions", service, op, len(checks))
			}
			for _, c := range checks {
				if c.Resource == "" || !strings.Contains(c.Action, ":") || strings.ContainsAny(c.Resource, "{}|!") {
					t.Errorf("%s:%s: %q on %q", service, op, c.Action, c.Resource)
				}
			}
		}
	}
}
