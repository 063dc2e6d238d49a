package lifecycle

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
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
	id, err := l.findSecurityGroup(ctx, c)
	if err != nil {
		return err
	}
	if id == "" {
		group := securityGroupName(c)
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

// securityGroupName has a number in it that is the cluster's own: the group of an
// earlier cluster of that name may have stayed.
func securityGroupName(c *ekssvc.Cluster) string {
	return fmt.Sprintf("eks-cluster-sg-%s-%d", *c.Resource.Name, groupNumber(c.ID))
}

// findSecurityGroup finds the group of an earlier, interrupted try.
func (l *Lifecycle) findSecurityGroup(ctx context.Context, c *ekssvc.Cluster) (string, error) {
	out, err := l.EC2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{
		{Name: aws.String("group-name"), Values: []string{securityGroupName(c)}},
		{Name: aws.String("vpc-id"), Values: []string{*c.Resource.ResourcesVpcConfig.VpcId}},
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

// interfaceDescription is what the control plane's interfaces are known by, on EKS
// and after a crash.
func interfaceDescription(c *ekssvc.Cluster) string { return "Amazon EKS " + *c.Resource.Name }

// makeInterfaces makes the control plane's cross-account interfaces, one in each
// of two subnets of different zones. EKS has two to four: nextInterfaces.
func (l *Lifecycle) makeInterfaces(ctx context.Context, c *ekssvc.Cluster) error {
	if len(c.Interfaces) > 0 {
		return nil
	}
	ctx = as(ctx, c.Scope)
	vpc := c.Resource.ResourcesVpcConfig
	// A second try may choose other subnets than the first, since that one took
	// addresses: what it made is looked for, not made again.
	made, err := l.findInterfaces(ctx, c)
	if err != nil {
		return err
	}
	ids, zones := []string{}, map[string]bool{}
	for _, ni := range made {
		ids = append(ids, *ni.NetworkInterfaceId)
		zones[aws.ToString(ni.AvailabilityZone)] = true
	}
	subnets, err := l.EC2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: vpc.SubnetIds})
	if err != nil {
		return err
	}
	for _, s := range controlPlaneSubnets(subnets.Subnets, zones) {
		id, err := l.makeInterface(ctx, c, s, nil)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { c.Interfaces = ids; return true })
}

// makeInterface makes one of the control plane's interfaces, the same again with the
// same token.
func (l *Lifecycle) makeInterface(ctx context.Context, c *ekssvc.Cluster, subnet string, token *string) (id string, err error) {
	in := &ec2.CreateNetworkInterfaceInput{
		SubnetId: &subnet, Groups: append([]string{c.SecurityGroupID}, c.Resource.ResourcesVpcConfig.SecurityGroupIds...),
		Description: aws.String(interfaceDescription(c)), ClientToken: token,
	}
	if ekssvc.IsIPv6(c) {
		in.Ipv6AddressCount = aws.Int32(1)
	}
	out, err := l.EC2.CreateNetworkInterface(ctx, in)
	if err != nil {
		return "", fmt.Errorf("interface in %s: %w", subnet, err)
	}
	return *out.NetworkInterface.NetworkInterfaceId, nil
}

// findInterfaces finds the control plane's interfaces, in the record or not: those
// of the cluster's security group that another account holds.
func (l *Lifecycle) findInterfaces(ctx context.Context, c *ekssvc.Cluster) ([]ec2types.NetworkInterface, error) {
	if c.SecurityGroupID == "" {
		return nil, nil // it comes first
	}
	all, err := l.interfacesIn(ctx, c.SecurityGroupID)
	return slices.DeleteFunc(all, func(ni ec2types.NetworkInterface) bool {
		return aws.ToString(ni.Description) != interfaceDescription(c) || ni.Attachment == nil || ni.Attachment.InstanceId != nil
	}), err
}

func (l *Lifecycle) interfacesIn(ctx context.Context, group string) ([]ec2types.NetworkInterface, error) {
	out, err := l.EC2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{
		Filters: []ec2types.Filter{{Name: aws.String("group-id"), Values: []string{group}}},
	})
	if err != nil {
		return nil, err
	}
	return out.NetworkInterfaces, nil
}

