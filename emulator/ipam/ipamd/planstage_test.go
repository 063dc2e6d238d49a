package ipamd_test

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	"github.com/ekslocal/ekslocal/emulator/ipam/plan"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

// stage is a layout in the emulator.
type stage struct {
	*fixture
	layout  *plan.Layout
	maxPods int
	pools   *ipamd.Pools
	subnets []string // of nodes, then of pods
	nodes   []*machine
	got     outcome

	// assign, if set, has a pod ask for its address beside all else; late is how many
	// got none, short the resource they lack.
	assign func(m *machine, k plan.Kind, index int)
	late   int
	short  string
}

// machine is one node of a stage.
type machine struct {
	id     string
	index  int
	subnet int
	pods   int
}

func newStage(t *testing.T, l *plan.Layout, maxPods int) *stage {
	st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, store: st, clock: clocktesting.NewFakeClock(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))}
	f.ec2 = ec2svc.New(ec2svc.Config{Store: st, Clock: f.clock})
	f.ctx = awsid.WithCaller(t.Context(), awsid.Caller{
		Scope: awsid.Scope{Account: awsid.DefaultAccount, Region: "us-east-1"}, ARN: "arn:aws:iam::000000000000:root", UserID: awsid.DefaultAccount,
	})
	vpc := must(f.ec2.CreateVpc(f.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}))(t)
	f.vpc = *vpc.Vpc.VpcId
	if len(l.PodSubnets) > 0 {
		must(f.ec2.AssociateVpcCidrBlock(f.ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: &f.vpc, CidrBlock: aws.String("100.64.0.0/16")}))(t)
	}
	s := &stage{fixture: f, layout: l, maxPods: maxPods, pools: ipamd.New(ipamd.Config{EC2: f.ec2, Clock: f.clock})}
	for i, cidr := range slices.Concat(l.Subnets, l.PodSubnets) {
		zone := "us-east-1" + string("abc"[i%len(l.Subnets)])
		sub := must(f.ec2.CreateSubnet(f.ctx, &ec2.CreateSubnetInput{VpcId: &f.vpc, CidrBlock: aws.String(cidr.String()), AvailabilityZone: &zone}))(t)
		s.subnets = append(s.subnets, *sub.Subnet.SubnetId)
	}
	s.got.First = "none"
	return s
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// playInOrder is the order of a plan.
func (s *stage) playInOrder() {
	s.connectControlPlane()
	s.launch()
	for _, m := range s.nodes {
		s.start(m)
		s.settle(m)
	}
	s.playPods()
}

// startAtOnce has all nodes start side by side.
func (s *stage) startAtOnce() {
	s.connectControlPlane()
	s.launch()
	for _, m := range s.nodes {
		s.start(m)
	}
	for _, m := range s.nodes {
		s.settle(m)
	}
}

// playAtOnce does everything side by side, but for the choice of pods' nodes: that is
// the scheduler's, which takes one after the other.
func (s *stage) playAtOnce() {
	s.connectControlPlane()
	s.launch()
	for _, m := range s.nodes {
		s.start(m)
	}
	for _, m := range s.nodes {
		if s.layout.Settings.CustomNetworking {
			s.settle(m) // only then may the node be Ready
		}
	}
	var pods sync.WaitGroup
	var mu sync.Mutex
	late := map[*machine]int{}
	s.assign = func(m *machine, k plan.Kind, index int) {
		pods.Go(func() {
			if s.assignTo(m, fmt.Sprintf("%s-%d-%d", k, m.index, index)) != nil {
				mu.Lock()
				late[m]++
				mu.Unlock()
			}
		})
	}
	s.playPods()
	pods.Wait()
	for _, m := range s.nodes {
		s.settle(m)
		s.late += late[m]
		if late[m] > 0 {
			s.short = s.why(m)
		}
	}
}

