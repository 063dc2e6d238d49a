package ec2

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// publicBlock is where public addresses come from: the block that RFC 2544 sets
// aside for benchmarks. AWS's own ranges were rejected: a tool that connects to
// one would reach somebody else's machine.
var publicBlock = netip.MustParsePrefix("198.18.0.0/15")

// takePublicIP reserves a public address. Random choice keeps transactions from
// conflicting.
func takePublicIP(tx *store.Tx, sc awsid.Scope, holder string) string {
	base := publicBlock.Addr().As4()
	for {
		var b [4]byte
		if _, err := rand.Read(b[:]); err != nil {
			panic(err) // crypto/rand does not fail on supported systems
		}
		n := binary.BigEndian.Uint32(b[:]) & (1<<(32-15) - 1)
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(base[:])|n)
		ip := netip.AddrFrom4(a).String()
		if n == 0 || publicIPs.Get(tx, sc, ip) != nil {
			continue
		}
		publicIPs.Put(tx, sc, ip, &publicIP{Holder: holder})
		return ip
	}
}

// AllocateAddress allocates an Elastic IP address.
func (s *Service) AllocateAddress(ctx context.Context, in *ec2.AllocateAddressInput, _ ...func(*ec2.Options)) (*ec2.AllocateAddressOutput, error) {
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeElasticIp)
	if err != nil {
		return nil, err
	}
	if in.Domain != "" && in.Domain != types.DomainTypeVpc {
		return nil, errInvalidValue(in.Domain, "domain")
	}
	var a *Address
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		if err := checkQuota(s, tx, sc, Addresses, "elastic-ips-per-region", "AddressLimitExceeded", "addresses"); err != nil {
			return err
		}
		id := awsid.NewID("eipalloc")
		ip := takePublicIP(tx, sc, id)
		a = &Address{types.Address{
			AllocationId: &id, PublicIp: &ip, Domain: types.DomainTypeVpc, PublicIpv4Pool: aws.String("amazon"),
			NetworkBorderGroup: aws.String(sc.Region), Tags: tags,
		}}
		Addresses.Put(tx, sc, id, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AllocateAddressOutput{
		AllocationId: a.AllocationId, PublicIp: a.PublicIp, Domain: a.Domain, PublicIpv4Pool: a.PublicIpv4Pool, NetworkBorderGroup: a.NetworkBorderGroup,
	}, nil
}

// addressOf finds an address by allocation or public IP.
func addressOf(tx *store.Tx, sc awsid.Scope, allocation, ip *string) (*Address, error) {
	if allocation == nil && ip != nil {
		if p := publicIPs.Get(tx, sc, *ip); p != nil {
			if a := Addresses.Edit(tx, sc, p.Holder); a != nil {
				return a, nil
			}
		}
		return nil, apiError("InvalidAddress.NotFound", "Address '%s' not found.", *ip)
	}
	return addressKind.edit(tx, sc, allocation)
}

