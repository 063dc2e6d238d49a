package ec2

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// destination is where a route leads to, as requests name it.
type destination struct{ cidr, cidr6, prefixList *string }

func (d destination) is(r types.Route) bool {
	switch {
	case d.cidr != nil:
		return deref(r.DestinationCidrBlock) == *d.cidr
	case d.cidr6 != nil:
		return deref(r.DestinationIpv6CidrBlock) == *d.cidr6
	}
	return deref(r.DestinationPrefixListId) == deref(d.prefixList)
}

func (d destination) String() string {
	return deref(d.cidr) + deref(d.cidr6) + deref(d.prefixList)
}

// destinationOf validates that a request names exactly one destination and
// brings it into canonical form.
func destinationOf(cidr, cidr6, prefixList *string) (destination, error) {
	d := destination{prefixList: prefixList}
	n := 0
	for _, p := range []*string{cidr, cidr6, prefixList} {
		if p != nil {
			n++
		}
	}
	switch {
	case n == 0:
		return d, errMissing("destinationCidrBlock")
	case n > 1:
		return d, errCombination("The parameters destinationCidrBlock, destinationIpv6CidrBlock and destinationPrefixListId cannot be used together")
	case cidr != nil:
		p, err := parseCIDR(*cidr, "destinationCidrBlock")
		if err != nil {
			return d, err
		}
		d.cidr = aws.String(p.String())
	case cidr6 != nil:
		p, err := netip.ParsePrefix(*cidr6)
		if err != nil || !p.Addr().Is6() {
			return d, errInvalid("Value (%s) for parameter destinationIpv6CidrBlock is invalid. This is not a valid Ipv6 CIDR block.", *cidr6)
		}
		d.cidr6 = aws.String(p.Masked().String())
	}
	return d, nil
}

// target is what a route sends packets to, as requests name it.
type target struct {
	gateway, nat, eni, instance, peering, transit, egressOnly, endpoint *string
	local                                                               bool
}

// fill validates the target and writes it into r.
func (t target) fill(tx *store.Tx, sc awsid.Scope, vpc string, r *types.Route) error {
	r.State = types.RouteStateActive
	set := 0
	for _, p := range []*string{t.gateway, t.nat, t.eni, t.instance, t.peering, t.transit, t.egressOnly, t.endpoint} {
		if p != nil {
			set++
		}
	}
	switch {
	case t.local:
		r.GatewayId = aws.String("local")
		return nil
	case set == 0:
		return errMissing("gatewayId")
	case set > 1:
		return errCombination("A route has exactly one target")
	case t.gateway != nil:
		return fillGateway(tx, sc, vpc, *t.gateway, r)
	case t.nat != nil:
		nat, err := natGatewayKind.get(tx, sc, t.nat)
		if err != nil {
			return apiErrorLike(err, "NatGatewayNotFound", "InvalidNatGatewayID.NotFound", "The natGateway ID '%s' does not exist", *t.nat)
		}
		r.NatGatewayId = nat.NatGatewayId
	case t.eni != nil:
		eni, err := networkInterfaceKind.get(tx, sc, t.eni)
		if err != nil {
			return err
		}
		r.NetworkInterfaceId = eni.NetworkInterfaceId
		if eni.Attachment != nil {
			r.InstanceId, r.InstanceOwnerId = eni.Attachment.InstanceId, eni.Attachment.InstanceOwnerId
		}
	case t.instance != nil:
		inst, err := instanceKind.get(tx, sc, t.instance)
		if err != nil {
			return err
		}
		if len(inst.Interfaces) != 1 {
			return apiError("InvalidInstanceID", "There are multiple interfaces attached to instance '%s'. Please specify an interface ID for the operation instead.", *t.instance)
		}
		r.InstanceId, r.InstanceOwnerId, r.NetworkInterfaceId = inst.InstanceId, &sc.Account, &inst.Interfaces[0]
	case t.endpoint != nil:
		if _, err := vpcEndpointKind.get(tx, sc, t.endpoint); err != nil {
			return err
		}
		return errInvalid("The Vpc Endpoint Id '%s' is not of an endpoint that routes can lead to: route tables of gateway endpoints are associated with ModifyVpcEndpoint", *t.endpoint)
	case t.peering != nil:
		return fillPeering(tx, sc, vpc, t.peering, r)
	case t.transit != nil:
		return apiError("InvalidTransitGatewayID.NotFound", "The transitGateway ID '%s' does not exist.", *t.transit)
	case t.egressOnly != nil:
		g, err := egressOnlyKind.get(tx, sc, t.egressOnly)
		if err != nil {
			return err
		}
		if !egressOnlyOf(g, vpc) {
			return errInvalid("route table and network gateway %s belong to different networks", *t.egressOnly)
		}
		if r.DestinationIpv6CidrBlock == nil {
			return errInvalid("Egress-only internet gateways take IPv6 destinations only")
		}
		r.EgressOnlyInternetGatewayId = g.EgressOnlyInternetGatewayId
	}
	return nil
}

