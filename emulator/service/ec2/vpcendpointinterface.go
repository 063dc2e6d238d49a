package ec2

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/endpointservices"
)

// endpointInterface is what EC2 says of an endpoint's interface.
const endpointInterface = types.NetworkInterfaceTypeVpcEndpoint

func (s *Service) equipInterfaceEndpoint(tx *store.Tx, sc awsid.Scope, e *VpcEndpoint, in *ec2.CreateVpcEndpointInput) error {
	if len(in.RouteTableIds) > 0 {
		return errCombination("Route tables are not supported by endpoints of type Interface")
	}
	e.IpAddressType = in.IpAddressType
	if e.IpAddressType == "" {
		e.IpAddressType = types.IpAddressTypeIpv4
	}
	e.DnsOptions = &types.DnsOptions{DnsRecordIpType: types.DnsRecordIpType(e.IpAddressType)}
	setDnsOptions(e, in.DnsOptions)
	groups, err := s.interfaceGroups(tx, sc, *e.VpcId, in.SecurityGroupIds)
	if err != nil {
		return err
	}
	for _, g := range groups {
		e.Groups = append(e.Groups, types.SecurityGroupIdentifier{GroupId: g.GroupId, GroupName: g.GroupName})
	}
	e.PrivateDnsEnabled = aws.Bool(in.PrivateDnsEnabled == nil || *in.PrivateDnsEnabled)
	if err := checkPrivateDns(tx, sc, e); err != nil {
		return err
	}
	subnets := slices.Clone(in.SubnetIds)
	for _, c := range in.SubnetConfigurations {
		if c.SubnetId != nil && !slices.Contains(subnets, *c.SubnetId) {
			subnets = append(subnets, *c.SubnetId)
		}
	}
	l := newLedger(tx, sc)
	for _, id := range subnets {
		ip := ""
		for _, c := range in.SubnetConfigurations {
			if deref(c.SubnetId) == id {
				ip = deref(c.Ipv4)
			}
		}
		if err := s.addEndpointSubnet(l, e, id, ip); err != nil {
			return err
		}
	}
	l.flush()
	return nil
}

func setDnsOptions(e *VpcEndpoint, o *types.DnsOptionsSpecification) {
	if o == nil {
		return
	}
	if e.DnsOptions == nil {
		e.DnsOptions = &types.DnsOptions{}
	}
	if o.DnsRecordIpType != "" {
		e.DnsOptions.DnsRecordIpType = o.DnsRecordIpType
	}
	if o.PrivateDnsOnlyForInboundResolverEndpoint != nil {
		e.DnsOptions.PrivateDnsOnlyForInboundResolverEndpoint = o.PrivateDnsOnlyForInboundResolverEndpoint
	}
}

// checkPrivateDns wants a VPC that has DNS and in which nobody else has the name.
func checkPrivateDns(tx *store.Tx, sc awsid.Scope, e *VpcEndpoint) error {
	if !aws.ToBool(e.PrivateDnsEnabled) {
		return nil
	}
	v := Vpcs.Get(tx, sc, *e.VpcId)
	if v == nil || !v.EnableDnsSupport || !v.EnableDnsHostnames {
		return apiError("InvalidParameter", "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for %s", *e.VpcId)
	}
	svc, _ := endpointservices.Lookup(sc.Region, *e.ServiceName)
	for _, o := range VpcEndpoints.List(tx, sc) {
		if deref(o.VpcId) == *e.VpcId && deref(o.ServiceName) == *e.ServiceName && aws.ToBool(o.PrivateDnsEnabled) && *o.VpcEndpointId != *e.VpcEndpointId {
			return apiError("InvalidParameter", "private-dns-enabled cannot be set because there is already a conflicting DNS domain for %s in the VPC %s", svc.DNS, *e.VpcId)
		}
	}
	return nil
}

