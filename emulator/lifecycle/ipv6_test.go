package lifecycle

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// six makes the network and its cluster dual-stack.
func (n *network) six() {
	n.t.Helper()
	vpc := n.cluster().Resource.ResourcesVpcConfig
	if _, err := n.ec2.AssociateVpcCidrBlock(n.ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: vpc.VpcId, AmazonProvidedIpv6CidrBlock: aws.Bool(true)}); err != nil {
		n.t.Fatal(err)
	}
	out, err := n.ec2.DescribeVpcs(n.ctx, &ec2.DescribeVpcsInput{VpcIds: []string{*vpc.VpcId}})
	if err != nil {
		n.t.Fatal(err)
	}
	base := netip.MustParsePrefix(*out.Vpcs[0].Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlock).Addr().As16()
	for i, id := range vpc.SubnetIds {
		base[7] = byte(i)
		if _, err := n.ec2.AssociateSubnetCidrBlock(n.ctx, &ec2.AssociateSubnetCidrBlockInput{
			SubnetId: &id, Ipv6CidrBlock: aws.String(netip.PrefixFrom(netip.AddrFrom16(base), 64).String()),
		}); err != nil {
			n.t.Fatal(err)
		}
	}
	err = n.Store.Update(n.ctx, func(tx *store.Tx) error {
		c := ekssvc.Clusters.Edit(tx, n.scope, "dev")
		c.Resource.KubernetesNetworkConfig = &ekstypes.KubernetesNetworkConfigResponse{
			IpFamily: ekstypes.IpFamilyIpv6, ServiceIpv6Cidr: aws.String("fd30:1c53:5f8a::/108"),
		}
		ekssvc.Clusters.Put(tx, n.scope, "dev", c)
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// TestControlPlaneOfIPv6Clusters looks at the addresses behind default/kubernetes.
func TestControlPlaneOfIPv6Clusters(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		n := newNetwork(t)
		if v6 {
			n.six()
		}
		if err := n.create(); err != nil {
			t.Fatal(err)
		}
		objs := n.apiEndpoints(n.cluster())
		family, slice := "IPv4", objs[1].Object
		if v6 {
			family = "IPv6"
		}
		ends := slice["endpoints"].([]any)
		if slice["addressType"] != family || len(ends) != 2 {
			t.Errorf("%v", slice)
		}
		for _, e := range ends {
			if ip := netip.MustParseAddr(e.(map[string]any)["addresses"].([]any)[0].(string)); ip.Is6() != v6 {
				t.Errorf("%s: endpoint %s", family, ip)
			}
		}
		n.delete()
	}
	c := &ekssvc.Cluster{Resource: ekstypes.Cluster{KubernetesNetworkConfig: &ekstypes.KubernetesNetworkConfigResponse{IpFamily: ekstypes.IpFamilyIpv6}}}
	if ip := addressOf(c, &ec2svc.NetworkInterface{NetworkInterface: ec2types.NetworkInterface{PrivateIpAddress: aws.String("10.0.0.4")}}); ip != "" {
		t.Errorf("an interface without IPv6 addresses has %s", ip)
	}
}

func TestIPv6Issue(t *testing.T) {
	n := newNetwork(t)
	subnets := n.cluster().Resource.ResourcesVpcConfig.SubnetIds
	ng := &ekssvc.Nodegroup{Scope: n.scope, Resource: ekstypes.Nodegroup{NodegroupName: aws.String("ng"), Subnets: subnets}}
	if issue := n.ipv6Issue(n.cluster(), ng); issue != nil {
		t.Errorf("in an IPv4 cluster: %+v", issue)
	}
	n.six()
	assign := func(id string) {
		if _, err := n.ec2.ModifySubnetAttribute(n.ctx, &ec2.ModifySubnetAttributeInput{SubnetId: &id, AssignIpv6AddressOnCreation: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}}); err != nil {
			t.Fatal(err)
		}
	}
	assign(subnets[0])
	message := "One or more Amazon EC2 Subnets of [" + strings.Join(subnets[1:], ", ") +
		"] for node group ng does not automatically assign IPv6 addresses to instances launched into it. See IP addressing in VPC guide: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-ip-addressing.html#subnet-public-ip"
	issue := n.ipv6Issue(n.cluster(), ng)
	if issue == nil || issue.Code != "Ec2SubnetMissingIpv6Assignment" || *issue.Message != message || !slices.Equal(issue.ResourceIds, subnets[1:]) {
		t.Errorf("%+v", issue)
	}
	assign(subnets[1])
	assign(subnets[2])
	if issue := n.ipv6Issue(n.cluster(), ng); issue != nil {
		t.Errorf("all subnets assign: %+v", issue)
	}
}

func TestWithoutPrefixes(t *testing.T) {
	six, _ := ipamd.ParseSettings(map[string]string{"ENABLE_IPv6": "true", "ENABLE_IPv4": "false", "ENABLE_PREFIX_DELEGATION": "true"})
	four, _ := ipamd.ParseSettings(nil)
	for _, tc := range []struct {
		settings ipamd.Settings
		typ      string
		wrong    bool
	}{{six, "m5.large", false}, {six, "m5.metal", false}, {six, "t2.medium", true}, {four, "t2.medium", false}} {
		if got := withoutPrefixes(tc.settings, tc.typ); (got != "") != tc.wrong {
			t.Errorf("%s: %q", tc.typ, got)
		}
	}
}

// TestMaxPodsOfIPv6Clusters: the number does not wait for aws-node.
func TestMaxPodsOfIPv6Clusters(t *testing.T) {
	rt := &runtime{ipv6: true}
	if n, err := (&Lifecycle{}).groupMaxPods(context.Background(), rt, []string{"m5.large", "m5.24xlarge"}); err != nil || n != 110 {
		t.Errorf("%d %v", n, err)
	}
}