// ReleaseAddress gives an Elastic IP address back.
func (s *Service) ReleaseAddress(ctx context.Context, in *ec2.ReleaseAddressInput, _ ...func(*ec2.Options)) (*ec2.ReleaseAddressOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		a, err := addressOf(tx, sc, in.AllocationId, in.PublicIp)
		if err != nil {
			return err
		}
		if a.AssociationId != nil {
			return apiError("InvalidIPAddress.InUse", "Address %s is in use.", *a.PublicIp)
		}
		publicIPs.Delete(tx, sc, *a.PublicIp)
		Addresses.Delete(tx, sc, *a.AllocationId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ReleaseAddressOutput{}, nil
}

// AssociateAddress puts an Elastic IP address on an interface's private address.
func (s *Service) AssociateAddress(ctx context.Context, in *ec2.AssociateAddressInput, _ ...func(*ec2.Options)) (*ec2.AssociateAddressOutput, error) {
	var id *string
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		a, err := addressOf(tx, sc, in.AllocationId, in.PublicIp)
		if err != nil {
			return err
		}
		eniID := in.NetworkInterfaceId
		if eniID == nil {
			if in.InstanceId == nil {
				return apiError("MissingParameter", "Either instance ID or network interface id must be specified")
			}
			inst, err := instanceKind.get(tx, sc, in.InstanceId)
			if err != nil {
				return err
			}
			if len(inst.Interfaces) == 0 {
				return apiError("IncorrectInstanceState", "The pending-instance-creation instance to which '%s' is attached is not in a valid state for this operation", *inst.InstanceId)
			}
			eniID = &inst.Interfaces[0]
		}
		if a.AssociationId != nil {
			if deref(a.NetworkInterfaceId) == *eniID {
				id = a.AssociationId
				return nil
			}
			if in.AllowReassociation != nil && !*in.AllowReassociation {
				return apiError("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", *a.AllocationId, *a.AssociationId)
			}
			takeOff(tx, sc, a)
		}
		eni, err := networkInterfaceKind.edit(tx, sc, eniID)
		if err != nil {
			return err
		}
		if !hasInternetGateway(tx, sc, *eni.VpcId) {
			return apiError("Gateway.NotAttached", "Network %s is not attached to any internet gateway", *eni.VpcId)
		}
		if err := putOn(tx, sc, a, eni, in.PrivateIpAddress); err != nil {
			return err
		}
		id = a.AssociationId
		Addresses.Put(tx, sc, *a.AllocationId, a)
		NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AssociateAddressOutput{AssociationId: id}, nil
}

func hasInternetGateway(tx *store.Tx, sc awsid.Scope, vpc string) bool {
	return slices.ContainsFunc(InternetGateways.List(tx, sc), func(g *InternetGateway) bool { return attachedTo(&g.InternetGateway, vpc) })
}

// putOn connects an address and an interface's private address, the primary one
// by default.
func putOn(tx *store.Tx, sc awsid.Scope, a *Address, eni *NetworkInterface, private *string) error {
	i := 0
	if private != nil {
		i = slices.IndexFunc(eni.PrivateIpAddresses, func(p types.NetworkInterfacePrivateIpAddress) bool { return deref(p.PrivateIpAddress) == *private })
		if i < 0 {
			return errInvalid("Network interface '%s' does not have the private IP address '%s'", *eni.NetworkInterfaceId, *private)
		}
	}
	if len(eni.PrivateIpAddresses) == 0 {
		return errInvalid("Network interface '%s' does not have a private IPv4 address", *eni.NetworkInterfaceId)
	}
	dropAssociation(tx, sc, eni, i)
	p := &eni.PrivateIpAddresses[i]
	a.AssociationId = aws.String(awsid.NewID("eipassoc"))
	a.NetworkInterfaceId, a.NetworkInterfaceOwnerId, a.PrivateIpAddress = eni.NetworkInterfaceId, eni.OwnerId, p.PrivateIpAddress
	if eni.Attachment != nil {
		a.InstanceId = eni.Attachment.InstanceId
	}
	p.Association = &types.NetworkInterfaceAssociation{
		AllocationId: a.AllocationId, AssociationId: a.AssociationId, PublicIp: a.PublicIp, IpOwnerId: aws.String(sc.Account),
	}
	return nil
}

// dropAssociation takes whatever public address the interface's i-th private one
// has off it; the caller puts the interface.
func dropAssociation(tx *store.Tx, sc awsid.Scope, eni *NetworkInterface, i int) {
	assoc := eni.PrivateIpAddresses[i].Association
	if assoc == nil {
		return
	}
	eni.PrivateIpAddresses[i].Association = nil
	if assoc.AllocationId == nil { // given at launch, gone with its use
		publicIPs.Delete(tx, sc, deref(assoc.PublicIp))
		return
	}
	if a := Addresses.Edit(tx, sc, *assoc.AllocationId); a != nil {
		clearAssociation(a)
		Addresses.Put(tx, sc, *a.AllocationId, a)
	}
}

func clearAssociation(a *Address) {
	a.AssociationId, a.NetworkInterfaceId, a.NetworkInterfaceOwnerId, a.PrivateIpAddress, a.InstanceId = nil, nil, nil, nil, nil
}

// takeOff disconnects an address from the interface it is on.
func takeOff(tx *store.Tx, sc awsid.Scope, a *Address) {
	if eni := NetworkInterfaces.Edit(tx, sc, deref(a.NetworkInterfaceId)); eni != nil {
		for i := range eni.PrivateIpAddresses {
			if x := eni.PrivateIpAddresses[i].Association; x != nil && deref(x.AllocationId) == *a.AllocationId {
				eni.PrivateIpAddresses[i].Association = nil
			}
		}
		NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
	}
	clearAssociation(a)
}

// DisassociateAddress takes an Elastic IP address off its interface.
func (s *Service) DisassociateAddress(ctx context.Context, in *ec2.DisassociateAddressInput, _ ...func(*ec2.Options)) (*ec2.DisassociateAddressOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		var a *Address
		if in.AssociationId == nil {
			if in.PublicIp == nil {
				return errMissing("associationId")
			}
			found, err := addressOf(tx, sc, nil, in.PublicIp)
			if err != nil {
				return err
			}
			a = found
		} else {
			i := slices.IndexFunc(Addresses.List(tx, sc), func(a *Address) bool { return deref(a.AssociationId) == *in.AssociationId })
			if i < 0 {
				return apiError("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", *in.AssociationId)
			}
			a = Addresses.Edit(tx, sc, *Addresses.List(tx, sc)[i].AllocationId)
		}
		if eni := NetworkInterfaces.Get(tx, sc, deref(a.NetworkInterfaceId)); eni != nil && eni.InterfaceType == natInterface {
			return apiError("AuthFailure", "You do not have permission to access the specified resource.")
		}
		takeOff(tx, sc, a)
		Addresses.Put(tx, sc, *a.AllocationId, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DisassociateAddressOutput{}, nil
}

// DescribeAddresses lists Elastic IP addresses.
func (s *Service) DescribeAddresses(ctx context.Context, in *ec2.DescribeAddressesInput, _ ...func(*ec2.Options)) (*ec2.DescribeAddressesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	filters := slices.Clone(in.Filters)
	for _, ip := range in.PublicIps {
		p := publicIPs.Get(s.store, sc, ip)
		if p == nil || Addresses.Get(s.store, sc, p.Holder) == nil {
			return nil, apiError("InvalidAddress.NotFound", "Address '%s' not found.", ip)
		}
	}
	if len(in.PublicIps) > 0 {
		filters = append(filters, types.Filter{Name: aws.String("public-ip"), Values: in.PublicIps})
	}
	page, _, err := addressLister.run(s.store, sc, query{ids: in.AllocationIds, filters: filters})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeAddressesOutput{Addresses: page}, nil
}

// DescribeAddressesAttribute lists the domain names of addresses: none has one.
func (s *Service) DescribeAddressesAttribute(ctx context.Context, in *ec2.DescribeAddressesAttributeInput, _ ...func(*ec2.Options)) (*ec2.DescribeAddressesAttributeOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := addressLister.run(s.store, sc, query{ids: in.AllocationIds, max: in.MaxResults, token: in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeAddressesAttributeOutput{Addresses: []types.AddressAttribute{}, NextToken: next}
	for _, a := range page {
		out.Addresses = append(out.Addresses, types.AddressAttribute{AllocationId: a.AllocationId, PublicIp: a.PublicIp})
	}
	return out, nil
}

var addressLister = &lister[Address, types.Address]{
	kind: addressKind,
	view: func(_ store.Reader, _ awsid.Scope, r *Address) types.Address { return r.Address },
	id:   func(v *types.Address) string { return deref(v.AllocationId) },
	tags: func(v *types.Address) []types.Tag { return v.Tags },
	filters: fields[types.Address]{
		"allocation-id":              func(v *types.Address) []string { return one(v.AllocationId) },
		"association-id":             func(v *types.Address) []string { return one(v.AssociationId) },
		"domain":                     func(v *types.Address) []string { return text(v.Domain) },
		"instance-id":                func(v *types.Address) []string { return one(v.InstanceId) },
		"network-border-group":       func(v *types.Address) []string { return one(v.NetworkBorderGroup) },
		"network-interface-id":       func(v *types.Address) []string { return one(v.NetworkInterfaceId) },
		"network-interface-owner-id": func(v *types.Address) []string { return one(v.NetworkInterfaceOwnerId) },
		"private-ip-address":         func(v *types.Address) []string { return one(v.PrivateIpAddress) },
		"public-ip":                  func(v *types.Address) []string { return one(v.PublicIp) },
	},
}
