package emulator

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/authn"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/service/iam"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// records answers questions that one part of the emulator has about another's
// records: who made a cluster, what an access entry says, an instance's name.
type records struct{ store *store.Store }

var (
	_ authn.Clusters  = records{}
	_ authn.Entries   = records{}
	_ authn.Instances = records{}
	_ authn.Providers = records{}
)

func (r records) find(clusterID string) *eks.Cluster {
	for _, c := range eks.Clusters.ListAll(r.store) {
		if strings.EqualFold(c.ID, clusterID) {
			return c
		}
	}
	return nil
}

// Cluster implements authn.Clusters.
func (r records) Cluster(_ context.Context, id string) (authn.Cluster, bool) {
	c := r.find(id)
	if c == nil {
		return authn.Cluster{}, false
	}
	out := authn.Cluster{Scope: c.Scope, Name: *c.Resource.Name, CreatorARN: c.CreatorARN, CreatorIsAdmin: c.CreatorIsAdmin}
	if a := c.Resource.AccessConfig; a != nil {
		out.AuthenticationMode = string(a.AuthenticationMode)
	}
	return out, true
}

// AccessEntry implements authn.Entries. API servers ask for every request, so that an
// entry is read by its key; only a role with a path has to be looked for.
func (r records) AccessEntry(_ context.Context, scope awsid.Scope, cluster, principal string) (authn.Entry, bool) {
	if e := eks.AccessEntries.Get(r.store, scope, eks.ChildID(cluster, principal)); e != nil {
		return entryOf(e), true
	}
	for _, e := range eks.AccessEntries.ListPrefix(r.store, scope, eks.ClusterPrefix(cluster)) {
		if canonical, err := authn.CanonicalARN(aws.ToString(e.Resource.PrincipalArn)); err == nil && canonical == principal {
			return entryOf(e), true
		}
	}
	return authn.Entry{}, false
}

func entryOf(e *eks.AccessEntry) authn.Entry {
	out := authn.Entry{
		PrincipalARN: *e.Resource.PrincipalArn, PrincipalID: e.PrincipalID, Username: aws.ToString(e.Resource.Username),
		Groups: e.Resource.KubernetesGroups, Type: aws.ToString(e.Resource.Type),
	}
	for _, p := range e.Policies {
		a := authn.PolicyAssociation{PolicyARN: aws.ToString(p.PolicyArn)}
		if p.AccessScope != nil {
			a.ScopeType, a.Namespaces = string(p.AccessScope.Type), p.AccessScope.Namespaces
		}
		out.Policies = append(out.Policies, a)
	}
	return out
}

// PrivateDNSName implements authn.Instances.
func (r records) PrivateDNSName(_ context.Context, scope awsid.Scope, id string) (string, bool) {
	i := ec2.Instances.Get(r.store, scope, id)
	if i == nil || i.PrivateDnsName == nil {
		return "", false
	}
	return *i.PrivateDnsName, true
}

// IdentityProvider implements authn.Providers.
func (r records) IdentityProvider(_ context.Context, clusterID string) (authn.Provider, bool) {
	c := r.find(clusterID)
	if c == nil {
		return authn.Provider{}, false
	}
	for _, p := range eks.IdentityProviders.ListPrefix(r.store, c.Scope, eks.ClusterPrefix(*c.Resource.Name)) {
		if o := p.Resource; o.Status == ekstypes.ConfigStatusActive {
			return authn.Provider{
				IssuerURL: aws.ToString(o.IssuerUrl), ClientID: aws.ToString(o.ClientId), RequiredClaims: o.RequiredClaims,
				UsernameClaim: aws.ToString(o.UsernameClaim), UsernamePrefix: aws.ToString(o.UsernamePrefix),
				GroupsClaim: aws.ToString(o.GroupsClaim), GroupsPrefix: aws.ToString(o.GroupsPrefix),
			}, true
		}
	}
	return authn.Provider{}, false
}

// SigningKey implements oidc.Keys.
func (r records) SigningKey(_ context.Context, id string) ([]byte, bool) {
	c := r.find(id)
	if c == nil || len(c.SAKey) == 0 {
		return nil, false
	}
	return c.SAKey, true
}

// principals finds for EKS and KMS who an ARN belongs to.
type principals struct{ iam *iam.Service }

// Principal implements eks.IAM.
func (p principals) Principal(ctx context.Context, arn string) (eks.Principal, bool) {
	a, err := awsid.ParseARN(arn)
	if err != nil || a.Service != "iam" {
		return eks.Principal{}, false
	}
	kind, name, _ := strings.Cut(a.Resource, "/")
	switch kind {
	case "root":
		return eks.Principal{ARN: arn, ID: a.Account}, true
	case "user":
		id, ok := p.iam.UserByARN(ctx, a.Scope(), arn)
		return eks.Principal{ARN: arn, ID: id}, ok
	case "role":
		r, ok := p.iam.Role(ctx, a.Scope(), name[strings.LastIndex(name, "/")+1:])
		// STS and aws-auth know roles without their path; with one it must be right.
		if !ok || (strings.Contains(name, "/") && r.ARN != arn) {
			return eks.Principal{}, false
		}
		return eks.Principal{ARN: r.ARN, ID: r.ID, TrustsService: func(service string) bool {
			return policy.TrustsService(r.Trust, service)
		}}, true
	}
	return eks.Principal{}, false
}

// PrincipalExists implements kms.Principals.
func (p principals) PrincipalExists(ctx context.Context, arn string) bool {
	canonical, err := authn.CanonicalARN(arn)
	if err != nil {
		return false
	}
	if a, err := awsid.ParseARN(canonical); err != nil || a.Service == "sts" {
		return err == nil // federated users have no record
	}
	if a, err := awsid.ParseARN(arn); err == nil && a.Service == "iam" {
		canonical = arn // with its path
	}
	_, ok := p.Principal(ctx, canonical)
	return ok
}
