package eks

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	// connectorService must be able to assume the connector's role: the connector
	// registers as a managed instance of Systems Manager.
	connectorService = "ssm.amazonaws.com"
	// activationLife is how long a registration waits for the connector ("If the
	// manifest isn't applied within three days", RegisterCluster).
	activationLife = 72 * time.Hour
)

// RegisterCluster implements eks:RegisterCluster. The cluster stays PENDING: there
// is no Systems Manager behind which its connector could report.
func (s *Service) RegisterCluster(ctx context.Context, in *eks.RegisterClusterInput, _ ...func(*eks.Options)) (*eks.RegisterClusterOutput, error) {
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
	if err := s.checkConnector(ctx, a, in); err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	var c *ConnectedCluster
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if c = ConnectedClusters.Get(tx, scope, a.cluster); c != nil && c.Request == req {
			return nil
		}
		if c != nil || Clusters.Get(tx, scope, a.cluster) != nil {
			return a.inUse("Cluster already exists with name: %s", a.cluster)
		}
		c = &ConnectedCluster{Scope: scope, Request: req, Resource: ekstypes.Cluster{
			Name: in.Name, Arn: aws.String(scope.ARN("eks", "cluster/"+a.cluster)), CreatedAt: s.now(), Status: ekstypes.ClusterStatusPending,
			Tags: nonNil(in.Tags),
			ConnectorConfig: &ekstypes.ConnectorConfigResponse{
				ActivationId: aws.String(awsid.NewUUID()), ActivationCode: aws.String(rand.Text()[:20]), ActivationExpiry: aws.Time(s.now().Add(activationLife)),
				Provider: aws.String(string(in.ConnectorConfig.Provider)), RoleArn: in.ConnectorConfig.RoleArn,
			},
		}}
		ConnectedClusters.Put(tx, scope, a.cluster, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := c.Resource
	return &eks.RegisterClusterOutput{Cluster: &r}, nil
}

func (s *Service) checkConnector(ctx context.Context, a about, in *eks.RegisterClusterInput) error {
	if err := checkTags(in.Tags); err != nil {
		return err
	}
	cfg := in.ConnectorConfig
	if cfg == nil {
		return a.invalidParameter("connectorConfig must be specified.")
	}
	if !slices.Contains(cfg.Provider.Values(), cfg.Provider) {
		return a.invalidParameter("Unsupported connector provider %s", cfg.Provider)
	}
	p, err := s.checkRole(ctx, a, aws.ToString(cfg.RoleArn))
	if err != nil {
		return err
	}
	if p.ARN == "" {
		return a.invalidRequest("Not existing role: %s", aws.ToString(cfg.RoleArn))
	}
	if !trusts(p, connectorService) {
		return a.invalidRequest("The role %s does not trust %s", aws.ToString(cfg.RoleArn), connectorService)
	}
	return nil
}

// DeregisterCluster implements eks:DeregisterCluster.
func (s *Service) DeregisterCluster(ctx context.Context, in *eks.DeregisterClusterInput, _ ...func(*eks.Options)) (*eks.DeregisterClusterOutput, error) {
	scope, name := awsid.CallerFrom(ctx).Scope, aws.ToString(in.Name)
	a := about{cluster: name}
	var r ekstypes.Cluster
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		c := ConnectedClusters.Get(tx, scope, name)
		if c == nil {
			if _, err := readCluster(tx, scope, name); err != nil {
				return err
			}
			return a.invalidRequest("Cluster %s is not a connected cluster: use DeleteCluster.", name)
		}
		r = c.Resource
		r.Status = ekstypes.ClusterStatusDeleting
		ConnectedClusters.Delete(tx, scope, name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.DeregisterClusterOutput{Cluster: &r}, nil
}
