package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/fixtures/addons"
)

// keepAutoMode makes the cluster hold what EKS Auto Mode puts into it: the kinds of
// its controllers, and the built-in node pools that are enabled. No node is
// launched: nobody works on the pools yet. The kinds stay when Auto Mode is
// disabled, with the user's objects.
func (l *Lifecycle) keepAutoMode(ctx context.Context, c *ekssvc.Cluster, rt *runtime) error {
	m, on := autoMode(c)
	want, err := autoModeKey(m, on)
	if err != nil || c.AutoModeApplied == want {
		return err
	}
	if on {
		objs, err := m.Objects()
		if err != nil {
			return err
		}
		if err := rt.applier.apply(ctx, objs, true); err != nil {
			return fmt.Errorf("install EKS Auto Mode: %w", err)
		}
	}
	if c.AutoModeApplied != "" {
		if err := rt.applier.remove(ctx, m.Obsolete(on)); err != nil {
			return fmt.Errorf("remove node pools of EKS Auto Mode: %w", err)
		}
	}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { c.AutoModeApplied = want; return true })
}

func autoMode(c *ekssvc.Cluster) (m addons.AutoMode, on bool) {
	cfg := c.Resource.ComputeConfig
	if cfg == nil || !aws.ToBool(cfg.Enabled) {
		return m, false
	}
	return addons.AutoMode{
		NodePools: cfg.NodePools, Role: ekssvc.RoleName(aws.ToString(cfg.NodeRoleArn)), SecurityGroup: c.SecurityGroupID,
		Subnets: c.Resource.ResourcesVpcConfig.SubnetIds,
	}, true
}

// autoModeKey is empty for a cluster that never had Auto Mode.
func autoModeKey(m addons.AutoMode, on bool) (string, error) {
	if !on {
		return "", nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("EKS Auto Mode: %w", err)
	}
	return string(b), nil
}
