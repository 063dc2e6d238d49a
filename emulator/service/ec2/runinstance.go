package ec2

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// State codes of instances.
var stateCodes = map[types.InstanceStateName]int32{
	types.InstanceStateNamePending: 0, types.InstanceStateNameRunning: 16, types.InstanceStateNameShuttingDown: 32,
	types.InstanceStateNameTerminated: 48, types.InstanceStateNameStopping: 64, types.InstanceStateNameStopped: 80,
}

func state(name types.InstanceStateName) *types.InstanceState {
	return &types.InstanceState{Name: name, Code: aws.Int32(stateCodes[name])}
}

// launchOne makes the index-th instance of a launch with its interfaces and
// volumes.
func (s *Service) launchOne(ctx context.Context, l *ledger, la *launch, index int) (*Instance, error) {
	inst := la.instance(l.sc, index)
	if err := s.makeInterfaces(l, la, inst, awsid.CallerFrom(ctx).UserID); err != nil {
		return nil, err
	}
	if err := la.makeVolumes(l, inst); err != nil {
		return nil, err
	}
	Instances.Put(l.tx, l.sc, *inst.InstanceId, inst)
	return inst, nil
}

// instance fills in everything that does not depend on interfaces and volumes.
func (la *launch) instance(sc awsid.Scope, index int) *Instance {
	in := la.in
	inst := &Instance{
		Scope: sc, ReservationID: la.reservation, UserData: deref(in.UserData), ShutdownBehavior: in.InstanceInitiatedShutdownBehavior,
		DisableApiTermination: aws.ToBool(in.DisableApiTermination), DisableApiStop: aws.ToBool(in.DisableApiStop), Due: la.due,
	}
	if inst.ShutdownBehavior == "" {
		inst.ShutdownBehavior = types.ShutdownBehaviorStop
	}
	if c := in.CreditSpecification; c != nil {
		inst.CPUCredits = deref(c.CpuCredits)
	}
	if v := la.template; v != nil {
		inst.LaunchTemplateID, inst.LaunchTemplateVersion = *v.LaunchTemplateId, strconv.FormatInt(*v.VersionNumber, 10)
	}
	inst.Instance = types.Instance{
		InstanceId: aws.String(awsid.NewID("i")), AmiLaunchIndex: aws.Int32(int32(index)), ImageId: &la.image.ID,
		InstanceType: types.InstanceType(la.typ.Name), Architecture: types.ArchitectureValues(la.image.Architecture),
		State: state(types.InstanceStateNamePending), StateTransitionReason: aws.String(""), LaunchTime: &la.now,
		SubnetId: la.subnet.SubnetId, VpcId: la.subnet.VpcId, KeyName: in.KeyName, ClientToken: aws.String(deref(in.ClientToken)),
		IamInstanceProfile: la.profile, Tags: la.tags, EnaSupport: aws.Bool(true), Hypervisor: types.HypervisorTypeXen,
		VirtualizationType: types.VirtualizationTypeHvm, PlatformDetails: aws.String("Linux/UNIX"), UsageOperation: aws.String("RunInstances"),
		UsageOperationUpdateTime: &la.now, EbsOptimized: aws.Bool(aws.ToBool(in.EbsOptimized)), RootDeviceType: types.DeviceTypeEbs,
		RootDeviceName: aws.String(la.image.RootDevice), Monitoring: &types.Monitoring{State: types.MonitoringStateDisabled},
		PublicDnsName: aws.String(""), ProductCodes: []types.ProductCode{}, BootMode: types.BootModeValuesUefiPreferred,
		CpuOptions:                       &types.CpuOptions{CoreCount: aws.Int32(int32(la.typ.Cores)), ThreadsPerCore: aws.Int32(int32(la.typ.ThreadsPerCore))},
		CapacityReservationSpecification: &types.CapacityReservationSpecificationResponse{CapacityReservationPreference: types.CapacityReservationPreferenceOpen},
		EnclaveOptions:                   &types.EnclaveOptions{Enabled: aws.Bool(in.EnclaveOptions != nil && aws.ToBool(in.EnclaveOptions.Enabled))},
		HibernationOptions:               &types.HibernationOptions{Configured: aws.Bool(false)},
		MaintenanceOptions:               &types.InstanceMaintenanceOptions{AutoRecovery: types.InstanceAutoRecoveryStateDefault},
		PrivateDnsNameOptions:            &types.PrivateDnsNameOptionsResponse{HostnameType: types.HostnameTypeIpName, EnableResourceNameDnsARecord: aws.Bool(false), EnableResourceNameDnsAAAARecord: aws.Bool(false)},
		MetadataOptions:                  metadataOptions(in.MetadataOptions),
		Placement:                        la.placement(),
	}
	if m := in.Monitoring; m != nil && aws.ToBool(m.Enabled) {
		inst.Monitoring.State = types.MonitoringStatePending
	}
	if m := in.InstanceMarketOptions; m != nil && m.MarketType == types.MarketTypeSpot {
		inst.InstanceLifecycle, inst.SpotInstanceRequestId = types.InstanceLifecycleTypeSpot, aws.String("sir-"+awsid.Hex(8))
	}
	return inst
}

