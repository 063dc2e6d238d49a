package iam

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	maxClientIDs   = 100
	maxThumbprints = 5
)

var thumbprintPattern = regexp.MustCompile(`^[0-9A-Fa-f]{40}$`)

func getProvider(ctx context.Context, r store.Reader, arn *string) (*oidcProvider, error) {
	var c checks
	c.Required("openIDConnectProviderArn", arn, 20, 2048)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkARN(ctx, *arn); err != nil {
		return nil, err
	}
	_, u, isProvider := strings.Cut(*arn, ":oidc-provider/")
	if !isProvider {
		return nil, invalidInput("ARN " + *arn + " is not valid.")
	}
	if p := providers.Get(r, scopeOf(ctx), u); p != nil && p.ARN == *arn {
		return p, nil
	}
	return nil, noSuchEntity("OpenIDConnect Provider not found for arn " + *arn)
}

func editProvider(ctx context.Context, tx *store.Tx, arn *string) (*oidcProvider, func(), error) {
	found, err := getProvider(ctx, tx, arn)
	if err != nil {
		return nil, nil, err
	}
	sc := scopeOf(ctx)
	p := providers.Edit(tx, sc, found.URL)
	return p, func() { providers.Put(tx, sc, p.URL, p) }, nil
}

func (s *Service) updateProvider(ctx context.Context, arn *string, f func(p *oidcProvider) error) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		p, put, err := editProvider(ctx, tx, arn)
		if err != nil {
			return err
		}
		if err := f(p); err != nil {
			return err
		}
		put()
		return nil
	})
}

func invalidInput(msg string) error { return &types.InvalidInputException{Message: &msg} }

func checkClientIDs(ids []string) error {
	var c checks
	for _, id := range ids {
		c.Length("clientID", &id, 1, 255)
	}
	if err := c.err(); err != nil {
		return err
	}
	if len(ids) > maxClientIDs {
		return overQuota("ClientIdsPerOpenIdConnectProvider", maxClientIDs)
	}
	return nil
}

func checkThumbprints(list []string) error {
	if len(list) > maxThumbprints {
		return invalidInput("Thumbprint list must contain fewer than 5 entries.")
	}
	for _, t := range list {
		if len(t) != 40 {
			return invalidInput("Thumbprint must be exactly 40 characters.")
		}
		if !thumbprintPattern.MatchString(t) {
			return invalidInput("Invalid thumbprint: " + t)
		}
	}
	return nil
}

// issuerURL checks a provider's URL and returns it without its scheme. AWS wants
// no port in it; here the clusters' own issuers have one.
func issuerURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "":
		return "", validationError("Invalid Open ID Connect Provider URL")
	case u.Scheme != "https":
		return "", invalidInput("Invalid Open ID Connect Provider URL. The URL must begin with https://.")
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "", invalidInput("Invalid Open ID Connect Provider URL.")
	}
	return strings.TrimSuffix(u.Host+u.EscapedPath(), "/"), nil
}

// CreateOpenIDConnectProvider implements the operation.
func (s *Service) CreateOpenIDConnectProvider(ctx context.Context, in *iam.CreateOpenIDConnectProviderInput, _ ...func(*iam.Options)) (*iam.CreateOpenIDConnectProviderOutput, error) {
	var c checks
	c.Required("url", in.Url, 1, 255)
	c.tags(in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	u, err := issuerURL(*in.Url)
	if err != nil {
		return nil, err
	}
	if err := checkClientIDs(in.ClientIDList); err != nil {
		return nil, err
	}
	if err := checkThumbprints(in.ThumbprintList); err != nil {
		return nil, err
	}
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	thumbprints := lower(in.ThumbprintList)
	if len(thumbprints) == 0 && s.thumbprints != nil {
		// AWS reads it off the issuer's connection. Of an issuer that cannot be asked
		// there is none here, where AWS refuses: laptops are offline at times.
		if t, ok := s.thumbprints.Thumbprint(ctx, *in.Url); ok {
			thumbprints = []string{t}
		}
	}
	sc := scopeOf(ctx)
	p := &oidcProvider{
		ARN: sc.ARN("iam", "oidc-provider/"+u), URL: u, Created: s.now(), Tags: tags,
		ClientIDs: slices.Clone(in.ClientIDList), Thumbprints: thumbprints,
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if providers.Get(tx, sc, u) != nil {
			return exists("Provider with url https://" + u + " already exists.")
		}
		if err := checkQuota(s, len(providers.List(tx, sc)), "oidc-providers-per-account", "OpenIdConnectProvidersPerAccount"); err != nil {
			return err
		}
		providers.Put(tx, sc, u, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: &p.ARN, Tags: orNil(toTypes(tags))}, nil
}

func lower(list []string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = strings.ToLower(v)
	}
	return out
}

// shownURL is a provider's URL in answers: without its scheme, as AWS shows it, but
// for issuers with a port, which AWS does not have. Terraform parses the answer as
// a URL (internal/service/iam/openid_connect_provider.go, suppressOpenIDURL), to
// which "127.0.0.1:4566/id/X" is none, and would replace the provider every time.
func shownURL(u string) string {
	if host, _, _ := strings.Cut(u, "/"); strings.Contains(host, ":") {
		return "https://" + u
	}
	return u
}

// GetOpenIDConnectProvider implements the operation.
func (s *Service) GetOpenIDConnectProvider(ctx context.Context, in *iam.GetOpenIDConnectProviderInput, _ ...func(*iam.Options)) (*iam.GetOpenIDConnectProviderOutput, error) {
	p, err := getProvider(ctx, s.store, in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	return &iam.GetOpenIDConnectProviderOutput{
		Url: aws.String(shownURL(p.URL)), ClientIDList: nonNil(p.ClientIDs), ThumbprintList: nonNil(p.Thumbprints),
		CreateDate: &p.Created, Tags: orNil(toTypes(p.Tags)),
	}, nil
}

// ListOpenIDConnectProviders implements the operation, which has no pages.
func (s *Service) ListOpenIDConnectProviders(ctx context.Context, _ *iam.ListOpenIDConnectProvidersInput, _ ...func(*iam.Options)) (*iam.ListOpenIDConnectProvidersOutput, error) {
	out := []types.OpenIDConnectProviderListEntry{}
	for _, p := range providers.List(s.store, scopeOf(ctx)) {
		out = append(out, types.OpenIDConnectProviderListEntry{Arn: &p.ARN})
	}
	return &iam.ListOpenIDConnectProvidersOutput{OpenIDConnectProviderList: out}, nil
}

// DeleteOpenIDConnectProvider implements the operation.
func (s *Service) DeleteOpenIDConnectProvider(ctx context.Context, in *iam.DeleteOpenIDConnectProviderInput, _ ...func(*iam.Options)) (*iam.DeleteOpenIDConnectProviderOutput, error) {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		p, err := getProvider(ctx, tx, in.OpenIDConnectProviderArn)
		if err != nil {
			return err
		}
		providers.Delete(tx, scopeOf(ctx), p.URL)
		return nil
	})
	return answer(&iam.DeleteOpenIDConnectProviderOutput{}, err)
}

