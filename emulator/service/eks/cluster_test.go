package eks

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func TestCreateClusterGolden(t *testing.T) {
	w := newWorld(t)
	w.create("dev")
	got, err := json.MarshalIndent(must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})).Cluster, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/describe-cluster.json"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Error(diff)
	}
	c := Clusters.Get(w.store, w.scope, "dev")
	if c.Port != 6500 || !c.CreatorIsAdmin || c.CreatorARN != roleARN("admin") || c.CreatorID != "AROAADMIN" || len(c.ID) != 32 || !c.BootstrapSelfManagedAddons {
		t.Errorf("record %+v", c)
	}
}

func TestCreateClusterRefusals(t *testing.T) {
	type in = *eks.CreateClusterInput
	for name, tc := range map[string]struct {
		change     func(in)
		code, part string
	}{
		"no name":           {func(i in) { i.Name = nil }, "InvalidParameterException", "Cluster name"},
		"bad name":          {func(i in) { i.Name = aws.String("-x") }, "InvalidParameterException", "alphanumeric"},
		"long name":         {func(i in) { i.Name = aws.String(strings.Repeat("x", 101)) }, "InvalidParameterException", "100"},
		"no role":           {func(i in) { i.RoleArn = nil }, "InvalidParameterException", "roleArn"},
		"role missing":      {func(i in) { i.RoleArn = aws.String(roleARN("none")) }, "InvalidParameterException", "Role with arn: " + roleARN("none") + ", could not be assumed because it does not exist or the trusted entity is not correct"},
		"role not trusting": {func(i in) { i.RoleArn = aws.String(roleARN("node")) }, "InvalidParameterException", "the trusted entity is not correct"},
		"role elsewhere":    {func(i in) { i.RoleArn = aws.String("arn:aws:iam::111111111111:role/r") }, "AccessDeniedException", "Cross-account"},
		"version unknown":   {func(i in) { i.Version = aws.String("1.10") }, "InvalidParameterException", "unsupported Kubernetes version"},
		"version not here":  {func(i in) { i.Version = aws.String("1.32") }, "InvalidParameterException", "serve 1.33, 1.34, 1.35 and 1.36"},
		"no vpc config":     {func(i in) { i.ResourcesVpcConfig = nil }, "InvalidParameterException", "two different AZs"},
		"one zone":          {func(i in) { i.ResourcesVpcConfig.SubnetIds = []string{"subnet-a", "subnet-a2"} }, "InvalidParameterException", "Subnets specified must be in at least two different AZs"},
		"subnet missing": {func(i in) { i.ResourcesVpcConfig.SubnetIds = []string{"subnet-a", "subnet-z"} }, "InvalidParameterException",
			"The subnet ID 'subnet-z' does not exist (Service: AmazonEC2; Status Code: 400; Error Code: InvalidSubnetID.NotFound; Request ID: req-1; Proxy: null)"},
		"two vpcs":            {func(i in) { i.ResourcesVpcConfig.SubnetIds = []string{"subnet-a", "subnet-y"} }, "InvalidParameterException", "same VPC"},
		"full subnet":         {func(i in) { i.ResourcesVpcConfig.SubnetIds = []string{"subnet-a", "subnet-full"} }, "InvalidParameterException", "need at least 5 IPs in each subnet"},
		"bad zone":            {func(i in) { i.ResourcesVpcConfig.SubnetIds = []string{"subnet-a", "subnet-e"} }, "UnsupportedAvailabilityZoneException", "us-east-1a, us-east-1b"},
		"security group gone": {func(i in) { i.ResourcesVpcConfig.SecurityGroupIds = []string{"sg-9"} }, "InvalidParameterException", "InvalidGroup.NotFound"},
		"security group vpc":  {func(i in) { i.ResourcesVpcConfig.SecurityGroupIds = []string{"sg-x"} }, "InvalidParameterException", "not in the VPC"},
		"no endpoint":         {func(i in) { i.ResourcesVpcConfig.EndpointPublicAccess = aws.Bool(false) }, "InvalidParameterException", "Private and public endpoint access cannot be false"},
		"bad public cidr":     {func(i in) { i.ResourcesVpcConfig.PublicAccessCidrs = []string{"1.2.3.4/24"} }, "InvalidParameterException", "[1.2.3.4/24]"},
		"service cidr range":  {cidr("11.0.0.0/16"), "InvalidParameterException", "private ranges"},
		"service cidr size":   {cidr("10.100.0.0/25"), "InvalidParameterException", "between /24 and /12"},
		"service cidr bad":    {cidr("10.100.0.1/16"), "InvalidParameterException", "not a valid CIDR"},
		"service cidr vpc":    {cidr("10.0.0.0/12"), "InvalidParameterException", "overlaps with the VPC CIDR block 10.0.0.0/16"},
		"ipv6 without":        {func(i in) { i.KubernetesNetworkConfig = &ekstypes.KubernetesNetworkConfigRequest{IpFamily: "ipv6"} }, "InvalidParameterException", "IPv6 CIDR"},
		"auth mode":           {withMode("X"), "InvalidParameterException", "authentication mode"},
		"log type": {func(i in) {
			i.Logging = &ekstypes.Logging{ClusterLogging: []ekstypes.LogSetup{{Types: []ekstypes.LogType{"x"}}}}
		}, "InvalidParameterException", "log type"},
		"encryption": {func(i in) {
			i.EncryptionConfig = []ekstypes.EncryptionConfig{{Resources: []string{"pods"}}}
		}, "InvalidParameterException", "secrets"},
		"half auto mode": {func(i in) { i.ComputeConfig = &ekstypes.ComputeConfigRequest{Enabled: aws.Bool(true)} }, "InvalidParameterException", "For EKS Auto Mode"},
		"tags":           {func(i in) { i.Tags = map[string]string{"aws:x": ""} }, "InvalidParameterException", "aws:"},
		"long token":     {func(i in) { i.ClientRequestToken = aws.String(strings.Repeat("x", 65)) }, "InvalidParameterException", "clientRequestToken"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			i := &eks.CreateClusterInput{
				Name: aws.String("dev"), RoleArn: aws.String(roleARN("cluster")),
				ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-a", "subnet-b"}},
			}
			tc.change(i)
			_, err := w.CreateCluster(w.ctx, i)
			wantError(t, err, tc.code, tc.part)
			if left := Clusters.ListAll(w.store); len(left) != 0 {
				t.Error("something was created")
			}
		})
	}
}

