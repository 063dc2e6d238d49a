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
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// privateName is the name that EC2's DNS gives an address.
func privateName(region, ip string) string {
	return "ip-" + strings.ReplaceAll(ip, ".", "-") + "." + privateDomain(region)
}

func privateDomain(region string) string {
	if region == "us-east-1" {
		return "ec2.internal"
	}
	return region + ".compute.internal"
}

// publicName is the name of a public address.
func publicName(region, ip string) string {
	domain := region + ".compute." + regions.PartitionOf(region).DNSSuffix
	if region == "us-east-1" {
		domain = "compute-1.amazonaws.com"
	}
	return "ec2-" + strings.ReplaceAll(ip, ".", "-") + "." + domain
}

// networkInterfaceView adds the DNS names, which come and go with the VPC's
// attribute.
func networkInterfaceView(r store.Reader, sc awsid.Scope, rec *NetworkInterface) types.NetworkInterface {
	v := rec.NetworkInterface
	vpc := Vpcs.Get(r, sc, deref(v.VpcId))
	named := vpc != nil && vpc.EnableDnsHostnames
	v.PrivateIpAddresses = slices.Clone(v.PrivateIpAddresses)
	for i := range v.PrivateIpAddresses {
		a := &v.PrivateIpAddresses[i]
		if named {
			a.PrivateDnsName = aws.String(privateName(sc.Region, deref(a.PrivateIpAddress)))
		}
		if a.Association != nil {
			assoc := *a.Association
			if named {
				assoc.PublicDnsName = aws.String(publicName(sc.Region, deref(assoc.PublicIp)))
			}
			a.Association = &assoc
		}
		if i == 0 {
			v.PrivateDnsName, v.Association = a.PrivateDnsName, a.Association
		}
	}
	if v.TagSet == nil {
		v.TagSet = []types.Tag{}
	}
	if v.Ipv6Addresses == nil {
		v.Ipv6Addresses = []types.NetworkInterfaceIpv6Address{}
	} else {
		v.Ipv6Address = v.Ipv6Addresses[0].Ipv6Address
	}
	return v
}

