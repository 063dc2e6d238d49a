package sts

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// sessions are keyed by access key id in a scope of no account: a key is looked
// up before anybody knows whose it is.
const sessions store.Table[session] = "sts-sessions"

var sessionScope = awsid.Scope{}

// session is one set of temporary credentials. It outlives its expiry a little,
// so that late requests are told ExpiredToken and not InvalidClientTokenId.
type session struct {
	ID, Secret, Token string
	Account           string
	ARN, UserID       string // of the principal that the credentials are
	RoleARN           string // empty for GetSessionToken and GetFederationToken
	Operation         string // that made the session
	By                string // who asked for it: an ARN, the subject of a token, or a service
	Issued, Expires   time.Time
	Policy            string // the session policy
	PolicyARNs        []string
	UserARN           string // who federates, for GetFederationToken
	Tags              map[string]string
	Transitive        []string // keys of Tags that chained sessions inherit
	SourceIdentity    string
	Provider          string // ARN of the identity provider, for web identities
	MFA               bool
}

const (
	keepExpired = time.Hour
	sweepEvery  = 10 * time.Minute
	sweepBatch  = 100 // within etcd's limit of operations in one transaction
)

// issue makes the session's credentials and stores it.
func (s *Service) issue(ctx context.Context, v *session, life time.Duration) (*types.Credentials, error) {
	v.ID, v.Secret, v.Token = newKeyID(), randomBase64(30), randomBase64(264)
	v.Issued = s.now()
	v.Expires = v.Issued.Add(life)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		sessions.Put(tx, sessionScope, v.ID, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.sweep(ctx)
	return &types.Credentials{AccessKeyId: &v.ID, SecretAccessKey: &v.Secret, SessionToken: &v.Token, Expiration: &v.Expires}, nil
}

// sweep removes sessions that ended long ago, at most every sweepEvery. It rides
// on the requests that make sessions, so that there is nothing to remove when
// nobody makes any.
func (s *Service) sweep(ctx context.Context) {
	now := s.now()
	s.mu.Lock()
	due := now.Sub(s.swept) >= sweepEvery
	if due {
		s.swept = now
	}
	s.mu.Unlock()
	if !due {
		return
	}
	var old []string
	for _, v := range sessions.ListAll(s.store) {
		if now.Sub(v.Expires) > keepExpired {
			old = append(old, v.ID)
		}
	}
	for batch := range slices.Chunk(old, sweepBatch) {
		err := s.store.Update(ctx, func(tx *store.Tx) error {
			for _, id := range batch {
				sessions.Delete(tx, sessionScope, id)
			}
			return nil
		})
		if err != nil {
			s.log.Warn("sts: expired sessions were not removed", "error", err)
			return
		}
	}
}

// scope is where the session's principal is. Its partition is the ARN's.
func (v *session) scope() awsid.Scope {
	a, err := awsid.ParseARN(v.ARN)
	if err != nil {
		return awsid.Scope{Account: v.Account}
	}
	return awsid.GlobalScope(a.Partition, v.Account)
}

// Key implements sigv4.Keys for temporary credentials. Expired ones are found:
// the verifier tells them so. Those of a role or user that was deleted are not, as on
// AWS, where they are InvalidClientTokenId from then on.
func (s *Service) Key(ctx context.Context, partition, id string) (sigv4.Key, bool) {
	v := sessions.Get(s.store, sessionScope, id)
	if v == nil || v.scope().Partition() != partition || s.orphaned(ctx, v) {
		return sigv4.Key{}, false
	}
	return sigv4.Key{
		Secret: v.Secret, SessionToken: v.Token, Expires: v.Expires,
		Caller: awsid.Caller{Scope: v.scope(), ARN: v.ARN, UserID: v.UserID, AccessKeyID: v.ID},
	}, true
}

// orphaned tells whether the role or user behind the session is gone. A role that was
// made again under the name is another one.
func (s *Service) orphaned(ctx context.Context, v *session) bool {
	a, err := awsid.ParseARN(v.ARN)
	if err != nil {
		return true
	}
	switch kind, rest, _ := strings.Cut(a.Resource, "/"); kind {
	case "assumed-role":
		name, _, _ := strings.Cut(rest, "/")
		role, ok := s.iam.Role(ctx, v.scope(), name)
		id, _, _ := strings.Cut(v.UserID, ":")
		return !ok || id != role.ID
	case "user":
		e, ok := s.iam.Entity(ctx, v.scope(), v.ARN)
		return !ok || e.ID != v.UserID
	}
	return false
}

func builtinKey(ctx context.Context, partition, id string) (sigv4.Key, bool) {
	return sigv4.Builtin{}.Key(ctx, partition, id)
}

// now is STS's time: whole seconds.
func (s *Service) now() time.Time { return s.clock.Now().UTC().Truncate(time.Second) }

func newKeyID() string { return "ASIA" + base32.StdEncoding.EncodeToString(random(10)) }

func randomBase64(n int) string { return base64.StdEncoding.EncodeToString(random(n)) }

func random(n int) []byte {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err) // crypto/rand does not fail on supported systems
	}
	return b
}
