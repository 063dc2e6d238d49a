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
)

// natChange is one change of a NAT gateway's addresses.
type natChange struct {
	l   *ledger
	n   *NatGateway
	eni *NetworkInterface
}

// changeNat runs f on an available gateway and its interface and writes both.
func (s *Service) changeNat(ctx context.Context, dryRun *bool, id *string, want types.ConnectivityType, f func(c natChange) error) (*NatGateway, error) {
	var n *NatGateway
	err := s.write(ctx, dryRun, func(tx *store.Tx, sc awsid.Scope) error {
		var err error
		if n, err = natGatewayKind.edit(tx, sc, id); err != nil {
			return err
		}
		if n.ConnectivityType != want {
			return errInvalid("The NAT gateway %s is %s, not %s", *id, n.ConnectivityType, want)
		}
		if n.State != types.NatGatewayStateAvailable {
			return apiError("IncorrectState", "The NAT gateway %s is not in the available state", *id)
		}
		c := natChange{l: newLedger(tx, sc), n: n, eni: NetworkInterfaces.Edit(tx, sc, deref(n.NatGatewayAddresses[0].NetworkInterfaceId))}
		if err := f(c); err != nil {
			return err
		}
		c.l.flush()
		NetworkInterfaces.Put(tx, sc, *c.eni.NetworkInterfaceId, c.eni)
		NatGateways.Put(tx, sc, *n.NatGatewayId, n)
		return nil
	})
	return n, err
}

// assign takes addresses for a gateway and returns them as its new entries.
func (c natChange) assign(most int, w wish) ([]types.NatGatewayAddress, error) {
	if len(c.n.NatGatewayAddresses)+w.slots() > most {
		return nil, errLimit("PrivateIpAddressLimitExceeded", "addresses per NAT gateway")
	}
	got, err := take(c.l.pool(*c.n.SubnetId), w)
	if err != nil {
		return nil, err
	}
	c.eni.add(got)
	var out []types.NatGatewayAddress
	for _, a := range got.secondary {
		out = append(out, types.NatGatewayAddress{
			NetworkInterfaceId: c.eni.NetworkInterfaceId, PrivateIp: aws.String(a.String()), IsPrimary: aws.Bool(false), Status: types.NatGatewayAddressStatusSucceeded,
		})
	}
	return out, nil
}

// shownAs is the entries with another state, as the changing requests show them.
func shownAs(in []types.NatGatewayAddress, status types.NatGatewayAddressStatus) []types.NatGatewayAddress {
	out := slices.Clone(in)
	for i := range out {
		out[i].Status = status
	}
	return out
}

