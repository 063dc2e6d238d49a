package integration

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// waits runs `aws <service> wait ...`, which must succeed before the waiter would
// look a second time.
func (a *awsCLI) waits(t *testing.T, delay time.Duration, service, waiter string, args ...string) {
	t.Helper()
	began := time.Now()
	a.ok(t, append([]string{service, "wait", waiter}, args...)...)
	took := time.Since(began)
	t.Logf("%s %s: %s", service, waiter, took.Round(10*time.Millisecond))
	if took >= delay {
		t.Errorf("%s wait %s took %s: it was not told at its first look", service, waiter, took)
	}
}

// waitFails runs one that must end with these words before it would look again.
func (a *awsCLI) waitFails(t *testing.T, want, service, waiter string, args ...string) {
	t.Helper()
	began := time.Now()
	a.fails(t, []string{"Waiter " + camel(waiter) + " failed", want}, append([]string{service, "wait", waiter}, args...)...)
	if took := time.Since(began); took > 28*time.Second {
		t.Errorf("%s wait %s took %s to fail", service, waiter, took)
	}
}

func camel(s string) (out string) {
	for part := range strings.SplitSeq(s, "-") {
		out += strings.ToUpper(part[:1]) + part[1:]
	}
	return out
}

const (
	eksDelay, addonDelay, ec2Delay = 30 * time.Second, 10 * time.Second, 15 * time.Second
	terminal                       = "Waiter encountered a terminal failure state: For expression "
)

// TestEKSWaiters: each waiter of the CLI ends at its first look, as AWS would end
// it in the end.
func TestEKSWaiters(t *testing.T) {
	w := newWorld(t, start(t))
	cli := newAWS(t, w.env(filepath.Join(t.TempDir(), "kubeconfig")))
	dev, subnets := []string{"--cluster-name", "dev"}, strings.Join(w.subnets, ",")
	group := func(name, size string, subnets ...string) {
		t.Helper()
		cli.ok(t, append([]string{"eks", "create-nodegroup", "--cluster-name", "dev", "--nodegroup-name", name, "--node-role", w.node,
			"--instance-types", "m5.large", "--scaling-config", "minSize=0,maxSize=20,desiredSize=" + size, "--subnets"}, subnets...)...)
	}

	cli.waitFails(t, "No cluster found for name: dev.", "eks", "cluster-active", "--name", "dev")
	cli.waits(t, eksDelay, "eks", "cluster-deleted", "--name", "dev")
	if got := cli.text(t, "cluster.status", "eks", "create-cluster", "--name", "dev", "--role-arn", w.clusterRole, "--resources-vpc-config", "subnetIds="+subnets); got != "CREATING" {
		t.Errorf("a new cluster is %s", got)
	}
	if got := cli.text(t, "cluster.status", "eks", "describe-cluster", "--name", "dev"); got != "CREATING" {
		t.Errorf("a look right after says %s: nobody but waiters is to wait", got)
	}
	cli.waits(t, eksDelay, "eks", "cluster-active", "--name", "dev")
	cli.waitFails(t, terminal+`"cluster.status" we matched expected path: "ACTIVE"`, "eks", "cluster-deleted", "--name", "dev")
	cli.ok(t, "eks", "update-cluster-config", "--name", "dev", "--resources-vpc-config", "publicAccessCidrs=10.0.0.0/8")
	if got := cli.text(t, "cluster.status", "eks", "describe-cluster", "--name", "dev"); got != "UPDATING" {
		t.Errorf("a look right after an update says %s", got)
	}
	cli.waits(t, eksDelay, "eks", "cluster-active", "--name", "dev")

	coredns, proxy := append(dev, "--addon-name", "coredns"), append(dev[:2:2], "--addon-name", "kube-proxy")
	cli.ok(t, append([]string{"eks", "create-addon"}, coredns...)...) // there are no nodes for it
	cli.waitFails(t, terminal+`"addon.status" we matched expected path: "DEGRADED"`, "eks", "addon-active", coredns...)

	small := must(w.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: aws.String("10.0.255.0/28"), AvailabilityZone: aws.String(region + "a")}))(t)
	group("full", "15", *small.Subnet.SubnetId)
	full, ng := append(dev[:2:2], "--nodegroup-name", "full"), append(dev[:2:2], "--nodegroup-name", "ng")
	cli.waitFails(t, terminal+`"nodegroup.status" we matched expected path: "CREATE_FAILED"`, "eks", "nodegroup-active", full...)
	cli.ok(t, append([]string{"eks", "delete-nodegroup"}, full...)...)
	cli.waits(t, eksDelay, "eks", "nodegroup-deleted", full...)

	group("ng", "1", w.subnets...)
	cli.waits(t, eksDelay, "eks", "nodegroup-active", ng...)
	cli.ok(t, append([]string{"eks", "create-addon"}, proxy...)...)
	cli.waits(t, addonDelay, "eks", "addon-active", proxy...)
	cli.ok(t, append([]string{"eks", "delete-addon"}, proxy...)...)
	cli.waits(t, addonDelay, "eks", "addon-deleted", proxy...)
	cli.ok(t, append([]string{"eks", "delete-nodegroup"}, ng...)...)
	cli.waits(t, eksDelay, "eks", "nodegroup-deleted", ng...)
	cli.waitFails(t, "No node group found for name: ng.", "eks", "nodegroup-active", ng...)
	cli.ok(t, "eks", "delete-cluster", "--name", "dev")
	cli.waits(t, eksDelay, "eks", "cluster-deleted", "--name", "dev")
}

