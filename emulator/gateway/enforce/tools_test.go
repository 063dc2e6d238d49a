package enforce_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/ekslocal/ekslocal/emulator/gateway/enforce"
)

func spec(kind ec2types.ResourceType, tags ...string) ec2types.TagSpecification {
	return ec2types.TagSpecification{ResourceType: kind, Tags: pairs(tags...)}
}

func pairs(kv ...string) (out []ec2types.Tag) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, ec2types.Tag{Key: &kv[i], Value: &kv[i+1]})
	}
	return out
}

// holdings are what the calls of these tests are about.
type holdings struct {
	subnet, vpc, group, eni, volume, driverVolume, template, foreignTemplate string
}

func newHoldings(t testing.TB, w *world) holdings {
	t.Helper()
	ctx, root := t.Context(), ec2.NewFromConfig(w.root)
	var h holdings
	h.subnet = subnetIDs(t, w.root)[0]
	h.vpc = *must(root.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})).Vpcs[0].VpcId
	h.group = *must(root.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("lb"), Description: aws.String("x"), VpcId: &h.vpc})).GroupId
	h.eni = *must(root.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &h.subnet})).NetworkInterface.NetworkInterfaceId
	volume := func(specs ...ec2types.TagSpecification) string {
		return *must(root.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(1), TagSpecifications: specs})).VolumeId
	}
	h.volume, h.driverVolume = volume(), volume(spec("volume", "ebs.csi.aws.com/cluster", "true"))
	w.role("KarpenterNodeRole", trustAccount)
	w.role("admin", trustAccount)
	for _, name := range []string{"KarpenterNodeRole", "admin"} {
		must(iam.NewFromConfig(w.root).CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name}))
		must(iam.NewFromConfig(w.root).AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &name, RoleName: &name}))
	}
	template := func(name, profile string, tags ...string) string {
		return *must(root.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: &name, TagSpecifications: []ec2types.TagSpecification{spec("launch-template", tags...)},
			LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
				ImageId: aws.String("ami-0a1b2c3d4e5f60718"), IamInstanceProfile: &ec2types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: &profile},
				TagSpecifications: []ec2types.LaunchTemplateTagSpecificationRequest{{ResourceType: "network-interface", Tags: pairs(owned, "owned", nodePool, "default")}},
			},
		})).LaunchTemplate.LaunchTemplateId
	}
	h.template = template("karpenter", "KarpenterNodeRole", owned, "owned", nodePool, "default")
	h.foreignTemplate = template("foreign", "admin", owned, "owned", nodePool, "default")
	return h
}

const (
	owned    = "kubernetes.io/cluster/dev"
	nodePool = "karpenter.sh/nodepool"
)