func (s *stage) playPods() {
	for _, m := range s.nodes {
		for i := range s.layout.DaemonSetPods {
			s.place(m, plan.KindDaemonSet, i)
		}
	}
	for i := range s.layout.SystemPods {
		s.place(s.choose(), plan.KindSystem, i)
	}
	for i := range s.layout.Nodes * s.layout.PodsPerNode {
		s.place(s.choose(), plan.KindWorkload, i)
	}
}

func (s *stage) freeIn(i int) int {
	out := must(s.ec2.DescribeSubnets(s.ctx, &ec2.DescribeSubnetsInput{SubnetIds: s.subnets[i : i+1]}))(s.t)
	return int(*out.Subnets[0].AvailableIpAddressCount)
}

// connectControlPlane makes an interface in each subnet in turn, the emptiest first.
func (s *stage) connectControlPlane() {
	for made := 0; made < s.layout.ControlPlaneENIs; {
		order := make([]int, len(s.layout.Subnets))
		free := make([]int, len(order))
		for i := range order {
			order[i], free[i] = i, s.freeIn(i)
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(free[b], free[a]) })
		for _, i := range order {
			if made < s.layout.ControlPlaneENIs {
				must(s.ec2.CreateNetworkInterface(s.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &s.subnets[i]}))(s.t)
				made++
			}
		}
	}
}

// launch asks EC2 for the nodes as lifecycle's launch does.
func (s *stage) launch() {
	n, open := s.layout.Nodes, []int{}
	count := make([]int, len(s.layout.Subnets))
	for i := range s.layout.Subnets {
		open = append(open, i)
	}
	for n > 0 && len(open) > 0 {
		var picks []int
		want, even := make([]int, len(count)), slices.Clone(count)
		for range n {
			best := slices.MinFunc(open, func(a, b int) int { return cmp.Compare(even[a], even[b]) })
			even[best]++
			want[best]++
			picks = append(picks, best)
		}
		ids := map[int][]string{}
		for i, w := range want {
			if w == 0 {
				continue
			}
			if ids[i] = s.runIn(i, w); len(ids[i]) == 0 {
				open = slices.DeleteFunc(open, func(o int) bool { return o == i })
			}
			count[i] += len(ids[i])
			n -= len(ids[i])
		}
		for _, i := range picks {
			if len(ids[i]) > 0 {
				s.nodes = append(s.nodes, &machine{id: ids[i][0], index: len(s.nodes), subnet: i, pods: s.layout.HostNetworkPods})
				ids[i] = ids[i][1:]
			}
		}
	}
	s.got.Nodes = count
}

func (s *stage) runIn(subnet, n int) []string {
	im, _ := images.EKSImage("us-east-1", "1.34", images.AL2023, "amd64")
	out, err := s.ec2.RunInstances(s.ctx, &ec2.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(int32(n)), SubnetId: &s.subnets[subnet], ImageId: &im.ID, InstanceType: ec2types.InstanceType(s.layout.InstanceType),
	})
	if err != nil {
		if !strings.Contains(err.Error(), "InsufficientFreeAddressesInSubnet") {
			s.t.Fatal(err)
		}
		return nil
	}
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
	}
	return ids
}

func (s *stage) start(m *machine) {
	c := ipamd.NodeConfig{Settings: s.layout.Settings, MaxPods: s.maxPods}
	if len(s.layout.PodSubnets) > 0 {
		c.ENIConfigName = "zone"
		c.ENIConfig = &ipamd.ENIConfig{Name: "zone", Subnet: s.subnets[len(s.layout.Subnets)+m.subnet]}
	}
	s.pools.Configure(m.id, c)
	s.pools.Start(s.t.Context(), m.id)
}