func (la *launch) placement() *types.Placement {
	p := &types.Placement{}
	if la.in.Placement != nil {
		*p = *la.in.Placement
	}
	p.AvailabilityZone, p.AvailabilityZoneId = la.subnet.AvailabilityZone, la.subnet.AvailabilityZoneId
	if p.GroupName == nil {
		p.GroupName = aws.String("")
	}
	if p.Tenancy == "" {
		p.Tenancy = types.TenancyDefault
	}
	return p
}

func metadataOptions(in *types.InstanceMetadataOptionsRequest) *types.InstanceMetadataOptionsResponse {
	out := &types.InstanceMetadataOptionsResponse{
		State: types.InstanceMetadataOptionsStatePending, HttpEndpoint: types.InstanceMetadataEndpointStateEnabled,
		HttpTokens: types.HttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(2), // Amazon Linux 2023's defaults
		HttpProtocolIpv6: types.InstanceMetadataProtocolStateDisabled, InstanceMetadataTags: types.InstanceMetadataTagsStateDisabled,
	}
	if in == nil {
		return out
	}
	if in.HttpEndpoint != "" {
		out.HttpEndpoint = in.HttpEndpoint
	}
	if in.HttpTokens != "" {
		out.HttpTokens = in.HttpTokens
	}
	if in.HttpPutResponseHopLimit != nil {
		out.HttpPutResponseHopLimit = in.HttpPutResponseHopLimit
	}
	if in.HttpProtocolIpv6 != "" {
		out.HttpProtocolIpv6 = in.HttpProtocolIpv6
	}
	if in.InstanceMetadataTags != "" {
		out.InstanceMetadataTags = in.InstanceMetadataTags
	}
	return out
}

// disks returns the image's volumes as changed and joined by the request's
// mappings.
func (la *launch) disks() []types.BlockDeviceMapping {
	var out []types.BlockDeviceMapping
	for _, d := range la.image.Disks {
		out = append(out, types.BlockDeviceMapping{DeviceName: aws.String(d.Device), Ebs: &types.EbsBlockDevice{
			VolumeSize: aws.Int32(d.GiB), VolumeType: types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true), SnapshotId: aws.String(snapshotOf(la.image.ID, d.Device)),
		}})
	}
	for _, m := range la.in.BlockDeviceMappings {
		i := slices.IndexFunc(out, func(o types.BlockDeviceMapping) bool { return deref(o.DeviceName) == deref(m.DeviceName) })
		switch {
		case m.NoDevice != nil && i >= 0:
			out = slices.Delete(out, i, i+1)
		case m.NoDevice != nil || m.Ebs == nil && m.VirtualName != nil: // instance store has no volume
		case i >= 0 && m.Ebs != nil:
			ebs := *out[i].Ebs
			overlayEbs(&ebs, *m.Ebs)
			out[i].Ebs = &ebs
		case m.Ebs != nil:
			out = append(out, m)
		}
	}
	return out
}

func overlayEbs(base *types.EbsBlockDevice, over types.EbsBlockDevice) {
	if over.VolumeSize != nil {
		base.VolumeSize = over.VolumeSize
	}
	if over.VolumeType != "" {
		base.VolumeType, base.Iops, base.Throughput = over.VolumeType, over.Iops, over.Throughput
	}
	if over.Iops != nil {
		base.Iops = over.Iops
	}
	if over.Throughput != nil {
		base.Throughput = over.Throughput
	}
	if over.DeleteOnTermination != nil {
		base.DeleteOnTermination = over.DeleteOnTermination
	}
	if over.Encrypted != nil {
		base.Encrypted = over.Encrypted
	}
	if over.KmsKeyId != nil {
		base.KmsKeyId = over.KmsKeyId
	}
}

// snapshotOf names the snapshot that an image's volume comes from.
func snapshotOf(image, device string) string {
	n := 0
	if device != "/dev/xvda" {
		n = 1
	}
	return "snap-" + strconv.Itoa(n) + strings.TrimPrefix(image, "ami-0")
}

// makeVolumes creates the volumes of one instance.
func (la *launch) makeVolumes(l *ledger, inst *Instance) error {
	for _, d := range la.disks() {
		v, err := newVolume(l.sc, d.Ebs, la.subnet.AvailabilityZone, la.subnet.AvailabilityZoneId, la.now)
		if err != nil {
			return err
		}
		v.Tags = la.volumeTags
		v.State = types.VolumeStateInUse
		onTermination := d.Ebs.DeleteOnTermination == nil || *d.Ebs.DeleteOnTermination
		v.Attachments = []types.VolumeAttachment{{
			VolumeId: v.VolumeId, InstanceId: inst.InstanceId, Device: d.DeviceName, State: types.VolumeAttachmentStateAttached,
			AttachTime: &la.now, DeleteOnTermination: &onTermination,
		}}
		Volumes.Put(l.tx, l.sc, *v.VolumeId, v)
		inst.BlockDeviceMappings = append(inst.BlockDeviceMappings, types.InstanceBlockDeviceMapping{
			DeviceName: d.DeviceName,
			Ebs:        &types.EbsInstanceBlockDevice{VolumeId: v.VolumeId, AttachTime: &la.now, DeleteOnTermination: &onTermination, Status: types.AttachmentStatusAttached},
		})
	}
	return nil
}
