package authn

import (
	"context"
	"strings"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
)

func TestAuthorize(t *testing.T) {
	const admin = "arn:aws:iam::111122223333:role/admin"
	policy := func(name string, namespaces ...string) PolicyAssociation {
		p := PolicyAssociation{PolicyARN: accesspolicies.ARN("aws", name), ScopeType: "cluster", Namespaces: namespaces}
		if namespaces != nil {
			p.ScopeType = "namespace"
		}
		return p
	}
	// ask is "verb group/resource[/subresource] [namespace]", or "verb /path".
	ask := func(s string) controlplane.Attributes {
		f := strings.Fields(s)
		a := controlplane.Attributes{Verb: f[0]}
		if strings.HasPrefix(f[1], "/") {
			a.Path = f[1]
			return a
		}
		p := strings.SplitN(f[1], "/", 3)
		a.APIGroup, a.Resource = strings.TrimPrefix(p[0], "core"), p[1]
		if len(p) == 3 {
			a.Subresource = p[2]
		}
		if len(f) == 3 {
			a.Namespace = f[2]
		}
		return a
	}
	cases := []struct {
		name     string
		policies []PolicyAssociation
		yes, no  []string
	}{
		{"none", nil, nil, []string{"get core/pods default"}},
		{"cluster admin", []PolicyAssociation{policy("AmazonEKSClusterAdminPolicy")},
			[]string{"delete core/nodes", "escalate rbac.authorization.k8s.io/clusterroles", "get core/pods/exec kube-system", "get /metrics", "post /anything/at/all"}, nil},
		{"cluster admin of a namespace", []PolicyAssociation{policy("AmazonEKSClusterAdminPolicy", "dev")},
			[]string{"delete core/secrets dev", "get core/namespaces dev"}, []string{"get core/pods prod", "list core/pods", "get core/nodes", "get /metrics"}},
		{"view", []PolicyAssociation{policy("AmazonEKSViewPolicy")},
			[]string{"list core/pods", "get core/pods/log default", "watch apps/deployments x", "list core/namespaces"},
			[]string{"get core/secrets default", "create core/pods default", "get core/nodes", "get core/pods/exec default", "get /metrics", "get other/pods default"}},
		{"view of globs", []PolicyAssociation{policy("AmazonEKSViewPolicy", "dev-*", "*-test")},
			[]string{"get core/pods dev-a", "get core/pods dev-", "get core/pods a-test"}, []string{"get core/pods dev", "get core/pods prod", "get core/pods a-tests", "list core/pods"}},
		{"edit", []PolicyAssociation{policy("AmazonEKSEditPolicy")},
			[]string{"create core/pods/exec x", "update core/secrets x", "patch apps/deployments/scale x", "impersonate core/serviceaccounts x"},
			[]string{"create rbac.authorization.k8s.io/roles x", "create core/namespaces", "delete core/nodes"}},
		{"admin", []PolicyAssociation{policy("AmazonEKSAdminPolicy", "dev")},
			[]string{"create rbac.authorization.k8s.io/rolebindings dev", "create authorization.k8s.io/localsubjectaccessreviews dev"},
			[]string{"create core/resourcequotas dev", "create rbac.authorization.k8s.io/rolebindings prod"}},
		{"admin view", []PolicyAssociation{policy("AmazonEKSAdminViewPolicy")},
			[]string{"get core/secrets x", "list core/nodes", "get example.com/things/status x"}, []string{"delete core/secrets x", "get /metrics"}},
		{"secret reader", []PolicyAssociation{policy("AmazonEKSSecretReaderPolicy", "dev")}, []string{"list core/secrets dev"}, []string{"list core/secrets", "get core/pods dev"}},
		{"union", []PolicyAssociation{policy("AmazonEKSViewPolicy"), policy("AmazonEKSEditPolicy", "dev")},
			[]string{"get core/pods prod", "delete core/pods dev"}, []string{"delete core/pods prod"}},
		{"unpublished rules", []PolicyAssociation{policy("AmazonEKSComputePolicy")}, nil, []string{"get coordination.k8s.io/leases kube-system"}},
		{"unknown policy and scope", []PolicyAssociation{policy("Nonsense"), {PolicyARN: accesspolicies.ARN("aws", accesspolicies.ClusterAdmin), ScopeType: "galaxy"}}, nil, []string{"get core/pods x"}},
	}
	ctx := context.Background()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.entries[admin] = Entry{PrincipalARN: admin, Type: "STANDARD", Policies: c.policies}
			a := w.authenticator(t)
			id, ok, err := a.Authenticate(ctx, clusterID, w.token(t, "ADMIN"))
			if !ok || err != nil {
				t.Fatal(ok, err)
			}
			check := func(q string, want bool) {
				at := ask(q)
				at.Username, at.Groups, at.Extra = id.Username, id.Groups, id.Extra
				got, reason, err := a.Authorize(ctx, clusterID, at)
				if got != want || err != nil || got != strings.Contains(reason, "EKS Access Policy: allowed by ") {
					t.Errorf("%s: %v %q %v, want %v", q, got, reason, err, want)
				}
			}
			for _, q := range c.yes {
				check(q, true)
			}
			for _, q := range c.no {
				check(q, false)
			}
		})
	}
}

// TestAuthorizeWhom: policies go by the principal behind the user, live.
func TestAuthorizeWhom(t *testing.T) {
	const admin = "arn:aws:iam::111122223333:role/admin"
	entry := Entry{PrincipalARN: admin, PrincipalID: "AROAADMIN", Policies: []PolicyAssociation{{PolicyARN: accesspolicies.ARN("aws", accesspolicies.ClusterAdmin), ScopeType: "cluster"}}}
	extra := map[string][]string{extraCanonicalARN: {admin}, extraPrincipalID: {"AROAADMIN"}}
	cases := []struct {
		name   string
		change func(*world)
		extra  map[string][]string
		want   bool
	}{
		{"the principal", nil, extra, true},
		{"no AWS identity", nil, nil, false},
		{"impersonated extra, in lower case", nil, map[string][]string{"canonicalarn": {admin}, "principalid": {"AROAADMIN"}}, false},
		{"two ARNs", nil, map[string][]string{extraCanonicalARN: {admin, admin}, extraPrincipalID: {"AROAADMIN"}}, false},
		{"another principal of that name", nil, map[string][]string{extraCanonicalARN: {admin}, extraPrincipalID: {"AROANEW"}}, false},
		{"entry deleted since", func(w *world) { delete(w.entries, admin) }, extra, false},
		{"mode without entries", func(w *world) { w.cluster.AuthenticationMode = ModeConfigMap }, extra, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.entries[admin] = entry
			if c.change != nil {
				c.change(w)
			}
			got, _, err := w.authenticator(t).Authorize(context.Background(), clusterID,
				controlplane.Attributes{Username: "x", Extra: c.extra, Verb: "get", Resource: "pods", Namespace: "default"})
			if got != c.want || err != nil {
				t.Errorf("got %v %v", got, err)
			}
		})
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"*", "x", true}, {"a*", "abc", true}, {"*c", "abc", true},
		{"a*c", "abc", true}, {"a*c", "ac", true}, {"a*a", "a", false}, {"a*b*c", "a-b-b-c", true}, {"a*b*c", "acb", false}, {"**", "x", true},
		{"[a]", "a", false}, {"?", "a", false},
	} {
		if got := glob(c.pattern, c.s); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}
