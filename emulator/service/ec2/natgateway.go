package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
)

// natInterface is what EC2 says of a NAT gateway's interface; the model's enum has
// natGateway.
const natInterface types.NetworkInterfaceType = "nat_gateway"

// CreateNatGateway creates a zonal NAT gateway with an interface of its own. As in
// AWS, some mistakes show only afterwards, as state failed.
func (s *Service) CreateNatGateway(ctx context.Context, in *ec2.CreateNatGatewayInput, _ ...func(*ec2.Options)) (*ec2.CreateNatGatewayOutput, error) {
	public := in.ConnectivityType != types.ConnectivityTypePrivate
	switch {
	case in.AvailabilityMode == types.AvailabilityModeRegional:
		return nil, apiError("UnsupportedOperation", "Regional NAT gateways are not supported by this version of ekslocal.")
	case public && in.AllocationId == nil:
		return nil, apiError("MissingParameter", "The request must include the AllocationId parameter. Add the required parameter and retry the request.")
	case !public && in.AllocationId != nil:
		return nil, errInvalid("The AllocationId parameter cannot be specified for a private NAT gateway.")
	case !public && len(in.SecondaryAllocationIds) > 0:
		return nil, errInvalid("The SecondaryAllocationIds parameter cannot be specified for a private NAT gateway.")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeNatgateway)
	if err != nil {
		return nil, err
	}
	w := wish{primary: true, primaryIP: deref(in.PrivateIpAddress), secondary: in.SecondaryPrivateIpAddresses, count: int(aws.ToInt32(in.SecondaryPrivateIpAddressCount))}
	if n := len(in.SecondaryAllocationIds); n > 0 && w.slots() == 0 {
		w.count = n
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	var n *NatGateway
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rp, err := s.replayOf(tx, sc, "CreateNatGateway", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if n = NatGateways.Get(tx, sc, rp.ids[0]); n != nil {
				return nil
			}
		}
		sub, err := subnetKind.get(tx, sc, in.SubnetId)
		if err != nil {
			return err
		}
		zonal := func(r *NatGateway) bool {
			at := Subnets.Get(tx, sc, deref(r.SubnetId))
			live := r.State == types.NatGatewayStatePending || r.State == types.NatGatewayStateAvailable || r.State == types.NatGatewayStateDeleting
			return live && at != nil && deref(at.AvailabilityZone) == *sub.AvailabilityZone
		}
		if countIn(NatGateways.List(tx, sc), zonal) >= s.quota("nat-gateways-per-zone") {
			return apiError("NatGatewayLimitExceeded", "The maximum limit for NAT gateways in %s has been reached.", *sub.AvailabilityZone)
		}
		now := s.now()
		n = &NatGateway{Due: s.due(timing.NatGatewayPending), NatGateway: types.NatGateway{
			NatGatewayId: aws.String(awsid.NewID("nat")), SubnetId: sub.SubnetId, VpcId: sub.VpcId, State: types.NatGatewayStatePending,
			ConnectivityType: types.ConnectivityTypePublic, AvailabilityMode: types.AvailabilityModeZonal, CreateTime: &now, Tags: tags,
		}}
		if !public {
			n.ConnectivityType = types.ConnectivityTypePrivate
		}
		if err := s.equipNat(tx, sc, n, sub, w, in.AllocationId, in.SecondaryAllocationIds); err != nil {
			return err
		}
		NatGateways.Put(tx, sc, *n.NatGatewayId, n)
		s.remember(tx, sc, rp, *n.NatGatewayId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateNatGatewayOutput{NatGateway: &n.NatGateway, ClientToken: in.ClientToken}, nil
}

// equipNat gives a NAT gateway its interface and Elastic IP, or marks it failed.
func (s *Service) equipNat(tx *store.Tx, sc awsid.Scope, n *NatGateway, sub *Subnet, w wish, allocation *string, more []string) error {
	fail := func(code, message string) {
		n.State, n.FailureCode, n.FailureMessage = types.NatGatewayStateFailed, &code, &message
		n.NatGatewayAddresses = []types.NatGatewayAddress{{AllocationId: allocation, Status: types.NatGatewayAddressStatusFailed}}
		n.DeleteTime, n.Due = n.CreateTime, s.after(terminatedFor)
	}
	var a *Address
	if allocation != nil {
		var err error
		if a, err = addressKind.edit(tx, sc, allocation); err != nil {
			return err
		}
		if a.AssociationId != nil {
			fail("Resource.AlreadyAssociated", "Elastic IP address ["+*allocation+"] is already associated")
			return nil
		}
		if !hasInternetGateway(tx, sc, *sub.VpcId) {
			fail("Gateway.NotAttached", "Network "+*sub.VpcId+" has no Internet gateway attached")
			return nil
		}
	}
	l := newLedger(tx, sc)
	eni, err := l.newInterface(sub, w)
	if err != nil {
		return err
	}
	l.flush()
	eni.InterfaceType, eni.Status = natInterface, types.NetworkInterfaceStatusInUse
	eni.Description, eni.Groups = aws.String("Interface for NAT Gateway "+*n.NatGatewayId), []types.GroupIdentifier{}
	eni.RequesterManaged, eni.RequesterId, eni.SourceDestCheck = aws.Bool(true), aws.String(sc.Account), aws.Bool(false)
	eni.Attachment = &types.NetworkInterfaceAttachment{
		AttachmentId: aws.String("ela-attach-" + awsid.Hex(17)), DeviceIndex: aws.Int32(1), DeleteOnTermination: aws.Bool(false),
		InstanceOwnerId: aws.String("amazon-aws"), Status: types.AttachmentStatusAttached,
	}
	if a != nil {
		if err := putOn(tx, sc, a, eni, nil); err != nil {
			return err
		}
		Addresses.Put(tx, sc, *a.AllocationId, a)
	}
	NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
	for i, p := range eni.PrivateIpAddresses {
		addr := types.NatGatewayAddress{
			NetworkInterfaceId: eni.NetworkInterfaceId, PrivateIp: p.PrivateIpAddress, IsPrimary: aws.Bool(i == 0),
			Status: types.NatGatewayAddressStatusAssociating,
		}
		if i == 0 && a != nil {
			addr.AllocationId, addr.AssociationId, addr.PublicIp = a.AllocationId, a.AssociationId, a.PublicIp
		}
		n.NatGatewayAddresses = append(n.NatGatewayAddresses, addr)
	}
	if len(more) > len(n.NatGatewayAddresses)-1 {
		return errInvalid("There are fewer secondary private IP addresses than secondary allocation IDs.")
	}
	c := natChange{l: l, n: n, eni: eni}
	if err := c.associate(n.NatGatewayAddresses[1:], more); err != nil {
		return err
	}
	NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
	return nil
}

// DeleteNatGateway begins the end of a NAT gateway; its interface goes, its
// Elastic IP stays allocated.
func (s *Service) DeleteNatGateway(ctx context.Context, in *ec2.DeleteNatGatewayInput, _ ...func(*ec2.Options)) (*ec2.DeleteNatGatewayOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		n, err := natGatewayKind.edit(tx, sc, in.NatGatewayId)
		if err != nil {
			return err
		}
		if n.State == types.NatGatewayStateDeleted || n.State == types.NatGatewayStateDeleting {
			return nil
		}
		now := s.now()
		n.State, n.DeleteTime, n.Due = types.NatGatewayStateDeleting, &now, s.due(timing.NatGatewayDeleting)
		NatGateways.Put(tx, sc, *n.NatGatewayId, n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteNatGatewayOutput{NatGatewayId: in.NatGatewayId}, nil
}

// releaseNat deletes the gateway's interface and marks the routes to it.
func (s *Service) releaseNat(l *ledger, n *NatGateway) {
	for _, a := range n.NatGatewayAddresses {
		if eni := NetworkInterfaces.Edit(l.tx, l.sc, deref(a.NetworkInterfaceId)); eni != nil {
			l.dropInterface(eni)
		}
	}
	blackhole(l.tx, l.sc, *n.VpcId, func(r *types.Route) bool { return deref(r.NatGatewayId) == *n.NatGatewayId })
}

// DescribeNatGateways lists NAT gateways, deleted ones for an hour.
func (s *Service) DescribeNatGateways(ctx context.Context, in *ec2.DescribeNatGatewaysInput, _ ...func(*ec2.Options)) (*ec2.DescribeNatGatewaysOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := natGatewayLister.run(s.store, sc, query{in.NatGatewayIds, in.Filter, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeNatGatewaysOutput{NatGateways: page, NextToken: next}, nil
}

var natGatewayLister = &lister[NatGateway, types.NatGateway]{
	kind: natGatewayKind,
	view: func(_ store.Reader, _ awsid.Scope, r *NatGateway) types.NatGateway { return r.NatGateway },
	id:   func(v *types.NatGateway) string { return deref(v.NatGatewayId) },
	tags: func(v *types.NatGateway) []types.Tag { return v.Tags },
	filters: fields[types.NatGateway]{
		"nat-gateway-id": func(v *types.NatGateway) []string { return one(v.NatGatewayId) },
		"state":          func(v *types.NatGateway) []string { return text(v.State) },
		"subnet-id":      func(v *types.NatGateway) []string { return one(v.SubnetId) },
		"vpc-id":         func(v *types.NatGateway) []string { return one(v.VpcId) },
	},
}
