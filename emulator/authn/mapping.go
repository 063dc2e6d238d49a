package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// mapping is who a principal is inside the cluster.
type mapping struct {
	username string
	groups   []string
	source   string // for the log: what mapped it
}

var errUnmapped = errors.New("ARN is not mapped: the principal has no access entry, and aws-auth does not know it")

// mapPrincipal asks the sources of the cluster's authentication mode in order.
func (a *Authenticator) mapPrincipal(ctx context.Context, log *slog.Logger, clusterID string, c Cluster, p principal) (mapping, error) {
	if c.AuthenticationMode == ModeConfigMap {
		if creator, err := CanonicalARN(c.CreatorARN); c.CreatorIsAdmin && err == nil && creator == p.Canonical {
			return mapping{username: "kubernetes-admin", groups: []string{"system:masters"}, source: "cluster creator"}, nil
		}
	} else if m, ok, err := a.mapByEntry(ctx, c, p); ok || err != nil {
		return m, err
	}
	if c.AuthenticationMode == ModeAPI {
		return mapping{}, errors.New("ARN is not mapped: the principal has no access entry (authentication mode API)")
	}
	m, ok := a.mapByConfigMap(ctx, log, clusterID, p)
	if !ok {
		return mapping{}, errUnmapped
	}
	return a.render(ctx, c, p, m)
}

func (a *Authenticator) mapByEntry(ctx context.Context, c Cluster, p principal) (mapping, bool, error) {
	e, ok := a.Entries.AccessEntry(ctx, c.Scope, c.Name, p.Canonical)
	if !ok {
		return mapping{}, false, nil
	}
	if e.PrincipalID != "" && e.PrincipalID != p.ID {
		return mapping{}, false, fmt.Errorf("the access entry is for %s with the id %s, which was deleted; this one has the id %s: delete and create the entry", e.PrincipalARN, e.PrincipalID, p.ID)
	}
	m := mapping{username: e.Username, groups: e.Groups, source: "access entry"}
	username, groups := entryDefaults(e.Type, p)
	if m.username == "" {
		m.username = username
	}
	if len(m.groups) == 0 {
		m.groups = groups
	}
	m, err := a.render(ctx, c, p, m)
	return m, err == nil, err
}

// entryDefaults is what EKS fills in for the type of an entry.
func entryDefaults(entryType string, p principal) (username string, groups []string) {
	switch entryType {
	case "EC2_LINUX":
		return "system:node:{{EC2PrivateDNSName}}", []string{"system:nodes"}
	case "EC2_WINDOWS":
		return "system:node:{{EC2PrivateDNSName}}", []string{"system:nodes", "eks:kube-proxy-windows"}
	case "FARGATE_LINUX":
		return "system:node:{{SessionName}}", []string{"system:bootstrappers", "system:nodes", "system:node-proxier"}
	case "EC2", "HYBRID_LINUX":
		return "system:node:{{SessionName}}", []string{"system:nodes"}
	}
	a, err := awsid.ParseARN(p.Canonical)
	if role, ok := strings.CutPrefix(a.Resource, "role/"); ok && err == nil && a.Service == "iam" && a.Account == p.Account {
		return a.Scope().ARN("sts", "assumed-role/"+role+"/{{SessionName}}"), nil
	}
	return p.Canonical, nil
}

func (a *Authenticator) mapByConfigMap(ctx context.Context, log *slog.Logger, clusterID string, p principal) (mapping, bool) {
	if a.ConfigMaps == nil {
		return mapping{}, false
	}
	data, ok := a.ConfigMaps.AWSAuth(ctx, clusterID)
	if !ok {
		return mapping{}, false
	}
	auth, errs := parseAWSAuth(data)
	for _, err := range errs {
		log.Warn("kube-system/aws-auth", "error", err.Error())
	}
	return auth.find(p)
}

// instanceSession is the session name of credentials from an instance profile.
var instanceSession = regexp.MustCompile(`^i-(\w{8}|\w{17})$`)

// render fills the templates of a mapping.
func (a *Authenticator) render(ctx context.Context, c Cluster, p principal, m mapping) (mapping, error) {
	values := []string{
		"{{AccountID}}", p.Account,
		"{{SessionName}}", strings.ReplaceAll(p.Session, "@", "-"),
		"{{SessionNameRaw}}", p.Session,
		"{{AccessKeyID}}", p.AccessKeyID,
	}
	const dns = "{{EC2PrivateDNSName}}"
	if strings.Contains(m.username, dns) || slices.ContainsFunc(m.groups, func(g string) bool { return strings.Contains(g, dns) }) {
		if !instanceSession.MatchString(p.Session) {
			return mapping{}, fmt.Errorf("%s needs a session named after an EC2 instance, not %q", dns, p.Session)
		}
		var name string
		var ok bool
		if a.Instances != nil {
			name, ok = a.Instances.PrivateDNSName(ctx, c.Scope, p.Session)
		}
		if !ok {
			return mapping{}, fmt.Errorf("instance %s has no private DNS name", p.Session)
		}
		values = append(values, dns, name)
	}
	r := strings.NewReplacer(values...)
	out := mapping{username: r.Replace(m.username), source: m.source}
	for _, g := range m.groups {
		out.groups = append(out.groups, r.Replace(g))
	}
	return out, nil
}
