package kms

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// keys are by key id, aliases by name (alias/...), grants by key id, a slash and
// the grant's id.
const (
	keys    store.Table[key]   = "kms-keys"
	aliases store.Table[alias] = "kms-aliases"
	grants  store.Table[grant] = "kms-grants"
)

// KeysTable and GrantsTable are what to subscribe to for changes of keys (by key id)
// and of grants (by key id, a slash and grant id).
const (
	KeysTable   = string(keys)
	GrantsTable = string(grants)
)

// key is a KMS key with everything that goes away with it.
type key struct {
	Scope       awsid.Scope
	ID          string
	Description string
	Manager     types.KeyManagerType
	Spec        types.KeySpec
	Usage       types.KeyUsageType
	Origin      types.OriginType
	State       types.KeyState
	Created     time.Time
	Policy      string
	Tags        map[string]string

	// Materials are oldest first; what encrypts is the last.
	Materials []material
	Rotations []rotation
	// RotationDays is 0 while automatic rotation is off.
	RotationDays int32
	NextRotation time.Time

	// Window and Deletion are those of a scheduled deletion. A primary key waits
	// for its replicas first and has no Deletion until then.
	Window   int32
	Deletion *time.Time

	// Primary is the region of a multi-Region key's primary, empty for others.
	// Replicas are the regions of its replicas, in the primary's record only.
	Primary  string
	Replicas []string
}

// material is one version of a key's secret: 32 random bytes or a PKCS #8 key.
type material struct {
	ID     string
	Secret []byte
}

type rotation struct {
	Date     time.Time
	Type     types.RotationType
	Material string
}

type alias struct {
	Name, Target     string
	Created, Updated time.Time
}

type grant struct {
	ID, Token, KeyID, Name string
	Grantee, Retiring      string
	Operations             []types.GrantOperation
	Constraints            *types.GrantConstraints
	Created                time.Time
	// Issuer is the account whose principal made the grant.
	Issuer string
}

func grantKey(keyID, id string) string { return keyID + "/" + id }

func (k *key) arn() string        { return k.Scope.ARN("kms", "key/"+k.ID) }
func (k *key) multiRegion() bool  { return k.Primary != "" }
func (k *key) replica() bool      { return k.multiRegion() && k.Primary != k.Scope.Region }
func (k *key) awsManaged() bool   { return k.Manager == types.KeyManagerTypeAws }
func (k *key) symmetric() bool    { return k.Spec == types.KeySpecSymmetricDefault }
func (k *key) current() *material { return &k.Materials[len(k.Materials)-1] }

// due tells whether the key's waiting period is over: it is gone then, whether or
// not its record is still there.
func (k *key) due(now time.Time) bool { return k.Deletion != nil && !k.Deletion.After(now) }

// metadata describes the key; primary is its own record or the primary's.
func (k *key) metadata(primary *key) *types.KeyMetadata {
	m := &types.KeyMetadata{
		AWSAccountId: &k.Scope.Account, KeyId: &k.ID, Arn: aws.String(k.arn()), CreationDate: &k.Created, Enabled: k.State == types.KeyStateEnabled,
		Description: &k.Description, KeyUsage: k.Usage, KeyState: k.State, Origin: k.Origin, KeyManager: k.Manager, KeySpec: k.Spec,
		CustomerMasterKeySpec: types.CustomerMasterKeySpec(k.Spec), MultiRegion: aws.Bool(k.multiRegion()), DeletionDate: k.Deletion,
	}
	if k.symmetric() && len(k.Materials) > 0 {
		m.CurrentKeyMaterialId = &k.current().ID
	}
	if k.State == types.KeyStatePendingReplicaDeletion {
		m.PendingDeletionWindowInDays = &k.Window
	}
	switch a := algorithmsOf(k.Spec, k.Usage); k.Usage {
	case types.KeyUsageTypeEncryptDecrypt:
		for _, n := range a {
			m.EncryptionAlgorithms = append(m.EncryptionAlgorithms, types.EncryptionAlgorithmSpec(n))
		}
	case types.KeyUsageTypeSignVerify:
		for _, n := range a {
			m.SigningAlgorithms = append(m.SigningAlgorithms, types.SigningAlgorithmSpec(n))
		}
	case types.KeyUsageTypeGenerateVerifyMac:
		for _, n := range a {
			m.MacAlgorithms = append(m.MacAlgorithms, types.MacAlgorithmSpec(n))
		}
	case types.KeyUsageTypeKeyAgreement:
		for _, n := range a {
			m.KeyAgreementAlgorithms = append(m.KeyAgreementAlgorithms, types.KeyAgreementAlgorithmSpec(n))
		}
	}
	if k.multiRegion() {
		m.MultiRegionConfiguration = k.regions(primary)
	}
	return m
}

func (k *key) regions(primary *key) *types.MultiRegionConfiguration {
	in := func(region string) types.MultiRegionKey {
		return types.MultiRegionKey{Arn: aws.String(awsid.Scope{Account: k.Scope.Account, Region: region}.ARN("kms", "key/"+k.ID)), Region: &region}
	}
	p := in(k.Primary)
	c := &types.MultiRegionConfiguration{MultiRegionKeyType: types.MultiRegionKeyTypePrimary, PrimaryKey: &p, ReplicaKeys: []types.MultiRegionKey{}}
	if k.replica() {
		c.MultiRegionKeyType = types.MultiRegionKeyTypeReplica
	}
	if primary != nil {
		for _, r := range primary.Replicas {
			c.ReplicaKeys = append(c.ReplicaKeys, in(r))
		}
	}
	return c
}

// describe answers the key's metadata as they are in r.
func describe(r store.Reader, k *key) *types.KeyMetadata {
	primary := k
	if k.replica() {
		primary = keys.Get(r, awsid.Scope{Account: k.Scope.Account, Region: k.Primary}, k.ID)
	}
	return k.metadata(primary)
}
