package kms

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const maxRandom = 1024

func randomBytes(n int32) ([]byte, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("kms: random bytes: %w", err)
	}
	return b, nil
}

// GenerateRandom implements the operation.
func (s *Service) GenerateRandom(_ context.Context, in *kms.GenerateRandomInput, _ ...func(*kms.Options)) (*kms.GenerateRandomOutput, error) {
	var c checks
	c.Span("numberOfBytes", in.NumberOfBytes, 1, maxRandom)
	if err := c.err(); err != nil {
		return nil, err
	}
	if in.NumberOfBytes == nil {
		return nil, validation("NumberOfBytes is required.")
	}
	if in.CustomKeyStoreId != nil {
		return nil, unsupported("ekslocal does not emulate custom key stores.")
	}
	b, err := randomBytes(*in.NumberOfBytes)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateRandomOutput{Plaintext: b}, nil
}

// dataKey is a data key and the key that sealed it.
type dataKey struct {
	key           *key
	plain, sealed []byte
}

func (s *Service) dataKey(ctx context.Context, operation string, in *kms.GenerateDataKeyInput) (*dataKey, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Span("numberOfBytes", in.NumberOfBytes, 1, maxRandom)
	oneOf(&c, "keySpec", in.KeySpec, []types.DataKeySpec{types.DataKeySpecAes256, types.DataKeySpecAes128})
	if err := c.err(); err != nil {
		return nil, err
	}
	if (in.NumberOfBytes == nil) == (in.KeySpec == "") {
		return nil, validation("Please specify either number of bytes or key spec.")
	}
	k, err := s.sealer(ctx, operation, in.KeyId)
	if err != nil {
		return nil, err
	}
	n := int32(32)
	switch {
	case in.NumberOfBytes != nil:
		n = *in.NumberOfBytes
	case in.KeySpec == types.DataKeySpecAes128:
		n = 16
	}
	out := &dataKey{key: k}
	if out.plain, err = randomBytes(n); err != nil {
		return nil, err
	}
	if out.sealed, err = k.seal(out.plain, in.EncryptionContext); err != nil {
		return nil, err
	}
	return out, dryRun(in.DryRun)
}

// sealer finds a key that data keys can be sealed with.
func (s *Service) sealer(ctx context.Context, operation string, id *string) (*key, error) {
	k, err := s.use(ctx, operation, id)
	if err != nil {
		return nil, err
	}
	if err := k.wrongUsage(operation, types.KeyUsageTypeEncryptDecrypt); err != nil {
		return nil, err
	}
	if !k.symmetric() {
		return nil, &types.InvalidKeyUsageException{Message: aws.String(fmt.Sprintf("%s key spec is %s which is not valid for %s.", k.arn(), k.Spec, operation))}
	}
	return k, nil
}

// GenerateDataKey implements the operation.
func (s *Service) GenerateDataKey(ctx context.Context, in *kms.GenerateDataKeyInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	d, err := s.dataKey(ctx, "GenerateDataKey", in)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyOutput{CiphertextBlob: d.sealed, Plaintext: d.plain, KeyId: aws.String(d.key.arn()), KeyMaterialId: &d.key.current().ID}, nil
}

// GenerateDataKeyWithoutPlaintext implements the operation.
func (s *Service) GenerateDataKeyWithoutPlaintext(ctx context.Context, in *kms.GenerateDataKeyWithoutPlaintextInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyWithoutPlaintextOutput, error) {
	d, err := s.dataKey(ctx, "GenerateDataKeyWithoutPlaintext", &kms.GenerateDataKeyInput{
		KeyId: in.KeyId, KeySpec: in.KeySpec, NumberOfBytes: in.NumberOfBytes, EncryptionContext: in.EncryptionContext, DryRun: in.DryRun,
	})
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyWithoutPlaintextOutput{CiphertextBlob: d.sealed, KeyId: aws.String(d.key.arn()), KeyMaterialId: &d.key.current().ID}, nil
}

// dataKeyPair is a pair of keys, the private one plain and sealed.
type dataKeyPair struct {
	dataKey
	public []byte
}

func (s *Service) dataKeyPair(ctx context.Context, operation string, in *kms.GenerateDataKeyPairInput) (*dataKeyPair, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Null("keyPairSpec", in.KeyPairSpec == "")
	oneOf(&c, "keyPairSpec", in.KeyPairSpec, in.KeyPairSpec.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	k, err := s.sealer(ctx, operation, in.KeyId)
	if err != nil {
		return nil, err
	}
	spec := types.KeySpec(in.KeyPairSpec)
	if !kinds[spec].asymmetric {
		return nil, unsupported("ekslocal does not emulate key pairs of the spec %s.", spec)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err // without the work of a key pair
	}
	m, err := newMaterial(spec)
	if err != nil {
		return nil, err
	}
	private, err := m.signer()
	if err != nil {
		return nil, err
	}
	out := &dataKeyPair{dataKey: dataKey{key: k}}
	if out.plain, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return nil, fmt.Errorf("kms: private key: %w", err)
	}
	if out.public, err = publicDER(private); err != nil {
		return nil, err
	}
	out.sealed, err = k.seal(out.plain, in.EncryptionContext)
	return out, err
}

// GenerateDataKeyPair implements the operation.
func (s *Service) GenerateDataKeyPair(ctx context.Context, in *kms.GenerateDataKeyPairInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyPairOutput, error) {
	d, err := s.dataKeyPair(ctx, "GenerateDataKeyPair", in)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyPairOutput{
		KeyId: aws.String(d.key.arn()), KeyPairSpec: in.KeyPairSpec, PublicKey: d.public, PrivateKeyPlaintext: d.plain, PrivateKeyCiphertextBlob: d.sealed,
		KeyMaterialId: &d.key.current().ID,
	}, nil
}

// GenerateDataKeyPairWithoutPlaintext implements the operation.
func (s *Service) GenerateDataKeyPairWithoutPlaintext(ctx context.Context, in *kms.GenerateDataKeyPairWithoutPlaintextInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyPairWithoutPlaintextOutput, error) {
	d, err := s.dataKeyPair(ctx, "GenerateDataKeyPairWithoutPlaintext", &kms.GenerateDataKeyPairInput{
		KeyId: in.KeyId, KeyPairSpec: in.KeyPairSpec, EncryptionContext: in.EncryptionContext, DryRun: in.DryRun,
	})
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyPairWithoutPlaintextOutput{
		KeyId: aws.String(d.key.arn()), KeyPairSpec: in.KeyPairSpec, PublicKey: d.public, PrivateKeyCiphertextBlob: d.sealed, KeyMaterialId: &d.key.current().ID,
	}, nil
}
