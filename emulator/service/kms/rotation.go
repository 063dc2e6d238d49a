package kms

import (
	"context"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	defaultRotationDays, leastRotationDays, mostRotationDays = 365, 90, 2560
	// maxOnDemand is how often a key can be rotated on demand in its life.
	maxOnDemand = 25
)

// rotatable answers the error of a key that KMS does not rotate.
func (k *key) rotatable() error {
	switch {
	case !k.symmetric():
		return &types.UnsupportedOperationException{} // KMS says nothing
	case k.Origin != types.OriginTypeAwsKms:
		return unsupported("%s origin is %s which is not valid for this operation.", k.arn(), k.Origin)
	case k.replica():
		return unsupported("%s is not a multi-region primary key.", k.arn())
	}
	return nil
}

func (k *key) rotationDue(now time.Time) bool {
	return k.RotationDays > 0 && k.State == types.KeyStateEnabled && !k.NextRotation.After(now) && k.rotatable() == nil
}

// EnableKeyRotation implements the operation.
func (s *Service) EnableKeyRotation(ctx context.Context, in *kms.EnableKeyRotationInput, _ ...func(*kms.Options)) (*kms.EnableKeyRotationOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Span("rotationPeriodInDays", in.RotationPeriodInDays, leastRotationDays, mostRotationDays)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.change(ctx, "EnableKeyRotation", *in.KeyId, func(_ *store.Tx, k *key) error {
		if err := k.rotatable(); err != nil {
			return err
		}
		days := int32(defaultRotationDays)
		if in.RotationPeriodInDays != nil {
			days = *in.RotationPeriodInDays
		}
		if k.RotationDays != days {
			k.RotationDays, k.NextRotation = days, s.now().AddDate(0, 0, int(days))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.EnableKeyRotationOutput{}, nil
}

// DisableKeyRotation implements the operation.
func (s *Service) DisableKeyRotation(ctx context.Context, in *kms.DisableKeyRotationInput, _ ...func(*kms.Options)) (*kms.DisableKeyRotationOutput, error) {
	if err := checkKeyID(in.KeyId); err != nil {
		return nil, err
	}
	err := s.change(ctx, "DisableKeyRotation", *in.KeyId, func(_ *store.Tx, k *key) error {
		if err := k.rotatable(); err != nil {
			return err
		}
		k.RotationDays, k.NextRotation = 0, time.Time{}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.DisableKeyRotationOutput{}, nil
}

// GetKeyRotationStatus implements the operation. A replica answers for its primary,
// and a key that is to be deleted is not rotated.
func (s *Service) GetKeyRotationStatus(ctx context.Context, in *kms.GetKeyRotationStatusInput, _ ...func(*kms.Options)) (*kms.GetKeyRotationStatusOutput, error) {
	if err := checkKeyID(in.KeyId); err != nil {
		return nil, err
	}
	k, err := s.find(ctx, s.store, "GetKeyRotationStatus", *in.KeyId)
	if err != nil {
		return nil, err
	}
	out := &kms.GetKeyRotationStatusOutput{KeyId: aws.String(k.arn())}
	if p := keys.Get(s.store, awsid.Scope{Account: k.Scope.Account, Region: k.Primary}, k.ID); k.replica() && p != nil {
		k = p
	}
	if k.RotationDays > 0 && k.State != types.KeyStatePendingDeletion && k.State != types.KeyStatePendingReplicaDeletion {
		out.KeyRotationEnabled, out.RotationPeriodInDays, out.NextRotationDate = true, &k.RotationDays, &k.NextRotation
	}
	return out, nil
}

// RotateKeyOnDemand implements the operation. KMS takes minutes for it and we do not.
func (s *Service) RotateKeyOnDemand(ctx context.Context, in *kms.RotateKeyOnDemandInput, _ ...func(*kms.Options)) (*kms.RotateKeyOnDemandOutput, error) {
	if err := checkKeyID(in.KeyId); err != nil {
		return nil, err
	}
	var out *kms.RotateKeyOnDemandOutput
	err := s.change(ctx, "RotateKeyOnDemand", *in.KeyId, func(tx *store.Tx, k *key) error {
		if err := k.rotatable(); err != nil {
			return err
		}
		n := 0
		for _, r := range k.Rotations {
			if r.Type == types.RotationTypeOnDemand {
				n++
			}
		}
		if n >= maxOnDemand {
			return limitExceeded("The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: %s", k.arn())
		}
		out = &kms.RotateKeyOnDemandOutput{KeyId: aws.String(k.arn())}
		return s.renew(tx, k, types.RotationTypeOnDemand)
	})
	return out, err
}

// rotate makes a key's automatic rotation.
func (s *Service) rotate(ctx context.Context, sc awsid.Scope, id string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		k := keys.Edit(tx, sc, id)
		if k == nil || !k.rotationDue(s.now()) {
			return nil
		}
		for !k.NextRotation.After(s.now()) {
			k.NextRotation = k.NextRotation.AddDate(0, 0, int(k.RotationDays))
		}
		if err := s.renew(tx, k, types.RotationTypeAutomatic); err != nil {
			return err
		}
		keys.Put(tx, sc, id, k)
		return nil
	})
}

// renew gives a key new material, which its replicas share. Old material stays: it
// decrypts what it encrypted.
func (s *Service) renew(tx *store.Tx, k *key, how types.RotationType) error {
	m, err := newMaterial(k.Spec)
	if err != nil {
		return err
	}
	k.Materials = append(k.Materials, m)
	k.Rotations = append(k.Rotations, rotation{Date: s.now(), Type: how, Material: m.ID})
	for _, region := range k.Replicas {
		sc := awsid.Scope{Account: k.Scope.Account, Region: region}
		if r := keys.Edit(tx, sc, k.ID); r != nil {
			r.Materials, r.Rotations = k.Materials, k.Rotations
			keys.Put(tx, sc, r.ID, r)
		}
	}
	return nil
}

// ListKeyRotations implements the operation.
func (s *Service) ListKeyRotations(ctx context.Context, in *kms.ListKeyRotationsInput, _ ...func(*kms.Options)) (*kms.ListKeyRotationsOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Span("limit", in.Limit, 1, 1000)
	c.Length("marker", in.Marker, 1, 1024)
	oneOf(&c, "includeKeyMaterial", in.IncludeKeyMaterial, in.IncludeKeyMaterial.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	k, err := s.find(ctx, s.store, "ListKeyRotations", *in.KeyId)
	if err != nil {
		return nil, err
	}
	if !k.symmetric() {
		return nil, &types.UnsupportedOperationException{}
	}
	list := make([]types.RotationsListEntry, 0, len(k.Rotations)+1)
	if in.IncludeKeyMaterial == types.IncludeKeyMaterialAllKeyMaterial && len(k.Materials) > 0 {
		list = append(list, types.RotationsListEntry{KeyId: &k.ID, KeyMaterialId: &k.Materials[0].ID})
	}
	for _, r := range k.Rotations {
		list = append(list, types.RotationsListEntry{KeyId: &k.ID, RotationDate: &r.Date, RotationType: r.Type, KeyMaterialId: optional(r.Material)})
	}
	type numbered struct {
		n int
		types.RotationsListEntry
	}
	all := make([]numbered, len(list))
	for i, e := range list {
		if in.IncludeKeyMaterial == types.IncludeKeyMaterialAllKeyMaterial {
			e.KeyMaterialState = types.KeyMaterialStateNonCurrent
			if *e.KeyMaterialId == k.current().ID {
				e.KeyMaterialState = types.KeyMaterialStateCurrent
			}
		}
		all[i] = numbered{10000 + i, e} // of one width: pages are cut by text
	}
	all, next, more, err := page(all, func(n numbered) string { return strconv.Itoa(n.n) }, in.Marker, in.Limit, 100)
	if err != nil {
		return nil, err
	}
	out := &kms.ListKeyRotationsOutput{Rotations: make([]types.RotationsListEntry, len(all)), NextMarker: next, Truncated: more}
	for i, e := range all {
		out.Rotations[i] = e.RotationsListEntry
	}
	return out, nil
}
