package ec2

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	ec2api "github.com/ekslocal/ekslocal/api/ec2"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

// refusalWorld is a region in which most refusals of the table can be met. Its quotas
// are small, so that the table shows them.
func refusalWorld(t testing.TB) (*fixture, map[string]string) {
	f := newFixture(t)
	v := map[string]string{}
	v["vpc"], v["peer"] = f.vpc("10.0.0.0/16"), f.vpc("10.1.0.0/16")
	v["sub"], v["sub2"] = f.subnet(v["vpc"], "10.0.0.0/24", "us-east-1a"), f.subnet(v["vpc"], "10.0.1.0/28", "us-east-1b")
	v["peersub"] = f.subnet(v["peer"], "10.1.0.0/24", "us-east-1a")
	igw := must(f.CreateInternetGateway(f.ctx, &ec2.CreateInternetGatewayInput{}))(t).InternetGateway
	v["igw"] = *igw.InternetGatewayId
	must(f.AttachInternetGateway(f.ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: igw.InternetGatewayId, VpcId: aws.String(v["vpc"])}))(t)
	v["igw2"] = *must(f.CreateInternetGateway(f.ctx, &ec2.CreateInternetGatewayInput{}))(t).InternetGateway.InternetGatewayId
	v["rtb"] = *must(f.CreateRouteTable(f.ctx, &ec2.CreateRouteTableInput{VpcId: aws.String(v["vpc"])}))(t).RouteTable.RouteTableId
	must(f.CreateRoute(f.ctx, &ec2.CreateRouteInput{RouteTableId: aws.String(v["rtb"]), DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: igw.InternetGatewayId}))(t)
	v["rtbassoc"] = *must(f.AssociateRouteTable(f.ctx, &ec2.AssociateRouteTableInput{RouteTableId: aws.String(v["rtb"]), SubnetId: aws.String(v["sub"])}))(t).AssociationId
	main := must(f.DescribeRouteTables(f.ctx, &ec2.DescribeRouteTablesInput{Filters: append(filter("vpc-id", v["vpc"]), filter("association.main", "true")...)}))(t).RouteTables[0]
	v["main"], v["mainassoc"] = *main.RouteTableId, *main.Associations[0].RouteTableAssociationId
	v["acl"] = *must(f.CreateNetworkAcl(f.ctx, &ec2.CreateNetworkAclInput{VpcId: aws.String(v["vpc"])}))(t).NetworkAcl.NetworkAclId
	v["defaultacl"] = *must(f.DescribeNetworkAcls(f.ctx, &ec2.DescribeNetworkAclsInput{Filters: append(filter("vpc-id", v["vpc"]), filter("default", "true")...)}))(t).NetworkAcls[0].NetworkAclId
	v["sg"] = *must(f.CreateSecurityGroup(f.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d"), VpcId: aws.String(v["vpc"])}))(t).GroupId
	v["peersg"] = *must(f.CreateSecurityGroup(f.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d"), VpcId: aws.String(v["peer"])}))(t).GroupId
	v["defaultsg"] = *must(f.DescribeSecurityGroups(f.ctx, &ec2.DescribeSecurityGroupsInput{Filters: append(filter("vpc-id", v["vpc"]), filter("group-name", "default")...)}))(t).SecurityGroups[0].GroupId
	inst := f.run(v["sub"], "t3.small", 1)[0]
	f.settle()
	v["i"], v["vol"], v["eni0"] = *inst.InstanceId, *f.volumeOf(*inst.InstanceId), *inst.NetworkInterfaces[0].NetworkInterfaceId
	v["eni"] = *must(f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(v["sub"])}))(t).NetworkInterface.NetworkInterfaceId
	v["eni2"] = *must(f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(v["sub2"])}))(t).NetworkInterface.NetworkInterfaceId
	eip := must(f.AllocateAddress(f.ctx, &ec2.AllocateAddressInput{}))(t)
	v["eip"], v["ip"] = *eip.AllocationId, *eip.PublicIp
	v["eipassoc"] = *must(f.AssociateAddress(f.ctx, &ec2.AssociateAddressInput{AllocationId: eip.AllocationId, NetworkInterfaceId: aws.String(v["eni"])}))(t).AssociationId
	v["defaultvpc"] = *defaultVpc(f.store, f.sc).VpcId
	v["defaultsub"] = *defaultSubnet(f.store, f.sc, "us-east-1a").SubnetId
	v["nat"] = *must(f.CreateNatGateway(f.ctx, &ec2.CreateNatGatewayInput{SubnetId: aws.String(v["sub"]), ConnectivityType: types.ConnectivityTypePrivate}))(t).NatGateway.NatGatewayId
	f.settle()
	v["nateni"] = *NatGateways.Get(f.store, f.sc, v["nat"]).NatGatewayAddresses[0].NetworkInterfaceId
	v["ip0"] = *inst.PrivateIpAddress
	v["scr"] = *must(f.CreateSubnetCidrReservation(f.ctx, &ec2.CreateSubnetCidrReservationInput{SubnetId: aws.String(v["sub"]), Cidr: aws.String("10.0.0.128/28"), ReservationType: types.SubnetCidrReservationTypeExplicit}))(t).SubnetCidrReservation.SubnetCidrReservationId
	v["primaryassoc"] = *Vpcs.Get(f.store, f.sc, v["vpc"]).CidrBlockAssociationSet[0].AssociationId
	v["cidrassoc"] = *must(f.AssociateVpcCidrBlock(f.ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: aws.String(v["defaultvpc"]), CidrBlock: aws.String("100.64.0.0/24")}))(t).CidrBlockAssociation.AssociationId
	f.subnet(v["defaultvpc"], "100.64.0.0/26", "us-east-1b")
	v["trunk"] = *must(f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(v["sub"]), InterfaceType: types.NetworkInterfaceCreationTypeTrunk}))(t).NetworkInterface.NetworkInterfaceId
	v["lt"] = *must(f.CreateLaunchTemplate(f.ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("lt1"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: f.image(), InstanceType: "m5.large"}}))(t).LaunchTemplate.LaunchTemplateId
	v["ami"] = *f.image()
	v["free"] = *must(f.CreateVolume(f.ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1b"), Size: aws.Int32(10)}))(t).VolumeId
	v["snap"] = *must(f.CreateSnapshot(f.ctx, &ec2.CreateSnapshotInput{VolumeId: aws.String(v["free"])}))(t).SnapshotId
	v["pl"] = *must(f.CreateManagedPrefixList(f.ctx, &ec2.CreateManagedPrefixListInput{
		PrefixListName: aws.String("p"), AddressFamily: aws.String("IPv4"), MaxEntries: aws.Int32(1), Entries: []types.AddPrefixListEntry{{Cidr: aws.String("10.9.0.0/16")}},
	}))(t).PrefixList.PrefixListId
	v["awspl"] = *awsPrefixList("us-east-1", "com.amazonaws.us-east-1.s3").PrefixListId
	v["vpce"] = *must(f.CreateVpcEndpoint(f.ctx, &ec2.CreateVpcEndpointInput{VpcId: aws.String(v["vpc"]), ServiceName: aws.String("com.amazonaws.us-east-1.s3"), RouteTableIds: []string{v["rtb"]}}))(t).VpcEndpoint.VpcEndpointId
	must(f.CreatePlacementGroup(f.ctx, &ec2.CreatePlacementGroupInput{GroupName: aws.String("pg")}))(t)
	must(f.CreateKeyPair(f.ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("k"), KeyType: types.KeyTypeEd25519}))(t)
	v["pcx"] = *must(f.CreateVpcPeeringConnection(f.ctx, &ec2.CreateVpcPeeringConnectionInput{VpcId: aws.String(v["vpc"]), PeerVpcId: aws.String(v["peer"])}))(t).VpcPeeringConnection.VpcPeeringConnectionId
	f.quotas = map[string]int{
		"vpcs-per-region": 3, "elastic-ips-per-region": 1, "internet-gateways-per-region": 3, "subnets-per-vpc": 2, "routes-per-route-table": 2, "rules-per-security-group": 1,
		"security-groups-per-region": 5, "egress-only-internet-gateways-per-region": 0, "prefix-lists-per-region": 1, "placement-groups-per-region": 1,
		"network-acls-per-vpc": 2, "rules-per-network-acl": 0, "route-tables-per-vpc": 2, "nat-gateways-per-zone": 1, "addresses-per-nat-gateway": 1,
		"security-groups-per-interface": 1, "gateway-endpoints-per-region": 1,
	}
	return f, v
}

func (f *fixture) volumeOf(instance string) *string {
	f.t.Helper()
	return must(f.DescribeVolumes(f.ctx, &ec2.DescribeVolumesInput{Filters: filter("attachment.instance-id", instance)}))(f.t).Volumes[0].VolumeId
}

func TestRefusals(t *testing.T) {
	f, values := refusalWorld(t)
	for _, word := range []string{"Latest", "Default", "*"} { // what messages have behind a dollar sign
		values[word] = "$" + word
	}
	refusal.Run(f.ctx, t, ec2api.Model(), f.Service, values)
}
