package ec2

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestDefaultVpc(t *testing.T) {
	f := newFixture(t)
	vpcs := must(f.DescribeVpcs(f.ctx, &ec2.DescribeVpcsInput{Filters: filter("is-default", "true")}))(t).Vpcs
	if len(vpcs) != 1 || *vpcs[0].CidrBlock != "172.31.0.0/16" || *vpcs[0].OwnerId != "000000000000" {
		t.Fatalf("default VPCs: %+v", vpcs)
	}
	id := *vpcs[0].VpcId
	subnets := must(f.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{Filters: filter("default-for-az", "true")}))(t).Subnets
	if len(subnets) != 6 {
		t.Fatalf("%d default subnets", len(subnets))
	}
	for _, s := range subnets {
		if *s.AvailableIpAddressCount != 4091 || !*s.MapPublicIpOnLaunch || *s.VpcId != id {
			t.Errorf("subnet %+v", s)
		}
	}
	igw := must(f.DescribeInternetGateways(f.ctx, &ec2.DescribeInternetGatewaysInput{Filters: filter("attachment.vpc-id", id)}))(t).InternetGateways
	rts := must(f.DescribeRouteTables(f.ctx, &ec2.DescribeRouteTablesInput{Filters: filter("association.main", "true")}))(t).RouteTables
	acls := must(f.DescribeNetworkAcls(f.ctx, &ec2.DescribeNetworkAclsInput{Filters: filter("default", "true")}))(t).NetworkAcls
	sgs := must(f.DescribeSecurityGroups(f.ctx, &ec2.DescribeSecurityGroupsInput{GroupNames: []string{"default"}}))(t).SecurityGroups
	if len(igw) != 1 || len(rts) != 1 || len(rts[0].Routes) != 2 || len(acls) != 1 || len(acls[0].Associations) != 6 || len(acls[0].Entries) != 4 || len(sgs) != 1 {
		t.Errorf("igw %v\nrts %+v\nacls %+v\nsgs %+v", igw, rts, acls, sgs)
	}
	if g := sgs[0]; len(g.IpPermissions) != 1 || *g.IpPermissions[0].UserIdGroupPairs[0].GroupId != *g.GroupId || len(g.IpPermissionsEgress) != 1 {
		t.Errorf("default group %+v", g)
	}
	f.checkLedger()

	for _, s := range subnets {
		must(f.DeleteSubnet(f.ctx, &ec2.DeleteSubnetInput{SubnetId: s.SubnetId}))(t)
	}
	must(f.DetachInternetGateway(f.ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: igw[0].InternetGatewayId, VpcId: &id}))(t)
	must(f.DeleteVpc(f.ctx, &ec2.DeleteVpcInput{VpcId: &id}))(t)
	if left := must(f.DescribeVpcs(f.ctx, &ec2.DescribeVpcsInput{}))(t).Vpcs; len(left) != 0 {
		t.Errorf("the default VPC came back: %+v", left)
	}
	again := must(f.CreateDefaultVpc(f.ctx, &ec2.CreateDefaultVpcInput{}))(t).Vpc
	if !*again.IsDefault {
		t.Errorf("%+v", again)
	}
	_, err := f.CreateDefaultVpc(f.ctx, &ec2.CreateDefaultVpcInput{})
	wantCode(t, err, "DefaultVpcAlreadyExists")
}

func TestUnknownRegion(t *testing.T) {
	f := newFixtureIn(t, "mars-north-1")
	_, err := f.DescribeVpcs(f.ctx, &ec2.DescribeVpcsInput{})
	wantCode(t, err, "InvalidRegion")
}

