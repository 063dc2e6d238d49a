package integration

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
)

// question is one of `kubectl auth can-i VERB RESOURCE -n NAMESPACE`; a resource with
// a slash in front is a path.
type question struct{ verb, group, resource, namespace string }

func (q question) String() string {
	s := q.verb + " " + q.resource
	if q.group != "" {
		base, sub, _ := strings.Cut(q.resource, "/")
		s = q.verb + " " + base + "." + q.group
		if sub != "" {
			s += "/" + sub
		}
	}
	if q.namespace != "" {
		s += " -n " + q.namespace
	}
	return s
}

func (q question) attributes() authorizationv1.SelfSubjectAccessReviewSpec {
	if strings.HasPrefix(q.resource, "/") {
		return authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: q.verb, Path: q.resource}}
	}
	resource, sub, _ := strings.Cut(q.resource, "/")
	return authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Verb: q.verb, Group: q.group, Resource: resource, Subresource: sub, Namespace: q.namespace,
	}}
}

// allowedBy is what Kubernetes' own comparison of rules says of a policy's.
func (q question) allowedBy(p accesspolicies.Policy) bool {
	ask := rbacv1.PolicyRule{Verbs: []string{q.verb}, APIGroups: []string{q.group}, Resources: []string{q.resource}}
	if strings.HasPrefix(q.resource, "/") {
		ask = rbacv1.PolicyRule{Verbs: []string{q.verb}, NonResourceURLs: []string{q.resource}}
	}
	var rules []rbacv1.PolicyRule
	for _, r := range p.Rules {
		rule := rbacv1.PolicyRule{Verbs: r.Verbs, Resources: r.Resources, NonResourceURLs: r.NonResourceURLs}
		if len(r.NonResourceURLs) == 0 {
			rule.APIGroups = []string{r.APIGroup}
		}
		rules = append(rules, rule)
	}
	ok, _ := validation.Covers(rules, []rbacv1.PolicyRule{ask})
	return ok
}

func policyQuestions() []question {
	resources := [][2]string{
		{"", "pods"}, {"", "pods/exec"}, {"", "pods/log"}, {"", "secrets"}, {"", "configmaps"}, {"", "nodes"}, {"", "serviceaccounts"}, {"", "resourcequotas"}, {"", "namespaces"},
		{"apps", "deployments"}, {"apps", "deployments/scale"}, {"rbac.authorization.k8s.io", "roles"}, {"rbac.authorization.k8s.io", "clusterroles"},
		{"batch", "jobs"}, {"example.com", "widgets"}, {"authorization.k8s.io", "localsubjectaccessreviews"},
	}
	var out []question
	for _, r := range resources {
		for _, verb := range []string{"get", "list", "create", "patch", "deletecollection", "impersonate", "escalate"} {
			for _, namespace := range []string{"", "team-a", "prod"} {
				out = append(out, question{verb, r[0], r[1], namespace})
			}
		}
	}
	return append(out, question{"get", "", "/metrics", ""}, question{"post", "", "/anything", ""})
}

// TestAccessPolicies asks a real API server, as the principal, what each access policy
// allows in each scope, and looks for traces of policies in RBAC.
func TestAccessPolicies(t *testing.T) {
	t.Parallel()
	tool(t, "kubectl")
	w := newWorld(t, start(t))
	ctx := t.Context()
	c := w.cluster(t, "dev")
	admin, _ := w.kubernetes(t, c)
	for _, ns := range []string{"team-a", "prod"} {
		must(admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}))(t)
	}
	me := w.assume(t, w.assumable(t, "me", "/"), "me")
	w.entry(t, "dev", me.arn)
	token := me.token(t, "dev")
	k := bearer(t, c, token)
	ca := w.kube(t, c)
	ca.cfg.BearerToken = token
	kubectl := person{w.env(ca.kubeconfig(t))}
	soon(t, "an entry without a policy", k, isForbidden)

	// What the service lists is what the matrix goes through.
	listed := must(w.eks.ListAccessPolicies(ctx, &eks.ListAccessPoliciesInput{}))(t).AccessPolicies
	policies := must(accesspolicies.Load())(t)
	if len(listed) != len(policies) {
		t.Errorf("%d policies are listed, %d known", len(listed), len(policies))
	}
	asked := 0
	for _, p := range policies {
		for _, scope := range []struct {
			name       string
			namespaces []string
			in         []string
		}{{"cluster", nil, []string{"", "team-a", "prod"}}, {"namespace", []string{"prod"}, []string{"prod"}}, {"glob", []string{"team-*"}, []string{"team-a"}}} {
			w.grant(t, "dev", me.arn, p.Name, scope.namespaces...)
			allowed := func(q question) bool { return q.allowedBy(p) && slices.Contains(scope.in, q.namespace) }
			questions := policyQuestions()
			if len(p.Rules) == 0 {
				questions = questions[:21]
			}
			if err := canI(ctx, k, questions, allowed); err != nil {
				t.Errorf("%s (%s): %v", p.Name, scope.name, err)
			}
			asked += len(questions)
			q := question{"list", "", "configmaps", "prod"}
			kubectlCanI(t, kubectl, p.Name+" ("+scope.name+")", q, allowed(q))
		}
		for _, q := range []question{{"create", "", "pods/exec", "team-a"}, {"get", "", "secrets", "team-a"}} { // glob
			kubectlCanI(t, kubectl, p.Name+" (glob)", q, q.allowedBy(p))
		}
		if p.Name == accesspolicies.ClusterAdmin {
			t.Run("list", func(t *testing.T) { policyUnlisted(t, kubectl, "team-a") })
		}
		w.ungrant(t, "dev", me.arn, p.Name)
	}
	t.Logf("%d policies, %d questions", len(policies), asked)
	if all := boundTo(t, admin, "me"); len(all) > 0 {
		t.Errorf("policies left traces in RBAC: %v", all)
	}
	t.Run("impersonation", func(t *testing.T) { policyImpersonation(t, w, c, admin, me, kubectl) })
}

