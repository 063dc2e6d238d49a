package eks

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
)

// capabilityService must be able to assume a capability's role ("Amazon EKS
// capability IAM role" in the EKS User Guide).
const capabilityService = "capabilities.eks.amazonaws.com"

// capabilityPolicies are the access policies of the entry that a capability's role
// gets by itself.
var capabilityPolicies = map[ekstypes.CapabilityType][]string{
	ekstypes.CapabilityTypeAck:    {"AmazonEKSACKPolicy"},
	ekstypes.CapabilityTypeArgocd: {"AmazonEKSArgoCDPolicy", "AmazonEKSArgoCDClusterPolicy"},
	ekstypes.CapabilityTypeKro:    {"AmazonEKSKROPolicy"},
}

// readCapability returns a capability of a cluster that exists.
func readCapability(r store.Reader, scope awsid.Scope, cluster, name *string) (*Capability, error) {
	a := about{cluster: aws.ToString(cluster)}
	if _, err := readCluster(r, scope, a.cluster); err != nil {
		return nil, err
	}
	if c := Capabilities.Get(r, scope, ChildID(a.cluster, aws.ToString(name))); c != nil {
		return c, nil
	}
	return nil, a.notFound("No capability found with name: %s in cluster: %s", aws.ToString(name), a.cluster)
}

// CreateCapability implements eks:CreateCapability.
func (s *Service) CreateCapability(ctx context.Context, in *eks.CreateCapabilityInput, _ ...func(*eks.Options)) (*eks.CreateCapabilityOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	if _, err := readRunningCluster(s.store, scope, a); err != nil {
		return nil, err
	}
	role, err := s.checkCapability(ctx, a, in)
	if err != nil {
		return nil, err
	}
	var c *Capability
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		cluster, err := readRunningCluster(tx, scope, a)
		if err != nil {
			return err
		}
		if !UsesAccessEntries(cluster) {
			return a.invalidRequest("The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.")
		}
		if c, err = earlierCapability(tx, scope, a, in, req); err != nil || c != nil {
			return err
		}
		c = s.newCapability(scope, in)
		c.Request = req
		s.putCapabilityEntry(tx, cluster, role, in.Type)
		Capabilities.Put(tx, scope, ChildID(a.cluster, *in.CapabilityName), c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := c.Resource
	return &eks.CreateCapabilityOutput{Capability: &r}, nil
}

// checkCapability validates what does not depend on the cluster and returns the
// capability's role.
func (s *Service) checkCapability(ctx context.Context, a about, in *eks.CreateCapabilityInput) (Principal, error) {
	name := aws.ToString(in.CapabilityName)
	switch {
	case !namePattern.MatchString(name) || len(name) > maxClusterName:
		return Principal{}, a.invalidParameter("The capability name can contain only alphanumeric characters, hyphens and underscores, must begin with an alphanumeric character and can't be longer than %d characters.", maxClusterName)
	case !slices.Contains(in.Type.Values(), in.Type):
		return Principal{}, a.invalidParameter("Unsupported capability type %s", in.Type)
	case !slices.Contains(in.DeletePropagationPolicy.Values(), in.DeletePropagationPolicy):
		return Principal{}, a.invalidParameter("Unsupported deletePropagationPolicy %s", in.DeletePropagationPolicy)
	}
	if err := checkTags(in.Tags); err != nil {
		return Principal{}, err
	}
	if err := checkCapabilityConfiguration(a, in); err != nil {
		return Principal{}, err
	}
	return s.capabilityRole(ctx, a, aws.ToString(in.RoleArn))
}

func (s *Service) capabilityRole(ctx context.Context, a about, arn string) (Principal, error) {
	p, err := s.checkRole(ctx, a, arn)
	if err != nil {
		return p, err
	}
	if !trusts(p, capabilityService) {
		return p, a.invalidParameter("The role %s does not exist or does not trust %s", arn, capabilityService)
	}
	return p, nil
}

// earlierCapability returns the capability that an earlier, equal call made. A
// cluster has each name and each type once.
func earlierCapability(r store.Reader, scope awsid.Scope, a about, in *eks.CreateCapabilityInput, req Request) (*Capability, error) {
	for _, c := range Capabilities.ListPrefix(r, scope, ClusterPrefix(a.cluster)) {
		switch {
		case *c.Resource.CapabilityName == *in.CapabilityName && c.Request == req:
			return c, nil
		case *c.Resource.CapabilityName == *in.CapabilityName:
			return nil, a.inUse("Capability already exists with name %s and cluster name %s", *in.CapabilityName, a.cluster)
		case c.Resource.Type == in.Type:
			return nil, a.inUse("A capability of type %s already exists in cluster %s: %s", in.Type, a.cluster, *c.Resource.CapabilityName)
		}
	}
	return nil, nil
}

// newCapability leaves out what only running software would have: its version and
// Argo CD's URL.
func (s *Service) newCapability(scope awsid.Scope, in *eks.CreateCapabilityInput) *Capability {
	now, id := s.now(), awsid.NewUUID()
	c := &Capability{Scope: scope, ID: id, Generation: 1, Resource: ekstypes.Capability{
		CapabilityName: in.CapabilityName, ClusterName: in.ClusterName, Type: in.Type, RoleArn: in.RoleArn, Status: ekstypes.CapabilityStatusCreating,
		Arn:       aws.String(scope.ARN("eks", strings.Join([]string{"capability", *in.ClusterName, strings.ToLower(string(in.Type)), *in.CapabilityName, id}, "/"))),
		CreatedAt: now, ModifiedAt: now, DeletePropagationPolicy: in.DeletePropagationPolicy, Tags: nonNil(in.Tags),
		Health: &ekstypes.CapabilityHealth{Issues: []ekstypes.CapabilityIssue{}}, Configuration: capabilityConfiguration(scope, in),
	}}
	return c
}

// putCapabilityEntry maps the capability's role into the cluster, unless it is.
func (s *Service) putCapabilityEntry(tx *store.Tx, c *Cluster, role Principal, t ekstypes.CapabilityType) {
	id := ChildID(*c.Resource.Name, role.ARN)
	e := AccessEntries.Edit(tx, c.Scope, id)
	if e == nil {
		e = newEntry(c, role, EntryStandard, s.now())
	}
	for _, name := range capabilityPolicies[t] {
		arn := accesspolicies.ARN(c.Scope.Partition(), name)
		if slices.ContainsFunc(e.Policies, func(p ekstypes.AssociatedAccessPolicy) bool { return *p.PolicyArn == arn }) {
			continue
		}
		e.Policies = append(e.Policies, ekstypes.AssociatedAccessPolicy{
			PolicyArn: &arn, AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster, Namespaces: []string{}},
			AssociatedAt: s.now(), ModifiedAt: s.now(),
		})
	}
	slices.SortFunc(e.Policies, func(a, b ekstypes.AssociatedAccessPolicy) int { return strings.Compare(*a.PolicyArn, *b.PolicyArn) })
	AccessEntries.Put(tx, c.Scope, id, e)
}

