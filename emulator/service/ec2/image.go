package ec2

import (
	"context"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

// DescribeImages lists the public images. Accounts own none.
func (s *Service) DescribeImages(ctx context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(imageFilters, func(v *types.Image) []types.Tag { return v.Tags }, in.Filters)
	if err != nil {
		return nil, err
	}
	for _, id := range in.ImageIds {
		if _, err := imageOf(sc.Region, &id); err != nil {
			return nil, err
		}
	}
	out := []types.Image{}
	for _, im := range images.All(sc.Region) {
		if len(in.ImageIds) > 0 && !slices.Contains(in.ImageIds, im.ID) || !ownedBy(im, sc, in.Owners) || !executable(in.ExecutableUsers) {
			continue
		}
		if v := imageView(im); match(&v) {
			out = append(out, v)
		}
	}
	page, next, err := paginate(out, func(v *types.Image) string { return deref(v.ImageId) }, in.MaxResults, in.NextToken, 1)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeImagesOutput{Images: page, NextToken: next}, nil
}

func ownedBy(im images.Image, sc awsid.Scope, owners []string) bool {
	return len(owners) == 0 || slices.ContainsFunc(owners, func(o string) bool {
		return o == im.Owner || o == "amazon" || o == "self" && im.Owner == sc.Account
	})
}

// executable tells whether public images are among those that users may run.
func executable(users []string) bool { return len(users) == 0 || slices.Contains(users, "all") }

func imageView(im images.Image) types.Image {
	v := types.Image{
		ImageId: aws.String(im.ID), Name: aws.String(im.Name), Description: aws.String(im.Description), OwnerId: aws.String(im.Owner),
		ImageOwnerAlias: aws.String("amazon"), ImageLocation: aws.String("amazon/" + im.Name), Architecture: types.ArchitectureValues(im.Architecture),
		CreationDate: aws.String(im.CreationDate), EnaSupport: aws.Bool(true), Hypervisor: types.HypervisorTypeXen, ImageType: types.ImageTypeValuesMachine,
		PlatformDetails: aws.String("Linux/UNIX"), Public: aws.Bool(true), RootDeviceName: aws.String(im.RootDevice), RootDeviceType: types.DeviceTypeEbs,
		SriovNetSupport: aws.String("simple"), State: types.ImageStateAvailable, UsageOperation: aws.String("RunInstances"),
		VirtualizationType: types.VirtualizationTypeHvm, BootMode: types.BootModeValuesUefiPreferred, ImdsSupport: types.ImdsSupportValuesV20,
	}
	if im.Architecture == images.ARM {
		v.BootMode = types.BootModeValuesUefi
	}
	for _, d := range im.Disks {
		v.BlockDeviceMappings = append(v.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: aws.String(d.Device), Ebs: &types.EbsBlockDevice{
			VolumeSize: aws.Int32(d.GiB), VolumeType: types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true), Encrypted: aws.Bool(false),
			SnapshotId: aws.String(snapshotOf(im.ID, d.Device)), Iops: aws.Int32(3000), Throughput: aws.Int32(125),
		}})
	}
	return v
}

var imageFilters = fields[types.Image]{
	"architecture":        func(v *types.Image) []string { return text(v.Architecture) },
	"boot-mode":           func(v *types.Image) []string { return text(v.BootMode) },
	"creation-date":       func(v *types.Image) []string { return one(v.CreationDate) },
	"description":         func(v *types.Image) []string { return one(v.Description) },
	"ena-support":         func(v *types.Image) []string { return boolean(v.EnaSupport) },
	"hypervisor":          func(v *types.Image) []string { return text(v.Hypervisor) },
	"image-id":            func(v *types.Image) []string { return one(v.ImageId) },
	"image-type":          func(v *types.Image) []string { return text(v.ImageType) },
	"is-public":           func(v *types.Image) []string { return boolean(v.Public) },
	"name":                func(v *types.Image) []string { return one(v.Name) },
	"owner-alias":         func(v *types.Image) []string { return one(v.ImageOwnerAlias) },
	"owner-id":            func(v *types.Image) []string { return one(v.OwnerId) },
	"platform":            func(v *types.Image) []string { return text(v.Platform) },
	"platform-details":    func(v *types.Image) []string { return one(v.PlatformDetails) },
	"root-device-name":    func(v *types.Image) []string { return one(v.RootDeviceName) },
	"root-device-type":    func(v *types.Image) []string { return text(v.RootDeviceType) },
	"state":               func(v *types.Image) []string { return text(v.State) },
	"virtualization-type": func(v *types.Image) []string { return text(v.VirtualizationType) },
	"block-device-mapping.volume-type": func(v *types.Image) []string {
		return each(v.BlockDeviceMappings, func(m *types.BlockDeviceMapping) []string { return text(m.Ebs.VolumeType) })
	},
	"block-device-mapping.volume-size": func(v *types.Image) []string {
		return each(v.BlockDeviceMappings, func(m *types.BlockDeviceMapping) []string { return []string{strconv.Itoa(int(*m.Ebs.VolumeSize))} })
	},
	"block-device-mapping.delete-on-termination": func(v *types.Image) []string {
		return each(v.BlockDeviceMappings, func(m *types.BlockDeviceMapping) []string { return boolean(m.Ebs.DeleteOnTermination) })
	},
}.more(imagePaths)
