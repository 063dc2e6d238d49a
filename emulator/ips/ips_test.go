package ips

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/images"
)

var scope = awsid.Scope{Account: awsid.DefaultAccount, Region: "us-east-1"}

// world is a VPC with a cluster's record, and the nodes' pools.
type world struct {
	*Reporter
	t       testing.TB
	ctx     context.Context
	clock   *clocktesting.FakeClock
	pools   *ipamd.Pools
	vpc     string
	waiting map[string][]dataplane.WaitingPod
	podAt   map[string]string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, clock: clocktesting.NewFakeClock(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)), waiting: map[string][]dataplane.WaitingPod{}}
	w.ctx = awsid.WithCaller(t.Context(), awsid.Caller{Scope: scope, ARN: scope.RootARN(), UserID: scope.Account})
	svc := ec2svc.New(ec2svc.Config{Store: st, Clock: w.clock})
	w.pools = ipamd.New(ipamd.Config{EC2: svc, Clock: w.clock})
	w.Reporter = &Reporter{
		Store: st, EC2: svc, Clock: w.clock, Pool: w.pools.View,
		ClusterOf: func(i *ec2svc.Instance) string {
			for _, tag := range i.Tags {
				if *tag.Key == "eks:cluster-name" {
					return *tag.Value
				}
			}
			return ""
		},
		Waiting: func(id string) []dataplane.WaitingPod { return w.waiting[id] },
		PodAt:   func(id string, ip netip.Addr) string { return w.podAt[id+" "+ip.String()] },
	}
	vpc, err := svc.CreateVpc(w.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	w.vpc = *vpc.Vpc.VpcId
	return w
}

func (w *world) as(service string) context.Context {
	return awsid.WithCaller(w.ctx, awsid.ServiceCaller(scope, service))
}

func (w *world) subnet(cidr string) string {
	w.t.Helper()
	out, err := w.EC2.CreateSubnet(w.ctx, &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: &cidr, AvailabilityZone: aws.String("us-east-1a")})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.Subnet.SubnetId
}

