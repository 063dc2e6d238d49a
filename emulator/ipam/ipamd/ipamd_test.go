// The tests run against the EC2 service itself: what matters is that the two
// agree. Only tests may import it here.
package ipamd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

var _ dataplane.Addresses = (*ipamd.Pools)(nil)

type fixture struct {
	t      testing.TB
	ctx    context.Context
	ec2    *ec2svc.Service
	store  *store.Store
	clock  *clocktesting.FakeClock
	vpc    string
	subnet string
}

func newFixture(t testing.TB, cidr string) *fixture {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, store: st, clock: clocktesting.NewFakeClock(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))}
	f.ec2 = ec2svc.New(ec2svc.Config{Store: st, Clock: f.clock})
	f.ctx = awsid.WithCaller(t.Context(), awsid.Caller{
		Scope: awsid.Scope{Account: awsid.DefaultAccount, Region: "us-east-1"}, ARN: "arn:aws:iam::000000000000:root", UserID: awsid.DefaultAccount,
	})
	vpc, err := f.ec2.CreateVpc(f.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	f.vpc = *vpc.Vpc.VpcId
	f.subnet = f.newSubnet(cidr)
	return f
}

func (f *fixture) newSubnet(cidr string) string {
	f.t.Helper()
	sub, err := f.ec2.CreateSubnet(f.ctx, &ec2.CreateSubnetInput{VpcId: &f.vpc, CidrBlock: &cidr})
	if err != nil {
		f.t.Fatal(err)
	}
	return *sub.Subnet.SubnetId
}

func (f *fixture) pools() *ipamd.Pools {
	return ipamd.New(ipamd.Config{EC2: f.ec2, Clock: f.clock})
}

func (f *fixture) run(typ ec2types.InstanceType, n int32) []string {
	f.t.Helper()
	im, _ := images.EKSImage("us-east-1", "1.34", images.AL2023, "amd64")
	out, err := f.ec2.RunInstances(f.ctx, &ec2.RunInstancesInput{
		MinCount: &n, MaxCount: &n, SubnetId: &f.subnet, ImageId: &im.ID, InstanceType: typ,
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeInstance, Tags: []ec2types.Tag{{Key: aws.String("eks:cluster-name"), Value: aws.String("dev")}}}},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
	}
	return ids
}

func (f *fixture) free() int {
	f.t.Helper()
	out, err := f.ec2.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{f.subnet}})
	if err != nil {
		f.t.Fatal(err)
	}
	return int(*out.Subnets[0].AvailableIpAddressCount)
}

// until waits for growth that goes on in the background.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func (f *fixture) assign(p *ipamd.Pools, instance string, pod int, prefer netip.Addr) (netip.Addr, error) {
	return p.Assign(f.t.Context(), instance, types.UID(fmt.Sprint(pod)), types.NamespacedName{Namespace: "default", Name: fmt.Sprint(pod)}, prefer)
}

func stats(p *ipamd.Pools, instance string) ipamd.Stats {
	s, _ := p.Stats(instance)
	return s
}

// TestWarmPool follows the worked example of the CNI's documentation for
// t3.small: three interfaces of three addresses each.
func TestWarmPool(t *testing.T) {
	f := newFixture(t, "10.0.0.0/24")
	id := f.run("t3.small", 1)[0]
	p := f.pools()
	p.Start(t.Context(), id)
	until(t, "0 pods: 1 interface, 3 addresses", func() bool { return stats(p, id) == ipamd.Stats{Interfaces: 1, Total: 3} })
	seen := map[netip.Addr]bool{}
	for i := range 9 {
		ip, err := f.assign(p, id, i, netip.Addr{})
		if err != nil || seen[ip] {
			t.Fatalf("pod %d: %v, %v", i, ip, err)
		}
		seen[ip] = true
		want := min(3, i/3+2)
		until(t, fmt.Sprintf("%d pods: %d interfaces", i+1, want), func() bool {
			return stats(p, id) == ipamd.Stats{Interfaces: want, Total: 3 * want, Assigned: i + 1}
		})
	}
	if again, err := f.assign(p, id, 4, netip.Addr{}); err != nil || !seen[again] {
		t.Errorf("a second Assign: %v, %v", again, err)
	}
	if _, err := f.assign(p, id, 100, netip.Addr{}); !errors.Is(err, ipamd.ErrNoAddress) {
		t.Errorf("the tenth pod: %v", err)
	}
	if f.free() != 251-12 {
		t.Errorf("%d free in the subnet", f.free())
	}
	gone, _ := f.assign(p, id, 4, netip.Addr{})
	p.Release(t.Context(), id, "4")
	p.Release(t.Context(), id, "4")
	p.Release(t.Context(), id, "never")
	if _, err := f.assign(p, id, 100, netip.Addr{}); !errors.Is(err, ipamd.ErrNoAddress) {
		t.Errorf("an address in cooldown was given: %v", err)
	}
	f.clock.Step(31 * time.Second)
	if ip, err := f.assign(p, id, 100, netip.Addr{}); err != nil || ip != gone {
		t.Errorf("after the cooldown: %v, %v, want %v", ip, err, gone)
	}
	enis, err := f.ec2.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{
		{Name: aws.String("tag:cluster.k8s.amazonaws.com/name"), Values: []string{"dev"}}, {Name: aws.String("attachment.delete-on-termination"), Values: []string{"true"}},
	}})
	if err != nil || len(enis.NetworkInterfaces) != 2 || *enis.NetworkInterfaces[0].Description != "aws-K8S-"+id {
		t.Errorf("%+v, %v", enis, err)
	}
}

