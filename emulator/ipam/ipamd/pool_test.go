package ipamd_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

func config(t testing.TB, maxPods int, env map[string]string) ipamd.NodeConfig {
	t.Helper()
	s, bad := ipamd.ParseSettings(env)
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	return ipamd.NodeConfig{Settings: s, MaxPods: maxPods}
}

// pass lets time pass, with the looks that Pools.Run has.
func (f *fixture) pass(p *ipamd.Pools, d time.Duration) {
	f.t.Helper()
	for ; d > 0; d -= warmpool.Monitor {
		f.clock.Step(min(d, warmpool.Monitor))
		p.Look(f.t.Context())
		f.settle(p)
	}
}

func (f *fixture) settle(p *ipamd.Pools) {
	f.t.Helper()
	for _, id := range p.Instances() {
		if err := p.Settle(f.t.Context(), id); err != nil {
			f.t.Fatal(err)
		}
	}
}

func view(t testing.TB, p *ipamd.Pools, id string) ipamd.View {
	t.Helper()
	v, ok := p.View(id)
	if !ok {
		t.Fatalf("no view of %s", id)
	}
	return v
}

// ledger is what EC2 says that an instance's interfaces hold for pods.
func (f *fixture) ledger(id string) map[string][]string {
	f.t.Helper()
	out, err := f.ec2.DescribeInstances(f.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		f.t.Fatal(err)
	}
	got := map[string][]string{}
	for _, i := range out.Reservations[0].Instances[0].NetworkInterfaces {
		list := []string{}
		for _, a := range i.PrivateIpAddresses {
			if !*a.Primary {
				list = append(list, *a.PrivateIpAddress)
			}
		}
		for _, b := range i.Ipv4Prefixes {
			list = append(list, *b.Ipv4Prefix)
		}
		slices.Sort(list)
		got[*i.NetworkInterfaceId] = list
	}
	return got
}

func known(v ipamd.View) map[string][]string {
	got := map[string][]string{}
	for _, e := range v.ENIs {
		list := []string{}
		for _, a := range e.Addresses {
			list = append(list, a.String())
		}
		for _, b := range e.Prefixes {
			list = append(list, b.String())
		}
		slices.Sort(list)
		got[e.ID] = list
	}
	return got
}

