package eks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// maxTokenLength is EKS's limit on client request tokens.
const maxTokenLength = 64

// newRequest identifies a call. in is the input with ClientRequestToken cleared;
// the caller's identity is not part of it, as in EKS a retry may come with fresh
// credentials.
func newRequest(token *string, in any) (Request, error) {
	if len(aws.ToString(token)) > maxTokenLength {
		return Request{}, about{}.invalidParameter("clientRequestToken must be at most %d characters long", maxTokenLength)
	}
	b, err := json.Marshal(in)
	if err != nil {
		return Request{}, err
	}
	sum := sha256.Sum256(b)
	r := Request{Token: aws.ToString(token), Hash: hex.EncodeToString(sum[:16])}
	if r.Token == "" { // the SDKs fill it in; a bare call is never a repetition
		r.Token = awsid.NewUUID()
	}
	return r, nil
}

// repeats tells whether r is a retry of the call that made the record with
// request old. A token used again for something else is an error.
func (r Request) repeats(a about, old Request) (bool, error) {
	if r.Token != old.Token {
		return false, nil
	}
	if r.Hash != old.Hash {
		return false, a.invalidParameter("The clientRequestToken %s was already used with different parameters.", r.Token)
	}
	return true, nil
}
