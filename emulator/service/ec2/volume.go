package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// DescribeVolumes lists volumes.
func (s *Service) DescribeVolumes(ctx context.Context, in *ec2.DescribeVolumesInput, _ ...func(*ec2.Options)) (*ec2.DescribeVolumesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	if in.MaxResults != nil && len(in.VolumeIds) > 0 {
		return nil, errCombination("The parameter volumeSet cannot be used with the parameter maxResults")
	}
	page, next, err := volumeLister.run(s.store, sc, query{in.VolumeIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeVolumesOutput{Volumes: page, NextToken: next}, nil
}

// volumeAttachments makes a filter over a volume's attachments.
func volumeAttachments(f func(*types.VolumeAttachment) []string) func(*types.Volume) []string {
	return func(v *types.Volume) []string { return each(v.Attachments, f) }
}

var volumeLister = &lister[Volume, types.Volume]{
	kind: volumeKind,
	view: func(_ store.Reader, _ awsid.Scope, r *Volume) types.Volume {
		v := r.Volume
		if v.Attachments == nil {
			v.Attachments = []types.VolumeAttachment{}
		}
		return v
	},
	id:   func(v *types.Volume) string { return deref(v.VolumeId) },
	tags: func(v *types.Volume) []types.Tag { return v.Tags },
	filters: fields[types.Volume]{
		"attachment.attach-time":           volumeAttachments(func(a *types.VolumeAttachment) []string { return instant(a.AttachTime) }),
		"attachment.delete-on-termination": volumeAttachments(func(a *types.VolumeAttachment) []string { return boolean(a.DeleteOnTermination) }),
		"attachment.device":                volumeAttachments(func(a *types.VolumeAttachment) []string { return one(a.Device) }),
		"attachment.instance-id":           volumeAttachments(func(a *types.VolumeAttachment) []string { return one(a.InstanceId) }),
		"attachment.status":                volumeAttachments(func(a *types.VolumeAttachment) []string { return text(a.State) }),
		"availability-zone":                func(v *types.Volume) []string { return one(v.AvailabilityZone) },
		"availability-zone-id":             func(v *types.Volume) []string { return one(v.AvailabilityZoneId) },
		"create-time":                      func(v *types.Volume) []string { return instant(v.CreateTime) },
		"encrypted":                        func(v *types.Volume) []string { return boolean(v.Encrypted) },
		"fast-restored":                    func(v *types.Volume) []string { return boolean(v.FastRestored) },
		"multi-attach-enabled":             func(v *types.Volume) []string { return boolean(v.MultiAttachEnabled) },
		"size":                             func(v *types.Volume) []string { return number(v.Size) },
		"snapshot-id":                      func(v *types.Volume) []string { return one(v.SnapshotId) },
		"status":                           func(v *types.Volume) []string { return text(v.State) },
		"volume-id":                        func(v *types.Volume) []string { return one(v.VolumeId) },
		"volume-type":                      func(v *types.Volume) []string { return text(v.VolumeType) },
	}.more(operatorPaths),
}
