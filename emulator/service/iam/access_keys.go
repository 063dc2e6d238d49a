package iam

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxKeysPerUser = 2

// keyOwner resolves the optional UserName of the access key operations.
func keyOwner(ctx context.Context, name *string) (*string, error) {
	if name != nil {
		return name, nil
	}
	own, err := callerUser(ctx)
	return &own, err
}

// CreateAccessKey implements the operation.
func (s *Service) CreateAccessKey(ctx context.Context, in *iam.CreateAccessKeyInput, _ ...func(*iam.Options)) (*iam.CreateAccessKeyOutput, error) {
	owner, err := keyOwner(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	k := &accessKey{
		ID: "AKIA" + randomBase32(16), Secret: newSecret(), Account: scopeOf(ctx).Account, Partition: scopeOf(ctx).Partition(),
		User: *owner, Active: true, Created: s.now(),
	}
	err = s.updateUser(ctx, owner, func(tx *store.Tx, u *user) error {
		if len(u.Keys) >= maxKeysPerUser {
			return overQuota("AccessKeysPerUser", maxKeysPerUser)
		}
		u.Keys = append(u.Keys, k.ID)
		keys.Put(tx, keyScope, k.ID, k)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateAccessKeyOutput{AccessKey: &types.AccessKey{
		AccessKeyId: &k.ID, SecretAccessKey: &k.Secret, Status: types.StatusTypeActive, UserName: &k.User, CreateDate: &k.Created,
	}}, nil
}

func (k *accessKey) status() types.StatusType {
	if k.Active {
		return types.StatusTypeActive
	}
	return types.StatusTypeInactive
}

// ListAccessKeys implements the operation.
func (s *Service) ListAccessKeys(ctx context.Context, in *iam.ListAccessKeysInput, _ ...func(*iam.Options)) (*iam.ListAccessKeysOutput, error) {
	var c checks
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	owner, err := keyOwner(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	u, err := getUser(ctx, s.store, owner)
	if err != nil {
		return nil, err
	}
	ids, more, next, err := page(slices.Clone(u.Keys), func(id string) string { return id }, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := make([]types.AccessKeyMetadata, 0, len(ids))
	for _, id := range ids {
		if k := keys.Get(s.store, keyScope, id); k != nil {
			out = append(out, types.AccessKeyMetadata{AccessKeyId: &k.ID, Status: k.status(), UserName: &k.User, CreateDate: &k.Created})
		}
	}
	return &iam.ListAccessKeysOutput{AccessKeyMetadata: out, IsTruncated: more, Marker: next}, nil
}

func (c *checks) keyID(id *string) {
	c.Required("accessKeyId", id, 16, 128)
	c.Pattern("accessKeyId", id, wordPattern, `[\w]+`)
}

func checkKeyID(id *string) error {
	var c checks
	c.keyID(id)
	return c.err()
}

// UpdateAccessKey implements the operation.
func (s *Service) UpdateAccessKey(ctx context.Context, in *iam.UpdateAccessKeyInput, _ ...func(*iam.Options)) (*iam.UpdateAccessKeyOutput, error) {
	var c checks
	c.keyID(in.AccessKeyId)
	c.Null("status", in.Status == "")
	c.OneOf("status", string(in.Status), "Active", "Inactive")
	if err := c.err(); err != nil {
		return nil, err
	}
	owner, err := keyOwner(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	err = s.updateUser(ctx, owner, func(tx *store.Tx, u *user) error {
		if !slices.Contains(u.Keys, *in.AccessKeyId) {
			return notFoundKey(*in.AccessKeyId)
		}
		k := keys.Edit(tx, keyScope, *in.AccessKeyId)
		k.Active = in.Status == types.StatusTypeActive
		keys.Put(tx, keyScope, k.ID, k)
		return nil
	})
	return answer(&iam.UpdateAccessKeyOutput{}, err)
}

func notFoundKey(id string) error {
	return noSuchEntity("The Access Key with id " + id + " cannot be found")
}

// DeleteAccessKey implements the operation.
func (s *Service) DeleteAccessKey(ctx context.Context, in *iam.DeleteAccessKeyInput, _ ...func(*iam.Options)) (*iam.DeleteAccessKeyOutput, error) {
	if err := checkKeyID(in.AccessKeyId); err != nil {
		return nil, err
	}
	owner, err := keyOwner(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	err = s.updateUser(ctx, owner, func(tx *store.Tx, u *user) error {
		i := slices.Index(u.Keys, *in.AccessKeyId)
		if i < 0 {
			return notFoundKey(*in.AccessKeyId)
		}
		u.Keys = slices.Delete(u.Keys, i, i+1)
		keys.Delete(tx, keyScope, *in.AccessKeyId)
		return nil
	})
	return answer(&iam.DeleteAccessKeyOutput{}, err)
}

// GetAccessKeyLastUsed implements the operation.
func (s *Service) GetAccessKeyLastUsed(ctx context.Context, in *iam.GetAccessKeyLastUsedInput, _ ...func(*iam.Options)) (*iam.GetAccessKeyLastUsedOutput, error) {
	if err := checkKeyID(in.AccessKeyId); err != nil {
		return nil, err
	}
	k := keys.Get(s.store, keyScope, *in.AccessKeyId)
	if k == nil || k.scope() != scopeOf(ctx) {
		return nil, accessDenied(ctx, *in.AccessKeyId)
	}
	used := &types.AccessKeyLastUsed{ServiceName: aws.String("N/A"), Region: aws.String("N/A")}
	if !k.LastUsed.IsZero() {
		used = &types.AccessKeyLastUsed{LastUsedDate: &k.LastUsed, ServiceName: &k.LastService, Region: &k.LastRegion}
	}
	return &iam.GetAccessKeyLastUsedOutput{UserName: &k.User, AccessKeyLastUsed: used}, nil
}

// scope is where the key's user is.
func (k *accessKey) scope() awsid.Scope { return awsid.GlobalScope(k.Partition, k.Account) }

// Key implements sigv4.Keys for the long-term keys of users.
func (s *Service) Key(_ context.Context, partition, id string) (sigv4.Key, bool) {
	k := keys.Get(s.store, keyScope, id)
	if k == nil || !k.Active {
		return sigv4.Key{}, false
	}
	sc := k.scope()
	if sc.Partition() != partition {
		return sigv4.Key{}, false
	}
	u := users.Get(s.store, sc, key(k.User))
	if u == nil {
		return sigv4.Key{}, false
	}
	return sigv4.Key{
		Secret: k.Secret,
		Caller: awsid.Caller{Scope: sc, ARN: u.ARN, UserID: u.ID, AccessKeyID: k.ID},
	}, true
}

// KeyAccount tells which account a long-term key belongs to, active or not.
func (s *Service) KeyAccount(_ context.Context, partition, id string) (string, bool) {
	k := keys.Get(s.store, keyScope, id)
	if k == nil || k.scope().Partition() != partition {
		return "", false
	}
	return k.Account, true
}

// lastUsedGrain is how exact the time of last use is: AWS's is no better, and
// a write per signed request would be too dear.
const lastUsedGrain = 15 * time.Minute

// KeyUsed notes that a request signed with a key of a user was accepted.
func (s *Service) KeyUsed(ctx context.Context, id, service, region string) error {
	k := keys.Get(s.store, keyScope, id)
	if k == nil || s.now().Sub(k.LastUsed) < lastUsedGrain {
		return nil
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if k := keys.Edit(tx, keyScope, id); k != nil {
			k.LastUsed, k.LastService, k.LastRegion = s.now(), service, region
			keys.Put(tx, keyScope, id, k)
		}
		return nil
	})
}