func cidr(c string) func(*eks.CreateClusterInput) {
	return func(i *eks.CreateClusterInput) {
		i.KubernetesNetworkConfig = &ekstypes.KubernetesNetworkConfigRequest{ServiceIpv4Cidr: &c}
	}
}

func TestServiceCIDRChoice(t *testing.T) {
	w := newWorld(t)
	if got := *w.create("ten").KubernetesNetworkConfig.ServiceIpv4Cidr; got != "172.20.0.0/16" {
		t.Errorf("VPC in 10/8: %s", got)
	}
	other := w.create("other", func(i *eks.CreateClusterInput) { i.ResourcesVpcConfig.SubnetIds = []string{"subnet-x", "subnet-y"} })
	if got := *other.KubernetesNetworkConfig.ServiceIpv4Cidr; got != "10.100.0.0/16" {
		t.Errorf("VPC elsewhere: %s", got)
	}
	for vpc, want := range map[string]string{"10.100.0.0/16 172.20.0.0/16": otherServiceCIDR, "10.0.0.0/16 172.20.0.0/16": serviceCIDR, "172.20.0.0/16": serviceCIDR} {
		var n network
		for _, c := range strings.Fields(vpc) {
			n.vpc.CidrBlockAssociationSet = append(n.vpc.CidrBlockAssociationSet, ec2types.VpcCidrBlockAssociation{CidrBlock: &c})
		}
		if got := n.defaultServiceCIDR(); got != want {
			t.Errorf("%s: %s, want %s", vpc, got, want)
		}
	}
}

