package ec2

import (
	"context"
	"crypto/ed25519"
	"crypto/md5" // the form that EC2 gives RSA fingerprints, not for security
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // likewise for created keys
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/crypto/ssh"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func findKeyPair(r store.Reader, sc awsid.Scope, name string) *KeyPair {
	all := KeyPairs.List(r, sc)
	if i := slices.IndexFunc(all, func(k *KeyPair) bool { return deref(k.KeyName) == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// CreateKeyPair makes a key pair and answers its private half, which is kept
// nowhere.
func (s *Service) CreateKeyPair(ctx context.Context, in *ec2.CreateKeyPairInput, _ ...func(*ec2.Options)) (*ec2.CreateKeyPairOutput, error) {
	if deref(in.KeyName) == "" {
		return nil, errMissing("KeyName")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeKeyPair)
	if err != nil {
		return nil, err
	}
	made, private, err := generateKey(in.KeyType)
	if err != nil {
		return nil, err
	}
	if err := s.putKeyPair(ctx, in.DryRun, *in.KeyName, made, tags); err != nil {
		return nil, err
	}
	return &ec2.CreateKeyPairOutput{
		KeyFingerprint: made.KeyFingerprint, KeyMaterial: &private, KeyName: made.KeyName, KeyPairId: made.KeyPairId, Tags: made.Tags,
	}, nil
}

func generateKey(kind types.KeyType) (*KeyPair, string, error) {
	var private, public any
	k := &KeyPair{types.KeyPairInfo{KeyType: kind}}
	switch kind {
	case "", types.KeyTypeRsa:
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, "", fmt.Errorf("ec2: make a key pair: %w", err)
		}
		private, public, k.KeyType = key, key.Public(), types.KeyTypeRsa
	case types.KeyTypeEd25519:
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, "", fmt.Errorf("ec2: make a key pair: %w", err)
		}
		private, public = key, pub
	default:
		return nil, "", errInvalidValue(kind, "KeyType")
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, "", fmt.Errorf("ec2: encode a key pair: %w", err)
	}
	pub, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, "", fmt.Errorf("ec2: encode a key pair: %w", err)
	}
	k.PublicKey = aws.String(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))))
	if kind == types.KeyTypeEd25519 {
		k.KeyFingerprint = aws.String(sshFingerprint(pub))
	} else {
		sum := sha1.Sum(der)
		k.KeyFingerprint = aws.String(colons(sum[:]))
	}
	block, err := privatePEM(private, der)
	if err != nil {
		return nil, "", err
	}
	return k, block, nil
}

// privatePEM writes RSA keys as EC2 does, in the traditional form.
func privatePEM(private any, pkcs8 []byte) (string, error) {
	if key, ok := private.(*rsa.PrivateKey); ok {
		return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})), nil
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), nil
	}
	return string(pem.EncodeToMemory(block)), nil
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = hex.EncodeToString([]byte{b})
	}
	return strings.Join(parts, ":")
}

func sshFingerprint(pub ssh.PublicKey) string {
	sum := sha256.Sum256(pub.Marshal())
	return base64.StdEncoding.EncodeToString(sum[:])
}

// ImportKeyPair registers a public key.
func (s *Service) ImportKeyPair(ctx context.Context, in *ec2.ImportKeyPairInput, _ ...func(*ec2.Options)) (*ec2.ImportKeyPairOutput, error) {
	if deref(in.KeyName) == "" {
		return nil, errMissing("KeyName")
	}
	if len(in.PublicKeyMaterial) == 0 {
		return nil, errMissing("PublicKeyMaterial")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeKeyPair)
	if err != nil {
		return nil, err
	}
	k, err := parsePublicKey(in.PublicKeyMaterial)
	if err != nil {
		return nil, err
	}
	if err := s.putKeyPair(ctx, in.DryRun, *in.KeyName, k, tags); err != nil {
		return nil, err
	}
	return &ec2.ImportKeyPairOutput{KeyFingerprint: k.KeyFingerprint, KeyName: k.KeyName, KeyPairId: k.KeyPairId, Tags: k.Tags}, nil
}

