package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func tags(kind types.ResourceType, more ...types.Tag) []types.TagSpecification {
	return []types.TagSpecification{{ResourceType: kind,
		Tags: append([]types.Tag{{Key: aws.String("Name"), Value: aws.String(tag)}}, more...)}}
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: &name, Values: values}
}

func (r *run) makeVPC(ctx context.Context) (string, error) {
	found, err := r.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{filter("tag:Name", tag)}})
	if err != nil {
		return "", err
	}
	if len(found.Vpcs) > 0 {
		r.vpc = *found.Vpcs[0].VpcId
		return r.vpc + " " + vpcCIDR + ", was there", nil
	}
	made, err := r.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String(vpcCIDR), TagSpecifications: tags(types.ResourceTypeVpc)})
	if err != nil {
		return "", err
	}
	r.vpc = *made.Vpc.VpcId
	return r.vpc + " " + vpcCIDR, nil
}

func (r *run) makeSubnets(ctx context.Context) (string, error) {
	zones, err := r.ec2.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{})
	if err != nil {
		return "", err
	}
	if len(zones.AvailabilityZones) < len(subnetCIDRs) {
		return "", fmt.Errorf("the region has only %d availability zones", len(zones.AvailabilityZones))
	}
	found, err := r.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{filter("vpc-id", r.vpc)}})
	if err != nil {
		return "", err
	}
	there := map[string]string{}
	for _, s := range found.Subnets {
		there[*s.CidrBlock] = *s.SubnetId
	}
	var names []string
	for i, cidr := range subnetCIDRs {
		zone := *zones.AvailabilityZones[i].ZoneName
		id := there[cidr]
		if id == "" {
			made, err := r.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &r.vpc, CidrBlock: &cidr, AvailabilityZone: &zone,
				TagSpecifications: tags(types.ResourceTypeSubnet, types.Tag{Key: aws.String("kubernetes.io/role/elb"), Value: aws.String("1")})})
			if err != nil {
				return "", err
			}
			id = *made.Subnet.SubnetId
		}
		_, err := r.ec2.ModifySubnetAttribute(ctx, &ec2.ModifySubnetAttributeInput{SubnetId: &id,
			MapPublicIpOnLaunch: &types.AttributeBooleanValue{Value: aws.Bool(true)}})
		if err != nil {
			return "", err
		}
		r.subnets = append(r.subnets, id)
		names = append(names, zone+" "+cidr)
	}
	return strings.Join(names, ", "), nil
}

func (r *run) makeRoutes(ctx context.Context) (string, error) {
	gateway, err := r.gateway(ctx)
	if err != nil {
		return "", err
	}
	tables, err := r.ec2.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{
		Filters: []types.Filter{filter("vpc-id", r.vpc), filter("tag:Name", tag)}})
	if err != nil {
		return "", err
	}
	var table types.RouteTable
	if len(tables.RouteTables) > 0 {
		table = tables.RouteTables[0]
	} else {
		made, err := r.ec2.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: &r.vpc, TagSpecifications: tags(types.ResourceTypeRouteTable)})
		if err != nil {
			return "", err
		}
		table = *made.RouteTable
	}
	routed := false
	for _, route := range table.Routes {
		routed = routed || aws.ToString(route.GatewayId) == gateway
	}
	if !routed {
		_, err := r.ec2.CreateRoute(ctx, &ec2.CreateRouteInput{RouteTableId: table.RouteTableId,
			DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: &gateway})
		if err != nil {
			return "", err
		}
	}
	associated := map[string]bool{}
	for _, a := range table.Associations {
		associated[aws.ToString(a.SubnetId)] = true
	}
	for _, subnet := range r.subnets {
		if associated[subnet] {
			continue
		}
		if _, err := r.ec2.AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: table.RouteTableId, SubnetId: &subnet}); err != nil {
			return "", err
		}
	}
	return gateway + ", " + *table.RouteTableId, nil
}

// gateway returns the VPC's internet gateway, made and attached.
func (r *run) gateway(ctx context.Context) (string, error) {
	found, err := r.ec2.DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{Filters: []types.Filter{filter("tag:Name", tag)}})
	if err != nil {
		return "", err
	}
	var id string
	for _, g := range found.InternetGateways {
		if len(g.Attachments) > 0 && aws.ToString(g.Attachments[0].VpcId) == r.vpc {
			return *g.InternetGatewayId, nil
		}
		if len(g.Attachments) == 0 { // of a run that was interrupted here
			id = *g.InternetGatewayId
		}
	}
	if id == "" {
		made, err := r.ec2.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{TagSpecifications: tags(types.ResourceTypeInternetGateway)})
		if err != nil {
			return "", err
		}
		id = *made.InternetGateway.InternetGatewayId
	}
	_, err = r.ec2.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: &id, VpcId: &r.vpc})
	return id, err
}

// addresses are the network interfaces' addresses in each of the demo's subnets.
func (r *run) addresses(ctx context.Context) ([]types.Subnet, error) {
	out, err := r.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: r.subnets})
	if err != nil {
		return nil, err
	}
	if len(out.Subnets) != len(r.subnets) {
		return nil, errors.New("a subnet is gone")
	}
	return out.Subnets, nil
}
