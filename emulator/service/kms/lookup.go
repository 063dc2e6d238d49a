package kms

import (
	"context"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

var (
	keyIDPattern = regexp.MustCompile(`^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32})$`)
	aliasPattern = regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]+$`)
)

// name is a KeyId of a request taken apart.
type name struct {
	given, account string // account is empty if the name does not say
	key, alias     string // one of them
}

func parseName(region, id string) (name, error) {
	n := name{given: id}
	rest := id
	if strings.HasPrefix(id, "arn:") {
		a, err := awsid.ParseARN(id)
		if err != nil || a.Service != "kms" || a.Partition != awsid.PartitionOf(region) {
			return n, &types.InvalidArnException{Message: aws.String("Invalid arn " + id)}
		}
		if a.Region != region {
			return n, notFound("Invalid arn %s", a.Region)
		}
		n.account = a.Account
		rest = strings.TrimPrefix(a.Resource, "key/")
		if rest == a.Resource && !strings.HasPrefix(rest, "alias/") {
			return n, &types.InvalidArnException{Message: aws.String("Invalid arn " + id)}
		}
	}
	if strings.HasPrefix(rest, "alias/") {
		n.alias = rest
		return n, nil
	}
	if !keyIDPattern.MatchString(rest) {
		return n, notFound("Invalid keyId '%s'", rest)
	}
	n.key = rest
	return n, nil
}

// find returns the key that a request names and the operation may have. It is the
// store's own record: tx.Edit gives one to change.
func (s *Service) find(ctx context.Context, r store.Reader, operation, id string) (*key, error) {
	k, err := s.resolve(ctx, r, operation, id)
	if err != nil {
		return nil, err
	}
	return k, rules[operation].check(k)
}

// resolve does not look at the key's state.
func (s *Service) resolve(ctx context.Context, r store.Reader, operation, id string) (*key, error) {
	who, rule := awsid.CallerFrom(ctx), rules[operation]
	n, err := parseName(who.Region, id)
	if err != nil {
		return nil, err
	}
	if n.alias != "" && !rule.alias {
		return nil, notFound("Invalid keyId '%s'", id)
	}
	sc := who.Scope
	if n.account != "" {
		sc.Account = n.account
	}
	if n.alias != "" {
		a := s.aliasOf(r, sc, n.alias)
		if a == nil {
			return nil, notFound("Alias %s is not found.", sc.ARN("kms", n.alias))
		}
		n.key = a.Target
	}
	k := s.live(r, sc, n.key)
	if k == nil {
		return nil, notFound("Key '%s' does not exist", sc.ARN("kms", "key/"+n.key))
	}
	return k, s.mayUse(ctx, who, k, operation, rule)
}

// mayUse judges what KMS itself decides: other accounts' keys and AWS's own.
func (s *Service) mayUse(ctx context.Context, who awsid.Caller, k *key, operation string, rule rule) error {
	denied := accessDenied("User: %s is not authorized to perform: kms:%s on resource: %s because no resource-based policy allows the kms:%s action",
		who.ARN, operation, k.arn(), operation)
	if k.awsManaged() && !rule.managed {
		return denied
	}
	if k.Scope.Account != who.Account && (!rule.foreign || !s.access.MayUse(ctx, who, "kms:"+operation, k.arn(), k.Policy)) {
		return denied
	}
	return nil
}

// live returns a key that has not been deleted.
func (s *Service) live(r store.Reader, sc awsid.Scope, id string) *key {
	k := keys.Get(r, sc, id)
	if k == nil || k.due(s.clock.Now()) {
		return nil
	}
	return k
}

// aliasOf returns an alias whose key is there.
func (s *Service) aliasOf(r store.Reader, sc awsid.Scope, name string) *alias {
	a := aliases.Get(r, sc, name)
	if a == nil || s.live(r, sc, a.Target) == nil {
		return nil
	}
	return a
}

// change finds a key and writes what f makes of it, in one transaction.
func (s *Service) change(ctx context.Context, operation, id string, f func(tx *store.Tx, k *key) error) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		found, err := s.find(ctx, tx, operation, id)
		if err != nil {
			return err
		}
		k := keys.Edit(tx, found.Scope, found.ID)
		if err := f(tx, k); err != nil {
			return err
		}
		keys.Put(tx, k.Scope, k.ID, k)
		return nil
	})
}
