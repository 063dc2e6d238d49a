// Package sigv4 verifies AWS Signature Version 4, in headers and in presigned
// URLs, against a set of access keys.
//
// It computes canonical requests itself. Re-signing a copy with the SDK's signer
// was rejected: that signer leaves out headers which other clients sign
// (User-Agent, Expect, Transfer-Encoding), puts things into the request on its
// own account, and takes about twice the time. The tests hold this implementation
// against the SDK's signer and against botocore's signatures.
package sigv4

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// MaxSkew is how far a request's time may be from ours, and how long a signature
// in headers lives.
const MaxSkew = 15 * time.Minute

// Verifier checks signatures. It is safe for concurrent use.
type Verifier struct {
	keys  Keys
	clock clock.PassiveClock

	mu      sync.RWMutex
	derived map[scope]derivedKey
}

type scope struct{ accessKeyID, date, region, service string }

type derivedKey struct {
	secret string // the key was derived from it; secrets change under one id
	key    [sha256.Size]byte
}

// maxDerived bounds the memory that a client can fill with scopes of its own.
const maxDerived = 1024

// New returns a verifier of signatures by keys.
func New(keys Keys, c clock.PassiveClock) *Verifier {
	return &Verifier{keys: keys, clock: c, derived: map[scope]derivedKey{}}
}

// s3 signs paths and payloads in its own way.
const s3 = "s3"

// VerifyHead is Verify for a request of S3 whose body is yet to come: it takes the
// hash of the body as the client signed it.
func (v *Verifier) VerifyHead(ctx context.Context, a *Authorization, r *http.Request) (Key, error) {
	claimed := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case a.Presigned && claimed == "":
		claimed = unsignedPayload
	case claimed == "":
		return Key{}, mismatch("Missing required header for this request: x-amz-content-sha256")
	}
	return v.verify(ctx, a, r, func() (string, error) { return claimed, nil })
}

// Verify tells whose signature a is on r, whose body (already read) is body. The
// error is an *Error.
func (v *Verifier) Verify(ctx context.Context, a *Authorization, r *http.Request, body []byte) (Key, error) {
	return v.verify(ctx, a, r, func() (string, error) { return payloadHash(a, r, body) })
}

func (v *Verifier) verify(ctx context.Context, a *Authorization, r *http.Request, payload func() (string, error)) (Key, error) {
	key, ok := v.keys.Key(ctx, awsid.PartitionOf(a.Region), a.AccessKeyID)
	if !ok || subtle.ConstantTimeCompare([]byte(key.SessionToken), []byte(a.SessionToken)) != 1 {
		return Key{}, unknownKey()
	}
	now := v.clock.Now()
	if !key.Expires.IsZero() && !now.Before(key.Expires) {
		return Key{}, expiredToken()
	}
	if err := checkTime(a, now); err != nil {
		return Key{}, err
	}
	hash, err := payload()
	if err != nil {
		return Key{}, err
	}
	if err := v.compare(a, r, key.Secret, hash); err != nil {
		return Key{}, err
	}
	return key, nil
}

func checkTime(a *Authorization, now time.Time) error {
	life := MaxSkew
	// STS takes presigned requests for 15 minutes whatever X-Amz-Expires says:
	// EKS tokens say 60 s and live by that.
	if a.Presigned && a.Service != "sts" {
		life = a.Expires
	}
	if now.Sub(a.Time) > life {
		return signatureExpired(a.Time, now, life)
	}
	if a.Time.Sub(now) > MaxSkew {
		return notYetCurrent(a.Time, now)
	}
	return nil
}

const (
	unsignedPayload = "UNSIGNED-PAYLOAD"
	emptyHash       = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// payloadHash is the hash that the client signed, which must be the body's.
func payloadHash(a *Authorization, r *http.Request, body []byte) (string, error) {
	actual := emptyHash
	if len(body) > 0 {
		sum := sha256.Sum256(body)
		actual = hex.EncodeToString(sum[:])
	}
	claimed := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case claimed == "":
		return actual, nil
	case claimed == unsignedPayload:
		return claimed, nil
	case strings.HasPrefix(claimed, "STREAMING-"):
		return "", mismatch("The payload form '%s' is not supported by this service.", claimed)
	case !strings.EqualFold(claimed, actual):
		return "", mismatch("The value of the x-amz-content-sha256 header ('%s') does not match the SHA-256 of the request body ('%s').", claimed, actual)
	default:
		return claimed, nil
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

func (v *Verifier) compare(a *Authorization, r *http.Request, secret, hash string) error {
	key := v.deriveKey(a, secret)
	p := buffers.Get().(*[]byte)
	defer buffers.Put(p)
	// The literal reading comes first, on its own: the others are for the rare
	// client and cost an allocation.
	host, path := r.Host, escapedPath(r)
	if host == "" {
		host = r.URL.Host
	}
	*p = appendCanonical((*p)[:0], r, a, spelling{host, path}, hash)
	if a.matches(key, *p) {
		v.remember(a, secret, key)
		return nil
	}
	for _, s := range spellings(host, path)[1:] {
		if a.matches(key, appendCanonical(nil, r, a, s, hash)) {
			v.remember(a, secret, key)
			return nil
		}
	}
	return wrongSignature(*p)
}

// matches tells whether a's signature is the one of canonical under key.
func (a *Authorization) matches(key [sha256.Size]byte, canonical []byte) bool {
	sum := sha256.Sum256(canonical)
	var buf [256]byte
	b := append(buf[:0], algorithm+"\n"...)
	b = append(append(b, a.stamp...), '\n')
	b = append(append(b, a.Date...), '/')
	b = append(append(b, a.Region...), '/')
	b = append(append(b, a.Service...), "/"+terminator+"\n"...)
	b = hex.AppendEncode(b, sum[:])
	want := sign(key[:], b)
	return subtle.ConstantTimeCompare(want[:], a.signature[:]) == 1
}

func sign(key, data []byte) (out [sha256.Size]byte) {
	m := hmac.New(sha256.New, key)
	m.Write(data)
	m.Sum(out[:0])
	return out
}

func (v *Verifier) deriveKey(a *Authorization, secret string) [sha256.Size]byte {
	v.mu.RLock()
	d, ok := v.derived[scope{a.AccessKeyID, a.Date, a.Region, a.Service}]
	v.mu.RUnlock()
	if ok && d.secret == secret {
		return d.key
	}
	k := sign([]byte("AWS4"+secret), []byte(a.Date))
	for _, part := range [...]string{a.Region, a.Service, terminator} {
		k = sign(k[:], []byte(part))
	}
	return k
}

// remember keeps a derived key that has proved right.
func (v *Verifier) remember(a *Authorization, secret string, key [sha256.Size]byte) {
	s := scope{a.AccessKeyID, a.Date, a.Region, a.Service}
	v.mu.RLock()
	d, ok := v.derived[s]
	v.mu.RUnlock()
	if ok && d.secret == secret {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.derived) >= maxDerived {
		clear(v.derived)
	}
	// A scope is a part of the request's memory: keep copies.
	s = scope{strings.Clone(s.accessKeyID), strings.Clone(s.date), strings.Clone(s.region), strings.Clone(s.service)}
	v.derived[s] = derivedKey{secret: secret, key: key}
}