func TestVpcErrors(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	f.subnet(vpc, "10.0.0.0/24", "us-east-1a")
	subnet := func(cidr, zone string) error {
		_, err := f.CreateSubnet(f.ctx, &ec2.CreateSubnetInput{VpcId: &vpc, CidrBlock: &cidr, AvailabilityZone: &zone})
		return err
	}
	create := func(cidr string) error {
		_, err := f.CreateVpc(f.ctx, &ec2.CreateVpcInput{CidrBlock: &cidr})
		return err
	}
	get := func(id string) error {
		_, err := f.DescribeVpcs(f.ctx, &ec2.DescribeVpcsInput{VpcIds: []string{id}})
		return err
	}
	_, missing := f.CreateVpc(f.ctx, &ec2.CreateVpcInput{})
	_, deleteMissing := f.DeleteVpc(f.ctx, &ec2.DeleteVpcInput{})
	_, inUse := f.DeleteVpc(f.ctx, &ec2.DeleteVpcInput{VpcId: &vpc})
	_, dry := f.CreateVpc(f.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.1.0.0/16"), DryRun: aws.Bool(true)})
	for _, c := range []struct {
		err           error
		code, message string
	}{
		{missing, "MissingParameter", "Either 'cidrBlock' or 'ipv4IpamPoolId' should be provided."},
		{deleteMissing, "MissingParameter", "The request must contain the parameter vpcId"},
		{create("10.0.0.0/8"), "InvalidVpc.Range", "The CIDR '10.0.0.0/8' is invalid."},
		{create("10.0.0.0"), "InvalidParameterValue", "This is not a valid CIDR block."},
		{create("fd00::/56"), "InvalidParameterValue", "This is not a valid CIDR block."},
		{get("vpc-0123456789abcdef0"), "InvalidVpcID.NotFound", "The vpc ID 'vpc-0123456789abcdef0' does not exist"},
		{get("nonsense"), "InvalidVpcID.Malformed", `Invalid id: "nonsense" (expecting "vpc-...")`},
		{subnet("10.1.0.0/24", "us-east-1a"), "InvalidSubnet.Range", "The CIDR '10.1.0.0/24' is invalid."},
		{subnet("10.0.1.0/29", "us-east-1a"), "InvalidSubnet.Range", "The CIDR '10.0.1.0/29' is invalid."},
		{subnet("10.0.0.128/25", "us-east-1a"), "InvalidSubnet.Conflict", "The CIDR '10.0.0.128/25' conflicts with another subnet"},
		{subnet("10.0.1.0/24", "us-east-1z"), "InvalidParameterValue", "us-east-1a, us-east-1b"},
		{inUse, "DependencyViolation", "The vpc '" + vpc + "' has dependencies and cannot be deleted."},
		{dry, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."},
	} {
		wantError(t, c.err, c.code, c.message)
	}
	if n := len(must(f.DescribeVpcs(f.ctx, &ec2.DescribeVpcsInput{}))(t).Vpcs); n != 2 {
		t.Errorf("%d VPCs: a refused or dry call made one", n)
	}
}

func TestVpcAttributes(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	must(f.ModifyVpcAttribute(f.ctx, &ec2.ModifyVpcAttributeInput{VpcId: &vpc, EnableDnsHostnames: &types.AttributeBooleanValue{Value: aws.Bool(true)}}))(t)
	for name, want := range map[types.VpcAttributeName]bool{types.VpcAttributeNameEnableDnsHostnames: true, types.VpcAttributeNameEnableDnsSupport: true, types.VpcAttributeNameEnableNetworkAddressUsageMetrics: false} {
		out := must(f.DescribeVpcAttribute(f.ctx, &ec2.DescribeVpcAttributeInput{VpcId: &vpc, Attribute: name}))(t)
		var got *types.AttributeBooleanValue
		for _, v := range []*types.AttributeBooleanValue{out.EnableDnsHostnames, out.EnableDnsSupport, out.EnableNetworkAddressUsageMetrics} {
			if v != nil {
				got = v
			}
		}
		if got == nil || *got.Value != want {
			t.Errorf("%s = %+v, want %v", name, got, want)
		}
	}
	on := &types.AttributeBooleanValue{Value: aws.Bool(true)}
	_, err := f.ModifyVpcAttribute(f.ctx, &ec2.ModifyVpcAttributeInput{VpcId: &vpc, EnableDnsHostnames: on, EnableDnsSupport: on})
	wantCode(t, err, "InvalidParameterCombination")
}

func TestSecondaryCIDRs(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	add := func(cidr string) (*ec2.AssociateVpcCidrBlockOutput, error) {
		return f.AssociateVpcCidrBlock(f.ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: &vpc, CidrBlock: &cidr})
	}
	_, err := add("192.168.0.0/16")
	wantError(t, err, "InvalidVpc.Range", "is restricted")
	_, err = add("10.0.128.0/20")
	wantCode(t, err, "InvalidVpc.Conflict")
	a := must(add("100.64.0.0/16"))(t).CidrBlockAssociation
	sub := f.subnet(vpc, "100.64.0.0/19", "us-east-1a")
	rts := must(f.DescribeRouteTables(f.ctx, &ec2.DescribeRouteTablesInput{Filters: filter("vpc-id", vpc)}))(t).RouteTables
	if len(rts) != 1 || len(rts[0].Routes) != 2 {
		t.Errorf("route tables %+v", rts)
	}
	drop := &ec2.DisassociateVpcCidrBlockInput{AssociationId: a.AssociationId}
	_, err = f.DisassociateVpcCidrBlock(f.ctx, drop)
	wantCode(t, err, "InvalidCidrBlock.InUse")
	must(f.DeleteSubnet(f.ctx, &ec2.DeleteSubnetInput{SubnetId: &sub}))(t)
	must(f.DisassociateVpcCidrBlock(f.ctx, drop))(t)
	_, err = f.DisassociateVpcCidrBlock(f.ctx, drop)
	wantCode(t, err, "InvalidVpcCidrBlockAssociationID.NotFound")
	rts = must(f.DescribeRouteTables(f.ctx, &ec2.DescribeRouteTablesInput{Filters: filter("vpc-id", vpc)}))(t).RouteTables
	if len(rts[0].Routes) != 1 {
		t.Errorf("routes %+v", rts[0].Routes)
	}

	igw := must(f.CreateInternetGateway(f.ctx, &ec2.CreateInternetGatewayInput{}))(t).InternetGateway.InternetGatewayId
	must(f.AttachInternetGateway(f.ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: igw, VpcId: &vpc}))(t)
	must(f.CreateRoute(f.ctx, &ec2.CreateRouteInput{RouteTableId: rts[0].RouteTableId, GatewayId: igw, DestinationCidrBlock: aws.String("100.66.8.0/24")}))(t)
	must(add("100.66.8.128/25"))(t) // smaller than the route's
	_, err = add("100.66.0.0/20")
	wantError(t, err, "InvalidVpc.Conflict", "conflicts")
	_, err = add("100.66.8.0/24")
	wantCode(t, err, "InvalidVpc.Conflict")
}