// AssignPrivateNatGatewayAddress gives a private gateway secondary addresses.
func (s *Service) AssignPrivateNatGatewayAddress(ctx context.Context, in *ec2.AssignPrivateNatGatewayAddressInput, _ ...func(*ec2.Options)) (*ec2.AssignPrivateNatGatewayAddressOutput, error) {
	w := wish{secondary: in.PrivateIpAddresses, count: int(aws.ToInt32(in.PrivateIpAddressCount))}
	if err := w.check(); err != nil {
		return nil, err
	}
	if w.slots() == 0 {
		return nil, errMissing("privateIpAddressCount")
	}
	var added []types.NatGatewayAddress
	_, err := s.changeNat(ctx, in.DryRun, in.NatGatewayId, types.ConnectivityTypePrivate, func(c natChange) (err error) {
		if added, err = c.assign(s.quota("addresses-per-nat-gateway"), w); err != nil {
			return err
		}
		c.n.NatGatewayAddresses = append(c.n.NatGatewayAddresses, added...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AssignPrivateNatGatewayAddressOutput{NatGatewayId: in.NatGatewayId, NatGatewayAddresses: shownAs(added, types.NatGatewayAddressStatusAssigning)}, nil
}

// UnassignPrivateNatGatewayAddress takes secondary addresses from a private gateway.
func (s *Service) UnassignPrivateNatGatewayAddress(ctx context.Context, in *ec2.UnassignPrivateNatGatewayAddressInput, _ ...func(*ec2.Options)) (*ec2.UnassignPrivateNatGatewayAddressOutput, error) {
	if len(in.PrivateIpAddresses) == 0 {
		return nil, errMissing("privateIpAddresses")
	}
	var gone []types.NatGatewayAddress
	_, err := s.changeNat(ctx, in.DryRun, in.NatGatewayId, types.ConnectivityTypePrivate, func(c natChange) error {
		gone = nil
		for _, ip := range in.PrivateIpAddresses {
			if _, err := netip.ParseAddr(ip); err != nil {
				return errInvalid("Value (%s) for parameter privateIpAddress is invalid. This is not a valid IP address.", ip)
			}
			i := slices.IndexFunc(c.n.NatGatewayAddresses, func(a types.NatGatewayAddress) bool { return deref(a.PrivateIp) == ip })
			if i < 0 {
				return errInvalid("The private IP address %s is not assigned to the NAT gateway %s", ip, *c.n.NatGatewayId)
			}
			if err := c.drop(i); err != nil {
				return err
			}
			gone = append(gone, types.NatGatewayAddress{NetworkInterfaceId: c.eni.NetworkInterfaceId, PrivateIp: &ip, IsPrimary: aws.Bool(false)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.UnassignPrivateNatGatewayAddressOutput{NatGatewayId: in.NatGatewayId, NatGatewayAddresses: shownAs(gone, types.NatGatewayAddressStatusUnassigning)}, nil
}

// drop takes the gateway's i-th address, which must not be its primary one, and the
// Elastic IP on it.
func (c natChange) drop(i int) error {
	a := c.n.NatGatewayAddresses[i]
	if aws.ToBool(a.IsPrimary) {
		return errInvalid("The primary address of the NAT gateway %s cannot be removed", *c.n.NatGatewayId)
	}
	if err := c.l.unassign(c.eni, []string{*a.PrivateIp}, nil); err != nil {
		return err
	}
	c.n.NatGatewayAddresses = slices.Delete(c.n.NatGatewayAddresses, i, i+1)
	return nil
}

// AssociateNatGatewayAddress gives a public gateway further Elastic IPs, each on a
// private address of its own.
func (s *Service) AssociateNatGatewayAddress(ctx context.Context, in *ec2.AssociateNatGatewayAddressInput, _ ...func(*ec2.Options)) (*ec2.AssociateNatGatewayAddressOutput, error) {
	if len(in.AllocationIds) == 0 {
		return nil, errMissing("allocationIds")
	}
	if n := len(in.PrivateIpAddresses); n > 0 && n != len(in.AllocationIds) {
		return nil, errInvalid("The number of private IP addresses must be that of the allocation IDs.")
	}
	w := wish{secondary: in.PrivateIpAddresses}
	if len(in.PrivateIpAddresses) == 0 {
		w.count = len(in.AllocationIds)
	}
	var added []types.NatGatewayAddress
	_, err := s.changeNat(ctx, in.DryRun, in.NatGatewayId, types.ConnectivityTypePublic, func(c natChange) (err error) {
		if added, err = c.assign(s.quota("addresses-per-nat-gateway"), w); err != nil {
			return err
		}
		if err := c.associate(added, in.AllocationIds); err != nil {
			return err
		}
		c.n.NatGatewayAddresses = append(c.n.NatGatewayAddresses, added...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AssociateNatGatewayAddressOutput{NatGatewayId: in.NatGatewayId, NatGatewayAddresses: shownAs(added, types.NatGatewayAddressStatusAssociating)}, nil
}

// associate puts the allocations onto the new addresses, in their order.
func (c natChange) associate(added []types.NatGatewayAddress, allocations []string) error {
	for i, id := range allocations {
		a, err := addressKind.edit(c.l.tx, c.l.sc, &id)
		if err != nil {
			return err
		}
		if a.AssociationId != nil {
			return apiError("Resource.AlreadyAssociated", "Elastic IP address [%s] is already associated", id)
		}
		if err := putOn(c.l.tx, c.l.sc, a, c.eni, added[i].PrivateIp); err != nil {
			return err
		}
		Addresses.Put(c.l.tx, c.l.sc, id, a)
		added[i].AllocationId, added[i].AssociationId, added[i].PublicIp = a.AllocationId, a.AssociationId, a.PublicIp
	}
	return nil
}

// DisassociateNatGatewayAddress takes secondary Elastic IPs from a public gateway.
func (s *Service) DisassociateNatGatewayAddress(ctx context.Context, in *ec2.DisassociateNatGatewayAddressInput, _ ...func(*ec2.Options)) (*ec2.DisassociateNatGatewayAddressOutput, error) {
	if len(in.AssociationIds) == 0 {
		return nil, errMissing("associationIds")
	}
	var gone []types.NatGatewayAddress
	_, err := s.changeNat(ctx, in.DryRun, in.NatGatewayId, types.ConnectivityTypePublic, func(c natChange) error {
		gone = nil
		for _, id := range in.AssociationIds {
			i := slices.IndexFunc(c.n.NatGatewayAddresses, func(a types.NatGatewayAddress) bool { return deref(a.AssociationId) == id })
			if i < 0 {
				return apiError("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", id)
			}
			gone = append(gone, c.n.NatGatewayAddresses[i])
			if err := c.drop(i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DisassociateNatGatewayAddressOutput{NatGatewayId: in.NatGatewayId, NatGatewayAddresses: shownAs(gone, types.NatGatewayAddressStatusDisassociating)}, nil
}
