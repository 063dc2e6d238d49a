package lifecycle

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// remoteGroupName is known before the group is made: a second try finds it.
func remoteGroupName(ng *ekssvc.Nodegroup) string { return "eks-remoteAccess-" + ng.ID }

// ensureRemoteAccess makes the security group through which a node group's nodes
// can be reached by SSH (RDP for Windows): from the groups that the user names, or
// from everywhere. It answers the group as it is now, nil if it is gone.
func (l *Lifecycle) ensureRemoteAccess(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup) (*ekssvc.Nodegroup, error) {
	if r := ng.Resource.RemoteAccess; r == nil || aws.ToString(r.Ec2SshKey) == "" || ng.RemoteSecurityGroupID != "" {
		return ng, nil
	}
	ctx = as(ctx, ng.Scope)
	id, err := l.findRemoteGroup(ctx, c, ng)
	if err != nil {
		return nil, err
	}
	if id == "" {
		out, err := l.EC2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: aws.String(remoteGroupName(ng)), Description: aws.String("Security group for all nodes in the nodeGroup to allow SSH access"),
			VpcId: c.Resource.ResourcesVpcConfig.VpcId,
			TagSpecifications: tagged(ec2types.ResourceTypeSecurityGroup, map[string]string{
				"eks": *ng.Resource.NodegroupName, tagCluster: *ng.Resource.ClusterName, tagNodegroup: *ng.Resource.NodegroupName,
			}),
		})
		if err != nil {
			return nil, fmt.Errorf("security group for remote access: %w", err)
		}
		id = *out.GroupId
	}
	_, err = l.EC2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &id, IpPermissions: []ec2types.IpPermission{remotePermission(ng)}})
	if err != nil && !isCode(err, "InvalidPermission.Duplicate") {
		return nil, fmt.Errorf("security group for remote access: %w", err)
	}
	var now *ekssvc.Nodegroup
	err = l.editNodegroup(ctx, ng, func(_ *store.Tx, n *ekssvc.Nodegroup) bool {
		n.RemoteSecurityGroupID = id
		now = n
		return true
	})
	return now, err
}

func remotePermission(ng *ekssvc.Nodegroup) ec2types.IpPermission {
	port := int32(22)
	if strings.HasPrefix(string(ng.Resource.AmiType), "WINDOWS") {
		port = 3389
	}
	p := ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: &port, ToPort: &port}
	for _, g := range ng.Resource.RemoteAccess.SourceSecurityGroups {
		p.UserIdGroupPairs = append(p.UserIdGroupPairs, ec2types.UserIdGroupPair{GroupId: aws.String(g)})
	}
	if len(p.UserIdGroupPairs) == 0 {
		p.IpRanges = []ec2types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}
	}
	return p
}

func (l *Lifecycle) findRemoteGroup(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup) (string, error) {
	out, err := l.EC2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{
		{Name: aws.String("group-name"), Values: []string{remoteGroupName(ng)}},
		{Name: aws.String("vpc-id"), Values: []string{*c.Resource.ResourcesVpcConfig.VpcId}},
	}})
	if err != nil || len(out.SecurityGroups) == 0 {
		return "", err
	}
	return *out.SecurityGroups[0].GroupId, nil
}

// removeRemoteAccess deletes the group when no instance is in it any more.
func (l *Lifecycle) removeRemoteAccess(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup) error {
	if ng.Resource.RemoteAccess == nil {
		return nil
	}
	ctx = as(ctx, ng.Scope)
	id, err := l.findRemoteGroup(ctx, c, ng)
	if err != nil || id == "" {
		return err
	}
	_, err = l.EC2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
	if err != nil && !isCode(err, "InvalidGroup.NotFound") {
		return fmt.Errorf("delete the security group for remote access: %w", err)
	}
	return nil
}
