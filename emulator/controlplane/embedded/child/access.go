package child

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	authenticatorunion "k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizerunion "k8s.io/apiserver/pkg/authorization/union"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/authlog"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

const (
	// tokenTTL is how long an accepted token is not asked about again. Access that
	// was taken away ends within it: on EKS within minutes, here within the 5 s that a
	// test may wait, with time to spare. Refusals are not kept.
	tokenTTL = 2 * time.Second
	// accessTimeout bounds a question, for an API server that hangs helps nobody.
	accessTimeout = 10 * time.Second
)

// access asks the parent who a token belongs to and what its access policies allow.
type access struct{ client *http.Client }

// dialAccess uses the one inherited socket for all requests.
func dialAccess() (*access, error) {
	f := os.NewFile(embedded.AccessFD, "access")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("access socket: %w", err)
	}
	var once sync.Once
	return &access{&http.Client{Timeout: accessTimeout, Transport: &http2.Transport{
		AllowHTTP: true, StrictMaxConcurrentStreams: true,
		DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) {
			err := errors.New("access socket is gone")
			once.Do(func() { err = nil })
			return conn, err
		},
	}}}, nil
}

func (a *access) ask(ctx context.Context, path string, question, answer any) error {
	b, err := json.Marshal(question)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://ekslocal"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	res, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(text))
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

// forward passes a webhook's call on to the parent.
func (a *access) forward(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, "http://ekslocal"+embedded.PathAdmit+r.URL.Path, r.Body)
	if err != nil {
		return nil, err
	}
	return a.client.Do(req)
}

// AuthenticateToken answers for the tokens of aws eks get-token only.
func (a *access) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !strings.HasPrefix(token, authlog.TokenPrefix) {
		return nil, false, nil
	}
	return a.whose(ctx, token)
}

func (a *access) whose(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	var r embedded.TokenAnswer
	if err := a.ask(ctx, embedded.PathAuthenticate, embedded.TokenQuestion{Token: token}, &r); err != nil {
		return nil, false, fmt.Errorf("asking about a token: %w", err)
	}
	if !r.OK {
		return nil, false, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{
		Name: r.Identity.Username, UID: r.Identity.UID, Groups: r.Identity.Groups, Extra: r.Identity.Extra,
	}}, true, nil
}

// otherTokens asks about every token that nothing else knew: it may be an OIDC
// identity provider's, and if not, the authenticator's log has a line about it, as on
// EKS, whose API servers ask the webhook last.
type otherTokens struct{ *access }

func (o otherTokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if strings.HasPrefix(token, authlog.TokenPrefix) {
		return nil, false, nil // refused already
	}
	return o.whose(ctx, token)
}

// authenticator puts AWS tokens and the controllers' before what the API server
// accepts anyway, and all others after it.
func (a *access) authenticator(ids *controllerIdentities, existing authenticator.Request) authenticator.Request {
	aws := tokencache.New(a, false, tokenTTL, 0)
	others := tokencache.New(otherTokens{a}, false, tokenTTL, 0)
	return authenticatorunion.New(
		group.NewAuthenticatedGroupAdder(bearertoken.New(ids)),
		principals(group.NewAuthenticatedGroupAdder(bearertoken.New(aws))),
		existing,
		group.NewAuthenticatedGroupAdder(bearertoken.New(others)),
	)
}

// principal is a user whose AWS token came with the request. Whom somebody
// impersonates is none, whatever extra fields are claimed for them: impersonation
// forces RBAC on EKS (user guide, Associate access policies with access entries), and
// the right to impersonate must not be one to take over any principal's policies.
type principal struct{ user.Info }

func principals(a authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		res, ok, err := a.AuthenticateRequest(r)
		if ok {
			res = &authenticator.Response{Audiences: res.Audiences, User: principal{res.User}}
		}
		return res, ok, err
	})
}

