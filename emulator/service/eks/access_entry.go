package eks

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
)

// The types of access entries.
const (
	EntryStandard     = "STANDARD"
	EntryEC2Linux     = "EC2_LINUX"
	EntryEC2Windows   = "EC2_WINDOWS"
	EntryFargateLinux = "FARGATE_LINUX"
	EntryEC2          = "EC2" // nodes of EKS Auto Mode
	EntryHybridLinux  = "HYBRID_LINUX"
	EntryHyperPod     = "HYPERPOD_LINUX"
)

// nodeEntries maps the types that EKS gives username and groups to what it gives.
var nodeEntries = map[string]struct {
	username string
	groups   []string
}{
	EntryEC2Linux:     {"system:node:{{EC2PrivateDNSName}}", []string{"system:nodes"}},
	EntryEC2Windows:   {"system:node:{{EC2PrivateDNSName}}", []string{"system:nodes", "eks:kube-proxy-windows"}},
	EntryFargateLinux: {"system:node:{{SessionName}}", []string{"system:bootstrappers", "system:nodes", "system:node-proxier"}},
	EntryEC2:          {"system:node:{{SessionName}}", []string{"system:nodes"}},
	EntryHybridLinux:  {"system:node:{{SessionName}}", []string{"system:nodes"}},
	EntryHyperPod:     {"system:node:{{SessionName}}", []string{"system:nodes"}},
}

// reservedPrefixes begin names that only Kubernetes and AWS hand out.
var reservedPrefixes = []string{"system:", "eks:", "aws:", "amazon:", "iam:"}

const maxGroups = 5

// UsesAccessEntries tells whether access entries count in the cluster.
func UsesAccessEntries(c *Cluster) bool {
	a := c.Resource.AccessConfig
	return a != nil && a.AuthenticationMode != ekstypes.AuthenticationModeConfigMap
}

// newEntry makes an entry of a principal with the defaults of its type.
func newEntry(c *Cluster, p Principal, entryType string, now *time.Time) *AccessEntry {
	e := &AccessEntry{Scope: c.Scope, PrincipalID: p.ID, Resource: ekstypes.AccessEntry{
		AccessEntryArn: aws.String(c.Scope.ARN("eks", entryARNPath(*c.Resource.Name, p.ARN)+"/"+awsid.NewUUID())),
		ClusterName:    c.Resource.Name, PrincipalArn: aws.String(p.ARN), Type: aws.String(entryType),
		CreatedAt: now, ModifiedAt: now, Tags: map[string]string{}, KubernetesGroups: []string{},
	}}
	if n, ok := nodeEntries[entryType]; ok {
		e.Resource.Username, e.Resource.KubernetesGroups = aws.String(n.username), slices.Clone(n.groups)
		return e
	}
	e.Resource.Username = aws.String(defaultUsername(p.ARN))
	return e
}

// entryARNPath is access-entry/<cluster>/<role|user|root>/<account>/<name>.
func entryARNPath(cluster, principal string) string {
	p, err := awsid.ParseARN(principal)
	if err != nil {
		return "access-entry/" + cluster
	}
	kind, name, _ := strings.Cut(p.Resource, "/")
	path := "access-entry/" + cluster + "/" + kind + "/" + p.Account
	if name != "" {
		path += "/" + name[strings.LastIndexByte(name, '/')+1:]
	}
	return path
}

// defaultUsername is a standard entry's user name: users keep their ARN, roles
// get their session's.
func defaultUsername(principal string) string {
	p, err := awsid.ParseARN(principal)
	if err != nil || !strings.HasPrefix(p.Resource, "role/") {
		return principal
	}
	return p.Scope().ARN("sts", "assumed-role/"+RoleName(principal)+"/{{SessionName}}")
}

