package ec2

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func (f *fixture) eni(subnet string) types.NetworkInterface {
	f.t.Helper()
	return *must(f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet}))(f.t).NetworkInterface
}

func TestNetworkInterfaceAddresses(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sub := f.subnet(vpc, "10.0.0.0/27", "us-east-1a") // 27 addresses to have
	eni := must(f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &sub, SecondaryPrivateIpAddressCount: aws.Int32(3), PrivateIpAddress: aws.String("10.0.0.10")}))(t).NetworkInterface
	if *eni.PrivateIpAddress != "10.0.0.10" || len(eni.PrivateIpAddresses) != 4 || !*eni.PrivateIpAddresses[0].Primary || eni.PrivateDnsName != nil || f.free(sub) != 23 {
		t.Errorf("%+v, free %d", eni, f.free(sub))
	}
	id := eni.NetworkInterfaceId
	assign := func(in ec2.AssignPrivateIpAddressesInput) (*ec2.AssignPrivateIpAddressesOutput, error) {
		if in.NetworkInterfaceId == nil {
			in.NetworkInterfaceId = id
		}
		return f.AssignPrivateIpAddresses(f.ctx, &in)
	}
	for _, c := range []struct{ ip, code, message string }{
		{"10.0.0.10", "InvalidIPAddress.InUse", "Address 10.0.0.10 is in use."},
		{"10.0.0.2", "InvalidParameterValue", "Address 10.0.0.2 is in subnet's reserved address range"},
		{"10.0.1.2", "InvalidParameterValue", "Address does not fall within the subnet's address range"},
		{"nonsense", "InvalidParameterValue", "not a valid IP address"},
	} {
		_, err := assign(ec2.AssignPrivateIpAddressesInput{PrivateIpAddresses: []string{c.ip}})
		wantError(t, err, c.code, c.message)
	}
	out := must(assign(ec2.AssignPrivateIpAddressesInput{PrivateIpAddresses: []string{"10.0.0.20"}}))(t)
	if *out.AssignedPrivateIpAddresses[0].PrivateIpAddress != "10.0.0.20" {
		t.Errorf("%+v", out)
	}
	_, err := assign(ec2.AssignPrivateIpAddressesInput{Ipv4PrefixCount: aws.Int32(1)})
	wantCode(t, err, "InsufficientCidrBlocks") // 22 are free, but no aligned 16
	must(assign(ec2.AssignPrivateIpAddressesInput{SecondaryPrivateIpAddressCount: aws.Int32(20)}))(t)
	_, err = assign(ec2.AssignPrivateIpAddressesInput{Ipv4PrefixCount: aws.Int32(1)})
	wantError(t, err, "InvalidParameterValue", "There aren't sufficient free Ipv4 addresses or prefixes")
	_, err = assign(ec2.AssignPrivateIpAddressesInput{SecondaryPrivateIpAddressCount: aws.Int32(3)})
	wantError(t, err, "InsufficientFreeAddressesInSubnet", "does not have enough free addresses")
	if f.free(sub) != 2 {
		t.Errorf("a refused request took addresses: %d free", f.free(sub))
	}
	f.checkLedger()

	second := f.eni(sub)
	_, err = assign(ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: second.NetworkInterfaceId, PrivateIpAddresses: []string{"10.0.0.20"}})
	wantCode(t, err, "InvalidIPAddress.InUse")
	must(assign(ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: second.NetworkInterfaceId, PrivateIpAddresses: []string{"10.0.0.20"}, AllowReassignment: aws.Bool(true)}))(t)
	found := must(f.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filter("addresses.private-ip-address", "10.0.0.20")}))(t).NetworkInterfaces
	if len(found) != 1 || *found[0].NetworkInterfaceId != *second.NetworkInterfaceId {
		t.Errorf("10.0.0.20 is held by %+v", found)
	}
	f.checkLedger()

	unassign := func(ip string) error {
		_, err := f.UnassignPrivateIpAddresses(f.ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: id, PrivateIpAddresses: []string{ip}})
		return err
	}
	wantCode(t, unassign("10.0.0.10"), "InvalidParameterValue")
	wantCode(t, unassign("10.0.0.20"), "InvalidParameterValue")
	if err := unassign("10.0.0.4"); err != nil {
		t.Error(err)
	}
	must(f.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: id}))(t)
	must(f.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: second.NetworkInterfaceId}))(t)
	if f.free(sub) != 27 {
		t.Errorf("%d free at the end", f.free(sub))
	}
	_, err = f.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: id})
	wantError(t, err, "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '"+*id+"' does not exist")
}

