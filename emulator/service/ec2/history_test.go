package ec2

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// TestHistories runs random histories of everything that takes and gives back
// addresses, sensible or not, and holds the ledger to its promises after each call:
// no address has two owners, AvailableIpAddressCount is what nobody holds, a
// refused call changes nothing. In the end everything is deleted, and everything
// is free.
func TestHistories(t *testing.T) {
	seeds, calls := uint64(16), 200
	if testing.Short() {
		seeds = 4
	}
	done, refused := map[string]int{}, map[string]int{}
	for seed := range seeds {
		h := newHistory(t, seed)
		for n := range calls {
			name, err := h.step()
			if done[name]++; errors.Is(err, errNothing) {
				done[name]--
			} else if err != nil {
				refused[name]++
			}
			if t.Failed() {
				t.Fatalf("seed %d, call %d: %s: %v", seed, n, name, err)
			}
		}
		h.tearDown()
		if t.Failed() {
			t.Fatalf("seed %d: at the end", seed)
		}
	}
	if testing.Short() {
		return
	}
	for _, c := range historyCalls {
		if ok := done[c.name] - refused[c.name]; ok < 5 || c.fails && refused[c.name] < 5 {
			t.Errorf("%s was called %d times and refused %d times: the histories do not try it", c.name, done[c.name], refused[c.name])
		}
	}
}

// history is a VPC and a source of chance.
type history struct {
	*fixture
	rnd *rand.Rand
	vpc string
}