// policyImpersonation: under --as only RBAC counts, and the right to impersonate is
// none to take over somebody's policies.
func policyImpersonation(t *testing.T, w *world, c *ekstypes.Cluster, admin kubernetes.Interface, me identity, kubectl person) {
	ctx := t.Context()
	w.grant(t, "dev", me.arn, accesspolicies.ClusterAdmin)
	kubectl.ok(t, "", "get", "pods")
	kubectl.refused(t, `User "nobody" cannot list resource "pods"`, "get", "pods", "--as", "nobody")
	if out, err := kubectl.kubectl(t, "", "auth", "can-i", "list", "pods", "--as", "nobody"); strings.TrimSpace(out) != "no" {
		t.Errorf("can-i --as nobody: %q, %v", out, err)
	}

	helpdesk := w.iamUser(t, "helpdesk")
	w.entry(t, "dev", helpdesk.arn)
	must(admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "helpdesk"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"users"}},
		{Verbs: []string{"impersonate"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"userextras/*", "*"}},
	}}, metav1.CreateOptions{}))(t)
	must(admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "helpdesk"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "helpdesk"}, Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: helpdesk.arn}},
	}, metav1.CreateOptions{}))(t)
	principal := must(whoAmI(ctx, bearer(t, c, me.token(t, "dev"))))(t)
	cfg := w.kube(t, c).cfg
	cfg.BearerToken = helpdesk.token(t, "dev")
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Impersonate-User", principal.Username)
			// Keys of extra fields are read in lower case, escapes after that.
			for key, values := range principal.Extra {
				var escaped strings.Builder
				for _, ch := range []byte(key) {
					fmt.Fprintf(&escaped, "%%%02x", ch)
				}
				r.Header["Impersonate-Extra-"+escaped.String()] = values
			}
			return next.RoundTrip(r)
		})
	})
	k := must(kubernetes.NewForConfig(cfg))(t)
	soon(t, "the principal is impersonated with all its extra fields", k, func(ctx context.Context, k kubernetes.Interface) error {
		u, err := whoAmI(ctx, k)
		if err != nil || len(u.Extra["canonicalArn"]) != 1 || u.Extra["canonicalArn"][0] != me.arn {
			return fmt.Errorf("it is %+v, %w", u, err)
		}
		return nil
	})
	now(t, "without its policies", k, isForbidden)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// canI asks many questions at once.
func canI(ctx context.Context, k kubernetes.Interface, questions []question, want func(question) bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, q := range questions {
		g.Go(func() error {
			r, err := k.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: q.attributes()}, metav1.CreateOptions{})
			if err == nil && r.Status.Allowed != want(q) {
				err = fmt.Errorf("can-i %s: %v %s", q, r.Status.Allowed, r.Status.Reason)
			}
			return err
		})
	}
	return g.Wait()
}

func kubectlCanI(t *testing.T, p person, policy string, q question, want bool) {
	t.Helper()
	answer := map[bool]string{true: "yes", false: "no"}[want]
	// can-i exits with 1 where the answer is no.
	out, err := p.kubectl(t, "", append([]string{"auth", "can-i"}, strings.Fields(q.String())...)...)
	if strings.TrimSpace(out) != answer {
		t.Errorf("%s: kubectl auth can-i %s: %q, want %s; %v", policy, q, out, answer, err)
	}
}

// policyUnlisted: what a policy allows is not in `can-i --list`, which warns as on EKS.
func policyUnlisted(t *testing.T, p person, namespace string) {
	out, err := runTool(t, p.env, "", "sh", "-c", "kubectl auth can-i --list -n "+namespace+" 2>&1")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "the list may be incomplete: webhook authorizer does not support user rule resolution") {
		t.Errorf("it does not warn: %s", out)
	}
	if !strings.Contains(out, "selfsubjectaccessreviews.authorization.k8s.io") || strings.Contains(out, "*.*") {
		t.Errorf("it lists other than what RBAC gives everybody: %s", out)
	}
}

// boundTo are the bindings to users or groups that are no part of Kubernetes or EKS,
// and the roles that are named after access policies.
func boundTo(t *testing.T, k kubernetes.Interface, session string) []string {
	t.Helper()
	var out []string
	look := func(name string, subjects []rbacv1.Subject) {
		for _, s := range subjects {
			if s.Kind != rbacv1.ServiceAccountKind && !strings.HasPrefix(s.Name, "system:") && !strings.HasPrefix(s.Name, "eks:") || strings.HasSuffix(s.Name, "/"+session) {
				out = append(out, name+" -> "+s.Name)
			}
		}
	}
	for _, b := range must(k.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{}))(t).Items {
		look(b.Name, b.Subjects)
	}
	for _, b := range must(k.RbacV1().RoleBindings("").List(t.Context(), metav1.ListOptions{}))(t).Items {
		look(b.Namespace+"/"+b.Name, b.Subjects)
	}
	for _, r := range must(k.RbacV1().ClusterRoles().List(t.Context(), metav1.ListOptions{}))(t).Items {
		if strings.Contains(r.Name, "AmazonEKS") {
			out = append(out, r.Name)
		}
	}
	return out
}
