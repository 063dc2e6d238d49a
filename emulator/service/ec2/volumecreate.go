package ec2

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// volumeForm is what EBS allows of a type: sizes in GiB, operations a second in all
// and for each GiB, MiB/s (Amazon EBS User Guide, "Amazon EBS volume types").
type volumeForm struct {
	leastSize, mostSize int32
	leastIops, mostIops int32 // 0: not to be chosen
	iopsPerGiB          int32
	throughput          bool
	multiAttach         bool
}

var volumeForms = map[types.VolumeType]volumeForm{
	types.VolumeTypeGp2:      {leastSize: 1, mostSize: 16384},
	types.VolumeTypeGp3:      {leastSize: 1, mostSize: 65536, leastIops: 3000, mostIops: 80000, iopsPerGiB: 500, throughput: true},
	types.VolumeTypeIo1:      {leastSize: 4, mostSize: 16384, leastIops: 100, mostIops: 64000, iopsPerGiB: 50, multiAttach: true},
	types.VolumeTypeIo2:      {leastSize: 4, mostSize: 65536, leastIops: 100, mostIops: 256000, iopsPerGiB: 1000, multiAttach: true},
	types.VolumeTypeSt1:      {leastSize: 125, mostSize: 16384},
	types.VolumeTypeSc1:      {leastSize: 125, mostSize: 16384},
	types.VolumeTypeStandard: {leastSize: 1, mostSize: 1024},
}

const (
	leastThroughput = 125
	mostThroughput  = 2000
)

// newVolume makes a volume of the described kind, with EC2's defaults.
func newVolume(sc awsid.Scope, d *types.EbsBlockDevice, zone, zoneID *string, now time.Time) (*Volume, error) {
	id := awsid.NewID("vol")
	v := &Volume{Volume: types.Volume{
		VolumeId: &id, VolumeArn: aws.String(sc.ARN("ec2", "volume/"+id)), OwnerId: aws.String(sc.Account), AvailabilityZone: zone, AvailabilityZoneId: zoneID,
		CreateTime: &now, Encrypted: aws.Bool(aws.ToBool(d.Encrypted)), KmsKeyId: d.KmsKeyId, MultiAttachEnabled: aws.Bool(false),
		Size: d.VolumeSize, SnapshotId: aws.String(deref(d.SnapshotId)), State: types.VolumeStateAvailable, VolumeType: d.VolumeType,
		Iops: d.Iops, Throughput: d.Throughput,
	}}
	if v.Size == nil {
		return nil, apiError("MissingParameter", "The request must contain the parameter size/snapshot")
	}
	if v.VolumeType == "" {
		v.VolumeType = types.VolumeTypeGp2
	}
	return v, v.complete()
}

// complete checks a volume's performance and fills in its type's defaults.
func (v *Volume) complete() error {
	form, ok := volumeForms[v.VolumeType]
	if !ok {
		return apiError("UnknownVolumeType", "Unsupported volume type '%s' for volume creation.", v.VolumeType)
	}
	size := *v.Size
	switch {
	case size < form.leastSize:
		return errInvalid("Volume of %dGiB is too small; minimum is %dGiB.", size, form.leastSize)
	case size > form.mostSize:
		return errInvalid("Volume of %dGiB is too large for volume type %s; maximum is %dGiB.", size, v.VolumeType, form.mostSize)
	case v.Iops != nil && form.mostIops == 0:
		return errCombination("The parameter iops is not supported for %s volumes.", v.VolumeType)
	case v.Throughput != nil && !form.throughput:
		return errCombination("The parameter throughput is not supported for %s volumes.", v.VolumeType)
	case v.Iops == nil && form.mostIops > 0 && v.VolumeType != types.VolumeTypeGp3:
		return apiError("MissingParameter", "The request must contain the parameter iops")
	}
	if err := v.checkMultiAttach(); err != nil {
		return err
	}
	if n := v.Iops; n != nil {
		switch {
		case *n < form.leastIops:
			return errInvalid("Volume iops of %d is too low; minimum is %d.", *n, form.leastIops)
		case *n > form.mostIops:
			return errInvalid("Volume iops of %d is too high; maximum is %d.", *n, form.mostIops)
		case *n > form.leastIops && *n > size*form.iopsPerGiB:
			return errInvalid("Iops to volume size ratio of %d.%06d is too high; maximum is %d.000000.", *n/size, int64(*n%size)*1000000/int64(size), form.iopsPerGiB)
		}
	}
	switch v.VolumeType {
	case types.VolumeTypeGp3:
		return v.completeGp3()
	case types.VolumeTypeGp2:
		v.Iops = aws.Int32(min(16000, max(100, 3*size)))
	}
	return nil
}

func (v *Volume) checkMultiAttach() error {
	if aws.ToBool(v.MultiAttachEnabled) && !volumeForms[v.VolumeType].multiAttach {
		return errCombination("Multi-Attach is not supported for %s volumes.", v.VolumeType)
	}
	return nil
}

