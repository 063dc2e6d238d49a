package ec2

import (
	"context"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// SubnetCidrReservation is a block of a subnet that is kept from automatic choice.
// What allocation needs of it is in the subnet's SubnetAddressPool too.
type SubnetCidrReservation struct {
	types.SubnetCidrReservation
}

// SubnetCidrReservations is keyed by id.
const SubnetCidrReservations store.Table[SubnetCidrReservation] = "ec2-subnet-cidr-reservation"

var cidrReservationKind = &kind[SubnetCidrReservation]{
	table: SubnetCidrReservations, typ: types.ResourceTypeSubnetCidrReservation, prefix: "scr", noun: "subnet CIDR reservation", param: "subnetCidrReservationId",
	malformed: "InvalidSubnetCidrReservationId.Malformed", notFound: "InvalidSubnetCidrReservationID.NotFound",
	tags: func(r *SubnetCidrReservation) *[]types.Tag { return &r.Tags },
	id:   func(r *SubnetCidrReservation) *string { return r.SubnetCidrReservationId },
}

// CreateSubnetCidrReservation keeps a block for prefixes or for addresses that are
// named explicitly.
func (s *Service) CreateSubnetCidrReservation(ctx context.Context, in *ec2.CreateSubnetCidrReservationInput, _ ...func(*ec2.Options)) (*ec2.CreateSubnetCidrReservationOutput, error) {
	switch {
	case in.SubnetId == nil:
		return nil, errMissing("subnetId")
	case in.Cidr == nil:
		return nil, errMissing("cidr")
	case in.ReservationType == "":
		return nil, errMissing("reservationType")
	case in.ReservationType != types.SubnetCidrReservationTypePrefix && in.ReservationType != types.SubnetCidrReservationTypeExplicit:
		return nil, errInvalidValue(in.ReservationType, "reservationType")
	}
	cidr, err := netip.ParsePrefix(*in.Cidr)
	if err != nil || cidr != cidr.Masked() {
		return nil, errInvalid("Value (%s) for parameter cidr is invalid. This is not a valid CIDR block.", *in.Cidr)
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeSubnetCidrReservation)
	if err != nil {
		return nil, err
	}
	var rec *SubnetCidrReservation
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		sub, err := subnetKind.get(tx, sc, in.SubnetId)
		if err != nil {
			return err
		}
		pool := SubnetAddresses.Edit(tx, sc, *sub.SubnetId)
		if err := pool.checkReservation(cidr); err != nil {
			return err
		}
		id := awsid.NewID("scr")
		rec = &SubnetCidrReservation{types.SubnetCidrReservation{
			SubnetCidrReservationId: &id, SubnetId: sub.SubnetId, Cidr: in.Cidr, ReservationType: in.ReservationType,
			OwnerId: &sc.Account, Description: in.Description, Tags: tags,
		}}
		if pool.Reserved == nil {
			pool.Reserved = map[string]Reservation{}
		}
		pool.Reserved[id] = Reservation{CIDR: cidr, Prefixes: in.ReservationType == types.SubnetCidrReservationTypePrefix}
		SubnetAddresses.Put(tx, sc, *sub.SubnetId, pool)
		SubnetCidrReservations.Put(tx, sc, id, rec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateSubnetCidrReservationOutput{SubnetCidrReservation: &rec.SubnetCidrReservation}, nil
}

func (p *SubnetAddressPool) checkReservation(cidr netip.Prefix) error {
	inside := p.IPv4 != nil && ipam.Contains(p.IPv4.CIDR, cidr) || p.IPv6 != nil && ipam.Contains(p.IPv6.CIDR, cidr)
	if !inside {
		return errInvalid("The CIDR '%s' is not within the subnet's CIDR blocks", cidr)
	}
	for _, r := range p.Reserved {
		if r.CIDR.Overlaps(cidr) {
			return apiError("InvalidSubnetCidrReservation.Conflict", "The CIDR '%s' conflicts with another reservation of the subnet", cidr)
		}
	}
	return nil
}

// DeleteSubnetCidrReservation gives a block back to automatic choice; addresses
// taken from it stay with their interfaces.
func (s *Service) DeleteSubnetCidrReservation(ctx context.Context, in *ec2.DeleteSubnetCidrReservationInput, _ ...func(*ec2.Options)) (*ec2.DeleteSubnetCidrReservationOutput, error) {
	var rec *SubnetCidrReservation
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		var err error
		if rec, err = cidrReservationKind.get(tx, sc, in.SubnetCidrReservationId); err != nil {
			return err
		}
		if pool := SubnetAddresses.Edit(tx, sc, *rec.SubnetId); pool != nil {
			delete(pool.Reserved, *rec.SubnetCidrReservationId)
			SubnetAddresses.Put(tx, sc, *rec.SubnetId, pool)
		}
		SubnetCidrReservations.Delete(tx, sc, *rec.SubnetCidrReservationId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteSubnetCidrReservationOutput{DeletedSubnetCidrReservation: &rec.SubnetCidrReservation}, nil
}

func dropReservations(tx *store.Tx, sc awsid.Scope, subnet string) {
	for _, r := range SubnetCidrReservations.List(tx, sc) {
		if deref(r.SubnetId) == subnet {
			SubnetCidrReservations.Delete(tx, sc, *r.SubnetCidrReservationId)
		}
	}
}

// GetSubnetCidrReservations lists a subnet's reservations by family.
func (s *Service) GetSubnetCidrReservations(ctx context.Context, in *ec2.GetSubnetCidrReservationsInput, _ ...func(*ec2.Options)) (*ec2.GetSubnetCidrReservationsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	sub, err := subnetKind.get(s.store, sc, in.SubnetId)
	if err != nil {
		return nil, err
	}
	match, err := compile(cidrReservationFilters, func(v *types.SubnetCidrReservation) []types.Tag { return v.Tags }, in.Filters)
	if err != nil {
		return nil, err
	}
	var all []types.SubnetCidrReservation
	for _, r := range SubnetCidrReservations.List(s.store, sc) {
		if deref(r.SubnetId) == *sub.SubnetId && match(&r.SubnetCidrReservation) {
			all = append(all, r.SubnetCidrReservation)
		}
	}
	page, next, err := paginate(all, func(v *types.SubnetCidrReservation) string { return deref(v.SubnetCidrReservationId) }, in.MaxResults, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	out := &ec2.GetSubnetCidrReservationsOutput{
		NextToken: next, SubnetIpv4CidrReservations: []types.SubnetCidrReservation{}, SubnetIpv6CidrReservations: []types.SubnetCidrReservation{},
	}
	for _, r := range page {
		if netip.MustParsePrefix(*r.Cidr).Addr().Is4() {
			out.SubnetIpv4CidrReservations = append(out.SubnetIpv4CidrReservations, r)
		} else {
			out.SubnetIpv6CidrReservations = append(out.SubnetIpv6CidrReservations, r)
		}
	}
	return out, nil
}

var cidrReservationFilters = fields[types.SubnetCidrReservation]{
	"reservationType": func(v *types.SubnetCidrReservation) []string { return text(v.ReservationType) },
	"subnet-id":       func(v *types.SubnetCidrReservation) []string { return one(v.SubnetId) },
}
