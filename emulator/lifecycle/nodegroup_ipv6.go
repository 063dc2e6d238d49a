package lifecycle

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// ipv6Issue says why nodes of an IPv6 cluster cannot start: EKS wants every subnet of
// the group to give IPv6 addresses to instances, since the node has no other address
// to be known by. nil if all do. Source of the text: eksctl issue 4701.
func (l *Lifecycle) ipv6Issue(c *ekssvc.Cluster, ng *ekssvc.Nodegroup) *ekstypes.Issue {
	if !ekssvc.IsIPv6(c) {
		return nil
	}
	var without []string
	for _, id := range ng.Resource.Subnets {
		if s := ec2svc.Subnets.Get(l.Store, ng.Scope, id); s != nil && !aws.ToBool(s.AssignIpv6AddressOnCreation) {
			without = append(without, id)
		}
	}
	if len(without) == 0 {
		return nil
	}
	return &ekstypes.Issue{
		Code: ekstypes.NodegroupIssueCodeEc2SubnetMissingIpv6Assignment, ResourceIds: without,
		Message: aws.String(fmt.Sprintf("One or more Amazon EC2 Subnets of [%s] for node group %s does not automatically assign IPv6 addresses to instances launched into it. "+
			"See IP addressing in VPC guide: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-ip-addressing.html#subnet-public-ip",
			strings.Join(without, ", "), *ng.Resource.NodegroupName)),
	}
}
