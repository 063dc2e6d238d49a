package eks

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"
)

func TestUpdateClusterConfig(t *testing.T) {
	audit := &ekstypes.Logging{ClusterLogging: []ekstypes.LogSetup{{Types: []ekstypes.LogType{"audit"}, Enabled: aws.Bool(true)}}}
	type in = eks.UpdateClusterConfigInput
	vpc := func(v ekstypes.VpcConfigRequest) in { return in{ResourcesVpcConfig: &v} }
	for name, tc := range map[string]struct {
		in     in
		kind   ekstypes.UpdateType
		params map[string]string
		again  string // message when the same is asked for twice
		check  func(c *ekstypes.Cluster) bool
	}{
		"logging": {
			in{Logging: audit}, "LoggingUpdate", map[string]string{"ClusterLogging": `{"clusterLogging":[{"enabled":true,"types":["audit"]}]}`},
			"No changes needed for the logging config provided",
			func(c *ekstypes.Cluster) bool {
				l := c.Logging.ClusterLogging
				return len(l) == 2 && len(l[0].Types) == 1 && *l[0].Enabled && len(l[1].Types) == 4 && !*l[1].Enabled
			},
		},
		"endpoint": {
			vpc(ekstypes.VpcConfigRequest{EndpointPrivateAccess: aws.Bool(true), PublicAccessCidrs: []string{"198.51.100.0/24"}}), "EndpointAccessUpdate",
			map[string]string{"EndpointPublicAccess": "true", "EndpointPrivateAccess": "true", "PublicAccessCidrs": `["198.51.100.0/24"]`},
			"Cluster is already at the desired configuration with endpointPrivateAccess: true , endpointPublicAccess: true, and Public Endpoint Restrictions: [198.51.100.0/24]",
			func(c *ekstypes.Cluster) bool { return c.ResourcesVpcConfig.EndpointPrivateAccess },
		},
		"private only": {
			vpc(ekstypes.VpcConfigRequest{EndpointPrivateAccess: aws.Bool(true), EndpointPublicAccess: aws.Bool(false)}), "EndpointAccessUpdate",
			map[string]string{"EndpointPublicAccess": "false", "EndpointPrivateAccess": "true", "PublicAccessCidrs": `[]`}, "Cluster is already at",
			func(c *ekstypes.Cluster) bool {
				return !c.ResourcesVpcConfig.EndpointPublicAccess && len(c.ResourcesVpcConfig.PublicAccessCidrs) == 0
			},
		},
		"subnets": {
			vpc(ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-b", "subnet-c"}, SecurityGroupIds: []string{"sg-1"}}), "VpcConfigUpdate",
			map[string]string{"Subnets": `["subnet-b","subnet-c"]`, "SecurityGroups": `["sg-1"]`}, "Cluster is already at the desired configuration with subnetIds",
			func(c *ekstypes.Cluster) bool { return c.ResourcesVpcConfig.SubnetIds[1] == "subnet-c" },
		},
		"access": {
			in{AccessConfig: &ekstypes.UpdateAccessConfigRequest{AuthenticationMode: "API_AND_CONFIG_MAP"}}, "AccessConfigUpdate",
			map[string]string{"AuthenticationMode": `"API_AND_CONFIG_MAP"`}, "Unsupported authentication mode update from API_AND_CONFIG_MAP to API_AND_CONFIG_MAP",
			func(c *ekstypes.Cluster) bool { return c.AccessConfig.AuthenticationMode == "API_AND_CONFIG_MAP" },
		},
		"upgrade policy": {
			in{UpgradePolicy: &ekstypes.UpgradePolicyRequest{SupportType: "STANDARD"}}, "UpgradePolicyUpdate",
			map[string]string{"UpgradePolicy": `{"supportType":"STANDARD"}`}, "No changes detected for upgradePolicy",
			func(c *ekstypes.Cluster) bool { return c.UpgradePolicy.SupportType == "STANDARD" },
		},
		"zonal shift": {
			in{ZonalShiftConfig: &ekstypes.ZonalShiftConfigRequest{Enabled: aws.Bool(true)}}, "ZonalShiftConfigUpdate",
			map[string]string{"ZonalShiftConfig": `{"enabled":true}`}, "No changes detected for zonalShiftConfig",
			func(c *ekstypes.Cluster) bool { return *c.ZonalShiftConfig.Enabled },
		},
		"deletion protection": {
			in{DeletionProtection: aws.Bool(true)}, "DeletionProtectionUpdate", map[string]string{"DeletionProtection": "true"}, "No changes detected for deletionProtection",
			func(c *ekstypes.Cluster) bool { return *c.DeletionProtection },
		},
		"remote network": {
			in{RemoteNetworkConfig: &ekstypes.RemoteNetworkConfigRequest{RemoteNodeNetworks: []ekstypes.RemoteNodeNetwork{{Cidrs: []string{"192.168.0.0/16"}}}}},
			"RemoteNetworkConfigUpdate", map[string]string{"RemoteNetworkConfig": `{"remoteNodeNetworks":[{"cidrs":["192.168.0.0/16"]}],"remotePodNetworks":null}`},
			"No changes detected for remoteNetworkConfig",
			func(c *ekstypes.Cluster) bool { return len(c.RemoteNetworkConfig.RemoteNodeNetworks) == 1 },
		},
		"scaling tier": {
			in{ControlPlaneScalingConfig: &ekstypes.ControlPlaneScalingConfig{Tier: "tier-xl"}}, "ControlPlaneScalingConfigUpdate",
			map[string]string{"UpdatedTier": "tier-xl", "PreviousTier": "standard"}, "No changes detected for controlPlaneScalingConfig",
			func(c *ekstypes.Cluster) bool { return c.ControlPlaneScalingConfig.Tier == "tier-xl" },
		},
		"components": {
			in{KubeApiServerConfig: &ekstypes.KubeApiServerConfigRequest{EventTtl: aws.String("2h")}}, "ControlPlaneComponentConfigUpdate", map[string]string{},
			"No changes detected", func(c *ekstypes.Cluster) bool { return *c.KubeApiServerConfig.EventTtl == "2h" },
		},
		"egress": {
			vpc(ekstypes.VpcConfigRequest{ControlPlaneEgressMode: "CUSTOMER_ROUTED"}), "ControlPlaneEgressUpdate",
			map[string]string{"ControlPlaneEgressMode": "CUSTOMER_ROUTED"}, "No changes detected",
			func(c *ekstypes.Cluster) bool {
				return c.ResourcesVpcConfig.ControlPlaneEgressMode == "CUSTOMER_ROUTED"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			mode := ekstypes.AuthenticationModeConfigMap
			if tc.in.RemoteNetworkConfig != nil { // which wants access entries
				mode = ekstypes.AuthenticationModeApi
			}
			w.active("dev", withMode(mode))
			in := tc.in
			in.Name = aws.String("dev")
			u := must(w.UpdateClusterConfig(w.ctx, &in)).Update
			params := map[string]string{}
			for _, p := range u.Params {
				params[string(p.Type)] = *p.Value
			}
			if diff := cmp.Diff(tc.params, params); diff != "" || u.Type != tc.kind {
				t.Errorf("%s %s", u.Type, diff)
			}
			c := must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: in.Name})).Cluster
			if c.Status != ekstypes.ClusterStatusUpdating || !tc.check(c) {
				t.Errorf("cluster after the call: %+v", c)
			}
			w.settle("dev")
			_, err := w.UpdateClusterConfig(w.ctx, &in)
			wantError(t, err, "InvalidParameterException", tc.again)
		})
	}
}