// TestRestrictedCIDRs goes through the table "IPv4 CIDR block association
// restrictions" of the VPC user guide.
func TestRestrictedCIDRs(t *testing.T) {
	for _, c := range []struct {
		have       string // of the VPC, the primary block first
		restricted string
		permitted  string
	}{
		{"10.3.0.0/16", "172.16.0.0/16 172.31.0.0/20 192.168.0.0/16 192.168.5.0/24 198.19.0.0/16 198.19.128.0/24 169.254.0.0/16", "10.4.0.0/16 10.0.0.0/16 10.1.0.0/20 52.0.0.0/16 100.64.0.0/16 100.127.240.0/20 198.18.0.0/16 172.32.0.0/16"},
		{"10.0.0.0/16", "10.0.0.0/20", "10.1.0.0/16 10.2.0.0/16"},
		{"10.1.0.0/16", "10.0.0.0/16 10.0.200.0/24", "10.2.0.0/16"},
		{"10.3.0.0/16 10.1.0.0/16", "10.0.0.0/16", "10.2.0.0/16"},
		{"172.20.0.0/16", "10.0.0.0/16 192.168.0.0/16 172.31.0.0/16 172.31.4.0/24 198.19.0.0/24 169.254.8.0/24", "172.16.0.0/16 172.30.0.0/16 8.0.0.0/16 100.64.0.0/16"},
		{"192.168.0.0/20", "10.0.0.0/16 172.16.0.0/16 198.19.0.0/24", "192.168.16.0/20 9.0.0.0/16 100.100.0.0/16"},
		{"198.19.0.0/20", "10.0.0.0/16 172.16.0.0/16 192.168.0.0/24", "9.0.0.0/16 100.64.0.0/16"},
		{"52.0.0.0/16", "10.0.0.0/16 172.16.0.0/16 192.168.0.0/24 198.19.0.0/24", "52.1.0.0/16 100.64.0.0/16"},
		{"100.64.0.0/16", "10.0.0.0/16 172.31.0.0/16 192.168.0.0/24 198.19.0.0/24", "100.65.0.0/16 52.1.0.0/16"},
		{"10.3.0.0/16 100.64.0.0/16", "172.16.0.0/16 198.19.0.0/24", "10.4.0.0/16 100.65.0.0/16"},
	} {
		var have []netip.Prefix
		for s := range strings.FieldsSeq(c.have) {
			have = append(have, netip.MustParsePrefix(s))
		}
		for want, list := range map[bool]string{true: c.restricted, false: c.permitted} {
			for s := range strings.FieldsSeq(list) {
				if got := restricted(have, netip.MustParsePrefix(s)); got != want {
					t.Errorf("%s to join %s: restricted %v, want %v", s, c.have, got, want)
				}
			}
		}
	}
}

