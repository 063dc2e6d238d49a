package kms

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// GetPublicKey implements the operation.
func (s *Service) GetPublicKey(ctx context.Context, in *kms.GetPublicKeyInput, _ ...func(*kms.Options)) (*kms.GetPublicKeyOutput, error) {
	k, err := s.use(ctx, "GetPublicKey", in.KeyId)
	if err != nil {
		return nil, err
	}
	if !kinds[k.Spec].asymmetric {
		return nil, unsupported("%s key spec is %s which is not valid for GetPublicKey.", k.arn(), k.Spec)
	}
	private, err := k.current().signer()
	if err != nil {
		return nil, err
	}
	der, err := publicDER(private)
	if err != nil {
		return nil, err
	}
	m := k.metadata(nil)
	return &kms.GetPublicKeyOutput{
		KeyId: m.Arn, PublicKey: der, KeySpec: k.Spec, CustomerMasterKeySpec: m.CustomerMasterKeySpec, KeyUsage: k.Usage,
		EncryptionAlgorithms: m.EncryptionAlgorithms, SigningAlgorithms: m.SigningAlgorithms, KeyAgreementAlgorithms: m.KeyAgreementAlgorithms,
	}, nil
}

// digest hashes a message for an algorithm, or checks the digest that it is.
func digest(message []byte, kind types.MessageType, alg types.SigningAlgorithmSpec) ([]byte, crypto.Hash, error) {
	h := crypto.SHA256
	switch {
	case strings.HasSuffix(string(alg), "SHA_384"):
		h = crypto.SHA384
	case strings.HasSuffix(string(alg), "SHA_512"):
		h = crypto.SHA512
	}
	if kind == types.MessageTypeDigest {
		if len(message) != h.Size() {
			return nil, 0, validation("Digest is invalid length for algorithm %s.", alg)
		}
		return message, h, nil
	}
	w := h.New()
	w.Write(message)
	return w.Sum(nil), h, nil
}

// signing finds the key and checks what Sign and Verify have in common.
func (s *Service) signing(ctx context.Context, operation string, id *string, message []byte, kind types.MessageType, alg types.SigningAlgorithmSpec, signature []byte) (*key, crypto.Signer, error) {
	var c checks
	c.Required("keyId", id, 1, 2048)
	c.Blob("message", message, 1, maxPlaintext)
	if operation == "Verify" {
		c.Blob("signature", signature, 1, maxCiphertext)
	}
	oneOf(&c, "messageType", kind, kind.Values())
	c.Null("signingAlgorithm", alg == "")
	oneOf(&c, "signingAlgorithm", alg, alg.Values())
	if err := c.err(); err != nil {
		return nil, nil, err
	}
	k, err := s.use(ctx, operation, id)
	if err != nil {
		return nil, nil, err
	}
	if err := k.wrongUsage(operation, types.KeyUsageTypeSignVerify); err != nil {
		return nil, nil, err
	}
	if err := k.algorithm(string(alg)); err != nil {
		return nil, nil, err
	}
	private, err := k.current().signer()
	return k, private, err
}

// Sign implements the operation.
func (s *Service) Sign(ctx context.Context, in *kms.SignInput, _ ...func(*kms.Options)) (*kms.SignOutput, error) {
	k, private, err := s.signing(ctx, "Sign", in.KeyId, in.Message, in.MessageType, in.SigningAlgorithm, nil)
	if err != nil {
		return nil, err
	}
	signed, err := sign(private, in.Message, in.MessageType, in.SigningAlgorithm)
	if err == nil {
		err = dryRun(in.DryRun)
	}
	if err != nil {
		return nil, err
	}
	return &kms.SignOutput{KeyId: aws.String(k.arn()), Signature: signed, SigningAlgorithm: in.SigningAlgorithm}, nil
}

func sign(private crypto.Signer, message []byte, kind types.MessageType, alg types.SigningAlgorithmSpec) ([]byte, error) {
	if alg == types.SigningAlgorithmSpecEd25519Sha512 {
		return private.Sign(nil, message, crypto.Hash(0))
	}
	sum, h, err := digest(message, kind, alg)
	if err != nil {
		return nil, err
	}
	var opts crypto.SignerOpts = h
	if strings.HasPrefix(string(alg), "RSASSA_PSS") {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
	}
	signed, err := private.Sign(rand.Reader, sum, opts)
	if err != nil {
		return nil, fmt.Errorf("kms: sign: %w", err)
	}
	return signed, nil
}

