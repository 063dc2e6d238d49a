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

// maxAliases is KMS's quota of aliases a key.
const maxAliases = 50

func checkAlias(aliasName, target *string, withTarget bool) error {
	var c checks
	c.Required("aliasName", aliasName, 1, 256)
	if withTarget {
		c.Required("targetKeyId", target, 1, 2048)
	}
	if err := c.err(); err != nil {
		return err
	}
	switch n := *aliasName; {
	case !strings.HasPrefix(n, "alias/"):
		return validation(`Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	case strings.HasPrefix(n, managedPrefix):
		return &types.InvalidAliasNameException{Message: aws.String("Alias names cannot begin with alias/aws/, which is reserved for AWS managed keys.")}
	case strings.Contains(n, ":"):
		return validation("%s contains invalid characters for an alias", n)
	case !aliasPattern.MatchString(n):
		c.Add(quoted(n), "aliasName", "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$")
		return c.err()
	case withTarget && (strings.HasPrefix(*target, "alias/") || strings.Contains(*target, ":alias/")):
		return validation("Aliases must refer to keys. Not aliases")
	}
	return nil
}

// CreateAlias implements the operation.
func (s *Service) CreateAlias(ctx context.Context, in *kms.CreateAliasInput, _ ...func(*kms.Options)) (*kms.CreateAliasOutput, error) {
	if err := checkAlias(in.AliasName, in.TargetKeyId, true); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if s.aliasOf(tx, sc, *in.AliasName) != nil {
			return &types.AlreadyExistsException{Message: aws.String("An alias with the name " + sc.ARN("kms", *in.AliasName) + " already exists")}
		}
		k, err := s.find(ctx, tx, "CreateAlias", *in.TargetKeyId)
		if err != nil {
			return err
		}
		n := 0
		for _, a := range aliases.List(tx, sc) {
			if a.Target == k.ID {
				n++
			}
		}
		if n >= maxAliases {
			return limitExceeded("Alias limit exceeded for key %s", k.arn())
		}
		now := s.now()
		aliases.Put(tx, sc, *in.AliasName, &alias{Name: *in.AliasName, Target: k.ID, Created: now, Updated: now})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.CreateAliasOutput{}, nil
}

// UpdateAlias implements the operation. Old and new key must be of one kind.
func (s *Service) UpdateAlias(ctx context.Context, in *kms.UpdateAliasInput, _ ...func(*kms.Options)) (*kms.UpdateAliasOutput, error) {
	if err := checkAlias(in.AliasName, in.TargetKeyId, true); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if s.aliasOf(tx, sc, *in.AliasName) == nil {
			return notFound("Alias %s is not found.", sc.ARN("kms", *in.AliasName))
		}
		k, err := s.find(ctx, tx, "UpdateAlias", *in.TargetKeyId)
		if err != nil {
			return err
		}
		a := aliases.Edit(tx, sc, *in.AliasName)
		if old := s.live(tx, sc, a.Target); old.Usage != k.Usage || old.symmetric() != k.symmetric() {
			return validation("The alias %s cannot be changed from %s to %s: the current and the new key must be of the same type and have the same key usage.", a.Name, old.arn(), k.arn())
		}
		a.Target, a.Updated = k.ID, s.now()
		aliases.Put(tx, sc, a.Name, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.UpdateAliasOutput{}, nil
}

// DeleteAlias implements the operation.
func (s *Service) DeleteAlias(ctx context.Context, in *kms.DeleteAliasInput, _ ...func(*kms.Options)) (*kms.DeleteAliasOutput, error) {
	if err := checkAlias(in.AliasName, nil, false); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if s.aliasOf(tx, sc, *in.AliasName) == nil {
			return notFound("Alias %s is not found.", sc.ARN("kms", *in.AliasName))
		}
		aliases.Delete(tx, sc, *in.AliasName)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.DeleteAliasOutput{}, nil
}

// ListAliases implements the operation. AWS's own aliases are in it from the
// beginning, without a key until they are used: the Terraform provider's
// aws_kms_alias data source looks for them here and then asks for the key.
func (s *Service) ListAliases(ctx context.Context, in *kms.ListAliasesInput, _ ...func(*kms.Options)) (*kms.ListAliasesOutput, error) {
	var c checks
	c.Length("keyId", in.KeyId, 1, 2048)
	c.Span("limit", in.Limit, 1, 100)
	c.Length("marker", in.Marker, 1, 1024)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, target := awsid.CallerFrom(ctx).Scope, ""
	if in.KeyId != nil {
		k, err := s.find(ctx, s.store, "ListAliases", *in.KeyId)
		if err != nil {
			return nil, err
		}
		target = k.ID
	}
	var all []*alias
	for _, a := range aliases.List(s.store, sc) {
		if (target == "" || a.Target == target) && s.live(s.store, sc, a.Target) != nil {
			all = append(all, a)
		}
	}
	for service := range managed {
		if name := managedPrefix + service; target == "" && aliases.Get(s.store, sc, name) == nil {
			all = append(all, &alias{Name: name})
		}
	}
	all, next, more, err := page(all, func(a *alias) string { return a.Name }, in.Marker, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &kms.ListAliasesOutput{Aliases: make([]types.AliasListEntry, len(all)), NextMarker: next, Truncated: more}
	for i, a := range all {
		out.Aliases[i] = types.AliasListEntry{AliasName: &a.Name, AliasArn: aws.String(sc.ARN("kms", a.Name))}
		if a.Target != "" {
			out.Aliases[i].TargetKeyId, out.Aliases[i].CreationDate, out.Aliases[i].LastUpdatedDate = &a.Target, &a.Created, &a.Updated
		}
	}
	return out, nil
}
