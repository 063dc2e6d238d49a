package eks

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// clusterChange is one kind of UpdateClusterConfig. apply writes it into the
// cluster, validating it and refusing what changes nothing.
type clusterChange struct {
	kind   ekstypes.UpdateType
	params []ekstypes.UpdateParam
	apply  func(tx *store.Tx, c *Cluster) error
	// active leaves the cluster ACTIVE: nodes go first, and the lifecycle makes it
	// UPDATING when the control plane's turn comes.
	active bool
}

// UpdateClusterConfig implements eks:UpdateClusterConfig.
func (s *Service) UpdateClusterConfig(ctx context.Context, in *eks.UpdateClusterConfigInput, _ ...func(*eks.Options)) (*eks.UpdateClusterConfigOutput, error) {
	a := about{cluster: aws.ToString(in.Name)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	current, err := readCluster(s.store, scope, a.cluster)
	if err != nil {
		return nil, err
	}
	if old, err := earlierUpdate(s.store, scope, a, req); err != nil || old != nil {
		return configUpdateOutput(old), err
	}
	change, err := s.clusterChange(ctx, a, current, in)
	if err != nil {
		return nil, err
	}
	u, err := s.startClusterUpdate(ctx, a, req, change)
	if err != nil {
		return nil, err
	}
	return configUpdateOutput(u), nil
}

func configUpdateOutput(u *Update) *eks.UpdateClusterConfigOutput {
	if u == nil {
		return nil
	}
	return &eks.UpdateClusterConfigOutput{Update: &u.Resource}
}

// startClusterUpdate applies a change and leaves the cluster UPDATING.
func (s *Service) startClusterUpdate(ctx context.Context, a about, req Request, change clusterChange) (*Update, error) {
	scope := awsid.CallerFrom(ctx).Scope
	u := s.newUpdate(scope, a, change.kind, change.params, req)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		c, err := editCluster(tx, scope, a.cluster)
		if err != nil {
			return err
		}
		if old, err := earlierUpdate(tx, scope, a, req); err != nil || old != nil {
			u = old
			return err
		}
		if c.UpdateID != "" {
			return a.inUse("Cannot %s because cluster %s currently has update %s in progress", change.kind, a.cluster, c.UpdateID)
		}
		if c.Resource.Status != ekstypes.ClusterStatusActive {
			return a.invalidRequest("Cluster '%s' is not in ACTIVE status", a.cluster)
		}
		if err := change.apply(tx, c); err != nil {
			return err
		}
		if !change.active {
			c.Resource.Status = ekstypes.ClusterStatusUpdating
		}
		c.UpdateID = *u.Resource.Id
		c.Generation++
		Clusters.Put(tx, scope, a.cluster, c)
		putUpdate(tx, u)
		return nil
	})
	return u, err
}

// clusterChange finds out which one kind of update the request is.
func (s *Service) clusterChange(ctx context.Context, a about, now *Cluster, in *eks.UpdateClusterConfigInput) (clusterChange, error) {
	var found []clusterChange
	add := func(ch clusterChange, ok bool) {
		if ok {
			found = append(found, ch)
		}
	}
	add(loggingChange(a, in.Logging), in.Logging != nil)
	add(accessChange(s, a, in.AccessConfig), in.AccessConfig != nil)
	add(upgradePolicyChange(s, a, in.UpgradePolicy), in.UpgradePolicy != nil)
	add(zonalShiftChange(a, in.ZonalShiftConfig), in.ZonalShiftConfig != nil)
	add(deletionProtectionChange(a, in.DeletionProtection), in.DeletionProtection != nil)
	if in.RemoteNetworkConfig != nil {
		net, err := s.networkOf(ctx, a, now)
		if err != nil {
			return clusterChange{}, err
		}
		add(remoteNetworkChange(a, in.RemoteNetworkConfig, net), true)
	}
	add(scalingTierChange(a, in.ControlPlaneScalingConfig, now), in.ControlPlaneScalingConfig != nil)
	add(componentsChange(a, in), in.KubeApiServerConfig != nil || in.KubeControllerManagerConfig != nil || in.KubeSchedulerConfig != nil)
	auto := autoMode{in.ComputeConfig, in.StorageConfig, in.KubernetesNetworkConfig}
	add(s.autoModeChange(ctx, a, auto), auto.given())
	if v := in.ResourcesVpcConfig; v != nil {
		endpoint := v.EndpointPublicAccess != nil || v.EndpointPrivateAccess != nil || v.PublicAccessCidrs != nil
		add(endpointChange(a, v, now), endpoint)
		vpc := v.SubnetIds != nil || v.SecurityGroupIds != nil
		if vpc {
			ch, err := s.vpcChange(ctx, a, v, now)
			if err != nil {
				return clusterChange{}, err
			}
			add(ch, true)
		}
		add(egressChange(a, v), v.ControlPlaneEgressMode != "")
	}
	switch len(found) {
	case 0:
		return clusterChange{}, a.invalidParameter("The type for cluster update was not provided.")
	case 1:
		return found[0], nil
	}
	return clusterChange{}, a.invalidParameter("Only one type of update can be allowed.")
}

// param makes an update parameter; what is not text is shown as JSON.
func param(t ekstypes.UpdateParamType, v any) ekstypes.UpdateParam {
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			b = []byte(fmt.Sprint(v)) // maps of plain values always marshal
		}
		text = string(b)
	}
	return ekstypes.UpdateParam{Type: t, Value: &text}
}

