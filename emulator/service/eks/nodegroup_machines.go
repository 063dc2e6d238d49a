package eks

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

// lastAL2 is the last Kubernetes version with Amazon Linux 2 images.
const lastAL2 = "1.32"

// template is a user's launch template as far as node groups care.
type template struct {
	spec *ekstypes.LaunchTemplateSpecification
	data *ec2types.ResponseLaunchTemplateData
}

// launchTemplate resolves a launch template; nil if none is given.
func (s *Service) launchTemplate(ctx context.Context, a about, in *ekstypes.LaunchTemplateSpecification) (*template, error) {
	if in == nil {
		return nil, nil
	}
	if (aws.ToString(in.Id) == "") == (aws.ToString(in.Name) == "") {
		return nil, a.invalidParameter("Either the id or the name of the launch template must be specified, but not both.")
	}
	if s.launchTemplates == nil {
		return nil, a.invalidParameter("Launch templates are not emulated yet: leave launchTemplate out.")
	}
	version := aws.ToString(in.Version)
	if version == "" {
		version = "$Default"
	}
	out, err := s.launchTemplates.DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: in.Id, LaunchTemplateName: in.Name, Versions: []string{version},
	})
	if err != nil {
		return nil, a.fromEC2(err, awsid.CallerFrom(ctx).RequestID)
	}
	if len(out.LaunchTemplateVersions) != 1 || out.LaunchTemplateVersions[0].LaunchTemplateData == nil {
		return nil, a.invalidParameter("Launch template version %s was not found.", version)
	}
	v := out.LaunchTemplateVersions[0]
	t := &template{data: v.LaunchTemplateData, spec: &ekstypes.LaunchTemplateSpecification{
		Id: v.LaunchTemplateId, Name: v.LaunchTemplateName, Version: aws.String(strconv.FormatInt(aws.ToInt64(v.VersionNumber), 10)),
	}}
	return t, t.check(a)
}

// check refuses what EKS sets itself.
func (t *template) check(a about) error {
	switch d := t.data; {
	case d.IamInstanceProfile != nil:
		return a.invalidParameter("Launch template should not specify an instance profile. The noderole in your request will be used to construct an instance profile.")
	case d.InstanceMarketOptions != nil:
		return a.invalidParameter("Launch template should not specify instance market options. Specify capacityType instead.")
	case d.HibernationOptions != nil && aws.ToBool(d.HibernationOptions.Configured):
		return a.invalidParameter("Launch template should not specify hibernation options.")
	}
	for _, i := range t.data.NetworkInterfaces {
		if aws.ToString(i.SubnetId) != "" {
			return a.invalidParameter("Launch template should not specify a subnet.")
		}
	}
	return nil
}

// securityGroups are those that the template gives the nodes.
func (t *template) securityGroups() []string {
	ids := slices.Clone(t.data.SecurityGroupIds)
	for _, i := range t.data.NetworkInterfaces {
		ids = append(ids, i.Groups...)
	}
	return ids
}

// setMachines chooses instance types, image type and disk.
func (s *Service) setMachines(ctx context.Context, a about, n *Nodegroup, in *eks.CreateNodegroupInput, t *template) error {
	r := &n.Resource
	r.InstanceTypes = slices.Clone(in.InstanceTypes)
	r.RemoteAccess, r.DiskSize = in.RemoteAccess, in.DiskSize
	if t != nil {
		if err := n.useTemplate(a, in, t); err != nil {
			return err
		}
	}
	if len(r.InstanceTypes) == 0 && (t == nil || t.data.InstanceType == "") {
		r.InstanceTypes = []string{defaultInstanceType}
	}
	types := r.InstanceTypes
	if len(types) == 0 {
		types = []string{string(t.data.InstanceType)}
	}
	arch, err := s.architecture(ctx, a, types)
	if err != nil {
		return err
	}
	if r.AmiType == "" {
		r.AmiType = in.AmiType
	}
	if r.AmiType == "" {
		r.AmiType = ekstypes.AMITypesAl2023X8664Standard
		if arch == images.ARM {
			r.AmiType = ekstypes.AMITypesAl2023Arm64Standard
		}
	}
	if err := checkAMIType(a, r.AmiType, arch, types); err != nil {
		return err
	}
	if r.DiskSize == nil && t == nil {
		r.DiskSize = aws.Int32(defaultDiskGiB)
		if strings.HasPrefix(string(r.AmiType), "WINDOWS") {
			r.DiskSize = aws.Int32(windowsDiskGiB)
		}
	}
	if r.DiskSize != nil && (*r.DiskSize < 1 || *r.DiskSize > 16384) {
		return a.invalidParameter("diskSize must be between 1 and 16384 GiB")
	}
	return nil
}

