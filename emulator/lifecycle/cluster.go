package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/oidc"
	"github.com/ekslocal/ekslocal/emulator/pki"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
)

// step is one idempotent piece of work on a cluster; it reads the record it is
// given and writes its result into the stored one.
type step struct {
	name string
	do   func(ctx context.Context, c *ekssvc.Cluster) error
}

func (l *Lifecycle) creation() []step {
	return []step{
		{"make keys", l.makeKeys},
		{"make the cluster security group", l.makeSecurityGroup},
		{"make the control plane's network interfaces", l.makeInterfaces},
		{"start the control plane", l.startControlPlane},
		{"grant the encryption key", l.grantKey},
		{"deliver logs", l.deliverLogs},
	}
}

// reconcileCluster does what the status asks for; ekssvc.ClusterStates says where
// each leads.
func (l *Lifecycle) reconcileCluster(ctx context.Context, k key) (time.Duration, error) {
	c := ekssvc.Clusters.Get(l.Store, k.Scope, k.ID)
	if c == nil {
		return 0, nil
	}
	switch c.Resource.Status {
	case ekstypes.ClusterStatusCreating, ekstypes.ClusterStatusPending:
		return l.createCluster(ctx, k, c)
	case ekstypes.ClusterStatusActive:
		again, err := l.keepCluster(ctx, c)
		if err != nil {
			return again, err
		}
		if left, err := l.distributeAuthority(ctx, c); err != nil || left > 0 {
			return left, err
		}
		if c.UpdateID == "" {
			return again, nil
		}
		return l.rollBackNodes(ctx, c)
	case ekstypes.ClusterStatusUpdating:
		if _, err := l.keepCluster(ctx, c); err != nil {
			return 0, err
		}
		return l.updateCluster(ctx, c)
	case ekstypes.ClusterStatusDeleting:
		return l.deleteCluster(ctx, k, c)
	}
	return 0, nil
}

func (l *Lifecycle) createCluster(ctx context.Context, k key, c *ekssvc.Cluster) (time.Duration, error) {
	for _, s := range l.creation() {
		if err := s.do(ctx, c); err != nil {
			err = fmt.Errorf("%s: %w", s.name, err)
			return 0, errors.Join(err, l.creationFailed(ctx, c, err))
		}
		// The next step reads what this one wrote.
		now := ekssvc.Clusters.Get(l.Store, k.Scope, k.ID)
		if now == nil || !now.Resource.CreatedAt.Equal(*c.Resource.CreatedAt) || now.Resource.Status == ekstypes.ClusterStatusDeleting {
			return 0, nil
		}
		c = now
	}
	if left := l.left(timing.ClusterCreating, c.Resource.CreatedAt); left > 0 {
		return left, nil
	}
	return 0, l.activate(ctx, c)
}

// creationFailed shows why a cluster does not come up, and gives up in the end.
func (l *Lifecycle) creationFailed(ctx context.Context, c *ekssvc.Cluster, cause error) error {
	if ctx.Err() != nil {
		return nil // the emulator stops: not the cluster's fault
	}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool {
		if c.Resource.Status != ekstypes.ClusterStatusCreating {
			return false
		}
		expired := l.Clock.Since(aws.ToTime(c.Resource.CreatedAt)) >= l.Patience.Create
		if h := c.Resource.Health; !expired && h != nil && len(h.Issues) == 1 && *h.Issues[0].Message == *creationIssue(c, cause).Message {
			return false // writing the same again would only wake the reconciler ahead of its back-off
		}
		c.Resource.Health = &ekstypes.ClusterHealth{Issues: []ekstypes.ClusterIssue{creationIssue(c, cause)}}
		if expired {
			c.Resource.Status = ekstypes.ClusterStatusFailed
		}
		return true
	})
}

// creationIssue says in EKS's words what a user can mend, and else in the
// emulator's own.
func creationIssue(c *ekssvc.Cluster, cause error) ekstypes.ClusterIssue {
	if isCode(cause, "InsufficientFreeAddressesInSubnet") {
		return roomIssue(c.Resource.ResourcesVpcConfig.SubnetIds)
	}
	return ekstypes.ClusterIssue{
		Code: ekstypes.ClusterIssueCodeInternalFailure, Message: aws.String(cause.Error()), ResourceIds: []string{*c.Resource.Arn},
	}
}