func TestRoutesAndNat(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sub := f.subnet(vpc, "10.0.0.0/24", "us-east-1a")
	igw := must(f.CreateInternetGateway(f.ctx, &ec2.CreateInternetGatewayInput{}))(t).InternetGateway.InternetGatewayId
	rt := must(f.CreateRouteTable(f.ctx, &ec2.CreateRouteTableInput{VpcId: &vpc}))(t).RouteTable.RouteTableId
	route := &ec2.CreateRouteInput{RouteTableId: rt, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: igw}
	_, err := f.CreateRoute(f.ctx, route)
	wantCode(t, err, "InvalidParameterValue")
	must(f.AttachInternetGateway(f.ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: igw, VpcId: &vpc}))(t)
	_, err = f.AttachInternetGateway(f.ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: igw, VpcId: &vpc})
	wantCode(t, err, "Resource.AlreadyAssociated")
	must(f.CreateRoute(f.ctx, route))(t)
	must(f.CreateRoute(f.ctx, route))(t) // the same again is fine

	eip := must(f.AllocateAddress(f.ctx, &ec2.AllocateAddressInput{}))(t)
	nat := must(f.CreateNatGateway(f.ctx, &ec2.CreateNatGatewayInput{SubnetId: &sub, AllocationId: eip.AllocationId}))(t).NatGateway
	if nat.State != types.NatGatewayStatePending || *nat.NatGatewayAddresses[0].PublicIp != *eip.PublicIp {
		t.Errorf("NAT gateway %+v", nat)
	}
	f.settle()
	_, err = f.CreateRoute(f.ctx, &ec2.CreateRouteInput{RouteTableId: rt, DestinationCidrBlock: aws.String("0.0.0.0/0"), NatGatewayId: nat.NatGatewayId})
	wantCode(t, err, "RouteAlreadyExists")
	must(f.ReplaceRoute(f.ctx, &ec2.ReplaceRouteInput{RouteTableId: rt, DestinationCidrBlock: aws.String("0.0.0.0/0"), NatGatewayId: nat.NatGatewayId}))(t)
	_, err = f.ReleaseAddress(f.ctx, &ec2.ReleaseAddressInput{AllocationId: eip.AllocationId})
	wantCode(t, err, "InvalidIPAddress.InUse")
	_, err = f.DeleteSubnet(f.ctx, &ec2.DeleteSubnetInput{SubnetId: &sub})
	wantError(t, err, "DependencyViolation", "The subnet '"+sub+"' has dependencies and cannot be deleted.")

	assoc := must(f.AssociateRouteTable(f.ctx, &ec2.AssociateRouteTableInput{RouteTableId: rt, SubnetId: &sub}))(t).AssociationId
	_, err = f.DeleteRouteTable(f.ctx, &ec2.DeleteRouteTableInput{RouteTableId: rt})
	wantCode(t, err, "DependencyViolation")
	must(f.DeleteNatGateway(f.ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: nat.NatGatewayId}))(t)
	f.settle()
	got := must(f.DescribeNatGateways(f.ctx, &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{*nat.NatGatewayId}}))(t).NatGateways
	if got[0].State != types.NatGatewayStateDeleted || f.free(sub) != 251 {
		t.Errorf("deleted NAT gateway %+v, free %d", got[0], f.free(sub))
	}
	rts := must(f.DescribeRouteTables(f.ctx, &ec2.DescribeRouteTablesInput{Filters: filter("route.state", "blackhole")}))(t).RouteTables
	if len(rts) != 1 {
		t.Errorf("no blackhole route: %+v", rts)
	}
	must(f.ReleaseAddress(f.ctx, &ec2.ReleaseAddressInput{AllocationId: eip.AllocationId}))(t)
	must(f.DisassociateRouteTable(f.ctx, &ec2.DisassociateRouteTableInput{AssociationId: assoc}))(t)
	must(f.DeleteRouteTable(f.ctx, &ec2.DeleteRouteTableInput{RouteTableId: rt}))(t)
	must(f.DetachInternetGateway(f.ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: igw, VpcId: &vpc}))(t)
	must(f.DeleteInternetGateway(f.ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: igw}))(t)
	must(f.DeleteSubnet(f.ctx, &ec2.DeleteSubnetInput{SubnetId: &sub}))(t)
	must(f.DeleteVpc(f.ctx, &ec2.DeleteVpcInput{VpcId: &vpc}))(t)
	f.clock.Step(terminatedFor)
	f.settle()
	_, err = f.DescribeNatGateways(f.ctx, &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{*nat.NatGatewayId}})
	wantCode(t, err, "NatGatewayNotFound")
}