func newHistory(t *testing.T, seed uint64) *history {
	f := newFixture(t)
	h := &history{fixture: f, rnd: rand.New(rand.NewPCG(seed, 4))}
	f.quotas = map[string]int{"nat-gateways-per-zone": 100, "addresses-per-nat-gateway": 3, "security-groups-per-interface": 5, "subnets-per-vpc": 12, "ipv4-cidrs-per-vpc": 4, "interface-endpoints-per-vpc": 50}
	v := must(f.CreateVpc(f.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.7.0.0/24"), AmazonProvidedIpv6CidrBlock: aws.Bool(true)}))(t).Vpc
	h.vpc = *v.VpcId
	six := netip.PrefixFrom(netip.MustParsePrefix(*Vpcs.Get(f.store, f.sc, h.vpc).Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlock).Addr(), 64).String()
	must(f.CreateSubnet(f.ctx, &ec2.CreateSubnetInput{VpcId: &h.vpc, CidrBlock: aws.String("10.7.0.0/26"), Ipv6CidrBlock: &six, AvailabilityZone: aws.String("us-east-1a")}))(t)
	f.subnet(h.vpc, "10.7.0.64/27", "us-east-1a")
	f.subnet(h.vpc, "10.7.0.96/28", "us-east-1b")
	return h
}

// step makes one call and checks what it did.
func (h *history) step() (string, error) {
	c := historyCalls[h.rnd.IntN(len(historyCalls))]
	before := h.state()
	err := c.do(h)
	if err != nil && !slices.Equal(before, h.state()) {
		h.t.Errorf("%s was refused with %v and changed something", c.name, err)
	}
	h.checkPromises()
	return c.name, err
}

// state is everything that the calls may change: records that nobody writes stay
// where they are in memory.
func (h *history) state() []any {
	var out []any
	out = records(h, out, Vpcs)
	out = records(h, out, Subnets)
	out = records(h, out, SubnetAddresses)
	out = records(h, out, SubnetCidrReservations)
	out = records(h, out, NetworkInterfaces)
	out = records(h, out, Instances)
	out = records(h, out, NatGateways)
	out = records(h, out, VpcEndpoints)
	out = records(h, out, TrunkAssociations)
	return records(h, out, RouteTables)
}

func records[T any](h *history, out []any, table store.Table[T]) []any {
	for _, r := range table.List(h.store, h.sc) {
		out = append(out, r)
	}
	return out
}

// checkPromises looks only at what clients see, and at the inventory.
func (h *history) checkPromises() {
	h.t.Helper()
	h.checkLedger()
	owner := map[string]map[netip.Addr]string{} // by subnet
	enis := must(h.DescribeNetworkInterfaces(h.ctx, &ec2.DescribeNetworkInterfacesInput{}))(h.t).NetworkInterfaces
	for _, eni := range enis {
		if owner[*eni.SubnetId] == nil {
			owner[*eni.SubnetId] = map[netip.Addr]string{}
		}
		for _, a := range addressesOf(eni) {
			if other := owner[*eni.SubnetId][a]; other != "" {
				h.t.Errorf("%s is held by %s and %s", a, other, *eni.NetworkInterfaceId)
			}
			owner[*eni.SubnetId][a] = *eni.NetworkInterfaceId
		}
	}
	for _, sub := range must(h.DescribeSubnets(h.ctx, &ec2.DescribeSubnetsInput{}))(h.t).Subnets {
		cidr := netip.MustParsePrefix(*sub.CidrBlock)
		held := owner[*sub.SubnetId]
		if want := ipam.Size(cidr) - 5 - len(held); int(*sub.AvailableIpAddressCount) != want {
			h.t.Errorf("%s has %d addresses available, and %d that nobody holds", *sub.SubnetId, *sub.AvailableIpAddressCount, want)
		}
		h.checkInventory(*sub.SubnetId, cidr, held)
	}
}

// checkInventory compares Holdings with what DescribeNetworkInterfaces says.
func (h *history) checkInventory(subnet string, cidr netip.Prefix, held map[netip.Addr]string) {
	h.t.Helper()
	reserved, seen := 0, map[netip.Addr]bool{}
	for _, x := range h.Holdings(h.store, h.sc, subnet) {
		if x.Count() == 0 {
			continue
		}
		block := x.Prefix
		if !block.IsValid() {
			block = netip.PrefixFrom(x.Address, 32)
		}
		for a := block.Addr(); block.Contains(a); a = a.Next() {
			if seen[a] || !cidr.Contains(a) || held[a] != x.InterfaceID {
				h.t.Errorf("%s: holding %+v, but %s is held by %q", subnet, x, a, held[a])
			}
			seen[a] = true
		}
		if x.InterfaceID == "" {
			reserved += x.Count()
		}
	}
	if reserved != 5 || len(seen) != len(held)+5 {
		h.t.Errorf("%s: %d reserved, %d addresses in holdings, %d held by interfaces", subnet, reserved, len(seen), len(held))
	}
}

func addressesOf(eni types.NetworkInterface) []netip.Addr {
	var out []netip.Addr
	for _, a := range eni.PrivateIpAddresses {
		out = append(out, netip.MustParseAddr(*a.PrivateIpAddress))
	}
	for _, p := range eni.Ipv4Prefixes {
		block := netip.MustParsePrefix(*p.Ipv4Prefix)
		for a := block.Addr(); block.Contains(a); a = a.Next() {
			out = append(out, a)
		}
	}
	return out
}

// tearDown deletes everything in the order in which AWS allows it.
func (h *history) tearDown() {
	t := h.t
	t.Helper()
	for _, i := range Instances.List(h.store, h.sc) {
		if i.State.Name != types.InstanceStateNameTerminated {
			must(h.TerminateInstances(h.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}}))(t)
		}
	}
	for _, n := range NatGateways.List(h.store, h.sc) {
		must(h.DeleteNatGateway(h.ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: n.NatGatewayId}))(t)
	}
	for _, e := range VpcEndpoints.List(h.store, h.sc) {
		must(h.DeleteVpcEndpoints(h.ctx, &ec2.DeleteVpcEndpointsInput{VpcEndpointIds: []string{*e.VpcEndpointId}}))(t)
	}
	h.settle()
	for _, eni := range NetworkInterfaces.List(h.store, h.sc) {
		ctx := h.ctx
		for service, owner := range serviceOwners {
			if foreign(eni) && *eni.Attachment.InstanceOwnerId == owner.account {
				ctx = h.as(service)
			}
		}
		must(h.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId}))(t)
	}
	for _, sub := range must(h.DescribeSubnets(h.ctx, &ec2.DescribeSubnetsInput{Filters: filter("vpc-id", h.vpc)}))(t).Subnets {
		if want := ipam.Size(netip.MustParsePrefix(*sub.CidrBlock)) - 5; int(*sub.AvailableIpAddressCount) != want {
			t.Errorf("%s has %d addresses available in the end, want %d", *sub.SubnetId, *sub.AvailableIpAddressCount, want)
		}
		must(h.DeleteSubnet(h.ctx, &ec2.DeleteSubnetInput{SubnetId: sub.SubnetId}))(t)
	}
	must(h.DeleteVpc(h.ctx, &ec2.DeleteVpcInput{VpcId: &h.vpc}))(t)
	left := len(SubnetCidrReservations.List(h.store, h.sc)) + len(TrunkAssociations.List(h.store, h.sc)) + len(NetworkInterfaces.List(h.store, h.sc))
	if pools := len(SubnetAddresses.List(h.store, h.sc)); left != 0 || pools != len(Subnets.List(h.store, h.sc)) {
		t.Errorf("%d records and %d pools are left", left, pools)
	}
}

