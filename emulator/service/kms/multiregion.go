package kms

import (
	"context"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

var regionPattern = regexp.MustCompile(`^([a-z]+-){2,3}\d+$`)

func checkRegion(ctx context.Context, id *string, member string, region *string) error {
	var c checks
	c.Required("keyId", id, 1, 2048)
	c.Required(member, region, 1, 32)
	if region != nil && !regionPattern.MatchString(*region) {
		c.Add(quoted(*region), member, `Member must satisfy regular expression pattern: ^([a-z]+-){2,3}\d+$`)
	}
	if err := c.err(); err != nil {
		return err
	}
	if home := awsid.CallerFrom(ctx).Partition(); awsid.PartitionOf(*region) != home {
		return validation("The region %s is not in the partition %s of the key.", *region, home)
	}
	return nil
}

// ReplicateKey implements the operation. The answer says Creating, as KMS's does;
// the replica can be used at once.
func (s *Service) ReplicateKey(ctx context.Context, in *kms.ReplicateKeyInput, _ ...func(*kms.Options)) (*kms.ReplicateKeyOutput, error) {
	if err := checkRegion(ctx, in.KeyId, "replicaRegion", in.ReplicaRegion); err != nil {
		return nil, err
	}
	var c checks
	c.tags(in.Tags)
	c.Length("description", in.Description, 0, 8192)
	if err := c.err(); err != nil {
		return nil, err
	}
	var out *kms.ReplicateKeyOutput
	err := s.change(ctx, "ReplicateKey", *in.KeyId, func(tx *store.Tx, k *key) error {
		if !k.multiRegion() || k.replica() {
			return unsupported("%s is not a multi-region primary key.", k.arn())
		}
		r := *k
		r.Scope.Region, r.Replicas, r.Created = *in.ReplicaRegion, nil, s.now()
		if keys.Get(tx, r.Scope, r.ID) != nil {
			return &types.AlreadyExistsException{Message: aws.String("A key with the ARN " + r.arn() + " already exists")}
		}
		r.Description, r.Policy, r.RotationDays = aws.ToString(in.Description), defaultPolicy(r.Scope), 0
		if in.Policy != nil {
			if err := s.checkPolicy(ctx, &r, *in.Policy, in.BypassPolicyLockoutSafetyCheck); err != nil {
				return err
			}
			r.Policy = *in.Policy
		}
		var err error
		if r.Tags, err = newTags(ctx, nil, in.Tags); err != nil {
			return err
		}
		k.Replicas = append(k.Replicas, r.Scope.Region)
		slices.Sort(k.Replicas)
		keys.Put(tx, r.Scope, r.ID, &r)
		m := r.metadata(k)
		m.KeyState, m.Enabled = types.KeyStateCreating, false
		out = &kms.ReplicateKeyOutput{ReplicaKeyMetadata: m, ReplicaPolicy: &r.Policy, ReplicaTags: in.Tags}
		return nil
	})
	return out, err
}

// UpdatePrimaryRegion implements the operation: primary and replica change places.
func (s *Service) UpdatePrimaryRegion(ctx context.Context, in *kms.UpdatePrimaryRegionInput, _ ...func(*kms.Options)) (*kms.UpdatePrimaryRegionOutput, error) {
	if err := checkRegion(ctx, in.KeyId, "primaryRegion", in.PrimaryRegion); err != nil {
		return nil, err
	}
	err := s.change(ctx, "UpdatePrimaryRegion", *in.KeyId, func(tx *store.Tx, k *key) error {
		if !k.multiRegion() || k.replica() {
			return unsupported("%s is not a multi-region primary key.", k.arn())
		}
		to := *in.PrimaryRegion
		if !slices.Contains(k.Replicas, to) {
			return notFound("Key '%s' does not exist", awsid.Scope{Account: k.Scope.Account, Region: to}.ARN("kms", "key/"+k.ID))
		}
		replicas := slices.DeleteFunc(append(slices.Clone(k.Replicas), k.Primary), func(r string) bool { return r == to })
		slices.Sort(replicas)
		for _, region := range k.Replicas {
			sc := awsid.Scope{Account: k.Scope.Account, Region: region}
			r := keys.Edit(tx, sc, k.ID)
			if r == nil {
				continue
			}
			r.Primary = to
			if region == to {
				r.Replicas, r.RotationDays, r.NextRotation = replicas, k.RotationDays, k.NextRotation
			}
			keys.Put(tx, sc, r.ID, r)
		}
		k.Primary, k.Replicas, k.RotationDays = to, nil, 0
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.UpdatePrimaryRegionOutput{}, nil
}
