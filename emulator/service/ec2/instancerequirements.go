package ec2

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// GetInstanceTypesFromInstanceRequirements lists the types that a request for
// attributes instead of types would choose from.
func (s *Service) GetInstanceTypesFromInstanceRequirements(ctx context.Context, in *ec2.GetInstanceTypesFromInstanceRequirementsInput, _ ...func(*ec2.Options)) (*ec2.GetInstanceTypesFromInstanceRequirementsOutput, error) {
	if _, err := s.read(ctx, in.DryRun); err != nil {
		return nil, err
	}
	switch {
	case len(in.ArchitectureTypes) == 0:
		return nil, errMissing("ArchitectureType")
	case len(in.VirtualizationTypes) == 0:
		return nil, errMissing("VirtualizationType")
	case in.InstanceRequirements == nil:
		return nil, errMissing("InstanceRequirements")
	}
	if err := checkRequirements(in.InstanceRequirements); err != nil {
		return nil, err
	}
	out := []types.InstanceTypeInfoFromInstanceRequirements{}
	if slices.Contains(in.VirtualizationTypes, types.VirtualizationTypeHvm) {
		for _, name := range typesMatching(in.InstanceRequirements, in.ArchitectureTypes) {
			out = append(out, types.InstanceTypeInfoFromInstanceRequirements{InstanceType: aws.String(string(name))})
		}
	}
	size := in.MaxResults
	if size == nil {
		size = aws.Int32(1000)
	}
	id := func(v *types.InstanceTypeInfoFromInstanceRequirements) string { return deref(v.InstanceType) }
	page, next, err := paginate(sorted(out, id), id, size, in.NextToken, 1)
	if err != nil {
		return nil, err
	}
	return &ec2.GetInstanceTypesFromInstanceRequirementsOutput{InstanceTypes: page, NextToken: next}, nil
}

func checkRequirements(r *types.InstanceRequirementsRequest) error {
	switch {
	case r.VCpuCount == nil || r.VCpuCount.Min == nil:
		return errMissing("VCpuCount")
	case r.MemoryMiB == nil || r.MemoryMiB.Min == nil:
		return errMissing("MemoryMiB")
	case len(r.AllowedInstanceTypes) > 0 && len(r.ExcludedInstanceTypes) > 0:
		return errCombination("AllowedInstanceTypes and ExcludedInstanceTypes cannot be specified together.")
	}
	return nil
}

// typesMatching returns the types that fulfil the requirements, by name.
func typesMatching(r *types.InstanceRequirementsRequest, archs []types.ArchitectureType) []types.InstanceType {
	if checkRequirements(r) != nil {
		return nil
	}
	var out []types.InstanceType
	for _, t := range instancetypes.All() {
		if len(archs) > 0 && !slices.ContainsFunc(archs, func(a types.ArchitectureType) bool { return slices.Contains(t.Architectures, string(a)) }) {
			continue
		}
		if fulfils(t, r) {
			out = append(out, types.InstanceType(t.Name))
		}
	}
	return out
}

func between[N int | int32 | float64](n N, least, most *N) bool {
	return (least == nil || n >= *least) && (most == nil || n <= *most)
}

// fulfils leaves out what the catalogue has no figures of: prices in relation to
// others and network bandwidth.
func fulfils(t *instancetypes.Type, r *types.InstanceRequirementsRequest) bool {
	if !between(int32(t.VCPUs), r.VCpuCount.Min, r.VCpuCount.Max) || !between(int32(t.MemoryMiB), r.MemoryMiB.Min, r.MemoryMiB.Max) {
		return false
	}
	if m := r.MemoryGiBPerVCpu; m != nil && !between(float64(t.MemoryMiB)/1024/float64(t.VCPUs), m.Min, m.Max) {
		return false
	}
	if n := r.NetworkInterfaceCount; n != nil && !between(int32(t.ENIs), n.Min, n.Max) {
		return false
	}
	if e := r.BaselineEbsBandwidthMbps; e != nil && !between(int32(t.EBSBandwidthMbps), e.Min, e.Max) {
		return false
	}
	if st := r.TotalLocalStorageGB; st != nil && !between(float64(t.StorageGB), st.Min, st.Max) {
		return false
	}
	return named(t, r) && sortOf(t, r) && accelerated(t, r)
}

