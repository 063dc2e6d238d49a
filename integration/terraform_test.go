package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestTerraform drives Terraform with the AWS provider. Its configurations go at
// the same time, each in an AWS account of its own: the provider waits for up to a
// minute before it deletes a cluster, which together they do once.
func TestTerraform(t *testing.T) {
	t.Parallel()
	e := start(t)
	// Not t.Parallel for each, which would wait for the slots of other tests.
	var wg sync.WaitGroup
	for name, f := range map[string]func(*testing.T, *emulator){
		"plain": terraformPlain, "community": terraformCommunity, "import": terraformImport,
		"refused cluster": terraformRefused, "VPC in use": terraformVPCInUse,
	} {
		wg.Go(func() { t.Run(name, func(t *testing.T) { f(t, e) }) })
	}
	wg.Wait()
	if s := e.status(); len(s.Clusters) != 0 {
		t.Errorf("clusters after all: %+v", s.Clusters)
	}
}

// afterTheCluster is what Terraform plans with every change of the cluster: data
// sources that refer to it are read again after it.
var afterTheCluster = map[string]string{
	"output.certificate_authority": "update", "output.endpoint": "update", "aws_iam_role.vpc_cni": "update assume_role_policy?",
}

// terraformPlain takes the plain configuration through its whole life.
func terraformPlain(t *testing.T, e *emulator) {
	w := newWorkspace(t, e, "100000000001", "plain")
	w.apply(t)
	w.unchanged(t, "after the first apply")
	w.plainIsThere(t)

	now := w.state(t)["aws_eks_addon.coredns"]["addon_version"].(string)
	addon := w.otherVersion(t, "coredns", "1.35", now)
	vars := map[string]any{
		"kubernetes_version": "1.35", "desired_size": 3, "max_size": 5, "private_access": true, "public_access_cidrs": []string{"198.51.100.0/24"},
		"log_types": []string{"authenticator"}, "labels": map[string]string{"role": "general", "tier": "one"}, "coredns_version": addon,
		"tags": map[string]string{"team": "data", "cost": "low"},
	}
	w.set(t, vars)
	want := map[string]string{
		"aws_eks_cluster.this": "update enabled_cluster_log_types tags.cost tags.team tags_all.cost tags_all.team version " +
			"vpc_config.0.endpoint_private_access vpc_config.0.public_access_cidrs",
		"aws_eks_node_group.this": "update labels.tier scaling_config.0.desired_size scaling_config.0.max_size tags.cost tags.team tags_all.cost tags_all.team",
		"aws_eks_addon.coredns":   "update addon_version",
	}
	maps.Copy(want, afterTheCluster)
	w.planned(t, want)
	w.apply(t)
	w.unchanged(t, "after updates in place")
	w.plainIsUpdated(t, addon)

	vars["instance_types"] = []string{"m5.xlarge"}
	w.set(t, vars)
	w.planned(t, map[string]string{"aws_eks_node_group.this": "replace instance_types"})
	w.apply(t)
	w.unchanged(t, "after a replacement")

	w.plainChangesOutside(t)
	w.apply(t)
	w.unchanged(t, "after what was changed outside is mended")
	w.ok(t, "destroy", "-auto-approve")
	w.empty(t)
}

