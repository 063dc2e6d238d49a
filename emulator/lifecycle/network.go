package lifecycle

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// securityGroupDescription is the text EKS gives to cluster security groups.
const securityGroupDescription = "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any managed workloads."

func base64PEM(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func isCode(err error, codes ...string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode())
}

// makeSecurityGroup makes the cluster security group: all traffic among its
// members, and whatever the user adds.
func (l *Lifecycle) makeSecurityGroup(ctx context.Context, c *ekssvc.Cluster) error {
	if c.SecurityGroupID != "" {
		return nil
	}
	ctx = as(ctx, c.Scope)
	name, vpc := *c.Resource.Name, c.Resource.ResourcesVpcConfig.VpcId
	id, err := l.findSecurityGroup(ctx, name, vpc)
	if err != nil {
		return err
	}
	if id == "" {
		group := fmt.Sprintf("eks-cluster-sg-%s-%d", name, groupNumber(c.ID))
		out, err := l.EC2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: &group, Description: aws.String(securityGroupDescription), VpcId: vpc,
			TagSpecifications: tagged(ec2types.ResourceTypeSecurityGroup, map[string]string{
				"Name": group, "kubernetes.io/cluster/" + name: "owned", "aws:eks:cluster-name": name,
			}),
		})
		if err != nil {
			return err
		}
		id = *out.GroupId
	}
	_, err = l.EC2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: &id, IpPermissions: []ec2types.IpPermission{{
			IpProtocol: aws.String("-1"), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: &id}},
		}},
	})
	if err != nil && !isCode(err, "InvalidPermission.Duplicate") {
		return err
	}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool {
		c.SecurityGroupID = id
		c.Resource.ResourcesVpcConfig.ClusterSecurityGroupId = &id
		return true
	})
}

// findSecurityGroup finds the group of an earlier, interrupted try.
func (l *Lifecycle) findSecurityGroup(ctx context.Context, cluster string, vpc *string) (string, error) {
	out, err := l.EC2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{
		{Name: aws.String("tag:aws:eks:cluster-name"), Values: []string{cluster}},
		{Name: aws.String("vpc-id"), Values: []string{*vpc}},
	}})
	if err != nil || len(out.SecurityGroups) == 0 {
		return "", err
	}
	return *out.SecurityGroups[0].GroupId, nil
}

// groupNumber is the number in the security group's name, stable per cluster.
func groupNumber(id string) uint32 {
	var n uint32
	for _, b := range []byte(id) {
		n = n*31 + uint32(b)
	}
	return n
}

// makeInterfaces makes the control plane's cross-account interfaces, one in each
// of two subnets of different zones. EKS makes two to four.
func (l *Lifecycle) makeInterfaces(ctx context.Context, c *ekssvc.Cluster) error {
	if len(c.Interfaces) > 0 {
		return nil
	}
	ctx = as(ctx, c.Scope)
	vpc := c.Resource.ResourcesVpcConfig
	subnets, err := l.EC2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: vpc.SubnetIds})
	if err != nil {
		return err
	}
	ids := []string{}
	for _, s := range controlPlaneSubnets(subnets.Subnets) {
		// The token makes a second try after a crash find the first one's interface.
		out, err := l.EC2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
			SubnetId: &s, Groups: append([]string{c.SecurityGroupID}, vpc.SecurityGroupIds...),
			Description: aws.String("Amazon EKS " + *c.Resource.Name), ClientToken: aws.String(c.ID + "-" + s),
		})
		if err != nil {
			return fmt.Errorf("interface in %s: %w", s, err)
		}
		ids = append(ids, *out.NetworkInterface.NetworkInterfaceId)
	}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { c.Interfaces = ids; return true })
}

// controlPlaneSubnets picks the subnets with the most free addresses in two zones.
func controlPlaneSubnets(subnets []ec2types.Subnet) []string {
	slices.SortStableFunc(subnets, func(a, b ec2types.Subnet) int {
		return int(aws.ToInt32(b.AvailableIpAddressCount) - aws.ToInt32(a.AvailableIpAddressCount))
	})
	var ids []string
	zones := map[string]bool{}
	for _, s := range subnets {
		if z := aws.ToString(s.AvailabilityZone); !zones[z] && len(ids) < 2 {
			zones[z] = true
			ids = append(ids, *s.SubnetId)
		}
	}
	return ids
}

// removeNetwork gives back what makeSecurityGroup and makeInterfaces made. A
// security group that is still in use stays, as on EKS, rather than block the
// cluster's deletion.
func (l *Lifecycle) removeNetwork(ctx context.Context, c *ekssvc.Cluster) error {
	ctx = as(ctx, c.Scope)
	for _, id := range c.Interfaces {
		_, err := l.EC2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id})
		if err != nil && !isCode(err, "InvalidNetworkInterfaceID.NotFound") {
			return fmt.Errorf("delete %s: %w", id, err)
		}
	}
	id := c.SecurityGroupID
	if id == "" { // made, but not yet in the record, when the cluster was deleted
		var err error
		if id, err = l.findSecurityGroup(ctx, *c.Resource.Name, c.Resource.ResourcesVpcConfig.VpcId); err != nil || id == "" {
			return err
		}
	}
	_, err := l.EC2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
	if isCode(err, "DependencyViolation") {
		l.Log.Warn("the cluster security group is in use and stays", "cluster", *c.Resource.Name, "group", id)
		return nil
	}
	if err != nil && !isCode(err, "InvalidGroup.NotFound") {
		return fmt.Errorf("delete %s: %w", id, err)
	}
	return nil
}

func tagged(t ec2types.ResourceType, tags map[string]string) []ec2types.TagSpecification {
	s := ec2types.TagSpecification{ResourceType: t}
	for k, v := range tags {
		s.Tags = append(s.Tags, ec2types.Tag{Key: &k, Value: &v})
	}
	slices.SortFunc(s.Tags, func(a, b ec2types.Tag) int {
		if *a.Key < *b.Key {
			return -1
		}
		return 1
	})
	return []ec2types.TagSpecification{s}
}