// addEndpointSubnet gives an endpoint its interface in a subnet, one a zone.
func (s *Service) addEndpointSubnet(l *ledger, e *VpcEndpoint, id, ip string) error {
	sub, err := subnetKind.get(l.tx, l.sc, &id)
	if err != nil {
		return apiErrorLike(err, "InvalidSubnetID.NotFound", "InvalidSubnetId.NotFound", "The subnet ID '%s' does not exist", id)
	}
	if deref(sub.VpcId) != *e.VpcId {
		return apiError("InvalidParameter", "The subnet ID '%s' is in a different VPC than the endpoint", id)
	}
	for _, have := range e.SubnetIds {
		if o := Subnets.Get(l.tx, l.sc, have); o != nil && deref(o.AvailabilityZone) == deref(sub.AvailabilityZone) {
			return apiError("DuplicateSubnetsInSameZone", "Found another VPC endpoint subnet in the availability zone of %s. VPC endpoint subnets should be in different availability zones supported by the VPC endpoint service.", id)
		}
	}
	eni, err := l.newInterface(sub, wish{primary: true, primaryIP: ip})
	if err != nil {
		return err
	}
	eni.InterfaceType, eni.Status = endpointInterface, types.NetworkInterfaceStatusInUse
	eni.Description = aws.String("VPC Endpoint Interface " + *e.VpcEndpointId)
	eni.RequesterManaged, eni.RequesterId = aws.Bool(true), aws.String(l.sc.Account)
	eni.Groups = endpointGroups(e)
	now := s.now()
	eni.Attachment = &types.NetworkInterfaceAttachment{
		AttachmentId: aws.String("ela-attach-" + awsid.Hex(17)), AttachTime: &now, DeviceIndex: aws.Int32(1), DeleteOnTermination: aws.Bool(false),
		NetworkCardIndex: aws.Int32(0), InstanceOwnerId: aws.String("amazon-aws"), Status: types.AttachmentStatusAttached,
	}
	NetworkInterfaces.Put(l.tx, l.sc, *eni.NetworkInterfaceId, eni)
	e.SubnetIds = append(e.SubnetIds, id)
	e.NetworkInterfaceIds = append(e.NetworkInterfaceIds, *eni.NetworkInterfaceId)
	return nil
}

func endpointGroups(e *VpcEndpoint) []types.GroupIdentifier {
	out := []types.GroupIdentifier{}
	for _, g := range e.Groups {
		out = append(out, types.GroupIdentifier{GroupId: g.GroupId, GroupName: g.GroupName})
	}
	return out
}

func (l *ledger) dropEndpointSubnet(e *VpcEndpoint, subnet string) {
	e.SubnetIds = slices.DeleteFunc(e.SubnetIds, func(id string) bool { return id == subnet })
	e.NetworkInterfaceIds = slices.DeleteFunc(e.NetworkInterfaceIds, func(id string) bool {
		eni := NetworkInterfaces.Edit(l.tx, l.sc, id)
		if eni == nil || deref(eni.SubnetId) != subnet {
			return eni == nil
		}
		l.dropInterface(eni)
		return true
	})
}

// hostedZone makes up the id of the zone that a name is in; AWS has one a region
// and service.
func hostedZone(seed string) *string {
	sum := sha256.Sum256([]byte(seed))
	return aws.String("Z" + strings.ToUpper(hex.EncodeToString(sum[:]))[:13])
}

// vpcEndpointView adds the DNS names, which follow from subnets and attributes.
func vpcEndpointView(r store.Reader, sc awsid.Scope, rec *VpcEndpoint) types.VpcEndpoint {
	v := rec.VpcEndpoint
	if v.Tags == nil {
		v.Tags = []types.Tag{}
	}
	if v.VpcEndpointType != types.VpcEndpointTypeInterface || len(v.SubnetIds) == 0 {
		return v
	}
	svc, _ := endpointservices.Lookup(sc.Region, *v.ServiceName)
	name := strings.TrimPrefix(strings.TrimSuffix(svc.DNS, "."+sc.DNSSuffix()), "*.") + ".vpce." + sc.DNSSuffix()
	zone := hostedZone(sc.Region + "/vpce")
	v.DnsEntries = []types.DnsEntry{{DnsName: aws.String(*v.VpcEndpointId + "-" + rec.Label + "." + name), HostedZoneId: zone}}
	for _, id := range v.SubnetIds {
		if sub := Subnets.Get(r, sc, id); sub != nil {
			v.DnsEntries = append(v.DnsEntries, types.DnsEntry{
				DnsName: aws.String(*v.VpcEndpointId + "-" + rec.Label + "-" + *sub.AvailabilityZone + "." + name), HostedZoneId: zone,
			})
		}
	}
	if aws.ToBool(v.PrivateDnsEnabled) {
		v.DnsEntries = append(v.DnsEntries, types.DnsEntry{DnsName: aws.String(svc.DNS), HostedZoneId: hostedZone(*v.VpcId + "/" + svc.DNS)})
	}
	return v
}