func TestUpdateClusterConfigRefusals(t *testing.T) {
	w := newWorld(t)
	w.create("dev")
	name := aws.String("dev")
	_, err := w.UpdateClusterConfig(w.ctx, &eks.UpdateClusterConfigInput{Name: name, DeletionProtection: aws.Bool(true)})
	wantError(t, err, "InvalidRequestException", "Cluster 'dev' is not in ACTIVE status")
	w.settle("dev")
	_, err = w.UpdateClusterConfig(w.ctx, &eks.UpdateClusterConfigInput{Name: name})
	wantError(t, err, "InvalidParameterException", "The type for cluster update was not provided.")
	_, err = w.UpdateClusterConfig(w.ctx, &eks.UpdateClusterConfigInput{
		Name: name, DeletionProtection: aws.Bool(true), ZonalShiftConfig: &ekstypes.ZonalShiftConfigRequest{Enabled: aws.Bool(true)},
	})
	wantError(t, err, "InvalidParameterException", "Only one type of update can be allowed.")
	_, err = w.UpdateClusterConfig(w.ctx, &eks.UpdateClusterConfigInput{Name: name, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-x", "subnet-y"}}})
	wantError(t, err, "InvalidParameterException", "vpc-1")
	_, err = w.UpdateClusterConfig(w.ctx, &eks.UpdateClusterConfigInput{Name: name, AccessConfig: &ekstypes.UpdateAccessConfigRequest{AuthenticationMode: "API"}})
	wantError(t, err, "InvalidParameterException", "Unsupported authentication mode update from CONFIG_MAP to API")
	_, err = w.UpdateClusterConfig(w.ctx, &eks.UpdateClusterConfigInput{Name: aws.String("none"), DeletionProtection: aws.Bool(true)})
	wantError(t, err, "ResourceNotFoundException", "No cluster found for name: none.")
}

func TestLeavingConfigMapModeMakesEntries(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	w.nodegroup("dev", "ng")
	must(w.UpdateClusterConfig(w.ctx, &eks.UpdateClusterConfigInput{
		Name: aws.String("dev"), AccessConfig: &ekstypes.UpdateAccessConfigRequest{AuthenticationMode: "API_AND_CONFIG_MAP"},
	}))
	got := must(w.ListAccessEntries(w.ctx, &eks.ListAccessEntriesInput{ClusterName: aws.String("dev")})).AccessEntries
	if diff := cmp.Diff([]string{roleARN("admin"), roleARN("node")}, got); diff != "" {
		t.Error(diff)
	}
	e := must(w.DescribeAccessEntry(w.ctx, &eks.DescribeAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: aws.String(roleARN("node"))})).AccessEntry
	if *e.Type != EntryEC2Linux || *e.Username != "system:node:{{EC2PrivateDNSName}}" || e.KubernetesGroups[0] != "system:nodes" {
		t.Errorf("%+v", e)
	}
}

// autoModeRequest is Auto Mode as Terraform writes it: all three parts.
func autoModeRequest(on bool, pools ...string) *eks.UpdateClusterConfigInput {
	in := &eks.UpdateClusterConfigInput{
		Name:                    aws.String("dev"),
		ComputeConfig:           &ekstypes.ComputeConfigRequest{Enabled: &on, NodePools: pools},
		StorageConfig:           &ekstypes.StorageConfigRequest{BlockStorage: &ekstypes.BlockStorage{Enabled: &on}},
		KubernetesNetworkConfig: &ekstypes.KubernetesNetworkConfigRequest{ElasticLoadBalancing: &ekstypes.ElasticLoadBalancing{Enabled: &on}},
	}
	if len(pools) > 0 {
		in.ComputeConfig.NodeRoleArn = aws.String(roleARN("node"))
	}
	return in
}

func TestAutoMode(t *testing.T) {
	w := newWorld(t)
	w.active("dev", withMode("API"))
	if c := must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})).Cluster; c.ComputeConfig != nil || c.StorageConfig != nil || c.KubernetesNetworkConfig.ElasticLoadBalancing != nil {
		t.Errorf("a cluster that nobody asked Auto Mode for says %+v %+v %+v", c.ComputeConfig, c.StorageConfig, c.KubernetesNetworkConfig)
	}
	_, err := w.UpdateClusterConfig(w.ctx, autoModeRequest(false))
	wantError(t, err, "InvalidRequestException", "Cannot modify EKS Auto Mode configuration. Auto Mode is not enabled on this cluster.")

	u := must(w.UpdateClusterConfig(w.ctx, autoModeRequest(true, "system"))).Update
	c := must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})).Cluster
	if u.Type != "AutoModeUpdate" || !*c.ComputeConfig.Enabled || !*c.StorageConfig.BlockStorage.Enabled || !*c.KubernetesNetworkConfig.ElasticLoadBalancing.Enabled ||
		c.KubernetesNetworkConfig.ServiceIpv4Cidr == nil {
		t.Errorf("%+v %+v", u, c)
	}
	e := must(w.DescribeAccessEntry(w.ctx, &eks.DescribeAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: aws.String(roleARN("node"))})).AccessEntry
	policies := must(w.ListAssociatedAccessPolicies(w.ctx, &eks.ListAssociatedAccessPoliciesInput{ClusterName: aws.String("dev"), PrincipalArn: e.PrincipalArn})).AssociatedAccessPolicies
	if *e.Type != "EC2" || len(policies) != 1 || !strings.HasSuffix(*policies[0].PolicyArn, "/AmazonEKSAutoNodePolicy") {
		t.Errorf("access entry %+v with %+v", e, policies)
	}
	w.settle("dev")
	_, err = w.UpdateClusterConfig(w.ctx, autoModeRequest(true, "system"))
	wantError(t, err, "InvalidParameterException", "No changes detected for EKS Auto Mode")
	must(w.UpdateClusterConfig(w.ctx, autoModeRequest(true, "system", "general-purpose")))
	w.settle("dev")
	must(w.UpdateClusterConfig(w.ctx, autoModeRequest(false)))
	c = must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: aws.String("dev")})).Cluster
	if *c.ComputeConfig.Enabled || c.ComputeConfig.NodePools != nil || c.ComputeConfig.NodeRoleArn != nil {
		t.Errorf("disabled: %+v", c.ComputeConfig)
	}
}

