package ec2

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

func TestIPv6(t *testing.T) {
	f := newFixture(t)
	made := must(f.CreateVpc(f.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16"), AmazonProvidedIpv6CidrBlock: aws.Bool(true)}))(t).Vpc
	if s := made.Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlockState.State; s != types.VpcCidrBlockStateCodeAssociating {
		t.Errorf("state %s", s)
	}
	v := must(f.DescribeVpcs(f.ctx, &ec2.DescribeVpcsInput{VpcIds: []string{*made.VpcId}}))(t).Vpcs[0]
	block := netip.MustParsePrefix(*v.Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlock)
	if block.Bits() != 56 || !ipv6Block.Contains(block.Addr()) {
		t.Fatalf("block %s", block)
	}
	sub6 := netip.PrefixFrom(block.Addr(), 64).String()
	sub := must(f.CreateSubnet(f.ctx, &ec2.CreateSubnetInput{VpcId: v.VpcId, CidrBlock: aws.String("10.0.0.0/24"), Ipv6CidrBlock: &sub6, AvailabilityZone: aws.String("us-east-1a")}))(t).Subnet
	must(f.ModifySubnetAttribute(f.ctx, &ec2.ModifySubnetAttributeInput{SubnetId: sub.SubnetId, AssignIpv6AddressOnCreation: &types.AttributeBooleanValue{Value: aws.Bool(true)}}))(t)
	inst := f.run(*sub.SubnetId, "t3.small", 2)
	if a := inst[0].NetworkInterfaces[0].Ipv6Addresses; len(a) != 1 || *inst[0].Ipv6Address != *a[0].Ipv6Address {
		t.Errorf("addresses at launch: %+v", a)
	}
	eni := inst[0].NetworkInterfaces[0].NetworkInterfaceId
	got := must(f.AssignIpv6Addresses(f.ctx, &ec2.AssignIpv6AddressesInput{NetworkInterfaceId: eni, Ipv6PrefixCount: aws.Int32(2)}))(t).AssignedIpv6Prefixes
	if len(got) != 2 || netip.MustParsePrefix(got[1]).Bits() != 80 {
		t.Errorf("prefixes %v", got)
	}
	_, err := f.AssignIpv6Addresses(f.ctx, &ec2.AssignIpv6AddressesInput{NetworkInterfaceId: eni, Ipv6AddressCount: aws.Int32(9)})
	wantCode(t, err, "PrivateIpAddressLimitExceeded")
	f.checkLedger()
	must(f.UnassignIpv6Addresses(f.ctx, &ec2.UnassignIpv6AddressesInput{NetworkInterfaceId: eni, Ipv6Prefixes: got[:1]}))(t)
	f.checkLedger()

	drop := &ec2.DisassociateSubnetCidrBlockInput{AssociationId: sub.Ipv6CidrBlockAssociationSet[0].AssociationId}
	_, err = f.DisassociateSubnetCidrBlock(f.ctx, drop)
	wantError(t, err, "InvalidCidrBlock.InUse", "because its subnet has assign-ipv6-address-on-creation set to true.")
	must(f.ModifySubnetAttribute(f.ctx, &ec2.ModifySubnetAttributeInput{SubnetId: sub.SubnetId, AssignIpv6AddressOnCreation: &types.AttributeBooleanValue{Value: aws.Bool(false)}}))(t)
	_, err = f.DisassociateSubnetCidrBlock(f.ctx, drop)
	wantError(t, err, "InvalidCidrBlock.InUse", "resources are using this CIDR block")
	_, err = f.DisassociateVpcCidrBlock(f.ctx, &ec2.DisassociateVpcCidrBlockInput{AssociationId: made.Ipv6CidrBlockAssociationSet[0].AssociationId})
	wantCode(t, err, "InvalidCidrBlock.InUse")
	must(f.TerminateInstances(f.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*inst[0].InstanceId, *inst[1].InstanceId}}))(t)
	f.settle()
	must(f.DisassociateSubnetCidrBlock(f.ctx, drop))(t)
	must(f.DisassociateVpcCidrBlock(f.ctx, &ec2.DisassociateVpcCidrBlockInput{AssociationId: made.Ipv6CidrBlockAssociationSet[0].AssociationId}))(t)
	f.checkLedger()
	rts := must(f.DescribeRouteTables(f.ctx, &ec2.DescribeRouteTablesInput{Filters: filter("vpc-id", *v.VpcId)}))(t).RouteTables
	if len(rts[0].Routes) != 1 {
		t.Errorf("routes %+v", rts[0].Routes)
	}
}

