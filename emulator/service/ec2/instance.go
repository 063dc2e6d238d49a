package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// instanceView composes an instance with its interfaces.
func instanceView(r store.Reader, sc awsid.Scope, rec *Instance) types.Instance {
	v := rec.Instance
	v.NetworkInterfaces = []types.InstanceNetworkInterface{}
	if v.SecurityGroups == nil {
		v.SecurityGroups = []types.GroupIdentifier{}
	}
	if v.State.Name == types.InstanceStateNameTerminated {
		// The record keeps its place for those who clean up after the instance.
		v.PrivateIpAddress, v.PrivateDnsName, v.SubnetId, v.VpcId = nil, aws.String(""), nil, nil
		v.SecurityGroups, v.BlockDeviceMappings = []types.GroupIdentifier{}, []types.InstanceBlockDeviceMapping{}
		return v
	}
	for i, id := range rec.Interfaces {
		eni := NetworkInterfaces.Get(r, sc, id)
		if eni == nil || eni.Attachment == nil {
			continue
		}
		shown := instanceInterface(networkInterfaceView(r, sc, eni))
		v.NetworkInterfaces = append(v.NetworkInterfaces, shown)
		if a := shown.Association; i == 0 && a != nil {
			v.PublicIpAddress, v.PublicDnsName = a.PublicIp, aws.String(deref(a.PublicDnsName))
		}
	}
	return v
}

// instanceInterface is how DescribeInstances shows an interface.
func instanceInterface(eni types.NetworkInterface) types.InstanceNetworkInterface {
	out := types.InstanceNetworkInterface{
		NetworkInterfaceId: eni.NetworkInterfaceId, Description: eni.Description, Groups: eni.Groups, MacAddress: eni.MacAddress,
		InterfaceType: aws.String(string(eni.InterfaceType)), OwnerId: eni.OwnerId, PrivateDnsName: eni.PrivateDnsName,
		PrivateIpAddress: eni.PrivateIpAddress, SourceDestCheck: eni.SourceDestCheck, Status: eni.Status, SubnetId: eni.SubnetId, VpcId: eni.VpcId,
		Association: instanceAssociation(eni.Association), Ipv6Addresses: []types.InstanceIpv6Address{},
	}
	if a := eni.Attachment; a != nil {
		out.Attachment = &types.InstanceNetworkInterfaceAttachment{
			AttachTime: a.AttachTime, AttachmentId: a.AttachmentId, DeleteOnTermination: a.DeleteOnTermination,
			DeviceIndex: a.DeviceIndex, NetworkCardIndex: a.NetworkCardIndex, Status: a.Status,
		}
	}
	for _, p := range eni.PrivateIpAddresses {
		out.PrivateIpAddresses = append(out.PrivateIpAddresses, types.InstancePrivateIpAddress{
			Primary: p.Primary, PrivateDnsName: p.PrivateDnsName, PrivateIpAddress: p.PrivateIpAddress, Association: instanceAssociation(p.Association),
		})
	}
	for _, p := range eni.Ipv4Prefixes {
		out.Ipv4Prefixes = append(out.Ipv4Prefixes, types.InstanceIpv4Prefix{Ipv4Prefix: p.Ipv4Prefix})
	}
	for _, a := range eni.Ipv6Addresses {
		out.Ipv6Addresses = append(out.Ipv6Addresses, types.InstanceIpv6Address{Ipv6Address: a.Ipv6Address, IsPrimaryIpv6: a.IsPrimaryIpv6})
	}
	for _, p := range eni.Ipv6Prefixes {
		out.Ipv6Prefixes = append(out.Ipv6Prefixes, types.InstanceIpv6Prefix{Ipv6Prefix: p.Ipv6Prefix})
	}
	return out
}

func instanceAssociation(a *types.NetworkInterfaceAssociation) *types.InstanceNetworkInterfaceAssociation {
	if a == nil {
		return nil
	}
	return &types.InstanceNetworkInterfaceAssociation{PublicIp: a.PublicIp, PublicDnsName: aws.String(deref(a.PublicDnsName)), IpOwnerId: a.IpOwnerId}
}

// instanceItem is an instance with what the reservation says about it.
type instanceItem struct {
	types.Instance
	reservation, owner string
}

