package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// TestNodegroupRemoteAccess follows a key pair and the groups that may use it from
// the request to EC2.
func TestNodegroupRemoteAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	c := w.cluster(t, "dev")
	must(w.ec2.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("ops")}))(t)
	bastion := *must(w.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
		GroupName: aws.String("bastion"), Description: aws.String("bastion"), VpcId: c.ResourcesVpcConfig.VpcId,
	}))(t).GroupId
	w.nodegroup(t, "dev", "ng", 1, func(in *eks.CreateNodegroupInput) {
		in.RemoteAccess = &ekstypes.RemoteAccessConfig{Ec2SshKey: aws.String("ops"), SourceSecurityGroups: []string{bastion}}
	})
	ng := w.nodegroupNow(t, "dev", "ng")
	id := aws.ToString(ng.Resources.RemoteAccessSecurityGroup)
	group := must(w.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}}))(t).SecurityGroups[0]
	if len(group.IpPermissions) != 1 {
		t.Fatalf("permissions %+v", group.IpPermissions)
	}
	p := group.IpPermissions[0]
	if aws.ToInt32(p.FromPort) != 22 || aws.ToInt32(p.ToPort) != 22 || len(p.UserIdGroupPairs) != 1 || aws.ToString(p.UserIdGroupPairs[0].GroupId) != bastion {
		t.Errorf("permission %+v", p)
	}
	i := w.instances(t, "ng")[0]
	in := func(id string) bool {
		return slices.ContainsFunc(i.SecurityGroups, func(g ec2types.GroupIdentifier) bool { return aws.ToString(g.GroupId) == id })
	}
	if aws.ToString(i.KeyName) != "ops" || !in(id) || !in(*c.ResourcesVpcConfig.ClusterSecurityGroupId) {
		t.Errorf("instance with key %s in %+v", aws.ToString(i.KeyName), i.SecurityGroups)
	}
	must(w.eks.DeleteNodegroup(ctx, &eks.DeleteNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")}))(t)
	eventually(t, 2*time.Minute, "the node group is gone", func() error {
		_, err := w.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")})
		if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
	if out, err := w.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}}); err == nil {
		t.Errorf("the security group stays: %+v", out.SecurityGroups)
	}
}
