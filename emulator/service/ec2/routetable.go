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

func localRoute(cidr netip.Prefix) types.Route {
	return types.Route{
		DestinationCidrBlock: aws.String(cidr.String()), GatewayId: aws.String("local"),
		Origin: types.RouteOriginCreateRouteTable, State: types.RouteStateActive,
	}
}

func localRoute6(cidr string) types.Route {
	return types.Route{
		DestinationIpv6CidrBlock: &cidr, GatewayId: aws.String("local"),
		Origin: types.RouteOriginCreateRouteTable, State: types.RouteStateActive,
	}
}

func newRouteTable(sc awsid.Scope, vpc string, cidrs []netip.Prefix) *RouteTable {
	rt := &RouteTable{types.RouteTable{
		RouteTableId: aws.String(awsid.NewID("rtb")), VpcId: &vpc, OwnerId: &sc.Account,
		Associations: []types.RouteTableAssociation{}, PropagatingVgws: []types.PropagatingVgw{},
	}}
	for _, c := range cidrs {
		rt.Routes = append(rt.Routes, localRoute(c))
	}
	return rt
}

func newAssociation(rt *RouteTable) types.RouteTableAssociation {
	return types.RouteTableAssociation{
		RouteTableAssociationId: aws.String(awsid.NewID("rtbassoc")), RouteTableId: rt.RouteTableId, Main: aws.Bool(false),
		AssociationState: &types.RouteTableAssociationState{State: types.RouteTableAssociationStateCodeAssociated},
	}
}

func putMainRouteTable(tx *store.Tx, sc awsid.Scope, vpc string, cidr netip.Prefix) string {
	rt := newRouteTable(sc, vpc, []netip.Prefix{cidr})
	a := newAssociation(rt)
	a.Main = aws.Bool(true)
	rt.Associations = append(rt.Associations, a)
	RouteTables.Put(tx, sc, *rt.RouteTableId, rt)
	return *rt.RouteTableId
}

// editRouteTablesOf changes every route table of a VPC that f changes.
func editRouteTablesOf(tx *store.Tx, sc awsid.Scope, vpc string, f func(*RouteTable)) {
	for _, rt := range RouteTables.List(tx, sc) {
		if deref(rt.VpcId) == vpc {
			mine := RouteTables.Edit(tx, sc, *rt.RouteTableId)
			f(mine)
			RouteTables.Put(tx, sc, *rt.RouteTableId, mine)
		}
	}
}

func withoutSubnet(as []types.RouteTableAssociation, subnet string) []types.RouteTableAssociation {
	return slices.DeleteFunc(as, func(a types.RouteTableAssociation) bool { return deref(a.SubnetId) == subnet })
}