// TestRecoversByItself: pods that wait in a full subnet get addresses when some come
// back, at ipamd's pace and without anybody's help.
func TestRecoversByItself(t *testing.T) {
	f := newFixture(t, "10.0.0.0/28") // 11
	id := f.run("t3.small", 1)[0]
	block, err := f.ec2.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &f.subnet, SecondaryPrivateIpAddressCount: aws.Int32(7)})
	if err != nil {
		t.Fatal(err)
	}
	p := f.pools()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	defer func() { cancel(); <-done }()
	p.Start(t.Context(), id)
	f.settle(p)
	for i := range 2 {
		if _, err := f.assign(p, id, i, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.assign(p, id, 2, netip.Addr{}); !errors.Is(err, ipamd.ErrNoAddress) {
		t.Fatalf("a full subnet: %v", err)
	}
	v := view(t, p, id)
	if !strings.Contains(v.LastError, "InsufficientFreeAddressesInSubnet") || v.RetryAt.Sub(f.clock.Now()) != 120*time.Second || v.Counters.NoAvailableIPs != 1 {
		t.Errorf("%q, again at %s: %+v", v.LastError, v.RetryAt, v.Counters)
	}
	if n := v.Counters.AWSAPIErrors[warmpool.APIError{API: "CreateNetworkInterface", Error: "InsufficientFreeAddressesInSubnet"}]; n != 1 {
		t.Errorf("%d refusals of an interface are counted", n)
	}
	if _, err := f.ec2.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: block.NetworkInterface.NetworkInterfaceId}); err != nil {
		t.Fatal(err)
	}
	began := f.clock.Now()
	for i := range 60 {
		until(t, "the loop waits", f.clock.HasWaiters)
		f.clock.Step(warmpool.Monitor)
		until(t, "the loop has looked", f.clock.HasWaiters)
		f.settle(p)
		if i%2 == 0 { // kubelet's pace
			continue
		}
		if _, err = f.assign(p, id, 2, netip.Addr{}); err == nil {
			break
		}
	}
	if took := f.clock.Since(began); err != nil || took < 120*time.Second || took > 140*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
	for _, want := range []string{"Unable to attach IPs/Prefixes for the ENI, subnet doesn't seem to have enough", "DataStore has no available IP/Prefix addresses", "Recently we had InsufficientCidr error"} {
		if !strings.Contains(string(p.Log(id)), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// TestSettingsLive: what kubectl set env does to the pool of a running node.
func TestSettingsLive(t *testing.T) {
	f := newFixture(t, "10.0.0.0/24")
	id := f.run("m5.large", 1)[0]
	p := f.pools()
	p.Configure(id, config(t, 0, nil))
	if len(f.ledger(id)) != 1 || view2(p, id).Total != 0 {
		t.Error("a pool grew before its daemon started")
	}
	p.Start(t.Context(), id)
	f.settle(p)
	for i := range 3 {
		if _, err := f.assign(p, id, i, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	f.settle(p)
	if v := view(t, p, id); v.Total != 18 || v.Assigned != 3 || v.MaxENIs != 3 || v.MaxIPs != 27 || v.InstanceType != "m5.large" || v.Cluster != "dev" {
		t.Errorf("%+v", v)
	}
	free := f.free()
	p.Configure(id, config(t, 0, map[string]string{"WARM_IP_TARGET": "2", "MINIMUM_IP_TARGET": "4"}))
	p.Configure(id, config(t, 0, map[string]string{"WARM_IP_TARGET": "2", "MINIMUM_IP_TARGET": "4"}))
	f.settle(p)
	f.pass(p, 70*time.Second)
	if v := view(t, p, id); v.Total != 5 || len(v.ENIs) != 1 || f.free() != free+14 {
		t.Errorf("%d addresses on %d interfaces, %d came back", v.Total, len(v.ENIs), f.free()-free)
	}
	if d := cmp.Diff(f.ledger(id), known(view(t, p, id))); d != "" {
		t.Error(d)
	}
	p.Configure(id, config(t, 110, map[string]string{"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "1"}))
	f.settle(p)
	if v := view(t, p, id); v.Total != 16 || v.Prefixes != 1 || v.ENIs[0].Assigned != 3 || len(v.ENIs[0].Addresses) != 3 {
		t.Errorf("with prefixes: %+v", v)
	}
	if d := cmp.Diff(f.ledger(id), known(view(t, p, id))); d != "" {
		t.Error(d)
	}
}

func view2(p *ipamd.Pools, id string) ipamd.View { v, _ := p.View(id); return v }

// TestFragmented: no block of sixteen is free while single addresses are.
func TestFragmented(t *testing.T) {
	f := newFixture(t, "10.0.0.0/26")
	for _, a := range []string{"10.0.0.20", "10.0.0.40", "10.0.0.50"} {
		if _, err := f.ec2.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &f.subnet, PrivateIpAddress: aws.String(a)}); err != nil {
			t.Fatal(err)
		}
	}
	id := f.run("m5.large", 1)[0]
	p := f.pools()
	p.Configure(id, config(t, 110, map[string]string{"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "1"}))
	if _, err := f.assign(p, id, 1, netip.Addr{}); !errors.Is(err, ipamd.ErrNoAddress) {
		t.Errorf("%v", err)
	}
	v := view(t, p, id)
	if !strings.Contains(v.LastError, "InsufficientCidrBlocks") || f.free() < 50 || v.RetryAt.Sub(f.clock.Now()) != 120*time.Second {
		t.Errorf("%q with %d free", v.LastError, f.free())
	}
	p.Configure(id, config(t, 110, nil))
	if _, err := f.assign(p, id, 1, netip.Addr{}); err != nil {
		t.Errorf("single addresses are free: %v", err)
	}
}

// TestIPv6 gives pods addresses of one /80.
func TestIPv6(t *testing.T) {
	f := newFixture(t, "10.0.0.0/24")
	vpc, err := f.ec2.AssociateVpcCidrBlock(f.ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: &f.vpc, AmazonProvidedIpv6CidrBlock: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := f.ec2.DescribeVpcs(f.ctx, &ec2.DescribeVpcsInput{VpcIds: []string{*vpc.VpcId}})
	if err != nil {
		t.Fatal(err)
	}
	block := netip.MustParsePrefix(*shown.Vpcs[0].Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlock)
	cidr := netip.PrefixFrom(block.Addr(), 64).String()
	if _, err := f.ec2.AssociateSubnetCidrBlock(f.ctx, &ec2.AssociateSubnetCidrBlockInput{SubnetId: &f.subnet, Ipv6CidrBlock: &cidr}); err != nil {
		t.Fatal(err)
	}
	id := f.run("t3.small", 1)[0]
	p := f.pools()
	p.Configure(id, config(t, 110, map[string]string{"ENABLE_IPv4": "false", "ENABLE_IPv6": "true", "ENABLE_PREFIX_DELEGATION": "true"}))
	for i := range 40 {
		ip, err := f.assign(p, id, i, netip.Addr{})
		if err != nil || !netip.MustParsePrefix(cidr).Contains(ip) {
			t.Fatalf("pod %d: %v, %v", i, ip, err)
		}
	}
	if v := view(t, p, id); len(v.ENIs) != 1 || v.Assigned != 40 || len(v.ENIs[0].Prefixes) != 1 || v.ENIs[0].Prefixes[0].Bits() != 80 {
		t.Errorf("%+v", v)
	}
	if f.free() != 250 {
		t.Errorf("%d IPv4 addresses free", f.free())
	}
}

// TestChangedByUsers: what somebody does to a node's interfaces in EC2 shows within a
// minute, and an interface that is not to be managed is left alone.
func TestChangedByUsers(t *testing.T) {
	f := newFixture(t, "10.0.0.0/24")
	id := f.run("m5.large", 1)[0]
	p := f.pools()
	if _, err := f.assign(p, id, 0, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	f.settle(p)
	v := view(t, p, id)
	second := v.ENIs[1]
	shown, err := f.ec2.DescribeNetworkInterfaces(f.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{second.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ec2.DetachNetworkInterface(f.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: shown.NetworkInterfaces[0].Attachment.AttachmentId}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ec2.UnassignPrivateIpAddresses(f.ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &v.ENIs[0].ID, PrivateIpAddresses: []string{v.ENIs[0].Addresses[8].String()}}); err != nil {
		t.Fatal(err)
	}
	foreign, err := f.ec2.CreateNetworkInterface(f.ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: &f.subnet, SecondaryPrivateIpAddressCount: aws.Int32(2), TagSpecifications: []ec2types.TagSpecification{{
			ResourceType: ec2types.ResourceTypeNetworkInterface, Tags: []ec2types.Tag{{Key: aws.String("node.k8s.amazonaws.com/no_manage"), Value: aws.String("true")}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ec2.AttachNetworkInterface(f.ctx, &ec2.AttachNetworkInterfaceInput{InstanceId: &id, NetworkInterfaceId: foreign.NetworkInterface.NetworkInterfaceId, DeviceIndex: aws.Int32(2)}); err != nil {
		t.Fatal(err)
	}
	f.pass(p, 70*time.Second)
	want := f.ledger(id)
	delete(want, *foreign.NetworkInterface.NetworkInterfaceId)
	v = view(t, p, id)
	if d := cmp.Diff(want, known(v)); d != "" {
		t.Error(d)
	}
	if v.MaxENIs != 2 || v.Counters.Reconciles["eniReconcileDel"] != 1 || v.Assigned != 1 {
		t.Errorf("%+v", v)
	}
}

// BenchmarkAssign is a pod that ends and one that starts, on one of many nodes.
func BenchmarkAssign(b *testing.B) {
	f := newFixture(b, "10.0.0.0/20")
	ids := f.run("m5.large", 50)
	p := f.pools()
	for n, id := range ids {
		p.Configure(id, config(b, 0, map[string]string{"IP_COOLDOWN_PERIOD": "-1"}))
		for i := range 20 {
			if _, err := f.assign(p, id, n*20+i, netip.Addr{}); err != nil {
				b.Fatal(err)
			}
		}
	}
	f.settle(p)
	uids := make([]types.UID, 1000)
	for i := range uids {
		uids[i] = types.UID(fmt.Sprint(i))
	}
	name := types.NamespacedName{Namespace: "default", Name: "pod"}
	i := 0
	for b.Loop() {
		id, uid := ids[i%1000/20], uids[i%1000]
		i += 21
		p.Release(f.ctx, id, uid)
		if _, err := p.Assign(f.ctx, id, uid, name, netip.Addr{}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRestartWithOtherSettings: the settings changed, and before anything came of it the
// emulator was killed. What the new ones want no more goes, but for what pods have.
func TestRestartWithOtherSettings(t *testing.T) {
	prefixes := map[string]string{"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "1"}
	for name, c := range map[string]struct{ before, after map[string]string }{
		"prefixes on":      {nil, prefixes},
		"prefixes off":     {prefixes, nil},
		"one address warm": {map[string]string{"WARM_IP_TARGET": "9"}, map[string]string{"WARM_IP_TARGET": "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "10.0.0.0/24")
			id := f.run("m5.large", 1)[0]
			was := f.pools()
			was.Configure(id, config(t, 29, c.before))
			want := map[types.UID]netip.Addr{}
			for i := range 3 {
				ip, err := f.assign(was, id, i, netip.Addr{})
				if err != nil {
					t.Fatal(err)
				}
				want[types.UID(fmt.Sprint(i))] = ip
			}
			f.settle(was)
			held := len(f.ledger(id))

			is := f.pools()
			expected := maps.Clone(want)
			expected["gone"] = netip.MustParseAddr("10.0.0.250")
			is.Expect(id, expected)
			if _, ok := is.View(id); ok {
				t.Error("what pods have starts a pool")
			}
			is.Configure(id, config(t, 29, c.after))
			is.Start(f.ctx, id)
			f.settle(is)
			f.pass(is, 2*warmpool.Monitor) // surplus goes
			if d := cmp.Diff(want, is.Pods(id), cmpopts.EquateComparable(netip.Addr{})); d != "" {
				t.Errorf("pods (-want +got):\n%s", d)
			}
			for uid, had := range want {
				if ip, err := is.Assign(f.ctx, id, uid, types.NamespacedName{}, had); err != nil || ip != had {
					t.Errorf("pod %s had %s and gets %s, %v", uid, had, ip, err)
				}
			}
			if d := cmp.Diff(known(view(t, is, id)), f.ledger(id)); d != "" || held == 0 {
				t.Errorf("the pool and EC2 differ: %s", d)
			}
			if log := string(is.Log(id)); !strings.Contains(log, "Recovered aws-cni/0/eth0 => eni-") || !strings.Contains(log, "Sandbox aws-cni/gone/eth0 uses unknown IP Address 10.0.0.250 - presuming stale/dead") {
				t.Errorf("log: %s", log)
			}
			is.Expect(id, map[types.UID]netip.Addr{"late": want["0"]})
			is.Release(f.ctx, id, "0")
			if _, has := is.Pods(id)["late"]; has {
				t.Error("a pod has an address that was another's when the pool was told")
			}
		})
	}
}
