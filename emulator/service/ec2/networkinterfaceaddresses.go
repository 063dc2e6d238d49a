package ec2

import (
	"context"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// AssignPrivateIpAddresses gives an interface secondary addresses or prefixes.
func (s *Service) AssignPrivateIpAddresses(ctx context.Context, in *ec2.AssignPrivateIpAddressesInput, _ ...func(*ec2.Options)) (*ec2.AssignPrivateIpAddressesOutput, error) {
	w := wish{
		secondary: in.PrivateIpAddresses, count: int(aws.ToInt32(in.SecondaryPrivateIpAddressCount)),
		prefixes: in.Ipv4Prefixes, prefixCount: int(aws.ToInt32(in.Ipv4PrefixCount)),
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	if w.slots() == 0 {
		return nil, errMissing("secondaryPrivateIpAddressCount")
	}
	out := &ec2.AssignPrivateIpAddressesOutput{NetworkInterfaceId: in.NetworkInterfaceId}
	err := s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		out.AssignedPrivateIpAddresses, out.AssignedIpv4Prefixes = nil, nil
		eni, err := networkInterfaceKind.edit(tx, sc, in.NetworkInterfaceId)
		if err != nil {
			return err
		}
		if err := checkOwn(ctx, eni); err != nil {
			return err
		}
		if err := checkAddressLimit(tx, sc, eni, w.slots()); err != nil {
			return err
		}
		l := newLedger(tx, sc)
		if aws.ToBool(in.AllowReassignment) {
			if err := l.reassign(eni, w.secondary); err != nil {
				return err
			}
		}
		got, err := take(l.pool(*eni.SubnetId), w)
		if err != nil {
			return err
		}
		l.flush()
		eni.add(got)
		NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
		for _, a := range got.secondary {
			out.AssignedPrivateIpAddresses = append(out.AssignedPrivateIpAddresses, types.AssignedPrivateIpAddress{PrivateIpAddress: aws.String(a.String())})
		}
		for _, p := range got.prefixes {
			out.AssignedIpv4Prefixes = append(out.AssignedIpv4Prefixes, types.Ipv4PrefixSpecification{Ipv4Prefix: aws.String(p.String())})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkOwn keeps users' hands off the addresses of interfaces that an AWS service
// holds: a NAT gateway's are changed by its own operations.
func checkOwn(ctx context.Context, eni *NetworkInterface) error {
	if foreign(eni) && !fromService(ctx) {
		return apiError("AuthFailure", "You do not have permission to access the specified resource.")
	}
	return nil
}

// checkAddressLimit refuses more addresses than the type of the instance that the
// interface is attached to carries. A free interface has no limit until then.
func checkAddressLimit(tx *store.Tx, sc awsid.Scope, eni *NetworkInterface, more int) error {
	if eni.Attachment == nil || eni.Attachment.InstanceId == nil {
		return nil
	}
	inst := Instances.Get(tx, sc, *eni.Attachment.InstanceId)
	if inst == nil {
		return nil
	}
	return checkAddressCount(string(inst.InstanceType), len(eni.PrivateIpAddresses)+len(eni.Ipv4Prefixes)+more)
}

// checkAddressesFit is checkAddressLimit for an interface that is to be attached.
func checkAddressesFit(t *instancetypes.Type, eni *NetworkInterface) error {
	if err := checkAddressCount(t.Name, len(eni.PrivateIpAddresses)+len(eni.Ipv4Prefixes)); err != nil {
		return err
	}
	return checkAddressCount6(t, len(eni.Ipv6Addresses)+len(eni.Ipv6Prefixes))
}

func checkAddressCount(instanceType string, n int) error {
	if t, ok := instancetypes.Lookup(instanceType); ok && n > t.IPv4PerENI {
		return apiError("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
	}
	return nil
}

// reassign takes the addresses away from the other interfaces of the subnet that
// hold them as secondary ones.
func (l *ledger) reassign(eni *NetworkInterface, ips []string) error {
	pool := l.pool(*eni.SubnetId).IPv4
	for _, s := range ips {
		ip, err := netip.ParseAddr(s)
		if err != nil || pool.IsFree(ip) || !pool.CIDR.Contains(ip) {
			continue // take says what is wrong
		}
		for _, other := range NetworkInterfaces.List(l.tx, l.sc) {
			if *other.NetworkInterfaceId == *eni.NetworkInterfaceId || deref(other.SubnetId) != *eni.SubnetId || foreign(other) || !holds(other, ip) || deref(other.PrivateIpAddress) == s {
				continue
			}
			mine := NetworkInterfaces.Edit(l.tx, l.sc, *other.NetworkInterfaceId)
			if err := l.unassign(mine, []string{s}, nil); err != nil {
				return err
			}
			NetworkInterfaces.Put(l.tx, l.sc, *mine.NetworkInterfaceId, mine)
		}
	}
	return nil
}

// unassign takes secondary addresses and prefixes from an interface.
func (l *ledger) unassign(eni *NetworkInterface, ips, prefixes []string) error {
	pool := l.pool(*eni.SubnetId).IPv4
	for _, s := range ips {
		i := slices.IndexFunc(eni.PrivateIpAddresses, func(a types.NetworkInterfacePrivateIpAddress) bool { return deref(a.PrivateIpAddress) == s })
		switch {
		case i == 0:
			return errInvalid("The primary private IP address %s of an interface cannot be unassigned", s)
		case i < 0:
			return errInvalid("Some of [%s] are not assigned to interface %s", s, *eni.NetworkInterfaceId)
		}
		dropAssociation(l.tx, l.sc, eni, i)
		pool.Release(netip.MustParseAddr(s))
		eni.PrivateIpAddresses = slices.Delete(eni.PrivateIpAddresses, i, i+1)
	}
	for _, s := range prefixes {
		i := slices.IndexFunc(eni.Ipv4Prefixes, func(p types.Ipv4PrefixSpecification) bool { return deref(p.Ipv4Prefix) == s })
		if i < 0 {
			return errInvalid("Some of [%s] are not assigned to interface %s", s, *eni.NetworkInterfaceId)
		}
		pool.ReleaseBlock(netip.MustParsePrefix(s))
		eni.Ipv4Prefixes = slices.Delete(eni.Ipv4Prefixes, i, i+1)
	}
	return nil
}

// UnassignPrivateIpAddresses takes secondary addresses or prefixes away.
func (s *Service) UnassignPrivateIpAddresses(ctx context.Context, in *ec2.UnassignPrivateIpAddressesInput, _ ...func(*ec2.Options)) (*ec2.UnassignPrivateIpAddressesOutput, error) {
	if len(in.PrivateIpAddresses) == 0 && len(in.Ipv4Prefixes) == 0 {
		return nil, errMissing("privateIpAddresses")
	}
	err := s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		eni, err := networkInterfaceKind.edit(tx, sc, in.NetworkInterfaceId)
		if err != nil {
			return err
		}
		if err := checkOwn(ctx, eni); err != nil {
			return err
		}
		l := newLedger(tx, sc)
		if err := l.unassign(eni, in.PrivateIpAddresses, in.Ipv4Prefixes); err != nil {
			return err
		}
		l.flush()
		NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.UnassignPrivateIpAddressesOutput{}, nil
}
