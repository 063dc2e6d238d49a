package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/endpointservices"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// ModifyVpcEndpoint changes an endpoint's policy, route tables, subnets and groups.
func (s *Service) ModifyVpcEndpoint(ctx context.Context, in *ec2.ModifyVpcEndpointInput, _ ...func(*ec2.Options)) (*ec2.ModifyVpcEndpointOutput, error) {
	if err := checkEndpointPolicy(in.PolicyDocument); err != nil {
		return nil, err
	}
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		e, err := vpcEndpointKind.edit(tx, sc, in.VpcEndpointId)
		if err != nil {
			return err
		}
		switch {
		case in.PolicyDocument != nil && aws.ToBool(in.ResetPolicy):
			return errCombination("The parameters policyDocument and resetPolicy cannot be used together")
		case in.PolicyDocument != nil:
			e.PolicyDocument = in.PolicyDocument
		case aws.ToBool(in.ResetPolicy):
			e.PolicyDocument = aws.String(fullAccess)
		}
		if gatewayEndpoint(e) {
			err = modifyGatewayEndpoint(tx, sc, e, in)
		} else {
			err = s.modifyInterfaceEndpoint(tx, sc, e, in)
		}
		if err != nil {
			return err
		}
		VpcEndpoints.Put(tx, sc, *e.VpcEndpointId, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifyVpcEndpointOutput{Return: aws.Bool(true)}, nil
}

func modifyGatewayEndpoint(tx *store.Tx, sc awsid.Scope, e *VpcEndpoint, in *ec2.ModifyVpcEndpointInput) error {
	if len(in.AddSubnetIds)+len(in.RemoveSubnetIds)+len(in.AddSecurityGroupIds)+len(in.RemoveSecurityGroupIds) > 0 {
		return errCombination("Subnets and security groups are not supported by endpoints of type Gateway")
	}
	for _, id := range in.RemoveRouteTableIds {
		if !slices.Contains(e.RouteTableIds, id) {
			return apiError("InvalidParameter", "Route table %s is not associated with the endpoint %s", id, *e.VpcEndpointId)
		}
		dropEndpointRoute(tx, sc, e, id)
	}
	for _, id := range in.AddRouteTableIds {
		if slices.Contains(e.RouteTableIds, id) {
			continue
		}
		if err := addEndpointRoute(tx, sc, e, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) modifyInterfaceEndpoint(tx *store.Tx, sc awsid.Scope, e *VpcEndpoint, in *ec2.ModifyVpcEndpointInput) error {
	if len(in.AddRouteTableIds)+len(in.RemoveRouteTableIds) > 0 {
		return errCombination("Route tables are not supported by endpoints of type Interface")
	}
	setDnsOptions(e, in.DnsOptions)
	if in.IpAddressType != "" {
		e.IpAddressType = in.IpAddressType
	}
	if in.PrivateDnsEnabled != nil {
		e.PrivateDnsEnabled = in.PrivateDnsEnabled
		if err := checkPrivateDns(tx, sc, e); err != nil {
			return err
		}
	}
	if err := s.modifyEndpointGroups(tx, sc, e, in.AddSecurityGroupIds, in.RemoveSecurityGroupIds); err != nil {
		return err
	}
	l := newLedger(tx, sc)
	for _, id := range in.RemoveSubnetIds {
		l.dropEndpointSubnet(e, id)
	}
	for _, id := range in.AddSubnetIds {
		if slices.Contains(e.SubnetIds, id) {
			continue
		}
		if err := s.addEndpointSubnet(l, e, id, ""); err != nil {
			return err
		}
	}
	l.flush()
	return nil
}

func (s *Service) modifyEndpointGroups(tx *store.Tx, sc awsid.Scope, e *VpcEndpoint, add, remove []string) error {
	if len(add)+len(remove) == 0 {
		return nil
	}
	var ids []string
	for _, g := range e.Groups {
		if !slices.Contains(remove, *g.GroupId) {
			ids = append(ids, *g.GroupId)
		}
	}
	for _, id := range add {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	groups, err := s.interfaceGroups(tx, sc, *e.VpcId, ids)
	if err != nil {
		return err
	}
	e.Groups = nil
	for _, g := range groups {
		e.Groups = append(e.Groups, types.SecurityGroupIdentifier{GroupId: g.GroupId, GroupName: g.GroupName})
	}
	for _, id := range e.NetworkInterfaceIds {
		if eni := NetworkInterfaces.Edit(tx, sc, id); eni != nil {
			eni.Groups = groups
			NetworkInterfaces.Put(tx, sc, id, eni)
		}
	}
	return nil
}

// DescribeVpcEndpointServices lists the services that endpoints reach: all names,
// and the details of one page.
func (s *Service) DescribeVpcEndpointServices(ctx context.Context, in *ec2.DescribeVpcEndpointServicesInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcEndpointServicesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(endpointServiceFilters, func(v *types.ServiceDetail) []types.Tag { return v.Tags }, in.Filters)
	if err != nil {
		return nil, err
	}
	for _, name := range in.ServiceNames {
		if _, ok := endpointservices.Lookup(sc.Region, name); !ok {
			return nil, apiError("InvalidServiceName", "The Vpc Endpoint Service '%s' does not exist", name)
		}
	}
	out := []types.ServiceDetail{}
	for _, svc := range endpointservices.All(sc.Region) {
		if len(in.ServiceNames) > 0 && !slices.Contains(in.ServiceNames, svc.Name) {
			continue
		}
		for _, typ := range serviceTypes(svc) { // EC2 has an entry a type
			if v := serviceDetail(sc, svc, types.ServiceType(typ)); match(&v) {
				out = append(out, v)
			}
		}
	}
	id := func(v *types.ServiceDetail) string {
		return deref(v.ServiceName) + " " + string(v.ServiceType[0].ServiceType)
	}
	page, next, err := paginate(sorted(out, id), id, in.MaxResults, in.NextToken, 1)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, v := range page {
		if !slices.Contains(names, *v.ServiceName) {
			names = append(names, *v.ServiceName)
		}
	}
	return &ec2.DescribeVpcEndpointServicesOutput{ServiceDetails: page, ServiceNames: names, NextToken: next}, nil
}

func serviceDetail(sc awsid.Scope, svc endpointservices.Service, typ types.ServiceType) types.ServiceDetail {
	v := types.ServiceDetail{
		ServiceName: &svc.Name, ServiceId: &svc.ID, ServiceRegion: &sc.Region, Owner: aws.String("amazon"), AcceptanceRequired: aws.Bool(false),
		ManagesVpcEndpoints: aws.Bool(false), VpcEndpointPolicySupported: aws.Bool(true), ServiceType: []types.ServiceTypeDetail{{ServiceType: typ}},
		SupportedIpAddressTypes: []types.ServiceConnectivityType{types.ServiceConnectivityTypeIpv4}, Tags: []types.Tag{},
		BaseEndpointDnsNames: []string{svc.DNS},
	}
	region, _ := regions.Get(sc.Region)
	for _, z := range region.Zones {
		v.AvailabilityZones = append(v.AvailabilityZones, z.Name)
	}
	if typ == types.ServiceTypeInterface {
		v.PrivateDnsName = &svc.DNS
		v.PrivateDnsNames = []types.PrivateDnsDetails{{PrivateDnsName: &svc.DNS}}
		v.PrivateDnsNameVerificationState = types.DnsNameStateVerified
	}
	return v
}

var endpointServiceFilters = fields[types.ServiceDetail]{
	"owner":          func(v *types.ServiceDetail) []string { return one(v.Owner) },
	"service-name":   func(v *types.ServiceDetail) []string { return one(v.ServiceName) },
	"service-region": func(v *types.ServiceDetail) []string { return one(v.ServiceRegion) },
	"service-type":   func(v *types.ServiceDetail) []string { return text(v.ServiceType[0].ServiceType) },
	"supported-ip-address-types": func(v *types.ServiceDetail) []string {
		return each(v.SupportedIpAddressTypes, func(t *types.ServiceConnectivityType) []string { return text(*t) })
	},
}
