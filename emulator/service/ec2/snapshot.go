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

// Snapshot is an EBS snapshot: what its volume was like, no data.
type Snapshot struct{ types.Snapshot }

// Snapshots is keyed by id.
const Snapshots store.Table[Snapshot] = "ec2-snapshot"

var snapshotKind = &kind[Snapshot]{
	table: Snapshots, typ: types.ResourceTypeSnapshot, prefix: "snap", noun: "snapshot", param: "snapshotId",
	malformed: "InvalidSnapshotID.Malformed", notFound: "InvalidSnapshot.NotFound",
	missing: func(ids []string) string { return "The snapshot '" + ids[0] + "' does not exist." },
	tags:    func(r *Snapshot) *[]types.Tag { return &r.Tags },
	id:      func(r *Snapshot) *string { return r.SnapshotId },
}

// CreateSnapshot makes a snapshot of a volume.
func (s *Service) CreateSnapshot(ctx context.Context, in *ec2.CreateSnapshotInput, _ ...func(*ec2.Options)) (*ec2.CreateSnapshotOutput, error) {
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeSnapshot)
	if err != nil {
		return nil, err
	}
	var rec *Snapshot
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := volumeKind.get(tx, sc, in.VolumeId)
		if err != nil {
			return err
		}
		now := s.now()
		rec = &Snapshot{types.Snapshot{
			SnapshotId: aws.String(awsid.NewID("snap")), VolumeId: v.VolumeId, VolumeSize: v.Size, Description: aws.String(deref(in.Description)),
			Encrypted: v.Encrypted, KmsKeyId: v.KmsKeyId, OwnerId: &sc.Account, Progress: aws.String("100%"), StartTime: &now, CompletionTime: &now,
			State: types.SnapshotStateCompleted, StorageTier: types.StorageTierStandard, Tags: tags,
		}}
		Snapshots.Put(tx, sc, *rec.SnapshotId, rec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := new(ec2.CreateSnapshotOutput)
	if err := convert(rec.Snapshot, out); err != nil {
		return nil, err
	}
	out.State, out.Progress, out.CompletionTime = types.SnapshotStatePending, aws.String(""), nil
	return out, nil
}

// DeleteSnapshot deletes a snapshot; volumes made of it stay.
func (s *Service) DeleteSnapshot(ctx context.Context, in *ec2.DeleteSnapshotInput, _ ...func(*ec2.Options)) (*ec2.DeleteSnapshotOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rec, err := snapshotKind.get(tx, sc, in.SnapshotId)
		if err != nil {
			return err
		}
		Snapshots.Delete(tx, sc, *rec.SnapshotId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteSnapshotOutput{}, nil
}

// DescribeSnapshots lists the account's snapshots. The snapshots of public images
// are not listed.
func (s *Service) DescribeSnapshots(ctx context.Context, in *ec2.DescribeSnapshotsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	filters := in.Filters
	if len(in.OwnerIds) > 0 {
		owners := slices.Clone(in.OwnerIds)
		for i := range owners {
			if owners[i] == "self" {
				owners[i] = sc.Account
			}
		}
		filters = append(slices.Clone(filters), types.Filter{Name: aws.String("owner-id"), Values: owners})
	}
	page, next, err := snapshotLister.run(s.store, sc, query{in.SnapshotIds, filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeSnapshotsOutput{Snapshots: page, NextToken: next}, nil
}

var snapshotLister = &lister[Snapshot, types.Snapshot]{
	kind: snapshotKind,
	view: func(_ store.Reader, _ awsid.Scope, r *Snapshot) types.Snapshot { return r.Snapshot },
	id:   func(v *types.Snapshot) string { return deref(v.SnapshotId) },
	tags: func(v *types.Snapshot) []types.Tag { return v.Tags },
	filters: fields[types.Snapshot]{
		"description":   func(v *types.Snapshot) []string { return one(v.Description) },
		"encrypted":     func(v *types.Snapshot) []string { return boolean(v.Encrypted) },
		"owner-alias":   func(v *types.Snapshot) []string { return one(v.OwnerAlias) },
		"owner-id":      func(v *types.Snapshot) []string { return one(v.OwnerId) },
		"progress":      func(v *types.Snapshot) []string { return one(v.Progress) },
		"snapshot-id":   func(v *types.Snapshot) []string { return one(v.SnapshotId) },
		"start-time":    func(v *types.Snapshot) []string { return instant(v.StartTime) },
		"status":        func(v *types.Snapshot) []string { return text(v.State) },
		"storage-tier":  func(v *types.Snapshot) []string { return text(v.StorageTier) },
		"transfer-type": func(v *types.Snapshot) []string { return text(v.TransferType) },
		"volume-id":     func(v *types.Snapshot) []string { return one(v.VolumeId) },
		"volume-size":   func(v *types.Snapshot) []string { return number(v.VolumeSize) },
	},
}
