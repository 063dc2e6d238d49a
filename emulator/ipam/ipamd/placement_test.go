package ipamd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// subnetsOnly is as much of EC2 as the choice of a place needs: every subnet is in
// one VPC and zone; those named in refuse take no interface.
type subnetsOnly struct {
	EC2
	subnets []ec2types.Subnet
	err     error
	refuse  map[string]bool
	made    []string // subnet and groups of CreateNetworkInterface
}

func (e *subnetsOnly) DescribeSubnets(_ context.Context, in *ec2.DescribeSubnetsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error) {
	if e.err != nil {
		return nil, e.err
	}
	out := &ec2.DescribeSubnetsOutput{}
	for _, s := range e.subnets {
		if len(in.SubnetIds) == 0 || in.SubnetIds[0] == *s.SubnetId {
			out.Subnets = append(out.Subnets, s)
		}
	}
	return out, nil
}

func (e *subnetsOnly) CreateNetworkInterface(_ context.Context, in *ec2.CreateNetworkInterfaceInput, _ ...func(*ec2.Options)) (*ec2.CreateNetworkInterfaceOutput, error) {
	e.made = append(e.made, *in.SubnetId+" "+strings.Join(in.Groups, ","))
	if e.refuse[*in.SubnetId] {
		return nil, fmt.Errorf("%s is full", *in.SubnetId)
	}
	return &ec2.CreateNetworkInterfaceOutput{NetworkInterface: &ec2types.NetworkInterface{NetworkInterfaceId: aws.String("eni-1")}}, nil
}

func subnet(id string, free int32, tags ...string) ec2types.Subnet {
	s := ec2types.Subnet{SubnetId: &id, AvailableIpAddressCount: &free, VpcId: aws.String("vpc-1"), AvailabilityZone: aws.String("us-east-1a")}
	for _, t := range tags {
		k, v, _ := strings.Cut(t, "=")
		s.Tags = append(s.Tags, ec2types.Tag{Key: &k, Value: &v})
	}
	return s
}

func TestCreate(t *testing.T) {
	const role = "kubernetes.io/role/cni"
	discovery := NodeConfig{Settings: warmpool.Settings{SubnetDiscovery: true}}
	custom := func(c *ENIConfig) NodeConfig {
		return NodeConfig{Settings: warmpool.Settings{CustomNetworking: true, SubnetDiscovery: true}, ENIConfigName: "us-east-1a", ENIConfig: c}
	}
	own := subnet("own", 5)
	for _, tc := range []struct {
		name    string
		config  NodeConfig
		subnets []ec2types.Subnet
		err     error
		refuse  string
		want    []string // tried, in order
		fails   string
		logs    string
	}{
		{name: "beside the primary one", config: discovery, subnets: []ec2types.Subnet{own, subnet("big", 500)}, want: []string{"own sg-1,sg-2"},
			logs: "Creating ENI with security groups: [sg-1 sg-2] in subnet: own"},
		{name: "the tagged one with the most addresses", config: discovery, subnets: []ec2types.Subnet{own, subnet("some", 50, role+"=1"), subnet("most", 60, role+"=1")}, want: []string{"most sg-1,sg-2"}},
		{name: "the next one when EC2 refuses", config: discovery, subnets: []ec2types.Subnet{own, subnet("some", 50, role+"=1"), subnet("most", 60, role+"=1")}, refuse: "most some",
			want: []string{"most sg-1,sg-2", "some sg-1,sg-2", "own sg-1,sg-2"}, logs: "Failed to CreateNetworkInterface most is full for subnet most"},
		{name: "none takes it", config: discovery, subnets: []ec2types.Subnet{own}, refuse: "own", want: []string{"own sg-1,sg-2"}, fails: "failed to create network interface: own is full"},
		{name: "the primary one is taken out", config: discovery, subnets: []ec2types.Subnet{subnet("own", 500, role+"=0"), subnet("other", 5, role+"=1")}, want: []string{"other sg-1,sg-2"},
			logs: "Primary subnet own is excluded from ENI creation"},
		{name: "all are taken out", config: discovery, subnets: []ec2types.Subnet{subnet("own", 500, role+"=0"), subnet("other", 5, role+"=0")},
			fails: "no valid subnets available for ENI creation - all subnets are either not tagged or tagged with kubernetes.io/role/cni=0"},
		{name: "another cluster's", config: discovery, subnets: []ec2types.Subnet{own, subnet("theirs", 60, role+"=1", "kubernetes.io/cluster/prod=shared"), subnet("ours", 50, role+"=1", "kubernetes.io/cluster/dev=shared")},
			want: []string{"ours sg-1,sg-2"}},
		{name: "subnets cannot be listed", config: discovery, err: errors.New("throttled"), fails: "Failed to check if primary subnet is excluded: "},
		{name: "without discovery", subnets: []ec2types.Subnet{own, subnet("big", 500, role+"=1")}, want: []string{"own sg-1,sg-2"}},
		{name: "without discovery, taken out", subnets: []ec2types.Subnet{subnet("own", 5, role+"=0")}, fails: "primary subnet is tagged with kubernetes.io/role/cni=0 and subnet discovery is disabled - no valid subnets available for ENI creation"},
		{name: "without discovery, another cluster's", subnets: []ec2types.Subnet{subnet("own", 5, role+"=1", "kubernetes.io/cluster/prod=shared")}, fails: "primary subnet is tagged"},
		{name: "without discovery, not to be listed", err: errors.New("throttled"), want: []string{"own sg-1,sg-2"}, logs: "Proceeding with ENI creation attempt."},
		{name: "custom networking", config: custom(&ENIConfig{Subnet: "pods", SecurityGroups: []string{"sg-9"}}), want: []string{"pods sg-9"}, logs: "ipamd: using custom network config: [sg-9], pods"},
		{name: "custom networking, the node's groups", config: custom(&ENIConfig{Subnet: "pods"}), want: []string{"pods sg-1,sg-2"},
			logs: "No custom networking security group found, will use the node's primary ENI's SG: [sg-1 sg-2]"},
		{name: "custom networking, no ENIConfig", config: custom(nil), fails: "eniconfig: eniconfig is not available",
			logs: `error while retrieving eniconfig: ENIConfig.crd.k8s.amazonaws.com "us-east-1a" not found`},
		{name: "custom networking, its subnet is full", config: custom(&ENIConfig{Subnet: "pods"}), refuse: "pods", want: []string{"pods sg-1,sg-2"}, fails: "failed to create network interface: pods is full"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &subnetsOnly{subnets: tc.subnets, err: tc.err, refuse: map[string]bool{}}
			for _, id := range strings.Fields(tc.refuse) {
				e.refuse[id] = true
			}
			var log strings.Builder
			s := site{subnet: "own", groups: []string{"sg-1", "sg-2"}, cluster: "dev", config: tc.config, log: func(_, format string, args ...any) {
				fmt.Fprintf(&log, format+"\n", args...)
			}}
			_, err := New(Config{EC2: e}).create(t.Context(), s, &ec2.CreateNetworkInterfaceInput{})
			if diff := cmp.Diff(tc.want, e.made); diff != "" {
				t.Error(diff)
			}
			if (err != nil) != (tc.fails != "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%v, want %q", err, tc.fails)
			}
			if !strings.Contains(log.String(), tc.logs) {
				t.Errorf("log %q, want %q", log.String(), tc.logs)
			}
		})
	}
}