// plainIsThere compares what Terraform knows with what AWS and Kubernetes say.
func (w *workspace) plainIsThere(t *testing.T) {
	t.Helper()
	s := w.state(t)
	c := must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("plain")}))(t).Cluster
	for path, want := range map[string]any{
		"endpoint": *c.Endpoint, "version": "1.34", "status": "ACTIVE", "arn": *c.Arn, "vpc_config.0.vpc_id": *c.ResourcesVpcConfig.VpcId,
		"vpc_config.0.cluster_security_group_id": *c.ResourcesVpcConfig.ClusterSecurityGroupId, "identity.0.oidc.0.issuer": *c.Identity.Oidc.Issuer,
		"certificate_authority.0.data": *c.CertificateAuthority.Data, "kubernetes_network_config.0.service_ipv4_cidr": "172.20.0.0/16",
	} {
		for _, address := range []string{"aws_eks_cluster.this", "data.aws_eks_cluster.this"} {
			if got := attribute(t, s[address], path); got != want {
				t.Errorf("%s.%s is %v, want %v", address, path, got, want)
			}
		}
	}
	if diff := cmp.Diff(map[string]string{"team": "platform", "environment": "test"}, c.Tags); diff != "" {
		t.Errorf("the cluster's tags, with the provider's defaults (-want +got):\n%s", diff)
	}
	if key := *c.EncryptionConfig[0].Provider.KeyArn; key != s["aws_kms_key.secrets"]["arn"] {
		t.Errorf("the cluster is encrypted with %s", key)
	}
	tok, _ := s["data.aws_eks_cluster_auth.this"]["token"].(string)
	k := must(kubernetes.NewForConfig(&rest.Config{Host: *c.Endpoint, BearerToken: tok, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}))(t)
	nodes := must(k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}))(t).Items
	perGroup := map[string]int{}
	for _, n := range nodes {
		perGroup[n.Labels["eks.amazonaws.com/nodegroup"]]++
	}
	special := s["aws_eks_node_group.special"]["node_group_name"].(string)
	if diff := cmp.Diff(map[string]int{"general": 2, special: 1}, perGroup); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	in := must(w.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{{Name: aws.String("tag:Name"), Values: []string{"plain-special"}}}}))(t)
	if len(in.Reservations) != 1 || in.Reservations[0].Instances[0].InstanceLifecycle != ec2types.InstanceLifecycleTypeSpot {
		t.Errorf("instances with the launch template's tag: %+v", in.Reservations)
	}
}

func (w *workspace) plainIsUpdated(t *testing.T, addon string) {
	t.Helper()
	c := must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("plain")}))(t).Cluster
	v := c.ResourcesVpcConfig
	if *c.Version != "1.35" || !v.EndpointPrivateAccess || !slices.Equal(v.PublicAccessCidrs, []string{"198.51.100.0/24"}) || c.Tags["cost"] != "low" {
		t.Errorf("the cluster after updates: %s %+v %v", *c.Version, v, c.Tags)
	}
	var types []ekstypes.LogType
	for _, l := range c.Logging.ClusterLogging {
		if *l.Enabled {
			types = append(types, l.Types...)
		}
	}
	if !slices.Equal(types, []ekstypes.LogType{"authenticator"}) {
		t.Errorf("logging %v", types)
	}
	g := must(w.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: c.Name, NodegroupName: aws.String("general")}))(t).Nodegroup
	if *g.ScalingConfig.DesiredSize != 3 || g.Labels["tier"] != "one" || *g.Version != "1.34" {
		t.Errorf("the node group after updates: %+v", g)
	}
	a := must(w.eks.DescribeAddon(t.Context(), &eks.DescribeAddonInput{ClusterName: c.Name, AddonName: aws.String("coredns")}))(t).Addon
	if *a.AddonVersion != addon {
		t.Errorf("coredns is %s, want %s", *a.AddonVersion, addon)
	}
}

// otherVersion is a version of an add-on that it does not have.
func (w *workspace) otherVersion(t *testing.T, addon, kubernetes, now string) string {
	t.Helper()
	out := must(w.eks.DescribeAddonVersions(t.Context(), &eks.DescribeAddonVersionsInput{AddonName: &addon, KubernetesVersion: &kubernetes}))(t)
	for _, v := range out.Addons[0].AddonVersions {
		if *v.AddonVersion != now {
			return *v.AddonVersion
		}
	}
	t.Fatalf("%s has one version only", addon)
	return ""
}

