package authn

import (
	"context"
	"slices"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
)

// Authorize implements controlplane.Authenticator: it evaluates the access
// policies that are associated with the user's access entry at this moment.
//
// The principal is taken from the user's extra "canonicalArn". API servers must not
// ask about users who are impersonated: keys of Impersonate-Extra headers arrive in
// lower case, but what is escaped in them stays.
func (a *Authenticator) Authorize(ctx context.Context, clusterID string, at controlplane.Attributes) (bool, string, error) {
	arn := at.Extra[extraCanonicalARN]
	if len(arn) != 1 {
		return false, "", nil
	}
	c, ok := a.Clusters.Cluster(ctx, clusterID)
	if !ok || c.AuthenticationMode == ModeConfigMap {
		return false, "", nil
	}
	e, ok := a.Entries.AccessEntry(ctx, c.Scope, c.Name, arn[0])
	if id := at.Extra[extraPrincipalID]; !ok || len(id) != 1 || !e.madeFor(id[0]) {
		return false, "", nil
	}
	for _, assoc := range e.Policies {
		p, ok := a.policies[assoc.PolicyARN]
		if ok && inScope(assoc, at) && slices.ContainsFunc(p.Rules, func(r accesspolicies.Rule) bool { return ruleAllows(r, at) }) {
			return true, "EKS Access Policy: allowed by " + p.Name + " (" + scopeInWords(assoc) + ") of access entry " + e.PrincipalARN, nil
		}
	}
	return false, "", nil
}

func scopeInWords(p PolicyAssociation) string {
	if p.ScopeType == "namespace" {
		return "namespace " + strings.Join(p.Namespaces, ", ")
	}
	return "cluster"
}

func inScope(p PolicyAssociation, at controlplane.Attributes) bool {
	switch p.ScopeType {
	case "cluster":
		return true
	case "namespace":
		return at.Path == "" && at.Namespace != "" &&
			slices.ContainsFunc(p.Namespaces, func(pattern string) bool { return glob(pattern, at.Namespace) })
	default:
		return false
	}
}

// ruleAllows matches as RBAC does.
func ruleAllows(r accesspolicies.Rule, at controlplane.Attributes) bool {
	if !slices.Contains(r.Verbs, "*") && !slices.Contains(r.Verbs, at.Verb) {
		return false
	}
	if at.Path != "" {
		return slices.ContainsFunc(r.NonResourceURLs, func(u string) bool {
			prefix, open := strings.CutSuffix(u, "*")
			return u == at.Path || open && strings.HasPrefix(at.Path, prefix)
		})
	}
	if r.APIGroup != "*" && r.APIGroup != at.APIGroup {
		return false
	}
	full := at.Resource
	if at.Subresource != "" {
		full += "/" + at.Subresource
	}
	return slices.ContainsFunc(r.Resources, func(res string) bool {
		return res == "*" || res == full || at.Subresource != "" && res == "*/"+at.Subresource
	})
}

// glob matches s against a pattern in which * stands for any run of characters.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}