func TestRestart(t *testing.T) {
	f := newFixture(t, "10.0.0.0/24")
	id := f.run("t3.small", 1)[0]
	before := f.pools()
	a, _ := f.assign(before, id, 1, netip.Addr{})
	b, _ := f.assign(before, id, 2, netip.Addr{})
	until(t, "warm", func() bool { return stats(before, id).Total == 6 })

	after := f.pools()
	if ip, err := f.assign(after, id, 2, b); ip != b {
		t.Errorf("pod 2 had %v and gets %v, %v", b, ip, err)
	}
	// Another pod claims the same address, and one claims an address that the
	// instance does not have: the ledger wins.
	if ip, err := f.assign(after, id, 3, b); err != nil || ip == b {
		t.Errorf("pod 3: %v, %v", ip, err)
	}
	if ip, err := f.assign(after, id, 4, netip.MustParseAddr("10.0.0.200")); err != nil || ip.String() == "10.0.0.200" {
		t.Errorf("pod 4: %v, %v", ip, err)
	}
	if ip, err := f.assign(after, id, 1, a); err != nil {
		t.Errorf("pod 1 had %v and gets %v, %v", a, ip, err)
	}
	until(t, "still warm", func() bool { return stats(after, id).Interfaces == 3 })
}

func TestFullSubnet(t *testing.T) {
	f := newFixture(t, "10.0.0.0/28") // 11
	id := f.run("t3.small", 1)[0]
	block, err := f.ec2.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &f.subnet, SecondaryPrivateIpAddressCount: aws.Int32(7)})
	if err != nil {
		t.Fatal(err)
	}
	p := f.pools()
	for i := range 2 { // all that is left: the primary interface is filled one by one
		if ip, err := f.assign(p, id, i, netip.Addr{}); err != nil {
			t.Fatalf("pod %d: %v, %v", i, ip, err)
		}
	}
	if _, err := f.assign(p, id, 2, netip.Addr{}); !errors.Is(err, ipamd.ErrNoAddress) || f.free() != 0 {
		t.Errorf("full subnet: %v, %d free", err, f.free())
	}
	if _, err := f.ec2.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: block.NetworkInterface.NetworkInterfaceId}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.assign(p, id, 2, netip.Addr{}); !errors.Is(err, ipamd.ErrNoAddress) {
		t.Errorf("ipamd looked again before its pause was over: %v", err)
	}
	f.clock.Step(121 * time.Second)
	if ip, err := f.assign(p, id, 2, netip.Addr{}); err != nil {
		t.Errorf("%v, %v", ip, err)
	}
}

func TestUnknownInstance(t *testing.T) {
	f := newFixture(t, "10.0.0.0/24")
	p := f.pools()
	if ip, err := f.assign(p, "i-0123456789abcdef0", 1, netip.Addr{}); !errors.Is(err, ipamd.ErrNoAddress) {
		t.Errorf("%v, %v", ip, err)
	}
	f.pass(p, 5*time.Second)
	if got := p.Instances(); len(got) != 0 {
		t.Errorf("%v stay known", got)
	}
}