// fillPeering lets a route lead to a connection that is not accepted yet: it is a
// black hole until then.
func fillPeering(tx *store.Tx, sc awsid.Scope, vpc string, id *string, r *types.Route) error {
	p, err := peeringKind.get(tx, sc, id)
	if err != nil {
		return err
	}
	if p.Ended != nil {
		return peeringKind.absent(*id)
	}
	if deref(p.RequesterVpcInfo.VpcId) != vpc && deref(p.AccepterVpcInfo.VpcId) != vpc {
		return errInvalid("route table and VPC peering connection %s belong to different networks", *id)
	}
	r.VpcPeeringConnectionId = id
	if p.Status.Code != types.VpcPeeringConnectionStateReasonCodeActive {
		r.State = types.RouteStateBlackhole
	}
	return nil
}

// check wants a prefix list that there is.
func (d destination) check(tx *store.Tx, sc awsid.Scope) error {
	if d.prefixList == nil {
		return nil
	}
	_, err := prefixListOf(tx, sc, d.prefixList)
	return err
}

func fillGateway(tx *store.Tx, sc awsid.Scope, vpc, id string, r *types.Route) error {
	if id == "local" {
		r.GatewayId = &id
		return nil
	}
	if !strings.HasPrefix(id, "igw-") {
		return apiError("InvalidGatewayID.NotFound", "The gateway ID '%s' does not exist", id)
	}
	g, err := internetGatewayKind.get(tx, sc, &id)
	if err != nil {
		return err
	}
	if !attachedTo(&g.InternetGateway, vpc) {
		return errInvalid("route table and network gateway %s belong to different networks", id)
	}
	r.GatewayId = &id
	return nil
}

// CreateRoute adds a route to a table.
func (s *Service) CreateRoute(ctx context.Context, in *ec2.CreateRouteInput, _ ...func(*ec2.Options)) (*ec2.CreateRouteOutput, error) {
	d, err := destinationOf(in.DestinationCidrBlock, in.DestinationIpv6CidrBlock, in.DestinationPrefixListId)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rt, err := routeTableKind.edit(tx, sc, in.RouteTableId)
		if err != nil {
			return err
		}
		route := types.Route{DestinationCidrBlock: d.cidr, DestinationIpv6CidrBlock: d.cidr6, DestinationPrefixListId: d.prefixList, Origin: types.RouteOriginCreateRoute}
		t := target{in.GatewayId, in.NatGatewayId, in.NetworkInterfaceId, in.InstanceId, in.VpcPeeringConnectionId, in.TransitGatewayId, in.EgressOnlyInternetGatewayId, in.VpcEndpointId, false}
		if err := t.fill(tx, sc, *rt.VpcId, &route); err != nil {
			return err
		}
		if err := d.check(tx, sc); err != nil {
			return err
		}
		if i := slices.IndexFunc(rt.Routes, d.is); i >= 0 {
			if sameTarget(rt.Routes[i], route) {
				return nil
			}
			return apiError("RouteAlreadyExists", "The route identified by %s already exists.", d)
		}
		if n := countRoutes(rt.Routes); n >= s.quota("routes-per-route-table") {
			return errLimit("RouteLimitExceeded", "routes per route table")
		}
		rt.Routes = append(rt.Routes, route)
		RouteTables.Put(tx, sc, *rt.RouteTableId, rt)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateRouteOutput{Return: aws.Bool(true)}, nil
}

