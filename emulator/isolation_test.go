package emulator

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekssdk "github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	iamsdk "github.com/aws/aws-sdk-go-v2/service/iam"
	ssmsdk "github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/service/autoscaling"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/service/events"
	"github.com/ekslocal/ekslocal/emulator/service/iam"
	"github.com/ekslocal/ekslocal/emulator/service/kms"
	"github.com/ekslocal/ekslocal/emulator/service/logs"
	"github.com/ekslocal/ekslocal/emulator/service/sqs"
	"github.com/ekslocal/ekslocal/emulator/service/ssm"
	"github.com/ekslocal/ekslocal/emulator/service/sts"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// tenant is one account's view of one region.
type tenant struct {
	*services
	t   *testing.T
	ctx context.Context
	awsid.Scope
}

type services struct {
	store       *store.Store
	iam         *iam.Service
	sts         *sts.Service
	ec2         *ec2.Service
	eks         *eks.Service
	ssm         *ssm.Service
	kms         *kms.Service
	logs        *logs.Service
	sqs         *sqs.Service
	events      *events.Service
	autoscaling *autoscaling.Service
}

func newServices(t *testing.T) *services {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	log, clk := slog.New(slog.DiscardHandler), clock.RealClock{}
	s := &services{store: st, iam: iam.New(iam.Config{Store: st, Clock: clk, Log: log}), ssm: ssm.New(ssm.Config{Store: st, Clock: clk, Log: log})}
	s.sts = sts.New(sts.Config{Store: st, Clock: clk, Log: log, IAM: s.iam})
	s.kms = kms.New(kms.Config{Store: st, Clock: clk, Log: log, Principals: principals{s.iam}})
	s.logs = logs.New(logs.Config{Store: st, Clock: clk, Log: log, Keys: s.kms})
	s.sqs = sqs.New(sqs.Config{Store: st, Clock: clk, Log: log})
	s.events = events.New(events.Config{Store: st, Clock: clk, Log: log, Queues: s.sqs})
	s.ec2 = ec2.New(ec2.Config{Store: st, Clock: clk, Log: log, Profiles: s.iam})
	s.autoscaling = autoscaling.New(autoscaling.Config{
		Store: st, Clock: clk, Log: log, EC2: s.ec2, Fleet: fleet{st}, Nodegroups: nodegroups{}, Events: s.events,
	})
	s.eks, err = eks.New(eks.Config{
		Store: st, Clock: clk, Log: log, EC2: s.ec2, LaunchTemplates: s.ec2, IAM: principals{s.iam}, ClusterPorts: [2]int{6500, 6599}, Versions: []string{"1.35"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *services) tenant(t *testing.T, account, region string) *tenant {
	sc := awsid.Scope{Account: account, Region: region}
	return &tenant{s, t, awsid.WithCaller(t.Context(), awsid.Caller{Scope: sc, ARN: sc.RootARN(), UserID: account}), sc}
}

// tenants are two accounts in two regions and in another partition.
func (s *services) tenants(t *testing.T) (out []*tenant) {
	for _, account := range []string{"111111111111", "222222222222"} {
		for _, region := range []string{"us-east-1", "eu-west-1", "cn-north-1"} {
			out = append(out, s.tenant(t, account, region))
		}
	}
	return out
}

// rolesOf makes each account's role.
func rolesOf(tenants []*tenant) map[awsid.Scope]string {
	out := map[awsid.Scope]string{}
	for _, n := range tenants {
		if out[n.Global()] == "" {
			out[n.Global()] = n.role()
		}
	}
	return out
}

func ok[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// things are the ids of what a tenant made, by what they are.
type things map[string]string

// trustAll also lets in every IAM principal: that no other partition's gets in
// must not be the trust policy's doing.
const trustAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],
	"Principal":{"AWS":"*","Service":["eks.amazonaws.com","ec2.amazonaws.com","pods.eks.amazonaws.com"]}}]}`

// role makes the account's role, which all regions of a partition share.
func (n *tenant) role() string {
	n.t.Helper()
	out, err := n.iam.CreateRole(n.ctx, &iamsdk.CreateRoleInput{RoleName: aws.String("same"), AssumeRolePolicyDocument: aws.String(trustAll)})
	return *ok(n.t, out, err).Role.Arn
}

// make makes one of everything, under the same names as every other tenant.
func (n *tenant) make(role string) things {
	n.t.Helper()
	t, ctx, e, ids := n.t, n.ctx, n.ec2, things{}
	vpcOut, err := e.CreateVpc(ctx, &ec2sdk.CreateVpcInput{CidrBlock: aws.String("10.9.0.0/16")})
	vpc := ok(t, vpcOut, err).Vpc.VpcId
	ids["vpc"] = *vpc
	var subnets []string
	for i, cidr := range []string{"10.9.0.0/24", "10.9.1.0/24"} {
		sub, err := e.CreateSubnet(ctx, &ec2sdk.CreateSubnetInput{VpcId: vpc, CidrBlock: &cidr, AvailabilityZone: aws.String(n.Region + string("ab"[i]))})
		subnets = append(subnets, *ok(t, sub, err).Subnet.SubnetId)
	}
	ids["subnet"] = subnets[0]
	sg, err := e.CreateSecurityGroup(ctx, &ec2sdk.CreateSecurityGroupInput{GroupName: aws.String("same"), Description: aws.String("d"), VpcId: vpc})
	ids["group"] = *ok(t, sg, err).GroupId
	lt, err := e.CreateLaunchTemplate(ctx, &ec2sdk.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("same"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{}})
	ids["template"] = *ok(t, lt, err).LaunchTemplate.LaunchTemplateId
	kp, err := e.CreateKeyPair(ctx, &ec2sdk.CreateKeyPairInput{KeyName: aws.String("same")})
	ids["key pair"] = *ok(t, kp, err).KeyPairId
	eni, err := e.CreateNetworkInterface(ctx, &ec2sdk.CreateNetworkInterfaceInput{SubnetId: &subnets[0]})
	ids["interface"] = *ok(t, eni, err).NetworkInterface.NetworkInterfaceId
	igw, err := e.CreateInternetGateway(ctx, &ec2sdk.CreateInternetGatewayInput{})
	ids["internet gateway"] = *ok(t, igw, err).InternetGateway.InternetGatewayId
	nat, err := e.CreateNatGateway(ctx, &ec2sdk.CreateNatGatewayInput{SubnetId: &subnets[0], ConnectivityType: ec2types.ConnectivityTypePrivate})
	ids["NAT gateway"] = *ok(t, nat, err).NatGateway.NatGatewayId
	eip, err := e.AllocateAddress(ctx, &ec2sdk.AllocateAddressInput{})
	ids["address"] = *ok(t, eip, err).AllocationId
	images, err := e.DescribeImages(ctx, &ec2sdk.DescribeImagesInput{Owners: []string{"amazon"}, Filters: []ec2types.Filter{{Name: aws.String("architecture"), Values: []string{"x86_64"}}}})
	run, err2 := e.RunInstances(ctx, &ec2sdk.RunInstancesInput{ImageId: ok(t, images, err).Images[0].ImageId, InstanceType: "t3.small", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: &subnets[0]})
	ids["instance"] = *ok(t, run, err2).Instances[0].InstanceId
	_, err = n.ssm.PutParameter(ctx, &ssmsdk.PutParameterInput{Name: aws.String("same"), Value: aws.String(n.Account + n.Region), Type: ssmtypes.ParameterTypeString})
	ok(t, 0, err)
	c, err := n.eks.CreateCluster(ctx, &ekssdk.CreateClusterInput{Name: aws.String("same"), RoleArn: &role, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: subnets},
		AccessConfig: &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApiAndConfigMap}})
	ids["cluster ARN"] = *ok(t, c, err).Cluster.Arn
	if want := n.ARN("eks", "cluster/same"); ids["cluster ARN"] != want {
		t.Errorf("cluster %s, want %s", ids["cluster ARN"], want)
	}
	return ids
}

// look describes one thing by its id.
func (n *tenant) look(what, id string) error {
	ctx, e, one := n.ctx, n.ec2, []string{id}
	var err error
	switch what {
	case "vpc":
		_, err = e.DescribeVpcs(ctx, &ec2sdk.DescribeVpcsInput{VpcIds: one})
	case "subnet":
		_, err = e.DescribeSubnets(ctx, &ec2sdk.DescribeSubnetsInput{SubnetIds: one})
	case "group":
		_, err = e.DescribeSecurityGroups(ctx, &ec2sdk.DescribeSecurityGroupsInput{GroupIds: one})
	case "template":
		_, err = e.DescribeLaunchTemplates(ctx, &ec2sdk.DescribeLaunchTemplatesInput{LaunchTemplateIds: one})
	case "key pair":
		_, err = e.DescribeKeyPairs(ctx, &ec2sdk.DescribeKeyPairsInput{KeyPairIds: one})
	case "interface":
		_, err = e.DescribeNetworkInterfaces(ctx, &ec2sdk.DescribeNetworkInterfacesInput{NetworkInterfaceIds: one})
	case "internet gateway":
		_, err = e.DescribeInternetGateways(ctx, &ec2sdk.DescribeInternetGatewaysInput{InternetGatewayIds: one})
	case "NAT gateway":
		_, err = e.DescribeNatGateways(ctx, &ec2sdk.DescribeNatGatewaysInput{NatGatewayIds: one})
	case "address":
		_, err = e.DescribeAddresses(ctx, &ec2sdk.DescribeAddressesInput{AllocationIds: one})
	case "instance":
		_, err = e.DescribeInstances(ctx, &ec2sdk.DescribeInstancesInput{InstanceIds: one})
	case "cluster ARN":
		_, err = n.eks.ListTagsForResource(ctx, &ekssdk.ListTagsForResourceInput{ResourceArn: &id})
	default:
		n.t.Fatalf("nobody looks for a %s", what)
	}
	return err
}

// listed are the ids in lists that hold nothing before a tenant makes something.
func (n *tenant) listed() (out []string) {
	n.t.Helper()
	t, ctx, e := n.t, n.ctx, n.ec2
	lts, err := e.DescribeLaunchTemplates(ctx, &ec2sdk.DescribeLaunchTemplatesInput{})
	for _, v := range ok(t, lts, err).LaunchTemplates {
		out = append(out, *v.LaunchTemplateId)
	}
	kps, err := e.DescribeKeyPairs(ctx, &ec2sdk.DescribeKeyPairsInput{})
	for _, v := range ok(t, kps, err).KeyPairs {
		out = append(out, *v.KeyPairId)
	}
	nats, err := e.DescribeNatGateways(ctx, &ec2sdk.DescribeNatGatewaysInput{})
	for _, v := range ok(t, nats, err).NatGateways {
		out = append(out, *v.NatGatewayId)
	}
	eips, err := e.DescribeAddresses(ctx, &ec2sdk.DescribeAddressesInput{})
	for _, v := range ok(t, eips, err).Addresses {
		out = append(out, *v.AllocationId)
	}
	ins, err := e.DescribeInstances(ctx, &ec2sdk.DescribeInstancesInput{})
	for _, r := range ok(t, ins, err).Reservations {
		out = append(out, *r.Instances[0].InstanceId)
	}
	cs, err := n.eks.ListClusters(ctx, &ekssdk.ListClustersInput{})
	for _, name := range ok(t, cs, err).Clusters {
		out = append(out, n.ARN("eks", "cluster/"+name))
	}
	return out
}

// TestIsolation: tenants have the same names for everything and see nothing of
// each other, by list, id or ARN.
func TestIsolation(t *testing.T) {
	s := newServices(t)
	tenants := s.tenants(t)
	roles := rolesOf(tenants)
	made := make([]things, len(tenants))
	for i, n := range tenants {
		made[i] = n.make(roles[n.Global()])
	}
	stranger := s.tenant(t, "333333333333", "us-east-1")
	if got := stranger.listed(); got != nil {
		t.Errorf("a new account sees %v", got)
	}
	for i, n := range tenants {
		p, err := n.ssm.GetParameter(n.ctx, &ssmsdk.GetParameterInput{Name: aws.String("same")})
		if got := *ok(t, p, err).Parameter.Value; got != n.Account+n.Region {
			t.Errorf("%s %s reads the parameter of %s", n.Account, n.Region, got)
		}
		list, err := n.iam.ListRoles(n.ctx, &iamsdk.ListRolesInput{PathPrefix: aws.String("/")})
		for _, r := range ok(t, list, err).Roles {
			if a, _ := awsid.ParseARN(*r.Arn); !a.SameAccount(n.Scope) {
				t.Errorf("%s %s sees role %s", n.Account, n.Region, *r.Arn)
			}
		}
		var want []string
		for what, id := range made[i] {
			if err := n.look(what, id); err != nil {
				t.Errorf("%s %s does not see its own %s: %v", n.Account, n.Region, what, err)
			}
			if slices.Contains([]string{"template", "key pair", "NAT gateway", "address", "instance", "cluster ARN"}, what) {
				want = append(want, id)
			}
		}
		got := n.listed()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s %s lists %v, want %v", n.Account, n.Region, got, want)
		}
		for j, others := range made {
			for what, id := range others {
				if i == j {
					continue
				}
				var refused smithy.APIError
				if err := n.look(what, id); !errors.As(err, &refused) {
					t.Errorf("%s %s sees the %s %s of another: %v", n.Account, n.Region, what, id, err)
				}
			}
		}
	}
	if _, err := stranger.iam.GetRole(stranger.ctx, &iamsdk.GetRoleInput{RoleName: aws.String("same")}); err == nil {
		t.Error("a new account sees the others' role")
	}
}