// UpdateOpenIDConnectProviderThumbprint implements the operation.
func (s *Service) UpdateOpenIDConnectProviderThumbprint(ctx context.Context, in *iam.UpdateOpenIDConnectProviderThumbprintInput, _ ...func(*iam.Options)) (*iam.UpdateOpenIDConnectProviderThumbprintOutput, error) {
	var c checks
	c.Null("thumbprintList", len(in.ThumbprintList) == 0)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkThumbprints(in.ThumbprintList); err != nil {
		return nil, err
	}
	err := s.updateProvider(ctx, in.OpenIDConnectProviderArn, func(p *oidcProvider) error {
		p.Thumbprints = lower(in.ThumbprintList)
		return nil
	})
	return answer(&iam.UpdateOpenIDConnectProviderThumbprintOutput{}, err)
}

// AddClientIDToOpenIDConnectProvider implements the operation, which is
// idempotent.
func (s *Service) AddClientIDToOpenIDConnectProvider(ctx context.Context, in *iam.AddClientIDToOpenIDConnectProviderInput, _ ...func(*iam.Options)) (*iam.AddClientIDToOpenIDConnectProviderOutput, error) {
	var c checks
	c.Required("clientID", in.ClientID, 1, 255)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.updateProvider(ctx, in.OpenIDConnectProviderArn, func(p *oidcProvider) error {
		if slices.Contains(p.ClientIDs, *in.ClientID) {
			return nil
		}
		p.ClientIDs = append(p.ClientIDs, *in.ClientID)
		return checkClientIDs(p.ClientIDs)
	})
	return answer(&iam.AddClientIDToOpenIDConnectProviderOutput{}, err)
}

// RemoveClientIDFromOpenIDConnectProvider implements the operation; it does not
// fail for a client that is not there.
func (s *Service) RemoveClientIDFromOpenIDConnectProvider(ctx context.Context, in *iam.RemoveClientIDFromOpenIDConnectProviderInput, _ ...func(*iam.Options)) (*iam.RemoveClientIDFromOpenIDConnectProviderOutput, error) {
	var c checks
	c.Required("clientID", in.ClientID, 1, 255)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.updateProvider(ctx, in.OpenIDConnectProviderArn, func(p *oidcProvider) error {
		p.ClientIDs = slices.DeleteFunc(p.ClientIDs, func(id string) bool { return id == *in.ClientID })
		return nil
	})
	return answer(&iam.RemoveClientIDFromOpenIDConnectProviderOutput{}, err)
}

// OIDCProvider finds the account's identity provider for an issuer, which may
// come with or without its scheme.
func (s *Service) OIDCProvider(_ context.Context, sc awsid.Scope, issuer string) (policy.OIDCProvider, bool) {
	u := strings.TrimSuffix(strings.TrimPrefix(issuer, "https://"), "/")
	p := providers.Get(s.store, sc.Global(), u)
	if p == nil {
		return policy.OIDCProvider{}, false
	}
	return policy.OIDCProvider{ARN: p.ARN, Issuer: p.URL, ClientIDs: p.ClientIDs}, true
}
