package ipamd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// placement is where a new interface goes.
type placement struct {
	subnet string
	groups []string
}

// site is what the choice of a subnet depends on: where the node is, and what its
// ipamd was told.
type site struct {
	subnet  string   // of the primary interface
	groups  []string // of the primary interface
	cluster string   // CLUSTER_NAME
	config  NodeConfig
	log     func(level, format string, args ...any)
}

// Tags of subnets that ipamd looks at.
const (
	tagRoleCNI     = "kubernetes.io/role/cni"
	tagClusterHead = "kubernetes.io/cluster/"
	roleExcluded   = "0"
)

var (
	errNoSubnet     = errors.New("no valid subnets available for ENI creation - all subnets are either not tagged or tagged with kubernetes.io/role/cni=0")
	errPrimaryAlone = errors.New("primary subnet is tagged with kubernetes.io/role/cni=0 and subnet discovery is disabled - no valid subnets available for ENI creation")
)

// places says where the node's next interface may go, the best place first: ipamd
// tries the next one whatever EC2 says about the one before. Source:
// amazon-vpc-cni-k8s v1.23.1, pkg/awsutils/awsutils.go (createENI) and
// pkg/ipamd/ipamd.go (tryAllocateENI).
func (p *Pools) places(ctx context.Context, s site) ([]placement, error) {
	own := placement{subnet: s.subnet, groups: s.groups}
	if s.config.CustomNetworking {
		at, err := s.custom()
		return []placement{at}, err
	}
	all, err := p.vpcSubnets(ctx, s.subnet)
	if !s.config.SubnetDiscovery {
		if err != nil {
			s.log("warn", "Failed to check if primary subnet is excluded: %v. Proceeding with ENI creation attempt.", err)
		} else if s.excludes(all, s.subnet) {
			return nil, errPrimaryAlone
		}
		return []placement{own}, nil
	}
	if err != nil {
		s.log("warn", "Failed to call ec2:DescribeSubnets: %v", err)
		s.log("info", "Defaulting to same subnet as the primary interface for the new ENI")
		return nil, fmt.Errorf("%s: %w%s", "Failed to check if primary subnet is excluded", err, ". Quit ENI creation attempt.") // ipamd's words
	}
	var out []placement
	for i := range all {
		id := aws.ToString(all[i].SubnetId)
		switch {
		case s.takes(&all[i]):
			out = append(out, placement{subnet: id, groups: s.groups})
		case id == s.subnet:
			s.log("info", "Primary subnet %s is excluded from ENI creation", id)
		}
	}
	if len(out) == 0 {
		return nil, errNoSubnet
	}
	return out, nil
}

