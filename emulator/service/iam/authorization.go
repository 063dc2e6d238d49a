package iam

import (
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// FullARN finds what requests name without its path, such as role/NAME. The role of
// an instance profile is instance-profile/NAME/role; service-linked-role/SERVICE is the
// role that the service has yet to make.
func (s *Service) FullARN(sc awsid.Scope, resource string) string {
	sc = sc.Global()
	kind, name, _ := strings.Cut(resource, "/")
	if kind == "service-linked-role" {
		l, ok := linkedServices[name]
		if !ok || roles.Get(s.store, sc, key(l.role)) != nil {
			return ""
		}
		return sc.ARN("iam", "role"+linkedPath(name)+l.role)
	}
	if profile, ok := strings.CutSuffix(name, "/role"); ok && kind == "instance-profile" {
		if p := profiles.Get(s.store, sc, key(profile)); p != nil && p.Role != "" {
			return s.FullARN(sc, "role/"+p.Role)
		}
		return ""
	}
	if strings.Contains(name, "/") {
		return "" // with its path, or what is yet to be made
	}
	if e := s.entityAt(sc, kind, name); e != nil {
		return e.ARN
	}
	return ""
}

// entityAt is what IAM's names can be of.
func (s *Service) entityAt(sc awsid.Scope, kind, name string) *entity {
	switch kind {
	case "role":
		if r := roles.Get(s.store, sc, key(name)); r != nil {
			return &r.entity
		}
	case "user":
		if u := users.Get(s.store, sc, key(name)); u != nil {
			return &u.entity
		}
	case "group":
		if g := groups.Get(s.store, sc, key(name)); g != nil {
			return &g.entity
		}
	case "instance-profile":
		if p := profiles.Get(s.store, sc, key(name)); p != nil {
			return &p.entity
		}
	}
	return nil
}

// PolicyResource tells policies the tags of a resource, and the permissions boundary of
// a user or role: by iam:PermissionsBoundary administrators let others make roles.
func (s *Service) PolicyResource(a awsid.ARN) (policy.Resource, bool) {
	sc := a.Scope().Global()
	kind, rest, _ := strings.Cut(a.Resource, "/")
	name := lastSegment(rest)
	switch kind {
	case "policy":
		p, ok := managedIn(s.store, sc, a.String())
		if !ok {
			return policy.Resource{}, false
		}
		return policy.Resource{Tags: tagMap(p.Tags)}, true
	case "oidc-provider":
		p := providers.Get(s.store, sc, rest)
		if p == nil {
			return policy.Resource{}, false
		}
		return policy.Resource{Tags: tagMap(p.Tags)}, true
	case "mfa":
		d := devices.Get(s.store, sc, a.String())
		if d == nil {
			return policy.Resource{}, false
		}
		return policy.Resource{Tags: tagMap(d.Tags)}, true
	}
	e := s.entityAt(sc, kind, name)
	if e == nil || e.ARN != a.String() {
		return policy.Resource{}, false
	}
	out := policy.Resource{Tags: tagMap(e.Tags)}
	boundary := ""
	switch kind {
	case "role":
		boundary = roles.Get(s.store, sc, key(name)).Boundary
	case "user":
		boundary = users.Get(s.store, sc, key(name)).Boundary
	}
	if boundary != "" {
		out.Keys = map[string][]string{"iam:permissionsboundary": {boundary}}
	}
	return out, true
}