func named(t *instancetypes.Type, r *types.InstanceRequirementsRequest) bool {
	matches := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return compilePattern(p).match(t.Name) })
	}
	return (len(r.AllowedInstanceTypes) == 0 || matches(r.AllowedInstanceTypes)) && !matches(r.ExcludedInstanceTypes)
}

// sortOf looks at what kind of machine a type is. Bare metal and burstable ones are
// left out unless asked for (EC2 API Reference, InstanceRequirementsRequest).
func sortOf(t *instancetypes.Type, r *types.InstanceRequirementsRequest) bool {
	wanted := func(setting string, is bool, byDefault string) bool {
		if setting == "" {
			setting = byDefault
		}
		return setting == "included" || setting == "excluded" && !is || setting == "required" && is
	}
	generation := types.InstanceGenerationPrevious
	if t.CurrentGeneration {
		generation = types.InstanceGenerationCurrent
	}
	return wanted(string(r.BareMetal), t.BareMetal, "excluded") && wanted(string(r.BurstablePerformance), t.Burstable, "excluded") &&
		wanted(string(r.LocalStorage), t.StorageGB > 0, "included") &&
		(len(r.InstanceGenerations) == 0 || slices.Contains(r.InstanceGenerations, generation)) &&
		(len(r.CpuManufacturers) == 0 || slices.Contains(r.CpuManufacturers, cpuMaker(t))) &&
		(!aws.ToBool(r.RequireEncryptionInTransit) || t.EncryptionInTransit) && !aws.ToBool(r.RequireHibernateSupport)
}

func cpuMaker(t *instancetypes.Type) types.CpuManufacturer {
	switch {
	case strings.HasPrefix(t.CPUManufacturer, "Intel"):
		return types.CpuManufacturerIntel
	case strings.HasPrefix(t.CPUManufacturer, "AMD"):
		return types.CpuManufacturerAmd
	case strings.HasPrefix(t.CPUManufacturer, "Apple"):
		return types.CpuManufacturerApple
	}
	return types.CpuManufacturerAmazonWebServices
}

var notWord = regexp.MustCompile(`[^a-z0-9]+`)

// word brings a name into the form of the API's enumerations.
func word(s string) string { return notWord.ReplaceAllString(strings.ToLower(s), "-") }

func accelerated(t *instancetypes.Type, r *types.InstanceRequirementsRequest) bool {
	count, memory, maker, name := t.NeuronDevices, 0, "amazon-web-services", "inferentia"
	if g := t.GPU; g != nil {
		count, memory, maker, name = g.Count, g.MemoryMiB, word(g.Manufacturer), word(g.Name)
	}
	if c := r.AcceleratorCount; c != nil {
		if !between(int32(count), c.Min, c.Max) {
			return false
		}
	}
	if m := r.AcceleratorTotalMemoryMiB; m != nil && !between(int32(memory), m.Min, m.Max) {
		return false
	}
	if len(r.AcceleratorManufacturers) > 0 && (count == 0 || !slices.Contains(r.AcceleratorManufacturers, types.AcceleratorManufacturer(maker))) {
		return false
	}
	if len(r.AcceleratorNames) > 0 && (count == 0 || !slices.Contains(r.AcceleratorNames, types.AcceleratorName(name))) {
		return false
	}
	if len(r.AcceleratorTypes) > 0 {
		typ := types.AcceleratorTypeInference
		if t.GPU != nil {
			typ = types.AcceleratorTypeGpu
		}
		return count > 0 && slices.Contains(r.AcceleratorTypes, typ)
	}
	return true
}