func parsePublicKey(material []byte) (*KeyPair, error) {
	pub, _, _, _, err := ssh.ParseAuthorizedKey(material)
	if err != nil {
		return nil, apiError("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	}
	k := &KeyPair{types.KeyPairInfo{PublicKey: aws.String(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))))}}
	switch pub.Type() {
	case ssh.KeyAlgoED25519:
		k.KeyType, k.KeyFingerprint = types.KeyTypeEd25519, aws.String(sshFingerprint(pub))
	case ssh.KeyAlgoRSA:
		der, err := x509.MarshalPKIXPublicKey(pub.(ssh.CryptoPublicKey).CryptoPublicKey())
		if err != nil {
			return nil, apiError("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
		}
		sum := md5.Sum(der)
		k.KeyType, k.KeyFingerprint = types.KeyTypeRsa, aws.String(colons(sum[:]))
	default:
		return nil, apiError("InvalidKeyPair.Format", "Key type %s is not supported: RSA and ED25519 are", pub.Type())
	}
	return k, nil
}

func (s *Service) putKeyPair(ctx context.Context, dryRun *bool, name string, k *KeyPair, tags []types.Tag) error {
	now := s.now()
	k.KeyPairId, k.KeyName, k.CreateTime, k.Tags = aws.String(awsid.NewID("key")), &name, &now, tags
	return s.write(ctx, dryRun, func(tx *store.Tx, sc awsid.Scope) error {
		if findKeyPair(tx, sc, name) != nil {
			return apiError("InvalidKeyPair.Duplicate", "The keypair already exists")
		}
		KeyPairs.Put(tx, sc, *k.KeyPairId, k)
		return nil
	})
}

// DeleteKeyPair deletes a key pair; one that is not there is no error.
func (s *Service) DeleteKeyPair(ctx context.Context, in *ec2.DeleteKeyPairInput, _ ...func(*ec2.Options)) (*ec2.DeleteKeyPairOutput, error) {
	if in.KeyName == nil && in.KeyPairId == nil {
		return nil, errMissing("KeyName")
	}
	id := in.KeyPairId
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		if in.KeyPairId == nil {
			k := findKeyPair(tx, sc, *in.KeyName)
			if k == nil {
				return nil
			}
			id = k.KeyPairId
		}
		KeyPairs.Delete(tx, sc, *id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteKeyPairOutput{Return: aws.Bool(true), KeyPairId: id}, nil
}

// DescribeKeyPairs lists key pairs.
func (s *Service) DescribeKeyPairs(ctx context.Context, in *ec2.DescribeKeyPairsInput, _ ...func(*ec2.Options)) (*ec2.DescribeKeyPairsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(in.KeyPairIds)
	for _, name := range in.KeyNames {
		k := findKeyPair(s.store, sc, name)
		if k == nil {
			return nil, keyPairKind.absent(name)
		}
		ids = append(ids, *k.KeyPairId)
	}
	page, _, err := keyPairLister.run(s.store, sc, query{ids: ids, filters: in.Filters})
	if err != nil {
		return nil, err
	}
	for i := range page {
		if !aws.ToBool(in.IncludePublicKey) {
			page[i].PublicKey = nil
		}
	}
	return &ec2.DescribeKeyPairsOutput{KeyPairs: page}, nil
}

var keyPairLister = &lister[KeyPair, types.KeyPairInfo]{
	kind: keyPairKind,
	view: func(_ store.Reader, _ awsid.Scope, r *KeyPair) types.KeyPairInfo { return r.KeyPairInfo },
	id:   func(v *types.KeyPairInfo) string { return deref(v.KeyPairId) },
	tags: func(v *types.KeyPairInfo) []types.Tag { return v.Tags },
	filters: fields[types.KeyPairInfo]{
		"fingerprint": func(v *types.KeyPairInfo) []string { return one(v.KeyFingerprint) },
		"key-name":    func(v *types.KeyPairInfo) []string { return one(v.KeyName) },
		"key-pair-id": func(v *types.KeyPairInfo) []string { return one(v.KeyPairId) },
	},
}