// CreateRouteTable creates a route table with the VPC's local routes.
func (s *Service) CreateRouteTable(ctx context.Context, in *ec2.CreateRouteTableInput, _ ...func(*ec2.Options)) (*ec2.CreateRouteTableOutput, error) {
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeRouteTable)
	if err != nil {
		return nil, err
	}
	var rt *RouteTable
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := vpcKind.get(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		rp, err := s.replayOf(tx, sc, "CreateRouteTable", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if rt = RouteTables.Get(tx, sc, rp.ids[0]); rt != nil {
				return nil
			}
		}
		if n := countIn(RouteTables.List(tx, sc), func(r *RouteTable) bool { return deref(r.VpcId) == *v.VpcId }); n >= s.quota("route-tables-per-vpc") {
			return errLimit("RouteTableLimitExceeded", "route tables")
		}
		rt = newRouteTable(sc, *v.VpcId, vpcCIDRs(&v.Vpc))
		for _, a := range v.Ipv6CidrBlockAssociationSet {
			rt.Routes = append(rt.Routes, localRoute6(*a.Ipv6CidrBlock))
		}
		rt.Tags = tags
		RouteTables.Put(tx, sc, *rt.RouteTableId, rt)
		s.remember(tx, sc, rp, *rt.RouteTableId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateRouteTableOutput{RouteTable: &rt.RouteTable, ClientToken: in.ClientToken}, nil
}

// DeleteRouteTable deletes a route table that no subnet uses.
func (s *Service) DeleteRouteTable(ctx context.Context, in *ec2.DeleteRouteTableInput, _ ...func(*ec2.Options)) (*ec2.DeleteRouteTableOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rt, err := routeTableKind.get(tx, sc, in.RouteTableId)
		if err != nil {
			return err
		}
		if len(rt.Associations) > 0 {
			return errDependency("routeTable", *rt.RouteTableId)
		}
		RouteTables.Delete(tx, sc, *rt.RouteTableId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteRouteTableOutput{}, nil
}

// AssociateRouteTable makes a subnet (or an internet gateway) use a route table.
func (s *Service) AssociateRouteTable(ctx context.Context, in *ec2.AssociateRouteTableInput, _ ...func(*ec2.Options)) (*ec2.AssociateRouteTableOutput, error) {
	var a types.RouteTableAssociation
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rt, err := routeTableKind.edit(tx, sc, in.RouteTableId)
		if err != nil {
			return err
		}
		a = newAssociation(rt)
		switch {
		case in.GatewayId != nil && in.SubnetId != nil:
			return errCombination("The parameters subnetId and gatewayId cannot be used together")
		case in.GatewayId != nil:
			if _, err := internetGatewayKind.get(tx, sc, in.GatewayId); err != nil {
				return err
			}
			a.GatewayId = in.GatewayId
		default:
			sub, err := subnetKind.get(tx, sc, in.SubnetId)
			if err != nil {
				return err
			}
			if deref(sub.VpcId) != deref(rt.VpcId) {
				return errInvalid("Route table %s and subnet %s belong to different networks", *rt.RouteTableId, *sub.SubnetId)
			}
			a.SubnetId = in.SubnetId
		}
		if old, same := associationOf(tx, sc, in.SubnetId, in.GatewayId); same != nil {
			if old != *rt.RouteTableId {
				return apiError("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", *rt.RouteTableId)
			}
			a = *same // asking again is fine
			return nil
		}
		rt.Associations = append(rt.Associations, a)
		RouteTables.Put(tx, sc, *rt.RouteTableId, rt)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.AssociateRouteTableOutput{AssociationId: a.RouteTableAssociationId, AssociationState: a.AssociationState}, nil
}

// associationOf finds the explicit association of a subnet or gateway.
func associationOf(r store.Reader, sc awsid.Scope, subnet, gateway *string) (table string, a *types.RouteTableAssociation) {
	for _, rt := range RouteTables.List(r, sc) {
		for i := range rt.Associations {
			a := &rt.Associations[i]
			if subnet != nil && deref(a.SubnetId) == *subnet || gateway != nil && deref(a.GatewayId) == *gateway {
				return *rt.RouteTableId, a
			}
		}
	}
	return "", nil
}

// findAssociation returns a copy of the route table that holds an association.
func findAssociation(tx *store.Tx, sc awsid.Scope, id *string) (*RouteTable, int, error) {
	if id == nil {
		return nil, 0, errMissing("associationId")
	}
	for _, rt := range RouteTables.List(tx, sc) {
		i := slices.IndexFunc(rt.Associations, func(a types.RouteTableAssociation) bool { return deref(a.RouteTableAssociationId) == *id })
		if i >= 0 {
			return RouteTables.Edit(tx, sc, *rt.RouteTableId), i, nil
		}
	}
	return nil, 0, apiError("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", *id)
}

// DisassociateRouteTable sends a subnet back to the main route table.
func (s *Service) DisassociateRouteTable(ctx context.Context, in *ec2.DisassociateRouteTableInput, _ ...func(*ec2.Options)) (*ec2.DisassociateRouteTableOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rt, i, err := findAssociation(tx, sc, in.AssociationId)
		if err != nil {
			return err
		}
		if aws.ToBool(rt.Associations[i].Main) {
			return errInvalid("cannot disassociate the main route table association %s", *in.AssociationId)
		}
		rt.Associations = slices.Delete(rt.Associations, i, i+1)
		RouteTables.Put(tx, sc, *rt.RouteTableId, rt)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DisassociateRouteTableOutput{}, nil
}

// ReplaceRouteTableAssociation moves an association to another route table; of
// the main association it makes that table the VPC's main one.
func (s *Service) ReplaceRouteTableAssociation(ctx context.Context, in *ec2.ReplaceRouteTableAssociationInput, _ ...func(*ec2.Options)) (*ec2.ReplaceRouteTableAssociationOutput, error) {
	var a types.RouteTableAssociation
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		from, i, err := findAssociation(tx, sc, in.AssociationId)
		if err != nil {
			return err
		}
		a = from.Associations[i]
		from.Associations = slices.Delete(from.Associations, i, i+1)
		RouteTables.Put(tx, sc, *from.RouteTableId, from)
		to, err := routeTableKind.edit(tx, sc, in.RouteTableId)
		if err != nil {
			return err
		}
		if deref(to.VpcId) != deref(from.VpcId) {
			return errInvalid("Route table %s belongs to a different network", *to.RouteTableId)
		}
		a.RouteTableAssociationId, a.RouteTableId = aws.String(awsid.NewID("rtbassoc")), to.RouteTableId
		to.Associations = append(to.Associations, a)
		RouteTables.Put(tx, sc, *to.RouteTableId, to)
		if aws.ToBool(a.Main) {
			v := Vpcs.Edit(tx, sc, *to.VpcId)
			v.MainRouteTable = *to.RouteTableId
			Vpcs.Put(tx, sc, *v.VpcId, v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ReplaceRouteTableAssociationOutput{NewAssociationId: a.RouteTableAssociationId, AssociationState: a.AssociationState}, nil
}

// DescribeRouteTables lists route tables.
func (s *Service) DescribeRouteTables(ctx context.Context, in *ec2.DescribeRouteTablesInput, _ ...func(*ec2.Options)) (*ec2.DescribeRouteTablesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := routeTableLister.run(s.store, sc, query{in.RouteTableIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeRouteTablesOutput{RouteTables: page, NextToken: next}, nil
}

// routes makes a filter over the routes of a table.
func routes(f func(*types.Route) []string) func(*types.RouteTable) []string {
	return func(v *types.RouteTable) []string { return each(v.Routes, f) }
}

func associations(f func(*types.RouteTableAssociation) []string) func(*types.RouteTable) []string {
	return func(v *types.RouteTable) []string { return each(v.Associations, f) }
}

var routeTableLister = &lister[RouteTable, types.RouteTable]{
	kind: routeTableKind,
	view: func(_ store.Reader, _ awsid.Scope, r *RouteTable) types.RouteTable { return r.RouteTable },
	id:   func(v *types.RouteTable) string { return deref(v.RouteTableId) },
	tags: func(v *types.RouteTable) []types.Tag { return v.Tags },
	filters: fields[types.RouteTable]{
		"route-table-id":                         func(v *types.RouteTable) []string { return one(v.RouteTableId) },
		"vpc-id":                                 func(v *types.RouteTable) []string { return one(v.VpcId) },
		"owner-id":                               func(v *types.RouteTable) []string { return one(v.OwnerId) },
		"association.main":                       associations(func(a *types.RouteTableAssociation) []string { return boolean(a.Main) }),
		"association.subnet-id":                  associations(func(a *types.RouteTableAssociation) []string { return one(a.SubnetId) }),
		"association.gateway-id":                 associations(func(a *types.RouteTableAssociation) []string { return one(a.GatewayId) }),
		"association.route-table-id":             associations(func(a *types.RouteTableAssociation) []string { return one(a.RouteTableId) }),
		"association.route-table-association-id": associations(func(a *types.RouteTableAssociation) []string { return one(a.RouteTableAssociationId) }),
		"route.destination-cidr-block":           routes(func(r *types.Route) []string { return one(r.DestinationCidrBlock) }),
		"route.destination-ipv6-cidr-block":      routes(func(r *types.Route) []string { return one(r.DestinationIpv6CidrBlock) }),
		"route.destination-prefix-list-id":       routes(func(r *types.Route) []string { return one(r.DestinationPrefixListId) }),
		"route.gateway-id":                       routes(func(r *types.Route) []string { return one(r.GatewayId) }),
		"route.nat-gateway-id":                   routes(func(r *types.Route) []string { return one(r.NatGatewayId) }),
		"route.instance-id":                      routes(func(r *types.Route) []string { return one(r.InstanceId) }),
		"route.origin":                           routes(func(r *types.Route) []string { return text(r.Origin) }),
		"route.state":                            routes(func(r *types.Route) []string { return text(r.State) }),
	}.more(routePaths),
}
