package eks

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// leave makes so many addresses free in a subnet.
func (f *fakeEC2) leave(free int32, subnet string) {
	for i := range f.subnets {
		if *f.subnets[i].SubnetId == subnet {
			f.subnets[i].AvailableIpAddressCount = &free
		}
	}
}

// TestUpdateClusterVersionNeedsAddresses: five in each of the cluster's subnets.
func TestUpdateClusterVersionNeedsAddresses(t *testing.T) {
	w := newWorld(t)
	w.active("dev", func(in *eks.CreateClusterInput) { in.Version = aws.String("1.34") })
	update := func() error {
		_, err := w.UpdateClusterVersion(w.ctx, &eks.UpdateClusterVersionInput{Name: aws.String("dev"), Version: aws.String("1.35")})
		return err
	}
	w.ec2.leave(0, "subnet-a")
	w.ec2.leave(4, "subnet-b")
	var refused *ekstypes.InvalidRequestException
	want := "Provided subnets subnet-a Free IPs: 0 subnet-b Free IPs: 4 , need at least 5 IPs in each subnet to be free for this operation"
	if err := update(); !errors.As(err, &refused) || aws.ToString(refused.Message) != want {
		t.Errorf("error %v, want %s", err, want)
	}
	w.ec2.leave(5, "subnet-a")
	w.ec2.leave(5, "subnet-b")
	if err := update(); err != nil {
		t.Error(err)
	}
}

// TestCreateNodegroupNeedsAddresses: one in any of its subnets, or no node could come.
func TestCreateNodegroupNeedsAddresses(t *testing.T) {
	w := newWorld(t)
	w.active("dev")
	w.ec2.leave(0, "subnet-a")
	w.ec2.subnets = append(w.ec2.subnets, ec2types.Subnet{
		SubnetId: aws.String("subnet-six"), VpcId: aws.String("vpc-1"), AvailabilityZone: aws.String("us-east-1b"), AvailabilityZoneId: aws.String("use1-az1"),
		AvailableIpAddressCount: aws.Int32(0), Ipv6Native: aws.Bool(true),
	})
	create := func(subnets ...string) error {
		in := nodegroupInput("dev", "ng")
		in.Subnets = subnets
		_, err := w.CreateNodegroup(w.ctx, in)
		return err
	}
	var refused *ekstypes.InvalidParameterException
	if err := create("subnet-a", "subnet-six"); !errors.As(err, &refused) || aws.ToString(refused.Message) != "Not enough available IPs across subnets" {
		t.Errorf("error %v", err)
	}
	w.ec2.leave(1, "subnet-a")
	if err := create("subnet-a", "subnet-six"); err != nil {
		t.Error(err)
	}
}
