package ec2

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// prepareInterfaces works out the interfaces of a launch from either form that a
// request can have: subnet, groups and address of the instance, or a list of
// interfaces.
func (s *Service) prepareInterfaces(ctx context.Context, tx *store.Tx, sc awsid.Scope, la *launch) error {
	in := la.in
	specs := slices.Clone(in.NetworkInterfaces)
	if len(specs) == 0 {
		groups := in.SecurityGroupIds
		specs = []types.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: aws.Int32(0), SubnetId: in.SubnetId, PrivateIpAddress: in.PrivateIpAddress, Groups: groups, DeleteOnTermination: aws.Bool(true),
			Ipv6Addresses: in.Ipv6Addresses, Ipv6AddressCount: in.Ipv6AddressCount, PrimaryIpv6: in.EnablePrimaryIpv6,
		}}
	} else {
		if in.SubnetId != nil && !fromService(ctx) {
			return errCombination("Network interfaces and an instance-level subnet ID may not be specified on the same request")
		}
		if len(in.SecurityGroupIds)+len(in.SecurityGroups) > 0 {
			return errCombination("Network interfaces and an instance-level security groups may not be specified on the same request")
		}
		for i := range specs { // what Auto Scaling and node groups do for their templates
			if specs[i].SubnetId == nil && specs[i].NetworkInterfaceId == nil {
				specs[i].SubnetId = in.SubnetId
			}
		}
	}
	for _, spec := range specs {
		n, err := s.prepareInterface(tx, sc, la, spec)
		if err != nil {
			return err
		}
		la.nics = append(la.nics, n)
	}
	slices.SortStableFunc(la.nics, func(a, b nic) int {
		return cmp.Or(cmp.Compare(a.card, b.card), cmp.Compare(a.device, b.device))
	})
	return la.checkInterfaces()
}

func (s *Service) prepareInterface(tx *store.Tx, sc awsid.Scope, la *launch, spec types.InstanceNetworkInterfaceSpecification) (nic, error) {
	n := nic{spec: spec, card: aws.ToInt32(spec.NetworkCardIndex)}
	if spec.DeviceIndex == nil {
		return n, errInvalid("Each network interface requires a device index.")
	}
	n.device = *spec.DeviceIndex
	if spec.NetworkInterfaceId != nil {
		eni, err := networkInterfaceKind.get(tx, sc, spec.NetworkInterfaceId)
		if err != nil {
			return n, err
		}
		if eni.Attachment != nil || eni.Status == types.NetworkInterfaceStatusInUse {
			return n, apiError("InvalidNetworkInterface.InUse", "Interface: [%s] in use.", *eni.NetworkInterfaceId)
		}
		if err := checkTrunkAttach(la.typ, eni); err != nil {
			return n, err
		}
		if err := checkAddressesFit(la.typ, eni); err != nil {
			return n, err
		}
		n.present, n.subnet = *eni.NetworkInterfaceId, Subnets.Get(tx, sc, *eni.SubnetId)
		return n, nil
	}
	var err error
	if n.subnet, err = la.subnetFor(tx, sc, spec.SubnetId); err != nil {
		return n, err
	}
	groups := spec.Groups
	for _, name := range la.in.SecurityGroups {
		g, err := groupByName(tx, sc, *n.subnet.VpcId, name)
		if err != nil {
			return n, err
		}
		groups = append(groups, g)
	}
	if n.groups, err = s.interfaceGroups(tx, sc, *n.subnet.VpcId, groups); err != nil {
		return n, err
	}
	if n.want, err = wishOf(spec.PrivateIpAddress, spec.PrivateIpAddresses, spec.SecondaryPrivateIpAddressCount, spec.Ipv4Prefixes, spec.Ipv4PrefixCount); err != nil {
		return n, err
	}
	if n.want.v6, err = wish6Of(spec.Ipv6Addresses, spec.Ipv6AddressCount, spec.Ipv6Prefixes, spec.Ipv6PrefixCount, spec.PrimaryIpv6); err != nil {
		return n, err
	}
	n.public = aws.ToBool(n.subnet.MapPublicIpOnLaunch) && n.device == 0 && n.card == 0
	if spec.AssociatePublicIpAddress != nil {
		n.public = *spec.AssociatePublicIpAddress
	}
	return n, nil
}

func groupByName(tx *store.Tx, sc awsid.Scope, vpc, name string) (string, error) {
	for _, g := range SecurityGroups.List(tx, sc) {
		if deref(g.VpcId) == vpc && deref(g.GroupName) == name {
			return *g.GroupId, nil
		}
	}
	return "", apiError("InvalidGroup.NotFound", "The security group '%s' does not exist in VPC '%s'", name, vpc)
}

