package ec2

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Owner is who holds an address.
type Owner string

// The owners. The first five are the addresses that AWS keeps of every subnet.
const (
	OwnerReservedNetwork   Owner = "reserved-network"
	OwnerReservedRouter    Owner = "reserved-router"
	OwnerReservedDNS       Owner = "reserved-dns"
	OwnerReservedFuture    Owner = "reserved-future"
	OwnerReservedBroadcast Owner = "reserved-broadcast"

	OwnerPrimary      Owner = "eni-primary"
	OwnerSecondary    Owner = "eni-secondary"
	OwnerPrefix       Owner = "prefix"
	OwnerBranch       Owner = "branch"
	OwnerControlPlane Owner = "control-plane"
	OwnerFargate      Owner = "fargate"
	OwnerNatGateway   Owner = "nat-gateway"
	OwnerLoadBalancer Owner = "load-balancer"
	OwnerEndpoint     Owner = "endpoint"

	// OwnerCidrReservation keeps a block from automatic choice. It holds none of
	// the addresses: they are free, or in other holdings.
	OwnerCidrReservation Owner = "cidr-reservation"
)

// Holding is an address or a block of a subnet that somebody holds.
type Holding struct {
	Address netip.Addr   // zero for a block
	Prefix  netip.Prefix // zero for an address
	Owner   Owner
	// InterfaceID and InstanceID are empty for what no interface holds, or no
	// instance. An interface without instance may be free. A branch interface's
	// instance is its trunk's.
	InterfaceID, InstanceID string
	// Description is the interface's or the CIDR reservation's own.
	Description string
}

// Count is how many addresses of its subnet the holding takes.
func (h Holding) Count() int {
	switch {
	case h.Owner == OwnerCidrReservation:
		return 0
	case h.Prefix.IsValid():
		return ipam.Size(h.Prefix)
	}
	return 1
}

// first is the holding's place in the order of addresses.
func (h Holding) first() netip.Addr {
	if h.Prefix.IsValid() {
		return h.Prefix.Addr()
	}
	return h.Address
}

// Holdings names who holds each IPv4 address of a subnet that is not free, in the
// order of addresses: the subnet's addresses less the holdings' Counts are its
// AvailableIpAddressCount. It is nil for a subnet that is not there or has no IPv4.
func (s *Service) Holdings(r store.Reader, sc awsid.Scope, subnetID string) []Holding {
	pool := SubnetAddresses.Get(r, sc, subnetID)
	if pool == nil || pool.IPv4 == nil {
		return nil
	}
	out := reservedHoldings(pool.IPv4.CIDR)
	for _, eni := range NetworkInterfaces.List(r, sc) {
		if deref(eni.SubnetId) == subnetID {
			out = append(out, interfaceHoldings(r, sc, eni)...)
		}
	}
	for id, res := range pool.Reserved {
		if res.CIDR.Addr().Is4() {
			h := Holding{Prefix: res.CIDR, Owner: OwnerCidrReservation}
			if rec := SubnetCidrReservations.Get(r, sc, id); rec != nil {
				h.Description = deref(rec.Description)
			}
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b Holding) int {
		return cmp.Or(a.first().Compare(b.first()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return out
}

func reservedHoldings(cidr netip.Prefix) []Holding {
	var out []Holding
	a := cidr.Addr()
	for _, o := range []Owner{OwnerReservedNetwork, OwnerReservedRouter, OwnerReservedDNS, OwnerReservedFuture} {
		out = append(out, Holding{Address: a, Owner: o})
		a = a.Next()
	}
	return append(out, Holding{Address: ipam.Last(cidr), Owner: OwnerReservedBroadcast})
}

func interfaceHoldings(r store.Reader, sc awsid.Scope, eni *NetworkInterface) []Holding {
	base := Holding{Owner: ownerOf(eni), InterfaceID: deref(eni.NetworkInterfaceId), Description: deref(eni.Description)}
	on := eni
	if trunk := trunkOf(r, sc, eni); trunk != nil {
		on = trunk
	}
	if on.Attachment != nil {
		base.InstanceID = deref(on.Attachment.InstanceId)
	}
	var out []Holding
	for _, a := range eni.PrivateIpAddresses {
		h := base
		h.Address, _ = netip.ParseAddr(deref(a.PrivateIpAddress))
		if h.Owner == OwnerPrimary && !aws.ToBool(a.Primary) {
			h.Owner = OwnerSecondary
		}
		out = append(out, h)
	}
	for _, p := range eni.Ipv4Prefixes {
		h := base
		h.Prefix, _ = netip.ParsePrefix(deref(p.Ipv4Prefix))
		h.Owner = OwnerPrefix
		out = append(out, h)
	}
	return out
}

// ownerOf tells what an interface is for, as far as its addresses go: OwnerPrimary
// for one of the account's own.
func ownerOf(eni *NetworkInterface) Owner {
	switch eni.InterfaceType {
	case natInterface, types.NetworkInterfaceTypeNatGateway:
		return OwnerNatGateway
	case endpointInterface, types.NetworkInterfaceTypeGatewayLoadBalancerEndpoint:
		return OwnerEndpoint
	case types.NetworkInterfaceTypeLoadBalancer, types.NetworkInterfaceTypeNetworkLoadBalancer, types.NetworkInterfaceTypeGatewayLoadBalancer:
		return OwnerLoadBalancer
	case types.NetworkInterfaceTypeBranch:
		return OwnerBranch
	}
	if foreign(eni) {
		switch deref(eni.Attachment.InstanceOwnerId) {
		case serviceOwners["eks"].account:
			return OwnerControlPlane
		case serviceOwners["eks-fargate"].account:
			return OwnerFargate
		case serviceOwners["elasticloadbalancing"].account:
			return OwnerLoadBalancer
		}
	}
	return OwnerPrimary
}

// FreeRun is a run of neighbouring free /28 blocks of a subnet.
type FreeRun struct {
	First  netip.Prefix
	Blocks int
	// Reservation is the type of the CIDR reservation that the run is in, "" outside:
	// automatic choice takes prefixes from one of type prefix first and from one of
	// type explicit never.
	Reservation types.SubnetCidrReservationType
}

// FreeRuns returns a subnet's free aligned /28 blocks in the order of addresses,
// neighbours joined; a CIDR reservation's edge parts them.
func (s *Service) FreeRuns(r store.Reader, sc awsid.Scope, subnetID string) []FreeRun {
	pool := SubnetAddresses.Get(r, sc, subnetID)
	if pool == nil || pool.IPv4 == nil {
		return nil
	}
	var out []FreeRun
	add := func(p *ipam.Pool, typ types.SubnetCidrReservationType) {
		for _, run := range p.FreeRuns(prefixBits) {
			out = append(out, FreeRun{run.First, run.Blocks, typ})
		}
	}
	add(pool.unreserved(pool.IPv4), "")
	for _, res := range pool.Reserved {
		if !res.CIDR.Addr().Is4() {
			continue
		}
		typ := types.SubnetCidrReservationTypeExplicit
		if res.Prefixes {
			typ = types.SubnetCidrReservationTypePrefix
		}
		add(pool.IPv4.Within(res.CIDR), typ)
	}
	slices.SortFunc(out, func(a, b FreeRun) int { return a.First.Addr().Compare(b.First.Addr()) })
	return out
}
