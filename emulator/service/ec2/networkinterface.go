package ec2

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// CreateNetworkInterface creates an interface in a subnet. One created by an AWS
// service for itself (EKS's control plane, load balancers) is in use at once by
// something that the account does not own.
func (s *Service) CreateNetworkInterface(ctx context.Context, in *ec2.CreateNetworkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.CreateNetworkInterfaceOutput, error) {
	w, err := wishOf(in.PrivateIpAddress, in.PrivateIpAddresses, in.SecondaryPrivateIpAddressCount, in.Ipv4Prefixes, in.Ipv4PrefixCount)
	if err != nil {
		return nil, err
	}
	if w.v6, err = wish6Of(in.Ipv6Addresses, in.Ipv6AddressCount, in.Ipv6Prefixes, in.Ipv6PrefixCount, in.EnablePrimaryIpv6); err != nil {
		return nil, err
	}
	kind := types.NetworkInterfaceTypeInterface
	switch in.InterfaceType {
	case "":
	case types.NetworkInterfaceCreationTypeEfa, types.NetworkInterfaceCreationTypeEfaOnly, types.NetworkInterfaceCreationTypeBranch, types.NetworkInterfaceCreationTypeTrunk:
		kind = types.NetworkInterfaceType(in.InterfaceType)
	default:
		return nil, errInvalidValue(in.InterfaceType, "interfaceType")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeNetworkInterface)
	if err != nil {
		return nil, err
	}
	var eni *NetworkInterface
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rp, err := s.replayOf(tx, sc, "CreateNetworkInterface", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if eni = NetworkInterfaces.Get(tx, sc, rp.ids[0]); eni != nil {
				return nil
			}
		}
		sub, err := subnetKind.get(tx, sc, in.SubnetId)
		if err != nil {
			return err
		}
		groups, err := s.interfaceGroups(tx, sc, *sub.VpcId, in.Groups)
		if err != nil {
			return err
		}
		l := newLedger(tx, sc)
		eni, err = l.newInterface(sub, w)
		if err != nil {
			return err
		}
		l.flush()
		eni.Description, eni.Groups, eni.InterfaceType, eni.TagSet = aws.String(deref(in.Description)), groups, kind, tags
		s.setRequester(ctx, eni)
		NetworkInterfaces.Put(tx, sc, *eni.NetworkInterfaceId, eni)
		s.remember(tx, sc, rp, *eni.NetworkInterfaceId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	out := networkInterfaceView(s.store, sc, eni)
	if out.Attachment == nil {
		out.Status = "pending" // as AWS answers, outside the model's enum; the next describe says available
	}
	return &ec2.CreateNetworkInterfaceOutput{NetworkInterface: &out, ClientToken: in.ClientToken}, nil
}

// serviceOwner is an AWS service that makes interfaces in its customers' subnets.
type serviceOwner struct{ account, session string }

// serviceOwners are by the service's name.
var serviceOwners = map[string]serviceOwner{
	"eks":                  {"381491832980", "AmazonEKS"},
	"eks-fargate":          {"557319042875", "AmazonEKSFargate"},
	"elasticloadbalancing": {"amazon-elb", "AmazonELB"},
}

// serviceOf returns the service that calls.
func serviceOf(ctx context.Context) (serviceOwner, bool) {
	name, _ := strings.CutSuffix(awsid.CallerFrom(ctx).SourceIP, ".amazonaws.com")
	owner, ok := serviceOwners[name]
	return owner, ok && fromService(ctx)
}

// setRequester records who asked for an interface.
func (s *Service) setRequester(ctx context.Context, eni *NetworkInterface) {
	caller := awsid.CallerFrom(ctx)
	eni.RequesterId, eni.RequesterManaged = aws.String(caller.UserID), aws.Bool(false)
	owner, ok := serviceOf(ctx)
	if !ok {
		return
	}
	eni.RequesterId = aws.String("AROA" + strings.ToUpper(awsid.Hex(16)) + ":" + owner.session)
	eni.Status = types.NetworkInterfaceStatusInUse
	now := s.now()
	eni.Attachment = &types.NetworkInterfaceAttachment{
		AttachmentId: aws.String("ela-attach-" + awsid.Hex(17)), AttachTime: &now, DeleteOnTermination: aws.Bool(false),
		DeviceIndex: aws.Int32(1), NetworkCardIndex: aws.Int32(0), InstanceOwnerId: aws.String(owner.account), Status: types.AttachmentStatusAttached,
	}
}

// foreign tells whether an AWS service holds the interface.
func foreign(eni *NetworkInterface) bool {
	return eni.Attachment != nil && eni.Attachment.InstanceId == nil
}

// wishOf reads the address parameters that CreateNetworkInterface and
// RunInstances share.
func wishOf(ip *string, ips []types.PrivateIpAddressSpecification, count *int32, prefixes []types.Ipv4PrefixSpecificationRequest, prefixCount *int32) (wish, error) {
	w := wish{primary: true, primaryIP: deref(ip), count: int(aws.ToInt32(count)), prefixCount: int(aws.ToInt32(prefixCount))}
	for _, p := range ips {
		switch {
		case !aws.ToBool(p.Primary):
			w.secondary = append(w.secondary, deref(p.PrivateIpAddress))
		case w.primaryIP != "" && w.primaryIP != deref(p.PrivateIpAddress):
			return w, errCombination("Only one primary private IP address can be specified.")
		default:
			w.primaryIP = deref(p.PrivateIpAddress)
		}
	}
	for _, p := range prefixes {
		w.prefixes = append(w.prefixes, deref(p.Ipv4Prefix))
	}
	return w, w.check()
}

// interfaceGroups looks up security groups, the VPC's default one without any.
func (s *Service) interfaceGroups(tx *store.Tx, sc awsid.Scope, vpc string, ids []string) ([]types.GroupIdentifier, error) {
	if len(ids) == 0 {
		ids = []string{Vpcs.Get(tx, sc, vpc).DefaultSecurityGroup}
	}
	if len(ids) > s.quota("security-groups-per-interface") {
		return nil, apiError("SecurityGroupsPerInterfaceLimitExceeded", "The maximum number of security groups per interface has been reached.")
	}
	var out []types.GroupIdentifier
	for _, id := range ids {
		g, err := securityGroupKind.get(tx, sc, &id)
		if err != nil {
			return nil, err
		}
		if deref(g.VpcId) != vpc {
			return nil, apiError("InvalidParameter", "Security group %s and subnet belong to different networks.", id)
		}
		if !slices.ContainsFunc(out, func(have types.GroupIdentifier) bool { return *have.GroupId == id }) {
			out = append(out, types.GroupIdentifier{GroupId: g.GroupId, GroupName: g.GroupName})
		}
	}
	return out, nil
}

// newInterface makes an interface with the wished addresses, for the caller to
// finish and put.
func (l *ledger) newInterface(sub *Subnet, w wish) (*NetworkInterface, error) {
	if w.v6.empty() && (aws.ToBool(sub.AssignIpv6AddressOnCreation) || aws.ToBool(sub.Ipv6Native)) {
		w.v6.count = 1
	}
	got, err := take(l.pool(*sub.SubnetId), w)
	if err != nil {
		return nil, err
	}
	eni := &NetworkInterface{types.NetworkInterface{
		NetworkInterfaceId: aws.String(awsid.NewID("eni")), SubnetId: sub.SubnetId, VpcId: sub.VpcId, OwnerId: aws.String(l.sc.Account),
		AvailabilityZone: sub.AvailabilityZone, AvailabilityZoneId: sub.AvailabilityZoneId, MacAddress: aws.String(newMAC()),
		InterfaceType: types.NetworkInterfaceTypeInterface, SourceDestCheck: aws.Bool(true), Status: types.NetworkInterfaceStatusAvailable,
		Description: aws.String(""),
	}}
	if got.primary.IsValid() {
		eni.PrivateIpAddress = aws.String(got.primary.String())
		eni.PrivateIpAddresses = []types.NetworkInterfacePrivateIpAddress{{PrivateIpAddress: eni.PrivateIpAddress, Primary: aws.Bool(true)}}
	}
	eni.add(got)
	if w.v6.primary && len(eni.Ipv6Addresses) > 0 {
		eni.Ipv6Addresses[0].IsPrimaryIpv6 = aws.Bool(true)
	}
	return eni, nil
}

// add records granted secondary addresses and prefixes.
func (eni *NetworkInterface) add(g grant) {
	for _, a := range g.secondary {
		eni.PrivateIpAddresses = append(eni.PrivateIpAddresses, types.NetworkInterfacePrivateIpAddress{PrivateIpAddress: aws.String(a.String()), Primary: aws.Bool(false)})
	}
	for _, p := range g.prefixes {
		eni.Ipv4Prefixes = append(eni.Ipv4Prefixes, types.Ipv4PrefixSpecification{Ipv4Prefix: aws.String(p.String())})
	}
	for _, a := range g.v6.addresses {
		eni.Ipv6Addresses = append(eni.Ipv6Addresses, types.NetworkInterfaceIpv6Address{Ipv6Address: aws.String(a.String()), IsPrimaryIpv6: aws.Bool(false)})
	}
	for _, p := range g.v6.prefixes {
		eni.Ipv6Prefixes = append(eni.Ipv6Prefixes, types.Ipv6PrefixSpecification{Ipv6Prefix: aws.String(p.String())})
	}
}

// newMAC returns a locally administered unicast address.
func newMAC() string {
	h := "0a" + awsid.Hex(10)
	b, _ := hex.DecodeString(h)
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = h[2*i : 2*i+2]
	}
	return strings.Join(parts, ":")
}

