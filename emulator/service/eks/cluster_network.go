package eks

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

const (
	maxSecurityGroups    = 5
	maxSubnets           = 16
	maxPublicAccessCIDRs = 40
	// minFreeAddresses is what EKS wants in each subnet for its interfaces. The user
	// guide asks for six; what EKS refuses is less than five.
	minFreeAddresses = 5
)

// zonesWithoutEKS cannot host control planes (EKS user guide, "VPC and subnet
// requirements").
var zonesWithoutEKS = []string{"use1-az3", "usw1-az2", "cac1-az3"}

// network is what EC2 says about a cluster's subnets.
type network struct {
	vpc     ec2types.Vpc
	subnets []ec2types.Subnet
}

// checkNetwork makes sure that a control plane can have its interfaces in the
// subnets and security groups. full makes the error about subnets without room,
// which EKS words alike and classes by operation.
func (s *Service) checkNetwork(ctx context.Context, a about, in *ekstypes.VpcConfigRequest, full func(format string, args ...any) error) (network, error) {
	if in == nil || len(in.SubnetIds) == 0 {
		return network{}, a.invalidParameter("Subnets specified must be in at least two different AZs")
	}
	if len(in.SubnetIds) > maxSubnets {
		return network{}, a.invalidParameter("subnetIds can have at most %d items.", maxSubnets)
	}
	subnets, err := s.subnets(ctx, a, in.SubnetIds)
	if err != nil {
		return network{}, err
	}
	vpcID := aws.ToString(subnets[0].VpcId)
	zones := map[string]bool{}
	for _, sn := range subnets {
		if aws.ToString(sn.VpcId) != vpcID {
			return network{}, a.invalidParameter("Subnets specified must belong to the same VPC")
		}
		zones[aws.ToString(sn.AvailabilityZoneId)] = true
	}
	if err := s.checkZones(ctx, a, subnets); err != nil {
		return network{}, err
	}
	if len(zones) < 2 {
		return network{}, a.invalidParameter("Subnets specified must be in at least two different AZs")
	}
	if why := tooFull(subnets); why != "" {
		return network{}, full("%s", why)
	}
	if err := s.checkSecurityGroups(ctx, a, in.SecurityGroupIds, vpcID); err != nil {
		return network{}, err
	}
	vpcs, err := s.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{vpcID}})
	if err != nil {
		return network{}, a.fromEC2(err, awsid.CallerFrom(ctx).RequestID)
	}
	return network{vpc: vpcs.Vpcs[0], subnets: subnets}, nil
}

// tooFull says which subnets have too few free addresses for the interfaces that an
// operation makes, "" if none has. The words are EKS's, as users quote them
// (aws/containers-roadmap issue 1693, elastic-ipfs/infrastructure pull request 221).
func tooFull(subnets []ec2types.Subnet) string {
	var lack []string
	for _, sn := range subnets {
		if n := aws.ToInt32(sn.AvailableIpAddressCount); n < minFreeAddresses {
			lack = append(lack, fmt.Sprintf("%s Free IPs: %d", aws.ToString(sn.SubnetId), n))
		}
	}
	if lack == nil {
		return ""
	}
	return fmt.Sprintf("Provided subnets %s , need at least %d IPs in each subnet to be free for this operation", strings.Join(lack, " "), minFreeAddresses)
}

// checkRoom makes sure that a cluster's subnets have addresses for the interfaces of
// a control plane that takes over from the present one.
func (s *Service) checkRoom(ctx context.Context, a about, c *Cluster) error {
	subnets, err := s.subnets(ctx, a, c.Resource.ResourcesVpcConfig.SubnetIds)
	if err != nil {
		return err
	}
	if why := tooFull(subnets); why != "" {
		return a.invalidRequest("%s", why)
	}
	return nil
}

// networkOf describes an existing cluster's VPC.
func (s *Service) networkOf(ctx context.Context, a about, c *Cluster) (network, error) {
	vpcs, err := s.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{aws.ToString(c.Resource.ResourcesVpcConfig.VpcId)}})
	if err != nil {
		return network{}, a.fromEC2(err, awsid.CallerFrom(ctx).RequestID)
	}
	return network{vpc: vpcs.Vpcs[0]}, nil
}

// subnets describes ids in their order.
func (s *Service) subnets(ctx context.Context, a about, ids []string) ([]ec2types.Subnet, error) {
	if dup := duplicate(ids); dup != "" {
		return nil, a.invalidParameter("Subnet %s is specified more than once", dup)
	}
	out, err := s.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: ids})
	if err != nil {
		return nil, a.fromEC2(err, awsid.CallerFrom(ctx).RequestID)
	}
	subnets := slices.Clone(out.Subnets)
	slices.SortFunc(subnets, func(x, y ec2types.Subnet) int {
		return slices.Index(ids, aws.ToString(x.SubnetId)) - slices.Index(ids, aws.ToString(y.SubnetId))
	})
	return subnets, nil
}