// plainChangesOutside changes things without Terraform; its plan must show them,
// and no others.
func (w *workspace) plainChangesOutside(t *testing.T) {
	t.Helper()
	ctx, s := t.Context(), w.state(t)
	cluster := aws.String("plain")
	must(w.eks.UpdateNodegroupConfig(ctx, &eks.UpdateNodegroupConfigInput{
		ClusterName: cluster, NodegroupName: aws.String("general"), Labels: &ekstypes.UpdateLabelsPayload{AddOrUpdateLabels: map[string]string{"tier": "two"}},
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(1), DesiredSize: aws.Int32(2), MaxSize: aws.Int32(5)},
	}))(t)
	arn := s["aws_eks_cluster.this"]["arn"].(string)
	must(w.eks.TagResource(ctx, &eks.TagResourceInput{ResourceArn: &arn, Tags: map[string]string{"surprise": "yes"}}))(t)
	admin := s["aws_iam_role.admin"]["arn"].(string)
	must(w.eks.DeleteAccessEntry(ctx, &eks.DeleteAccessEntryInput{ClusterName: cluster, PrincipalArn: &admin}))(t)
	must(w.iam.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("plain-node"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly")}))(t)
	table := s["aws_route_table.private"]["id"].(string)
	must(w.ec2.DeleteRoute(ctx, &ec2.DeleteRouteInput{RouteTableId: &table, DestinationCidrBlock: aws.String("0.0.0.0/0")}))(t)
	eventually(t, time.Minute, "the node group has been updated", func() error {
		g := must(w.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: cluster, NodegroupName: aws.String("general")}))(t).Nodegroup
		if g.Status != ekstypes.NodegroupStatusActive {
			return errors.New(string(g.Status))
		}
		return nil
	})
	want := map[string]string{
		"aws_eks_cluster.this":                    "update tags.surprise tags_all.surprise",
		"aws_eks_node_group.this":                 "update labels.tier scaling_config.0.desired_size",
		"aws_eks_access_entry.admin":              "create",
		"aws_eks_access_policy_association.admin": "create",
		`aws_iam_role_policy_attachment.node["AmazonEC2ContainerRegistryReadOnly"]`: "create",
		"aws_route_table.private": "update route",
	}
	maps.Copy(want, afterTheCluster)
	w.planned(t, want)
}

// terraformCommunity has an emulator of its own, which is killed and comes back
// between two commands.
func terraformCommunity(t *testing.T, _ *emulator) {
	e := start(t, "--join-timeout", "1m")
	w := newWorkspace(t, e, "200000000002", "community")
	w.apply(t)
	w.unchanged(t, "after the first apply")
	e.kill()
	e.run()
	w.unchanged(t, "after the emulator was killed")

	s := w.state(t)
	c := must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("community")}))(t).Cluster
	sg := must(w.ec2.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{*c.ResourcesVpcConfig.ClusterSecurityGroupId}}))(t).SecurityGroups[0]
	tags := map[string]string{}
	for _, tag := range sg.Tags {
		tags[*tag.Key] = *tag.Value
	}
	want := map[string]string{
		"Name": "eks-cluster-sg-community-" + strings.TrimPrefix(tags["Name"], "eks-cluster-sg-community-"), "kubernetes.io/cluster/community": "owned",
		"Environment": "test", "Repository": "infrastructure", "aws:eks:cluster-name": "community",
	}
	if diff := cmp.Diff(want, tags); diff != "" {
		t.Errorf("tags of the cluster's security group (-want +got):\n%s", diff)
	}
	for _, g := range []string{"general", "arm"} {
		ami := s[fmt.Sprintf("module.eks.module.node_group[%q].data.aws_ssm_parameter.ami", g)]
		ng := s[fmt.Sprintf("module.eks.module.node_group[%q].aws_eks_node_group.this", g)]
		if ami["value"] == "" || ng["release_version"] != ami["value"] || ng["status"] != "ACTIVE" {
			t.Errorf("node group %s has the release %v, the parameter says %v", g, ng["release_version"], ami["value"])
		}
	}

	// A group more, one less, a launch template's new version rolls the rest.
	w.set(t, map[string]any{"node_groups": map[string]any{"general": map[string]any{"labels": map[string]string{"a": "b"}}, "more": map[string]any{}}})
	got := w.plan(t).changes()
	for address, want := range map[string]string{
		`module.eks.module.node_group["general"].aws_eks_node_group.this`:  "update labels.a",
		`module.eks.module.node_group["more"].aws_eks_node_group.this`:     "create",
		`module.eks.module.node_group["more"].aws_launch_template.this`:    "create",
		`module.eks.module.node_group["arm"].aws_eks_node_group.this`:      "delete",
		`module.eks.module.node_group["arm"].aws_iam_role.this`:            "delete",
		`module.eks.module.node_group["general"].aws_launch_template.this`: "",
	} {
		if got[address] != want {
			t.Errorf("%s: planned %q, want %q", address, got[address], want)
		}
	}
	w.apply(t)
	w.unchanged(t, "after node groups came and went")
	w.ok(t, "destroy", "-auto-approve")
	w.empty(t)
	if st := e.status(); len(st.Clusters) != 0 {
		t.Errorf("clusters after destroy: %+v", st.Clusters)
	}
}