// makeKeys gives the cluster its key material: that of a control plane started
// ahead, and then that one's id too, or its own.
func (l *Lifecycle) makeKeys(ctx context.Context, c *ekssvc.Cluster) error {
	if len(c.CACert) > 0 {
		return nil
	}
	id, keys, err := l.newKeys(ctx, c)
	if err != nil {
		return err
	}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool {
		if len(c.CACert) > 0 {
			return false
		}
		c.ID, c.CACert, c.CAKey, c.SAKey = id, keys.CACert, keys.CAKey, keys.SAKey
		return true
	})
}

func (l *Lifecycle) newKeys(ctx context.Context, c *ekssvc.Cluster) (id string, keys controlplane.PKI, err error) {
	if r, ok := l.Backend.(controlplane.Reserver); ok && c.Backend == "" {
		if spare, ok := r.Reserve(ctx, c.DesiredVersion, serviceCIDR(c)); ok {
			return spare.ID, spare.PKI, nil
		}
	}
	ca, err := pki.NewCA("kubernetes", l.Clock.Now())
	if err != nil {
		return "", keys, err
	}
	sa, err := l.keys.take()
	if err != nil {
		return "", keys, err
	}
	return c.ID, controlplane.PKI{CACert: ca.Cert, CAKey: ca.Key, SAKey: sa}, nil
}

// spec is the control plane that a cluster should have at a version.
func (l *Lifecycle) spec(c *ekssvc.Cluster, version string) controlplane.Spec {
	signer := c.Signer()
	return controlplane.Spec{
		ID: c.ID, Name: *c.Resource.Name, Backend: c.Backend, Version: version, ServiceCIDR: serviceCIDR(c), Port: c.Port,
		Issuer: oidc.Issuer(l.IssuerBase, c.OIDCID()),
		PKI:    controlplane.PKI{CACert: signer.Cert, CAKey: signer.Key, SAKey: c.SAKey, Trust: c.TrustBundle()},
	}
}

func serviceCIDR(c *ekssvc.Cluster) string {
	n := c.Resource.KubernetesNetworkConfig
	if n == nil {
		return ""
	}
	if n.ServiceIpv6Cidr != nil {
		return *n.ServiceIpv6Cidr
	}
	return aws.ToString(n.ServiceIpv4Cidr)
}

func (l *Lifecycle) startControlPlane(ctx context.Context, c *ekssvc.Cluster) error {
	version := c.RunningVersion
	// An update that a kill interrupted may have come as far as the new version's
	// first writes: it does not go back to the old one.
	if version == "" || c.Resource.Status == ekstypes.ClusterStatusUpdating {
		version = c.DesiredVersion
	}
	info, err := l.Backend.Create(ctx, l.spec(c, version))
	if err != nil {
		return err
	}
	if info.Data != c.Data {
		if err := l.inNewData(ctx, c, info.Data); err != nil {
			return err
		}
	}
	if _, err := l.ensureRuntime(c, info); err != nil {
		return err
	}
	if c.RunningVersion == version {
		return nil
	}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { c.RunningVersion = version; return true })
}

func (l *Lifecycle) deliverLogs(ctx context.Context, c *ekssvc.Cluster) error {
	if rt := l.runtimeOf(c.ID); rt != nil {
		return l.syncLogging(ctx, c, rt)
	}
	return nil // it went away: keepCluster will see to it
}

func (l *Lifecycle) activate(ctx context.Context, c *ekssvc.Cluster) error {
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool {
		if c.Resource.Status != ekstypes.ClusterStatusCreating {
			return false
		}
		r := &c.Resource
		r.Status = ekstypes.ClusterStatusActive
		r.Endpoint = aws.String(l.Endpoint(c.Port))
		r.CertificateAuthority = &ekstypes.Certificate{Data: aws.String(base64PEM(c.TrustBundle()))}
		r.Identity = &ekstypes.Identity{Oidc: &ekstypes.OIDC{Issuer: aws.String(oidc.Issuer(l.IssuerBase, c.OIDCID()))}}
		r.Health = &ekstypes.ClusterHealth{Issues: []ekstypes.ClusterIssue{}}
		return true
	})
}