// checkRemoteAccess makes sure that the SSH key and the groups that may use it are
// there.
func (s *Service) checkRemoteAccess(ctx context.Context, a about, c *Cluster, in *ekstypes.RemoteAccessConfig) error {
	if in == nil {
		return nil
	}
	if aws.ToString(in.Ec2SshKey) == "" {
		if len(in.SourceSecurityGroups) > 0 {
			return a.invalidParameter("ec2SshKey must be specified when sourceSecurityGroups are specified in remoteAccess")
		}
		return nil
	}
	if _, err := s.ec2.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{KeyNames: []string{*in.Ec2SshKey}}); err != nil {
		return a.fromEC2(err, awsid.CallerFrom(ctx).RequestID)
	}
	return s.checkSecurityGroups(ctx, a, in.SourceSecurityGroups, aws.ToString(c.Resource.ResourcesVpcConfig.VpcId))
}

// useTemplate takes over what the launch template says; nothing may be said twice.
func (n *Nodegroup) useTemplate(a about, in *eks.CreateNodegroupInput, t *template) error {
	if in.DiskSize != nil {
		return a.invalidParameter("Disk size must be specified within the launch template.")
	}
	if in.RemoteAccess != nil {
		return a.invalidParameter("Remote access configuration cannot be specified with a launch template.")
	}
	if t.data.InstanceType != "" && len(in.InstanceTypes) > 0 {
		return a.invalidParameter("Instance types must be specified either in the launch template or in the request, but not in both.")
	}
	n.Desired.LaunchTemplate = t.spec
	n.Desired.ImageID, n.Desired.UserData = aws.ToString(t.data.ImageId), aws.ToString(t.data.UserData)
	n.SecurityGroupIDs = t.securityGroups()
	if n.Desired.ImageID == "" {
		return nil
	}
	if in.AmiType != "" && in.AmiType != ekstypes.AMITypesCustom {
		return a.invalidParameter("You cannot specify an AMI Type other than CUSTOM, when specifying an image id in your launch template.")
	}
	if in.Version != nil || in.ReleaseVersion != nil {
		return a.invalidParameter("You cannot specify the field kubernetesVersion or releaseVersion when using custom AMIs.")
	}
	n.Resource.AmiType = ekstypes.AMITypesCustom
	return nil
}

// architecture returns the one CPU architecture of the instance types.
func (s *Service) architecture(ctx context.Context, a about, types []string) (string, error) {
	in := &ec2.DescribeInstanceTypesInput{}
	for _, t := range types {
		in.InstanceTypes = append(in.InstanceTypes, ec2types.InstanceType(t))
	}
	out, err := s.ec2.DescribeInstanceTypes(ctx, in)
	if err != nil {
		return "", a.fromEC2(err, awsid.CallerFrom(ctx).RequestID)
	}
	arch := ""
	for _, t := range out.InstanceTypes {
		this := images.X86
		if t.ProcessorInfo != nil && slices.Contains(t.ProcessorInfo.SupportedArchitectures, ec2types.ArchitectureTypeArm64) {
			this = images.ARM
		}
		if arch != "" && arch != this {
			return "", a.invalidParameter("All instance types of a node group must have the same architecture: [%s]", strings.Join(types, ", "))
		}
		arch = this
	}
	return arch, nil
}