// terraformImport takes over what the SDK made.
func terraformImport(t *testing.T, e *emulator) {
	w := newWorkspace(t, e, "300000000003", "imported")
	ctx := t.Context()
	made := newWorldOf(t, e, w.clients)
	pods := made.role(t, "pods", "pods.eks.amazonaws.com")
	made.cluster(t, "old", func(in *eks.CreateClusterInput) {
		in.Version, in.Tags = aws.String("1.34"), map[string]string{"made": "by hand"}
	})
	made.nodegroup(t, "old", "ng", 1)
	made.addon(t, "old", "kube-proxy")
	made.addonIs(t, "old", "kube-proxy", ekstypes.AddonStatusActive)
	viewer := made.role(t, "viewer", "ec2.amazonaws.com")
	must(w.eks.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: aws.String("old"), PrincipalArn: &viewer, KubernetesGroups: []string{"viewers"}}))(t)
	must(w.eks.AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{
		ClusterName: aws.String("old"), PrincipalArn: &viewer, PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"),
		AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster},
	}))(t)
	as := must(w.eks.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: aws.String("old"), Namespace: aws.String("default"), ServiceAccount: aws.String("app"), RoleArn: &pods,
	}))(t)

	w.set(t, map[string]any{
		"vpc": made.vpc, "role": "viewer", "association": *as.Association.AssociationId,
		"subnets": map[string]string{"us-east-1a": made.subnets[0], "us-east-1b": made.subnets[1], "us-east-1c": made.subnets[2]},
	})
	p := w.plan(t)
	if got := p.changes(); len(got) != 0 {
		t.Errorf("an import changes %v", got)
	}
	if got := p.imports(); len(got) != 17 {
		t.Errorf("%d are imported: %v", len(got), got)
	}
	w.apply(t)
	w.unchanged(t, "after an import")
	w.ok(t, "destroy", "-auto-approve")
	must(w.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("viewer")}))(t)
	w.empty(t)
}