// DescribeInstances lists instances by reservation.
func (s *Service) DescribeInstances(ctx context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	if in.MaxResults != nil && len(in.InstanceIds) > 0 {
		return nil, errCombination("The parameter instancesSet cannot be used with the parameter maxResults")
	}
	page, next, err := instanceLister.run(s.store, sc, query{in.InstanceIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeInstancesOutput{Reservations: []types.Reservation{}, NextToken: next}
	at := map[string]int{}
	for _, item := range page {
		i, ok := at[item.reservation]
		if !ok {
			i = len(out.Reservations)
			at[item.reservation] = i
			out.Reservations = append(out.Reservations, types.Reservation{
				ReservationId: aws.String(item.reservation), OwnerId: aws.String(item.owner), Groups: []types.GroupIdentifier{},
			})
		}
		out.Reservations[i].Instances = append(out.Reservations[i].Instances, item.Instance)
	}
	return out, nil
}

// interfaces makes a filter over an instance's interfaces.
func interfaces(f func(*types.InstanceNetworkInterface) []string) func(*instanceItem) []string {
	return func(v *instanceItem) []string { return each(v.NetworkInterfaces, f) }
}

var instanceLister = &lister[Instance, instanceItem]{
	kind: instanceKind,
	view: func(r store.Reader, sc awsid.Scope, rec *Instance) instanceItem {
		return instanceItem{instanceView(r, sc, rec), rec.ReservationID, sc.Account}
	},
	id:   func(v *instanceItem) string { return deref(v.InstanceId) },
	tags: func(v *instanceItem) []types.Tag { return v.Tags },
	filters: fields[instanceItem]{
		"architecture":                 func(v *instanceItem) []string { return text(v.Architecture) },
		"availability-zone":            func(v *instanceItem) []string { return one(v.Placement.AvailabilityZone) },
		"availability-zone-id":         func(v *instanceItem) []string { return one(v.Placement.AvailabilityZoneId) },
		"client-token":                 func(v *instanceItem) []string { return one(v.ClientToken) },
		"dns-name":                     func(v *instanceItem) []string { return one(v.PublicDnsName) },
		"hypervisor":                   func(v *instanceItem) []string { return text(v.Hypervisor) },
		"image-id":                     func(v *instanceItem) []string { return one(v.ImageId) },
		"instance-id":                  func(v *instanceItem) []string { return one(v.InstanceId) },
		"instance-lifecycle":           func(v *instanceItem) []string { return text(v.InstanceLifecycle) },
		"instance-state-code":          func(v *instanceItem) []string { return number(v.State.Code) },
		"instance-state-name":          func(v *instanceItem) []string { return text(v.State.Name) },
		"instance-type":                func(v *instanceItem) []string { return text(v.InstanceType) },
		"instance.group-id":            instanceGroups(func(g *types.GroupIdentifier) []string { return one(g.GroupId) }),
		"instance.group-name":          instanceGroups(func(g *types.GroupIdentifier) []string { return one(g.GroupName) }),
		"ip-address":                   func(v *instanceItem) []string { return one(v.PublicIpAddress) },
		"key-name":                     func(v *instanceItem) []string { return one(v.KeyName) },
		"launch-index":                 func(v *instanceItem) []string { return number(v.AmiLaunchIndex) },
		"launch-time":                  func(v *instanceItem) []string { return instant(v.LaunchTime) },
		"owner-id":                     func(v *instanceItem) []string { return []string{v.owner} },
		"placement-group-name":         func(v *instanceItem) []string { return one(v.Placement.GroupName) },
		"private-dns-name":             func(v *instanceItem) []string { return one(v.PrivateDnsName) },
		"private-ip-address":           func(v *instanceItem) []string { return one(v.PrivateIpAddress) },
		"reservation-id":               func(v *instanceItem) []string { return []string{v.reservation} },
		"root-device-name":             func(v *instanceItem) []string { return one(v.RootDeviceName) },
		"root-device-type":             func(v *instanceItem) []string { return text(v.RootDeviceType) },
		"source-dest-check":            func(v *instanceItem) []string { return boolean(v.SourceDestCheck) },
		"subnet-id":                    func(v *instanceItem) []string { return one(v.SubnetId) },
		"tenancy":                      func(v *instanceItem) []string { return text(v.Placement.Tenancy) },
		"virtualization-type":          func(v *instanceItem) []string { return text(v.VirtualizationType) },
		"vpc-id":                       func(v *instanceItem) []string { return one(v.VpcId) },
		"metadata-http-tokens":         func(v *instanceItem) []string { return text(v.MetadataOptions.HttpTokens) },
		"metadata-options.http-tokens": func(v *instanceItem) []string { return text(v.MetadataOptions.HttpTokens) },
		"iam-instance-profile.arn": func(v *instanceItem) []string {
			if v.IamInstanceProfile == nil {
				return nil
			}
			return one(v.IamInstanceProfile.Arn)
		},
		"spot-instance-request-id":               func(v *instanceItem) []string { return one(v.SpotInstanceRequestId) },
		"network-interface.network-interface-id": interfaces(func(n *types.InstanceNetworkInterface) []string { return one(n.NetworkInterfaceId) }),
		"network-interface.subnet-id":            interfaces(func(n *types.InstanceNetworkInterface) []string { return one(n.SubnetId) }),
		"network-interface.vpc-id":               interfaces(func(n *types.InstanceNetworkInterface) []string { return one(n.VpcId) }),
		"network-interface.private-dns-name":     interfaces(func(n *types.InstanceNetworkInterface) []string { return one(n.PrivateDnsName) }),
		"network-interface.mac-address":          interfaces(func(n *types.InstanceNetworkInterface) []string { return one(n.MacAddress) }),
		"network-interface.description":          interfaces(func(n *types.InstanceNetworkInterface) []string { return one(n.Description) }),
		"network-interface.group-id": interfaces(func(n *types.InstanceNetworkInterface) []string {
			return each(n.Groups, func(g *types.GroupIdentifier) []string { return one(g.GroupId) })
		}),
		"network-interface.addresses.private-ip-address": interfaces(func(n *types.InstanceNetworkInterface) []string {
			return each(n.PrivateIpAddresses, func(p *types.InstancePrivateIpAddress) []string { return one(p.PrivateIpAddress) })
		}),
		"block-device-mapping.volume-id": func(v *instanceItem) []string {
			return each(v.BlockDeviceMappings, func(m *types.InstanceBlockDeviceMapping) []string { return one(m.Ebs.VolumeId) })
		},
	}.more(instancePaths),
}

func instanceGroups(f func(*types.GroupIdentifier) []string) func(*instanceItem) []string {
	return func(v *instanceItem) []string { return each(v.SecurityGroups, f) }
}

// DescribeInstanceStatus lists the health of instances, of running ones unless
// asked for all.
func (s *Service) DescribeInstanceStatus(ctx context.Context, in *ec2.DescribeInstanceStatusInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceStatusOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(statusFilters, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	recs, err := instanceKind.selectIDs(s.store, sc, in.InstanceIds)
	if err != nil {
		return nil, err
	}
	all := []types.InstanceStatus{}
	for _, rec := range recs {
		if rec.State.Name != types.InstanceStateNameRunning && !aws.ToBool(in.IncludeAllInstances) {
			continue
		}
		if st := statusView(rec); match(&st) {
			all = append(all, st)
		}
	}
	page, next, err := paginate(all, func(v *types.InstanceStatus) string { return deref(v.InstanceId) }, in.MaxResults, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeInstanceStatusOutput{InstanceStatuses: page, NextToken: next}, nil
}

func statusView(rec *Instance) types.InstanceStatus {
	check := &types.InstanceStatusSummary{Status: types.SummaryStatusNotApplicable}
	if rec.State.Name == types.InstanceStateNameRunning {
		check = &types.InstanceStatusSummary{Status: types.SummaryStatusOk, Details: []types.InstanceStatusDetails{
			{Name: types.StatusNameReachability, Status: types.StatusTypePassed},
		}}
	}
	return types.InstanceStatus{
		InstanceId: rec.InstanceId, AvailabilityZone: rec.Placement.AvailabilityZone, AvailabilityZoneId: rec.Placement.AvailabilityZoneId,
		InstanceState: rec.State, InstanceStatus: check, SystemStatus: check,
	}
}

var statusFilters = fields[types.InstanceStatus]{
	"availability-zone":      func(v *types.InstanceStatus) []string { return one(v.AvailabilityZone) },
	"availability-zone-id":   func(v *types.InstanceStatus) []string { return one(v.AvailabilityZoneId) },
	"instance-state-name":    func(v *types.InstanceStatus) []string { return text(v.InstanceState.Name) },
	"instance-state-code":    func(v *types.InstanceStatus) []string { return number(v.InstanceState.Code) },
	"instance-status.status": func(v *types.InstanceStatus) []string { return text(v.InstanceStatus.Status) },
	"system-status.status":   func(v *types.InstanceStatus) []string { return text(v.SystemStatus.Status) },
}.more(statusPaths)

// instancesOf looks up the instances of a request, in its order, to change.
func instancesOf(tx *store.Tx, sc awsid.Scope, ids []string) ([]*Instance, error) {
	if len(ids) == 0 {
		return nil, errMissing("InstanceId")
	}
	var out []*Instance
	var absent []string
	for i, id := range ids {
		if err := instanceKind.check(id); err != nil {
			return nil, err
		}
		if slices.Contains(ids[:i], id) {
			continue
		}
		inst := Instances.Edit(tx, sc, id)
		if inst == nil {
			absent = append(absent, id)
			continue
		}
		out = append(out, inst)
	}
	if absent != nil {
		return nil, instanceKind.absent(absent...)
	}
	return out, nil
}