func (w *world) cluster(name string, subnets ...string) {
	w.t.Helper()
	err := w.Store.Update(w.ctx, func(tx *store.Tx) error {
		eks.Clusters.Put(tx, scope, name, &eks.Cluster{ID: "id-" + name, Scope: scope, Resource: ekstypes.Cluster{
			Name: &name, Status: ekstypes.ClusterStatusCreating, ResourcesVpcConfig: &ekstypes.VpcConfigResponse{VpcId: &w.vpc, SubnetIds: subnets},
		}})
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run(subnet string, typ ec2types.InstanceType, cluster string) (string, error) {
	im, _ := images.EKSImage("us-east-1", "1.34", images.AL2023, "amd64")
	in := &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: &subnet, ImageId: &im.ID, InstanceType: typ}
	if cluster != "" {
		in.TagSpecifications = []ec2types.TagSpecification{{
			ResourceType: ec2types.ResourceTypeInstance, Tags: []ec2types.Tag{{Key: aws.String("eks:cluster-name"), Value: &cluster}},
		}}
	}
	out, err := w.EC2.RunInstances(w.ctx, in)
	if err != nil {
		return "", err
	}
	return *out.Instances[0].InstanceId, nil
}

// node runs a node of dev whose daemon has done what it wants to do.
func (w *world) node(subnet string, typ ec2types.InstanceType) string {
	w.t.Helper()
	id, err := w.run(subnet, typ, "dev")
	if err != nil {
		w.t.Fatal(err)
	}
	w.pools.Start(w.ctx, id)
	w.settle(id)
	return id
}

func (w *world) settle(id string) {
	w.t.Helper()
	if err := w.pools.Settle(w.ctx, id); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pod(node, name string) error {
	_, err := w.pools.Assign(w.ctx, node, types.UID(name), types.NamespacedName{Namespace: "default", Name: name}, netip.Addr{})
	return err
}

func (w *world) report(q api.AddressQuery) api.AddressUse {
	w.t.Helper()
	use, err := w.Report(q)
	if err != nil {
		w.t.Fatal(err)
	}
	return use
}

// of returns the subnet's part, without kinds that nobody has.
func of(use api.AddressUse, subnet string) *api.SubnetUse {
	for _, s := range use.Subnets {
		if s.ID == subnet {
			for h, n := range s.Held {
				if n == 0 {
					delete(s.Held, h)
				}
			}
			return &s
		}
	}
	return nil
}

func (w *world) create(service, subnet, description string, secondary, prefixes int32) {
	w.t.Helper()
	ctx := w.ctx
	if service != "" {
		ctx = w.as(service)
	}
	in := &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet, Description: &description}
	if secondary > 0 {
		in.SecondaryPrivateIpAddressCount = &secondary
	}
	if prefixes > 0 {
		in.Ipv4PrefixCount = &prefixes
	}
	if _, err := w.EC2.CreateNetworkInterface(ctx, in); err != nil {
		w.t.Fatal(err)
	}
}

func TestEveryKindOfHolder(t *testing.T) {
	w := newWorld(t)
	a, b := w.subnet("10.0.0.0/24"), w.subnet("10.0.1.0/28")
	w.cluster("dev", a)
	node := w.node(a, "t3.small") // an interface with 3 addresses
	for _, name := range []string{"one", "two"} {
		if err := w.pod(node, name); err != nil {
			t.Fatal(err)
		}
	}
	w.settle(node)
	w.pools.Release(w.ctx, node, "two")
	w.settle(node)
	if _, err := w.run(a, "t3.small", ""); err != nil { // no node of anything
		t.Fatal(err)
	}
	w.create("eks", a, "Amazon EKS dev", 0, 0)
	w.create("eks-fargate", a, "", 0, 0)
	w.create("elasticloadbalancing", a, "ELB app/web/1", 0, 0)
	w.create("", a, "mine", 2, 0)
	w.create("vpc-cni", a, "aws-K8S-"+node, 0, 1) // not attached yet
	if _, err := w.EC2.CreateNatGateway(w.ctx, &ec2.CreateNatGatewayInput{SubnetId: &a, ConnectivityType: ec2types.ConnectivityTypePrivate}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.EC2.CreateSubnetCidrReservation(w.ctx, &ec2.CreateSubnetCidrReservationInput{
		SubnetId: &a, Cidr: aws.String("10.0.0.64/27"), ReservationType: ec2types.SubnetCidrReservationTypePrefix,
	}); err != nil {
		t.Fatal(err)
	}

	got := of(w.report(api.AddressQuery{Cluster: "dev"}), a)
	want := &api.SubnetUse{
		Account: scope.Account, Region: scope.Region, VPC: w.vpc, ID: a, Zone: "us-east-1a", CIDR: "10.0.0.0/24", Clusters: []string{"dev"}, Size: 256,
		Held: map[api.Holder]int{
			api.HeldReserved: 5, api.HeldControlPlane: 1, api.HeldFargate: 1, api.HeldLoadBalancer: 1, api.HeldNATGateway: 1,
			api.HeldOther: 1 + 3, api.HeldNodePrimary: 2 + 1, api.HeldPodAssigned: 1, api.HeldPodCooling: 1, api.HeldPodWarm: 4 + 16,
		},
		Free: 218, Available: 218, Prefixes: 1, FreePrefixes: 12, // the interfaces' addresses touch the first two blocks, the prefix is the third
		FreeRuns:     []api.FreeRun{{First: "10.0.0.96/28", Blocks: 9}, {First: "10.0.0.64/28", Blocks: 2}, {First: "10.0.0.48/28", Blocks: 1}},
		Reservations: []api.CIDRReservation{{CIDR: "10.0.0.64/27", Type: "prefix"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	w.podAt = map[string]string{"id-dev 10.0.0.5": "default/one", "id-dev 10.0.0.33": "default/three"}
	held, err := w.Holdings(a)
	if err != nil || len(held.Holdings) != held.Size-held.Free || held.Free != got.Free || !slices.Equal(held.Clusters, []string{"dev"}) {
		t.Fatalf("%d holdings in %+v, %v", len(held.Holdings), held.SubnetUse, err)
	}
	for i, want := range map[int]api.Holding{
		0:                       {Address: "10.0.0.0", Owner: "reserved-network"},
		4:                       {Address: "10.0.0.4", Owner: "eni-primary", InstanceID: node},
		5:                       {Address: "10.0.0.5", Owner: "eni-secondary", InstanceID: node, Pod: "default/one"},
		len(held.Holdings) - 16: {Address: "10.0.0.33", Owner: "prefix", Prefix: "10.0.0.32/28", Description: "aws-K8S-" + node, Pod: "default/three"},
		len(held.Holdings) - 1:  {Address: "10.0.0.255", Owner: "reserved-broadcast"},
	} {
		one := held.Holdings[i]
		one.InterfaceID = ""
		if d := cmp.Diff(want, one); d != "" {
			t.Errorf("holding %d: %s", i, d)
		}
	}
	_, err = w.Holdings("subnet-0123456789abcdef0")
	refused(t, err, 404, `there is no subnet "subnet-0123456789abcdef0"`)
	if got := of(w.report(api.AddressQuery{}), b); got == nil || got.Free != 11 || len(got.Clusters) != 0 || got.FreePrefixes != 0 {
		t.Errorf("an empty /28: %+v", got)
	}
}

func TestNodes(t *testing.T) {
	w := newWorld(t)
	a := w.subnet("10.0.0.0/28") // 11 free
	w.cluster("dev", a)
	node := w.node(a, "t3.small") // 3 interfaces of 4
	for i := range 7 {
		_ = w.pod(node, fmt.Sprint(i))
	}
	w.settle(node)
	use := w.report(api.AddressQuery{Cluster: "dev"})
	if len(use.Nodes) != 1 {
		t.Fatalf("nodes: %+v", use.Nodes)
	}
	n := use.Nodes[0]
	if n.InstanceID != node || n.Name != "ip-10-0-0-4.ec2.internal" || n.InstanceType != "t3.small" || n.Cluster != "dev" || !n.Started ||
		n.MaxInterfaces != 3 || n.MaxAddresses != 9 || n.Total != n.Assigned || n.Warm != 0 || !slices.Equal(n.Settings, []string{"WARM_ENI_TARGET=1"}) {
		t.Errorf("node: %+v", n)
	}
	if n.RetryAt == nil || n.RetryAt.Sub(use.Time) != 2*time.Minute || !strings.Contains(n.LastError, "InsufficientFreeAddressesInSubnet") {
		t.Errorf("it does not grow because of %q until %v", n.LastError, n.RetryAt)
	}
	s, pods, own := of(use, a), 0, 0
	for _, i := range n.Interfaces {
		pods, own = pods+i.Assigned, own+1
		if i.Subnet != a || i.Addresses != i.Assigned || i.Address == "" {
			t.Errorf("interface %+v", i)
		}
	}
	// Two interfaces of four; the third does not fit into the three that are left.
	if s.Free != 3 || s.Held[api.HeldPodAssigned] != pods || s.Held[api.HeldNodePrimary] != own || pods != 6 || own != 2 || n.Assigned != pods {
		t.Errorf("%d interfaces with %d pods; the subnet has %+v", own, pods, s)
	}

	// A node whose daemon has not started holds its address all the same.
	b := w.subnet("10.0.1.0/28")
	if _, err := w.run(b, "t3.small", "dev"); err != nil {
		t.Fatal(err)
	}
	use = w.report(api.AddressQuery{Cluster: "dev"})
	if n := use.Nodes[1]; n.Started || n.MaxInterfaces != 0 || len(n.Interfaces) != 1 || of(use, b).Held[api.HeldNodePrimary] != 1 || !slices.Equal(of(use, b).Clusters, []string{"dev"}) {
		t.Errorf("a node that boots: %+v in %+v", n, of(use, b))
	}
}

func TestQueries(t *testing.T) {
	w := newWorld(t)
	a := w.subnet("10.0.0.0/24")
	if use := w.report(api.AddressQuery{}); len(use.Subnets) != 7 || use.Subnets[0].Held[api.HeldReserved] != 5 { // six of the default VPC
		t.Errorf("without clusters: %d subnets", len(use.Subnets))
	}
	_, err := w.Report(api.AddressQuery{Cluster: "dev"})
	refused(t, err, 404, `there is no cluster "dev": there is none at all`)
	w.cluster("dev", a)
	w.cluster("prod", a)
	at := w.clock.Now()
	w.waiting["id-dev"] = []dataplane.WaitingPod{{Namespace: "default", Name: "web", Node: "n", InstanceID: "i", Since: at, RetryAt: at.Add(time.Second), Message: "Failed"}}
	w.waiting["id-prod"] = []dataplane.WaitingPod{{Namespace: "x", Name: "y"}}
	for _, tc := range []struct {
		q       api.AddressQuery
		code    int
		message string
	}{
		{api.AddressQuery{Cluster: "nope"}, 404, `there is no cluster "nope": there is dev (us-east-1, account 000000000000), prod (us-east-1, account 000000000000)`},
		{api.AddressQuery{Cluster: "dev", Region: "eu-west-1", Account: "111122223333"}, 404,
			`there is no cluster "dev" in eu-west-1 of account 111122223333: there is dev (us-east-1, account 000000000000), prod (us-east-1, account 000000000000)`},
		{api.AddressQuery{Region: "eu-west-9"}, 400, `there is no region "eu-west-9"`},
		{api.AddressQuery{Account: "12"}, 400, `"12" is not an AWS account id of 12 digits`},
		{api.AddressQuery{Account: "12345678901x"}, 400, `"12345678901x" is not an AWS account id of 12 digits`},
	} {
		_, err := w.Report(tc.q)
		refused(t, err, tc.code, tc.message)
	}
	use := w.report(api.AddressQuery{Cluster: "dev", Region: "us-east-1", Account: scope.Account})
	want := []api.WaitingPod{{Account: scope.Account, Region: scope.Region, Cluster: "dev", Namespace: "default", Name: "web", Node: "n", Since: at, RetryAt: at.Add(time.Second), Message: "Failed"}}
	if d := cmp.Diff(want, use.Waiting); d != "" {
		t.Error(d)
	}
	if len(use.Subnets) != 1 || !slices.Equal(use.Subnets[0].Clusters, []string{"dev", "prod"}) {
		t.Errorf("subnets: %+v", use.Subnets)
	}
	if use := w.report(api.AddressQuery{Region: "eu-west-1"}); len(use.Subnets)+len(use.Waiting) != 0 {
		t.Errorf("elsewhere: %+v", use)
	}
	if use := w.report(api.AddressQuery{}); len(use.Waiting) != 2 {
		t.Errorf("all: %+v", use.Waiting)
	}
}

func refused(t *testing.T, err error, code int, message string) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.StatusCode != code || e.Message != message {
		t.Errorf("%v\nwant %d %s", err, code, message)
	}
}

func TestInForce(t *testing.T) {
	for _, tc := range []struct{ env, want string }{
		{"", "WARM_ENI_TARGET=1"},
		{"WARM_ENI_TARGET=0 WARM_PREFIX_TARGET=3", "WARM_ENI_TARGET=0"},
		{"WARM_ENI_TARGET=2 WARM_IP_TARGET=5 MINIMUM_IP_TARGET=10 MAX_ENI=4", "WARM_IP_TARGET=5 MINIMUM_IP_TARGET=10 MAX_ENI=4"},
		{"ENABLE_PREFIX_DELEGATION=true WARM_PREFIX_TARGET=1", "ENABLE_PREFIX_DELEGATION=true WARM_PREFIX_TARGET=1"},
		{"ENABLE_PREFIX_DELEGATION=true WARM_PREFIX_TARGET=1 MINIMUM_IP_TARGET=3", "ENABLE_PREFIX_DELEGATION=true MINIMUM_IP_TARGET=3"},
		{"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true ENABLE_POD_ENI=true ENABLE_SUBNET_DISCOVERY=false IP_COOLDOWN_PERIOD=5",
			"WARM_ENI_TARGET=1 AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true ENABLE_POD_ENI=true ENABLE_SUBNET_DISCOVERY=false IP_COOLDOWN_PERIOD=5"},
		{"ENABLE_IPv6=true ENABLE_IPv4=true", "WARM_ENI_TARGET=1 ENABLE_IPv6=true " +
			"ipamd does not start: IPv4 and IPv6 are both enabled. VPC CNI currently does not support dual stack mode"},
	} {
		env := map[string]string{}
		for _, f := range strings.Fields(tc.env) {
			k, v, _ := strings.Cut(f, "=")
			env[k] = v
		}
		s, _ := ipamd.ParseSettings(env)
		if got := strings.Join(InForce(&s), " "); got != tc.want {
			t.Errorf("%s: %s\nwant %s", tc.env, got, tc.want)
		}
	}
}

// BenchmarkReport is a scrape of /metrics with 10,000 interfaces.
func BenchmarkReport(b *testing.B) {
	w := newWorld(b)
	var subnets []string
	for i := range 10 {
		subnets = append(subnets, w.subnet(fmt.Sprintf("10.0.%d.0/21", 8*i)))
	}
	w.cluster("dev", subnets...)
	err := w.Store.Update(w.ctx, func(tx *store.Tx) error {
		for i := range 10000 {
			id := fmt.Sprintf("eni-%017x", i)
			eni := &ec2svc.NetworkInterface{NetworkInterface: ec2types.NetworkInterface{
				NetworkInterfaceId: &id, SubnetId: &subnets[i%len(subnets)], Description: aws.String("aws-K8S-i-1"),
			}}
			for j := range 10 {
				eni.PrivateIpAddresses = append(eni.PrivateIpAddresses, ec2types.NetworkInterfacePrivateIpAddress{
					Primary: aws.Bool(j == 0), PrivateIpAddress: aws.String(netip.AddrFrom4([4]byte{10, 1, byte(i), byte(j)}).String()),
				})
			}
			ec2svc.NetworkInterfaces.Put(tx, scope, id, eni)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := w.Report(api.AddressQuery{}); err != nil { // decodes the records
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := w.Report(api.AddressQuery{}); err != nil {
			b.Fatal(err)
		}
	}
}
