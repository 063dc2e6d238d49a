package authn

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
)

// asRBAC is a policy as Kubernetes would have it, so that Kubernetes' own comparison
// of rules can say what it allows.
func asRBAC(p accesspolicies.Policy) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, r := range p.Rules {
		rule := rbacv1.PolicyRule{Verbs: r.Verbs, Resources: r.Resources, NonResourceURLs: r.NonResourceURLs}
		if len(r.NonResourceURLs) == 0 {
			rule.APIGroups = []string{r.APIGroup}
		}
		out = append(out, rule)
	}
	return out
}

// requests are what the matrix asks: every group and resource that any policy names,
// with and without subresource, some that none names, and non-resource URLs.
func requests(all []accesspolicies.Policy) []controlplane.Attributes {
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "bind", "escalate", "proxy"}
	resources := map[[2]string]bool{
		{"", "nodes"}: true, {"", "nodes/proxy"}: true, {"", "pods/ephemeralcontainers"}: true, {"", "serviceaccounts/token"}: true, {"", "users"}: true,
		{"rbac.authorization.k8s.io", "clusterroles"}: true, {"rbac.authorization.k8s.io", "clusterrolebindings"}: true, {"example.com", "widgets"}: true,
		{"example.com", "widgets/status"}: true, {"example.com", "pods"}: true, {"apps", "pods"}: true, {"", "deployments"}: true,
		{"certificates.k8s.io", "certificatesigningrequests/approval"}: true, {"admissionregistration.k8s.io", "mutatingwebhookconfigurations"}: true,
		{"authentication.k8s.io", "tokenreviews"}: true, {"apiextensions.k8s.io", "customresourcedefinitions"}: true, {"coordination.k8s.io", "leases"}: true,
	}
	for _, p := range all {
		for _, r := range p.Rules {
			for _, res := range r.Resources {
				if r.APIGroup != "*" && res != "*" {
					resources[[2]string{r.APIGroup, res}] = true
				}
			}
		}
	}
	var out []controlplane.Attributes
	for r := range resources {
		resource, sub, _ := strings.Cut(r[1], "/")
		for _, v := range verbs {
			out = append(out, controlplane.Attributes{Verb: v, APIGroup: r[0], Resource: resource, Subresource: sub})
		}
	}
	for _, path := range []string{"/metrics", "/healthz", "/logs/kube-apiserver.log", "/"} {
		out = append(out, controlplane.Attributes{Verb: "get", Path: path})
	}
	return out
}

// TestPolicyMatrix holds every access policy, in every kind of scope, to what
// Kubernetes says that its rules allow, in namespaces inside and outside of the scope
// and in none.
func TestPolicyMatrix(t *testing.T) {
	const admin = "arn:aws:iam::111122223333:role/admin"
	all, err := accesspolicies.Load()
	if err != nil {
		t.Fatal(err)
	}
	asked, allowed := 0, 0
	for _, p := range all {
		rules := asRBAC(p)
		for _, scope := range []struct {
			name, kind string
			namespaces []string
			in         []string // of the namespaces below
		}{
			{"cluster", "cluster", nil, []string{"", "team-a", "team-b", "prod"}},
			{"namespace", "namespace", []string{"team-a"}, []string{"team-a"}},
			{"two namespaces", "namespace", []string{"prod", "team-b"}, []string{"team-b", "prod"}},
			{"glob", "namespace", []string{"team-*"}, []string{"team-a", "team-b"}},
			{"glob of all", "namespace", []string{"*"}, []string{"team-a", "team-b", "prod"}},
		} {
			if len(p.Rules) == 0 && (scope.name == "two namespaces" || scope.name == "glob of all") {
				continue // the other scopes have asked enough of a policy that allows nothing
			}
			w := newWorld()
			w.entries[admin] = Entry{PrincipalARN: admin, Policies: []PolicyAssociation{{PolicyARN: p.ARN("aws"), ScopeType: scope.kind, Namespaces: scope.namespaces}}}
			a := w.authenticator(t)
			for _, at := range requests(all) {
				for _, namespace := range []string{"", "team-a", "team-b", "prod"} {
					at.Namespace = namespace
					servant := rbacv1.PolicyRule{Verbs: []string{at.Verb}}
					if at.Path != "" {
						if namespace != "" {
							continue
						}
						servant.NonResourceURLs = []string{at.Path}
					} else {
						servant.APIGroups, servant.Resources = []string{at.APIGroup}, []string{strings.TrimSuffix(at.Resource+"/"+at.Subresource, "/")}
					}
					covered, _ := validation.Covers(rules, []rbacv1.PolicyRule{servant})
					want := covered && slices.Contains(scope.in, namespace)
					at.Extra = map[string][]string{extraCanonicalARN: {admin}, extraPrincipalID: {"AROAADMIN"}}
					got, why, err := a.Authorize(t.Context(), clusterID, at)
					if got != want || err != nil {
						t.Errorf("%s (%s): %s in %q: %v %q %v, want %v", p.Name, scope.name, fmt.Sprint(servant), namespace, got, why, err, want)
					}
					asked++
					if got {
						allowed++
					}
				}
			}
		}
	}
	t.Logf("%d policies: %d questions, %d of them allowed", len(all), asked, allowed)
	if allowed < asked/50 || allowed > asked/2 {
		t.Errorf("%d of %d are allowed: the matrix does not tell much", allowed, asked)
	}
}