// DescribeCapability implements eks:DescribeCapability.
func (s *Service) DescribeCapability(ctx context.Context, in *eks.DescribeCapabilityInput, _ ...func(*eks.Options)) (*eks.DescribeCapabilityOutput, error) {
	c, err := readCapability(s.store, awsid.CallerFrom(ctx).Scope, in.ClusterName, in.CapabilityName)
	if err != nil {
		return nil, err
	}
	r := c.Resource
	return &eks.DescribeCapabilityOutput{Capability: &r}, nil
}

// ListCapabilities implements eks:ListCapabilities.
func (s *Service) ListCapabilities(ctx context.Context, in *eks.ListCapabilitiesInput, _ ...func(*eks.Options)) (*eks.ListCapabilitiesOutput, error) {
	scope, cluster := awsid.CallerFrom(ctx).Scope, aws.ToString(in.ClusterName)
	if _, err := readCluster(s.store, scope, cluster); err != nil {
		return nil, err
	}
	list := []ekstypes.CapabilitySummary{}
	for _, c := range Capabilities.ListPrefix(s.store, scope, ClusterPrefix(cluster)) {
		r := c.Resource
		list = append(list, ekstypes.CapabilitySummary{
			Arn: r.Arn, CapabilityName: r.CapabilityName, CreatedAt: r.CreatedAt, ModifiedAt: r.ModifiedAt, Status: r.Status, Type: r.Type, Version: r.Version,
		})
	}
	list, next, err := page("ListCapabilities", list, func(c ekstypes.CapabilitySummary) string { return *c.CapabilityName }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListCapabilitiesOutput{Capabilities: list, NextToken: next}, nil
}

// DeleteCapability implements eks:DeleteCapability. What the capability brought
// into the cluster stays, as the only propagation policy, RETAIN, says.
func (s *Service) DeleteCapability(ctx context.Context, in *eks.DeleteCapabilityInput, _ ...func(*eks.Options)) (*eks.DeleteCapabilityOutput, error) {
	scope := awsid.CallerFrom(ctx).Scope
	a := about{cluster: aws.ToString(in.ClusterName)}
	var c *Capability
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readCapability(tx, scope, in.ClusterName, in.CapabilityName); err != nil {
			return err
		}
		id := ChildID(a.cluster, *in.CapabilityName)
		c = Capabilities.Edit(tx, scope, id)
		if c.Resource.Status == ekstypes.CapabilityStatusDeleting {
			return nil
		}
		if c.UpdateID != "" {
			FinishUpdate(tx, scope, a.cluster, c.UpdateID, ekstypes.ErrorDetail{
				ErrorCode: ekstypes.ErrorCodeOperationNotPermitted, ErrorMessage: aws.String("The capability is being deleted."), ResourceIds: []string{*in.CapabilityName},
			})
			c.UpdateID = ""
		}
		c.Resource.Status, c.Resource.ModifiedAt = ekstypes.CapabilityStatusDeleting, s.now()
		c.Generation++
		Capabilities.Put(tx, scope, id, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.DeleteCapabilityOutput{Capability: &c.Resource}, nil
}