// DeleteNetworkInterface deletes an interface that nothing uses. The service
// that made one for itself may delete it as it is.
func (s *Service) DeleteNetworkInterface(ctx context.Context, in *ec2.DeleteNetworkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.DeleteNetworkInterfaceOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		eni, err := networkInterfaceKind.edit(tx, sc, in.NetworkInterfaceId)
		if err != nil {
			return err
		}
		if owner, ok := serviceOf(ctx); eni.Attachment != nil && !(ok && foreign(eni) && deref(eni.Attachment.InstanceOwnerId) == owner.account) {
			return errInvalid("Network interface '%s' is currently in use.", *eni.NetworkInterfaceId)
		}
		l := newLedger(tx, sc)
		l.dropInterface(eni)
		l.flush()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteNetworkInterfaceOutput{}, nil
}

// dropInterface deletes an interface, gives its addresses back and takes its
// Elastic IPs off it.
func (l *ledger) dropInterface(eni *NetworkInterface) {
	l.releaseAll(eni)
	dropTrunkAssociations(l.tx, l.sc, eni)
	for i := range eni.PrivateIpAddresses {
		dropAssociation(l.tx, l.sc, eni, i)
	}
	NetworkInterfaces.Delete(l.tx, l.sc, *eni.NetworkInterfaceId)
}
