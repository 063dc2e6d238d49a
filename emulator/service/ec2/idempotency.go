package ec2

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// clientToken remembers what a request with a ClientToken made.
type clientToken struct {
	Scope   awsid.Scope
	ID      string // the record's own
	Hash    string // of the request
	IDs     []string
	Created time.Time
}

// tokenLife is how long a repeated request is recognised.
const tokenLife = 24 * time.Hour

// replay is a request that may have been made before.
type replay struct {
	id   string // of the clientToken record, empty without a token
	hash string
	ids  []string // what the earlier request made, nil for a first one
}

// replayOf looks for an earlier request of the same operation and token. The
// same token with other parameters is EC2's IdempotentParameterMismatch.
func (s *Service) replayOf(tx *store.Tx, sc awsid.Scope, op string, token *string, in any) (replay, error) {
	if token == nil || *token == "" {
		return replay{}, nil
	}
	if len(*token) > 128 {
		return replay{}, errInvalid("Invalid value '%s' for ClientToken. It must be at most 128 characters.", *token)
	}
	raw, err := json.Marshal(in)
	if err != nil {
		return replay{}, fmt.Errorf("ec2: hash the request of %s: %w", op, err)
	}
	sum := sha256.Sum256(raw)
	rp := replay{id: op + "/" + *token, hash: hex.EncodeToString(sum[:])}
	rec := clientTokens.Get(tx, sc, rp.id)
	if rec == nil || s.clock.Since(rec.Created) > tokenLife {
		return rp, nil
	}
	if rec.Hash != rp.hash {
		return rp, apiError("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
	}
	rp.ids = rec.IDs
	return rp, nil
}

// remember stores what the request made, in the transaction that makes it.
func (s *Service) remember(tx *store.Tx, sc awsid.Scope, rp replay, ids ...string) {
	if rp.id != "" {
		clientTokens.Put(tx, sc, rp.id, &clientToken{Scope: sc, ID: rp.id, Hash: rp.hash, IDs: ids, Created: s.now()})
	}
}
