package ec2

import (
	"context"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// DescribeInstanceTypes lists instance types, the same in every region.
func (s *Service) DescribeInstanceTypes(ctx context.Context, in *ec2.DescribeInstanceTypesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceTypesOutput, error) {
	if _, err := s.read(ctx, in.DryRun); err != nil {
		return nil, err
	}
	match, err := compile(instanceTypeFilters, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	selected := instancetypes.All()
	if len(in.InstanceTypes) > 0 {
		if len(in.InstanceTypes) > 100 {
			return nil, errInvalid("The maximum number of instance types that can be requested is 100.")
		}
		selected = nil
		for _, name := range slices.Compact(slices.Sorted(slices.Values(in.InstanceTypes))) {
			t, ok := instancetypes.Lookup(string(name))
			if !ok {
				return nil, apiError("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", name)
			}
			selected = append(selected, t)
		}
	}
	out := []types.InstanceTypeInfo{}
	for _, t := range selected {
		if v := instanceTypeView(t); match(&v) {
			out = append(out, v)
		}
	}
	size := in.MaxResults
	if size == nil && len(in.InstanceTypes) == 0 {
		size = aws.Int32(100) // EC2's page when none is asked for
	}
	page, next, err := paginate(out, func(v *types.InstanceTypeInfo) string { return string(v.InstanceType) }, size, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeInstanceTypesOutput{InstanceTypes: page, NextToken: next}, nil
}

func i32(n int) *int32 { return aws.Int32(int32(n)) }

func instanceTypeView(t *instancetypes.Type) types.InstanceTypeInfo {
	v := types.InstanceTypeInfo{
		InstanceType: types.InstanceType(t.Name), CurrentGeneration: &t.CurrentGeneration, BareMetal: &t.BareMetal,
		BurstablePerformanceSupported: &t.Burstable, Hypervisor: types.InstanceTypeHypervisor(t.Hypervisor),
		FreeTierEligible: aws.Bool(t.Name == "t2.micro" || t.Name == "t3.micro"), InstanceStorageSupported: aws.Bool(t.StorageGB > 0),
		HibernationSupported: aws.Bool(false), DedicatedHostsSupported: aws.Bool(!t.Burstable), AutoRecoverySupported: aws.Bool(!t.BareMetal && t.StorageGB == 0),
		MemoryInfo:               &types.MemoryInfo{SizeInMiB: aws.Int64(int64(t.MemoryMiB))},
		VCpuInfo:                 &types.VCpuInfo{DefaultVCpus: i32(t.VCPUs), DefaultCores: i32(t.Cores), DefaultThreadsPerCore: i32(t.ThreadsPerCore)},
		ProcessorInfo:            &types.ProcessorInfo{Manufacturer: &t.CPUManufacturer},
		NetworkInfo:              networkInfo(t),
		EbsInfo:                  ebsInfo(t),
		PlacementGroupInfo:       &types.PlacementGroupInfo{SupportedStrategies: []types.PlacementGroupStrategy{types.PlacementGroupStrategyPartition, types.PlacementGroupStrategySpread}},
		SupportedRootDeviceTypes: []types.RootDeviceType{types.RootDeviceTypeEbs}, SupportedVirtualizationTypes: []types.VirtualizationType{types.VirtualizationTypeHvm},
		SupportedBootModes: []types.BootModeType{types.BootModeTypeLegacyBios, types.BootModeTypeUefi},
	}
	if t.GOARCH() == "arm64" {
		v.SupportedBootModes = []types.BootModeType{types.BootModeTypeUefi}
	}
	if !t.Burstable {
		v.PlacementGroupInfo.SupportedStrategies = slices.Insert(v.PlacementGroupInfo.SupportedStrategies, 0, types.PlacementGroupStrategyCluster)
	}
	for _, a := range t.Architectures {
		v.ProcessorInfo.SupportedArchitectures = append(v.ProcessorInfo.SupportedArchitectures, types.ArchitectureType(a))
	}
	if t.ClockGHz > 0 {
		v.ProcessorInfo.SustainedClockSpeedInGhz = &t.ClockGHz
	}
	for _, u := range t.UsageClasses {
		v.SupportedUsageClasses = append(v.SupportedUsageClasses, types.UsageClassType(u))
	}
	if t.StorageGB > 0 {
		v.InstanceStorageInfo = &types.InstanceStorageInfo{TotalSizeInGB: aws.Int64(int64(t.StorageGB)), NvmeSupport: types.EphemeralNvmeSupport(t.StorageNVMe)}
	}
	accelerators(t, &v)
	return v
}

func networkInfo(t *instancetypes.Type) *types.NetworkInfo {
	n := &types.NetworkInfo{
		NetworkPerformance: &t.NetworkPerformance, MaximumNetworkInterfaces: i32(t.ENIs), MaximumNetworkCards: i32(t.NetworkCards),
		DefaultNetworkCardIndex: aws.Int32(0), Ipv4AddressesPerInterface: i32(t.IPv4PerENI), Ipv6AddressesPerInterface: i32(t.IPv6PerENI),
		Ipv6Supported: &t.IPv6, EfaSupported: &t.EFA, EncryptionInTransitSupported: &t.EncryptionInTransit, EnaSupport: types.EnaSupportRequired,
	}
	if t.Hypervisor == "xen" {
		n.EnaSupport = types.EnaSupportSupported
	}
	if t.EFA {
		n.EfaInfo = &types.EfaInfo{MaximumEfaInterfaces: i32(t.NetworkCards)}
	}
	for i := range t.NetworkCards {
		limit := t.DefaultCardENIs
		if i > 0 {
			limit = cardLimit(t)
		}
		n.NetworkCards = append(n.NetworkCards, types.NetworkCardInfo{NetworkCardIndex: i32(i), MaximumNetworkInterfaces: i32(limit), NetworkPerformance: &t.NetworkPerformance})
	}
	return n
}

// cardLimit is how many interfaces each network card but the default one takes:
// the table has the default card's share and the sum.
func cardLimit(t *instancetypes.Type) int {
	if t.NetworkCards < 2 {
		return 0
	}
	return max(1, (t.ENIs-t.DefaultCardENIs)/(t.NetworkCards-1))
}

func ebsInfo(t *instancetypes.Type) *types.EbsInfo {
	e := &types.EbsInfo{
		EbsOptimizedSupport: types.EbsOptimizedSupport(t.EBSOptimized), EncryptionSupport: types.EbsEncryptionSupportSupported,
		NvmeSupport: types.EbsNvmeSupportRequired, MaximumEbsAttachments: i32(t.EBSAttachments),
	}
	if t.Hypervisor == "xen" {
		e.NvmeSupport = types.EbsNvmeSupportUnsupported
	}
	if t.EBSBandwidthMbps > 0 {
		e.EbsOptimizedInfo = &types.EbsOptimizedInfo{
			MaximumBandwidthInMbps: i32(t.EBSBandwidthMbps), BaselineBandwidthInMbps: i32(t.EBSBandwidthMbps),
			MaximumThroughputInMBps: aws.Float64(float64(t.EBSBandwidthMbps) / 8), BaselineThroughputInMBps: aws.Float64(float64(t.EBSBandwidthMbps) / 8),
		}
	}
	return e
}

func accelerators(t *instancetypes.Type, v *types.InstanceTypeInfo) {
	if g := t.GPU; g != nil {
		each := 0
		if g.Count > 0 {
			each = g.MemoryMiB / g.Count
		}
		v.GpuInfo = &types.GpuInfo{TotalGpuMemoryInMiB: i32(g.MemoryMiB), Gpus: []types.GpuDeviceInfo{{
			Count: i32(g.Count), Name: &g.Name, Manufacturer: &g.Manufacturer, MemoryInfo: &types.GpuDeviceMemoryInfo{SizeInMiB: i32(each)},
		}}}
	}
	if t.NeuronDevices > 0 {
		v.NeuronInfo = &types.NeuronInfo{NeuronDevices: []types.NeuronDeviceInfo{{Count: i32(t.NeuronDevices)}}}
	}
}

var instanceTypeFilters = fields[types.InstanceTypeInfo]{
	"auto-recovery-supported":         func(v *types.InstanceTypeInfo) []string { return boolean(v.AutoRecoverySupported) },
	"bare-metal":                      func(v *types.InstanceTypeInfo) []string { return boolean(v.BareMetal) },
	"burstable-performance-supported": func(v *types.InstanceTypeInfo) []string { return boolean(v.BurstablePerformanceSupported) },
	"current-generation":              func(v *types.InstanceTypeInfo) []string { return boolean(v.CurrentGeneration) },
	"dedicated-hosts-supported":       func(v *types.InstanceTypeInfo) []string { return boolean(v.DedicatedHostsSupported) },
	"ebs-info.ebs-optimized-support":  func(v *types.InstanceTypeInfo) []string { return text(v.EbsInfo.EbsOptimizedSupport) },
	"ebs-info.encryption-support":     func(v *types.InstanceTypeInfo) []string { return text(v.EbsInfo.EncryptionSupport) },
	"ebs-info.nvme-support":           func(v *types.InstanceTypeInfo) []string { return text(v.EbsInfo.NvmeSupport) },
	"free-tier-eligible":              func(v *types.InstanceTypeInfo) []string { return boolean(v.FreeTierEligible) },
	"hibernation-supported":           func(v *types.InstanceTypeInfo) []string { return boolean(v.HibernationSupported) },
	"hypervisor":                      func(v *types.InstanceTypeInfo) []string { return text(v.Hypervisor) },
	"instance-storage-supported":      func(v *types.InstanceTypeInfo) []string { return boolean(v.InstanceStorageSupported) },
	"instance-type":                   func(v *types.InstanceTypeInfo) []string { return text(v.InstanceType) },
	"memory-info.size-in-mib":         func(v *types.InstanceTypeInfo) []string { return number(v.MemoryInfo.SizeInMiB) },
	"network-info.efa-supported":      func(v *types.InstanceTypeInfo) []string { return boolean(v.NetworkInfo.EfaSupported) },
	"network-info.ena-support":        func(v *types.InstanceTypeInfo) []string { return text(v.NetworkInfo.EnaSupport) },
	"network-info.encryption-in-transit-supported": func(v *types.InstanceTypeInfo) []string {
		return boolean(v.NetworkInfo.EncryptionInTransitSupported)
	},
	"network-info.ipv4-addresses-per-interface": func(v *types.InstanceTypeInfo) []string { return number(v.NetworkInfo.Ipv4AddressesPerInterface) },
	"network-info.ipv6-addresses-per-interface": func(v *types.InstanceTypeInfo) []string { return number(v.NetworkInfo.Ipv6AddressesPerInterface) },
	"network-info.ipv6-supported":               func(v *types.InstanceTypeInfo) []string { return boolean(v.NetworkInfo.Ipv6Supported) },
	"network-info.maximum-network-cards":        func(v *types.InstanceTypeInfo) []string { return number(v.NetworkInfo.MaximumNetworkCards) },
	"network-info.maximum-network-interfaces":   func(v *types.InstanceTypeInfo) []string { return number(v.NetworkInfo.MaximumNetworkInterfaces) },
	"network-info.network-performance":          func(v *types.InstanceTypeInfo) []string { return one(v.NetworkInfo.NetworkPerformance) },
	"processor-info.supported-architecture": func(v *types.InstanceTypeInfo) []string {
		return each(v.ProcessorInfo.SupportedArchitectures, func(a *types.ArchitectureType) []string { return text(*a) })
	},
	"processor-info.sustained-clock-speed-in-ghz": func(v *types.InstanceTypeInfo) []string {
		if v.ProcessorInfo.SustainedClockSpeedInGhz == nil {
			return nil
		}
		return []string{strconv.FormatFloat(*v.ProcessorInfo.SustainedClockSpeedInGhz, 'f', -1, 64)}
	},
	"supported-boot-mode": func(v *types.InstanceTypeInfo) []string {
		return each(v.SupportedBootModes, func(m *types.BootModeType) []string { return text(*m) })
	},
	"supported-root-device-type": func(v *types.InstanceTypeInfo) []string {
		return each(v.SupportedRootDeviceTypes, func(r *types.RootDeviceType) []string { return text(*r) })
	},
	"supported-usage-class": func(v *types.InstanceTypeInfo) []string {
		return each(v.SupportedUsageClasses, func(u *types.UsageClassType) []string { return text(*u) })
	},
	"supported-virtualization-type": func(v *types.InstanceTypeInfo) []string {
		return each(v.SupportedVirtualizationTypes, func(t *types.VirtualizationType) []string { return text(*t) })
	},
	"vcpu-info.default-cores":            func(v *types.InstanceTypeInfo) []string { return number(v.VCpuInfo.DefaultCores) },
	"vcpu-info.default-threads-per-core": func(v *types.InstanceTypeInfo) []string { return number(v.VCpuInfo.DefaultThreadsPerCore) },
	"vcpu-info.default-vcpus":            func(v *types.InstanceTypeInfo) []string { return number(v.VCpuInfo.DefaultVCpus) },
}.more(instanceTypePaths)

// DescribeInstanceTypeOfferings lists where types are offered: everywhere. (There
// is no published table of zones; AWS's differ mostly in us-east-1e.)
func (s *Service) DescribeInstanceTypeOfferings(ctx context.Context, in *ec2.DescribeInstanceTypeOfferingsInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceTypeOfferingsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(offeringFilters, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	region, _ := regions.Get(sc.Region)
	kind := in.LocationType
	var places []string
	switch kind {
	case "", types.LocationTypeRegion:
		kind, places = types.LocationTypeRegion, []string{region.Name}
	case types.LocationTypeAvailabilityZone:
		for _, z := range region.Zones {
			places = append(places, z.Name)
		}
	case types.LocationTypeAvailabilityZoneId:
		for _, z := range region.Zones {
			places = append(places, z.ID)
		}
		slices.Sort(places)
	case types.LocationTypeOutpost:
	default:
		return nil, errInvalidValue(kind, "locationType")
	}
	out := []types.InstanceTypeOffering{}
	for _, t := range instancetypes.All() {
		for _, p := range places {
			o := types.InstanceTypeOffering{InstanceType: types.InstanceType(t.Name), Location: aws.String(p), LocationType: kind}
			if match(&o) {
				out = append(out, o)
			}
		}
	}
	size := in.MaxResults
	if size == nil {
		size = aws.Int32(1000)
	}
	// A blank sorts before everything in names, so that the key orders like the loop.
	page, next, err := paginate(out, func(v *types.InstanceTypeOffering) string { return string(v.InstanceType) + " " + deref(v.Location) }, size, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeInstanceTypeOfferingsOutput{InstanceTypeOfferings: page, NextToken: next}, nil
}

var offeringFilters = fields[types.InstanceTypeOffering]{
	"instance-type": func(v *types.InstanceTypeOffering) []string { return text(v.InstanceType) },
	"location":      func(v *types.InstanceTypeOffering) []string { return one(v.Location) },
}