func duplicate(words []string) string {
	sorted := slices.Sorted(slices.Values(words))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return sorted[i]
		}
	}
	return ""
}

func (s *Service) checkZones(ctx context.Context, a about, subnets []ec2types.Subnet) error {
	var bad string
	for _, sn := range subnets {
		if slices.Contains(zonesWithoutEKS, aws.ToString(sn.AvailabilityZoneId)) {
			bad = aws.ToString(sn.AvailabilityZone)
		}
	}
	if bad == "" {
		return nil
	}
	out, err := s.ec2.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{})
	if err != nil {
		return a.fromEC2(err, awsid.CallerFrom(ctx).RequestID)
	}
	var valid []string
	for _, z := range out.AvailabilityZones {
		if !slices.Contains(zonesWithoutEKS, aws.ToString(z.ZoneId)) {
			valid = append(valid, aws.ToString(z.ZoneName))
		}
	}
	slices.Sort(valid)
	return &ekstypes.UnsupportedAvailabilityZoneException{
		ClusterName: ptrOrNil(a.cluster), ValidZones: valid,
		Message: aws.String("Cannot create cluster '" + a.cluster + "' because EKS does not support creating control plane instances in " + bad +
			", the targeted availability zone. Retry cluster creation using control plane subnets that span at least two of these availability zones: " +
			strings.Join(valid, ", ") + ". Note, post cluster creation, you can run worker nodes in separate subnets/availability zones from control plane subnets/availability zones passed during cluster creation"),
	}
}

func (s *Service) checkSecurityGroups(ctx context.Context, a about, ids []string, vpcID string) error {
	if len(ids) == 0 {
		return nil
	}
	if len(ids) > maxSecurityGroups {
		return a.invalidParameter("securityGroupIds can have at most %d items.", maxSecurityGroups)
	}
	out, err := s.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: ids})
	if err != nil {
		return a.fromEC2(err, awsid.CallerFrom(ctx).RequestID)
	}
	for _, g := range out.SecurityGroups {
		if aws.ToString(g.VpcId) != vpcID {
			return a.invalidParameter("Security group %s is not in the VPC of the subnets, %s", aws.ToString(g.GroupId), vpcID)
		}
	}
	return nil
}

func setVpcConfig(a about, r *ekstypes.Cluster, in *ekstypes.VpcConfigRequest, net network, v6 bool) error {
	public := in.EndpointPublicAccess == nil || *in.EndpointPublicAccess
	cfg := ekstypes.VpcConfigResponse{
		SubnetIds: slices.Clone(in.SubnetIds), SecurityGroupIds: append([]string{}, in.SecurityGroupIds...),
		VpcId: net.vpc.VpcId, EndpointPublicAccess: public, EndpointPrivateAccess: aws.ToBool(in.EndpointPrivateAccess),
		ControlPlaneEgressMode: in.ControlPlaneEgressMode,
	}
	if !public && !cfg.EndpointPrivateAccess {
		return a.invalidParameter("Private and public endpoint access cannot be false")
	}
	if m := in.ControlPlaneEgressMode; m != "" && !slices.Contains(m.Values(), m) {
		return a.invalidParameter("Unsupported control plane egress mode %s", m)
	}
	cidrs, err := publicCIDRs(a, public, v6, in.PublicAccessCidrs)
	cfg.PublicAccessCidrs = cidrs
	r.ResourcesVpcConfig = &cfg
	return err
}

// everyone is the public access list by default; endpoints of IPv6 clusters are
// dual-stack.
func everyone(v6 bool) []string {
	if v6 {
		return []string{"0.0.0.0/0", "::/0"}
	}
	return []string{"0.0.0.0/0"}
}

// publicCIDRs validates a cluster's public access list, by default everyone.
func publicCIDRs(a about, public, v6 bool, in []string) ([]string, error) {
	if !public {
		if len(in) > 0 {
			return nil, a.invalidParameter("publicAccessCidrs cannot be specified when public access is disabled")
		}
		return []string{}, nil
	}
	if len(in) == 0 {
		return everyone(v6), nil
	}
	if len(in) > maxPublicAccessCIDRs {
		return nil, a.invalidParameter("publicAccessCidrs can have at most %d items.", maxPublicAccessCIDRs)
	}
	var bad []string
	for _, c := range in {
		if p, err := netip.ParsePrefix(c); err != nil || p.Masked() != p || p.Addr().Is6() && !v6 {
			bad = append(bad, c)
		}
	}
	if len(bad) > 0 {
		return nil, a.invalidParameter("The following CIDRs are invalid in publicAccessCidrs: [%s]", strings.Join(bad, ", "))
	}
	return slices.Clone(in), nil
}
