package authn

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// Provider is an OIDC identity provider of a cluster, as
// AssociateIdentityProviderConfig has it.
type Provider struct {
	IssuerURL, ClientID string
	// UsernameClaim is sub unless set. UsernamePrefix is the issuer's URL and # unless
	// set or the claim is email; "-" is none.
	UsernameClaim, UsernamePrefix string
	// GroupsClaim empty: no groups.
	GroupsClaim, GroupsPrefix string
	// RequiredClaims must be in the token with these values.
	RequiredClaims map[string]string
}

// Providers finds clusters' identity providers.
type Providers interface {
	// IdentityProvider is false for a cluster without an associated provider.
	IdentityProvider(ctx context.Context, clusterID string) (Provider, bool)
}

// firstContact is how long the first tokens of a provider wait for its discovery
// document: API servers have it before an association is ACTIVE. After that they are
// refused until the issuer answers.
const firstContact, contactPoll = 3 * time.Second, 25 * time.Millisecond

// providers are the verifiers of the clusters' identity providers: kube-apiserver's
// own, which is what EKS configures. The issuer is reached through the system's
// certificate authorities, which SSL_CERT_FILE and SSL_CERT_DIR replace.
type providers struct {
	mu  sync.Mutex
	all map[string]*verifier // by cluster id
}

type verifier struct {
	provider Provider
	oidc.AuthenticatorTokenWithHealthCheck
	until time.Time // of first contact
	stop  context.CancelFunc
}

// of returns the verifier of the cluster's provider, a new one if the provider has
// changed.
func (p *providers) of(clusterID string, want Provider, now time.Time) (*verifier, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.all[clusterID]
	if v != nil && reflect.DeepEqual(v.provider, want) {
		return v, nil
	}
	p.dropLocked(clusterID)
	ctx, stop := context.WithCancel(context.Background()) // it fetches until it is dropped
	a, err := newVerifier(ctx, want, nil)
	if err != nil {
		stop()
		return nil, err
	}
	v = &verifier{want, a, now.Add(firstContact), stop}
	if p.all == nil {
		p.all = map[string]*verifier{}
	}
	p.all[clusterID] = v
	return v, nil
}

// newVerifier begins to fetch the issuer's documents, by client if that is not nil.
func newVerifier(ctx context.Context, p Provider, client *http.Client) (oidc.AuthenticatorTokenWithHealthCheck, error) {
	a, err := oidc.New(ctx, oidc.Options{JWTAuthenticator: p.authenticator(), Client: client})
	if err != nil {
		return nil, fmt.Errorf("identity provider %s: %w", p.IssuerURL, err)
	}
	return a, nil
}

func (p *providers) drop(clusterID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropLocked(clusterID)
}

func (p *providers) dropLocked(clusterID string) {
	if v := p.all[clusterID]; v != nil {
		v.stop()
		delete(p.all, clusterID)
	}
}

func (p *providers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.all {
		p.dropLocked(id)
	}
}

// authenticator is what kube-apiserver makes of its --oidc-* flags
// (pkg/kubeapiserver/options/authentication.go).
func (p Provider) authenticator() apiserver.JWTAuthenticator {
	claim := p.UsernameClaim
	if claim == "" {
		claim = "sub"
	}
	prefix := p.UsernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && claim != "email":
		prefix = p.IssuerURL + "#"
	}
	out := apiserver.JWTAuthenticator{
		Issuer:        apiserver.Issuer{URL: p.IssuerURL, Audiences: []string{p.ClientID}},
		ClaimMappings: apiserver.ClaimMappings{Username: apiserver.PrefixedClaimOrExpression{Claim: claim, Prefix: &prefix}},
	}
	if p.GroupsClaim != "" {
		out.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: p.GroupsClaim, Prefix: &p.GroupsPrefix}
	}
	for name, value := range p.RequiredClaims {
		out.ClaimValidationRules = append(out.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: name, RequiredValue: value})
	}
	return out
}

// await waits for the issuer's discovery document during first contact.
func (v verifier) await(ctx context.Context, a *Authenticator) {
	for v.HealthCheck() != nil && a.Clock.Now().Before(v.until) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(contactPoll): // a network's time, not the emulator's
		}
	}
}

// authenticateProvider answers for tokens of the cluster's identity provider.
func (a *Authenticator) authenticateProvider(ctx context.Context, clusterID, token string) (controlplane.Identity, bool, error) {
	if a.Providers == nil {
		return controlplane.Identity{}, false, nil
	}
	log := a.Log.With("cluster_id", clusterID)
	p, ok := a.Providers.IdentityProvider(ctx, clusterID)
	if !ok {
		a.providers.drop(clusterID)
		return controlplane.Identity{}, false, nil
	}
	v, err := a.providers.of(clusterID, p, a.Clock.Now())
	if err != nil {
		log.Warn("access denied", "reason", err.Error())
		return controlplane.Identity{}, false, nil
	}
	v.await(ctx, a)
	r, ok, err := v.AuthenticateToken(ctx, token)
	if err != nil || !ok {
		log.Warn("access denied", "issuer", p.IssuerURL, "reason", reason(err))
		return controlplane.Identity{}, false, nil
	}
	id := controlplane.Identity{Username: r.User.GetName(), UID: r.User.GetUID(), Groups: r.User.GetGroups(), Extra: r.User.GetExtra()}
	log.Debug("access granted", "username", id.Username, "groups", id.Groups, "by", "identity provider")
	return id, true, nil
}

func reason(err error) slog.Value {
	if err == nil {
		return slog.StringValue("the token is of another issuer")
	}
	return slog.StringValue(err.Error())
}

// Close ends what runs in the background.
func (a *Authenticator) Close() { a.providers.close() }
