package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/endpointservices"
)

// VpcEndpoint is a gateway or interface endpoint. Its routes and interfaces are in
// the route tables' and interfaces' records.
type VpcEndpoint struct {
	types.VpcEndpoint
	// Label is the random part of the endpoint's DNS names.
	Label string
}

// VpcEndpoints is keyed by id.
const VpcEndpoints store.Table[VpcEndpoint] = "ec2-vpc-endpoint"

var vpcEndpointKind = &kind[VpcEndpoint]{
	table: VpcEndpoints, typ: types.ResourceTypeVpcEndpoint, prefix: "vpce", noun: "Vpc Endpoint", param: "vpcEndpointId",
	malformed: "InvalidVpcEndpointId.Malformed", notFound: "InvalidVpcEndpointId.NotFound",
	missing: func(ids []string) string { return "The Vpc Endpoint Id '" + ids[0] + "' does not exist" },
	tags:    func(r *VpcEndpoint) *[]types.Tag { return &r.Tags },
	id:      func(r *VpcEndpoint) *string { return r.VpcEndpointId },
}

// fullAccess is the policy of an endpoint that was given none.
const fullAccess = `{"Statement":[{"Action":"*","Effect":"Allow","Principal":"*","Resource":"*"}]}`

func gatewayEndpoint(e *VpcEndpoint) bool { return e.VpcEndpointType == types.VpcEndpointTypeGateway }