// EnsureNodeEntry writes the access entry through which a node role's instances
// join a cluster that uses access entries, unless the role has an entry already.
// entryType is NodeEntryType's or EntryFargateLinux.
func EnsureNodeEntry(tx *store.Tx, c *Cluster, role Principal, entryType string, now time.Time) {
	id := ChildID(*c.Resource.Name, role.ARN)
	if !UsesAccessEntries(c) || AccessEntries.Get(tx, c.Scope, id) != nil {
		return
	}
	AccessEntries.Put(tx, c.Scope, id, newEntry(c, role, entryType, &now))
}

// putAdminEntry makes the cluster's creator an admin by access entry.
func (s *Service) putAdminEntry(tx *store.Tx, c *Cluster) {
	e := newEntry(c, Principal{ARN: c.CreatorARN, ID: c.CreatorID}, EntryStandard, s.now())
	e.Policies = []ekstypes.AssociatedAccessPolicy{{
		PolicyArn: aws.String(accesspolicies.ARN(c.Scope.Partition(), accesspolicies.ClusterAdmin)), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster, Namespaces: []string{}},
		AssociatedAt: e.Resource.CreatedAt, ModifiedAt: e.Resource.CreatedAt,
	}}
	AccessEntries.Put(tx, c.Scope, ChildID(*c.Resource.Name, c.CreatorARN), e)
}

// migrateToAccessEntries makes the entries that EKS makes by itself when a
// cluster leaves mode CONFIG_MAP: the creator's, if it was made an admin, and
// those of the node roles.
func (s *Service) migrateToAccessEntries(tx *store.Tx, c *Cluster) {
	if c.CreatorIsAdmin {
		s.putAdminEntry(tx, c)
		c.CreatorIsAdmin = false
	}
	for _, n := range Nodegroups.ListPrefix(tx, c.Scope, ClusterPrefix(*c.Resource.Name)) {
		role := Principal{ARN: *n.Resource.NodeRole, ID: n.NodeRoleID}
		EnsureNodeEntry(tx, c, role, NodeEntryType(n.Resource.AmiType), *s.now())
	}
	for _, p := range FargateProfiles.ListPrefix(tx, c.Scope, ClusterPrefix(*c.Resource.Name)) {
		EnsureNodeEntry(tx, c, Principal{ARN: *p.Resource.PodExecutionRoleArn, ID: p.RoleID}, EntryFargateLinux, *s.now())
	}
}

// NodeEntryType is the type of the access entry of a managed node group's role.
func NodeEntryType(t ekstypes.AMITypes) string {
	if strings.HasPrefix(string(t), "WINDOWS") {
		return EntryEC2Windows
	}
	return EntryEC2Linux
}

// accessCluster returns a cluster whose access entries may be used.
func accessCluster(r store.Reader, scope awsid.Scope, name *string) (*Cluster, error) {
	c, err := readCluster(r, scope, aws.ToString(name))
	if err != nil {
		return nil, err
	}
	if !UsesAccessEntries(c) {
		return nil, about{cluster: *c.Resource.Name}.invalidRequest(
			"The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.")
	}
	return c, nil
}

func noEntry(a about) error {
	return a.notFound("The specified principalArn could not be found. You can view your available access entries with 'list-access-entries'.")
}

func readEntry(r store.Reader, scope awsid.Scope, cluster, principal *string) (*AccessEntry, error) {
	c, err := accessCluster(r, scope, cluster)
	if err != nil {
		return nil, err
	}
	e := AccessEntries.Get(r, scope, ChildID(*c.Resource.Name, aws.ToString(principal)))
	if e == nil {
		return nil, noEntry(about{cluster: *c.Resource.Name})
	}
	return e, nil
}

