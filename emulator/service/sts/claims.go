package sts

import (
	"encoding/json"
	"slices"

	"github.com/ekslocal/ekslocal/emulator/jwt"
)

// claims are those of a web identity.
type claims struct {
	Issuer   string      `json:"iss"`
	Subject  string      `json:"sub"`
	Audience jwt.List    `json:"aud"`
	Party    string      `json:"azp"`
	Expires  json.Number `json:"exp"`
	Issued   json.Number `json:"iat"`
	NotYet   json.Number `json:"nbf"`

	Tags           tagClaim `json:"https://aws.amazon.com/tags"`
	SourceIdentity string   `json:"https://aws.amazon.com/source_identity"`
}

// tagClaim are session tags in a token ("Passing session tags in AWS STS", using
// AssumeRoleWithWebIdentity): a list of one value for each key.
type tagClaim struct {
	Principal  map[string]jwt.List `json:"principal_tags"`
	Transitive []string            `json:"transitive_tag_keys"`
}

// transitive leaves out keys of no tag.
func (c tagClaim) transitive() []string {
	return slices.DeleteFunc(c.Transitive, func(k string) bool { return len(c.Principal[k]) == 0 })
}

func (c tagClaim) principal() map[string]string {
	if len(c.Principal) == 0 {
		return nil
	}
	out := map[string]string{}
	for k, v := range c.Principal {
		if len(v) > 0 {
			out[k] = v[0]
		}
	}
	return out
}

// client is the token's audience, the authorized party where there is one.
func (c *claims) client() string {
	if c.Party != "" {
		return c.Party
	}
	if len(c.Audience) > 0 {
		return c.Audience[0]
	}
	return ""
}
