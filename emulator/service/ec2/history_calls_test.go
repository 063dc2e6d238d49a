package ec2

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// historyCall is one kind of call of TestHistories; fails tells that chance also
// makes it one that is refused.
type historyCall struct {
	name  string
	fails bool
	do    func(*history) error
}

// errNothing is of a call for which the history has nothing yet.
var errNothing = errors.New("nothing to call it with")

var historyCalls = []historyCall{
	{"CreateNetworkInterface", true, (*history).createInterface},
	{"CreateNetworkInterface for a service", false, (*history).createForService},
	{"DeleteNetworkInterface", true, (*history).deleteInterface},
	{"DeleteNetworkInterface", true, (*history).deleteInterface},
	{"AttachNetworkInterface", true, (*history).attachInterface},
	{"DetachNetworkInterface", true, (*history).detachInterface},
	{"ModifyNetworkInterfaceAttribute", true, (*history).modifyInterface},
	{"AssignPrivateIpAddresses", true, (*history).assign},
	{"AssignPrivateIpAddresses", true, (*history).assign},
	{"UnassignPrivateIpAddresses", true, (*history).unassign},
	{"AssignIpv6Addresses", true, (*history).assign6},
	{"UnassignIpv6Addresses", true, (*history).unassign6},
	{"RunInstances", true, (*history).runInstances},
	{"TerminateInstances", false, (*history).terminateInstance},
	{"state transitions", false, func(h *history) error { h.settle(); return nil }},
	{"CreateNatGateway", true, (*history).createNat},
	{"DeleteNatGateway", false, (*history).deleteNat},
	{"AssignPrivateNatGatewayAddress", true, (*history).assignNat},
	{"UnassignPrivateNatGatewayAddress", true, (*history).unassignNat},
	{"CreateVpcEndpoint", true, (*history).createEndpoint},
	{"DeleteVpcEndpoints", false, (*history).deleteEndpoint},
	{"CreateSubnetCidrReservation", true, (*history).reserve},
	{"DeleteSubnetCidrReservation", false, (*history).unreserve},
	{"AssociateTrunkInterface", true, (*history).associateTrunk},
	{"AssociateTrunkInterface", true, (*history).associateTrunk},
	{"DisassociateTrunkInterface", false, (*history).disassociateTrunk},
	{"CreateSubnet", true, (*history).createSubnet},
	{"DeleteSubnet", true, (*history).deleteSubnet},
	{"AssociateVpcCidrBlock", true, (*history).associateCIDR},
	{"DisassociateVpcCidrBlock", true, (*history).disassociateCIDR},
}

func (h *history) createInterface() error {
	in := &ec2.CreateNetworkInterfaceInput{SubnetId: h.subnetID()}
	switch h.rnd.IntN(8) {
	case 0:
		in.SecondaryPrivateIpAddressCount = h.count(12)
	case 1:
		in.Ipv4PrefixCount = h.count(2)
	case 2:
		in.PrivateIpAddress = aws.String(h.address())
	case 3:
		in.Ipv4Prefixes = []types.Ipv4PrefixSpecificationRequest{{Ipv4Prefix: aws.String(h.block())}}
	case 4:
		in.Ipv6AddressCount, in.Ipv6PrefixCount = h.count(2), h.count(1)
	case 5, 6:
		in.InterfaceType = types.NetworkInterfaceCreationTypeTrunk
	}
	_, err := h.CreateNetworkInterface(h.ctx, in)
	return err
}

func (h *history) createForService() error {
	service := []string{"eks", "eks-fargate", "elasticloadbalancing"}[h.rnd.IntN(3)]
	_, err := h.CreateNetworkInterface(h.as(service), &ec2.CreateNetworkInterfaceInput{SubnetId: h.subnetID()})
	return err
}

func (h *history) deleteInterface() error {
	ctx := h.ctx
	if h.chance(3) {
		ctx = h.as("eks")
	}
	_, err := h.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: h.interfaceID()})
	return err
}

