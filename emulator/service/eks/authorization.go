package eks

import (
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// FullARN finds what belongs to a cluster by all of its ARN but the id at the end,
// nodegroup/dev/ng/*: requests do not have that id. A capability's type is a star too.
func (s *Service) FullARN(sc awsid.Scope, resource string) string {
	known, ok := strings.CutSuffix(resource, "*")
	if !ok {
		return ""
	}
	kind, rest, _ := strings.Cut(known, "/")
	cluster, child, _ := strings.Cut(rest, "/")
	name, _, _ := strings.Cut(child, "/")
	switch kind {
	case "nodegroup":
		return arnOf(Nodegroups, s.store, sc, ChildID(cluster, name), func(n *Nodegroup) *string { return n.Resource.NodegroupArn })
	case "addon":
		return arnOf(Addons, s.store, sc, ChildID(cluster, name), func(a *Addon) *string { return a.Resource.AddonArn })
	case "fargateprofile":
		return arnOf(FargateProfiles, s.store, sc, ChildID(cluster, name), func(p *FargateProfile) *string { return p.Resource.FargateProfileArn })
	case "capability": // capability/<cluster>/*/<name>/
		name = strings.TrimSuffix(strings.TrimPrefix(child, "*/"), "/")
		return arnOf(Capabilities, s.store, sc, ChildID(cluster, name), func(c *Capability) *string { return c.Resource.Arn })
	case "identityproviderconfig": // identityproviderconfig/<cluster>/oidc/<name>/
		name = strings.TrimSuffix(strings.TrimPrefix(child, oidcType+"/"), "/")
		return arnOf(IdentityProviders, s.store, sc, ChildID(cluster, name), func(p *IdentityProvider) *string { return p.Resource.IdentityProviderConfigArn })
	case "access-entry":
		if e := s.entryWith(sc, cluster, func(arn string) bool { return strings.HasPrefix(arn, sc.ARN("eks", known)) }); e != nil {
			return *e.Resource.AccessEntryArn
		}
	}
	return ""
}

func arnOf[T any](t store.Table[T], r store.Reader, sc awsid.Scope, id string, of func(*T) *string) string {
	if rec := t.Get(r, sc, id); rec != nil {
		return aws.ToString(of(rec))
	}
	return ""
}

// entryWith finds a cluster's access entry by its ARN, which does not hold the path of
// the principal that it is stored under.
func (s *Service) entryWith(sc awsid.Scope, cluster string, is func(arn string) bool) *AccessEntry {
	for _, e := range AccessEntries.ListPrefix(s.store, sc, ClusterPrefix(cluster)) {
		if is(aws.ToString(e.Resource.AccessEntryArn)) {
			return e
		}
	}
	return nil
}

// PolicyResource tells policies the tags of a resource, and of an access entry whose
// it is ("Actions, resources, and condition keys for Amazon EKS", resource types).
func (s *Service) PolicyResource(a awsid.ARN) (policy.Resource, bool) {
	var out policy.Resource
	err := changeTags(s.store, nil, a.Scope(), a.String(), func(tags map[string]string) { out.Tags = maps.Clone(tags) })
	if err != nil {
		return out, false
	}
	if rest, ok := strings.CutPrefix(a.Resource, "access-entry/"); ok {
		cluster, _, _ := strings.Cut(rest, "/")
		if e := s.entryWith(a.Scope(), cluster, func(arn string) bool { return arn == a.String() }); e != nil {
			out.Keys = map[string][]string{
				"eks:clustername": {cluster}, "eks:principalarn": {aws.ToString(e.Resource.PrincipalArn)},
				"eks:accessentrytype": {aws.ToString(e.Resource.Type)}, "eks:username": {aws.ToString(e.Resource.Username)},
			}
			if len(e.Resource.KubernetesGroups) > 0 {
				out.Keys["eks:kubernetesgroups"] = e.Resource.KubernetesGroups
			}
		}
	}
	return out, true
}
