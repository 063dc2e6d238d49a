package ec2

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	clocktesting "k8s.io/utils/clock/testing"

	"log/slog"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

type fixture struct {
	*Service
	t     testing.TB
	ctx   context.Context
	sc    awsid.Scope
	clock *clocktesting.FakeClock
}

func newFixture(t testing.TB) *fixture { return newFixtureIn(t, "us-east-1") }

func newFixtureIn(t testing.TB, region string) *fixture {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	clk := clocktesting.NewFakeClock(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	sc := awsid.Scope{Account: awsid.DefaultAccount, Region: region}
	caller := awsid.Caller{Scope: sc, ARN: "arn:aws:iam::000000000000:root", UserID: awsid.DefaultAccount, SourceIP: "127.0.0.1"}
	return &fixture{New(Config{Store: st, Clock: clk}), t, awsid.WithCaller(t.Context(), caller), sc, clk}
}

// as returns the context of an AWS service's call.
func (f *fixture) as(service string) context.Context {
	return awsid.WithCaller(f.ctx, awsid.ServiceCaller(f.sc, service))
}

// settle makes every transition that is due.
func (f *fixture) settle() {
	f.t.Helper()
	ready := map[awsid.Scope][]string{}
	for _, i := range Instances.List(f.store, f.sc) {
		ready[f.sc] = append(ready[f.sc], *i.InstanceId)
	}
	for _, n := range NatGateways.List(f.store, f.sc) {
		ready[f.sc] = append(ready[f.sc], *n.NatGatewayId)
	}
	if err := f.advance(f.ctx, ready); err != nil {
		f.t.Fatal(err)
	}
}

// must fails the test on an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code {
		t.Errorf("error %v, want %s", err, code)
	}
}

func wantError(t testing.TB, err error, code, message string) {
	t.Helper()
	wantCode(t, err, code)
	if err != nil && !strings.Contains(err.Error(), message) {
		t.Errorf("error %v, want message %q", err, message)
	}
}

func (f *fixture) vpc(cidr string) string {
	f.t.Helper()
	return *must(f.CreateVpc(f.ctx, &ec2.CreateVpcInput{CidrBlock: &cidr}))(f.t).Vpc.VpcId
}

func (f *fixture) subnet(vpc, cidr, zone string) string {
	f.t.Helper()
	return *must(f.CreateSubnet(f.ctx, &ec2.CreateSubnetInput{VpcId: &vpc, CidrBlock: &cidr, AvailabilityZone: &zone}))(f.t).Subnet.SubnetId
}

func (f *fixture) free(subnet string) int {
	f.t.Helper()
	out := must(f.DescribeSubnets(f.ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{subnet}}))(f.t)
	return int(*out.Subnets[0].AvailableIpAddressCount)
}

func (f *fixture) image() *string {
	im, ok := images.EKSImage(f.sc.Region, "1.34", images.AL2023, "amd64")
	if !ok {
		f.t.Fatal("no image")
	}
	return &im.ID
}

// run launches n instances of a type in a subnet.
func (f *fixture) run(subnet, typ string, n int32) []types.Instance {
	f.t.Helper()
	return must(f.RunInstances(f.ctx, &ec2.RunInstancesInput{
		MinCount: &n, MaxCount: &n, SubnetId: &subnet, ImageId: f.image(), InstanceType: types.InstanceType(typ),
	}))(f.t).Instances
}

// checkLedger proves that every taken address of every subnet is held by exactly
// one interface, and that nobody holds an address that is not taken.
func (f *fixture) checkLedger() {
	f.t.Helper()
	want := map[string]*ipam.Pool{}
	for _, sub := range Subnets.List(f.store, f.sc) {
		if sub.CidrBlock != nil {
			want[*sub.SubnetId] = ipam.NewSubnet(netip.MustParsePrefix(*sub.CidrBlock))
		}
		for _, p := range subnetCIDRs6(&sub.Subnet) {
			want[*sub.SubnetId+"/6"] = ipam.NewSubnet(p)
		}
	}
	for _, eni := range NetworkInterfaces.List(f.store, f.sc) {
		pool, pool6 := want[*eni.SubnetId], want[*eni.SubnetId+"/6"]
		if pool == nil && pool6 == nil {
			f.t.Errorf("%s is in %s, which does not exist", *eni.NetworkInterfaceId, *eni.SubnetId)
			continue
		}
		for _, a := range eni.PrivateIpAddresses {
			if err := pool.Take(netip.MustParseAddr(*a.PrivateIpAddress)); err != nil {
				f.t.Errorf("%s: %v", *eni.NetworkInterfaceId, err)
			}
		}
		for _, p := range eni.Ipv4Prefixes {
			if err := pool.TakeBlock(netip.MustParsePrefix(*p.Ipv4Prefix)); err != nil {
				f.t.Errorf("%s: %v", *eni.NetworkInterfaceId, err)
			}
		}
		for _, a := range eni.Ipv6Addresses {
			if err := pool6.Take(netip.MustParseAddr(*a.Ipv6Address)); err != nil {
				f.t.Errorf("%s: %v", *eni.NetworkInterfaceId, err)
			}
		}
		for _, p := range eni.Ipv6Prefixes {
			if err := pool6.TakeBlock(netip.MustParsePrefix(*p.Ipv6Prefix)); err != nil {
				f.t.Errorf("%s: %v", *eni.NetworkInterfaceId, err)
			}
		}
		if a := eni.Attachment; a != nil && a.InstanceId != nil {
			inst := Instances.Get(f.store, f.sc, *a.InstanceId)
			if inst == nil || !contains(inst.Interfaces, *eni.NetworkInterfaceId) {
				f.t.Errorf("%s is attached to %s, which does not know it", *eni.NetworkInterfaceId, *a.InstanceId)
			}
		}
	}
	for id, pool := range want {
		rec := SubnetAddresses.Get(f.store, f.sc, strings.TrimSuffix(id, "/6"))
		if rec == nil {
			f.t.Errorf("%s has no ledger", id)
			continue
		}
		have := rec.IPv4
		if strings.HasSuffix(id, "/6") {
			have = rec.IPv6
		}
		if have == nil || have.Free() != pool.Free() || len(have.Runs()) != len(pool.Runs()) {
			f.t.Errorf("%s: ledger %+v, interfaces hold %+v", id, have, pool)
			continue
		}
		runs := have.Runs()
		for i, r := range pool.Runs() {
			if runs[i] != r {
				f.t.Errorf("%s: run %d is %v, interfaces hold %v", id, i, runs[i], r)
			}
		}
	}
}

func contains(s []string, v string) bool {
	for _, x := range s {
		if x == v {
			return true
		}
	}
	return false
}

func filter(name string, values ...string) []types.Filter {
	return []types.Filter{{Name: aws.String(name), Values: values}}
}
