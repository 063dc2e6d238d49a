package kms

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// FullARN finds the key of an alias, key/alias/NAME.
func (s *Service) FullARN(sc awsid.Scope, resource string) string {
	name, ok := strings.CutPrefix(resource, "key/")
	if !ok || !strings.HasPrefix(name, "alias/") {
		return ""
	}
	a := s.aliasOf(s.store, sc, name)
	if a == nil {
		return ""
	}
	return sc.ARN("kms", "key/"+a.Target)
}

// CiphertextKey is the key that a ciphertext was made with, if it is of a symmetric key
// of this region.
func (s *Service) CiphertextKey(sc awsid.Scope, blob []byte) (arn string, ok bool) {
	b, err := decodeBlob(blob)
	if err != nil {
		return "", false
	}
	sc.Account = b.account
	if s.live(s.store, sc, b.keyID) == nil {
		return "", false
	}
	return sc.ARN("kms", "key/"+b.keyID), true
}

// PolicyResource tells policies the tags and aliases of a key, with the key's policy
// and its grants, which stand for it: nobody gets at a key by other policies alone
// ("Determining access to AWS KMS keys").
func (s *Service) PolicyResource(a awsid.ARN) (policy.Resource, bool) {
	id, ok := strings.CutPrefix(a.Resource, "key/")
	k := s.live(s.store, a.Scope(), id)
	if !ok || k == nil {
		return policy.Resource{}, false
	}
	out := policy.Resource{Tags: k.Tags, ByResource: true, Keys: map[string][]string{
		"kms:keyspec": {string(k.Spec)}, "kms:keyusage": {string(k.Usage)}, "kms:keyorigin": {string(k.Origin)},
	}}
	for _, alias := range aliases.List(s.store, k.Scope) {
		if alias.Target == k.ID {
			out.Keys["kms:resourcealiases"] = append(out.Keys["kms:resourcealiases"], alias.Name)
		}
	}
	add := func(name, doc string) {
		d, err := s.parsed.Parse(doc)
		if err != nil {
			s.log.Error("kms: a stored policy cannot be read", "key", k.arn(), "policy", name, "error", err)
			return
		}
		out.Policies = append(out.Policies, policy.Policy{Name: name, ARN: k.arn(), Document: d})
	}
	add(policyName, k.Policy)
	for _, g := range grants.ListPrefix(s.store, k.Scope, grantKey(k.ID, "")) {
		add("grant "+g.ID, g.document(k))
	}
	return out, true
}

// document writes what a grant allows as a policy.
func (g *grant) document(k *key) string {
	type statement struct {
		Effect    string
		Principal map[string]string
		Action    []string
		Resource  string
		Condition map[string]map[string]any `json:",omitempty"`
	}
	allow := func(principal string, actions ...string) statement {
		kind := "AWS"
		if servicePattern.MatchString(principal) {
			kind = "Service"
		}
		return statement{Effect: "Allow", Principal: map[string]string{kind: principal}, Action: actions, Resource: k.arn()}
	}
	var actions, plain []string
	for _, o := range g.Operations {
		// The constraints are about the operations that take an encryption context.
		if k.symmetric() && slices.Contains(grantsFor[k.Usage], o) {
			actions = append(actions, "kms:"+string(o))
		} else {
			plain = append(plain, "kms:"+string(o))
		}
	}
	var all []statement
	if len(plain) > 0 {
		all = append(all, allow(g.Grantee, plain...))
	}
	if len(actions) > 0 {
		s := allow(g.Grantee, actions...)
		s.Condition = g.conditions()
		all = append(all, s)
	}
	if g.Retiring != "" {
		all = append(all, allow(g.Retiring, "kms:RetireGrant"))
	}
	raw, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": all})
	if err != nil {
		return "" // strings always marshal
	}
	return string(raw)
}

// conditions are a grant's constraints. One on the whole context holds the keys as
// well as the values.
func (g *grant) conditions() map[string]map[string]any {
	c := g.Constraints
	if c == nil {
		return nil
	}
	equals := map[string]any{}
	pairs := c.EncryptionContextSubset
	if len(pairs) == 0 {
		pairs = c.EncryptionContextEquals
	}
	var keys []string
	for k, v := range pairs {
		keys = append(keys, k)
		equals["kms:EncryptionContext:"+k] = v
	}
	if len(equals) == 0 {
		return nil
	}
	out := map[string]map[string]any{"StringEquals": equals}
	if len(c.EncryptionContextEquals) > 0 {
		slices.Sort(keys)
		out["ForAllValues:StringEquals"] = map[string]any{"kms:EncryptionContextKeys": keys}
	}
	return out
}