// controlPlaneSubnets picks the subnets with the most free addresses, one a zone,
// until two zones are taken.
func controlPlaneSubnets(subnets []ec2types.Subnet, taken map[string]bool) []string {
	slices.SortStableFunc(subnets, func(a, b ec2types.Subnet) int {
		return int(aws.ToInt32(b.AvailableIpAddressCount) - aws.ToInt32(a.AvailableIpAddressCount))
	})
	var ids []string
	for _, s := range subnets {
		if z := aws.ToString(s.AvailabilityZone); !taken[z] && len(taken) < 2 {
			taken[z] = true
			ids = append(ids, *s.SubnetId)
		}
	}
	return ids
}

// removeNetwork gives back what makeSecurityGroup and makeInterfaces made. A
// security group that the user has put to use stays, as on EKS, rather than block
// the cluster's deletion; one that only the cluster's own nodes still hold does
// not, and removeNetwork answers when to try again.
func (l *Lifecycle) removeNetwork(ctx context.Context, c *ekssvc.Cluster) (again time.Duration, err error) {
	ctx = as(ctx, c.Scope)
	if err := l.dropInterfaces(ctx, c, func(string) bool { return false }); err != nil {
		return 0, err
	}
	group := c.SecurityGroupID
	if group == "" { // made, but not yet in the record, when the cluster was deleted
		if group, err = l.findSecurityGroup(ctx, c); err != nil || group == "" {
			return 0, err
		}
	}
	_, err = l.EC2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &group})
	if isCode(err, "DependencyViolation") {
		own, err := l.removeNodeInterfaces(ctx, c, group)
		if err != nil || own {
			return groupRetry, err
		}
		l.Log.Warn("the cluster security group is in use and stays", "cluster", *c.Resource.Name, "group", group)
		return 0, nil
	}
	if err != nil && !isCode(err, "InvalidGroup.NotFound") {
		return 0, fmt.Errorf("delete %s: %w", group, err)
	}
	return 0, nil
}

// groupRetry is how soon a security group is tried again whose last holders are
// ending.
const groupRetry = 200 * time.Millisecond

// tagNodeInstance is on the interfaces that the VPC CNI makes for an instance.
const tagNodeInstance = "node.k8s.amazonaws.com/instance_id"

// removeNodeInterfaces deletes interfaces in the group that the CNI made for nodes
// that are gone. It tells whether the cluster's own nodes hold, or held, some.
func (l *Lifecycle) removeNodeInterfaces(ctx context.Context, c *ekssvc.Cluster, group string) (own bool, err error) {
	all, err := l.interfacesIn(ctx, group)
	if err != nil {
		return false, err
	}
	for _, ni := range all {
		instance := ""
		if ni.Attachment != nil {
			instance = aws.ToString(ni.Attachment.InstanceId)
		} else if i := slices.IndexFunc(ni.TagSet, func(t ec2types.Tag) bool { return aws.ToString(t.Key) == tagNodeInstance }); i >= 0 {
			instance = aws.ToString(ni.TagSet[i].Value)
		}
		i := ec2svc.Instances.Get(l.Store, c.Scope, instance)
		if instance == "" || i != nil && (live(i) || clusterOf(i) != *c.Resource.Name) {
			continue // the user's
		}
		own = true
		if ni.Attachment == nil {
			if err := l.deleteInterface(ctx, *ni.NetworkInterfaceId); err != nil {
				return own, err
			}
		}
	}
	return own, nil
}

func (l *Lifecycle) deleteInterface(ctx context.Context, id string) error {
	_, err := l.EC2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id})
	if err != nil && !isCode(err, "InvalidNetworkInterfaceID.NotFound") {
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
