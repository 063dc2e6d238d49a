package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// ModifyVolume changes a volume's size, type and performance. The change is made
// at once; EC2's waits between two changes of a volume are not kept.
func (s *Service) ModifyVolume(ctx context.Context, in *ec2.ModifyVolumeInput, _ ...func(*ec2.Options)) (*ec2.ModifyVolumeOutput, error) {
	var m types.VolumeModification
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := volumeKind.edit(tx, sc, in.VolumeId)
		if err != nil {
			return err
		}
		now := s.now()
		m = types.VolumeModification{
			VolumeId: v.VolumeId, StartTime: &now, EndTime: &now, Progress: aws.Int64(100), ModificationState: types.VolumeModificationStateCompleted,
			OriginalSize: v.Size, OriginalIops: v.Iops, OriginalThroughput: v.Throughput, OriginalVolumeType: v.VolumeType, OriginalMultiAttachEnabled: v.MultiAttachEnabled,
		}
		if err := v.change(in); err != nil {
			return err
		}
		m.TargetSize, m.TargetIops, m.TargetThroughput, m.TargetVolumeType, m.TargetMultiAttachEnabled = v.Size, v.Iops, v.Throughput, v.VolumeType, v.MultiAttachEnabled
		v.Modification = &m
		Volumes.Put(tx, sc, *v.VolumeId, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.ModificationState, m.Progress, m.EndTime = types.VolumeModificationStateModifying, aws.Int64(0), nil
	return &ec2.ModifyVolumeOutput{VolumeModification: &m}, nil
}

func (v *Volume) change(in *ec2.ModifyVolumeInput) error {
	if in.Size == nil && in.VolumeType == "" && in.Iops == nil && in.Throughput == nil && in.MultiAttachEnabled == nil {
		return apiError("InvalidParameterValue", "The request must contain at least one of Size, VolumeType, Iops, Throughput and MultiAttachEnabled.")
	}
	if in.Size != nil {
		if *in.Size < *v.Size {
			return errInvalid("New size cannot be smaller than existing size")
		}
		v.Size = in.Size
	}
	if in.VolumeType != "" && in.VolumeType != v.VolumeType {
		v.VolumeType, v.Iops, v.Throughput = in.VolumeType, nil, nil
	} else if v.VolumeType == types.VolumeTypeGp2 {
		v.Iops = nil // follows from the size
	}
	if in.Iops != nil {
		v.Iops = in.Iops
	}
	if in.Throughput != nil {
		v.Throughput = in.Throughput
	}
	if in.MultiAttachEnabled != nil {
		v.MultiAttachEnabled = in.MultiAttachEnabled
	}
	return v.complete()
}

// DescribeVolumesModifications lists each volume's last change.
func (s *Service) DescribeVolumesModifications(ctx context.Context, in *ec2.DescribeVolumesModificationsInput, _ ...func(*ec2.Options)) (*ec2.DescribeVolumesModificationsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(modificationFilters, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	vols, err := volumeKind.selectIDs(s.store, sc, in.VolumeIds)
	if err != nil {
		return nil, err
	}
	out := []types.VolumeModification{}
	for _, v := range vols {
		if v.Modification == nil {
			if len(in.VolumeIds) > 0 {
				return nil, apiError("InvalidVolumeModification.NotFound", "Modification for volume '%s' does not exist.", *v.VolumeId)
			}
			continue
		}
		if match(v.Modification) {
			out = append(out, *v.Modification)
		}
	}
	page, next, err := paginate(out, func(m *types.VolumeModification) string { return deref(m.VolumeId) }, in.MaxResults, in.NextToken, 1)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeVolumesModificationsOutput{VolumesModifications: page, NextToken: next}, nil
}

var modificationFilters = fields[types.VolumeModification]{
	"modification-state":         func(m *types.VolumeModification) []string { return text(m.ModificationState) },
	"original-iops":              func(m *types.VolumeModification) []string { return number(m.OriginalIops) },
	"original-size":              func(m *types.VolumeModification) []string { return number(m.OriginalSize) },
	"original-volume-type":       func(m *types.VolumeModification) []string { return text(m.OriginalVolumeType) },
	"originalMultiAttachEnabled": func(m *types.VolumeModification) []string { return boolean(m.OriginalMultiAttachEnabled) },
	"start-time":                 func(m *types.VolumeModification) []string { return instant(m.StartTime) },
	"target-iops":                func(m *types.VolumeModification) []string { return number(m.TargetIops) },
	"target-size":                func(m *types.VolumeModification) []string { return number(m.TargetSize) },
	"target-volume-type":         func(m *types.VolumeModification) []string { return text(m.TargetVolumeType) },
	"targetMultiAttachEnabled":   func(m *types.VolumeModification) []string { return boolean(m.TargetMultiAttachEnabled) },
	"volume-id":                  func(m *types.VolumeModification) []string { return one(m.VolumeId) },
}

// DescribeVolumeStatus tells that volumes are well.
func (s *Service) DescribeVolumeStatus(ctx context.Context, in *ec2.DescribeVolumeStatusInput, _ ...func(*ec2.Options)) (*ec2.DescribeVolumeStatusOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := volumeStatusLister.run(s.store, sc, query{in.VolumeIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeVolumeStatusOutput{VolumeStatuses: page, NextToken: next}, nil
}

var volumeStatusLister = &lister[Volume, types.VolumeStatusItem]{
	kind: volumeKind,
	view: func(_ store.Reader, _ awsid.Scope, r *Volume) types.VolumeStatusItem {
		v := types.VolumeStatusItem{
			VolumeId: r.VolumeId, AvailabilityZone: r.AvailabilityZone, AvailabilityZoneId: r.AvailabilityZoneId,
			Actions: []types.VolumeStatusAction{}, Events: []types.VolumeStatusEvent{},
			VolumeStatus: &types.VolumeStatusInfo{Status: types.VolumeStatusInfoStatusOk, Details: []types.VolumeStatusDetails{
				{Name: types.VolumeStatusNameIoEnabled, Status: aws.String("passed")}, {Name: types.VolumeStatusNameIoPerformance, Status: aws.String("not-applicable")},
			}},
		}
		for _, a := range r.Attachments {
			v.AttachmentStatuses = append(v.AttachmentStatuses, types.VolumeStatusAttachmentStatus{InstanceId: a.InstanceId, IoPerformance: aws.String("not-applicable")})
		}
		return v
	},
	id: func(v *types.VolumeStatusItem) string { return deref(v.VolumeId) },
	filters: fields[types.VolumeStatusItem]{
		"availability-zone":    func(v *types.VolumeStatusItem) []string { return one(v.AvailabilityZone) },
		"availability-zone-id": func(v *types.VolumeStatusItem) []string { return one(v.AvailabilityZoneId) },
		"volume-status.status": func(v *types.VolumeStatusItem) []string { return text(v.VolumeStatus.Status) },
		"volume-status.details-name": func(v *types.VolumeStatusItem) []string {
			return each(v.VolumeStatus.Details, func(d *types.VolumeStatusDetails) []string { return text(d.Name) })
		},
		"volume-status.details-status": func(v *types.VolumeStatusItem) []string {
			return each(v.VolumeStatus.Details, func(d *types.VolumeStatusDetails) []string { return one(d.Status) })
		},
		"action.code":        func(*types.VolumeStatusItem) []string { return nil },
		"action.description": func(*types.VolumeStatusItem) []string { return nil },
		"action.event-id":    func(*types.VolumeStatusItem) []string { return nil },
		"event.description":  func(*types.VolumeStatusItem) []string { return nil },
		"event.event-id":     func(*types.VolumeStatusItem) []string { return nil },
		"event.event-type":   func(*types.VolumeStatusItem) []string { return nil },
		"event.not-after":    func(*types.VolumeStatusItem) []string { return nil },
		"event.not-before":   func(*types.VolumeStatusItem) []string { return nil },
	},
}

// DescribeVolumeAttribute answers one attribute of a volume.
func (s *Service) DescribeVolumeAttribute(ctx context.Context, in *ec2.DescribeVolumeAttributeInput, _ ...func(*ec2.Options)) (*ec2.DescribeVolumeAttributeOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	v, err := volumeKind.get(s.store, sc, in.VolumeId)
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeVolumeAttributeOutput{VolumeId: v.VolumeId}
	switch in.Attribute {
	case types.VolumeAttributeNameAutoEnableIO:
		out.AutoEnableIO = &types.AttributeBooleanValue{Value: aws.Bool(false)}
	case types.VolumeAttributeNameProductCodes:
		out.ProductCodes = []types.ProductCode{}
	case "":
		return nil, errMissing("attribute")
	default:
		return nil, errInvalidValue(in.Attribute, "attribute")
	}
	return out, nil
}