func TestEndedInstance(t *testing.T) {
	f := newFixture(t, "10.0.0.0/24")
	id := f.run("t3.small", 1)[0]
	p := f.pools()
	if _, err := f.assign(p, id, 1, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	until(t, "warm", func() bool { return stats(p, id).Total == 6 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go f.ec2.Run(ctx) //nolint:errcheck // it ends with the test
	// Whatever a pod asks while the instance ends, nothing may be left of it.
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { _, _ = f.assign(p, id, 2+i, netip.Addr{}) })
	}
	if _, err := f.ec2.TerminateInstances(f.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	p.Forget(id)
	wg.Wait()
	until(t, "every address is free again", func() bool { return f.free() == 251 })
	p.Release(t.Context(), id, "1")
	if _, err := f.assign(p, id, 99, netip.Addr{}); !errors.Is(err, ipamd.ErrNoAddress) {
		t.Errorf("an ended instance gave an address: %v", err)
	}
}

func TestLostInterfaces(t *testing.T) {
	f := newFixture(t, "10.0.0.0/24")
	tagged := func(created time.Time) string {
		out, err := f.ec2.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &f.subnet, TagSpecifications: []ec2types.TagSpecification{{
			ResourceType: ec2types.ResourceTypeNetworkInterface, Tags: []ec2types.Tag{
				{Key: aws.String("eks:eni:owner"), Value: aws.String("amazon-vpc-cni")},
				{Key: aws.String("node.k8s.amazonaws.com/createdAt"), Value: aws.String(created.Format(time.RFC3339Nano))},
			},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return *out.NetworkInterface.NetworkInterfaceId
	}
	tagged(f.clock.Now().Add(-time.Second))
	mine := tagged(f.clock.Now().Add(time.Second))
	p := f.pools()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	until(t, "the lost interface is deleted", func() bool { return f.free() == 250 })
	out, err := f.ec2.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{})
	if err != nil || len(out.NetworkInterfaces) != 1 || *out.NetworkInterfaces[0].NetworkInterfaceId != mine {
		t.Errorf("%+v, %v", out, err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
}

// TestHalfAttachedInterface is what a kill between attaching an interface and
// marking it for deletion leaves.
func TestHalfAttachedInterface(t *testing.T) {
	f := newFixture(t, "10.0.0.0/24")
	id := f.run("t3.small", 1)[0]
	made, err := f.ec2.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &f.subnet, Description: aws.String("aws-K8S-" + id)})
	if err != nil {
		t.Fatal(err)
	}
	eni := made.NetworkInterface.NetworkInterfaceId
	if _, err := f.ec2.AttachNetworkInterface(f.ctx, &ec2.AttachNetworkInterfaceInput{InstanceId: &id, NetworkInterfaceId: eni, DeviceIndex: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	f.pools().Start(t.Context(), id)
	until(t, "the interface ends with its instance", func() bool {
		out, err := f.ec2.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{*eni}})
		return err == nil && *out.NetworkInterfaces[0].Attachment.DeleteOnTermination
	})
}

// TestManyNodes is the shape of a large scale-up: every address is given once,
// and EC2 says what the pods have.
func TestManyNodes(t *testing.T) {
	const nodes, pods = 60, 15
	f := newFixture(t, "10.0.0.0/17")
	ids := f.run("m5.large", nodes)
	p := f.pools()
	var mu sync.Mutex
	owner := map[netip.Addr]string{}
	var wg sync.WaitGroup
	for n, id := range ids {
		for i := range pods {
			wg.Go(func() {
				ip, err := f.assign(p, id, n*pods+i, netip.Addr{})
				if err != nil {
					t.Errorf("%s: %v", id, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if owner[ip] != "" {
					t.Errorf("%s given to %s and %s", ip, owner[ip], id)
				}
				owner[ip] = id
			})
		}
	}
	wg.Wait()
	for _, id := range ids {
		until(t, "warm", func() bool { s := stats(p, id); return s.Interfaces == 3 })
	}
	if want := 32768 - 5 - nodes*3*10; f.free() != want {
		t.Errorf("%d free, want %d", f.free(), want)
	}
	for _, i := range ec2svc.Instances.ListAll(f.store) {
		if len(i.Interfaces) != 3 {
			t.Errorf("%s has %v", *i.InstanceId, i.Interfaces)
		}
	}
}

func BenchmarkFiveThousandPods(b *testing.B) {
	for range b.N {
		f := newFixture(b, "10.0.0.0/17")
		ids := f.run("m5.large", 500)
		p := f.pools()
		var wg sync.WaitGroup
		for n, id := range ids {
			for i := range 10 {
				wg.Go(func() {
					if _, err := f.assign(p, id, n*10+i, netip.Addr{}); err != nil {
						b.Error(err)
					}
				})
			}
		}
		wg.Wait()
	}
}
