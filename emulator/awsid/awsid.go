// Package awsid holds what identifies an AWS request and an AWS resource:
// account, region, principal, ARNs and resource ids.
package awsid

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// DefaultAccount is the account of `test`/`test` credentials.
const DefaultAccount = "000000000000"

// Scope is the part of AWS a regional resource lives in. Its partition follows
// from the region; global resources (IAM's) are in the region of GlobalScope.
type Scope struct {
	Account string
	Region  string
}

// Caller is the authenticated principal and envelope of one AWS request. The
// gateway puts it into the context of every operation.
type Caller struct {
	Scope
	// ARN is what sts:GetCallerIdentity answers: the account's root, a user or
	// an assumed role's session.
	ARN string
	// UserID is the unique id that goes with ARN: the account id for root,
	// AIDA... for users, AROA...:session for roles.
	UserID string
	// AccessKeyID signed the request; empty for unsigned operations.
	AccessKeyID string
	RequestID   string
	UserAgent   string
	SourceIP    string
	// Endpoint is scheme and host that the request was sent to, for answers with
	// URLs; empty for calls that services make.
	Endpoint string
	// Service is the AWS service, such as "eks", that makes the call itself; empty
	// for calls that came in over the wire. Services may do what customers may
	// not: set aws: tags, for one.
	Service string
}

// IsRoot tells whether the caller is the account itself.
func (c Caller) IsRoot() bool { return strings.HasSuffix(c.ARN, ":root") }

// RoleARN is the role behind a session, empty for others. STS does not know the
// path that the role may have.
func (c Caller) RoleARN() string {
	global := c.Global()
	if rest, ok := strings.CutPrefix(c.ARN, global.ARN("sts", "assumed-role/")); ok {
		role, _, _ := strings.Cut(rest, "/")
		return global.ARN("iam", "role/"+role)
	}
	return ""
}

type callerKey struct{}

// WithCaller returns a context that carries c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the context's caller. A context without one (in-process
// calls of the emulator's own loops that did not say on whose behalf) is a bug:
// it panics rather than touch the wrong account.
func CallerFrom(ctx context.Context) Caller {
	c, ok := ctx.Value(callerKey{}).(Caller)
	if !ok {
		panic("awsid: operation called without a Caller in its context")
	}
	return c
}

// ServiceCaller is the caller that the emulator's own loops act as: the root of
// the account whose resources they drive.
func ServiceCaller(s Scope, service string) Caller {
	return Caller{
		Scope: s, ARN: s.RootARN(), UserID: s.Account,
		RequestID: NewUUID(), UserAgent: service + ".amazonaws.com", SourceIP: service + ".amazonaws.com", Service: service,
	}
}

// NewID returns prefix-<17 hex>, the form of EC2's resource ids.
func NewID(prefix string) string { return prefix + "-" + Hex(17) }

// Hex returns n random lower-case hexadecimal digits.
func Hex(n int) string {
	b := make([]byte, (n+1)/2)
	if _, err := rand.Read(b); err != nil {
		panic(err) // crypto/rand does not fail on supported systems
	}
	return hex.EncodeToString(b)[:n]
}

// NewUUID returns a random RFC 4122 version 4 UUID.
func NewUUID() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
