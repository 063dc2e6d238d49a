package policy

import (
	"strconv"
	"strings"
	"time"
)

// Subject is what the global condition keys tell about who asks.
type Subject struct {
	Principal
	// Tags are those of the user or role, replaced by those of the session where both
	// have a key.
	Tags           map[string]string
	SourceIdentity string
	Provider       string    // ARN of the identity provider that a session came from
	Issued         time.Time // of temporary credentials; zero for access keys
	MFA            bool      // temporary credentials were got with a device's code
}

// Keys are the subject's condition keys ("AWS global condition context keys",
// properties of the principal and of a role session). Keys without a value are absent.
func (s *Subject) Keys() map[string][]string {
	c := map[string][]string{}
	set := func(key, v string) {
		if v != "" {
			c[key] = []string{v}
		}
	}
	set("aws:principalaccount", s.Account)
	set("aws:userid", s.UserID)
	set("aws:principalarn", s.ARN)
	set("aws:principalisawsservice", strconv.FormatBool(s.Service != ""))
	switch kind, rest := s.kind(); kind {
	case "root":
		set("aws:principaltype", "Account")
	case "user":
		set("aws:principaltype", "User")
		set("aws:username", rest[strings.LastIndex(rest, "/")+1:])
	case "assumed-role":
		set("aws:principaltype", "AssumedRole")
		set("aws:principalarn", s.RoleARN)
	case "federated-user":
		set("aws:principaltype", "FederatedUser")
	}
	for k, v := range s.Tags {
		c["aws:principaltag/"+strings.ToLower(k)] = []string{v}
	}
	set("aws:sourceidentity", s.SourceIdentity)
	set("aws:federatedprovider", s.Provider)
	if !s.Issued.IsZero() {
		set("aws:tokenissuetime", s.Issued.UTC().Format(time.RFC3339))
		set("aws:multifactorauthpresent", strconv.FormatBool(s.MFA))
	}
	return c
}

// kind splits the resource of the principal's ARN: user and alice.
func (p *Principal) kind() (kind, rest string) {
	parts := strings.SplitN(p.ARN, ":", 6)
	if len(parts) != 6 {
		return "", ""
	}
	kind, rest, _ = strings.Cut(parts[5], "/")
	return kind, rest
}

// Call is what the global condition keys tell about how a request came.
type Call struct {
	Time                        time.Time
	SourceIP, UserAgent, Region string
}

// AddTo adds the call's condition keys to c.
func (k Call) AddTo(c map[string][]string) {
	c["aws:currenttime"] = []string{k.Time.UTC().Format(time.RFC3339)}
	c["aws:epochtime"] = []string{strconv.FormatInt(k.Time.Unix(), 10)}
	// ekslocal speaks HTTP to laptops where AWS has only TLS.
	c["aws:securetransport"] = []string{"true"}
	for key, v := range map[string]string{"aws:sourceip": k.SourceIP, "aws:useragent": k.UserAgent, "aws:requestedregion": k.Region} {
		if v != "" {
			c[key] = []string{v}
		}
	}
}

// AddRequestTags adds the condition keys of the tags that a request sets.
func AddRequestTags(c map[string][]string, tags map[string]string) {
	for k, v := range tags {
		c["aws:requesttag/"+strings.ToLower(k)] = []string{v}
		c["aws:tagkeys"] = append(c["aws:tagkeys"], k)
	}
}

// AddResourceTags adds the condition keys of the tags that the resource has.
func AddResourceTags(c map[string][]string, tags map[string]string) {
	for k, v := range tags {
		c["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
	}
}

// ContextKeys lists the condition keys that the document uses, in conditions and as
// variables, as its author first wrote each.
func (d *Document) ContextKeys() []string {
	var out []string
	seen := map[string]bool{}
	add := func(key string) {
		if low := strings.ToLower(key); key != "" && !seen[low] {
			seen[low] = true
			out = append(out, key)
		}
	}
	variables := func(v string) {
		if d.Version != withVariables {
			return
		}
		for _, p := range cut(v) {
			add(p.name)
		}
	}
	for i := range d.Statements {
		s := &d.Statements[i]
		for _, r := range append(s.Resource, s.NotResource...) {
			variables(r)
		}
		for _, c := range s.Conditions {
			add(c.name)
			for _, v := range c.Values {
				variables(v)
			}
		}
	}
	return out
}