// pick chooses a record, nil if there is none. Ids are random and addresses are not:
// a seed chooses the same each time.
func pick[T any](h *history, table store.Table[T], good func(*T) bool) *T {
	all := slices.DeleteFunc(table.List(h.store, h.sc), func(r *T) bool { return !good(r) })
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b *T) int { return cmp.Compare(h.place(a), h.place(b)) })
	return all[h.rnd.IntN(len(all))]
}

// place is where a record is among the addresses.
func (h *history) place(rec any) string {
	switch r := rec.(type) {
	case *Subnet:
		return *r.CidrBlock
	case *NetworkInterface:
		return *r.PrivateIpAddress
	case *Instance:
		return *r.PrivateIpAddress
	case *NatGateway:
		return *r.NatGatewayAddresses[0].PrivateIp
	case *VpcEndpoint:
		return h.place(NetworkInterfaces.Get(h.store, h.sc, r.NetworkInterfaceIds[0]))
	case *SubnetCidrReservation:
		return *r.Cidr
	case *TrunkAssociation:
		return h.place(NetworkInterfaces.Get(h.store, h.sc, *r.BranchInterfaceId))
	}
	h.t.Fatalf("no place for %T", rec)
	return ""
}

// chance is one in n.
func (h *history) chance(n int) bool { return h.rnd.IntN(n) == 0 }

func (h *history) count(most int) *int32 { return aws.Int32(int32(h.rnd.IntN(most + 1))) }

// subnetID is one of the VPC's subnets.
func (h *history) subnetID() *string {
	return pick(h, Subnets, func(s *Subnet) bool { return *s.VpcId == h.vpc }).SubnetId
}

// interfaceID is some interface's, at times nobody's.
func (h *history) interfaceID() *string {
	if eni := pick(h, NetworkInterfaces, func(*NetworkInterface) bool { return true }); eni != nil && !h.chance(20) {
		return eni.NetworkInterfaceId
	}
	return aws.String("eni-0123456789abcdef0")
}

// address is one of the VPC's block, at times of another.
func (h *history) address() string {
	if h.chance(10) {
		return []string{"10.9.0.7", "2001:db8::1", "10.7.0", ""}[h.rnd.IntN(4)]
	}
	return fmt.Sprintf("10.7.0.%d", h.rnd.IntN(128))
}

// block is one that a prefix or a reservation may have, or not quite.
func (h *history) block() string {
	bits := []int{28, 28, 28, 27, 29, 24}[h.rnd.IntN(6)]
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 7, 0, byte(h.rnd.IntN(128))}), bits).Masked().String()
}