// subnetFor returns the named subnet, or the default one of the placement's zone.
func (la *launch) subnetFor(tx *store.Tx, sc awsid.Scope, id *string) (*Subnet, error) {
	zone := ""
	if p := la.in.Placement; p != nil {
		if deref(p.AvailabilityZone) != "" || deref(p.AvailabilityZoneId) != "" {
			z, err := chooseZone(sc.Region, p.AvailabilityZone, p.AvailabilityZoneId)
			if err != nil {
				return nil, err
			}
			zone = z.Name
		}
	}
	if id == nil {
		sub := defaultSubnet(tx, sc, zone)
		if sub == nil {
			if v := defaultVpc(tx, sc); v != nil {
				return nil, apiError("MissingInput", "No subnets found for the default VPC '%s'. Please specify a subnet.", *v.VpcId)
			}
			return nil, apiError("VPCIdNotSpecified", "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.")
		}
		return sub, nil
	}
	sub, err := subnetKind.get(tx, sc, id)
	if err != nil {
		return nil, err
	}
	if zone != "" && deref(sub.AvailabilityZone) != zone {
		return nil, errInvalid("The specified subnet %s is not in the availability zone %s", *id, zone)
	}
	return sub, nil
}

func (la *launch) checkInterfaces() error {
	first := la.nics[0]
	if first.device != 0 || first.card != 0 {
		return errInvalid("The primary network interface must have device index 0.")
	}
	if len(la.nics) > la.typ.ENIs {
		return apiError("AttachmentLimitExceeded", "Interface count %d exceeds the limit for %s", len(la.nics), la.typ.Name)
	}
	la.subnet = first.subnet
	many := *la.in.MaxCount > 1
	for i, n := range la.nics {
		if i > 0 && n.card == la.nics[i-1].card && n.device == la.nics[i-1].device {
			return errInvalid("Each network interface requires a unique device index.")
		}
		if deref(n.subnet.AvailabilityZone) != deref(first.subnet.AvailabilityZone) {
			return errInvalid("All network interfaces of an instance must be in the same availability zone.")
		}
		if many && (n.present != "" || n.want.primaryIP != "" || len(n.want.secondary)+len(n.want.prefixes)+len(n.want.v6.addresses)+len(n.want.v6.prefixes) > 0) {
			return errCombination("A particular network interface or address cannot be given to more than one instance")
		}
		if n.present == "" && (1+n.want.slots() > la.typ.IPv4PerENI || n.want.v6.slots() > la.typ.IPv6PerENI) {
			return apiError("InvalidInterface.IpAddressLimitExceeded", "Number of private addresses will exceed limit.")
		}
	}
	return nil
}

// makeInterfaces creates or attaches the interfaces of one instance. Nothing is
// written before all of them have their addresses: a launch that ends because a
// subnet is full keeps the instances before this one.
func (s *Service) makeInterfaces(l *ledger, la *launch, inst *Instance, requester string) error {
	enis := make([]*NetworkInterface, len(la.nics))
	for i, n := range la.nics {
		if n.present != "" {
			enis[i] = NetworkInterfaces.Edit(l.tx, l.sc, n.present)
			continue
		}
		eni, err := l.newInterface(n.subnet, n.want)
		if err != nil {
			return err
		}
		enis[i] = eni
	}
	for i, n := range la.nics {
		eni := enis[i]
		if n.present == "" {
			la.finishInterface(l, eni, n, requester)
		}
		// Interfaces made at launch go with the instance unless told otherwise.
		keep := n.present != "" && n.spec.DeleteOnTermination == nil
		s.attach(l.sc, inst, eni, n.device, n.card, !keep && (n.spec.DeleteOnTermination == nil || *n.spec.DeleteOnTermination))
		NetworkInterfaces.Put(l.tx, l.sc, *eni.NetworkInterfaceId, eni)
	}
	first := enis[0]
	inst.PrivateIpAddress, inst.SecurityGroups, inst.SourceDestCheck = first.PrivateIpAddress, first.Groups, first.SourceDestCheck
	inst.PrivateDnsName = aws.String("")
	if first.PrivateIpAddress != nil {
		inst.PrivateDnsName = aws.String(privateName(l.sc.Region, *first.PrivateIpAddress))
	}
	if len(first.Ipv6Addresses) > 0 {
		inst.Ipv6Address = first.Ipv6Addresses[0].Ipv6Address
	}
	return nil
}

func (la *launch) finishInterface(l *ledger, eni *NetworkInterface, n nic, requester string) {
	eni.Groups, eni.TagSet, eni.Description = n.groups, la.eniTags, aws.String(deref(n.spec.Description))
	eni.RequesterId, eni.RequesterManaged = &requester, aws.Bool(false)
	if t := deref(n.spec.InterfaceType); t != "" {
		eni.InterfaceType = types.NetworkInterfaceType(t)
	}
	if n.public && len(eni.PrivateIpAddresses) > 0 {
		ip := takePublicIP(l.tx, l.sc, *eni.NetworkInterfaceId)
		eni.PrivateIpAddresses[0].Association = &types.NetworkInterfaceAssociation{PublicIp: &ip, IpOwnerId: aws.String("amazon")}
	}
}