func TestAttachment(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	a, b := f.subnet(vpc, "10.0.0.0/24", "us-east-1a"), f.subnet(vpc, "10.0.1.0/24", "us-east-1b")
	inst := f.run(a, "t3.small", 1)[0] // 3 interfaces, 4 addresses each
	f.settle()
	attach := func(eni *string, device int32) (*ec2.AttachNetworkInterfaceOutput, error) {
		return f.AttachNetworkInterface(f.ctx, &ec2.AttachNetworkInterfaceInput{InstanceId: inst.InstanceId, NetworkInterfaceId: eni, DeviceIndex: &device})
	}
	_, err := attach(f.eni(b).NetworkInterfaceId, 1)
	wantCode(t, err, "InvalidParameterCombination")
	first := f.eni(a)
	_, err = attach(first.NetworkInterfaceId, 0)
	wantError(t, err, "InvalidParameterValue", "already has an interface attached at device index '0'")
	at := must(attach(first.NetworkInterfaceId, 1))(t).AttachmentId
	_, err = attach(first.NetworkInterfaceId, 2)
	wantCode(t, err, "InvalidNetworkInterface.InUse")
	must(attach(f.eni(a).NetworkInterfaceId, 2))(t)
	_, err = attach(f.eni(a).NetworkInterfaceId, 3)
	wantError(t, err, "AttachmentLimitExceeded", "Interface count 4 exceeds the limit for t3.small")
	_, err = f.AssignPrivateIpAddresses(f.ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: first.NetworkInterfaceId, SecondaryPrivateIpAddressCount: aws.Int32(4)})
	wantCode(t, err, "PrivateIpAddressLimitExceeded")
	must(f.AssignPrivateIpAddresses(f.ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: first.NetworkInterfaceId, SecondaryPrivateIpAddressCount: aws.Int32(3)}))(t)

	_, err = f.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: first.NetworkInterfaceId})
	wantError(t, err, "InvalidParameterValue", "is currently in use")
	primary := inst.NetworkInterfaces[0].Attachment.AttachmentId
	_, err = f.DetachNetworkInterface(f.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: primary})
	wantCode(t, err, "OperationNotPermitted")
	must(f.ModifyNetworkInterfaceAttribute(f.ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: first.NetworkInterfaceId, Attachment: &types.NetworkInterfaceAttachmentChanges{AttachmentId: at, DeleteOnTermination: aws.Bool(true)},
	}))(t)
	shown := must(f.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{*inst.InstanceId}}))(t).Reservations[0].Instances[0]
	if len(shown.NetworkInterfaces) != 3 || len(shown.NetworkInterfaces[1].PrivateIpAddresses) != 4 {
		t.Errorf("%+v", shown.NetworkInterfaces)
	}
	f.checkLedger()

	must(f.TerminateInstances(f.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*inst.InstanceId}}))(t)
	f.settle()
	left := must(f.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filter("status", "in-use")}))(t).NetworkInterfaces
	_, gone := f.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{*first.NetworkInterfaceId}})
	wantCode(t, gone, "InvalidNetworkInterfaceID.NotFound")
	if len(left) != 0 || f.free(a) != 251-2 { // the two that were not marked to go
		t.Errorf("left in use: %+v, free %d", left, f.free(a))
	}
	f.checkLedger()
}

func TestServiceInterfaces(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sub := f.subnet(vpc, "10.0.0.0/24", "us-east-1a")
	in := &ec2.CreateNetworkInterfaceInput{SubnetId: &sub, Description: aws.String("Amazon EKS dev"), ClientToken: aws.String("once")}
	eni := must(f.CreateNetworkInterface(f.as("eks"), in))(t).NetworkInterface
	if eni.Attachment == nil || eni.Attachment.InstanceId != nil || *eni.RequesterManaged || !strings.HasSuffix(*eni.RequesterId, ":AmazonEKS") || eni.Status != types.NetworkInterfaceStatusInUse {
		t.Errorf("%+v", eni)
	}
	if again := must(f.CreateNetworkInterface(f.as("eks"), in))(t).NetworkInterface; *again.NetworkInterfaceId != *eni.NetworkInterfaceId {
		t.Error("the same token made two")
	}
	other := *in
	other.Description = aws.String("else")
	_, err := f.CreateNetworkInterface(f.as("eks"), &other)
	wantCode(t, err, "IdempotentParameterMismatch")
	_, err = f.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId})
	wantCode(t, err, "InvalidParameterValue")
	_, err = f.DetachNetworkInterface(f.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: eni.Attachment.AttachmentId})
	wantCode(t, err, "OperationNotPermitted")
	must(f.DeleteNetworkInterface(f.as("eks"), &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId}))(t)
	f.checkLedger()
}