// DescribeNetworkInterfaces lists network interfaces.
func (s *Service) DescribeNetworkInterfaces(ctx context.Context, in *ec2.DescribeNetworkInterfacesInput, _ ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := networkInterfaceLister.run(s.store, sc, query{in.NetworkInterfaceIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeNetworkInterfacesOutput{NetworkInterfaces: page, NextToken: next}, nil
}

// DescribeNetworkInterfaceAttribute answers one attribute of an interface.
func (s *Service) DescribeNetworkInterfaceAttribute(ctx context.Context, in *ec2.DescribeNetworkInterfaceAttributeInput, _ ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfaceAttributeOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	eni, err := networkInterfaceKind.get(s.store, sc, in.NetworkInterfaceId)
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeNetworkInterfaceAttributeOutput{NetworkInterfaceId: eni.NetworkInterfaceId}
	switch in.Attribute {
	case types.NetworkInterfaceAttributeDescription:
		out.Description = &types.AttributeValue{Value: eni.Description}
	case types.NetworkInterfaceAttributeGroupSet:
		out.Groups = eni.Groups
	case types.NetworkInterfaceAttributeSourceDestCheck:
		out.SourceDestCheck = &types.AttributeBooleanValue{Value: eni.SourceDestCheck}
	case types.NetworkInterfaceAttributeAttachment:
		out.Attachment = eni.Attachment
	case "":
		return nil, errMissing("attribute")
	default:
		return nil, errInvalidValue(in.Attribute, "attribute")
	}
	return out, nil
}

// attachment makes a filter over an interface's attachment.
func attachment(f func(*types.NetworkInterfaceAttachment) []string) func(*types.NetworkInterface) []string {
	return func(v *types.NetworkInterface) []string {
		if v.Attachment == nil {
			return nil
		}
		return f(v.Attachment)
	}
}

// privateAddresses makes a filter over an interface's addresses.
func privateAddresses(f func(*types.NetworkInterfacePrivateIpAddress) []string) func(*types.NetworkInterface) []string {
	return func(v *types.NetworkInterface) []string { return each(v.PrivateIpAddresses, f) }
}

// association makes a filter over the public addresses of an interface.
func association(f func(*types.NetworkInterfaceAssociation) []string) func(*types.NetworkInterface) []string {
	return privateAddresses(func(a *types.NetworkInterfacePrivateIpAddress) []string {
		if a.Association == nil {
			return nil
		}
		return f(a.Association)
	})
}

var networkInterfaceLister = &lister[NetworkInterface, types.NetworkInterface]{
	kind: networkInterfaceKind,
	view: networkInterfaceView,
	id:   func(v *types.NetworkInterface) string { return deref(v.NetworkInterfaceId) },
	tags: func(v *types.NetworkInterface) []types.Tag { return v.TagSet },
	filters: fields[types.NetworkInterface]{
		"addresses.association.owner-id":   association(func(a *types.NetworkInterfaceAssociation) []string { return one(a.IpOwnerId) }),
		"addresses.association.public-ip":  association(func(a *types.NetworkInterfaceAssociation) []string { return one(a.PublicIp) }),
		"addresses.primary":                privateAddresses(func(a *types.NetworkInterfacePrivateIpAddress) []string { return boolean(a.Primary) }),
		"addresses.private-ip-address":     privateAddresses(func(a *types.NetworkInterfacePrivateIpAddress) []string { return one(a.PrivateIpAddress) }),
		"association.allocation-id":        association(func(a *types.NetworkInterfaceAssociation) []string { return one(a.AllocationId) }),
		"association.association-id":       association(func(a *types.NetworkInterfaceAssociation) []string { return one(a.AssociationId) }),
		"association.ip-owner-id":          association(func(a *types.NetworkInterfaceAssociation) []string { return one(a.IpOwnerId) }),
		"association.public-ip":            association(func(a *types.NetworkInterfaceAssociation) []string { return one(a.PublicIp) }),
		"association.public-dns-name":      association(func(a *types.NetworkInterfaceAssociation) []string { return one(a.PublicDnsName) }),
		"attachment.attach-time":           attachment(func(a *types.NetworkInterfaceAttachment) []string { return instant(a.AttachTime) }),
		"attachment.attachment-id":         attachment(func(a *types.NetworkInterfaceAttachment) []string { return one(a.AttachmentId) }),
		"attachment.delete-on-termination": attachment(func(a *types.NetworkInterfaceAttachment) []string { return boolean(a.DeleteOnTermination) }),
		"attachment.device-index":          attachment(func(a *types.NetworkInterfaceAttachment) []string { return number(a.DeviceIndex) }),
		"attachment.instance-id":           attachment(func(a *types.NetworkInterfaceAttachment) []string { return one(a.InstanceId) }),
		"attachment.instance-owner-id":     attachment(func(a *types.NetworkInterfaceAttachment) []string { return one(a.InstanceOwnerId) }),
		"attachment.status":                attachment(func(a *types.NetworkInterfaceAttachment) []string { return text(a.Status) }),
		"availability-zone":                func(v *types.NetworkInterface) []string { return one(v.AvailabilityZone) },
		"availability-zone-id":             func(v *types.NetworkInterface) []string { return one(v.AvailabilityZoneId) },
		"description":                      func(v *types.NetworkInterface) []string { return one(v.Description) },
		"group-id": func(v *types.NetworkInterface) []string {
			return each(v.Groups, func(g *types.GroupIdentifier) []string { return one(g.GroupId) })
		},
		"group-name": func(v *types.NetworkInterface) []string {
			return each(v.Groups, func(g *types.GroupIdentifier) []string { return one(g.GroupName) })
		},
		"interface-type": func(v *types.NetworkInterface) []string { return text(v.InterfaceType) },
		"ipv6-addresses.ipv6-address": func(v *types.NetworkInterface) []string {
			return each(v.Ipv6Addresses, func(a *types.NetworkInterfaceIpv6Address) []string { return one(a.Ipv6Address) })
		},
		"mac-address":          func(v *types.NetworkInterface) []string { return one(v.MacAddress) },
		"network-interface-id": func(v *types.NetworkInterface) []string { return one(v.NetworkInterfaceId) },
		"owner-id":             func(v *types.NetworkInterface) []string { return one(v.OwnerId) },
		"private-dns-name":     func(v *types.NetworkInterface) []string { return one(v.PrivateDnsName) },
		"private-ip-address":   func(v *types.NetworkInterface) []string { return one(v.PrivateIpAddress) },
		"requester-id":         func(v *types.NetworkInterface) []string { return one(v.RequesterId) },
		"requester-managed":    func(v *types.NetworkInterface) []string { return boolean(v.RequesterManaged) },
		"source-dest-check":    func(v *types.NetworkInterface) []string { return boolean(v.SourceDestCheck) },
		"status":               func(v *types.NetworkInterface) []string { return text(v.Status) },
		"subnet-id":            func(v *types.NetworkInterface) []string { return one(v.SubnetId) },
		"vpc-id":               func(v *types.NetworkInterface) []string { return one(v.VpcId) },
	}.more(operatorPaths),
}

// holds tells whether the interface has the address itself.
func holds(eni *NetworkInterface, ip netip.Addr) bool {
	return slices.ContainsFunc(eni.PrivateIpAddresses, func(a types.NetworkInterfacePrivateIpAddress) bool { return deref(a.PrivateIpAddress) == ip.String() })
}