func TestIPv6Cluster(t *testing.T) {
	w := newWorld(t)
	w.ec2.vpcs[0].Ipv6CidrBlockAssociationSet = []ec2types.VpcIpv6CidrBlockAssociation{{}}
	for i := range w.ec2.subnets {
		w.ec2.subnets[i].Ipv6CidrBlockAssociationSet = []ec2types.SubnetIpv6CidrBlockAssociation{{}}
	}
	c := w.create("six", func(i *eks.CreateClusterInput) {
		i.KubernetesNetworkConfig = &ekstypes.KubernetesNetworkConfigRequest{IpFamily: ekstypes.IpFamilyIpv6}
	})
	if n := c.KubernetesNetworkConfig; n.ServiceIpv4Cidr != nil || !strings.HasPrefix(*n.ServiceIpv6Cidr, "fd") || !strings.HasSuffix(*n.ServiceIpv6Cidr, "::/108") {
		t.Errorf("%+v", n)
	}
	if diff := cmp.Diff([]string{"0.0.0.0/0", "::/0"}, c.ResourcesVpcConfig.PublicAccessCidrs); diff != "" {
		t.Error(diff)
	}
	if !IsIPv6(Clusters.Get(w.store, w.scope, "six")) {
		t.Error("it is not known to be an IPv6 cluster")
	}
	w.ec2.subnets[0].Ipv6CidrBlockAssociationSet = nil
	_, err := w.CreateCluster(w.ctx, &eks.CreateClusterInput{
		Name: aws.String("half"), RoleArn: aws.String(roleARN("cluster")),
		ResourcesVpcConfig:      &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-a", "subnet-b"}},
		KubernetesNetworkConfig: &ekstypes.KubernetesNetworkConfigRequest{IpFamily: ekstypes.IpFamilyIpv6},
	})
	wantError(t, err, "InvalidParameterException", "IPv6 CIDR")
}

func TestCreateClusterTwice(t *testing.T) {
	w := newWorld(t)
	first := w.create("dev")
	if again := w.create("dev"); *again.Arn != *first.Arn || !again.CreatedAt.Equal(*first.CreatedAt) {
		t.Error("a retry with the same token made another cluster")
	}
	in := &eks.CreateClusterInput{
		Name: aws.String("dev"), RoleArn: aws.String(roleARN("cluster")), ClientRequestToken: aws.String("other"),
		ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-a", "subnet-b"}},
	}
	_, err := w.CreateCluster(w.ctx, in)
	wantError(t, err, "ResourceInUseException", "Cluster already exists with name: dev")
	in.Name, in.ClientRequestToken = aws.String("dev2"), aws.String("create-dev")
	_, err = w.CreateCluster(w.ctx, in)
	wantError(t, err, "InvalidParameterException", "different parameters")

	w.create("second")
	in.ClientRequestToken = aws.String("third")
	_, err = w.CreateCluster(w.ctx, in)
	wantError(t, err, "ResourceLimitExceededException", "All 2 cluster ports (6500-6501) are in use")
	// Ports are unique over accounts and regions, and free again afterwards.
	ctx := awsid.WithCaller(t.Context(), awsid.Caller{Scope: awsid.Scope{Account: account, Region: "eu-west-1"}, ARN: "arn:aws:iam::" + account + ":root", UserID: account})
	_, err = w.CreateCluster(ctx, in)
	wantError(t, err, "ResourceLimitExceededException", "ports")
	must(w.DeleteCluster(w.ctx, &eks.DeleteClusterInput{Name: aws.String("dev")}))
	if err := w.store.Update(w.ctx, func(tx *store.Tx) error { DeleteClusterRecords(tx, w.scope, "dev"); return nil }); err != nil {
		t.Fatal(err)
	}
	must(w.CreateCluster(ctx, in))
	if p := Clusters.Get(w.store, awsid.Scope{Account: account, Region: "eu-west-1"}, "dev2").Port; p != 6500 {
		t.Errorf("port %d", p)
	}
}

func TestPortsUnderConcurrency(t *testing.T) {
	w := newWorld(t)
	w.ports = [2]int{6500, 6507}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := w.CreateCluster(w.ctx, &eks.CreateClusterInput{
				Name: aws.String(fmt.Sprintf("c%d", i)), RoleArn: aws.String(roleARN("cluster")),
				ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-a", "subnet-b"}},
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[int]bool{}
	for _, c := range Clusters.ListAll(w.store) {
		if seen[c.Port] {
			t.Errorf("port %d was given out twice", c.Port)
		}
		seen[c.Port] = true
	}
}

func TestCreatorAccess(t *testing.T) {
	w := newWorld(t)
	out := w.create("api", withMode(ekstypes.AuthenticationModeApi))
	if !*out.AccessConfig.BootstrapClusterCreatorAdminPermissions {
		t.Error("CreateCluster does not tell that the creator is an admin")
	}
	got := must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: aws.String("api")})).Cluster
	if got.AccessConfig.BootstrapClusterCreatorAdminPermissions != nil {
		t.Error("DescribeCluster tells")
	}
	e := AccessEntries.Get(w.store, w.scope, ChildID("api", roleARN("admin")))
	if e == nil || e.PrincipalID != "AROAADMIN" || len(e.Policies) != 1 || *e.Resource.Type != EntryStandard ||
		*e.Resource.Username != "arn:aws:sts::"+account+":assumed-role/admin/{{SessionName}}" {
		t.Errorf("%+v", e)
	}
	if c := Clusters.Get(w.store, w.scope, "api"); c.CreatorIsAdmin {
		t.Error("the creator is an admin twice")
	}
	w.create("none", func(i *eks.CreateClusterInput) {
		i.AccessConfig = &ekstypes.CreateAccessConfigRequest{AuthenticationMode: "API", BootstrapClusterCreatorAdminPermissions: aws.Bool(false)}
	})
	if n := len(AccessEntries.ListPrefix(w.store, w.scope, ClusterPrefix("none"))); n != 0 {
		t.Errorf("%d entries", n)
	}
}