func loggingChange(a about, in *ekstypes.Logging) clusterChange {
	setups := []map[string]any{}
	if in != nil {
		for _, l := range in.ClusterLogging {
			setups = append(setups, map[string]any{"types": l.Types, "enabled": aws.ToBool(l.Enabled)})
		}
	}
	return clusterChange{
		kind:   ekstypes.UpdateTypeLoggingUpdate,
		params: []ekstypes.UpdateParam{param(ekstypes.UpdateParamTypeClusterLogging, map[string]any{"clusterLogging": setups})},
		apply: func(_ *store.Tx, c *Cluster) error {
			before := c.Resource.Logging
			if err := setLogging(a, &c.Resource, in); err != nil {
				return err
			}
			if reflect.DeepEqual(before, c.Resource.Logging) {
				return a.invalidParameter("No changes needed for the logging config provided")
			}
			return nil
		},
	}
}

func endpointChange(a about, in *ekstypes.VpcConfigRequest, now *Cluster) clusterChange {
	old := now.Resource.ResourcesVpcConfig
	public, private := old.EndpointPublicAccess, old.EndpointPrivateAccess
	if in.EndpointPublicAccess != nil {
		public = *in.EndpointPublicAccess
	}
	if in.EndpointPrivateAccess != nil {
		private = *in.EndpointPrivateAccess
	}
	cidrs := in.PublicAccessCidrs
	if cidrs == nil && public && old.EndpointPublicAccess {
		cidrs = old.PublicAccessCidrs
	}
	ch := clusterChange{kind: ekstypes.UpdateTypeEndpointAccessUpdate, params: []ekstypes.UpdateParam{
		param(ekstypes.UpdateParamTypeEndpointPublicAccess, strconv.FormatBool(public)),
		param(ekstypes.UpdateParamTypeEndpointPrivateAccess, strconv.FormatBool(private)),
	}}
	shown := cidrs
	if public && len(shown) == 0 {
		shown = everyone(IsIPv6(now))
	}
	if shown == nil {
		shown = []string{}
	}
	ch.params = append(ch.params, param(ekstypes.UpdateParamTypePublicAccessCidrs, shown))
	ch.apply = func(_ *store.Tx, c *Cluster) error {
		if !public && !private {
			return a.invalidParameter("Private and public endpoint access cannot be false")
		}
		valid, err := publicCIDRs(a, public, IsIPv6(c), cidrs)
		if err != nil {
			return err
		}
		v := c.Resource.ResourcesVpcConfig
		if v.EndpointPublicAccess == public && v.EndpointPrivateAccess == private && slices.Equal(sorted(v.PublicAccessCidrs), sorted(valid)) {
			return a.invalidParameter(
				"Cluster is already at the desired configuration with endpointPrivateAccess: %t , endpointPublicAccess: %t, and Public Endpoint Restrictions: [%s]",
				private, public, strings.Join(valid, ", "))
		}
		v.EndpointPublicAccess, v.EndpointPrivateAccess, v.PublicAccessCidrs = public, private, valid
		return nil
	}
	return ch
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// vpcChange moves the control plane's interfaces to other subnets or security
// groups of the same VPC.
func (s *Service) vpcChange(ctx context.Context, a about, in *ekstypes.VpcConfigRequest, now *Cluster) (clusterChange, error) {
	old := now.Resource.ResourcesVpcConfig
	want := &ekstypes.VpcConfigRequest{SubnetIds: in.SubnetIds, SecurityGroupIds: in.SecurityGroupIds}
	ch := clusterChange{kind: ekstypes.UpdateTypeVpcConfigUpdate}
	if want.SubnetIds == nil {
		want.SubnetIds = old.SubnetIds
	} else {
		ch.params = append(ch.params, param(ekstypes.UpdateParamTypeSubnets, want.SubnetIds))
	}
	if want.SecurityGroupIds == nil {
		want.SecurityGroupIds = old.SecurityGroupIds
	} else {
		ch.params = append(ch.params, param(ekstypes.UpdateParamTypeSecurityGroups, want.SecurityGroupIds))
	}
	net, err := s.checkNetwork(ctx, a, want, a.invalidRequest)
	if err != nil {
		return ch, err
	}
	if aws.ToString(net.vpc.VpcId) != aws.ToString(old.VpcId) {
		return ch, a.invalidParameter("Provided subnets %s Specified subnets must belong to the cluster's VPC %s",
			strings.Join(want.SubnetIds, ", "), aws.ToString(old.VpcId))
	}
	if IsIPv6(now) && !net.hasIPv6() {
		return ch, a.withoutIPv6()
	}
	ch.apply = func(_ *store.Tx, c *Cluster) error {
		v := c.Resource.ResourcesVpcConfig
		if slices.Equal(sorted(v.SubnetIds), sorted(want.SubnetIds)) && slices.Equal(sorted(v.SecurityGroupIds), sorted(want.SecurityGroupIds)) {
			return a.invalidParameter("Cluster is already at the desired configuration with subnetIds: [%s] and securityGroupIds: [%s]",
				strings.Join(v.SubnetIds, ", "), strings.Join(v.SecurityGroupIds, ", "))
		}
		before := *v
		c.VpcBefore = &before
		v.SubnetIds, v.SecurityGroupIds = want.SubnetIds, append([]string{}, want.SecurityGroupIds...)
		return nil
	}
	return ch, nil
}
