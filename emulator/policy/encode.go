package policy

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
)

// maxDecoded bounds what a foreign message may inflate to.
const maxDecoded = 1 << 20

// items is how the decoded message has every list.
type items[T any] struct {
	Items []T `json:"items"`
}

type decodedStatement struct {
	StatementID      string           `json:"statementId"`
	Effect           string           `json:"effect"`
	Principals       items[string]    `json:"principals"`
	Actions          items[textValue] `json:"actions"`
	Resources        items[textValue] `json:"resources"`
	Conditions       items[string]    `json:"conditions"`
	SourcePolicyID   string           `json:"sourcePolicyId,omitempty"`
	SourcePolicyType string           `json:"sourcePolicyType,omitempty"`
}

type textValue struct {
	Value string `json:"value"`
}

type decodedKey struct {
	Key    string           `json:"key"`
	Values items[textValue] `json:"values"`
}

type decodedMessage struct {
	Allowed           bool                    `json:"allowed"`
	ExplicitDeny      bool                    `json:"explicitDeny"`
	MatchedStatements items[decodedStatement] `json:"matchedStatements"`
	Failures          items[string]           `json:"failures"`
	Context           struct {
		Principal struct {
			ID  string `json:"id"`
			ARN string `json:"arn"`
		} `json:"principal"`
		Action     string            `json:"action"`
		Resource   string            `json:"resource"`
		Conditions items[decodedKey] `json:"conditions"`
	} `json:"context"`
}

func valuesOf(list []string) items[textValue] {
	out := items[textValue]{Items: []textValue{}}
	for _, v := range list {
		out.Items = append(out.Items, textValue{v})
	}
	return out
}

// Encode is the encoded authorization message of a decision, which
// sts:DecodeAuthorizationMessage makes readable. AWS encrypts it; ekslocal has nobody
// to hide it from.
func (d *Decision) Encode() string {
	var m decodedMessage
	m.Allowed, m.ExplicitDeny = d.Allowed(), d.Outcome == Denied
	m.MatchedStatements.Items, m.Failures.Items = []decodedStatement{}, []string{}
	for _, by := range d.By {
		s := by.Statement()
		effect := "DENY"
		if s.Allow {
			effect = "ALLOW"
		}
		m.MatchedStatements.Items = append(m.MatchedStatements.Items, decodedStatement{
			StatementID: s.Sid, Effect: effect, Principals: items[string]{[]string{}}, Conditions: items[string]{[]string{}},
			Actions: valuesOf(append(s.Action, s.NotAction...)), Resources: valuesOf(append(s.Resource, s.NotResource...)),
			SourcePolicyID: by.Policy.Name, SourcePolicyType: by.Layer.String(),
		})
	}
	c := &m.Context
	c.Principal.ID, c.Principal.ARN = d.Request.Principal.UserID, d.Request.Principal.ARN
	c.Action, c.Resource, c.Conditions.Items = d.Request.Action, d.Request.Resource, []decodedKey{}
	for _, k := range slices.Sorted(maps.Keys(d.Request.Context)) {
		c.Conditions.Items = append(c.Conditions.Items, decodedKey{k, valuesOf(d.Request.Context[k])})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return "" // strings and booleans always marshal
	}
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression) // the level is one of flate's own
	if _, err := w.Write(raw); err != nil {
		return "" // a buffer takes everything
	}
	w.Close()
	return base64.RawURLEncoding.EncodeToString(b.Bytes())
}

var errEncoded = errors.New("no encoded authorization message")

// Decode returns the JSON of an encoded message.
func Decode(encoded string) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return "", errEncoded
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(raw)), maxDecoded))
	if err != nil || !json.Valid(plain) || !strings.HasPrefix(string(plain), `{"allowed":`) {
		return "", errEncoded
	}
	return string(plain), nil
}
