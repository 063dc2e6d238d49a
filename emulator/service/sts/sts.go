// Package sts is the AWS Security Token Service: who am I, and temporary
// credentials for roles.
package sts

import (
	"context"
	"crypto"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Directory is what STS asks IAM. Scopes stand for their account in their
// partition.
type Directory interface {
	Role(ctx context.Context, sc awsid.Scope, name string) (policy.Role, bool)
	RoleByARN(ctx context.Context, sc awsid.Scope, arn string) (policy.Role, bool)
	OIDCProvider(ctx context.Context, sc awsid.Scope, issuer string) (policy.OIDCProvider, bool)
	// Entity finds a user or role with its tags and policies.
	Entity(ctx context.Context, sc awsid.Scope, arn string) (policy.Entity, bool)
	// ManagedPolicies finds managed policies by ARN. It leaves out what is not there,
	// and never answers nil.
	ManagedPolicies(sc awsid.Scope, arns ...string) []policy.Policy
	// TakeMFACode tells whether a code is the present one of a device of the user; it is
	// good once.
	TakeMFACode(ctx context.Context, sc awsid.Scope, userID, serial, code string) bool
	// KeyAccount tells which account of the partition a long-term access key
	// belongs to.
	KeyAccount(ctx context.Context, partition, accessKeyID string) (string, bool)
}

// KeySource finds the public keys that an OpenID Connect issuer signs with.
type KeySource interface {
	// SigningKeys answers by key id for an issuer URL, nil if the issuer is
	// unknown or cannot be reached.
	SigningKeys(ctx context.Context, issuer string) (map[string]crypto.PublicKey, error)
}

// Gate decides whether somebody gets a session of a role: by all policies that stand
// for and against it.
type Gate interface {
	// Judge is asked by the role's trust policy; owner is the role's account.
	Judge(ctx context.Context, caller awsid.Caller, trust policy.Policy, owner string, r policy.Request) bool
}

// trustAlone is the Gate of those who do not enforce IAM.
type trustAlone struct{}

func (trustAlone) Judge(_ context.Context, _ awsid.Caller, trust policy.Policy, _ string, r policy.Request) bool {
	return trust.Evaluate(r) == policy.Allowed
}

// Config is what the service is made from.
type Config struct {
	Store *store.Store
	Clock clock.PassiveClock
	Log   *slog.Logger
	// IAM knows the roles and identity providers.
	IAM Directory
	// Keys may be nil: no web identity can be verified then.
	Keys KeySource
	// Gate nil asks the trust policy alone.
	Gate Gate
}

// Service implements STS's operations with the signatures of the SDK's client.
type Service struct {
	store *store.Store
	clock clock.PassiveClock
	log   *slog.Logger
	iam   Directory
	keys  KeySource
	gate  Gate

	parsed policy.Cache

	mu    sync.Mutex
	swept time.Time
}

// New returns the service.
func New(c Config) *Service {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Gate == nil {
		c.Gate = trustAlone{}
	}
	return &Service{store: c.Store, clock: c.Clock, log: c.Log, iam: c.IAM, keys: c.Keys, gate: c.Gate}
}

// GetCallerIdentity implements the operation. It needs no permission at all.
func (s *Service) GetCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput, _ ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
	c := awsid.CallerFrom(ctx)
	return &sts.GetCallerIdentityOutput{Account: aws.String(c.Account), Arn: aws.String(c.ARN), UserId: aws.String(c.UserID)}, nil
}

// GetAccessKeyInfo implements the operation.
func (s *Service) GetAccessKeyInfo(ctx context.Context, in *sts.GetAccessKeyInfoInput, _ ...func(*sts.Options)) (*sts.GetAccessKeyInfoOutput, error) {
	var c checks
	c.Required("accessKeyId", in.AccessKeyId, 4, 128) // AWS wants 16: the built-in keys are shorter
	c.Pattern("accessKeyId", in.AccessKeyId, keyPattern, `[\w]*`)
	if err := c.err(); err != nil {
		return nil, err
	}
	id, partition := *in.AccessKeyId, awsid.CallerFrom(ctx).Partition()
	if account, ok := s.iam.KeyAccount(ctx, partition, id); ok {
		return &sts.GetAccessKeyInfoOutput{Account: &account}, nil
	}
	if k := sessions.Get(s.store, sessionScope, id); k != nil && k.scope().Partition() == partition {
		return &sts.GetAccessKeyInfoOutput{Account: &k.Account}, nil
	}
	if k, ok := builtinKey(ctx, partition, id); ok {
		return &sts.GetAccessKeyInfoOutput{Account: &k.Caller.Account}, nil
	}
	return nil, validationError("Invalid AccessKeyId: " + id)
}

// DecodeAuthorizationMessage implements the operation.
func (s *Service) DecodeAuthorizationMessage(_ context.Context, in *sts.DecodeAuthorizationMessageInput, _ ...func(*sts.Options)) (*sts.DecodeAuthorizationMessageOutput, error) {
	var c checks
	c.Required("encodedMessage", in.EncodedMessage, 1, 10240)
	if err := c.err(); err != nil {
		return nil, err
	}
	plain, err := policy.Decode(*in.EncodedMessage)
	if err != nil {
		return nil, &types.InvalidAuthorizationMessageException{Message: aws.String("Message could not be decoded.")}
	}
	return &sts.DecodeAuthorizationMessageOutput{DecodedMessage: &plain}, nil
}
