package kms

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RSAES_OAEP_SHA_1 is what customers ask for
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

const (
	maxPlaintext  = 4096
	maxCiphertext = 6144
)

// wrongUsage is the error of a key that is for something else.
func (k *key) wrongUsage(operation string, want types.KeyUsageType) error {
	if k.Usage == want {
		return nil
	}
	return &types.InvalidKeyUsageException{Message: aws.String(fmt.Sprintf("%s key usage is %s which is not valid for %s.", k.arn(), k.Usage, operation))}
}

// algorithm checks that an algorithm suits the key.
func (k *key) algorithm(name string) error {
	if slices.Contains(algorithmsOf(k.Spec, k.Usage), name) {
		return nil
	}
	return &types.InvalidKeyUsageException{Message: aws.String(fmt.Sprintf("Algorithm %s is incompatible with key spec %s.", name, k.Spec))}
}

// Encrypt implements the operation.
func (s *Service) Encrypt(ctx context.Context, in *kms.EncryptInput, _ ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Blob("plaintext", in.Plaintext, 1, maxPlaintext)
	oneOf(&c, "encryptionAlgorithm", in.EncryptionAlgorithm, in.EncryptionAlgorithm.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	k, err := s.use(ctx, "Encrypt", in.KeyId)
	if err != nil {
		return nil, err
	}
	alg := orSymmetric(in.EncryptionAlgorithm)
	sealed, err := k.encrypt("Encrypt", in.Plaintext, in.EncryptionContext, alg)
	if err == nil {
		err = dryRun(in.DryRun)
	}
	if err != nil {
		return nil, err
	}
	return &kms.EncryptOutput{CiphertextBlob: sealed, KeyId: aws.String(k.arn()), EncryptionAlgorithm: alg}, nil
}

func orSymmetric(a types.EncryptionAlgorithmSpec) types.EncryptionAlgorithmSpec {
	if a == "" {
		return types.EncryptionAlgorithmSpecSymmetricDefault
	}
	return a
}

func oaepHash(a types.EncryptionAlgorithmSpec) hash.Hash {
	if a == types.EncryptionAlgorithmSpecRsaesOaepSha1 {
		return sha1.New() //nolint:gosec // see the import
	}
	return sha256.New()
}

func (k *key) encrypt(operation string, plaintext []byte, context map[string]string, alg types.EncryptionAlgorithmSpec) ([]byte, error) {
	if err := k.wrongUsage(operation, types.KeyUsageTypeEncryptDecrypt); err != nil {
		return nil, err
	}
	if err := k.algorithm(string(alg)); err != nil {
		return nil, err
	}
	if k.symmetric() {
		return k.seal(plaintext, context)
	}
	if len(context) > 0 {
		return nil, validation("EncryptionContext is not supported for asymmetric KMS keys.")
	}
	private, err := k.rsa()
	if err != nil {
		return nil, err
	}
	h := oaepHash(alg)
	if most := private.Size() - 2*h.Size() - 2; len(plaintext) > most {
		return nil, validation("Algorithm %s and key spec %s cannot encrypt data larger than %d bytes.", alg, k.Spec, most)
	}
	return rsa.EncryptOAEP(h, rand.Reader, &private.PublicKey, plaintext, nil)
}

func (k *key) rsa() (*rsa.PrivateKey, error) {
	s, err := k.current().signer()
	if err != nil {
		return nil, err
	}
	private, ok := s.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("kms: key %s of spec %s holds a %T", k.ID, k.Spec, s)
	}
	return private, nil
}

// Decrypt implements the operation. Symmetric ciphertext says which key it needs.
func (s *Service) Decrypt(ctx context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	var c checks
	c.Blob("ciphertextBlob", in.CiphertextBlob, 1, maxCiphertext)
	c.Length("keyId", in.KeyId, 1, 2048)
	oneOf(&c, "encryptionAlgorithm", in.EncryptionAlgorithm, in.EncryptionAlgorithm.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	alg := orSymmetric(in.EncryptionAlgorithm)
	p, err := s.decrypt(ctx, "Decrypt", sealedText{in.CiphertextBlob, in.KeyId, in.EncryptionContext, alg})
	if err == nil {
		err = dryRun(in.DryRun)
	}
	if err != nil {
		return nil, err
	}
	return &kms.DecryptOutput{Plaintext: p.text, KeyId: aws.String(p.key.arn()), EncryptionAlgorithm: alg, KeyMaterialId: optional(p.material)}, nil
}

// sealedText is what to decrypt and how it was encrypted.
type sealedText struct {
	blob    []byte
	keyID   *string // may be nil for symmetric ciphertext
	context map[string]string
	alg     types.EncryptionAlgorithmSpec
}

type opened struct {
	text     []byte
	key      *key
	material string
}

func (s *Service) decrypt(ctx context.Context, operation string, in sealedText) (*opened, error) {
	if in.alg != types.EncryptionAlgorithmSpecSymmetricDefault {
		return s.decryptRSA(ctx, operation, in)
	}
	var named *key
	if in.keyID != nil {
		var err error
		if named, err = s.use(ctx, operation, in.keyID); err != nil {
			return nil, err
		}
		if named.Usage != types.KeyUsageTypeEncryptDecrypt {
			return nil, incorrectKey()
		}
	}
	b, err := decodeBlob(in.blob)
	if err != nil {
		return nil, &types.InvalidCiphertextException{}
	}
	if named != nil && (named.ID != b.keyID || named.Scope.Account != b.account) {
		return nil, incorrectKey()
	}
	k := named
	if k == nil {
		if k, err = s.keyOf(ctx, operation, b); err != nil {
			return nil, err
		}
	}
	text, ok, err := k.open(b, in.context)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &types.InvalidCiphertextException{}
	}
	return &opened{text, k, b.material}, nil
}