func (v *Volume) completeGp3() error {
	if v.Iops == nil {
		v.Iops = aws.Int32(3000)
	}
	if v.Throughput == nil {
		v.Throughput = aws.Int32(leastThroughput)
	}
	switch n := *v.Throughput; {
	case n < leastThroughput:
		return errInvalid("Throughput (MiBps) of %d is too low; minimum is %d.", n, leastThroughput)
	case n > mostThroughput:
		return errInvalid("Throughput (MiBps) of %d is too high; maximum is %d.", n, mostThroughput)
	case n*4 > *v.Iops:
		return errInvalid("Throughput (MiBps) to iops ratio of %d.%06d is too high; maximum is 0.250000 MiBps per iops.", n / *v.Iops, int64(n%*v.Iops)*1000000/int64(*v.Iops))
	}
	return nil
}

// CreateVolume creates a volume, empty or from a snapshot.
func (s *Service) CreateVolume(ctx context.Context, in *ec2.CreateVolumeInput, _ ...func(*ec2.Options)) (*ec2.CreateVolumeOutput, error) {
	if in.AvailabilityZone == nil && in.AvailabilityZoneId == nil {
		return nil, errMissing("availabilityZone")
	}
	if in.OutpostArn != nil {
		return nil, apiError("UnsupportedOperation", "ekslocal has no Outposts.")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeVolume)
	if err != nil {
		return nil, err
	}
	var v *Volume
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rp, err := s.replayOf(tx, sc, "CreateVolume", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if v = Volumes.Get(tx, sc, rp.ids[0]); v != nil {
				return nil
			}
		}
		zone, err := volumeZone(sc.Region, in.AvailabilityZone, in.AvailabilityZoneId)
		if err != nil {
			return err
		}
		d := &types.EbsBlockDevice{
			VolumeSize: in.Size, VolumeType: in.VolumeType, Iops: in.Iops, Throughput: in.Throughput, Encrypted: in.Encrypted, KmsKeyId: in.KmsKeyId,
			SnapshotId: in.SnapshotId,
		}
		if err := fromSnapshot(tx, sc, d); err != nil {
			return err
		}
		if v, err = newVolume(sc, d, &zone.Name, &zone.ID, s.now()); err != nil {
			return err
		}
		v.MultiAttachEnabled, v.Tags = aws.Bool(aws.ToBool(in.MultiAttachEnabled)), tags
		if err := v.checkMultiAttach(); err != nil {
			return err
		}
		Volumes.Put(tx, sc, *v.VolumeId, v)
		s.remember(tx, sc, rp, *v.VolumeId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := new(ec2.CreateVolumeOutput)
	if err := convert(v.Volume, out); err != nil {
		return nil, err
	}
	out.State, out.Attachments = types.VolumeStateCreating, []types.VolumeAttachment{} // as AWS answers; the next describe says available
	return out, nil
}

func volumeZone(region string, name, id *string) (regions.Zone, error) {
	r, _ := regions.Get(region)
	if name != nil {
		if z, ok := r.Zone(*name); ok && (id == nil || *id == z.ID) {
			return z, nil
		}
		return regions.Zone{}, apiError("InvalidZone.NotFound", "The zone '%s' does not exist.", *name)
	}
	if z, ok := r.ZoneByID(*id); ok {
		return z, nil
	}
	return regions.Zone{}, apiError("InvalidZone.NotFound", "The zone '%s' does not exist.", *id)
}

// fromSnapshot takes size and encryption from the snapshot that a volume is made of.
func fromSnapshot(r store.Reader, sc awsid.Scope, d *types.EbsBlockDevice) error {
	if deref(d.SnapshotId) == "" {
		return nil
	}
	snap, err := snapshotKind.get(r, sc, d.SnapshotId)
	if err != nil {
		return err
	}
	switch {
	case d.VolumeSize == nil:
		d.VolumeSize = snap.VolumeSize
	case *d.VolumeSize < *snap.VolumeSize:
		return errInvalid("Volume of %dGiB is smaller than snapshot '%s', expect size >= %dGiB", *d.VolumeSize, *d.SnapshotId, *snap.VolumeSize)
	}
	if aws.ToBool(snap.Encrypted) {
		d.Encrypted = aws.Bool(true)
		if d.KmsKeyId == nil {
			d.KmsKeyId = snap.KmsKeyId
		}
	}
	return nil
}

// DeleteVolume deletes a detached volume.
func (s *Service) DeleteVolume(ctx context.Context, in *ec2.DeleteVolumeInput, _ ...func(*ec2.Options)) (*ec2.DeleteVolumeOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := volumeKind.get(tx, sc, in.VolumeId)
		if err != nil {
			return err
		}
		if len(v.Attachments) > 0 {
			return apiError("VolumeInUse", "Volume %s is currently attached to %s", *v.VolumeId, deref(v.Attachments[0].InstanceId))
		}
		Volumes.Delete(tx, sc, *v.VolumeId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteVolumeOutput{}, nil
}