// TestEC2Waiters: `aws ec2 wait` for what there is.
func TestEC2Waiters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx, e := t.Context(), w.ec2
	cli := newAWS(t, w.env(filepath.Join(t.TempDir(), "kubeconfig")))
	ok := func(waiter string, args ...string) { t.Helper(); cli.waits(t, ec2Delay, "ec2", waiter, args...) }
	fails := func(want, waiter string, args ...string) { t.Helper(); cli.waitFails(t, want, "ec2", waiter, args...) }

	image := *must(e.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"amazon"}}))(t).Images[0].ImageId
	ok("image-exists", "--image-ids", image)
	ok("image-available", "--image-ids", image)
	ok("vpc-exists", "--vpc-ids", w.vpc)
	ok("vpc-available", "--vpc-ids", w.vpc)
	ok("subnet-available", "--subnet-ids", w.subnets[0])
	group := *must(e.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("g"), VpcId: &w.vpc}))(t).GroupId
	ok("security-group-exists", "--group-ids", group)
	igw := *must(e.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{}))(t).InternetGateway.InternetGatewayId
	ok("internet-gateway-exists", "--internet-gateway-ids", igw)
	must(e.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("k")}))(t)
	ok("key-pair-exists", "--key-names", "k")
	eni := *must(e.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &w.subnets[0]}))(t).NetworkInterface.NetworkInterfaceId
	ok("network-interface-available", "--network-interface-ids", eni)
	fails("InvalidNetworkInterfaceID.NotFound", "network-interface-available", "--network-interface-ids", "eni-0123456789abcdef0")

	run := func() string {
		return *must(e.RunInstances(ctx, &ec2.RunInstancesInput{
			ImageId: &image, InstanceType: "t3.small", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: &w.subnets[0],
		}))(t).Instances[0].InstanceId
	}
	id := run()
	ok("instance-running", "--instance-ids", id)
	ok("instance-exists", "--instance-ids", id)
	ok("instance-status-ok", "--instance-ids", id)
	ok("system-status-ok", "--instance-ids", id)
	volume := cli.text(t, "Reservations[0].Instances[0].BlockDeviceMappings[0].Ebs.VolumeId", "ec2", "describe-instances", "--instance-ids", id)
	ok("volume-in-use", "--volume-ids", volume)
	must(e.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{id}}))(t)
	ok("instance-stopped", "--instance-ids", id)
	must(e.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}))(t)
	ok("instance-terminated", "--instance-ids", id)
	ok("volume-deleted", "--volume-ids", volume)
	for _, waiter := range []string{"instance-running", "instance-stopped"} {
		fails(terminal+`"Reservations[].Instances[].State.Name" we matched expected path: "terminated" at least once`, waiter, "--instance-ids", id)
	}
	fails("The volume '"+volume+"' does not exist.", "volume-available", "--volume-ids", volume)

	nat := func(in *ec2.CreateNatGatewayInput) string {
		in.SubnetId = &w.subnets[0]
		return *must(e.CreateNatGateway(ctx, in))(t).NatGateway.NatGatewayId
	}
	n := nat(&ec2.CreateNatGatewayInput{ConnectivityType: ec2types.ConnectivityTypePrivate})
	ok("nat-gateway-available", "--nat-gateway-ids", n)
	must(e.DeleteNatGateway(ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: &n}))(t)
	ok("nat-gateway-deleted", "--nat-gateway-ids", n)
	eip := must(e.AllocateAddress(ctx, &ec2.AllocateAddressInput{}))(t)
	failed := nat(&ec2.CreateNatGatewayInput{AllocationId: eip.AllocationId}) // the VPC has no internet gateway
	fails(terminal+`"NatGateways[].State" we matched expected path: "failed" at least once`, "nat-gateway-available", "--nat-gateway-ids", failed)
}