func TestAutoModeRefusals(t *testing.T) {
	w := newWorld(t)
	w.active("dev", withMode("API"))
	w.active("old")
	for name, tc := range map[string]struct {
		change func(*eks.UpdateClusterConfigInput)
		want   string
	}{
		"two of three": {func(in *eks.UpdateClusterConfigInput) { in.StorageConfig = nil }, "For EKS Auto Mode, please ensure that all required configs"},
		"no role":      {func(in *eks.UpdateClusterConfigInput) { in.ComputeConfig.NodeRoleArn = nil }, "When Compute Config nodeRoleArn is null or empty, nodePool list cannot be populated."},
		"no pools":     {func(in *eks.UpdateClusterConfigInput) { in.ComputeConfig.NodePools = nil }, "When Compute Config nodeRoleArn is not null or empty, nodePool value(s) must be provided."},
		"unknown pool": {func(in *eks.UpdateClusterConfigInput) { in.ComputeConfig.NodePools = []string{"gpu"} }, "Unsupported node pool gpu"},
		"role's trust": {func(in *eks.UpdateClusterConfigInput) { in.ComputeConfig.NodeRoleArn = aws.String(roleARN("pod")) }, "does not trust ec2.amazonaws.com"},
		"mode":         {func(in *eks.UpdateClusterConfigInput) { in.Name = aws.String("old") }, "requires the authentication mode API"},
	} {
		in := autoModeRequest(true, "system")
		tc.change(in)
		_, err := w.UpdateClusterConfig(w.ctx, in)
		if err == nil {
			t.Fatalf("%s: it was answered", name)
		}
		wantError(t, err, "InvalidParameterException", tc.want)
	}
	auto := autoModeRequest(true, "system")
	_, err := w.CreateCluster(w.ctx, &eks.CreateClusterInput{
		Name: aws.String("new"), RoleArn: aws.String(roleARN("cluster")), ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-a", "subnet-b"}},
		AccessConfig:  &ekstypes.CreateAccessConfigRequest{AuthenticationMode: "API"},
		ComputeConfig: auto.ComputeConfig, StorageConfig: auto.StorageConfig, KubernetesNetworkConfig: auto.KubernetesNetworkConfig,
	})
	wantError(t, err, "InvalidParameterException", "When EKS Auto Mode is enabled, bootstrapSelfManagedAddons must be set to false.")
}

func TestAssociateEncryptionConfig(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	in := &eks.AssociateEncryptionConfigInput{ClusterName: aws.String("dev"), EncryptionConfig: []ekstypes.EncryptionConfig{{
		Resources: []string{"secrets"}, Provider: &ekstypes.Provider{KeyArn: aws.String("arn:aws:kms:us-east-1:000000000000:key/0a1b")},
	}}}
	u := must(w.AssociateEncryptionConfig(w.ctx, in)).Update
	if u.Type != "AssociateEncryptionConfig" || *u.Params[0].Value != `[{"provider":{"keyArn":"arn:aws:kms:us-east-1:000000000000:key/0a1b"},"resources":["secrets"]}]` {
		t.Errorf("%+v", u)
	}
	w.settle("dev")
	_, err := w.AssociateEncryptionConfig(w.ctx, in)
	wantError(t, err, "InvalidParameterException", "Encryption is already enabled on the cluster")
}