// create makes an interface at the first place that takes it; in has everything but
// the place.
func (p *Pools) create(ctx context.Context, s site, in *ec2.CreateNetworkInterfaceInput) (*ec2.CreateNetworkInterfaceOutput, error) {
	at, err := p.places(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, a := range at {
		if s.config.SubnetDiscovery || s.config.CustomNetworking {
			s.log("info", "Creating ENI with security groups: %v in subnet: %s", a.groups, a.subnet)
		}
		in.SubnetId, in.Groups = &a.subnet, a.groups
		var out *ec2.CreateNetworkInterfaceOutput
		if out, err = p.cfg.EC2.CreateNetworkInterface(ctx, in); err == nil {
			s.log("info", "Created a new ENI: %s", aws.ToString(out.NetworkInterface.NetworkInterfaceId))
			return out, nil
		}
		s.log("error", "Failed to CreateNetworkInterface %v for subnet %s", err, a.subnet)
	}
	return nil, fmt.Errorf("failed to create network interface: %w", err)
}

// custom is where the node's ENIConfig puts interfaces.
func (s *site) custom() (placement, error) {
	s.log("info", "Found ENI Config Name: %s", s.config.ENIConfigName)
	c := s.config.ENIConfig
	if c == nil {
		s.log("error", "error while retrieving eniconfig: ENIConfig.crd.k8s.amazonaws.com %q not found", s.config.ENIConfigName)
		s.log("error", "Failed to get pod ENI config")
		return placement{}, warmpool.ErrNoENIConfig
	}
	s.log("info", "ipamd: using custom network config: %v, %s", c.SecurityGroups, c.Subnet)
	for _, g := range c.SecurityGroups {
		s.log("debug", "Found security-group id: %s", g)
	}
	s.log("info", "Using a custom network config for the new ENI")
	at := placement{subnet: c.Subnet, groups: c.SecurityGroups}
	if len(at.groups) == 0 {
		at.groups = s.groups
		s.log("warn", "No custom networking security group found, will use the node's primary ENI's SG: %v", at.groups)
	}
	return at, nil
}

// vpcSubnets are those of the VPC in the zone of a subnet, the one with the most free
// addresses first.
func (p *Pools) vpcSubnets(ctx context.Context, of string) ([]ec2types.Subnet, error) {
	own, err := p.cfg.EC2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{of}})
	if err != nil {
		return nil, fmt.Errorf("AllocENI: unable to describe subnets: %w", err)
	}
	if len(own.Subnets) == 0 {
		return nil, fmt.Errorf("AllocENI: unable to describe subnets: %s is not there", of)
	}
	out, err := p.cfg.EC2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{
		{Name: aws.String("vpc-id"), Values: []string{aws.ToString(own.Subnets[0].VpcId)}},
		{Name: aws.String("availability-zone"), Values: []string{aws.ToString(own.Subnets[0].AvailabilityZone)}},
	}})
	if err != nil {
		return nil, fmt.Errorf("AllocENI: unable to describe subnets: %w", err)
	}
	slices.SortStableFunc(out.Subnets, func(a, b ec2types.Subnet) int {
		return int(aws.ToInt32(b.AvailableIpAddressCount)) - int(aws.ToInt32(a.AvailableIpAddressCount))
	})
	return out.Subnets, nil
}

// takes tells whether interfaces go into a subnet: into the node's own unless its tag
// says no, into others if their tag says yes and they are not another cluster's.
func (s *site) takes(sub *ec2types.Subnet) bool {
	id, role := aws.ToString(sub.SubnetId), tagValue(sub.Tags, tagRoleCNI)
	switch {
	case role == roleExcluded:
		s.log("debug", "Subnet %s has %s=0 tag, excluding it from ENI creation", id, tagRoleCNI)
		return false
	case role == "" && id == s.subnet:
		s.log("debug", "Primary subnet %s has no %s tag, including it for ENI creation (backwards compatibility)", id, tagRoleCNI)
		return true
	case role == "":
		s.log("debug", "Subnet %s has no %s tag, excluding it from ENI creation", id, tagRoleCNI)
		return false
	case s.ours(sub):
		return true
	}
	s.log("debug", "Subnet %s does not belong to this cluster, excluding it from ENI creation", id)
	return false
}

// ours tells whether a subnet's tags name no cluster, or this one.
func (s *site) ours(sub *ec2types.Subnet) bool {
	if s.cluster == "" {
		return true
	}
	tagged := false
	for _, t := range sub.Tags {
		if strings.HasPrefix(aws.ToString(t.Key), tagClusterHead) {
			tagged = true
			if aws.ToString(t.Key) == tagClusterHead+s.cluster {
				return true
			}
		}
	}
	return !tagged
}

// excludes tells whether the tags of a subnet keep pods off the interfaces in it. A
// subnet that is not among all, such as one shared by another account, does not.
func (s *site) excludes(all []ec2types.Subnet, id string) bool {
	i := slices.IndexFunc(all, func(sub ec2types.Subnet) bool { return aws.ToString(sub.SubnetId) == id })
	if i < 0 {
		return false
	}
	switch tagValue(all[i].Tags, tagRoleCNI) {
	case "":
		return false
	case roleExcluded:
		return true
	}
	return !s.ours(&all[i])
}

func tagValue(tags []ec2types.Tag, key string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}