// keepCluster makes what an active cluster consists of run: after a restart of
// the emulator this is what brings it back.
func (l *Lifecycle) keepCluster(ctx context.Context, c *ekssvc.Cluster) (time.Duration, error) {
	if l.heardOfLoss(c.ID) {
		l.stopRuntime(c.ID)
	}
	rt := l.runtimeOf(c.ID)
	if rt == nil {
		if err := l.startControlPlane(ctx, c); err != nil {
			err = fmt.Errorf("start the control plane: %w", err)
			return 0, errors.Join(err, l.showUnreachable(ctx, c, err))
		}
		if rt = l.runtimeOf(c.ID); rt == nil {
			return 0, errors.New("the control plane went away")
		}
		if err := l.moved(ctx, c); err != nil {
			return 0, err
		}
		now := ekssvc.Clusters.Get(l.Store, c.Scope, *c.Resource.Name)
		if now == nil || now.ID != c.ID {
			return 0, nil
		}
		c = now // what was installed in it may be lost
	}
	again, err := l.showLoss(ctx, c)
	if err != nil {
		return 0, err
	}
	if err := l.sweep(ctx, rt); err != nil {
		return 0, fmt.Errorf("remove machines of before: %w", err)
	}
	if err := l.syncLogging(ctx, c, rt); err != nil {
		return 0, err
	}
	if err := l.retireInterfaces(ctx, c, rt); err != nil {
		return 0, fmt.Errorf("move to the new network interfaces: %w", err)
	}
	if err := l.checkRoom(ctx, c); err != nil {
		return 0, err
	}
	if err := l.grantKey(ctx, c); err != nil {
		return 0, err
	}
	if err := l.checkKey(ctx, c); err != nil {
		return 0, err
	}
	if c.Bootstrapped {
		rt.podENIs.start()
		return again, l.keepAutoMode(ctx, c, rt)
	}
	if err := l.bootstrap(ctx, c, rt); err != nil {
		return 0, fmt.Errorf("install what every new cluster has: %w", err)
	}
	return again, l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { c.Bootstrapped = true; return true })
}

// moved refreshes the addresses in the record: the emulator may have been started
// again with another listen address or advertised host.
func (l *Lifecycle) moved(ctx context.Context, c *ekssvc.Cluster) error {
	endpoint, issuer := l.Endpoint(c.Port), oidc.Issuer(l.IssuerBase, c.OIDCID())
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool {
		r := &c.Resource
		if aws.ToString(r.Endpoint) == endpoint && r.Identity != nil && aws.ToString(r.Identity.Oidc.Issuer) == issuer {
			return false
		}
		r.Endpoint, r.Identity = &endpoint, &ekstypes.Identity{Oidc: &ekstypes.OIDC{Issuer: &issuer}}
		return true
	})
}

func (l *Lifecycle) deleteCluster(ctx context.Context, k key, c *ekssvc.Cluster) (time.Duration, error) {
	l.stopRuntime(c.ID)
	if err := l.Backend.Delete(ctx, c.ID); err != nil {
		return 0, fmt.Errorf("delete the control plane: %w", err)
	}
	if err := l.retireGrant(ctx, c); err != nil {
		return 0, err
	}
	// The network interfaces stay as long as the cluster: so do EKS's.
	if left := l.left(timing.ClusterDeleting, c.DeletedAt); left > 0 {
		return left, nil
	}
	if again, err := l.removeNetwork(ctx, c); err != nil || again > 0 {
		return again, err
	}
	if err := os.Remove(l.EgressSocket(c.ID)); err != nil && !os.IsNotExist(err) {
		return 0, fmt.Errorf("egress socket: %w", err)
	}
	return 0, l.Store.Update(ctx, func(tx *store.Tx) error {
		if now := ekssvc.Clusters.Get(tx, k.Scope, k.ID); now == nil || now.ID != c.ID {
			return nil
		}
		ekssvc.DeleteClusterRecords(tx, k.Scope, k.ID)
		forgetLogs(tx, k.Scope, k.ID)
		return nil
	})
}