func TestIPv6OnlySubnet(t *testing.T) {
	f := newFixture(t)
	v := must(f.CreateVpc(f.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16"), AmazonProvidedIpv6CidrBlock: aws.Bool(true)}))(t).Vpc
	block := Vpcs.Get(f.store, f.sc, *v.VpcId).Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlock
	six := netip.PrefixFrom(netip.MustParsePrefix(*block).Addr(), 64).String()
	sub := must(f.CreateSubnet(f.ctx, &ec2.CreateSubnetInput{VpcId: v.VpcId, Ipv6Native: aws.Bool(true), Ipv6CidrBlock: &six, AvailabilityZone: aws.String("us-east-1a")}))(t).Subnet
	if sub.CidrBlock != nil || *sub.AvailableIpAddressCount != 0 {
		t.Errorf("subnet %+v", sub)
	}
	eni := must(f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: sub.SubnetId}))(t).NetworkInterface
	if eni.PrivateIpAddress != nil || len(eni.Ipv6Addresses) != 1 {
		t.Errorf("interface %+v", eni)
	}
	inst := f.run(*sub.SubnetId, "t3.small", 1)[0]
	f.settle()
	must(f.StopInstances(f.ctx, &ec2.StopInstancesInput{InstanceIds: []string{*inst.InstanceId}}))(t)
	f.settle()
	f.checkLedger()
}

func TestCIDRReservations(t *testing.T) {
	f := newFixture(t)
	sub := f.subnet(f.vpc("10.0.0.0/16"), "10.0.0.0/25", "us-east-1a")
	reserve := func(cidr string, typ types.SubnetCidrReservationType) string {
		return *must(f.CreateSubnetCidrReservation(f.ctx, &ec2.CreateSubnetCidrReservationInput{SubnetId: &sub, Cidr: &cidr, ReservationType: typ}))(t).SubnetCidrReservation.SubnetCidrReservationId
	}
	prefix := reserve("10.0.0.48/28", types.SubnetCidrReservationTypePrefix)
	reserve("10.0.0.0/28", types.SubnetCidrReservationTypeExplicit)
	_, err := f.CreateSubnetCidrReservation(f.ctx, &ec2.CreateSubnetCidrReservationInput{SubnetId: &sub, Cidr: aws.String("10.0.0.8/29"), ReservationType: "explicit"})
	wantCode(t, err, "InvalidSubnetCidrReservation.Conflict")
	eni := must(f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &sub, Ipv4PrefixCount: aws.Int32(1)}))(t).NetworkInterface
	if *eni.PrivateIpAddress != "10.0.0.16" || *eni.Ipv4Prefixes[0].Ipv4Prefix != "10.0.0.48/28" {
		t.Errorf("got %s and %s", *eni.PrivateIpAddress, *eni.Ipv4Prefixes[0].Ipv4Prefix)
	}
	named := must(f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &sub, PrivateIpAddress: aws.String("10.0.0.9")}))(t).NetworkInterface
	if *named.PrivateIpAddress != "10.0.0.9" {
		t.Errorf("named address %s", *named.PrivateIpAddress)
	}
	must(f.DeleteSubnetCidrReservation(f.ctx, &ec2.DeleteSubnetCidrReservationInput{SubnetCidrReservationId: &prefix}))(t)
	if left := must(f.GetSubnetCidrReservations(f.ctx, &ec2.GetSubnetCidrReservationsInput{SubnetId: &sub}))(t).SubnetIpv4CidrReservations; len(left) != 1 {
		t.Errorf("left %+v", left)
	}
	f.checkLedger()
}