func TestListClusters(t *testing.T) {
	w := newWorld(t)
	w.ports = [2]int{1, 200}
	var want []string
	for _, c := range "edcba" {
		w.create("x" + string(c))
	}
	for _, c := range "abcde" {
		want = append(want, "x"+string(c))
	}
	var got []string
	var token *string
	for {
		out := must(w.ListClusters(w.ctx, &eks.ListClustersInput{MaxResults: aws.Int32(2), NextToken: token}))
		got = append(got, out.Clusters...)
		if token = out.NextToken; token == nil {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, in := range []*eks.ListClustersInput{{MaxResults: aws.Int32(0)}, {MaxResults: aws.Int32(101)}, {NextToken: aws.String("?")}} {
		_, err := w.ListClusters(w.ctx, in)
		wantError(t, err, "InvalidParameterException", "")
	}
}

func TestDeleteCluster(t *testing.T) {
	w := newWorld(t)
	_, err := w.DeleteCluster(w.ctx, &eks.DeleteClusterInput{Name: aws.String("none")})
	wantError(t, err, "ResourceNotFoundException", "No cluster found for name: none.")
	w.active("dev", func(i *eks.CreateClusterInput) { i.DeletionProtection = aws.Bool(true) })
	name := aws.String("dev")
	_, err = w.DeleteCluster(w.ctx, &eks.DeleteClusterInput{Name: name})
	wantError(t, err, "InvalidRequestException", "deletion protection")
	must(w.UpdateClusterConfig(w.ctx, &eks.UpdateClusterConfigInput{Name: name, DeletionProtection: aws.Bool(false)}))
	_, err = w.DeleteCluster(w.ctx, &eks.DeleteClusterInput{Name: name})
	wantError(t, err, "ResourceInUseException", "in progress")
	w.settle("dev")
	w.nodegroup("dev", "ng")
	_, err = w.DeleteCluster(w.ctx, &eks.DeleteClusterInput{Name: name})
	wantError(t, err, "ResourceInUseException", "Cluster has nodegroups attached")
	must(w.DeleteNodegroup(w.ctx, &eks.DeleteNodegroupInput{ClusterName: name, NodegroupName: aws.String("ng")}))
	err = w.store.Update(w.ctx, func(tx *store.Tx) error { Nodegroups.Delete(tx, w.scope, ChildID("dev", "ng")); return nil })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second call finds it deleting
		if st := must(w.DeleteCluster(w.ctx, &eks.DeleteClusterInput{Name: name})).Cluster.Status; st != ekstypes.ClusterStatusDeleting {
			t.Errorf("status %s", st)
		}
	}
}

func TestUpdateClusterVersion(t *testing.T) {
	w := newWorld(t)
	w.active("dev", func(i *eks.CreateClusterInput) { i.Version = aws.String("1.33") })
	up := func(v, token string) (*eks.UpdateClusterVersionOutput, error) {
		return w.UpdateClusterVersion(w.ctx, &eks.UpdateClusterVersionInput{Name: aws.String("dev"), Version: &v, ClientRequestToken: &token})
	}
	for _, v := range []string{"1.33", "1.32", "1.35", "1.99", "x"} {
		_, err := up(v, "t-"+v)
		wantError(t, err, "InvalidParameterException", "Unsupported Kubernetes minor version update from 1.33 to "+v)
	}
	u := must(up("1.34", "t")).Update
	want := []ekstypes.UpdateParam{{Type: "Version", Value: aws.String("1.34")}, {Type: "PlatformVersion", Value: aws.String("eks.31")}}
	if u.Type != "VersionUpdate" || u.Status != "InProgress" || *u.Params[0].Value != *want[0].Value || *u.Params[1].Value != *want[1].Value {
		t.Errorf("%+v", u)
	}
	if again := must(up("1.34", "t")).Update; *again.Id != *u.Id {
		t.Error("a retry started another update")
	}
	_, err := up("1.35", "t")
	wantError(t, err, "InvalidParameterException", "different parameters")
	_, err = up("1.34", "t2")
	wantError(t, err, "ResourceInUseException", "Cannot VersionUpdate because cluster dev currently has update "+*u.Id+" in progress")
	c := Clusters.Get(w.store, w.scope, "dev")
	if *c.Resource.Version != "1.33" || c.DesiredVersion != "1.34" || c.Resource.Status != ekstypes.ClusterStatusUpdating {
		t.Errorf("%s %s %s", *c.Resource.Version, c.DesiredVersion, c.Resource.Status)
	}
	w.settle("dev")
	got := must(w.DescribeUpdate(w.ctx, &eks.DescribeUpdateInput{Name: aws.String("dev"), UpdateId: u.Id})).Update
	if got.Status != ekstypes.UpdateStatusSuccessful {
		t.Errorf("update is %s", got.Status)
	}
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	second := must(up("1.35", "t3")).Update
	ids := must(w.ListUpdates(w.ctx, &eks.ListUpdatesInput{Name: aws.String("dev")})).UpdateIds
	if diff := cmp.Diff([]string{*second.Id, *u.Id}, ids); diff != "" {
		t.Error(diff)
	}
	_, err = w.DescribeUpdate(w.ctx, &eks.DescribeUpdateInput{Name: aws.String("dev"), UpdateId: aws.String("x")})
	wantError(t, err, "ResourceNotFoundException", "No update found for ID: x")
}

func TestNodeSkew(t *testing.T) {
	w := newWorld(t)
	w.active("dev", func(i *eks.CreateClusterInput) { i.Version = aws.String("1.35") })
	w.nodegroup("dev", "old")
	err := w.store.Update(w.ctx, func(tx *store.Tx) error {
		n := Nodegroups.Edit(tx, w.scope, ChildID("dev", "old"))
		n.Resource.Version = aws.String("1.32")
		Nodegroups.Put(tx, w.scope, ChildID("dev", "old"), n)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.UpdateClusterVersion(w.ctx, &eks.UpdateClusterVersionInput{Name: aws.String("dev"), Version: aws.String("1.36")})
	wantError(t, err, "InvalidRequestException", "Nodegroups old must be updated to match cluster version 1.35")
}

func TestDescribeClusterVersions(t *testing.T) {
	w := newWorld(t)
	versions := func(in *eks.DescribeClusterVersionsInput) string {
		var out []string
		for _, v := range must(w.DescribeClusterVersions(w.ctx, in)).ClusterVersions {
			out = append(out, *v.ClusterVersion)
		}
		return strings.Join(out, " ")
	}
	for want, in := range map[string]*eks.DescribeClusterVersionsInput{
		"1.36 1.35 1.34 1.33 1.32 1.31": {},
		"1.35":                          {DefaultOnly: aws.Bool(true)},
		"1.34 1.33":                     {ClusterVersions: []string{"1.33", "1.34"}},
		"1.36 1.35 1.34":                {VersionStatus: ekstypes.VersionStatusStandardSupport},
		"1.33 1.32 1.31":                {Status: ekstypes.ClusterVersionStatusExtendedSupport},
	} {
		if got := versions(in); got != want {
			t.Errorf("%+v: %s, want %s", in, got, want)
		}
	}
	w.clock.SetTime(time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC))
	if got := versions(&eks.DescribeClusterVersionsInput{}); got != "1.36 1.35 1.34 1.33" && got != "1.36 1.35 1.34" {
		t.Errorf("in 2027: %s", got)
	}
	if got := versions(&eks.DescribeClusterVersionsInput{IncludeAll: aws.Bool(true)}); got != "1.36 1.35 1.34 1.33 1.32 1.31" {
		t.Errorf("all in 2027: %s", got)
	}
	v := must(w.DescribeClusterVersions(w.ctx, &eks.DescribeClusterVersionsInput{ClusterVersions: []string{"1.31"}})).ClusterVersions[0]
	if v.VersionStatus != ekstypes.VersionStatusUnsupported || v.Status != ekstypes.ClusterVersionStatusUnsupported || *v.KubernetesPatchVersion != "1.31.14" {
		t.Errorf("%+v", v)
	}
}
