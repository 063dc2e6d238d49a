package kms

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// CreateKey implements the operation.
func (s *Service) CreateKey(ctx context.Context, in *kms.CreateKeyInput, _ ...func(*kms.Options)) (*kms.CreateKeyOutput, error) {
	k, err := newKey(ctx, in)
	if err != nil {
		return nil, err
	}
	k.Created = s.now()
	if in.Policy == nil {
		k.Policy = defaultPolicy(k.Scope)
	} else if err := s.checkPolicy(ctx, k, *in.Policy, in.BypassPolicyLockoutSafetyCheck); err != nil {
		return nil, err
	} else {
		k.Policy = *in.Policy
	}
	if k.Tags, err = newTags(ctx, nil, in.Tags); err != nil {
		return nil, err
	}
	if k.Origin == types.OriginTypeExternal {
		k.State = types.KeyStatePendingImport
	} else {
		m, err := newMaterial(k.Spec)
		if err != nil {
			return nil, err
		}
		k.Materials = []material{m}
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		keys.Put(tx, k.Scope, k.ID, k)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.CreateKeyOutput{KeyMetadata: describe(s.store, k)}, nil
}

// newKey checks a request and makes the key without its material.
func newKey(ctx context.Context, in *kms.CreateKeyInput) (*key, error) {
	var c checks
	c.Length("description", in.Description, 0, 8192)
	c.Length("policy", in.Policy, 1, 131072)
	oneOf(&c, "keySpec", in.KeySpec, in.KeySpec.Values())
	oneOf(&c, "customerMasterKeySpec", in.CustomerMasterKeySpec, in.CustomerMasterKeySpec.Values())
	oneOf(&c, "keyUsage", in.KeyUsage, in.KeyUsage.Values())
	oneOf(&c, "origin", in.Origin, in.Origin.Values())
	c.tags(in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	if in.CustomKeyStoreId != nil || in.XksKeyId != nil || in.Origin == types.OriginTypeAwsCloudhsm || in.Origin == types.OriginTypeExternalKeyStore {
		return nil, unsupported("ekslocal does not emulate custom key stores.")
	}
	spec := in.KeySpec
	if in.CustomerMasterKeySpec != "" {
		if spec != "" {
			return nil, validation("You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
		}
		spec = types.KeySpec(in.CustomerMasterKeySpec)
	}
	if spec == "" {
		spec = types.KeySpecSymmetricDefault
	}
	usage := in.KeyUsage
	if usage == "" {
		if spec != types.KeySpecSymmetricDefault {
			return nil, validation("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
		}
		usage = types.KeyUsageTypeEncryptDecrypt
	}
	if kinds[spec].secret == nil {
		return nil, unsupported("ekslocal does not emulate keys of the spec %s.", spec)
	}
	if algorithmsOf(spec, usage) == nil {
		return nil, validation("KeyUsage %s is not compatible with KeySpec %s", usage, spec)
	}
	sc := awsid.CallerFrom(ctx).Scope
	k := &key{
		Scope: sc, ID: awsid.NewUUID(), Description: aws.ToString(in.Description), Manager: types.KeyManagerTypeCustomer,
		Spec: spec, Usage: usage, Origin: in.Origin, State: types.KeyStateEnabled,
	}
	if k.Origin == "" {
		k.Origin = types.OriginTypeAwsKms
	}
	if aws.ToBool(in.MultiRegion) {
		k.ID, k.Primary = "mrk-"+strings.ReplaceAll(k.ID, "-", ""), sc.Region
	}
	return k, nil
}

// DescribeKey implements the operation. It makes an AWS managed key that is asked
// for by its alias, as KMS does.
func (s *Service) DescribeKey(ctx context.Context, in *kms.DescribeKeyInput, _ ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	k, err := s.use(ctx, "DescribeKey", in.KeyId)
	if err != nil {
		return nil, err
	}
	return &kms.DescribeKeyOutput{KeyMetadata: describe(s.store, k)}, nil
}

// use finds a key for an operation that takes aliases, AWS's own among them.
func (s *Service) use(ctx context.Context, operation string, id *string) (*key, error) {
	if err := checkKeyID(id); err != nil {
		return nil, err
	}
	if err := s.ensureManaged(ctx, *id); err != nil {
		return nil, err
	}
	return s.find(ctx, s.store, operation, *id)
}

func checkKeyID(id *string) error {
	var c checks
	c.Required("keyId", id, 1, 2048)
	return c.err()
}

// ListKeys implements the operation.
func (s *Service) ListKeys(ctx context.Context, in *kms.ListKeysInput, _ ...func(*kms.Options)) (*kms.ListKeysOutput, error) {
	var c checks
	c.Span("limit", in.Limit, 1, 1000)
	c.Length("marker", in.Marker, 1, 1024)
	if err := c.err(); err != nil {
		return nil, err
	}
	var all []*key
	for _, k := range keys.List(s.store, awsid.CallerFrom(ctx).Scope) {
		if !k.due(s.clock.Now()) {
			all = append(all, k)
		}
	}
	all, next, more, err := page(all, func(k *key) string { return k.ID }, in.Marker, in.Limit, 100)
	if err != nil {
		return nil, err
	}
	out := &kms.ListKeysOutput{Keys: make([]types.KeyListEntry, len(all)), NextMarker: next, Truncated: more}
	for i, k := range all {
		out.Keys[i] = types.KeyListEntry{KeyId: &k.ID, KeyArn: aws.String(k.arn())}
	}
	return out, nil
}

// UpdateKeyDescription implements the operation.
func (s *Service) UpdateKeyDescription(ctx context.Context, in *kms.UpdateKeyDescriptionInput, _ ...func(*kms.Options)) (*kms.UpdateKeyDescriptionOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Required("description", in.Description, 0, 8192)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.change(ctx, "UpdateKeyDescription", *in.KeyId, func(_ *store.Tx, k *key) error {
		k.Description = *in.Description
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.UpdateKeyDescriptionOutput{}, nil
}

// EnableKey implements the operation.
func (s *Service) EnableKey(ctx context.Context, in *kms.EnableKeyInput, _ ...func(*kms.Options)) (*kms.EnableKeyOutput, error) {
	if err := s.setState(ctx, "EnableKey", in.KeyId, types.KeyStateEnabled); err != nil {
		return nil, err
	}
	return &kms.EnableKeyOutput{}, nil
}

// DisableKey implements the operation.
func (s *Service) DisableKey(ctx context.Context, in *kms.DisableKeyInput, _ ...func(*kms.Options)) (*kms.DisableKeyOutput, error) {
	if err := s.setState(ctx, "DisableKey", in.KeyId, types.KeyStateDisabled); err != nil {
		return nil, err
	}
	return &kms.DisableKeyOutput{}, nil
}

func (s *Service) setState(ctx context.Context, operation string, id *string, state types.KeyState) error {
	if err := checkKeyID(id); err != nil {
		return err
	}
	return s.change(ctx, operation, *id, func(_ *store.Tx, k *key) error {
		k.State = state
		return nil
	})
}
