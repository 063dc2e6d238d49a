package iam

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/fixtures/managedpolicies"
)

// Entity finds the user, group or role of an ARN with all of its policies: what a
// request of it is judged by.
func (s *Service) Entity(_ context.Context, sc awsid.Scope, arn string) (policy.Entity, bool) {
	sc = sc.Global()
	kind, id := kindOf(arn)
	switch kind {
	case "role":
		if r := roles.Get(s.store, sc, id); r != nil && r.ARN == arn {
			return s.entityOf(sc, roleHolder, &r.entity, &r.grants), true
		}
	case "group":
		if g := groups.Get(s.store, sc, id); g != nil && g.ARN == arn {
			return s.entityOf(sc, groupHolder, &g.entity, &g.grants), true
		}
	case "user":
		if u := users.Get(s.store, sc, id); u != nil && u.ARN == arn {
			out := s.entityOf(sc, userHolder, &u.entity, &u.grants)
			for _, name := range u.Groups {
				if g := groups.Get(s.store, sc, key(name)); g != nil {
					out.Policies = append(out.Policies, s.policiesOf(sc, groupHolder, g.Name, &g.grants)...)
				}
			}
			return out, true
		}
	}
	return policy.Entity{}, false
}

// kindOf reads off an ARN what it names and the id that it is stored under.
func kindOf(arn string) (kind, id string) {
	a, err := awsid.ParseARN(arn)
	if err != nil || a.Service != "iam" {
		return "", ""
	}
	kind, _, _ = strings.Cut(a.Resource, "/")
	return kind, key(lastSegment(a.Resource))
}

func (s *Service) entityOf(sc awsid.Scope, h holder, e *entity, g *grants) policy.Entity {
	out := policy.Entity{ARN: e.ARN, ID: e.ID, Tags: tagMap(e.Tags), Policies: s.policiesOf(sc, h, e.Name, g)}
	if g.Boundary != "" {
		// Whatever becomes of the boundary's policy: without it nothing is allowed.
		out.Boundary = s.ManagedPolicies(sc, g.Boundary)
	}
	return out
}

func tagMap(tags []tag) map[string]string {
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		out[t.Key] = t.Value
	}
	return out
}

// policiesOf are the holder's inline policies by name, then the attached ones.
func (s *Service) policiesOf(sc awsid.Scope, h holder, name string, g *grants) []policy.Policy {
	var out []policy.Policy
	for _, n := range slices.Sorted(maps.Keys(g.Inline)) {
		if d, err := s.parsed.Parse(g.Inline[n]); err == nil {
			out = append(out, policy.Policy{Name: n, Owner: h.kind + "/" + name, Document: d})
		} else {
			s.log.Error("iam: a stored policy cannot be read", "policy", n, h.kind, name, "error", err)
		}
	}
	return append(out, s.ManagedPolicies(sc, g.Attached...)...)
}

// ManagedPolicies are the default versions of managed policies, AWS's or the
// account's. What is not there is left out; the answer is never nil.
func (s *Service) ManagedPolicies(sc awsid.Scope, arns ...string) []policy.Policy {
	out := make([]policy.Policy, 0, len(arns))
	sc = sc.Global()
	aws := sc.AWSPolicy("")
	for _, arn := range arns {
		var name, doc string
		if strings.HasPrefix(arn, aws) {
			m, ok := managedpolicies.ByARN(arn)
			if !ok {
				continue
			}
			name, doc = m.Name, m.Text
		} else if p, ok := managedIn(s.store, sc, arn); ok {
			name, doc = p.Name, p.document()
		} else {
			continue
		}
		d, err := s.parsed.Parse(doc)
		if err != nil {
			s.log.Error("iam: a stored policy cannot be read", "policy", arn, "error", err)
			continue
		}
		out = append(out, policy.Policy{Name: name, ARN: arn, Document: d})
	}
	return out
}

// document is the text of the policy's default version.
func (p *customerPolicy) document() string {
	for _, v := range p.Versions {
		if v.ID == p.Default {
			return v.Document
		}
	}
	return ""
}
