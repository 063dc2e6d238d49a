// Package ssm is the Parameter Store of AWS Systems Manager, with the public
// parameters that name EKS's machine images.
package ssm

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/store"
)

// Config is what the service is made from.
type Config struct {
	Store *store.Store
	Clock clock.PassiveClock
	Log   *slog.Logger
	// Keys nil takes every key.
	Keys Keys
}

// Keys is what Parameter Store asks of KMS. Secrets are not stored encrypted; the key
// has to be one that could.
type Keys interface {
	Encrypt(context.Context, *kms.EncryptInput, ...func(*kms.Options)) (*kms.EncryptOutput, error)
}

// Service implements SSM's operations with the signatures of the SDK's client.
type Service struct {
	store *store.Store
	clock clock.PassiveClock
	log   *slog.Logger
	keys  Keys
}

// New returns the service.
func New(c Config) *Service {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{store: c.Store, clock: c.Clock, log: c.Log, keys: c.Keys}
}

// parameters are keyed by name; versions by name, a colon (which no name holds)
// and the number, so that a Put never rewrites the values of a hundred versions.
const (
	parameters store.Table[parameter] = "ssm-parameters"
	versions   store.Table[version]   = "ssm-parameter-versions"
)

// parameter is what stays from version to version, and the newest version.
type parameter struct {
	version
	Tags   map[string]string
	Oldest int64
}

// version is one version of a parameter. Labels are in the stored version only,
// not in the copy that a parameter holds.
type version struct {
	Name, ARN, Type, Value      string
	Description, KeyID, Tier    string
	DataType, Pattern, Policies string
	Number                      int64
	Modified                    time.Time
	User                        string
	Labels                      []string
}

const (
	typeString = "String"
	typeList   = "StringList"
	typeSecure = "SecureString"

	tierStandard    = "Standard"
	tierAdvanced    = "Advanced"
	tierIntelligent = "Intelligent-Tiering"
)