func checkAMIType(a about, t ekstypes.AMITypes, arch string, types []string) error {
	if !slices.Contains(t.Values(), t) {
		return a.invalidParameter("Unsupported amiType %s", t)
	}
	if t == ekstypes.AMITypesCustom {
		return nil
	}
	want := images.X86
	if strings.Contains(string(t), "ARM_64") {
		want = images.ARM
	}
	if want != arch {
		return a.invalidParameter("[%s] is not a valid instance type for requested amiType %s", strings.Join(types, ", "), t)
	}
	return nil
}

// setNodeVersion chooses what the nodes run: the cluster's version, the only one
// that EKS accepts for a new group.
func (s *Service) setNodeVersion(a about, c *Cluster, n *Nodegroup, in *eks.CreateNodegroupInput) error {
	if n.Resource.AmiType == ekstypes.AMITypesCustom {
		if n.Desired.ImageID == "" {
			return a.invalidParameter("amiType CUSTOM needs a launch template with an image id.")
		}
		return nil
	}
	clusterVersion := *c.Resource.Version
	if v := aws.ToString(in.Version); v != "" && v != clusterVersion {
		return a.invalidParameter("Nodegroup Kubernetes version %s should be equal to Cluster kubernetes version %s", v, clusterVersion)
	}
	if strings.HasPrefix(string(n.Resource.AmiType), "AL2_") && eksversions.Compare(clusterVersion, lastAL2) > 0 {
		return a.invalidParameter("AMI Type %s is only supported for kubernetes versions %s or earlier", n.Resource.AmiType, lastAL2)
	}
	release, err := releaseVersion(a, n.Scope.Region, n.Resource.AmiType, clusterVersion, aws.ToString(in.ReleaseVersion))
	n.Desired.Version, n.Desired.ReleaseVersion = clusterVersion, release
	return err
}

// amiLines maps the image types to the lines that have images here.
var amiLines = map[ekstypes.AMITypes]images.Variant{
	ekstypes.AMITypesAl2023X8664Standard:     images.AL2023,
	ekstypes.AMITypesAl2023Arm64Standard:     images.AL2023,
	ekstypes.AMITypesAl2023X8664Nvidia:       images.AL2023NVIDIA,
	ekstypes.AMITypesAl2023Arm64Nvidia:       images.AL2023NVIDIA,
	ekstypes.AMITypesAl2023X8664Neuron:       images.AL2023Neuron,
	ekstypes.AMITypesBottlerocketX8664:       images.Bottlerocket,
	ekstypes.AMITypesBottlerocketArm64:       images.Bottlerocket,
	ekstypes.AMITypesBottlerocketX8664Nvidia: images.BottlerocketNVIDIA,
	ekstypes.AMITypesBottlerocketArm64Nvidia: images.BottlerocketNVIDIA,
}

// Image returns the recommended image of an AMI type.
func Image(region, version string, t ekstypes.AMITypes) (images.Image, bool) {
	line, ok := amiLines[t]
	if !ok {
		return images.Image{}, false
	}
	arch := images.X86
	if strings.Contains(string(t), "ARM_64") {
		arch = images.ARM
	}
	return images.EKSImage(region, version, line, arch)
}

var amazonLinuxRelease = regexp.MustCompile(`^([0-9]+\.[0-9]+)\.[0-9]+-20[0-9]{6}$`)

// releaseVersion resolves the release of an image type, by default the newest.
// Only the form of an older one can be checked: nobody has a list of them all.
func releaseVersion(a about, region string, t ekstypes.AMITypes, version, want string) (string, error) {
	im, ok := Image(region, version, t)
	if !ok {
		return "", a.invalidParameter("There are no images of amiType %s for kubernetes version %s in this emulator: use AL2023 or Bottlerocket.", t, version)
	}
	if want == "" || want == im.ReleaseVersion {
		return im.ReleaseVersion, nil
	}
	if m := amazonLinuxRelease.FindStringSubmatch(want); strings.HasPrefix(string(t), "AL2023") && (m == nil || m[1] != version) {
		return "", a.invalidParameter("Requested release version %s is not valid for kubernetes version %s.", want, version)
	}
	return want, nil
}