func TestEndpoints(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sub := f.subnet(vpc, "10.0.0.0/24", "us-east-1a")
	rt := must(f.CreateRouteTable(f.ctx, &ec2.CreateRouteTableInput{VpcId: &vpc}))(t).RouteTable.RouteTableId
	s3 := must(f.CreateVpcEndpoint(f.ctx, &ec2.CreateVpcEndpointInput{VpcId: &vpc, ServiceName: aws.String("com.amazonaws.us-east-1.s3"), RouteTableIds: []string{*rt}}))(t).VpcEndpoint
	list := must(f.DescribePrefixLists(f.ctx, &ec2.DescribePrefixListsInput{Filters: filter("prefix-list-name", *s3.ServiceName)}))(t).PrefixLists[0].PrefixListId
	has := func() bool {
		return slices.ContainsFunc(RouteTables.Get(f.store, f.sc, *rt).Routes, func(r types.Route) bool {
			return deref(r.DestinationPrefixListId) == *list && deref(r.GatewayId) == *s3.VpcEndpointId
		})
	}
	if !has() {
		t.Error("no route to the gateway endpoint")
	}
	_, err := f.DeleteRoute(f.ctx, &ec2.DeleteRouteInput{RouteTableId: rt, DestinationPrefixListId: list})
	wantError(t, err, "InvalidParameterValue", "cannot remove VPC endpoint route")
	must(f.ModifyVpcAttribute(f.ctx, &ec2.ModifyVpcAttributeInput{VpcId: &vpc, EnableDnsHostnames: &types.AttributeBooleanValue{Value: aws.Bool(true)}}))(t)
	ec := must(f.CreateVpcEndpoint(f.ctx, &ec2.CreateVpcEndpointInput{VpcId: &vpc, ServiceName: aws.String("com.amazonaws.us-east-1.ec2"), VpcEndpointType: types.VpcEndpointTypeInterface, SubnetIds: []string{sub}}))(t).VpcEndpoint
	if len(ec.NetworkInterfaceIds) != 1 || len(ec.DnsEntries) != 3 || *ec.DnsEntries[2].DnsName != "ec2.us-east-1.amazonaws.com" {
		t.Errorf("endpoint %+v", ec)
	}
	_, err = f.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &ec.NetworkInterfaceIds[0]})
	wantCode(t, err, "InvalidParameterValue")
	_, err = f.CreateVpcEndpoint(f.ctx, &ec2.CreateVpcEndpointInput{VpcId: &vpc, ServiceName: ec.ServiceName, VpcEndpointType: types.VpcEndpointTypeInterface})
	wantError(t, err, "InvalidParameter", "conflicting DNS domain")
	out := must(f.DeleteVpcEndpoints(f.ctx, &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{*s3.VpcEndpointId, *ec.VpcEndpointId, "vpce-0123456789abcdef0"}}))(t)
	if len(out.Unsuccessful) != 1 || *out.Unsuccessful[0].Error.Code != "InvalidVpcEndpointId.NotFound" || has() {
		t.Errorf("deleted: %+v, route there: %v", out.Unsuccessful, has())
	}
	f.checkLedger()
	must(f.DeleteSubnet(f.ctx, &ec2.DeleteSubnetInput{SubnetId: &sub}))(t)
}

func TestPeeringAcrossAccounts(t *testing.T) {
	f := newFixture(t)
	theirs := awsid.Scope{Account: "111122223333", Region: "eu-west-1"}
	them := awsid.WithCaller(f.ctx, awsid.Caller{Scope: theirs, SourceIP: "127.0.0.1"})
	vpc := f.vpc("10.0.0.0/16")
	peer := *must(f.CreateVpc(them, &ec2.CreateVpcInput{CidrBlock: aws.String("10.1.0.0/16")}))(t).Vpc.VpcId
	p := must(f.CreateVpcPeeringConnection(f.ctx, &ec2.CreateVpcPeeringConnectionInput{
		VpcId: &vpc, PeerVpcId: &peer, PeerOwnerId: &theirs.Account, PeerRegion: &theirs.Region,
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeVpcPeeringConnection, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}},
	}))(t).VpcPeeringConnection.VpcPeeringConnectionId
	rt := must(f.CreateRouteTable(f.ctx, &ec2.CreateRouteTableInput{VpcId: &vpc}))(t).RouteTable.RouteTableId
	must(f.CreateRoute(f.ctx, &ec2.CreateRouteInput{RouteTableId: rt, DestinationCidrBlock: aws.String("10.1.0.0/16"), VpcPeeringConnectionId: p}))(t)
	state := func() types.RouteState { return RouteTables.Get(f.store, f.sc, *rt).Routes[1].State }
	if state() != types.RouteStateBlackhole {
		t.Errorf("route is %s before it is accepted", state())
	}
	_, err := f.AcceptVpcPeeringConnection(f.ctx, &ec2.AcceptVpcPeeringConnectionInput{VpcPeeringConnectionId: p})
	wantCode(t, err, "OperationNotPermitted")
	must(f.AcceptVpcPeeringConnection(them, &ec2.AcceptVpcPeeringConnectionInput{VpcPeeringConnectionId: p}))(t)
	seen := must(f.DescribeVpcPeeringConnections(them, &ec2.DescribeVpcPeeringConnectionsInput{}))(t).VpcPeeringConnections[0]
	if seen.Status.Code != types.VpcPeeringConnectionStateReasonCodeActive || len(seen.Tags) != 0 || state() != types.RouteStateActive {
		t.Errorf("accepted: %+v, route %s", seen, state())
	}
	must(f.DeleteVpcPeeringConnection(them, &ec2.DeleteVpcPeeringConnectionInput{VpcPeeringConnectionId: p}))(t)
	mine := must(f.DescribeVpcPeeringConnections(f.ctx, &ec2.DescribeVpcPeeringConnectionsInput{}))(t).VpcPeeringConnections[0]
	if mine.Status.Code != types.VpcPeeringConnectionStateReasonCodeDeleted || len(mine.Tags) != 1 || state() != types.RouteStateBlackhole {
		t.Errorf("deleted: %+v, route %s", mine, state())
	}
	f.clock.Step(2 * terminatedFor)
	f.sweepPeerings(f.ctx)
	if left := VpcPeeringConnections.ListAll(f.store); len(left) != 0 {
		t.Errorf("%d left", len(left))
	}
}
