package eks

import (
	"context"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// logTypes in the order in which EKS shows them.
var logTypes = []ekstypes.LogType{
	ekstypes.LogTypeApi, ekstypes.LogTypeAudit, ekstypes.LogTypeAuthenticator,
	ekstypes.LogTypeControllerManager, ekstypes.LogTypeScheduler,
}

// setLogging changes the log types that in names and leaves the others. Every
// type is always shown, the enabled ones first.
func setLogging(a about, r *ekstypes.Cluster, in *ekstypes.Logging) error {
	on := map[ekstypes.LogType]bool{}
	if r.Logging != nil {
		for _, l := range r.Logging.ClusterLogging {
			for _, t := range l.Types {
				on[t] = aws.ToBool(l.Enabled)
			}
		}
	}
	if in != nil {
		for _, l := range in.ClusterLogging {
			for _, t := range l.Types {
				if !slices.Contains(logTypes, t) {
					return a.invalidParameter("Unsupported log type %s: it must be one of api, audit, authenticator, controllerManager and scheduler", t)
				}
				on[t] = aws.ToBool(l.Enabled)
			}
		}
	}
	var yes, no []ekstypes.LogType
	for _, t := range logTypes {
		if on[t] {
			yes = append(yes, t)
		} else {
			no = append(no, t)
		}
	}
	r.Logging = &ekstypes.Logging{}
	if len(yes) > 0 {
		r.Logging.ClusterLogging = append(r.Logging.ClusterLogging, ekstypes.LogSetup{Types: yes, Enabled: aws.Bool(true)})
	}
	if len(no) > 0 {
		r.Logging.ClusterLogging = append(r.Logging.ClusterLogging, ekstypes.LogSetup{Types: no, Enabled: aws.Bool(false)})
	}
	return nil
}

func setUpgradePolicy(a about, r *ekstypes.Cluster, in *ekstypes.UpgradePolicyRequest) error {
	if in == nil || in.SupportType == "" {
		return nil
	}
	if !slices.Contains(in.SupportType.Values(), in.SupportType) {
		return a.invalidParameter("Unsupported support type %s", in.SupportType)
	}
	r.UpgradePolicy = &ekstypes.UpgradePolicyResponse{SupportType: in.SupportType}
	return nil
}

// AssociateEncryptionConfig implements eks:AssociateEncryptionConfig. A cluster
// has one encryption configuration for good.
func (s *Service) AssociateEncryptionConfig(ctx context.Context, in *eks.AssociateEncryptionConfigInput, _ ...func(*eks.Options)) (*eks.AssociateEncryptionConfigOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	var shown []map[string]any
	for _, e := range in.EncryptionConfig {
		key := map[string]any{}
		if e.Provider != nil {
			key["keyArn"] = aws.ToString(e.Provider.KeyArn)
		}
		shown = append(shown, map[string]any{"resources": e.Resources, "provider": key})
	}
	var config []ekstypes.EncryptionConfig
	if c := Clusters.Get(s.store, awsid.CallerFrom(ctx).Scope, a.cluster); c != nil {
		if config, err = s.checkEncryption(ctx, a, aws.ToString(c.Resource.RoleArn), in.EncryptionConfig); err != nil {
			return nil, err
		}
	}
	u, err := s.startClusterUpdate(ctx, a, req, clusterChange{
		kind:   ekstypes.UpdateTypeAssociateEncryptionConfig,
		params: []ekstypes.UpdateParam{param(ekstypes.UpdateParamTypeEncryptionConfig, shown)},
		apply: func(_ *store.Tx, c *Cluster) error {
			if len(in.EncryptionConfig) == 0 {
				return a.invalidParameter("encryptionConfig must be specified.")
			}
			if len(c.Resource.EncryptionConfig) > 0 {
				return a.invalidParameter("Encryption is already enabled on the cluster")
			}
			c.Resource.EncryptionConfig = config
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return &eks.AssociateEncryptionConfigOutput{Update: &u.Resource}, nil
}

// setRemoteNetwork writes the networks of EKS Hybrid Nodes; empty lists remove
// them. They must be clear of the VPC and of the services.
func setRemoteNetwork(a about, r *ekstypes.Cluster, in *ekstypes.RemoteNetworkConfigRequest, net network) error {
	if in == nil || len(in.RemoteNodeNetworks) == 0 && len(in.RemotePodNetworks) == 0 {
		return nil
	}
	switch {
	case r.AccessConfig.AuthenticationMode == ekstypes.AuthenticationModeConfigMap:
		return a.invalidParameter("AccessConfig AuthMode must be API_AND_CONFIG_MAP or API when remoteNetworkConfig is specified")
	case r.KubernetesNetworkConfig.IpFamily == ekstypes.IpFamilyIpv6:
		return a.invalidParameter("remoteNetworkConfig is not supported for clusters with ipFamily ipv6")
	case len(in.RemoteNodeNetworks) > 1:
		return a.invalidParameter("Only one remoteNodeNetwork is allowed")
	case len(in.RemotePodNetworks) > 1:
		return a.invalidParameter("Only one remotePodNetwork is allowed")
	case len(in.RemoteNodeNetworks) == 0:
		return a.invalidParameter("remoteNodeNetworks must be specified when remotePodNetworks is specified")
	}
	var taken []netip.Prefix
	for _, n := range in.RemoteNodeNetworks {
		if err := checkRemoteCIDRs(a, "node", n.Cidrs, r, net, &taken); err != nil {
			return err
		}
	}
	for _, n := range in.RemotePodNetworks {
		if err := checkRemoteCIDRs(a, "pod", n.Cidrs, r, net, &taken); err != nil {
			return err
		}
	}
	r.RemoteNetworkConfig = &ekstypes.RemoteNetworkConfigResponse{
		RemoteNodeNetworks: in.RemoteNodeNetworks, RemotePodNetworks: in.RemotePodNetworks,
	}
	return nil
}

// maxRemoteCIDRs is the model's limit on CIDRs of a remote network.
const maxRemoteCIDRs = 15

// checkRemoteCIDRs appends the networks to those that later ones may not overlap.
func checkRemoteCIDRs(a about, kind string, cidrs []string, r *ekstypes.Cluster, net network, taken *[]netip.Prefix) error {
	if len(cidrs) == 0 || len(cidrs) > maxRemoteCIDRs {
		return a.invalidParameter("Invalid remote %s network: it must have between 1 and %d CIDRs", kind, maxRemoteCIDRs)
	}
	for _, c := range cidrs {
		p, err := netip.ParsePrefix(c)
		if err != nil || !p.Addr().Is4() || p.Masked() != p {
			return a.invalidParameter("Invalid remote %s network: CIDR %s is not a valid IPv4 CIDR", kind, c)
		}
		if vpc, overlaps := net.overlaps(p); overlaps {
			return a.invalidParameter("Invalid remote %s network: CIDR %s overlaps with VPC CIDR %s", kind, c, vpc)
		}
		services, err := netip.ParsePrefix(aws.ToString(r.KubernetesNetworkConfig.ServiceIpv4Cidr))
		if err == nil && services.Overlaps(p) {
			return a.invalidParameter("Invalid remote %s network: CIDR %s overlaps with service CIDR %s", kind, c, services)
		}
		for _, t := range *taken {
			if t.Overlaps(p) {
				return a.invalidParameter("Invalid remote %s network: CIDR %s overlaps with CIDR %s", kind, c, t)
			}
		}
		*taken = append(*taken, p)
	}
	return nil
}

func setScalingTier(a about, r *ekstypes.Cluster, in *ekstypes.ControlPlaneScalingConfig) error {
	r.ControlPlaneScalingConfig = &ekstypes.ControlPlaneScalingConfig{Tier: ekstypes.ProvisionedControlPlaneTierStandard}
	if in == nil || in.Tier == "" {
		return nil
	}
	if !slices.Contains(in.Tier.Values(), in.Tier) {
		return a.invalidParameter("Unsupported control plane scaling tier %s", in.Tier)
	}
	r.ControlPlaneScalingConfig.Tier = in.Tier
	return nil
}

// setComponents stores the tunable control-plane components as they were given.
func setComponents(a about, r *ekstypes.Cluster, api *ekstypes.KubeApiServerConfigRequest, kcm *ekstypes.KubeControllerManagerConfigRequest, sched *ekstypes.KubeSchedulerConfigRequest) error {
	if api != nil {
		if p := api.ServiceNodePortRange; p != nil && (p.MinPort < 1 || p.MaxPort > 65535 || p.MinPort > p.MaxPort) {
			return a.invalidParameter("serviceNodePortRange %d-%d is not a range of ports", p.MinPort, p.MaxPort)
		}
		r.KubeApiServerConfig = &ekstypes.KubeApiServerConfigResponse{EventTtl: api.EventTtl, ServiceNodePortRange: api.ServiceNodePortRange}
	}
	if kcm != nil {
		out := &ekstypes.KubeControllerManagerConfigResponse{}
		if h := kcm.HorizontalPodAutoscalerControllerConfig; h != nil {
			out.HorizontalPodAutoscalerControllerConfig = &ekstypes.HorizontalPodAutoscalerControllerConfigResponse{
				HorizontalPodAutoscalerSyncPeriod: h.HorizontalPodAutoscalerSyncPeriod,
			}
		}
		if g := kcm.PodGcControllerConfig; g != nil {
			out.PodGcControllerConfig = &ekstypes.PodGcControllerConfigResponse{TerminatedPodGcThreshold: g.TerminatedPodGcThreshold}
		}
		r.KubeControllerManagerConfig = out
	}
	if sched != nil {
		r.KubeSchedulerConfig = &ekstypes.KubeSchedulerConfigResponse{NodeResourcesFit: sched.NodeResourcesFit}
	}
	return nil
}
