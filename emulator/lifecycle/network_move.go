package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// refusedMoves are EC2's refusals that end an update whose control plane cannot have
// its interfaces, in EKS's words (API reference, ErrorDetail).
var refusedMoves = map[string]ekstypes.ErrorDetail{
	"InsufficientFreeAddressesInSubnet": {
		ErrorCode: ekstypes.ErrorCodeIpNotAvailable, ErrorMessage: aws.String("A subnet associated with the cluster doesn't have any available IP addresses."),
	},
	"InvalidSubnetID.NotFound": {
		ErrorCode: ekstypes.ErrorCodeSubnetNotFound, ErrorMessage: aws.String("We couldn't find one of the subnets associated with the cluster."),
	},
	"InvalidGroup.NotFound": {
		ErrorCode: ekstypes.ErrorCodeSecurityGroupNotFound, ErrorMessage: aws.String("We couldn't find one of the security groups associated with the cluster."),
	},
}

// refusedMove tells how an update ends because of err, if it does.
func refusedMove(c *ekssvc.Cluster, err error) (ekstypes.ErrorDetail, bool) {
	var refused smithy.APIError
	if !errors.As(err, &refused) {
		return ekstypes.ErrorDetail{}, false
	}
	why, ok := refusedMoves[refused.ErrorCode()]
	vpc := c.Resource.ResourcesVpcConfig
	why.ResourceIds = vpc.SubnetIds
	if why.ErrorCode == ekstypes.ErrorCodeSecurityGroupNotFound {
		why.ResourceIds = append([]string{c.SecurityGroupID}, vpc.SecurityGroupIds...)
	}
	return why, ok
}

// movesInterfaces tells whether an update brings a control plane with interfaces of
// its own. Those of the present one stay until it is done: a cluster has two
// interfaces, and four while such an update lasts.
func movesInterfaces(t ekstypes.UpdateType) bool {
	return t == ekstypes.UpdateTypeVersionUpdate || t == ekstypes.UpdateTypeVersionRollback || t == ekstypes.UpdateTypeVpcConfigUpdate
}

// nextInterfaces makes the interfaces that an update's control plane has. The
// subnets are remembered before anything is made in them: a second try makes the
// same requests with the same tokens, which make nothing twice.
func (l *Lifecycle) nextInterfaces(ctx context.Context, c *ekssvc.Cluster, u *ekssvc.Update) error {
	if !movesInterfaces(u.Resource.Type) || len(c.Interfaces) == 0 {
		return nil
	}
	ctx = as(ctx, c.Scope)
	move := c.Moving
	if move == nil {
		subnets, err := l.EC2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: c.Resource.ResourcesVpcConfig.SubnetIds})
		if err != nil {
			return fmt.Errorf("subnets of the control plane: %w", err)
		}
		move = &ekssvc.InterfaceMove{Subnets: controlPlaneSubnets(subnets.Subnets, map[string]bool{})}
		if err := l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { c.Moving = move; return true }); err != nil {
			return err
		}
	}
	if len(move.Interfaces) > 0 {
		return nil
	}
	var ids []string
	for _, s := range move.Subnets {
		id, err := l.makeInterface(ctx, c, s, aws.String(*u.Resource.Id+"/"+s))
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool {
		if c.Moving == nil {
			return false
		}
		c.Moving.Interfaces = ids
		return true
	})
}

// moveRefused ends an update. The cluster goes on as it was, at its version and in its
// subnets.
func (l *Lifecycle) moveRefused(ctx context.Context, c *ekssvc.Cluster, u *ekssvc.Update, why ekstypes.ErrorDetail) error {
	if err := l.dropInterfaces(ctx, c, func(id string) bool { return slices.Contains(c.Interfaces, id) }); err != nil {
		return err
	}
	name := *c.Resource.Name
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		now := ekssvc.Clusters.Edit(tx, c.Scope, name)
		if now == nil || now.ID != c.ID || now.UpdateID != c.UpdateID || now.Resource.Status != ekstypes.ClusterStatusUpdating {
			return nil
		}
		if before := now.VpcBefore; before != nil {
			now.Resource.ResourcesVpcConfig.SubnetIds, now.Resource.ResourcesVpcConfig.SecurityGroupIds = before.SubnetIds, before.SecurityGroupIds
		}
		if now.RunningVersion != "" {
			now.DesiredVersion = now.RunningVersion
		}
		now.Resource.Status, now.UpdateID, now.Moving, now.VpcBefore = ekstypes.ClusterStatusActive, "", nil, nil
		ekssvc.Clusters.Put(tx, c.Scope, name, now)
		ekssvc.FinishUpdate(tx, c.Scope, name, *u.Resource.Id, why)
		return nil
	})
}

// changeInterfaces makes the interfaces of an update's control plane the cluster's.
// Those of the one before are deleted once nothing points to them: retireInterfaces.
func changeInterfaces(c *ekssvc.Cluster) {
	if c.Moving != nil && len(c.Moving.Interfaces) > 0 {
		c.Interfaces, c.RetiredInterfaces = c.Moving.Interfaces, append(c.RetiredInterfaces, c.Interfaces...)
	}
	c.Moving, c.VpcBefore = nil, nil
}

// retireInterfaces tells the cluster where its API server is now and deletes the
// interfaces where it was.
func (l *Lifecycle) retireInterfaces(ctx context.Context, c *ekssvc.Cluster, rt *runtime) error {
	if len(c.RetiredInterfaces) == 0 {
		return nil
	}
	if rt != nil {
		if err := rt.applier.apply(ctx, l.apiEndpoints(c), true); err != nil {
			return err
		}
	}
	for _, id := range c.RetiredInterfaces {
		if err := l.deleteInterface(as(ctx, c.Scope), id); err != nil {
			return err
		}
	}
	return l.editCluster(ctx, c, func(now *ekssvc.Cluster) bool {
		now.RetiredInterfaces = slices.DeleteFunc(now.RetiredInterfaces, func(id string) bool { return slices.Contains(c.RetiredInterfaces, id) })
		return true
	})
}

// dropInterfaces deletes the control plane's interfaces, in the record or not, but
// for those that keep wants.
func (l *Lifecycle) dropInterfaces(ctx context.Context, c *ekssvc.Cluster, keep func(id string) bool) error {
	ctx = as(ctx, c.Scope)
	made, err := l.findInterfaces(ctx, c)
	if err != nil {
		return err
	}
	ids := slices.Concat(c.Interfaces, c.RetiredInterfaces)
	for _, ni := range made {
		ids = append(ids, *ni.NetworkInterfaceId)
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		if keep(id) {
			continue
		}
		if err := l.deleteInterface(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