func TestElasticIPs(t *testing.T) {
	f := newFixture(t)
	sub := must(f.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{}))(t).Subnets[0]
	inst := f.run(*sub.SubnetId, "t3.small", 1)[0]
	if inst.PublicIpAddress == nil || !strings.HasPrefix(*inst.PublicDnsName, "ec2-198-") {
		t.Errorf("no public address in a default subnet: %v %v", inst.PublicIpAddress, inst.PublicDnsName)
	}
	f.settle()
	eip := must(f.AllocateAddress(f.ctx, &ec2.AllocateAddressInput{}))(t)
	a := must(f.AssociateAddress(f.ctx, &ec2.AssociateAddressInput{AllocationId: eip.AllocationId, InstanceId: inst.InstanceId}))(t).AssociationId
	shown := must(f.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{Filters: filter("ip-address", *eip.PublicIp)}))(t).Reservations
	if len(shown) != 1 {
		t.Errorf("the instance does not show %s", *eip.PublicIp)
	}
	vpc := sub.VpcId
	igw := must(f.DescribeInternetGateways(f.ctx, &ec2.DescribeInternetGatewaysInput{}))(t).InternetGateways[0].InternetGatewayId
	_, err := f.DetachInternetGateway(f.ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: igw, VpcId: vpc})
	wantError(t, err, "DependencyViolation", "has some mapped public address(es)")
	must(f.DisassociateAddress(f.ctx, &ec2.DisassociateAddressInput{AssociationId: a}))(t)
	_, err = f.DisassociateAddress(f.ctx, &ec2.DisassociateAddressInput{AssociationId: a})
	wantCode(t, err, "InvalidAssociationID.NotFound")
	must(f.ReleaseAddress(f.ctx, &ec2.ReleaseAddressInput{AllocationId: eip.AllocationId}))(t)
	must(f.TerminateInstances(f.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*inst.InstanceId}}))(t)
	f.settle()
	if n := len(publicIPs.List(f.store, f.sc)); n != 0 {
		t.Errorf("%d public addresses are still reserved", n)
	}
}

// TestConcurrentAddresses has many callers fight for the last addresses of one
// subnet: each address is given once and exactly the surplus is refused.
func TestConcurrentAddresses(t *testing.T) {
	f := newFixture(t)
	vpc := f.vpc("10.0.0.0/16")
	sub := f.subnet(vpc, "10.0.0.0/26", "us-east-1a") // 59
	var wg sync.WaitGroup
	var mu sync.Mutex
	refused := 0
	for range 80 {
		wg.Go(func() {
			_, err := f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &sub})
			if err != nil {
				wantCode(t, err, "InsufficientFreeAddressesInSubnet")
				mu.Lock()
				refused++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if refused != 21 || f.free(sub) != 0 {
		t.Errorf("%d refused, %d free", refused, f.free(sub))
	}
	f.checkLedger()
}

// TestLedgerHistories runs random histories of everything that moves addresses
// and checks after each that the ledger is true.
func TestLedgerHistories(t *testing.T) {
	for seed := range uint64(8) {
		f := newFixture(t)
		rnd := rand.New(rand.NewPCG(seed, 7))
		vpc := f.vpc("10.0.0.0/16")
		subs := []string{f.subnet(vpc, "10.0.0.0/26", "us-east-1a"), f.subnet(vpc, "10.0.1.0/27", "us-east-1a")}
		for range 150 {
			enis := NetworkInterfaces.List(f.store, f.sc)
			insts := Instances.List(f.store, f.sc)
			pick := func() *NetworkInterface { return enis[rnd.IntN(len(enis))] }
			// Refusals are part of the history; what they must not do is leave a trace.
			switch op := rnd.IntN(8); {
			case op == 0 || len(enis) == 0:
				_, _ = f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &subs[rnd.IntN(2)], SecondaryPrivateIpAddressCount: aws.Int32(rnd.Int32N(4))})
			case op == 1:
				_, _ = f.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &subs[rnd.IntN(2)], Ipv4PrefixCount: aws.Int32(1)})
			case op == 2:
				_, _ = f.AssignPrivateIpAddresses(f.ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: pick().NetworkInterfaceId, SecondaryPrivateIpAddressCount: aws.Int32(1 + rnd.Int32N(5))})
			case op == 3:
				eni := pick()
				ip := eni.PrivateIpAddresses[rnd.IntN(len(eni.PrivateIpAddresses))].PrivateIpAddress
				_, _ = f.AssignPrivateIpAddresses(f.ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: pick().NetworkInterfaceId, PrivateIpAddresses: []string{*ip}, AllowReassignment: aws.Bool(true)})
			case op == 4:
				eni := pick()
				in := &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: eni.NetworkInterfaceId, PrivateIpAddresses: []string{*eni.PrivateIpAddresses[rnd.IntN(len(eni.PrivateIpAddresses))].PrivateIpAddress}}
				if len(eni.Ipv4Prefixes) > 0 {
					in.Ipv4Prefixes, in.PrivateIpAddresses = []string{*eni.Ipv4Prefixes[0].Ipv4Prefix}, nil
				}
				_, _ = f.UnassignPrivateIpAddresses(f.ctx, in)
			case op == 5:
				_, _ = f.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: pick().NetworkInterfaceId})
			case op == 6:
				_, _ = f.RunInstances(f.ctx, &ec2.RunInstancesInput{
					MinCount: aws.Int32(1), MaxCount: aws.Int32(1 + rnd.Int32N(3)), ImageId: f.image(), InstanceType: "t3.medium",
					NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{
						{DeviceIndex: aws.Int32(0), SubnetId: &subs[0], SecondaryPrivateIpAddressCount: aws.Int32(rnd.Int32N(4))},
						{DeviceIndex: aws.Int32(1), SubnetId: &subs[1]},
					},
				})
				f.settle()
			case op == 7 && len(insts) > 0:
				_, _ = f.TerminateInstances(f.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*insts[rnd.IntN(len(insts))].InstanceId}})
				f.settle()
			}
			f.checkLedger()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}
