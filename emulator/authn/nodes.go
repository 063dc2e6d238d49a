package authn

import (
	"context"
	"slices"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// MayJoin tells whether instances with a role join a cluster as nodes: the role
// must be mapped to system:nodes, as for any kubelet. The username is not asked
// for: it is made from the instance.
func (a *Authenticator) MayJoin(ctx context.Context, clusterID, roleARN string) bool {
	c, ok := a.Clusters.Cluster(ctx, clusterID)
	if !ok {
		return false
	}
	canonical, err := CanonicalARN(roleARN)
	if err != nil {
		return false
	}
	if c.AuthenticationMode != ModeConfigMap {
		if e, ok := a.Entries.AccessEntry(ctx, c.Scope, c.Name, canonical); ok {
			_, groups := entryDefaults(e.Type, principal{Canonical: canonical})
			return slices.Contains(append(groups, e.Groups...), "system:nodes")
		}
	}
	if c.AuthenticationMode == ModeAPI {
		return false
	}
	role, err := awsid.ParseARN(canonical)
	if err != nil {
		return false
	}
	m, ok := a.mapByConfigMap(ctx, a.Log, clusterID, principal{Canonical: canonical, Account: role.Account})
	return ok && slices.Contains(m.groups, "system:nodes")
}
