package kms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
)

// blobPrefix begins every ciphertext blob, as it does KMS's own: people tell them
// by the AQICAHg of its base64.
var blobPrefix = []byte{0x01, 0x02, 0x02, 0x00, 0x78}

// blob is a symmetric ciphertext taken apart. It names its key without the region:
// a multi-Region key's replicas decrypt it.
type blob struct {
	account, keyID, material string
	nonce, sealed            []byte
}

const nonceSize = 12

var errBlob = errors.New("kms: not a ciphertext blob")

// encode writes three strings, each with its length in a byte, the nonce and what
// is sealed.
func (b *blob) encode() []byte {
	out := bytes.Clone(blobPrefix)
	for _, s := range []string{b.account, b.keyID, b.material} {
		out = append(append(out, byte(len(s))), s...)
	}
	return append(append(out, b.nonce...), b.sealed...)
}

func decodeBlob(raw []byte) (*blob, error) {
	rest, ok := bytes.CutPrefix(raw, blobPrefix)
	if !ok {
		return nil, errBlob
	}
	b := &blob{}
	for _, to := range []*string{&b.account, &b.keyID, &b.material} {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return nil, errBlob
		}
		n := 1 + int(rest[0])
		*to, rest = string(rest[1:n]), rest[n:]
	}
	if len(rest) < nonceSize {
		return nil, errBlob
	}
	b.nonce, b.sealed = rest[:nonceSize], rest[nonceSize:]
	return b, nil
}

// seal encrypts with the key's newest material; the encryption context is
// authenticated and not part of the blob.
func (k *key) seal(plaintext []byte, context map[string]string) ([]byte, error) {
	b := &blob{account: k.Scope.Account, keyID: k.ID, material: k.current().ID, nonce: make([]byte, nonceSize)}
	if _, err := rand.Read(b.nonce); err != nil {
		return nil, fmt.Errorf("kms: nonce: %w", err)
	}
	gcm, err := newGCM(k.current().Secret)
	if err != nil {
		return nil, err
	}
	aad, err := b.additional(context)
	if err != nil {
		return nil, err
	}
	b.sealed = gcm.Seal(nil, b.nonce, plaintext, aad)
	return b.encode(), nil
}

// open is seal's inverse; ok is false for what this key did not seal so.
func (k *key) open(b *blob, context map[string]string) (plaintext []byte, ok bool, err error) {
	for i := range k.Materials {
		if k.Materials[i].ID != b.material {
			continue
		}
		gcm, err := newGCM(k.Materials[i].Secret)
		if err != nil {
			return nil, false, err
		}
		aad, err := b.additional(context)
		if err != nil {
			return nil, false, err
		}
		plaintext, err := gcm.Open([]byte{}, b.nonce, b.sealed, aad)
		return plaintext, err == nil, nil
	}
	return nil, false, nil
}

func newGCM(secret []byte) (cipher.AEAD, error) {
	c, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("kms: cipher: %w", err)
	}
	return cipher.NewGCM(c)
}

// additional is what the seal covers besides the plaintext. encoding/json sorts the
// keys of maps.
func (b *blob) additional(context map[string]string) ([]byte, error) {
	if len(context) == 0 {
		context = nil
	}
	aad, err := json.Marshal(struct {
		Account, Key, Material string
		Context                map[string]string
	}{b.account, b.keyID, b.material, context})
	if err != nil {
		return nil, fmt.Errorf("kms: encryption context: %w", err)
	}
	return aad, nil
}