// terraformRefused asks for clusters that EKS refuses: its words must get to the
// user.
func terraformRefused(t *testing.T, e *emulator) {
	w := newWorkspace(t, e, "400000000004", "failures")
	w.apply(t)
	w.set(t, map[string]any{"cluster": true, "subnets": 1})
	w.fails(t, "creating EKS Cluster (failing): operation error EKS: CreateCluster, https response error StatusCode: 400",
		"InvalidParameterException: Subnets specified must be in at least two different AZs")
	w.set(t, map[string]any{"cluster": true, "kubernetes_version": "1.12"})
	w.fails(t, "InvalidParameterException: unsupported Kubernetes version")

	// IAM needs its time to be believed everywhere: the provider repeats this for two
	// minutes.
	w.set(t, map[string]any{"cluster": true, "trusted": "lambda.amazonaws.com"})
	out := w.interrupted(t, w.refused("CreateCluster", "InvalidParameterException.*trusted entity"), "apply", "-auto-approve")
	contains(t, out, "InvalidParameterException: Role with arn: arn:aws:iam::400000000004:role/failing, could not be assumed because it does not exist or the trusted entity is not correct")
	w.set(t, map[string]any{})
	w.ok(t, "destroy", "-auto-approve")
	w.empty(t)
}

// terraformVPCInUse destroys a VPC in which somebody else put something.
func terraformVPCInUse(t *testing.T, e *emulator) {
	w := newWorkspace(t, e, "500000000005", "failures")
	w.apply(t)
	vpc := w.state(t)["aws_vpc.this"]["id"].(string)
	g := must(w.ec2.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{VpcId: &vpc, GroupName: aws.String("other"), Description: aws.String("other")}))(t)
	// The provider hopes for five minutes that the dependency goes away.
	out := w.interrupted(t, w.refused("DeleteVpc", "DependencyViolation"), "destroy", "-auto-approve")
	contains(t, out, "DependencyViolation: The vpc '"+vpc+"' has dependencies and cannot be deleted.")
	must(w.ec2.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: g.GroupId}))(t)
	w.ok(t, "destroy", "-auto-approve")
	w.empty(t)
}

// empty holds that the account has what a new one has.
func (w *workspace) empty(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	var left []string
	for _, v := range must(w.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{}))(t).Vpcs {
		if !aws.ToBool(v.IsDefault) {
			left = append(left, *v.VpcId)
		}
	}
	for _, i := range must(w.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{}))(t).NetworkInterfaces {
		left = append(left, *i.NetworkInterfaceId)
	}
	for _, a := range must(w.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{}))(t).Addresses {
		left = append(left, *a.AllocationId)
	}
	for _, r := range must(w.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{}))(t).Reservations {
		for _, i := range r.Instances {
			if i.State.Name != ec2types.InstanceStateNameTerminated {
				left = append(left, *i.InstanceId+" "+string(i.State.Name))
			}
		}
	}
	for _, g := range must(w.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{}))(t).SecurityGroups {
		if *g.GroupName != "default" {
			left = append(left, *g.GroupId+" "+*g.GroupName)
		}
	}
	for _, l := range must(w.ec2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{}))(t).LaunchTemplates {
		left = append(left, *l.LaunchTemplateId)
	}
	left = append(left, must(w.eks.ListClusters(ctx, &eks.ListClustersInput{}))(t).Clusters...)
	left = append(left, w.leftInIAM(ctx, t)...)
	if len(left) > 0 {
		t.Errorf("left after destroy: %v", left)
	}
}

func (w *workspace) leftInIAM(ctx context.Context, t *testing.T) (left []string) {
	t.Helper()
	for _, r := range must(w.iam.ListRoles(ctx, &iam.ListRolesInput{}))(t).Roles {
		if !strings.HasPrefix(*r.Path, "/aws-service-role/") { // which AWS leaves too
			left = append(left, *r.RoleName)
		}
	}
	for _, p := range must(w.iam.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{}))(t).OpenIDConnectProviderList {
		left = append(left, *p.Arn)
	}
	for _, p := range must(w.iam.ListPolicies(ctx, &iam.ListPoliciesInput{Scope: iamtypes.PolicyScopeTypeLocal}))(t).Policies {
		left = append(left, *p.Arn)
	}
	for _, p := range must(w.iam.ListInstanceProfiles(ctx, &iam.ListInstanceProfilesInput{}))(t).InstanceProfiles {
		left = append(left, *p.InstanceProfileName)
	}
	return left
}