func (h *history) attachInterface() error {
	i := pick(h, Instances, func(i *Instance) bool { return i.State.Name == types.InstanceStateNameRunning })
	if i == nil {
		return errNothing
	}
	in := &ec2.AttachNetworkInterfaceInput{NetworkInterfaceId: h.interfaceID(), InstanceId: i.InstanceId, DeviceIndex: aws.Int32(1 + *h.count(3))}
	free := func(eni *NetworkInterface) bool {
		return eni.Attachment == nil && *eni.AvailabilityZone == *i.Placement.AvailabilityZone
	}
	if eni := pick(h, NetworkInterfaces, free); eni != nil && !h.chance(4) {
		in.NetworkInterfaceId = eni.NetworkInterfaceId
	}
	_, err := h.AttachNetworkInterface(h.ctx, in)
	return err
}

// attached is an interface that may be detached, if there is one and chance has it.
func (h *history) attached() *NetworkInterface {
	if eni := pick(h, NetworkInterfaces, func(eni *NetworkInterface) bool {
		return eni.Attachment != nil && eni.Attachment.InstanceId != nil && *eni.Attachment.DeviceIndex > 0
	}); eni != nil && !h.chance(4) {
		return eni
	}
	return pick(h, NetworkInterfaces, func(eni *NetworkInterface) bool { return eni.Attachment != nil })
}

func (h *history) detachInterface() error {
	eni := h.attached()
	if eni == nil {
		return errNothing
	}
	_, err := h.DetachNetworkInterface(h.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: eni.Attachment.AttachmentId})
	return err
}

func (h *history) modifyInterface() error {
	eni := h.attached()
	if eni == nil {
		return errNothing
	}
	_, err := h.ModifyNetworkInterfaceAttribute(h.ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: h.interfaceID(), // not always the attachment's
		Attachment:         &types.NetworkInterfaceAttachmentChanges{AttachmentId: eni.Attachment.AttachmentId, DeleteOnTermination: aws.Bool(h.chance(2))},
	})
	if h.chance(2) {
		return err
	}
	_, err = h.ModifyNetworkInterfaceAttribute(h.ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: eni.NetworkInterfaceId,
		Attachment:         &types.NetworkInterfaceAttachmentChanges{AttachmentId: eni.Attachment.AttachmentId, DeleteOnTermination: aws.Bool(h.chance(2))},
	})
	return err
}

func (h *history) assign() error {
	in := &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: h.interfaceID(), AllowReassignment: aws.Bool(h.chance(2))}
	switch h.rnd.IntN(4) {
	case 0:
		in.SecondaryPrivateIpAddressCount = h.count(8)
	case 1:
		in.Ipv4PrefixCount = h.count(3)
	case 2:
		in.PrivateIpAddresses = []string{h.address(), h.address()}[:1+h.rnd.IntN(2)]
	case 3:
		in.Ipv4Prefixes = []string{h.block()}
	}
	_, err := h.AssignPrivateIpAddresses(h.ctx, in)
	return err
}

func (h *history) unassign() error {
	eni := pick(h, NetworkInterfaces, func(*NetworkInterface) bool { return true })
	if has := pick(h, NetworkInterfaces, func(eni *NetworkInterface) bool {
		return !foreign(eni) && len(eni.PrivateIpAddresses)+len(eni.Ipv4Prefixes) > 1
	}); has != nil && !h.chance(4) {
		eni = has
	}
	if eni == nil {
		return errNothing
	}
	in := &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: eni.NetworkInterfaceId}
	if n := len(eni.Ipv4Prefixes); n > 0 && h.chance(2) {
		in.Ipv4Prefixes = []string{*eni.Ipv4Prefixes[h.rnd.IntN(n)].Ipv4Prefix}
	} else {
		in.PrivateIpAddresses = []string{*eni.PrivateIpAddresses[h.rnd.IntN(len(eni.PrivateIpAddresses))].PrivateIpAddress}
	}
	if h.chance(5) { // a good one and a bad one: neither is to go
		in.PrivateIpAddresses = append(in.PrivateIpAddresses, h.address())
	}
	_, err := h.UnassignPrivateIpAddresses(h.ctx, in)
	return err
}

func (h *history) assign6() error {
	_, err := h.AssignIpv6Addresses(h.ctx, &ec2.AssignIpv6AddressesInput{NetworkInterfaceId: h.interfaceID(), Ipv6AddressCount: h.count(3), Ipv6PrefixCount: h.count(1)})
	return err
}