// TestTools holds AWS's managed policies, and policies as the tools around EKS have
// them, to what these are for: their calls pass, the next ones over do not.
func TestTools(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	ctx := t.Context()
	h := newHoldings(t, w)
	w.cluster("dev", nil)
	must(ssm.NewFromConfig(w.root).PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("p"), Value: aws.String("x"), Type: "String"}))

	type call = func(e *ec2.Client, k *eks.Client, i *iam.Client) error
	describe := func(e *ec2.Client, _ *eks.Client, _ *iam.Client) error {
		_, err := e.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
		return err
	}
	describeCluster := func(_ *ec2.Client, k *eks.Client, _ *iam.Client) error {
		_, err := k.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})
		return err
	}
	deleteCluster := func(_ *ec2.Client, k *eks.Client, _ *iam.Client) error {
		_, err := k.DeleteNodegroup(ctx, &eks.DeleteNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("none")})
		return err
	}
	createRole := func(_ *ec2.Client, _ *eks.Client, i *iam.Client) error {
		_, err := i.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("admin"), AssumeRolePolicyDocument: document(trustAccount)})
		return err
	}
	listRoles := func(_ *ec2.Client, _ *eks.Client, i *iam.Client) error {
		_, err := i.ListRoles(ctx, &iam.ListRolesInput{})
		return err
	}
	run := func(e *ec2.Client, _ *eks.Client, _ *iam.Client) error {
		_, err := e.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: aws.String("ami-0a1b2c3d4e5f60718"), InstanceType: "t3.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), DryRun: aws.Bool(true)})
		return err
	}
	createVolume := func(tags ...string) call {
		return func(e *ec2.Client, _ *eks.Client, _ *iam.Client) error {
			in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(1), DryRun: aws.Bool(true)}
			if tags != nil {
				in.TagSpecifications = []ec2types.TagSpecification{spec("volume", tags...)}
			}
			_, err := e.CreateVolume(ctx, in)
			return err
		}
	}
	deleteVolume := func(id string) call {
		return func(e *ec2.Client, _ *eks.Client, _ *iam.Client) error {
			_, err := e.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &id, DryRun: aws.Bool(true)})
			return err
		}
	}
	tag := func(id string, tags ...string) call {
		return func(e *ec2.Client, _ *eks.Client, _ *iam.Client) error {
			_, err := e.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: pairs(tags...), DryRun: aws.Bool(true)})
			return err
		}
	}
	assign := func(e *ec2.Client, _ *eks.Client, _ *iam.Client) error {
		_, err := e.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &h.eni, SecondaryPrivateIpAddressCount: aws.Int32(1)})
		return err
	}
	openGroup := func(e *ec2.Client, _ *eks.Client, _ *iam.Client) error {
		_, err := e.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &h.group, CidrIp: aws.String("10.0.0.0/8"), IpProtocol: aws.String("tcp"), FromPort: aws.Int32(80), ToPort: aws.Int32(80), DryRun: aws.Bool(true)})
		return err
	}
	fleet := func(template string, tags ...string) call {
		return func(e *ec2.Client, _ *eks.Client, _ *iam.Client) error {
			in := &ec2.CreateFleetInput{
				Type: "instant", TargetCapacitySpecification: &ec2types.TargetCapacitySpecificationRequest{TotalTargetCapacity: aws.Int32(1), DefaultTargetCapacityType: "on-demand"},
				LaunchTemplateConfigs: []ec2types.FleetLaunchTemplateConfigRequest{{
					LaunchTemplateSpecification: &ec2types.FleetLaunchTemplateSpecificationRequest{LaunchTemplateId: &template, Version: aws.String("$Latest")},
					Overrides:                   []ec2types.FleetLaunchTemplateOverridesRequest{{SubnetId: &h.subnet, InstanceType: "m5.large"}, {SubnetId: &h.subnet, InstanceType: "m5.xlarge"}},
				}},
				DryRun: aws.Bool(true),
			}
			for _, kind := range []ec2types.ResourceType{"fleet", "instance", "volume"} {
				in.TagSpecifications = append(in.TagSpecifications, spec(kind, tags...))
			}
			_, err := e.CreateFleet(ctx, in)
			return err
		}
	}

	tests := []struct {
		name             string
		managed          string
		statements       []string
		passing, refused map[string]call
	}{
		{
			name: "cluster role", managed: "AmazonEKSClusterPolicy",
			passing: map[string]call{"describe": describe, "tag": tag(h.subnet, "a", "b")}, refused: map[string]call{"run": run, "describe cluster": describeCluster, "make a role": createRole},
		},
		{
			name: "node role", managed: "AmazonEKSWorkerNodePolicy",
			passing: map[string]call{"describe": describe, "describe cluster": describeCluster}, refused: map[string]call{"assign": assign, "delete": deleteCluster, "run": run},
		},
		{
			name: "VPC CNI", managed: "AmazonEKS_CNI_Policy",
			passing: map[string]call{"assign": assign, "tag its interface": tag(h.eni, "node.k8s.amazonaws.com/instance_id", "i-1")},
			refused: map[string]call{"tag a subnet": tag(h.subnet, "a", "b"), "run": run},
		},
		{
			name: "EBS CSI driver", managed: "service-role/AmazonEBSCSIDriverPolicy",
			passing: map[string]call{"create": createVolume("ebs.csi.aws.com/cluster", "true", "KubernetesCluster", "dev"), "delete its own": deleteVolume(h.driverVolume)},
			refused: map[string]call{
				"create without tags": createVolume(), "create with others": createVolume("team", "a"), "delete another": deleteVolume(h.volume),
				"tag what is there": tag(h.volume, "ebs.csi.aws.com/cluster", "true"),
			},
		},
		{
			name: "reader", managed: "ReadOnlyAccess",
			passing: map[string]call{"describe": describe, "describe cluster": describeCluster, "list": listRoles}, refused: map[string]call{"delete": deleteCluster, "tag": tag(h.subnet, "a", "b")},
		},
		{
			name: "power user", managed: "PowerUserAccess",
			passing: map[string]call{"describe": describe, "run": run, "delete": deleteCluster, "list": listRoles}, refused: map[string]call{"make a role": createRole},
		},
		{name: "administrator", managed: "AdministratorAccess", passing: map[string]call{"run": run, "delete": deleteCluster, "make a role": createRole, "assign": assign}},
		{name: "IAM", managed: "IAMFullAccess", passing: map[string]call{"make a role": createRole}, refused: map[string]call{"describe": describe, "describe cluster": describeCluster}},
		{
			name: "Karpenter",
			statements: []string{
				`{"Effect":"Allow","Action":["ec2:RunInstances","ec2:CreateFleet"],"Resource":["arn:aws:ec2:us-east-1::image/*","arn:aws:ec2:us-east-1::snapshot/*","arn:aws:ec2:us-east-1:*:security-group/*","arn:aws:ec2:us-east-1:*:subnet/*"]}`,
				`{"Effect":"Allow","Action":["ec2:RunInstances","ec2:CreateFleet"],"Resource":"arn:aws:ec2:us-east-1:*:launch-template/*","Condition":{"StringEquals":{"aws:ResourceTag/` + owned + `":"owned"},"StringLike":{"aws:ResourceTag/` + nodePool + `":"*"}}}`,
				`{"Effect":"Allow","Action":["ec2:RunInstances","ec2:CreateFleet"],"Resource":["arn:aws:ec2:us-east-1:*:fleet/*","arn:aws:ec2:us-east-1:*:instance/*","arn:aws:ec2:us-east-1:*:volume/*","arn:aws:ec2:us-east-1:*:network-interface/*"],"Condition":{"StringEquals":{"aws:RequestTag/` + owned + `":"owned"},"StringLike":{"aws:RequestTag/` + nodePool + `":"*"}}}`,
				`{"Effect":"Allow","Action":"ec2:CreateTags","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/` + owned + `":"owned","ec2:CreateAction":["RunInstances","CreateFleet","CreateLaunchTemplate"]},"StringLike":{"aws:RequestTag/` + nodePool + `":"*"}}}`,
				`{"Effect":"Allow","Action":"iam:PassRole","Resource":"` + iamARN + `role/KarpenterNodeRole","Condition":{"StringEquals":{"iam:PassedToService":"ec2.amazonaws.com"}}}`,
				`{"Effect":"Allow","Action":"eks:DescribeCluster","Resource":"` + eksARN + `cluster/dev"}`,
			},
			passing: map[string]call{"fleet": fleet(h.template, owned, "owned", nodePool, "default"), "describe cluster": describeCluster},
			refused: map[string]call{
				"fleet without its tags": fleet(h.template, nodePool, "default"), "fleet with another cluster's": fleet(h.template, "kubernetes.io/cluster/prod", "owned", nodePool, "default"),
				"fleet with another role": fleet(h.foreignTemplate, owned, "owned", nodePool, "default"), "run": run, "tag what is there": tag(h.volume, owned, "owned", nodePool, "default"),
			},
		},
		{
			name: "load balancer controller",
			statements: []string{
				allow("ec2:CreateSecurityGroup", "ec2:Describe*", "*"),
				`{"Effect":"Allow","Action":"ec2:CreateTags","Resource":"arn:aws:ec2:*:*:security-group/*","Condition":{"StringEquals":{"ec2:CreateAction":"CreateSecurityGroup"},"Null":{"aws:RequestTag/elbv2.k8s.aws/cluster":"false"}}}`,
				`{"Effect":"Allow","Action":["ec2:AuthorizeSecurityGroupIngress","ec2:DeleteSecurityGroup"],"Resource":"*","Condition":{"Null":{"aws:ResourceTag/elbv2.k8s.aws/cluster":"false"}}}`,
			},
			passing: map[string]call{
				"make a group": func(e *ec2.Client, _ *eks.Client, _ *iam.Client) error {
					_, err := e.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
						GroupName: aws.String("k8s"), Description: aws.String("x"), VpcId: &h.vpc, TagSpecifications: []ec2types.TagSpecification{spec("security-group", "elbv2.k8s.aws/cluster", "dev")}, DryRun: aws.Bool(true),
					})
					return err
				},
			},
			refused: map[string]call{
				"make a group with other tags": func(e *ec2.Client, _ *eks.Client, _ *iam.Client) error {
					_, err := e.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
						GroupName: aws.String("k8s"), Description: aws.String("x"), VpcId: &h.vpc, TagSpecifications: []ec2types.TagSpecification{spec("security-group", "a", "b")}, DryRun: aws.Bool(true),
					})
					return err
				},
				"open another's group": openGroup,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			role := "role-" + string([]rune(tt.name)[:3]) + string(rune('a'+len(tt.name)))
			arn := w.role(role, trustAccount, tt.statements...)
			if tt.managed != "" {
				must(iam.NewFromConfig(w.root).AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &role, PolicyArn: aws.String("arn:aws:iam::aws:policy/" + tt.managed)}))
			}
			c := must(w.assume(w.root, arn))
			e, k, i := ec2.NewFromConfig(c), eks.NewFromConfig(c), iam.NewFromConfig(c)
			for name, do := range tt.passing {
				if err := do(e, k, i); isRefusal(err) {
					t.Errorf("%s: %v", name, err)
				}
			}
			for name, do := range tt.refused {
				if err := do(e, k, i); !isRefusal(err) {
					t.Errorf("%s: was not refused: %v", name, err)
				}
			}
		})
	}
}
