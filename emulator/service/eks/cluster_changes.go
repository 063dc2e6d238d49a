package eks

import (
	"context"
	"reflect"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// unlessEqual refuses a change after which the part of the cluster that get
// returns is what it was.
func unlessEqual(a about, what string, get func(*ekstypes.Cluster) any, apply func(c *Cluster) error) func(*store.Tx, *Cluster) error {
	return func(_ *store.Tx, c *Cluster) error {
		before := c.Resource
		if err := apply(c); err != nil {
			return err
		}
		if reflect.DeepEqual(get(&before), get(&c.Resource)) {
			return a.invalidParameter("No changes detected for %s", what)
		}
		return nil
	}
}

// accessChange widens the authentication mode. Modes go one way:
// CONFIG_MAP -> API_AND_CONFIG_MAP -> API.
func accessChange(s *Service, a about, in *ekstypes.UpdateAccessConfigRequest) clusterChange {
	order := []ekstypes.AuthenticationMode{
		ekstypes.AuthenticationModeConfigMap, ekstypes.AuthenticationModeApiAndConfigMap, ekstypes.AuthenticationModeApi,
	}
	var to ekstypes.AuthenticationMode
	if in != nil {
		to = in.AuthenticationMode
	}
	return clusterChange{
		kind:   ekstypes.UpdateTypeAccessConfigUpdate,
		params: []ekstypes.UpdateParam{param(ekstypes.UpdateParamTypeAuthenticationMode, strconv.Quote(string(to)))},
		apply: func(tx *store.Tx, c *Cluster) error {
			from := c.Resource.AccessConfig.AuthenticationMode
			if slices.Index(order, to) != slices.Index(order, from)+1 {
				return a.invalidParameter("Unsupported authentication mode update from %s to %s", from, to)
			}
			c.Resource.AccessConfig.AuthenticationMode = to
			if from == ekstypes.AuthenticationModeConfigMap {
				s.migrateToAccessEntries(tx, c)
			}
			return nil
		},
	}
}

func upgradePolicyChange(s *Service, a about, in *ekstypes.UpgradePolicyRequest) clusterChange {
	ch := clusterChange{kind: ekstypes.UpdateTypeUpgradePolicyUpdate}
	if in != nil {
		ch.params = []ekstypes.UpdateParam{param(ekstypes.UpdateParamTypeUpgradePolicy, map[string]any{"supportType": in.SupportType})}
	}
	ch.apply = unlessEqual(a, "upgradePolicy", func(r *ekstypes.Cluster) any { return r.UpgradePolicy }, func(c *Cluster) error {
		// "You cannot disable extended support once it starts."
		v, _ := eksversions.Get(*c.Resource.Version)
		if in != nil && in.SupportType == ekstypes.SupportTypeStandard && v.Support(s.clock.Now()) == eksversions.Extended {
			return a.invalidRequest("Cluster %s is in extended support: its support type cannot be changed to %s", a.cluster, in.SupportType)
		}
		return setUpgradePolicy(a, &c.Resource, in)
	})
	return ch
}

func zonalShiftChange(a about, in *ekstypes.ZonalShiftConfigRequest) clusterChange {
	on := in != nil && aws.ToBool(in.Enabled)
	return clusterChange{
		kind:   ekstypes.UpdateTypeZonalShiftConfigUpdate,
		params: []ekstypes.UpdateParam{param(ekstypes.UpdateParamTypeZonalShiftConfig, map[string]any{"enabled": on})},
		apply: func(_ *store.Tx, c *Cluster) error {
			if z := c.Resource.ZonalShiftConfig; (z != nil && aws.ToBool(z.Enabled)) == on {
				return a.invalidParameter("No changes detected for zonalShiftConfig")
			}
			c.Resource.ZonalShiftConfig = &ekstypes.ZonalShiftConfigResponse{Enabled: &on}
			return nil
		},
	}
}

func deletionProtectionChange(a about, in *bool) clusterChange {
	on := aws.ToBool(in)
	return clusterChange{
		kind:   ekstypes.UpdateTypeDeletionProtectionUpdate,
		params: []ekstypes.UpdateParam{param(ekstypes.UpdateParamTypeDeletionProtection, strconv.FormatBool(on))},
		apply: unlessEqual(a, "deletionProtection", func(r *ekstypes.Cluster) any { return aws.ToBool(r.DeletionProtection) }, func(c *Cluster) error {
			c.Resource.DeletionProtection = &on
			return nil
		}),
	}
}

func remoteNetworkChange(a about, in *ekstypes.RemoteNetworkConfigRequest, net network) clusterChange {
	ch := clusterChange{kind: ekstypes.UpdateTypeRemoteNetworkConfigUpdate}
	shown := map[string]any{}
	if in != nil {
		var nodes, pods []map[string]any
		for _, n := range in.RemoteNodeNetworks {
			nodes = append(nodes, map[string]any{"cidrs": n.Cidrs})
		}
		for _, n := range in.RemotePodNetworks {
			pods = append(pods, map[string]any{"cidrs": n.Cidrs})
		}
		shown["remoteNodeNetworks"], shown["remotePodNetworks"] = nodes, pods
	}
	ch.params = []ekstypes.UpdateParam{param(ekstypes.UpdateParamTypeRemoteNetworkConfig, shown)}
	ch.apply = unlessEqual(a, "remoteNetworkConfig", func(r *ekstypes.Cluster) any { return r.RemoteNetworkConfig }, func(c *Cluster) error {
		c.Resource.RemoteNetworkConfig = nil
		return setRemoteNetwork(a, &c.Resource, in, net)
	})
	return ch
}

func scalingTierChange(a about, in *ekstypes.ControlPlaneScalingConfig, now *Cluster) clusterChange {
	ch := clusterChange{kind: ekstypes.UpdateTypeControlPlaneScalingConfigUpdate}
	if in != nil {
		ch.params = append(ch.params, param(ekstypes.UpdateParamTypeUpdatedTier, string(in.Tier)))
	}
	if t := now.Resource.ControlPlaneScalingConfig; t != nil {
		ch.params = append(ch.params, param(ekstypes.UpdateParamTypePreviousTier, string(t.Tier)))
	}
	ch.apply = unlessEqual(a, "controlPlaneScalingConfig", func(r *ekstypes.Cluster) any { return r.ControlPlaneScalingConfig }, func(c *Cluster) error {
		return setScalingTier(a, &c.Resource, in)
	})
	return ch
}

func componentsChange(a about, in *eks.UpdateClusterConfigInput) clusterChange {
	type parts struct{ API, KCM, Scheduler any }
	get := func(r *ekstypes.Cluster) any {
		return parts{r.KubeApiServerConfig, r.KubeControllerManagerConfig, r.KubeSchedulerConfig}
	}
	return clusterChange{
		kind: ekstypes.UpdateTypeControlPlaneComponentConfigUpdate,
		apply: unlessEqual(a, "the control plane component configuration", get, func(c *Cluster) error {
			return setComponents(a, &c.Resource, in.KubeApiServerConfig, in.KubeControllerManagerConfig, in.KubeSchedulerConfig)
		}),
	}
}

func (s *Service) autoModeChange(ctx context.Context, a about, m autoMode) clusterChange {
	on := m.compute != nil && aws.ToBool(m.compute.Enabled)
	type parts struct{ Compute, Storage, Network any }
	get := func(r *ekstypes.Cluster) any {
		return parts{r.ComputeConfig, r.StorageConfig, r.KubernetesNetworkConfig}
	}
	compute := map[string]any{"enabled": on}
	if m.compute != nil && m.compute.NodePools != nil {
		compute["nodePools"] = m.compute.NodePools
	}
	if m.compute != nil && m.compute.NodeRoleArn != nil {
		compute["nodeRoleArn"] = m.compute.NodeRoleArn
	}
	return clusterChange{
		kind: ekstypes.UpdateTypeAutoModeUpdate,
		params: []ekstypes.UpdateParam{
			param(ekstypes.UpdateParamTypeComputeConfig, compute),
			param(ekstypes.UpdateParamTypeKubernetesNetworkConfig, map[string]any{"elasticLoadBalancing": map[string]any{"enabled": on}}),
			param(ekstypes.UpdateParamTypeStorageConfig, map[string]any{"blockStorage": map[string]any{"enabled": on}}),
		},
		apply: func(tx *store.Tx, c *Cluster) error {
			return unlessEqual(a, "EKS Auto Mode", get, func(c *Cluster) error { return m.applyUpdate(ctx, s, a, tx, c) })(tx, c)
		},
	}
}

func egressChange(a about, in *ekstypes.VpcConfigRequest) clusterChange {
	mode := in.ControlPlaneEgressMode
	return clusterChange{
		kind:   ekstypes.UpdateTypeControlPlaneEgressUpdate,
		params: []ekstypes.UpdateParam{param(ekstypes.UpdateParamTypeControlPlaneEgressMode, string(mode))},
		apply: unlessEqual(a, "controlPlaneEgressMode", func(r *ekstypes.Cluster) any { return r.ResourcesVpcConfig.ControlPlaneEgressMode }, func(c *Cluster) error {
			if !slices.Contains(mode.Values(), mode) {
				return a.invalidParameter("Unsupported control plane egress mode %s", mode)
			}
			v := *c.Resource.ResourcesVpcConfig
			v.ControlPlaneEgressMode = mode
			c.Resource.ResourcesVpcConfig = &v
			return nil
		}),
	}
}
