package sigv4

import (
	"context"
	"time"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Key is what an access key id stands for.
type Key struct {
	Secret string
	// SessionToken must come with every request that the key signs; empty for
	// long-term keys, which must come without one.
	SessionToken string
	// Expires is when temporary credentials end; zero is never.
	Expires time.Time
	// Caller is the principal: Account, ARN, UserID and AccessKeyID are set.
	Caller awsid.Caller
}

// Keys finds access keys. It is asked for every request and must be fast; keys
// that are deleted or inactive are not found, and neither are those of another
// partition than the one that the request was signed for.
type Keys interface {
	Key(ctx context.Context, partition, accessKeyID string) (Key, bool)
}

// BuiltinSecret is the secret of every built-in key.
const BuiltinSecret = "test"

// Builtin are the keys that exist without anybody having made them: `test` for
// the root of the default account, and every account id for its own root. They
// are good in every partition: for an account of its own in each.
type Builtin struct{}

// Key implements Keys.
func (Builtin) Key(_ context.Context, partition, id string) (Key, bool) {
	account := id
	if id == "test" {
		account = awsid.DefaultAccount
	}
	if !isAccountID(account) {
		return Key{}, false
	}
	return Key{Secret: BuiltinSecret, Caller: Root(partition, account, id)}, true
}

// Root is the caller that the account itself is.
func Root(partition, account, accessKeyID string) awsid.Caller {
	sc := awsid.GlobalScope(partition, account)
	return awsid.Caller{Scope: sc, ARN: sc.RootARN(), UserID: account, AccessKeyID: accessKeyID}
}

func isAccountID(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) == 12
}

// Chain asks each of its members in turn. Nil members are skipped.
type Chain []Keys

// Key implements Keys.
func (c Chain) Key(ctx context.Context, partition, id string) (Key, bool) {
	for _, k := range c {
		if k == nil {
			continue
		}
		if key, ok := k.Key(ctx, partition, id); ok {
			return key, true
		}
	}
	return Key{}, false
}
