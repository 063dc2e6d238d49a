package eks

import (
	"context"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// IdentityProviders are OIDC providers whose tokens clusters accept beside IAM's.
const IdentityProviders = store.Table[IdentityProvider]("eks-identity-providers") // id: ChildID(cluster, config name)

// IdentityProvider is an OIDC identity provider of a cluster. It begins CREATING
// and becomes ACTIVE, or goes, with the cluster's update (FinishIdentityProvider).
type IdentityProvider struct {
	// Resource is what DescribeIdentityProviderConfig shows.
	Resource ekstypes.OidcIdentityProviderConfig
	Scope    awsid.Scope
}

const oidcType = "oidc" // the only type of identity provider config

// Limits of the API's model and of "Amazon EKS service quotas".
const (
	maxProviderName       = 100
	maxRequiredClaims     = 10
	maxRequiredClaimKey   = 63
	maxRequiredClaimValue = 253
)

// AssociateIdentityProviderConfig implements eks:AssociateIdentityProviderConfig.
// Whether the issuer answers is not asked: as on EKS the association goes on, and
// tokens are refused until it does.
func (s *Service) AssociateIdentityProviderConfig(ctx context.Context, in *eks.AssociateIdentityProviderConfigInput, _ ...func(*eks.Options)) (*eks.AssociateIdentityProviderConfigOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	c, err := readCluster(s.store, scope, a.cluster)
	if err != nil {
		return nil, err
	}
	if old, err := earlierUpdate(s.store, scope, a, req); err != nil || old != nil {
		return associated(old, in.Tags), err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if err := checkProvider(a, c, in.Oidc); err != nil {
		return nil, err
	}
	u, err := s.startClusterUpdate(ctx, a, req, clusterChange{
		kind:   ekstypes.UpdateTypeAssociateIdentityProviderConfig,
		params: providerParams(*in.Oidc.IdentityProviderConfigName),
		apply: func(tx *store.Tx, c *Cluster) error {
			if len(IdentityProviders.ListPrefix(tx, scope, ClusterPrefix(a.cluster))) > 0 {
				return a.invalidRequest("Cluster %s already has an identity provider config associated: only one can be.", a.cluster)
			}
			p := newProvider(c, in)
			IdentityProviders.Put(tx, scope, ChildID(a.cluster, *p.Resource.IdentityProviderConfigName), p)
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return associated(u, in.Tags), nil
}

func associated(u *Update, tags map[string]string) *eks.AssociateIdentityProviderConfigOutput {
	if u == nil {
		return nil
	}
	r := u.Resource
	return &eks.AssociateIdentityProviderConfigOutput{Update: &r, Tags: nonNil(tags)}
}

func providerParams(name string) []ekstypes.UpdateParam {
	return []ekstypes.UpdateParam{param(ekstypes.UpdateParamTypeIdentityProviderConfig, []struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}{{oidcType, name}})}
}

func newProvider(c *Cluster, in *eks.AssociateIdentityProviderConfigInput) *IdentityProvider {
	o := in.Oidc
	name := *o.IdentityProviderConfigName
	return &IdentityProvider{Scope: c.Scope, Resource: ekstypes.OidcIdentityProviderConfig{
		IdentityProviderConfigName: &name, ClusterName: c.Resource.Name, ClientId: o.ClientId, IssuerUrl: o.IssuerUrl,
		IdentityProviderConfigArn: aws.String(c.Scope.ARN("eks", strings.Join([]string{"identityproviderconfig", *c.Resource.Name, oidcType, name, awsid.NewUUID()}, "/"))),
		UsernameClaim:             o.UsernameClaim, UsernamePrefix: o.UsernamePrefix, GroupsClaim: o.GroupsClaim, GroupsPrefix: o.GroupsPrefix,
		RequiredClaims: nonNil(o.RequiredClaims), Status: ekstypes.ConfigStatusCreating, Tags: nonNil(in.Tags),
	}}
}

// checkProvider validates an OIDC configuration (API reference,
// OidcIdentityProviderConfigRequest).
func checkProvider(a about, c *Cluster, o *ekstypes.OidcIdentityProviderConfigRequest) error {
	if o == nil {
		return a.invalidParameter("oidc must be specified.")
	}
	name := aws.ToString(o.IdentityProviderConfigName)
	switch {
	case name == "":
		return a.invalidParameter("identityProviderConfigName must be specified.")
	case len(name) > maxProviderName || !namePattern.MatchString(name):
		return a.invalidParameter("The identity provider config name can contain only alphanumeric characters (case-sensitive), hyphens and underscores. It must start with an alphanumeric character and can't be longer than %d characters.", maxProviderName)
	case aws.ToString(o.ClientId) == "":
		return a.invalidParameter("clientId must be specified.")
	}
	if err := checkIssuerURL(a, c, aws.ToString(o.IssuerUrl)); err != nil {
		return err
	}
	for what, prefix := range map[string]*string{"usernamePrefix": o.UsernamePrefix, "groupsPrefix": o.GroupsPrefix} {
		if strings.Contains(aws.ToString(prefix), "system:") {
			return a.invalidParameter("%s cannot contain system:", what)
		}
	}
	if len(o.RequiredClaims) > maxRequiredClaims {
		return a.invalidParameter("requiredClaims can have at most %d items.", maxRequiredClaims)
	}
	for k, v := range o.RequiredClaims {
		if k == "" || len(k) > maxRequiredClaimKey || v == "" || len(v) > maxRequiredClaimValue {
			return a.invalidParameter("requiredClaims must have keys of 1 to %d and values of 1 to %d characters.", maxRequiredClaimKey, maxRequiredClaimValue)
		}
	}
	return nil
}

func checkIssuerURL(a about, c *Cluster, issuer string) error {
	if issuer == "" {
		return a.invalidParameter("issuerUrl must be specified.")
	}
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "":
		return a.invalidParameter("issuerUrl must be a URL that begins with https://")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil:
		return a.invalidParameter("issuerUrl cannot have user information, query parameters or a fragment")
	}
	if id := c.Resource.Identity; id != nil && id.Oidc != nil && strings.TrimSuffix(aws.ToString(id.Oidc.Issuer), "/") == strings.TrimSuffix(issuer, "/") {
		return a.invalidParameter("issuerUrl cannot be the cluster's own OIDC issuer: its tokens are those of service accounts")
	}
	return nil
}

// readProvider returns the configuration that in names.
func readProvider(r store.Reader, scope awsid.Scope, a about, in *ekstypes.IdentityProviderConfig) (*IdentityProvider, error) {
	if _, err := readCluster(r, scope, a.cluster); err != nil {
		return nil, err
	}
	switch {
	case in == nil || aws.ToString(in.Name) == "":
		return nil, a.invalidParameter("The identity provider config's name must be specified.")
	case aws.ToString(in.Type) != oidcType:
		return nil, a.invalidParameter("Unsupported identity provider config type %s: it must be %s", aws.ToString(in.Type), oidcType)
	}
	return IdentityProviders.Get(r, scope, ChildID(a.cluster, *in.Name)), nil
}

// DescribeIdentityProviderConfig implements eks:DescribeIdentityProviderConfig.
func (s *Service) DescribeIdentityProviderConfig(ctx context.Context, in *eks.DescribeIdentityProviderConfigInput, _ ...func(*eks.Options)) (*eks.DescribeIdentityProviderConfigOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	p, err := readProvider(s.store, awsid.CallerFrom(ctx).Scope, a, in.IdentityProviderConfig)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, a.notFound("No identity provider config found for name: %s.", *in.IdentityProviderConfig.Name)
	}
	r := p.Resource
	return &eks.DescribeIdentityProviderConfigOutput{IdentityProviderConfig: &ekstypes.IdentityProviderConfigResponse{Oidc: &r}}, nil
}

// ListIdentityProviderConfigs implements eks:ListIdentityProviderConfigs.
func (s *Service) ListIdentityProviderConfigs(ctx context.Context, in *eks.ListIdentityProviderConfigsInput, _ ...func(*eks.Options)) (*eks.ListIdentityProviderConfigsOutput, error) {
	scope, cluster := awsid.CallerFrom(ctx).Scope, aws.ToString(in.ClusterName)
	if _, err := readCluster(s.store, scope, cluster); err != nil {
		return nil, err
	}
	var all []ekstypes.IdentityProviderConfig
	for _, p := range IdentityProviders.ListPrefix(s.store, scope, ClusterPrefix(cluster)) {
		all = append(all, ekstypes.IdentityProviderConfig{Type: aws.String(oidcType), Name: p.Resource.IdentityProviderConfigName})
	}
	all, next, err := page("ListIdentityProviderConfigs", all, func(c ekstypes.IdentityProviderConfig) string { return *c.Name }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListIdentityProviderConfigsOutput{IdentityProviderConfigs: all, NextToken: next}, nil
}

// DisassociateIdentityProviderConfig implements
// eks:DisassociateIdentityProviderConfig.
func (s *Service) DisassociateIdentityProviderConfig(ctx context.Context, in *eks.DisassociateIdentityProviderConfigInput, _ ...func(*eks.Options)) (*eks.DisassociateIdentityProviderConfigOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	if _, err := readProvider(s.store, scope, a, in.IdentityProviderConfig); err != nil {
		return nil, err
	}
	name := *in.IdentityProviderConfig.Name
	u, err := s.startClusterUpdate(ctx, a, req, clusterChange{
		kind: ekstypes.UpdateTypeDisassociateIdentityProviderConfig, params: providerParams(name),
		apply: func(tx *store.Tx, _ *Cluster) error {
			p := IdentityProviders.Edit(tx, scope, ChildID(a.cluster, name))
			if p == nil {
				// The words by which Terraform knows that it is gone already.
				return a.invalidRequest("Identity provider config is not associated with cluster %s", a.cluster)
			}
			p.Resource.Status = ekstypes.ConfigStatusDeleting
			IdentityProviders.Put(tx, scope, ChildID(a.cluster, name), p)
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	r := u.Resource
	return &eks.DisassociateIdentityProviderConfigOutput{Update: &r}, nil
}

// FinishIdentityProvider ends what an association or disassociation began: the
// lifecycle calls it in the transaction that ends the cluster's update.
func FinishIdentityProvider(tx *store.Tx, scope awsid.Scope, cluster string) {
	for _, p := range IdentityProviders.ListPrefix(tx, scope, ClusterPrefix(cluster)) {
		id := ChildID(cluster, *p.Resource.IdentityProviderConfigName)
		switch p.Resource.Status {
		case ekstypes.ConfigStatusCreating:
			p = IdentityProviders.Edit(tx, scope, id)
			p.Resource.Status = ekstypes.ConfigStatusActive
			IdentityProviders.Put(tx, scope, id, p)
		case ekstypes.ConfigStatusDeleting:
			IdentityProviders.Delete(tx, scope, id)
		}
	}
}