func incorrectKey() error {
	return &types.IncorrectKeyException{Message: aws.String("The key ID in the request does not identify a CMK that can perform this operation.")}
}

// keyOf is the key that a ciphertext names. Whether there is none or the caller may
// not have it is not told.
func (s *Service) keyOf(ctx context.Context, operation string, b *blob) (*key, error) {
	who := awsid.CallerFrom(ctx)
	hidden := accessDenied("The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
	if !keyIDPattern.MatchString(b.keyID) {
		return nil, &types.InvalidCiphertextException{}
	}
	k := s.live(s.store, awsid.Scope{Account: b.account, Region: who.Region}, b.keyID)
	if k == nil || s.mayUse(ctx, who, k, operation, rules[operation]) != nil {
		return nil, hidden
	}
	return k, rules[operation].check(k)
}

func (s *Service) decryptRSA(ctx context.Context, operation string, in sealedText) (*opened, error) {
	if in.keyID == nil {
		return nil, validation("The KeyId parameter is required when the ciphertext was encrypted under an asymmetric KMS key.")
	}
	k, err := s.use(ctx, operation, in.keyID)
	if err != nil {
		return nil, err
	}
	if err := k.wrongUsage(operation, types.KeyUsageTypeEncryptDecrypt); err != nil {
		return nil, err
	}
	if err := k.algorithm(string(in.alg)); err != nil {
		return nil, err
	}
	private, err := k.rsa()
	if err != nil {
		return nil, err
	}
	text, err := rsa.DecryptOAEP(oaepHash(in.alg), nil, private, in.blob, nil)
	if err != nil {
		return nil, &types.InvalidCiphertextException{}
	}
	return &opened{text: text, key: k}, nil
}

// ReEncrypt implements the operation.
func (s *Service) ReEncrypt(ctx context.Context, in *kms.ReEncryptInput, _ ...func(*kms.Options)) (*kms.ReEncryptOutput, error) {
	var c checks
	c.Blob("ciphertextBlob", in.CiphertextBlob, 1, maxCiphertext)
	c.Length("sourceKeyId", in.SourceKeyId, 1, 2048)
	c.Required("destinationKeyId", in.DestinationKeyId, 1, 2048)
	oneOf(&c, "sourceEncryptionAlgorithm", in.SourceEncryptionAlgorithm, in.SourceEncryptionAlgorithm.Values())
	oneOf(&c, "destinationEncryptionAlgorithm", in.DestinationEncryptionAlgorithm, in.DestinationEncryptionAlgorithm.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	from, to := orSymmetric(in.SourceEncryptionAlgorithm), orSymmetric(in.DestinationEncryptionAlgorithm)
	p, err := s.decrypt(ctx, "ReEncrypt", sealedText{in.CiphertextBlob, in.SourceKeyId, in.SourceEncryptionContext, from})
	if err != nil {
		return nil, err
	}
	k, err := s.use(ctx, "ReEncrypt", in.DestinationKeyId)
	if err != nil {
		return nil, err
	}
	sealed, err := k.encrypt("ReEncrypt", p.text, in.DestinationEncryptionContext, to)
	if err == nil {
		err = dryRun(in.DryRun)
	}
	if err != nil {
		return nil, err
	}
	out := &kms.ReEncryptOutput{
		CiphertextBlob: sealed, KeyId: aws.String(k.arn()), SourceKeyId: aws.String(p.key.arn()),
		SourceEncryptionAlgorithm: from, DestinationEncryptionAlgorithm: to, SourceKeyMaterialId: optional(p.material),
	}
	if k.symmetric() {
		out.DestinationKeyMaterialId = &k.current().ID
	}
	return out, nil
}
