package eks

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"
	"github.com/ekslocal/ekslocal/fixtures/addons"
)

// autoMode is EKS Auto Mode's part of a request. EKS wants its three switches
// together.
type autoMode struct {
	compute *ekstypes.ComputeConfigRequest
	storage *ekstypes.StorageConfigRequest
	network *ekstypes.KubernetesNetworkConfigRequest
}

// given tells whether the request speaks of Auto Mode at all.
func (m autoMode) given() bool {
	return m.compute != nil || m.storage != nil || m.network != nil && m.network.ElasticLoadBalancing != nil
}

// enabled returns what the three switches agree on.
func (m autoMode) enabled(a about) (bool, error) {
	compute := m.compute != nil && aws.ToBool(m.compute.Enabled)
	storage := m.storage != nil && m.storage.BlockStorage != nil && aws.ToBool(m.storage.BlockStorage.Enabled)
	balancing := m.network != nil && m.network.ElasticLoadBalancing != nil && aws.ToBool(m.network.ElasticLoadBalancing.Enabled)
	if compute != storage || storage != balancing {
		return false, a.invalidParameter(
			"For EKS Auto Mode, please ensure that all required configs, including computeConfig, kubernetesNetworkConfig, and blockStorage are all either fully enabled or fully disabled.")
	}
	return compute, nil
}

// apply validates the request against the cluster and writes it into c, whose
// AutoNodeRoleID becomes the id of the nodes' role.
func (m autoMode) apply(ctx context.Context, s *Service, a about, c *Cluster) error {
	on, err := m.enabled(a)
	if err != nil {
		return err
	}
	r := &c.Resource
	before := r.ComputeConfig
	c.AutoNodeRoleID = ""
	r.ComputeConfig = &ekstypes.ComputeConfigResponse{Enabled: &on}
	r.StorageConfig = &ekstypes.StorageConfigResponse{BlockStorage: &ekstypes.BlockStorage{Enabled: &on}}
	net := *r.KubernetesNetworkConfig
	net.ElasticLoadBalancing = &ekstypes.ElasticLoadBalancing{Enabled: &on}
	if m.network != nil && m.network.ElasticLoadBalancing != nil {
		net.ElasticLoadBalancing.GatewayApi = m.network.ElasticLoadBalancing.GatewayApi
	}
	r.KubernetesNetworkConfig = &net
	if !on {
		return nil
	}
	if r.AccessConfig.AuthenticationMode == ekstypes.AuthenticationModeConfigMap {
		return a.invalidParameter("EKS Auto Mode requires the authentication mode API or API_AND_CONFIG_MAP.")
	}
	role := aws.ToString(m.compute.NodeRoleArn)
	if err := m.checkPools(a, role, before); err != nil {
		return err
	}
	if role != "" {
		p, err := s.checkRole(ctx, a, role)
		if err != nil {
			return err
		}
		if !trusts(p, nodeService) {
			return a.invalidParameter("The nodeRoleArn %s does not exist or does not trust %s", role, nodeService)
		}
		c.AutoNodeRoleID = p.ID
	}
	r.ComputeConfig.NodePools, r.ComputeConfig.NodeRoleArn = m.compute.NodePools, ptrOrNil(role)
	return nil
}

// checkPools: the built-in pools and their nodes' role come together, and the role
// is for good.
func (m autoMode) checkPools(a about, role string, before *ekstypes.ComputeConfigResponse) error {
	pools := m.compute.NodePools
	for i, p := range pools {
		if !slices.Contains(addons.BuiltInNodePools(), p) {
			return a.invalidParameter("Unsupported node pool %s: it must be general-purpose or system", p)
		}
		if slices.Contains(pools[:i], p) {
			return a.invalidParameter("Node pool %s is specified more than once", p)
		}
	}
	if role == "" && len(pools) > 0 {
		return a.invalidParameter("When Compute Config nodeRoleArn is null or empty, nodePool list cannot be populated.")
	}
	if role != "" && len(pools) == 0 {
		return a.invalidParameter("When Compute Config nodeRoleArn is not null or empty, nodePool value(s) must be provided.")
	}
	if before != nil && aws.ToBool(before.Enabled) && before.NodeRoleArn != nil && role != "" && *before.NodeRoleArn != role {
		return a.invalidParameter("The nodeRoleArn cannot be changed after the compute capability of EKS Auto Mode is enabled.")
	}
	return nil
}

// applyUpdate is apply for a cluster that is there: what was never enabled cannot
// be disabled.
func (m autoMode) applyUpdate(ctx context.Context, s *Service, a about, tx *store.Tx, c *Cluster) error {
	was := c.Resource.ComputeConfig != nil && aws.ToBool(c.Resource.ComputeConfig.Enabled)
	on, err := m.enabled(a)
	if err != nil {
		return err
	}
	if !on && !was {
		return a.invalidRequest("Cannot modify EKS Auto Mode configuration. Auto Mode is not enabled on this cluster.")
	}
	if err := m.apply(ctx, s, a, c); err != nil {
		return err
	}
	s.putAutoNodeEntry(tx, c)
	return nil
}

// putAutoNodeEntry makes the access entry through which nodes of the built-in pools
// may join, as EKS does by itself where it is given their role.
func (s *Service) putAutoNodeEntry(tx *store.Tx, c *Cluster) {
	if c.AutoNodeRoleID == "" {
		return
	}
	role := Principal{ARN: *c.Resource.ComputeConfig.NodeRoleArn, ID: c.AutoNodeRoleID}
	id := ChildID(*c.Resource.Name, role.ARN)
	if AccessEntries.Get(tx, c.Scope, id) != nil {
		return
	}
	e := newEntry(c, role, EntryEC2, s.now())
	e.Policies = []ekstypes.AssociatedAccessPolicy{{
		PolicyArn: aws.String(accesspolicies.ARN(c.Scope.Partition(), autoNodePolicy)), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster, Namespaces: []string{}},
		AssociatedAt: e.Resource.CreatedAt, ModifiedAt: e.Resource.CreatedAt,
	}}
	AccessEntries.Put(tx, c.Scope, id, e)
}

// set is Auto Mode of a new cluster. A cluster whose request is
// silent about it does not show its members (terraform-aws-modules/terraform-aws-eks
// issue 3273 has both answers): Terraform's provider 5 would take an "enabled": false
// that its configuration does not have for a change.
func (m autoMode) set(ctx context.Context, s *Service, a about, c *Cluster) error {
	if !m.given() {
		return nil
	}
	if err := m.apply(ctx, s, a, c); err != nil {
		return err
	}
	if aws.ToBool(c.Resource.ComputeConfig.Enabled) && c.BootstrapSelfManagedAddons {
		return a.invalidParameter("When EKS Auto Mode is enabled, bootstrapSelfManagedAddons must be set to false.")
	}
	return nil
}