func sameTarget(a, b types.Route) bool {
	return deref(a.GatewayId) == deref(b.GatewayId) && deref(a.NatGatewayId) == deref(b.NatGatewayId) &&
		deref(a.NetworkInterfaceId) == deref(b.NetworkInterfaceId) && deref(a.VpcPeeringConnectionId) == deref(b.VpcPeeringConnectionId) &&
		deref(a.EgressOnlyInternetGatewayId) == deref(b.EgressOnlyInternetGatewayId)
}

// countRoutes counts what the quota counts: not the local routes.
func countRoutes(routes []types.Route) int {
	n := 0
	for _, r := range routes {
		if deref(r.GatewayId) != "local" {
			n++
		}
	}
	return n
}

// ReplaceRoute changes a route's target.
func (s *Service) ReplaceRoute(ctx context.Context, in *ec2.ReplaceRouteInput, _ ...func(*ec2.Options)) (*ec2.ReplaceRouteOutput, error) {
	d, err := destinationOf(in.DestinationCidrBlock, in.DestinationIpv6CidrBlock, in.DestinationPrefixListId)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rt, err := routeTableKind.edit(tx, sc, in.RouteTableId)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(rt.Routes, d.is)
		if i < 0 {
			return errInvalid("There is no route defined for '%s' in the route table. Use CreateRoute instead.", d)
		}
		route := types.Route{DestinationCidrBlock: d.cidr, DestinationIpv6CidrBlock: d.cidr6, DestinationPrefixListId: d.prefixList, Origin: rt.Routes[i].Origin}
		t := target{in.GatewayId, in.NatGatewayId, in.NetworkInterfaceId, in.InstanceId, in.VpcPeeringConnectionId, in.TransitGatewayId, in.EgressOnlyInternetGatewayId, in.VpcEndpointId, aws.ToBool(in.LocalTarget)}
		if err := t.fill(tx, sc, *rt.VpcId, &route); err != nil {
			return err
		}
		rt.Routes[i] = route
		RouteTables.Put(tx, sc, *rt.RouteTableId, rt)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ReplaceRouteOutput{}, nil
}

// DeleteRoute removes a route; local ones stay.
func (s *Service) DeleteRoute(ctx context.Context, in *ec2.DeleteRouteInput, _ ...func(*ec2.Options)) (*ec2.DeleteRouteOutput, error) {
	d, err := destinationOf(in.DestinationCidrBlock, in.DestinationIpv6CidrBlock, in.DestinationPrefixListId)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rt, err := routeTableKind.edit(tx, sc, in.RouteTableId)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(rt.Routes, d.is)
		if i < 0 {
			return apiError("InvalidRoute.NotFound", "no route with destination-cidr-block %s in route table %s", d, *rt.RouteTableId)
		}
		if strings.HasPrefix(deref(rt.Routes[i].GatewayId), "vpce-") {
			return errInvalid("cannot remove VPC endpoint route %s in route table %s", *rt.Routes[i].GatewayId, *rt.RouteTableId)
		}
		if deref(rt.Routes[i].GatewayId) == "local" {
			return errInvalid("cannot remove local route %s in route table %s", d, *rt.RouteTableId)
		}
		rt.Routes = slices.Delete(rt.Routes, i, i+1)
		RouteTables.Put(tx, sc, *rt.RouteTableId, rt)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteRouteOutput{}, nil
}

// blackhole marks the routes to a target that has gone.
func blackhole(tx *store.Tx, sc awsid.Scope, vpc string, gone func(*types.Route) bool) {
	for _, rt := range RouteTables.List(tx, sc) {
		if deref(rt.VpcId) != vpc || !slices.ContainsFunc(rt.Routes, func(r types.Route) bool { return gone(&r) }) {
			continue
		}
		mine := RouteTables.Edit(tx, sc, *rt.RouteTableId)
		for i := range mine.Routes {
			if gone(&mine.Routes[i]) {
				mine.Routes[i].State = types.RouteStateBlackhole
			}
		}
		RouteTables.Put(tx, sc, *rt.RouteTableId, mine)
	}
}