// CreateAccessEntry implements eks:CreateAccessEntry.
func (s *Service) CreateAccessEntry(ctx context.Context, in *eks.CreateAccessEntryInput, _ ...func(*eks.Options)) (*eks.CreateAccessEntryOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	if _, err := accessCluster(s.store, scope, in.ClusterName); err != nil {
		return nil, err
	}
	principal, err := s.entryPrincipal(ctx, a, aws.ToString(in.PrincipalArn))
	if err != nil {
		return nil, err
	}
	entryType := aws.ToString(in.Type)
	if entryType == "" {
		entryType = EntryStandard
	}
	if err := checkEntry(a, scope, principal.ARN, entryType, in.Username, in.KubernetesGroups); err != nil {
		return nil, err
	}
	var e *AccessEntry
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		c, err := accessCluster(tx, scope, in.ClusterName)
		if err != nil {
			return err
		}
		id := ChildID(a.cluster, principal.ARN)
		if e = AccessEntries.Get(tx, scope, id); e != nil {
			if same, err := req.repeats(a, e.Request); err != nil || same {
				return err
			}
			return a.inUse("The specified access entry resource is already in use on this cluster.")
		}
		e = newEntry(c, principal, entryType, s.now())
		e.Request = req
		e.Resource.Tags = nonNil(in.Tags)
		if len(in.KubernetesGroups) > 0 {
			e.Resource.KubernetesGroups = in.KubernetesGroups
		}
		if u := aws.ToString(in.Username); u != "" {
			e.Resource.Username = &u
		}
		AccessEntries.Put(tx, scope, id, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.CreateAccessEntryOutput{AccessEntry: &e.Resource}, nil
}

// entryPrincipal checks who an entry is for. Principals of accounts that IAM does
// not know cannot be looked up and are taken as they are.
func (s *Service) entryPrincipal(ctx context.Context, a about, arn string) (Principal, error) {
	p, err := awsid.ParseARN(arn)
	valid := err == nil && p.Service == "iam" && p.Partition == awsid.CallerFrom(ctx).Partition() && p.Region == "" && len(p.Account) == 12 &&
		(p.Resource == "root" || strings.HasPrefix(p.Resource, "role/") || strings.HasPrefix(p.Resource, "user/"))
	if !valid {
		return Principal{}, a.invalidParameter("The principalArn parameter format is not valid")
	}
	if strings.HasPrefix(p.Resource, "role/aws-service-role/") {
		return Principal{}, a.invalidParameter("The specified principalArn is invalid: access entries cannot be created for service-linked roles.")
	}
	found, ok := s.iam.Principal(ctx, arn)
	switch {
	case ok && found.ARN == arn:
		return found, nil
	case p.SameAccount(awsid.CallerFrom(ctx).Scope):
		return Principal{}, a.invalidParameter("The specified principalArn is invalid: invalid principal.")
	}
	return Principal{ARN: arn}, nil
}

// checkEntry holds an entry in a scope's cluster to what its type allows.
func checkEntry(a about, scope awsid.Scope, principal, entryType string, username *string, groups []string) error {
	if _, node := nodeEntries[entryType]; node {
		if !strings.Contains(principal, ":role/") {
			return a.invalidParameter("The principalArn of an access entry of type %s must be an IAM role.", entryType)
		}
		if p, err := awsid.ParseARN(principal); err != nil || !p.SameAccount(scope) {
			return a.invalidParameter("The principalArn of an access entry of type %s must be in the account of the cluster.", entryType)
		}
		if aws.ToString(username) != "" || len(groups) > 0 {
			return a.invalidParameter("The username and kubernetesGroups cannot be specified for an access entry of type %s.", entryType)
		}
		return nil
	}
	if entryType != EntryStandard {
		types := append([]string{EntryStandard}, slices.Sorted(maps.Keys(nodeEntries))...)
		return a.invalidParameter("The specified type %s is invalid: it must be one of %s.", entryType, enumerate(types))
	}
	return checkEntryNames(a, aws.ToString(username), groups)
}

func checkEntryNames(a about, username string, groups []string) error {
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(username, p) {
			return a.invalidParameter("The username %s is invalid, it cannot start with %s", username, p)
		}
		for _, g := range groups {
			if strings.HasPrefix(g, p) {
				return a.invalidParameter("The kubernetes group name %s is invalid, it cannot start with %s", g, p)
			}
		}
	}
	if len(groups) > maxGroups {
		return a.invalidParameter("kubernetesGroups can have at most %d items.", maxGroups)
	}
	if slices.Contains(groups, "") {
		return a.invalidParameter("A kubernetes group name cannot be empty")
	}
	if session := strings.Index(username, "{{SessionName"); session >= 0 && !strings.Contains(username[:session], ":") {
		return a.invalidParameter("The username %s is invalid, {{SessionName}} must come after a colon", username)
	}
	return nil
}

