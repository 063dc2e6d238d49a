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

// AssignIpv6Addresses gives an interface IPv6 addresses or prefixes.
func (s *Service) AssignIpv6Addresses(ctx context.Context, in *ec2.AssignIpv6AddressesInput, _ ...func(*ec2.Options)) (*ec2.AssignIpv6AddressesOutput, error) {
	w := wish6{
		addresses: in.Ipv6Addresses, count: int(aws.ToInt32(in.Ipv6AddressCount)),
		prefixes: in.Ipv6Prefixes, prefixCount: int(aws.ToInt32(in.Ipv6PrefixCount)),
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	out := &ec2.AssignIpv6AddressesOutput{NetworkInterfaceId: in.NetworkInterfaceId}
	err := s.write(ctx, nil, func(tx *store.Tx, sc awsid.Scope) error {
		out.AssignedIpv6Addresses, out.AssignedIpv6Prefixes = nil, nil
		eni, err := networkInterfaceKind.edit(tx, sc, in.NetworkInterfaceId)
		if err != nil {
			return err
		}
		if w.empty() {
			return apiError("MissingParameter", "Either ipv6Addresses, ipv6AddressCount, ipv6Prefixes or ipv6PrefixCount should be specified.")
		}
		if err := checkOwn(ctx, eni); err != nil {
			return err
		}
		if err := checkAddressLimit6(tx, sc, eni, w.slots()); err != nil {
			return err
		}
		l := newLedger(tx, sc)
		got, err := l.pool(*eni.SubnetId).take6(w)
		if err != nil {
			return err
		}
		l.flush()
		eni.add(grant{v6: got})
		NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
		for _, a := range got.addresses {
			out.AssignedIpv6Addresses = append(out.AssignedIpv6Addresses, a.String())
		}
		for _, p := range got.prefixes {
			out.AssignedIpv6Prefixes = append(out.AssignedIpv6Prefixes, p.String())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkAddressLimit6(tx *store.Tx, sc awsid.Scope, eni *NetworkInterface, more int) error {
	if eni.Attachment == nil || eni.Attachment.InstanceId == nil {
		return nil
	}
	inst := Instances.Get(tx, sc, *eni.Attachment.InstanceId)
	if inst == nil {
		return nil
	}
	t, ok := instancetypes.Lookup(string(inst.InstanceType))
	if !ok {
		return nil
	}
	return checkAddressCount6(t, len(eni.Ipv6Addresses)+len(eni.Ipv6Prefixes)+more)
}

func checkAddressCount6(t *instancetypes.Type, n int) error {
	if n > t.IPv6PerENI {
		return apiError("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
	}
	return nil
}

// UnassignIpv6Addresses takes IPv6 addresses or prefixes away.
func (s *Service) UnassignIpv6Addresses(ctx context.Context, in *ec2.UnassignIpv6AddressesInput, _ ...func(*ec2.Options)) (*ec2.UnassignIpv6AddressesOutput, error) {
	if len(in.Ipv6Addresses) == 0 && len(in.Ipv6Prefixes) == 0 {
		return nil, errMissing("ipv6Addresses")
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
		if err := l.unassign6(eni, in.Ipv6Addresses, in.Ipv6Prefixes); err != nil {
			return err
		}
		l.flush()
		NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.UnassignIpv6AddressesOutput{
		NetworkInterfaceId: in.NetworkInterfaceId, UnassignedIpv6Addresses: in.Ipv6Addresses, UnassignedIpv6Prefixes: in.Ipv6Prefixes,
	}, nil
}

func (l *ledger) unassign6(eni *NetworkInterface, ips, prefixes []string) error {
	pool := l.pool(*eni.SubnetId).IPv6
	for _, s := range ips {
		want, err := netip.ParseAddr(s)
		if err != nil {
			return errInvalid("Value (%s) for parameter ipv6Addresses is invalid. This is not a valid IPv6 address.", s)
		}
		i := slices.IndexFunc(eni.Ipv6Addresses, func(a types.NetworkInterfaceIpv6Address) bool { return deref(a.Ipv6Address) == want.String() })
		switch {
		case i < 0:
			return errInvalid("Some of the specified addresses [%s] are not assigned to interface %s", s, *eni.NetworkInterfaceId)
		case aws.ToBool(eni.Ipv6Addresses[i].IsPrimaryIpv6):
			return errInvalid("The primary IPv6 address %s of an interface cannot be unassigned", s)
		}
		pool.Release(want)
		eni.Ipv6Addresses = slices.Delete(eni.Ipv6Addresses, i, i+1)
	}
	for _, s := range prefixes {
		i := slices.IndexFunc(eni.Ipv6Prefixes, func(p types.Ipv6PrefixSpecification) bool { return deref(p.Ipv6Prefix) == s })
		if i < 0 {
			return errInvalid("Some of the specified prefixes [%s] are not assigned to interface %s", s, *eni.NetworkInterfaceId)
		}
		pool.ReleaseBlock(netip.MustParsePrefix(s))
		eni.Ipv6Prefixes = slices.Delete(eni.Ipv6Prefixes, i, i+1)
	}
	if len(eni.Ipv6Addresses) == 0 {
		eni.Ipv6Addresses = nil
	}
	return nil
}