func (h *history) unassign6() error {
	eni := pick(h, NetworkInterfaces, func(*NetworkInterface) bool { return true })
	if has := pick(h, NetworkInterfaces, func(eni *NetworkInterface) bool { return len(eni.Ipv6Addresses) > 0 }); has != nil && !h.chance(3) {
		eni = has
	}
	if eni == nil {
		return errNothing
	}
	in := &ec2.UnassignIpv6AddressesInput{NetworkInterfaceId: eni.NetworkInterfaceId, Ipv6Addresses: []string{"2001:db8::1"}}
	if len(eni.Ipv6Addresses) > 0 {
		in.Ipv6Addresses[0] = *eni.Ipv6Addresses[0].Ipv6Address
	}
	for _, p := range eni.Ipv6Prefixes {
		in.Ipv6Prefixes = append(in.Ipv6Prefixes, *p.Ipv6Prefix)
	}
	_, err := h.UnassignIpv6Addresses(h.ctx, in)
	return err
}

func (h *history) runInstances() error {
	least := int32(1 + h.rnd.IntN(4))
	_, err := h.RunInstances(h.ctx, &ec2.RunInstancesInput{
		MinCount: &least, MaxCount: aws.Int32(least + *h.count(4)), SubnetId: h.subnetID(), ImageId: h.image(),
		InstanceType: []types.InstanceType{"t3.small", "m5.large"}[h.rnd.IntN(2)],
	})
	return err
}

func (h *history) terminateInstance() error {
	i := pick(h, Instances, func(i *Instance) bool { return i.State.Name == types.InstanceStateNameRunning })
	if i == nil {
		return errNothing
	}
	_, err := h.TerminateInstances(h.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}})
	return err
}

func (h *history) createNat() error {
	in := &ec2.CreateNatGatewayInput{SubnetId: h.subnetID(), ConnectivityType: types.ConnectivityTypePrivate, SecondaryPrivateIpAddressCount: h.count(2)}
	if h.chance(2) {
		in.PrivateIpAddress = aws.String(h.address())
	}
	_, err := h.CreateNatGateway(h.ctx, in)
	return err
}

func (h *history) nat() *NatGateway {
	return pick(h, NatGateways, func(n *NatGateway) bool { return n.State == types.NatGatewayStateAvailable })
}

func (h *history) deleteNat() error {
	n := h.nat()
	if n == nil {
		return errNothing
	}
	_, err := h.DeleteNatGateway(h.ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: n.NatGatewayId})
	return err
}

func (h *history) assignNat() error {
	n := h.nat()
	if n == nil {
		return errNothing
	}
	_, err := h.AssignPrivateNatGatewayAddress(h.ctx, &ec2.AssignPrivateNatGatewayAddressInput{NatGatewayId: n.NatGatewayId, PrivateIpAddressCount: h.count(2)})
	return err
}

func (h *history) unassignNat() error {
	n := h.nat()
	if n == nil {
		return errNothing
	}
	a := n.NatGatewayAddresses[h.rnd.IntN(len(n.NatGatewayAddresses))] // the first is not to go
	_, err := h.UnassignPrivateNatGatewayAddress(h.ctx, &ec2.UnassignPrivateNatGatewayAddressInput{NatGatewayId: n.NatGatewayId, PrivateIpAddresses: []string{*a.PrivateIp}})
	return err
}

func (h *history) createEndpoint() error {
	service := []string{"ec2", "sts", "ecr.api", "logs"}[h.rnd.IntN(4)]
	_, err := h.CreateVpcEndpoint(h.ctx, &ec2.CreateVpcEndpointInput{
		VpcId: &h.vpc, ServiceName: aws.String("com.amazonaws.us-east-1." + service), VpcEndpointType: types.VpcEndpointTypeInterface,
		SubnetIds: []string{*h.subnetID(), *h.subnetID()}[:1+h.rnd.IntN(2)], PrivateDnsEnabled: aws.Bool(false),
	})
	return err
}

func (h *history) deleteEndpoint() error {
	e := pick(h, VpcEndpoints, func(*VpcEndpoint) bool { return true })
	if e == nil {
		return errNothing
	}
	_, err := h.DeleteVpcEndpoints(h.ctx, &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{*e.VpcEndpointId}})
	return err
}

