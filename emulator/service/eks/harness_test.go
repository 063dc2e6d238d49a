package eks

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const account = "000000000000"

func roleARN(name string) string { return "arn:aws:iam::" + account + ":role/" + name }

// world is a service with its surroundings.
type world struct {
	*Service
	t     *testing.T
	ctx   context.Context
	scope awsid.Scope
	ec2   *fakeEC2
	iam   fakeIAM
	clock *clocktesting.FakePassiveClock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	scope := awsid.Scope{Account: account, Region: "us-east-1"}
	ctx := awsid.WithCaller(t.Context(), awsid.Caller{
		Scope: scope, ARN: "arn:aws:sts::" + account + ":assumed-role/admin/me", UserID: "AROAADMIN:me", RequestID: "req-1",
	})
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st, err := store.Open(t.Context(), store.NewMemory(), log)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, ctx: ctx, scope: scope, ec2: newFakeEC2(), clock: clocktesting.NewFakePassiveClock(time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)),
		iam: fakeIAM{
			roleARN("cluster"): {"AROACLUSTER", []string{clusterService}},
			roleARN("node"):    {"AROANODE", []string{nodeService}},
			roleARN("pod"):     {"AROAPOD", []string{podsService}},
			roleARN("admin"):   {"AROAADMIN", nil},
			roleARN("fargate"): {"AROAFARGATE", []string{fargateService}},
			roleARN("cap"):     {"AROACAP", []string{capabilityService}},
			roleARN("agent"):   {"AROAAGENT", []string{connectorService}},
		},
	}
	w.Service, err = New(Config{
		Store: st, Clock: w.clock, Log: log, EC2: w.ec2, LaunchTemplates: w.ec2, IAM: w.iam,
		ClusterPorts: [2]int{6500, 6501}, Versions: []string{"1.33", "1.34", "1.35", "1.36"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

type fakeIAM map[string]struct {
	id     string
	trusts []string
}

func (f fakeIAM) Principal(_ context.Context, arn string) (Principal, bool) {
	p, ok := f[arn]
	return Principal{ARN: arn, ID: p.id, TrustsService: func(s string) bool { return slices.Contains(p.trusts, s) }}, ok
}

// fakeEC2 has subnets subnet-a, -b, -c in vpc-1 (10.0.0.0/16) in zones a to c,
// subnet-e in the zone without EKS, subnet-x in vpc-2 (192.168.0.0/16) and
// subnet-y beside it.
type fakeEC2 struct {
	subnets   []ec2types.Subnet
	vpcs      []ec2types.Vpc
	templates []ec2types.LaunchTemplateVersion
}

func newFakeEC2() *fakeEC2 {
	f := &fakeEC2{vpcs: []ec2types.Vpc{
		{VpcId: aws.String("vpc-1"), CidrBlock: aws.String("10.0.0.0/16")}, {VpcId: aws.String("vpc-2"), CidrBlock: aws.String("192.168.0.0/16")},
	}}
	for _, s := range [][4]string{
		{"subnet-a", "vpc-1", "us-east-1a", "use1-az6"}, {"subnet-b", "vpc-1", "us-east-1b", "use1-az1"}, {"subnet-c", "vpc-1", "us-east-1c", "use1-az2"},
		{"subnet-a2", "vpc-1", "us-east-1a", "use1-az6"}, {"subnet-e", "vpc-1", "us-east-1e", "use1-az3"},
		{"subnet-x", "vpc-2", "us-east-1a", "use1-az6"}, {"subnet-y", "vpc-2", "us-east-1b", "use1-az1"}, {"subnet-full", "vpc-1", "us-east-1b", "use1-az1"},
		{"subnet-public", "vpc-1", "us-east-1c", "use1-az2"},
	} {
		free := int32(250)
		if s[0] == "subnet-full" {
			free = 3
		}
		f.subnets = append(f.subnets, ec2types.Subnet{
			SubnetId: aws.String(s[0]), VpcId: aws.String(s[1]), AvailabilityZone: aws.String(s[2]), AvailabilityZoneId: aws.String(s[3]), AvailableIpAddressCount: &free,
		})
	}
	return f
}

func (f *fakeEC2) DescribeKeyPairs(_ context.Context, in *ec2.DescribeKeyPairsInput, _ ...func(*ec2.Options)) (*ec2.DescribeKeyPairsOutput, error) {
	if name := in.KeyNames[0]; name != "ops" {
		return nil, &smithy.GenericAPIError{Code: "InvalidKeyPair.NotFound", Message: "The key pair '" + name + "' does not exist"}
	}
	return &ec2.DescribeKeyPairsOutput{}, nil
}

func (f *fakeEC2) DescribeSubnets(_ context.Context, in *ec2.DescribeSubnetsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error) {
	out := &ec2.DescribeSubnetsOutput{}
	for _, id := range in.SubnetIds {
		i := slices.IndexFunc(f.subnets, func(s ec2types.Subnet) bool { return *s.SubnetId == id })
		if i < 0 {
			return nil, &smithy.GenericAPIError{Code: "InvalidSubnetID.NotFound", Message: "The subnet ID '" + id + "' does not exist"}
		}
		out.Subnets = append(out.Subnets, f.subnets[i])
	}
	slices.Reverse(out.Subnets)
	return out, nil
}

func (f *fakeEC2) DescribeVpcs(_ context.Context, in *ec2.DescribeVpcsInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error) {
	i := slices.IndexFunc(f.vpcs, func(v ec2types.Vpc) bool { return *v.VpcId == in.VpcIds[0] })
	return &ec2.DescribeVpcsOutput{Vpcs: f.vpcs[i : i+1]}, nil
}

func (f *fakeEC2) DescribeSecurityGroups(_ context.Context, in *ec2.DescribeSecurityGroupsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error) {
	out := &ec2.DescribeSecurityGroupsOutput{}
	for _, id := range in.GroupIds {
		vpc := map[string]string{"sg-1": "vpc-1", "sg-2": "vpc-1", "sg-x": "vpc-2"}[id]
		if vpc == "" {
			return nil, &smithy.GenericAPIError{Code: "InvalidGroup.NotFound", Message: "The security group '" + id + "' does not exist"}
		}
		out.SecurityGroups = append(out.SecurityGroups, ec2types.SecurityGroup{GroupId: aws.String(id), VpcId: aws.String(vpc)})
	}
	return out, nil
}

// DescribeRouteTables answers that subnet-public has a route to the internet.
func (f *fakeEC2) DescribeRouteTables(context.Context, *ec2.DescribeRouteTablesInput, ...func(*ec2.Options)) (*ec2.DescribeRouteTablesOutput, error) {
	return &ec2.DescribeRouteTablesOutput{RouteTables: []ec2types.RouteTable{
		{Associations: []ec2types.RouteTableAssociation{{Main: aws.Bool(true)}}, Routes: []ec2types.Route{{GatewayId: aws.String("local")}}},
		{Associations: []ec2types.RouteTableAssociation{{SubnetId: aws.String("subnet-public")}}, Routes: []ec2types.Route{{GatewayId: aws.String("igw-1")}}},
	}}, nil
}

func (f *fakeEC2) DescribeAvailabilityZones(context.Context, *ec2.DescribeAvailabilityZonesInput, ...func(*ec2.Options)) (*ec2.DescribeAvailabilityZonesOutput, error) {
	out := &ec2.DescribeAvailabilityZonesOutput{}
	for _, z := range [][2]string{{"us-east-1a", "use1-az6"}, {"us-east-1b", "use1-az1"}, {"us-east-1e", "use1-az3"}} {
		out.AvailabilityZones = append(out.AvailabilityZones, ec2types.AvailabilityZone{ZoneName: aws.String(z[0]), ZoneId: aws.String(z[1])})
	}
	return out, nil
}

func (f *fakeEC2) DescribeInstanceTypes(_ context.Context, in *ec2.DescribeInstanceTypesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceTypesOutput, error) {
	out := &ec2.DescribeInstanceTypesOutput{}
	for _, t := range in.InstanceTypes {
		arch := ec2types.ArchitectureTypeX8664
		if strings.HasPrefix(string(t), "t4g") || strings.HasPrefix(string(t), "m7g") {
			arch = ec2types.ArchitectureTypeArm64
		}
		if strings.HasPrefix(string(t), "q") {
			return nil, &smithy.GenericAPIError{Code: "InvalidInstanceType", Message: "The following supplied instance types do not exist: [" + string(t) + "]"}
		}
		out.InstanceTypes = append(out.InstanceTypes, ec2types.InstanceTypeInfo{
			InstanceType: t, ProcessorInfo: &ec2types.ProcessorInfo{SupportedArchitectures: []ec2types.ArchitectureType{arch}},
		})
	}
	return out, nil
}

func (f *fakeEC2) DescribeLaunchTemplateVersions(_ context.Context, in *ec2.DescribeLaunchTemplateVersionsInput, _ ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
	for _, t := range f.templates {
		if aws.ToString(t.LaunchTemplateId) == aws.ToString(in.LaunchTemplateId) || aws.ToString(t.LaunchTemplateName) == aws.ToString(in.LaunchTemplateName) {
			return &ec2.DescribeLaunchTemplateVersionsOutput{LaunchTemplateVersions: []ec2types.LaunchTemplateVersion{t}}, nil
		}
	}
	return nil, &smithy.GenericAPIError{Code: "InvalidLaunchTemplateId.NotFound", Message: "The specified launch template does not exist."}
}

// must returns v or ends the test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (w *world) input(name string, change ...func(*eks.CreateClusterInput)) *eks.CreateClusterInput {
	in := &eks.CreateClusterInput{
		Name: &name, RoleArn: aws.String(roleARN("cluster")), ClientRequestToken: aws.String("create-" + name),
		ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-a", "subnet-b"}},
	}
	for _, f := range change {
		f(in)
	}
	return in
}

func (w *world) create(name string, change ...func(*eks.CreateClusterInput)) *ekstypes.Cluster {
	w.t.Helper()
	out, err := w.CreateCluster(w.ctx, w.input(name, change...))
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Cluster
}

// active does what the lifecycle does when a cluster is up.
func (w *world) active(name string, change ...func(*eks.CreateClusterInput)) {
	w.t.Helper()
	w.create(name, change...)
	w.settle(name)
}

// settle finishes a cluster's creation or update.
func (w *world) settle(name string) {
	w.t.Helper()
	err := w.store.Update(w.ctx, func(tx *store.Tx) error {
		c := Clusters.Edit(tx, w.scope, name)
		c.Resource.Status = ekstypes.ClusterStatusActive
		c.Resource.Version = &c.DesiredVersion
		if c.UpdateID != "" {
			FinishUpdate(tx, w.scope, name, c.UpdateID)
			c.UpdateID = ""
		}
		Clusters.Put(tx, w.scope, name, c)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func withMode(m ekstypes.AuthenticationMode) func(*eks.CreateClusterInput) {
	return func(in *eks.CreateClusterInput) {
		in.AccessConfig = &ekstypes.CreateAccessConfigRequest{AuthenticationMode: m}
	}
}

// wantError checks an error's code and a part of its message.
func wantError(t *testing.T, err error, code, part string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Errorf("got %v, want %s %q", err, code, part)
		return
	}
	if api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), part) {
		t.Errorf("got %s: %s\nwant %s: ...%s...", api.ErrorCode(), api.ErrorMessage(), code, part)
	}
}
