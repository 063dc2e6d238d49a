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

var (
	errUnmapped = errors.New("ARN is not mapped: the principal has no access entry, and aws-auth does not know it")
	errNoEntry  = errors.New("ARN is not mapped: the principal has no access entry (authentication mode API)")
)

// mapPrincipal asks the sources of the cluster's authentication mode in order.
func (a *Authenticator) mapPrincipal(ctx context.Context, log *slog.Logger, clusterID string, c Cluster, p principal) (mapping, error) {
	unmapped := errUnmapped
	if c.AuthenticationMode == ModeConfigMap {
		if creator, err := CanonicalARN(c.CreatorARN); c.CreatorIsAdmin && err == nil && creator == p.Canonical {
			return mapping{username: "kubernetes-admin", groups: []string{"system:masters"}, source: "cluster creator"}, nil
		}
	} else {
		e, ok := a.Entries.AccessEntry(ctx, c.Scope, c.Name, p.Canonical)
		switch {
		case ok && e.madeFor(p.ID):
			m, err := a.render(ctx, c, p, e.mapping(p))
			return m, inMapper("DynamicFile", err)
		case ok: // to EKS as if there were no entry: it finds them by the principal's id
			unmapped = fmt.Errorf("ARN is not mapped: the access entry is for %s with the id %s, which was deleted; this one has the id %s: delete and create the entry", e.PrincipalARN, e.PrincipalID, p.ID)
		case c.AuthenticationMode == ModeAPI:
			unmapped = errNoEntry
		}
	}
	if c.AuthenticationMode == ModeAPI {
		return mapping{}, unmapped
	}
	m, ok := a.mapByConfigMap(ctx, log, clusterID, p)
	if !ok {
		return mapping{}, unmapped
	}
	m, err := a.render(ctx, c, p, m)
	return m, inMapper("EKSConfigMap", err)
}

// inMapper says which of aws-iam-authenticator's mappers failed, in its words.
func inMapper(mapper string, err error) error {
	if err != nil {
		return fmt.Errorf("mapper %s renderTemplates error: %w", mapper, err)
	}
	return nil
}

// madeFor tells whether the entry is for the principal with this unique id.
func (e Entry) madeFor(id string) bool { return e.PrincipalID == "" || e.PrincipalID == id }

// mapping is whom the entry makes of p.
func (e Entry) mapping(p principal) mapping {
	m := mapping{username: e.Username, groups: e.Groups, source: "access entry"}
	username, groups := entryDefaults(e.Type, p)
	if m.username == "" {
		m.username = username
	}
	if len(m.groups) == 0 {
		m.groups = groups
	}
	return m
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
	case "EC2", "HYBRID_LINUX", "HYPERPOD_LINUX":
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

const privateDNSName = "{{EC2PrivateDNSName}}"

// render fills the templates of a mapping.
func (a *Authenticator) render(ctx context.Context, c Cluster, p principal, m mapping) (mapping, error) {
	if !strings.Contains(m.username, "{{") && !slices.ContainsFunc(m.groups, func(g string) bool { return strings.Contains(g, "{{") }) {
		return m, nil
	}
	values := []string{
		"{{AccountID}}", p.Account,
		"{{SessionName}}", strings.ReplaceAll(p.Session, "@", "-"),
		"{{SessionNameRaw}}", p.Session,
		"{{AccessKeyID}}", p.AccessKeyID,
	}
	what, template := "username", m.username
	if i := slices.IndexFunc(m.groups, func(g string) bool { return strings.Contains(g, privateDNSName) }); !strings.Contains(template, privateDNSName) && i >= 0 {
		what, template = "group", m.groups[i]
	}
	if strings.Contains(template, privateDNSName) {
		name, err := a.nodeName(ctx, c, p.Session)
		if err != nil {
			return mapping{}, fmt.Errorf("error rendering %s template %q: %w", what, template, err)
		}
		values = append(values, privateDNSName, name)
	}
	r := strings.NewReplacer(values...)
	out := mapping{username: r.Replace(m.username), source: m.source}
	for _, g := range m.groups {
		out.groups = append(out.groups, r.Replace(g))
	}
	return out, nil
}

// nodeName is the name that instances' nodes have; EC2 gives the session of an
// instance's credentials the instance's id.
func (a *Authenticator) nodeName(ctx context.Context, c Cluster, session string) (string, error) {
	if !instanceSession.MatchString(session) {
		return "", fmt.Errorf("SessionName did not contain an instance id: %q", session)
	}
	if a.Instances != nil {
		if name, ok := a.Instances.PrivateDNSName(ctx, c.Scope, session); ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("instance %s has no private DNS name", session)
}