// CreateVpcEndpoint connects a VPC with an AWS service.
func (s *Service) CreateVpcEndpoint(ctx context.Context, in *ec2.CreateVpcEndpointInput, _ ...func(*ec2.Options)) (*ec2.CreateVpcEndpointOutput, error) {
	typ := in.VpcEndpointType
	switch {
	case in.VpcId == nil:
		return nil, errMissing("vpcId")
	case in.ServiceName == nil:
		return nil, errMissing("serviceName")
	case typ == "":
		typ = types.VpcEndpointTypeGateway
	case typ != types.VpcEndpointTypeGateway && typ != types.VpcEndpointTypeInterface:
		return nil, apiError("UnsupportedOperation", "ekslocal has VPC endpoints of the types Gateway and Interface, not %s.", typ)
	}
	if err := checkEndpointPolicy(in.PolicyDocument); err != nil {
		return nil, err
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeVpcEndpoint)
	if err != nil {
		return nil, err
	}
	var e *VpcEndpoint
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rp, err := s.replayOf(tx, sc, "CreateVpcEndpoint", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if e = VpcEndpoints.Get(tx, sc, rp.ids[0]); e != nil {
				return nil
			}
		}
		v, err := vpcKind.get(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		svc, err := endpointService(sc, *in.ServiceName, typ)
		if err != nil {
			return err
		}
		if err := s.checkEndpointQuota(tx, sc, *v.VpcId, typ); err != nil {
			return err
		}
		now := s.now()
		e = &VpcEndpoint{Label: awsid.Hex(8), VpcEndpoint: types.VpcEndpoint{
			VpcEndpointId: aws.String(awsid.NewID("vpce")), VpcEndpointType: typ, VpcId: v.VpcId, ServiceName: &svc.Name, ServiceRegion: &sc.Region,
			OwnerId: &sc.Account, RequesterManaged: aws.Bool(false), State: "available", CreationTimestamp: &now, Tags: tags,
			PolicyDocument: aws.String(fullAccess), PrivateDnsEnabled: aws.Bool(false), Groups: []types.SecurityGroupIdentifier{},
			RouteTableIds: []string{}, SubnetIds: []string{}, NetworkInterfaceIds: []string{}, DnsEntries: []types.DnsEntry{},
		}}
		if in.PolicyDocument != nil {
			e.PolicyDocument = in.PolicyDocument
		}
		if typ == types.VpcEndpointTypeGateway {
			err = equipGatewayEndpoint(tx, sc, e, in)
		} else {
			err = s.equipInterfaceEndpoint(tx, sc, e, in)
		}
		if err != nil {
			return err
		}
		VpcEndpoints.Put(tx, sc, *e.VpcEndpointId, e)
		s.remember(tx, sc, rp, *e.VpcEndpointId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := vpcEndpointView(s.store, awsid.CallerFrom(ctx).Scope, e)
	if typ == types.VpcEndpointTypeInterface {
		out.State = "pending" // as AWS answers; the next describe says available
	}
	return &ec2.CreateVpcEndpointOutput{VpcEndpoint: &out, ClientToken: in.ClientToken}, nil
}

// EC2 checks no more of a policy than that it is one.
func checkEndpointPolicy(document *string) error {
	if document == nil {
		return nil
	}
	if _, err := policy.Parse(*document); err != nil {
		return apiError("InvalidPolicyDocument", "Policy is not valid: %s", err)
	}
	return nil
}

func (s *Service) checkEndpointQuota(tx *store.Tx, sc awsid.Scope, vpc string, typ types.VpcEndpointType) error {
	n := countIn(VpcEndpoints.List(tx, sc), func(e *VpcEndpoint) bool {
		return e.VpcEndpointType == typ && (typ == types.VpcEndpointTypeGateway || deref(e.VpcId) == vpc)
	})
	name := "interface-endpoints-per-vpc"
	if typ == types.VpcEndpointTypeGateway {
		name = "gateway-endpoints-per-region"
	}
	if n >= s.quota(name) {
		return errLimit("VpcEndpointLimitExceeded", "VPC endpoints")
	}
	return nil
}

func endpointService(sc awsid.Scope, name string, typ types.VpcEndpointType) (endpointservices.Service, error) {
	svc, ok := endpointservices.Lookup(sc.Region, name)
	if !ok {
		return svc, apiError("InvalidServiceName", "The Vpc Endpoint Service '%s' does not exist", name)
	}
	if typ == types.VpcEndpointTypeGateway && !svc.Gateway || typ == types.VpcEndpointTypeInterface && !svc.Interface {
		return svc, apiError("InvalidParameter", "Endpoint type (%s) does not match available service types ([%s]).", typ, strings.Join(serviceTypes(svc), ", "))
	}
	return svc, nil
}

func serviceTypes(svc endpointservices.Service) []string {
	var out []string
	if svc.Gateway {
		out = append(out, "Gateway")
	}
	if svc.Interface {
		out = append(out, "Interface")
	}
	return out
}

func equipGatewayEndpoint(tx *store.Tx, sc awsid.Scope, e *VpcEndpoint, in *ec2.CreateVpcEndpointInput) error {
	switch {
	case len(in.SubnetIds) > 0 || len(in.SecurityGroupIds) > 0:
		return errCombination("Subnets and security groups are not supported by endpoints of type Gateway")
	case aws.ToBool(in.PrivateDnsEnabled):
		return apiError("InvalidParameter", "Private DNS can only be set for endpoints of type Interface")
	}
	for _, id := range in.RouteTableIds {
		if err := addEndpointRoute(tx, sc, e, id); err != nil {
			return err
		}
	}
	return nil
}

// addEndpointRoute puts the route to a gateway endpoint into a route table.
func addEndpointRoute(tx *store.Tx, sc awsid.Scope, e *VpcEndpoint, table string) error {
	rt, err := routeTableKind.edit(tx, sc, &table)
	if err != nil {
		return err
	}
	if deref(rt.VpcId) != *e.VpcId {
		return errInvalid("Route table %s and VPC %s belong to different networks", table, *e.VpcId)
	}
	list := awsPrefixList(sc.Region, *e.ServiceName)
	d := destination{prefixList: list.PrefixListId}
	if slices.ContainsFunc(rt.Routes, d.is) {
		return apiError("RouteAlreadyExists", "route table %s already has a route with destination-prefix-list-id %s", table, *list.PrefixListId)
	}
	rt.Routes = append(rt.Routes, types.Route{
		DestinationPrefixListId: list.PrefixListId, GatewayId: e.VpcEndpointId, Origin: types.RouteOriginCreateRoute, State: types.RouteStateActive,
	})
	RouteTables.Put(tx, sc, table, rt)
	e.RouteTableIds = append(e.RouteTableIds, table)
	return nil
}

func dropEndpointRoute(tx *store.Tx, sc awsid.Scope, e *VpcEndpoint, table string) {
	if rt := RouteTables.Edit(tx, sc, table); rt != nil {
		rt.Routes = slices.DeleteFunc(rt.Routes, func(r types.Route) bool { return deref(r.GatewayId) == *e.VpcEndpointId })
		RouteTables.Put(tx, sc, table, rt)
	}
	e.RouteTableIds = slices.DeleteFunc(e.RouteTableIds, func(id string) bool { return id == table })
}

// DeleteVpcEndpoints deletes endpoints, each with a result of its own.
func (s *Service) DeleteVpcEndpoints(ctx context.Context, in *ec2.DeleteVpcEndpointsInput, _ ...func(*ec2.Options)) (*ec2.DeleteVpcEndpointsOutput, error) {
	if len(in.VpcEndpointIds) == 0 {
		return nil, errMissing("vpcEndpointId")
	}
	var failed []types.UnsuccessfulItem
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		failed = []types.UnsuccessfulItem{}
		l := newLedger(tx, sc)
		for _, id := range in.VpcEndpointIds {
			e, err := vpcEndpointKind.edit(tx, sc, &id)
			if err != nil {
				failed = append(failed, unsuccessful(id, err))
				continue
			}
			for _, table := range slices.Clone(e.RouteTableIds) {
				dropEndpointRoute(tx, sc, e, table)
			}
			for _, eni := range e.NetworkInterfaceIds {
				if rec := NetworkInterfaces.Edit(tx, sc, eni); rec != nil {
					l.dropInterface(rec)
				}
			}
			VpcEndpoints.Delete(tx, sc, id)
		}
		l.flush()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteVpcEndpointsOutput{Unsuccessful: failed}, nil
}

// DescribeVpcEndpoints lists endpoints.
func (s *Service) DescribeVpcEndpoints(ctx context.Context, in *ec2.DescribeVpcEndpointsInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcEndpointsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := vpcEndpointLister.run(s.store, sc, query{in.VpcEndpointIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeVpcEndpointsOutput{VpcEndpoints: page, NextToken: next}, nil
}

var vpcEndpointLister = &lister[VpcEndpoint, types.VpcEndpoint]{
	kind: vpcEndpointKind,
	view: vpcEndpointView,
	id:   func(v *types.VpcEndpoint) string { return deref(v.VpcEndpointId) },
	tags: func(v *types.VpcEndpoint) []types.Tag { return v.Tags },
	filters: fields[types.VpcEndpoint]{
		"ip-address-type":    func(v *types.VpcEndpoint) []string { return text(v.IpAddressType) },
		"service-name":       func(v *types.VpcEndpoint) []string { return one(v.ServiceName) },
		"service-region":     func(v *types.VpcEndpoint) []string { return one(v.ServiceRegion) },
		"vpc-id":             func(v *types.VpcEndpoint) []string { return one(v.VpcId) },
		"vpc-endpoint-id":    func(v *types.VpcEndpoint) []string { return one(v.VpcEndpointId) },
		"vpc-endpoint-state": func(v *types.VpcEndpoint) []string { return text(v.State) },
		"vpc-endpoint-type":  func(v *types.VpcEndpoint) []string { return text(v.VpcEndpointType) },
	},
	minPage: 1,
}
