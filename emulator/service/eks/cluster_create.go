package eks

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// CreateCluster implements eks:CreateCluster.
func (s *Service) CreateCluster(ctx context.Context, in *eks.CreateClusterInput, _ ...func(*eks.Options)) (*eks.CreateClusterOutput, error) {
	if err := checkClusterName(in.Name); err != nil {
		return nil, err
	}
	a := about{cluster: *in.Name}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	if old, err := earlierCluster(s.store, scope, a, req); err != nil || old != nil {
		return createdCluster(old, in), err
	}
	c, err := s.newCluster(ctx, a, in)
	if err != nil {
		return nil, err
	}
	c.Request = req
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if old, err := earlierCluster(tx, scope, a, req); err != nil || old != nil {
			c = old
			return err
		}
		port, err := s.freePort(tx)
		if err != nil {
			return err
		}
		c.Port = port
		s.putCreatorEntry(tx, c, in.AccessConfig)
		s.putAutoNodeEntry(tx, c)
		Clusters.Put(tx, scope, *in.Name, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return createdCluster(c, in), nil
}

// createdCluster is the only answer that tells whether the creator was made an
// admin: DescribeCluster never does.
func createdCluster(c *Cluster, in *eks.CreateClusterInput) *eks.CreateClusterOutput {
	if c == nil {
		return nil
	}
	r := c.Resource
	access := *r.AccessConfig
	access.BootstrapClusterCreatorAdminPermissions = aws.Bool(bootstrapsCreator(in.AccessConfig))
	r.AccessConfig = &access
	return &eks.CreateClusterOutput{Cluster: &r}
}

// earlierCluster returns the cluster that an earlier, equal call made, or an
// error if the name or the token is taken.
func earlierCluster(r store.Reader, scope awsid.Scope, a about, req Request) (*Cluster, error) {
	if old := Clusters.Get(r, scope, a.cluster); old != nil {
		if old.Request == req {
			return old, nil
		}
		return nil, a.inUse("Cluster already exists with name: %s", a.cluster)
	}
	if ConnectedClusters.Get(r, scope, a.cluster) != nil {
		return nil, a.inUse("Cluster already exists with name: %s", a.cluster)
	}
	for _, c := range Clusters.List(r, scope) {
		if _, err := req.repeats(a, c.Request); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// freePort picks the lowest port of the range that no cluster has.
func (s *Service) freePort(tx *store.Tx) (int, error) {
	used := map[int]bool{}
	for _, c := range Clusters.ListAll(tx) {
		used[c.Port] = true
	}
	for p := s.ports[0]; p <= s.ports[1]; p++ {
		if !used[p] {
			return p, nil
		}
	}
	return 0, about{}.limitExceeded(
		"All %d cluster ports (%d-%d) are in use: delete a cluster or start ekslocal with a wider --cluster-ports range.",
		s.ports[1]-s.ports[0]+1, s.ports[0], s.ports[1])
}

// newCluster validates in and makes the record but for its port.
func (s *Service) newCluster(ctx context.Context, a about, in *eks.CreateClusterInput) (*Cluster, error) {
	backend, err := s.backendOf(a, in.Tags)
	if err != nil {
		return nil, err
	}
	version, err := s.checkVersion(a, aws.ToString(in.Version), backend)
	if err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if in.OutpostConfig != nil {
		return nil, a.invalidParameter("Clusters on Outposts are not emulated: leave outpostConfig out.")
	}
	if err := s.checkClusterRole(ctx, a, aws.ToString(in.RoleArn)); err != nil {
		return nil, err
	}
	net, err := s.checkNetwork(ctx, a, in.ResourcesVpcConfig, a.invalidParameter)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	creator := s.callerPrincipal(ctx)
	c := &Cluster{
		Scope: scope, ID: awsid.Hex(32), Backend: backend, CreatorARN: creator.ARN, CreatorID: creator.ID,
		BootstrapSelfManagedAddons: in.BootstrapSelfManagedAddons == nil || *in.BootstrapSelfManagedAddons,
		DesiredVersion:             version.Minor, Generation: 1,
	}
	c.Resource = ekstypes.Cluster{
		Name: in.Name, Arn: aws.String(scope.ARN("eks", "cluster/"+a.cluster)), CreatedAt: s.now(),
		Version: &version.Minor, PlatformVersion: &version.PlatformVersion, RoleArn: in.RoleArn,
		Status: ekstypes.ClusterStatusCreating, CertificateAuthority: &ekstypes.Certificate{},
		Health: &ekstypes.ClusterHealth{Issues: []ekstypes.ClusterIssue{}}, Tags: nonNil(in.Tags),
		DeletionProtection: aws.Bool(aws.ToBool(in.DeletionProtection)),
		UpgradePolicy:      &ekstypes.UpgradePolicyResponse{SupportType: ekstypes.SupportTypeExtended},
	}
	for _, set := range []func() error{
		func() error {
			return setVpcConfig(a, &c.Resource, in.ResourcesVpcConfig, net, wantsIPv6(in.KubernetesNetworkConfig))
		},
		func() error { return setServiceNetwork(a, scope.Region, &c.Resource, in.KubernetesNetworkConfig, net) },
		func() error { return setAccessConfig(a, c, in.AccessConfig) },
		func() error { return setLogging(a, &c.Resource, in.Logging) },
		func() error { return setUpgradePolicy(a, &c.Resource, in.UpgradePolicy) },
		func() (err error) {
			c.Resource.EncryptionConfig, err = s.checkEncryption(ctx, a, aws.ToString(in.RoleArn), in.EncryptionConfig)
			return err
		},
		func() error { return setRemoteNetwork(a, &c.Resource, in.RemoteNetworkConfig, net) },
		func() error { return setScalingTier(a, &c.Resource, in.ControlPlaneScalingConfig) },
		func() error {
			return setComponents(a, &c.Resource, in.KubeApiServerConfig, in.KubeControllerManagerConfig, in.KubeSchedulerConfig)
		},
		func() error {
			return autoMode{in.ComputeConfig, in.StorageConfig, in.KubernetesNetworkConfig}.set(ctx, s, a, c)
		},
	} {
		if err := set(); err != nil {
			return nil, err
		}
	}
	if in.ZonalShiftConfig != nil {
		c.Resource.ZonalShiftConfig = &ekstypes.ZonalShiftConfigResponse{Enabled: aws.Bool(aws.ToBool(in.ZonalShiftConfig.Enabled))}
	}
	return c, nil
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}

// checkVersion resolves the version of a new cluster. Whether EKS still supports
// it is not asked: what the control planes serve can be used, whatever the date.
func (s *Service) checkVersion(a about, version, backend string) (eksversions.Version, error) {
	versions := s.versionsOf(backend)
	if version == "" && len(versions) > 0 {
		version = defaultOf(versions)
	}
	v, known := eksversions.Get(version)
	switch {
	case !known:
		return v, a.invalidParameter("unsupported Kubernetes version")
	case !slices.Contains(versions, version):
		return v, a.invalidParameter("unsupported Kubernetes version %s: the control planes of this emulator serve %s", version, enumerate(versions))
	}
	return v, nil
}

func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

func (s *Service) checkClusterRole(ctx context.Context, a about, arn string) error {
	if arn == "" {
		return a.invalidParameter("roleArn must be specified.")
	}
	p, err := s.checkRole(ctx, a, arn)
	if err != nil {
		return err
	}
	if !trusts(p, clusterService) {
		return a.invalidParameter("Role with arn: %s, could not be assumed because it does not exist or the trusted entity is not correct", arn)
	}
	return nil
}

func bootstrapsCreator(in *ekstypes.CreateAccessConfigRequest) bool {
	return in == nil || in.BootstrapClusterCreatorAdminPermissions == nil || *in.BootstrapClusterCreatorAdminPermissions
}

func setAccessConfig(a about, c *Cluster, in *ekstypes.CreateAccessConfigRequest) error {
	mode := ekstypes.AuthenticationModeConfigMap // the API's default; the console's is another
	if in != nil && in.AuthenticationMode != "" {
		mode = in.AuthenticationMode
	}
	if !slices.Contains(mode.Values(), mode) {
		return a.invalidParameter("Unsupported authentication mode %s", mode)
	}
	if mode == ekstypes.AuthenticationModeConfigMap && !bootstrapsCreator(in) {
		return a.invalidParameter("bootstrapClusterCreatorAdminPermissions must be true if cluster authentication mode is set to CONFIG_MAP")
	}
	c.CreatorIsAdmin = mode == ekstypes.AuthenticationModeConfigMap
	c.Resource.AccessConfig = &ekstypes.AccessConfigResponse{AuthenticationMode: mode}
	return nil
}

// putCreatorEntry makes the access entry through which the creator is an admin
// where access entries count.
func (s *Service) putCreatorEntry(tx *store.Tx, c *Cluster, in *ekstypes.CreateAccessConfigRequest) {
	if bootstrapsCreator(in) && UsesAccessEntries(c) {
		s.putAdminEntry(tx, c)
	}
}