func (h *history) reserve() error {
	kind := []types.SubnetCidrReservationType{types.SubnetCidrReservationTypePrefix, types.SubnetCidrReservationTypeExplicit}[h.rnd.IntN(2)]
	_, err := h.CreateSubnetCidrReservation(h.ctx, &ec2.CreateSubnetCidrReservationInput{SubnetId: h.subnetID(), Cidr: aws.String(h.block()), ReservationType: kind})
	return err
}

func (h *history) unreserve() error {
	r := pick(h, SubnetCidrReservations, func(*SubnetCidrReservation) bool { return true })
	if r == nil {
		return errNothing
	}
	_, err := h.DeleteSubnetCidrReservation(h.ctx, &ec2.DeleteSubnetCidrReservationInput{SubnetCidrReservationId: r.SubnetCidrReservationId})
	return err
}

func (h *history) associateTrunk() error {
	in := &ec2.AssociateTrunkInterfaceInput{BranchInterfaceId: h.interfaceID(), TrunkInterfaceId: h.interfaceID(), VlanId: h.count(20)}
	trunk := pick(h, NetworkInterfaces, func(eni *NetworkInterface) bool { return eni.InterfaceType == types.NetworkInterfaceTypeTrunk })
	if trunk != nil && !h.chance(4) {
		in.TrunkInterfaceId = trunk.NetworkInterfaceId
		free := func(eni *NetworkInterface) bool {
			return eni.InterfaceType == types.NetworkInterfaceTypeInterface && eni.Attachment == nil && *eni.AvailabilityZone == *trunk.AvailabilityZone
		}
		if branch := pick(h, NetworkInterfaces, free); branch != nil && !h.chance(4) {
			in.BranchInterfaceId = branch.NetworkInterfaceId
		}
	}
	_, err := h.AssociateTrunkInterface(h.ctx, in)
	return err
}

func (h *history) disassociateTrunk() error {
	a := pick(h, TrunkAssociations, func(*TrunkAssociation) bool { return true })
	if a == nil {
		return errNothing
	}
	_, err := h.DisassociateTrunkInterface(h.ctx, &ec2.DisassociateTrunkInterfaceInput{AssociationId: a.AssociationId})
	return err
}

func (h *history) createSubnet() error {
	cidr := fmt.Sprintf("%s.%d/%d", []string{"10.7.0", "10.7.0", "10.7.5"}[h.rnd.IntN(3)], 128+16*h.rnd.IntN(8), 27+h.rnd.IntN(3))
	_, err := h.CreateSubnet(h.ctx, &ec2.CreateSubnetInput{VpcId: &h.vpc, CidrBlock: &cidr, AvailabilityZone: aws.String([]string{"us-east-1a", "us-east-1b"}[h.rnd.IntN(2)])})
	return err
}

func (h *history) deleteSubnet() error {
	id := h.subnetID()
	empty := func(s *Subnet) bool {
		return *s.VpcId == h.vpc && SubnetAddresses.Get(h.store, h.sc, *s.SubnetId).taken() == 0
	}
	if s := pick(h, Subnets, empty); s != nil && h.chance(2) {
		id = s.SubnetId
	}
	if cidr := *Subnets.Get(h.store, h.sc, *id).CidrBlock; cidr == "10.7.0.0/26" || cidr == "10.7.0.64/27" {
		id = aws.String("subnet-0123456789abcdef0") // these stay, so that there is always one
	}
	_, err := h.DeleteSubnet(h.ctx, &ec2.DeleteSubnetInput{SubnetId: id})
	return err
}

func (h *history) associateCIDR() error {
	cidr := []string{"10.7.5.0/24", "100.64.0.0/16", "100.65.0.0/20", "172.20.0.0/16", "10.7.0.0/25", "52.0.0.0/24", "10.8.0.0/15"}[h.rnd.IntN(7)]
	_, err := h.AssociateVpcCidrBlock(h.ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: &h.vpc, CidrBlock: &cidr})
	return err
}

func (h *history) disassociateCIDR() error {
	all := Vpcs.Get(h.store, h.sc, h.vpc).CidrBlockAssociationSet
	_, err := h.DisassociateVpcCidrBlock(h.ctx, &ec2.DisassociateVpcCidrBlockInput{AssociationId: all[h.rnd.IntN(len(all))].AssociationId})
	return err
}