// DescribeAccessEntry implements eks:DescribeAccessEntry.
func (s *Service) DescribeAccessEntry(ctx context.Context, in *eks.DescribeAccessEntryInput, _ ...func(*eks.Options)) (*eks.DescribeAccessEntryOutput, error) {
	e, err := readEntry(s.store, awsid.CallerFrom(ctx).Scope, in.ClusterName, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	r := e.Resource
	return &eks.DescribeAccessEntryOutput{AccessEntry: &r}, nil
}

// ListAccessEntries implements eks:ListAccessEntries.
func (s *Service) ListAccessEntries(ctx context.Context, in *eks.ListAccessEntriesInput, _ ...func(*eks.Options)) (*eks.ListAccessEntriesOutput, error) {
	scope := awsid.CallerFrom(ctx).Scope
	c, err := accessCluster(s.store, scope, in.ClusterName)
	if err != nil {
		return nil, err
	}
	policy := aws.ToString(in.AssociatedPolicyArn)
	arns := []string{}
	for _, e := range AccessEntries.ListPrefix(s.store, scope, ClusterPrefix(*c.Resource.Name)) {
		if policy == "" || slices.ContainsFunc(e.Policies, hasPolicyARN(policy)) {
			arns = append(arns, *e.Resource.PrincipalArn)
		}
	}
	arns, next, err := page("ListAccessEntries", arns, itself, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListAccessEntriesOutput{AccessEntries: arns, NextToken: next}, nil
}

// editEntry changes an access entry in one transaction.
func (s *Service) editEntry(ctx context.Context, cluster, principal *string, f func(e *AccessEntry) error) (*AccessEntry, error) {
	scope := awsid.CallerFrom(ctx).Scope
	var e *AccessEntry
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readEntry(tx, scope, cluster, principal); err != nil {
			return err
		}
		id := ChildID(aws.ToString(cluster), aws.ToString(principal))
		e = AccessEntries.Edit(tx, scope, id)
		if err := f(e); err != nil {
			return err
		}
		e.Resource.ModifiedAt = s.now()
		AccessEntries.Put(tx, scope, id, e)
		return nil
	})
	return e, err
}

// UpdateAccessEntry implements eks:UpdateAccessEntry. Groups are replaced only if
// they are in the request: no groups and an empty list are not the same.
func (s *Service) UpdateAccessEntry(ctx context.Context, in *eks.UpdateAccessEntryInput, _ ...func(*eks.Options)) (*eks.UpdateAccessEntryOutput, error) {
	e, err := s.editEntry(ctx, in.ClusterName, in.PrincipalArn, func(e *AccessEntry) error {
		a := about{cluster: *in.ClusterName}
		if err := checkEntry(a, e.Scope, *e.Resource.PrincipalArn, *e.Resource.Type, in.Username, in.KubernetesGroups); err != nil {
			return err
		}
		if in.KubernetesGroups != nil {
			e.Resource.KubernetesGroups = in.KubernetesGroups
		}
		if u := aws.ToString(in.Username); u != "" {
			e.Resource.Username = &u
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.UpdateAccessEntryOutput{AccessEntry: &e.Resource}, nil
}

// DeleteAccessEntry implements eks:DeleteAccessEntry.
func (s *Service) DeleteAccessEntry(ctx context.Context, in *eks.DeleteAccessEntryInput, _ ...func(*eks.Options)) (*eks.DeleteAccessEntryOutput, error) {
	scope := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		e, err := readEntry(tx, scope, in.ClusterName, in.PrincipalArn)
		if err != nil {
			return err
		}
		AccessEntries.Delete(tx, scope, ChildID(*e.Resource.ClusterName, *e.Resource.PrincipalArn))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.DeleteAccessEntryOutput{}, nil
}