func TestMainRouteTableMoves(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	rts := must(f.DescribeRouteTables(f.ctx, &ec2.DescribeRouteTablesInput{Filters: filter("vpc-id", vpc)}))(t).RouteTables
	rt := must(f.CreateRouteTable(f.ctx, &ec2.CreateRouteTableInput{VpcId: &vpc}))(t).RouteTable
	_, err := f.DisassociateRouteTable(f.ctx, &ec2.DisassociateRouteTableInput{AssociationId: rts[0].Associations[0].RouteTableAssociationId})
	wantCode(t, err, "InvalidParameterValue")
	must(f.ReplaceRouteTableAssociation(f.ctx, &ec2.ReplaceRouteTableAssociationInput{AssociationId: rts[0].Associations[0].RouteTableAssociationId, RouteTableId: rt.RouteTableId}))(t)
	main := must(f.DescribeRouteTables(f.ctx, &ec2.DescribeRouteTablesInput{Filters: append(filter("association.main", "true"), filter("vpc-id", vpc)...)}))(t).RouteTables
	if len(main) != 1 || *main[0].RouteTableId != *rt.RouteTableId {
		t.Errorf("main route table %+v", main)
	}
	must(f.DeleteRouteTable(f.ctx, &ec2.DeleteRouteTableInput{RouteTableId: rts[0].RouteTableId}))(t)
	must(f.DeleteVpc(f.ctx, &ec2.DeleteVpcInput{VpcId: &vpc}))(t)
}

func TestNetworkAclEntries(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sub := f.subnet(vpc, "10.0.0.0/24", "us-east-1a")
	acl := must(f.CreateNetworkAcl(f.ctx, &ec2.CreateNetworkAclInput{VpcId: &vpc}))(t).NetworkAcl.NetworkAclId
	entry := &ec2.CreateNetworkAclEntryInput{NetworkAclId: acl, RuleNumber: aws.Int32(100), Egress: aws.Bool(false), Protocol: aws.String("-1"), RuleAction: types.RuleActionAllow, CidrBlock: aws.String("0.0.0.0/0")}
	must(f.CreateNetworkAclEntry(f.ctx, entry))(t)
	_, err := f.CreateNetworkAclEntry(f.ctx, entry)
	wantCode(t, err, "NetworkAclEntryAlreadyExists")
	acls := must(f.DescribeNetworkAcls(f.ctx, &ec2.DescribeNetworkAclsInput{Filters: filter("association.subnet-id", sub)}))(t).NetworkAcls
	must(f.ReplaceNetworkAclAssociation(f.ctx, &ec2.ReplaceNetworkAclAssociationInput{AssociationId: acls[0].Associations[0].NetworkAclAssociationId, NetworkAclId: acl}))(t)
	_, err = f.DeleteNetworkAcl(f.ctx, &ec2.DeleteNetworkAclInput{NetworkAclId: acl})
	wantCode(t, err, "DependencyViolation")
	must(f.DeleteSubnet(f.ctx, &ec2.DeleteSubnetInput{SubnetId: &sub}))(t)
	must(f.DeleteNetworkAclEntry(f.ctx, &ec2.DeleteNetworkAclEntryInput{NetworkAclId: acl, RuleNumber: aws.Int32(100), Egress: aws.Bool(false)}))(t)
	_, err = f.DeleteNetworkAclEntry(f.ctx, &ec2.DeleteNetworkAclEntryInput{NetworkAclId: acl, RuleNumber: aws.Int32(100), Egress: aws.Bool(false)})
	wantCode(t, err, "InvalidNetworkAclEntry.NotFound")
	must(f.DeleteNetworkAcl(f.ctx, &ec2.DeleteNetworkAclInput{NetworkAclId: acl}))(t)
}