// choose returns the node with the fewest pods, nil if none takes one more.
func (s *stage) choose() *machine {
	var ready []*machine
	for _, m := range s.nodes {
		if s.ready(m) {
			ready = append(ready, m)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	m := slices.MinFunc(ready, func(a, b *machine) int { return cmp.Or(cmp.Compare(a.pods, b.pods), cmp.Compare(a.index, b.index)) })
	if m.pods >= s.maxPods {
		return nil
	}
	return m
}

// ready tells whether the node's daemon serves: with custom networking it gives up
// without an interface for pods.
func (s *stage) ready(m *machine) bool {
	if !s.layout.Settings.CustomNetworking {
		return true
	}
	v, _ := s.pools.Stats(m.id)
	return v.Total > 0
}

func (s *stage) place(m *machine, k plan.Kind, index int) {
	if m == nil || m.pods >= s.maxPods {
		s.fail(k, m, index, plan.Pending, "")
		return
	}
	m.pods++
	if s.assign != nil {
		s.assign(m, k, index)
		return
	}
	if err := s.assignTo(m, fmt.Sprintf("%s-%d-%d", k, m.index, index)); err != nil {
		s.fail(k, m, index, plan.ContainerCreating, s.why(m))
		return
	}
	s.settle(m)
	if k == plan.KindWorkload {
		s.got.Addressed++
	} else {
		s.got.Others++
	}
}

func (s *stage) assignTo(m *machine, pod string) error {
	_, err := s.pools.Assign(s.t.Context(), m.id, types.UID(pod), types.NamespacedName{Namespace: "default", Name: pod}, netip.Addr{})
	if err != nil && !errors.Is(err, ipamd.ErrNoAddress) {
		s.t.Fatal(err)
	}
	return err
}

// settle waits until the node's pool has grown as far as it wants to and can.
func (s *stage) settle(m *machine) {
	if err := s.pools.Settle(s.t.Context(), m.id); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) fail(k plan.Kind, m *machine, index int, phase plan.Phase, why string) {
	node := -1
	if m != nil {
		node = m.index
	}
	if phase == plan.Pending {
		why = string(plan.MaxPods)
		if m == nil && !slices.ContainsFunc(s.nodes, s.ready) {
			why = s.why(s.nodes[0])
		}
	}
	if s.got.First == "none" {
		s.got.First = fmt.Sprintf("%s pod %d, node %d, %s: %s", k, index, node, phase, why)
	}
	switch {
	case k != plan.KindWorkload:
		s.got.OtherFailed++
	case phase == plan.Pending:
		s.got.Pending++
	default:
		s.got.Waiting++
	}
}

// why reads off the node's pool, as `ekslocal ips` shows it, what it lacks.
func (s *stage) why(m *machine) string {
	v, _ := s.pools.View(m.id)
	from := m.subnet
	if len(s.layout.PodSubnets) > 0 {
		from += len(s.layout.Subnets)
	}
	of := fmt.Sprintf(" of %s, %d free", slices.Concat(s.layout.Subnets, s.layout.PodSubnets)[from], s.freeIn(from))
	switch {
	case strings.Contains(v.LastError, "InsufficientCidrBlocks"):
		return string(plan.PrefixBlocks) + of
	case strings.Contains(v.LastError, "InsufficientFreeAddressesInSubnet"), strings.Contains(v.LastError, "There aren't sufficient free Ipv4 addresses or prefixes"):
		return string(plan.SubnetAddresses) + of
	case v.LastError != "":
		return v.LastError
	}
	full := len(v.ENIs) == v.MaxENIs
	for _, e := range v.ENIs {
		slots := len(e.Addresses) + len(e.Prefixes)
		full = full && (slots == v.IPv4PerENI-1 || s.layout.Settings.CustomNetworking && e.Device == 0)
	}
	limits, _ := plan.Evaluate(plan.Layout{Subnets: s.layout.Subnets, InstanceType: s.layout.InstanceType, Nodes: 1, Settings: ipamd.Settings{LogLevel: "error"}})
	switch {
	case full && v.MaxENIs < limits.ENIs:
		return string(plan.MaxENI)
	case full:
		return string(plan.InstanceAddresses)
	}
	return string(plan.WarmTargets)
}

func (s *stage) outcome() outcome {
	for i := range s.subnets {
		s.got.Free = append(s.got.Free, s.freeIn(i))
	}
	return s.got
}