// policiesCount tells whether the policies of whom the attributes name count: they do
// for the request's own principal, and for whom a SubjectAccessReview is about, which
// only those may ask who are trusted to ask about anybody.
func policiesCount(ctx context.Context, r authorizer.Attributes) bool {
	if _, ok := r.GetUser().(principal); ok {
		return true
	}
	review := func(resource string) bool {
		return resource == "subjectaccessreviews" || resource == "localsubjectaccessreviews"
	}
	info, ok := apirequest.RequestInfoFrom(ctx)
	return ok && info.APIGroup == authorizationv1.GroupName && review(info.Resource) && !review(r.GetResource())
}

// authorizer asks about EKS access policies what RBAC had no opinion on. They are
// only ever bound to AWS identities, so the system's own are not asked about.
func (a *access) authorizer(existing authorizer.Authorizer) authorizer.Authorizer {
	ours := authorizer.AuthorizerFunc(func(ctx context.Context, r authorizer.Attributes) (authorizer.Decision, string, error) {
		u := r.GetUser()
		if u == nil || strings.HasPrefix(u.GetName(), "system:") || !policiesCount(ctx, r) {
			return authorizer.DecisionNoOpinion, "", nil
		}
		q := controlplane.Attributes{
			Username: u.GetName(), Groups: u.GetGroups(), Extra: u.GetExtra(), Verb: r.GetVerb(),
		}
		if r.IsResourceRequest() {
			q.APIGroup, q.Resource, q.Subresource = r.GetAPIGroup(), r.GetResource(), r.GetSubresource()
			q.Namespace, q.Name = r.GetNamespace(), r.GetName()
		} else {
			q.Path = r.GetPath()
		}
		var answer embedded.AccessAnswer
		if err := a.ask(ctx, embedded.PathAuthorize, q, &answer); err != nil {
			return authorizer.DecisionNoOpinion, "", fmt.Errorf("asking about access policies: %w", err)
		}
		if answer.Allowed {
			return authorizer.DecisionAllow, answer.Reason, nil
		}
		return authorizer.DecisionNoOpinion, "", nil // a reason would end up in the client's error, unlike EKS's
	})
	return authorizerunion.New(existing, ours)
}

// unlisted is the access policies' part of a SelfSubjectRulesReview: `kubectl auth
// can-i --list` does not show what they allow and warns so in the words of EKS's
// authorization webhook.
type unlisted struct{}

func (unlisted) RulesFor(context.Context, user.Info, string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return nil, nil, true, errors.New("webhook authorizer does not support user rule resolution")
}

// controllerIdentities makes each controller of kube-controller-manager act as its
// own service account, as on EKS: RBAC limits it and the audit log names it.
// --use-service-account-credentials does the same with a token request, a
// connection and a client per controller; here one connection carries them all,
// each request with a secret of this process and the controller's name, which its
// client puts last into the user agent.
type controllerIdentities struct {
	secret string
	known  map[string]bool
}

func newControllerIdentities() *controllerIdentities {
	c := &controllerIdentities{secret: "ekslocal-controller." + rand.Text() + ".", known: map[string]bool{}}
	for _, r := range bootstrappolicy.ControllerRoles() {
		c.known[strings.TrimPrefix(r.Name, "system:controller:")] = true
	}
	return c
}

func (c *controllerIdentities) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripperFunc(func(r *http.Request) (*http.Response, error) {
		agent := r.UserAgent()
		if name := agent[strings.LastIndexByte(agent, '/')+1:]; c.known[name] {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+c.secret+name)
		}
		return next.RoundTrip(r)
	})
}

// AuthenticateToken knows the tokens that wrap sends.
func (c *controllerIdentities) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	name, ok := strings.CutPrefix(token, c.secret)
	if !ok || !c.known[name] {
		return nil, false, nil
	}
	return &authenticator.Response{User: serviceaccount.UserInfo("kube-system", name, "")}, true, nil
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