// Verify implements the operation. A signature that is not the key's is an error.
func (s *Service) Verify(ctx context.Context, in *kms.VerifyInput, _ ...func(*kms.Options)) (*kms.VerifyOutput, error) {
	k, private, err := s.signing(ctx, "Verify", in.KeyId, in.Message, in.MessageType, in.SigningAlgorithm, in.Signature)
	if err != nil {
		return nil, err
	}
	valid, err := verify(private.Public(), in.Message, in.Signature, in.MessageType, in.SigningAlgorithm)
	if err == nil {
		err = dryRun(in.DryRun)
	}
	if err != nil {
		return nil, err
	}
	if !valid {
		return nil, &types.KMSInvalidSignatureException{}
	}
	return &kms.VerifyOutput{KeyId: aws.String(k.arn()), SignatureValid: true, SigningAlgorithm: in.SigningAlgorithm}, nil
}

func verify(public crypto.PublicKey, message, signature []byte, kind types.MessageType, alg types.SigningAlgorithmSpec) (bool, error) {
	if p, ok := public.(ed25519.PublicKey); ok && alg == types.SigningAlgorithmSpecEd25519Sha512 {
		return ed25519.Verify(p, message, signature), nil
	}
	sum, h, err := digest(message, kind, alg)
	if err != nil {
		return false, err
	}
	switch p := public.(type) {
	case *rsa.PublicKey:
		if strings.HasPrefix(string(alg), "RSASSA_PSS") {
			return rsa.VerifyPSS(p, h, sum, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil, nil
		}
		return rsa.VerifyPKCS1v15(p, h, sum, signature) == nil, nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(p, sum, signature), nil
	case ed25519.PublicKey:
		return ed25519.VerifyWithOptions(p, sum, signature, &ed25519.Options{Hash: crypto.SHA512}) == nil, nil
	}
	return false, nil
}

// mac computes a code and checks what GenerateMac and VerifyMac have in common.
func (s *Service) mac(ctx context.Context, operation string, id *string, message []byte, alg types.MacAlgorithmSpec) (*key, []byte, error) {
	var c checks
	c.Required("keyId", id, 1, 2048)
	c.Blob("message", message, 1, maxPlaintext)
	c.Null("macAlgorithm", alg == "")
	oneOf(&c, "macAlgorithm", alg, []types.MacAlgorithmSpec{
		types.MacAlgorithmSpecHmacSha384, types.MacAlgorithmSpecHmacSha256, types.MacAlgorithmSpecHmacSha224, types.MacAlgorithmSpecHmacSha512,
	})
	if err := c.err(); err != nil {
		return nil, nil, err
	}
	k, err := s.use(ctx, operation, id)
	if err != nil {
		return nil, nil, err
	}
	if err := k.wrongUsage(operation, types.KeyUsageTypeGenerateVerifyMac); err != nil {
		return nil, nil, err
	}
	if err := k.algorithm(string(alg)); err != nil {
		return nil, nil, err
	}
	h := hmac.New(map[types.MacAlgorithmSpec]func() hash.Hash{
		types.MacAlgorithmSpecHmacSha224: sha256.New224, types.MacAlgorithmSpecHmacSha256: sha256.New,
		types.MacAlgorithmSpecHmacSha384: sha512.New384, types.MacAlgorithmSpecHmacSha512: sha512.New,
	}[alg], k.current().Secret)
	h.Write(message)
	return k, h.Sum(nil), nil
}

// GenerateMac implements the operation.
func (s *Service) GenerateMac(ctx context.Context, in *kms.GenerateMacInput, _ ...func(*kms.Options)) (*kms.GenerateMacOutput, error) {
	k, code, err := s.mac(ctx, "GenerateMac", in.KeyId, in.Message, in.MacAlgorithm)
	if err == nil {
		err = dryRun(in.DryRun)
	}
	if err != nil {
		return nil, err
	}
	return &kms.GenerateMacOutput{KeyId: aws.String(k.arn()), Mac: code, MacAlgorithm: in.MacAlgorithm}, nil
}

// VerifyMac implements the operation.
func (s *Service) VerifyMac(ctx context.Context, in *kms.VerifyMacInput, _ ...func(*kms.Options)) (*kms.VerifyMacOutput, error) {
	k, code, err := s.mac(ctx, "VerifyMac", in.KeyId, in.Message, in.MacAlgorithm)
	if err == nil {
		err = dryRun(in.DryRun)
	}
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(code, in.Mac) {
		return nil, &types.KMSInvalidMacException{}
	}
	return &kms.VerifyMacOutput{KeyId: aws.String(k.arn()), MacValid: true, MacAlgorithm: in.MacAlgorithm}, nil
}
